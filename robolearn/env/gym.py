"""Gymnasium interfaces of the environments: one at a time, or a batch on one engine.

    import gymnasium
    import robolearn.env.gym  # registers robolearn/ROBOT-TASK-v0

    env = gymnasium.make("robolearn/fr3-reach-v0")
    envs = gymnasium.make_vec("robolearn/fr3-reach-v0", num_envs=1024)
    mine = gymnasium.make(robolearn.env.gym.register("my_arm.yaml/reach"))  # an arm of your own

Gymnasium 1.x loads no plugins by itself; without the import, "robolearn.env.gym:robolearn/fr3-reach-v0" does it too.
Both take engine and config as `robolearn.make` does. For Stable-Baselines3 see `robolearn.learn.sb3`.

The batch restarts episodes as Gymnasium's own vector environments do (AutoresetMode.NEXT_STEP), so that its vector
wrappers work; `autoreset_mode="SameStep"` takes no step for a restart. Gymnasium's AsyncVectorEnv needs
`context="spawn"`: JAX does not survive a fork.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jax.stages import Compiled

from robolearn.env.naming import absolute, file_stem
from robolearn.env.packed import Packed, Packing
from robolearn.env.task import task_names
from robolearn.env.vec_env import EnvState, VecEnv, make
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit
from robolearn.sim.render import HumanView, SceneRenderer, has_display

OBS_MAX = 100.0  # of any number that a policy sees; clipped there, so that spaces have finite bounds
RENDER_MODES = ["rgb_array", *(["human"] if has_display() else [])]  # what can be shown here
SEEDS = 2**31 - 1
_PACKED_MAX = 1_000_000  # bytes of a state that is kept packed: a larger one takes longer to copy


class Stepper:
    """A VecEnv and its state as numpy: what every face outside JAX needs.

    After `reset` or `step`, the attributes obs [N, D], reward [N], terminated, truncated, success [N] bool and
    final_obs [N, D] are those of `EnvState`.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray
    final_obs: np.ndarray

    def __init__(self, task: str, num_envs: int, engine: str, config: dict[str, Any] | None):
        self.env: VecEnv = make(task, num_envs=num_envs, engine=engine, config=config)
        self._packing: Packing | None = None  # known with the first state
        self._kept: EnvState | Packed | None = None  # the state, packed where that is worth it
        self._reset: Compiled | None = None
        self._step: Compiled | None = None
        self._renderer: SceneRenderer | None = None
        self._view: HumanView | None = None

    @property
    def state(self) -> EnvState | None:
        """The environments' state; None before the first reset."""
        return None if self._kept is None else self._unpacked(self._kept)

    @state.setter
    def state(self, state: EnvState) -> None:
        self._kept = self._packed(state)

    @property
    def spaces(self) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
        """Observation and action of one environment."""
        obs = gymnasium.spaces.Box(-OBS_MAX, OBS_MAX, (self.env.obs_size,), np.float32)
        return obs, gymnasium.spaces.Box(-1.0, 1.0, (self.env.action_size,), np.float32)

    def reset(self, seed: int) -> None:
        """Start every environment anew."""
        key = jax.random.key(seed)
        if self._reset is None:
            self._reset = compiled(jit(self._shown(self.env.reset), quick=True).lower(key))
        self._keep(*self._reset(key))

    def step(self, action: np.ndarray, waiting: np.ndarray | None = None) -> None:
        """One control period. action: [N, A] in [-1, 1]. waiting: [N] bool, environments that stay as they are."""
        if self._kept is None:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        action, expected = np.asarray(action, np.float32), (self.env.num_envs, self.env.action_size)
        if action.shape != expected:
            raise gymnasium.error.InvalidAction(f"Actions have shape {expected}, not {action.shape}.")
        given = (self._kept, action) if waiting is None else (self._kept, action, waiting)
        if self._step is None:
            step = self._shown(self.env.step if waiting is None else self._step_others)
            self._step = compiled(jit(lambda kept, *more: step(self._unpacked(kept), *more)).lower(*given))
        self._keep(*self._step(*given))

    def frame(self, index: int = 0) -> np.ndarray:
        """A picture of one environment, [height, width, 3] uint8."""
        if self.state is None:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        if self._renderer is None:
            self._renderer = SceneRenderer(self.env, 640, 480, "overview")
        return self._renderer.frame(self.state, index)

    def show(self) -> None:
        """Update the viewer's window with the first environment. Raises PhysicsError without a display."""
        if self._view is None:
            self._view = HumanView(self.env)
        if self.state is not None:
            self._view.show(self.state)

    def close(self) -> None:
        """Free windows and GL contexts."""
        for open_one in (self._renderer, self._view):
            if open_one is not None:
                open_one.close()
        self._renderer = self._view = None

    def _step_others(self, state: EnvState, action: jax.Array, waiting: jax.Array) -> EnvState:
        def chosen(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(waiting.reshape(-1, *[1] * (old.ndim - 1)), old, new)

        return jax.tree.map(chosen, state, self.env.step(state, action))

    def _shown(self, program: Callable[..., EnvState]) -> Callable[..., tuple[Any, jax.Array]]:
        """The program's state as it is kept, and what is shown of it as one array: fetching six takes longer."""

        def both(*given: Any) -> tuple[Any, jax.Array]:
            state = program(*given)
            flags = [state.reward, state.terminated, state.truncated, state.success]
            seen = jnp.concatenate([state.obs, state.final_obs], axis=1)
            seen = jnp.clip(seen, -OBS_MAX, OBS_MAX)
            shown = jnp.concatenate([seen, *(one[:, None].astype(jnp.float32) for one in flags)], axis=1)
            return self._packed(state), shown

        return both

    def _packed(self, state: EnvState) -> EnvState | Packed:
        if self._packing is None:
            self._packing = Packing(state)
        return self._packing.pack(state) if self._packing.bytes <= _PACKED_MAX else state

    def _unpacked(self, kept: EnvState | Packed) -> EnvState:
        if isinstance(kept, EnvState):
            return kept
        assert self._packing is not None
        return self._packing.unpack(kept)

    def _keep(self, kept: EnvState | Packed, shown: jax.Array) -> None:
        self._kept = kept
        rows, d = np.array(shown), self.env.obs_size
        self.obs, self.final_obs = rows[:, :d].copy(), rows[:, d : 2 * d].copy()
        self.reward = rows[:, 2 * d].copy()
        self.terminated, self.truncated, self.success = (rows[:, 2 * d + i] > 0.5 for i in (1, 2, 3))


class GymEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One environment. info["is_success"] tells, when an episode ends, whether it succeeded."""

    metadata = {"render_modes": RENDER_MODES}

    def __init__(
        self,
        task: str,
        engine: str = "native",
        config: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ):
        self._stepper = Stepper(task, 1, engine, config)
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": round(self._stepper.env.control_hz)}
        self.observation_space, self.action_space = self._stepper.spaces

    @property
    def robolearn(self) -> VecEnv:
        """The environment behind this face."""
        return self._stepper.env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new episode; the same seed gives the same episode."""
        super().reset(seed=seed, options=options)
        self._stepper.reset(int(self.np_random.integers(SEEDS)))
        self._show()
        return self._stepper.obs[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control period."""
        now = self._stepper
        now.step(np.asarray(action)[None])
        terminated, truncated = bool(now.terminated[0]), bool(now.truncated[0])
        info = {"is_success": bool(now.success[0])} if terminated or truncated else {}
        self._show()
        return now.final_obs[0], float(now.reward[0]), terminated, truncated, info

    def render(self) -> Any:
        """A picture in mode `rgb_array`; in mode `human` the window updates by itself."""
        return self._stepper.frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free windows and GL contexts."""
        self._stepper.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._stepper.show()


class GymVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch on one engine.

    autoreset_mode NEXT_STEP: the step after an episode's end ignores the action, takes no control period, and returns
    the first observation of the next episode, with reward 0. info["is_success"] [N] has the results of the episodes
    that ended, where info["_is_success"] [N].
    SAME_STEP: episodes restart within the step that ends them. Where an episode ended, info["final_obs"] [N, D] has
    its last observation and info["final_info"]["is_success"] [N] its result; info["_final_obs"] and
    info["_final_info"] [N] say where.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 1024,
        engine: str = "auto",
        config: dict[str, Any] | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        self._mode = AutoresetMode(autoreset_mode)
        if self._mode is AutoresetMode.DISABLED:
            raise gymnasium.error.Error(
                "autoreset_mode is Disabled, but a batch restarts: NextStep or SameStep."
            )
        self._waiting = np.zeros(num_envs, bool)
        self._stepper = Stepper(task, num_envs, engine, config)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = {
            "render_modes": RENDER_MODES,
            "render_fps": round(self._stepper.env.control_hz),
            "autoreset_mode": self._mode,
        }
        self.single_observation_space, self.single_action_space = self._stepper.spaces
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    @property
    def robolearn(self) -> VecEnv:
        """The environment behind this face."""
        return self._stepper.env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New episodes everywhere."""
        super().reset(seed=seed, options=options)
        self._waiting = np.zeros(self.num_envs, bool)
        self._stepper.reset(int(self.np_random.integers(SEEDS)))
        return self._stepper.obs, {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period of every environment."""
        now = self._stepper
        if self._mode is AutoresetMode.SAME_STEP:
            now.step(actions)
            obs, info = now.obs, _same_step_info(now)
        else:
            obs, info = self._next_step(actions)
        if self.render_mode == "human":
            now.show()
        return obs, now.reward, now.terminated, now.truncated, info

    def _next_step(self, actions: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
        """Observations and info; environments that wait for their restart give the start of the next episode."""
        now, restarted = self._stepper, self._waiting
        now.step(actions, restarted)
        now.reward[restarted] = 0.0
        now.terminated[restarted] = now.truncated[restarted] = False
        self._waiting = done = now.terminated | now.truncated
        obs = np.where(restarted[:, None], now.obs, now.final_obs)
        return obs, {"is_success": now.success & done, "_is_success": done} if done.any() else {}

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of every environment in mode `rgb_array`."""
        if self.render_mode != "rgb_array":
            return None
        return tuple(self._stepper.frame(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Free windows and GL contexts."""
        del kwargs
        self._stepper.close()


def _same_step_info(now: Stepper) -> dict[str, Any]:
    done = now.terminated | now.truncated
    if not done.any():
        return {}
    return {
        "final_obs": np.where(done[:, None], now.final_obs, 0.0).astype(np.float32),
        "_final_obs": done,
        "final_info": {"is_success": now.success & done, "_is_success": done},
        "_final_info": done,
    }


def gym_id(task: str) -> str:
    """Gymnasium's id of `robot/task`, with the robot's name where a file is given."""
    return f"robolearn/{file_stem(task)}-v0"


def register(task: str) -> str:
    """Register `robot/task` with Gymnasium and return its id. Importing this module does it for what is installed.

    For an arm of your own, `my_arm.yaml/reach`. An id that is taken by another file then means this one.
    """
    task, name = absolute(task), gym_id(task)
    if name not in gymnasium.registry or gymnasium.registry[name].kwargs != {"task": task}:
        gymnasium.registry.pop(name, None)
        gymnasium.register(
            name,
            entry_point="robolearn.env.gym:GymEnv",
            vector_entry_point="robolearn.env.gym:GymVectorEnv",
            kwargs={"task": task},
        )
    return name


for _task in task_names():
    register(_task)
