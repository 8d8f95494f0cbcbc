"""VecEnv: batched reset and step of one task on one physics engine, pure, jittable and scannable.

    env = robolearn.make("fr3/reach", num_envs=1024)
    state = env.reset(jax.random.key(0))
    state = env.step(state, action)  # action [N, A] in [-1, 1]

`terminated` and `truncated` are separate. Finished episodes restart inside `step`; the observation from before the
restart survives in `final_obs`. What the task's `randomization` declares is drawn anew for each episode; rewards,
success and the critic see the world as it is, the policy sees it through its sensors.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.env.task import Array, Readings, Reset, Task, load_task
from robolearn.errors import PhysicsError, TaskError
from robolearn.sim.constants import DRAWN
from robolearn.sim.engines import make_physics
from robolearn.sim.gripper_lag import gripper_lag
from robolearn.sim.physics import ModelFields, Physics, PhysicsState, sensor_columns
from robolearn.sim.plant import Plant, change_spec
from robolearn.sim.pytree import pytree
from robolearn.sim.randomize import Randomizer, prepare
from robolearn.sim.sensing import CommandDelay, Sensing
from robolearn.sim.threefry import as_usual, written_out
from robolearn.sim.wrench import ToolWeight


@pytree
class EnvState:
    """N environments. obs [N, D], critic_obs [N, DC], reward [N], terminated [N], truncated [N] bool.

    success [N] bool is the finished episode's result, meaningful where terminated or truncated.
    final_obs, final_critic_obs are what was seen before an automatic restart, equal to obs elsewhere.
    step_count [N] control periods since the start, held [N] control periods for which the goal has been met,
    first_success [N] the control period in which the hold was first complete (-1: not yet), of the finished
    episode where done. metrics: {name: [N]}, among them every reward term, weighted, as `reward/<name>`.
    fields: the drawn physics of each episode, {MjModel field: [N, ...]}, what the engine derives from it and, as
    `drawn`, the key of the draw: when overriding fields, also change the key.
    sensing, commands: what the sensors and the command line remember; empty where nothing is declared.
    """

    physics: PhysicsState
    obs: Array
    critic_obs: Array
    reward: Array
    terminated: Array
    truncated: Array
    success: Array
    final_obs: Array
    final_critic_obs: Array
    step_count: Array
    held: Array
    first_success: Array
    memory: Any
    goal: Readings
    key: Array
    metrics: Readings
    fields: ModelFields
    sensing: Any
    commands: Any

    @property
    def done(self) -> Array:
        """Whether an episode ended in the last step, [N] bool."""
        return self.terminated | self.truncated


class _Episode(NamedTuple):
    """What an episode carries from step to step, of N environments."""

    physics: PhysicsState
    fields: ModelFields
    key: Array
    memory: Any
    goal: Readings
    sensing: Any
    commands: Any
    obs: Array
    critic_obs: Array


# Restarts are computed for this share of the environments at a time, again until none is left: few end in one step.
_AT_ONCE = 32
_POSITION = "joint_state.position"


class VecEnv:
    """num_envs copies of a task on an engine. Holds no state: everything is in `EnvState`."""

    def __init__(self, task: Task[Any], num_envs: int, engine: str = "auto", plant: Plant | None = None):
        """plant: an arm that is not the model, in its place; see `robolearn.sim.plant`. Measured positions, not the
        true ones of rewards and success, have its bias."""
        if num_envs < 1:
            raise TaskError(f"num_envs is {num_envs}, but at least 1 environment is needed.")
        _refuse_fork()
        self.task, self.num_envs = task, num_envs
        spec = _built(task, task.scene)
        self._bias = np.zeros(task.robot.dof, np.float32)
        if plant is not None:
            change_spec(spec, task.robot, plant)
            self._bias = plant.of("position_bias_rad", task.robot, 0.0).astype(np.float32)
        spec.option.timestep = 1.0 / task.config.physics_hz
        needed = {name for names in task.sensors().values() for name in names}
        for sensor in [sensor for sensor in spec.sensors if sensor.name not in needed]:
            spec.delete(sensor)  # each would be computed at every substep
        randomization = task.config.randomization
        prepare(spec, randomization)
        self.model: mujoco.MjModel = _built(task, spec.compile)
        self.physics: Physics = make_physics(engine, self.model, num_envs, task.room)
        self._columns = {name: sensor_columns(self.model, names) for name, names in task.sensors().items()}
        self._tool_weight = ToolWeight(self.model, task.sensors())
        self._check_slots()
        self._arm_qpos = np.array([self.model.joint(name).qposadr[0] for name in task.robot.joint_names])
        names = {self.model.joint(i).name for i in range(self.model.njnt)}
        fingers = [name for name in ("gripper_left", "gripper_right") if name in names]
        self._finger_qpos = np.array([self.model.joint(name).qposadr[0] for name in fingers], dtype=np.int32)
        driven = [*task.robot.joint_names, *(("gripper",) if task.uses_gripper else ())]
        names = [self.model.actuator(i).name for i in range(self.model.nu)]
        self._actuators = np.array([driven.index(n) if n in driven else len(driven) for n in names])
        self._randomizer = Randomizer(self.model, randomization, task.objects)
        period_s = 1.0 / task.config.control_hz
        self._sensing = Sensing(task.slots, randomization, period_s)
        self._delay = CommandDelay(
            randomization.action_delay_ms, period_s, task.substeps, gripper=task.uses_gripper
        )
        self._lag = None
        if task.uses_gripper:
            self._lag = gripper_lag(task.robot.gripper, randomization, period_s, task.substeps)
        self._delayed = randomization.action_delay_ms[1] > 0.0
        self._pid = os.getpid()
        self._begin = jax.jit(self._begun)
        shapes = jax.eval_shape(self.reset, jax.random.key(0))
        self.obs_size: int = shapes.obs.shape[1]
        self.critic_obs_size: int = shapes.critic_obs.shape[1]
        self.action_size: int = task.action_size
        self.control_hz, self.episode_steps = task.config.control_hz, task.episode_steps

    def reset(self, key: Array) -> EnvState:
        """Reset every environment to the start of a new episode. key: one key, or one per environment."""
        self._same_process()
        n, task = self.num_envs, self.task
        key = _typed(key, n)
        keys = key if key.ndim == 1 else jax.random.split(key, n)
        start = self._begin(self.physics.blank(), keys, jnp.arange(n))
        physics, memory, goal = start.physics, start.memory, start.goal
        no, zero = jnp.zeros(n, bool), jnp.zeros(n)
        names = jax.eval_shape(self._rewards, physics, memory, goal, jnp.zeros((n, task.action_size)))
        told = jax.eval_shape(jax.vmap(task.figures), self.readings(physics), goal)
        named = (*(f"reward/{name}" for name in names), *(f"figure/{name}" for name in told))
        metrics = dict.fromkeys((*named, "physics_failed", "overflow"), zero)
        return EnvState(
            reward=zero, terminated=no, truncated=no, success=no, final_obs=start.obs,
            final_critic_obs=start.critic_obs, step_count=jnp.zeros(n, jnp.int32), held=jnp.zeros(n, jnp.int32),
            first_success=jnp.full(n, -1, jnp.int32), metrics=metrics, **start._asdict(),
        )  # fmt: skip

    def following(self, state: EnvState) -> _Episode:
        """The episodes that come after those of state, for `step`. They depend on state.key alone."""
        return self._begin(self.physics.blank(), state.key, jnp.arange(self.num_envs))

    def rollout_step(self, state: EnvState, steps: int) -> Callable[[EnvState, Array], EnvState]:
        """`step` for a rollout of so many steps from state, with restarts that are drawn once for all of it.

        An environment whose episodes end twice in it starts the same way twice. Where all do, because a rollout is
        longer than an episode, restarts are drawn as episodes end.
        """
        return (
            self.step if steps > self.episode_steps else partial(self.step, following=self.following(state))
        )

    def step(self, state: EnvState, action: Array, following: _Episode | None = None) -> EnvState:
        """Advance every environment by one control period; restart those whose episode ends.

        following: episodes to restart with, drawn beforehand, so that nothing has to be asked of how many end. Without
        it they are drawn here, a few at a time until none is left: a loop whose condition a GPU's host reads.
        """
        self._same_process()
        wanted = (self.num_envs, self.task.action_size)
        if jnp.shape(action) != wanted:
            raise TaskError(
                f"Task '{self.task.full_name}': step takes actions of shape {wanted}, one row per environment, not "
                f"{jnp.shape(action)}."
            )
        action = jnp.clip(action, -1.0, 1.0)
        targets, memory = jax.vmap(self.task.act)(action, state.memory)
        return self.step_targets(state, targets, memory, action, following)

    def _same_process(self) -> None:
        """Raise PhysicsError in a process that was forked from the one that made the environment."""
        if os.getpid() != self._pid:
            raise PhysicsError(f"This environment was made before the process was forked{_SPAWN}")

    def step_targets(
        self,
        state: EnvState,
        targets: Readings,
        memory: Any,
        action: Array,
        following: _Episode | None = None,
    ) -> EnvState:
        """`step` for a policy that already turned its action into targets and its next memory, such as a bundle."""
        task = self.task
        fresh = state.done  # counters of the finished episode were left readable until now
        count = jnp.where(fresh, 0, state.step_count) + 1
        first = jnp.where(fresh, -1, state.first_success)
        control, commands = self._control(state, targets)
        physics = self.physics.step(state.physics, control, state.fields)
        readings = self.readings(physics)
        broken = physics.failed | (physics.overflow > 0) | ~_finite(readings)

        terms = self._rewards(physics, memory, state.goal, action)
        terms = {name: jnp.where(broken, 0.0, term) for name, term in terms.items()}
        achieved = jax.vmap(task.achieved)(readings, state.goal) & ~broken
        held = jnp.where(achieved, jnp.where(fresh, 0, state.held) + 1, 0)
        holding = held >= task.hold_steps
        first = jnp.where((first < 0) & holding, count, first)
        terminated = jax.vmap(task.failed)(readings, state.goal) | broken
        truncated = (count >= self.episode_steps) & ~terminated
        done = terminated | truncated

        sensing, measured = self._measure(state.sensing, readings)
        memory, obs, critic_obs = self._observe(readings, measured, memory, state.goal)
        obs, critic_obs = (jnp.where(broken[:, None], 0.0, x) for x in (obs, critic_obs))
        going_on = _Episode(
            physics, state.fields, state.key, memory, state.goal, sensing, commands, obs, critic_obs
        )
        after = self._restart(going_on, done) if following is None else _where(done, following, going_on)
        metrics = {f"reward/{name}": term for name, term in terms.items()}
        figures = jax.vmap(task.figures)(readings, state.goal)
        metrics |= {f"figure/{name}": jnp.where(broken, 0.0, value) for name, value in figures.items()}
        metrics |= {
            "physics_failed": broken.astype(jnp.float32),
            "overflow": physics.overflow.astype(jnp.float32),
        }
        return EnvState(
            reward=sum(terms.values(), jnp.zeros(())), terminated=terminated, truncated=truncated,
            success=holding & truncated, final_obs=obs, final_critic_obs=critic_obs, step_count=count, held=held,
            first_success=first, metrics=metrics, **after._asdict(),
        )  # fmt: skip

    def expert(self, state: EnvState) -> Array:
        """Actions of the task's expert, [N, A]. Raises TaskError if the task has none."""
        advice = jax.vmap(self.task.expert)(self.readings(state.physics), state.memory, state.goal)
        if advice is None:
            raise TaskError(
                f"Task '{self.task.name}' has no expert to play or imitate (imitation_fraction=0)."
            )
        return advice

    def readings(self, physics: PhysicsState) -> Readings:
        """Every slot's true value by name, privileged slots included, [N, ...]."""
        readings = {name: physics.sensordata[:, columns] for name, columns in self._columns.items()}
        return self._tool_weight.taken_out(readings)

    def _restart(self, now: _Episode, done: Array) -> _Episode:
        """Fresh episodes where done; the others go on."""
        n = self.num_envs
        at_once = max(n // _AT_ONCE, min(n, 16))

        def some(carry: tuple[_Episode, Array]) -> tuple[_Episode, Array]:
            now, waiting = carry
            ids = jnp.nonzero(waiting, size=at_once, fill_value=n)[0]  # n: no environment
            new = self._begin(now.physics, now.key.at[ids].get(mode="clip"), ids)
            rest = {name: _put(getattr(now, name), ids, getattr(new, name)) for name in _Episode._fields[1:]}
            return new._replace(**rest), waiting.at[ids].set(False, mode="drop")

        return jax.lax.while_loop(lambda carry: carry[1].any(), some, (now, done))[0]

    def _begun(self, physics: PhysicsState, keys: Array, ids: Array) -> _Episode:
        """Fresh episodes of the environments ids [K] from keys [K].

        physics is that of all N environments, the others' untouched; all else is of the K fresh ones.
        """
        task, k = self.task, ids.shape[0]
        parts = jax.vmap(lambda key: jax.random.split(key, 4))(written_out(keys))
        start = jax.vmap(task.reset)(parts[:, 1])
        fields, size = {}, {}
        if self._randomizer.active:
            fields, size = jax.vmap(self._randomizer.draw)(parts[:, 2])
            fields[DRAWN] = jax.random.key_data(parts[:, 2])
        width = jnp.broadcast_to(jnp.asarray(start.width, jnp.float32), (k,))[:, None]
        qpos = self._posture(start, width, size)
        physics, constants = self.physics.reset(physics, ids, qpos, jnp.zeros((k, self.model.nv)), fields)
        memory = jax.vmap(task.action.start)(start.arm, width)
        readings = {name: value.at[ids].get(mode="clip") for name, value in self.readings(physics).items()}
        sensor_keys, delay_keys = (jax.vmap(lambda k: jax.random.split(k))(parts[:, 3])[:, i] for i in (0, 1))
        sensing, measured = (), self._policy_readings(readings)
        if self._sensing.active:
            sensing, measured = jax.vmap(self._sensing.start)(sensor_keys, measured)
        commands = jax.vmap(self._delay.start)(delay_keys, start.arm, width) if self._delayed else ()
        if self._lag is not None:
            lag_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(delay_keys)
            commands = (commands, jax.vmap(self._lag.start)(lag_keys, width))
        memory, obs, critic_obs = self._observe(readings, measured, memory, start.goal)
        key = as_usual(parts[:, 0])
        return _Episode(
            physics, fields | constants, key, memory, start.goal, sensing, commands, obs, critic_obs
        )

    def _posture(self, start: Reset, width: Array, size: Readings) -> Array:
        """Joint positions [K, nq] of the starts, objects raised or lowered to their size."""
        qpos = jnp.tile(jnp.asarray(self.model.qpos0, jnp.float32), (start.arm.shape[0], 1))
        qpos = qpos.at[:, self._arm_qpos].set(start.arm)
        qpos = qpos.at[:, self._finger_qpos].set(width / 2)  # each finger moves half the opening
        for name, value in start.joints.items():
            joint = self.model.joint(name)
            body = self.model.body(joint.bodyid[0]).name
            if body in size and value.shape[1] == 7:
                value = value.at[:, 2].add(self._randomizer.lift(body, size[body]))
            address = joint.qposadr[0]
            qpos = qpos.at[:, address : address + value.shape[1]].set(value)
        return qpos

    def _control(self, state: EnvState, targets: Readings) -> tuple[Array, Any]:
        """Actuator commands of one control period, [N, substeps, nu]: one constant-acceleration segment, or what a
        delay makes of the last ones; and the commands on their way.
        """
        steps, memory = self.task.substeps, state.memory
        both: Any = state.commands if self._lag is not None else (state.commands, ())
        commands, lag = both
        if self._delayed:
            commands, arm, grip = jax.vmap(self._delay.send)(commands, targets)
        else:
            period = 1.0 / self.task.config.control_hz
            t = (jnp.arange(1, steps + 1) * (period / steps))[None, :, None]
            p0, v0 = memory.command_position[:, None], memory.command_velocity[:, None]
            v1 = targets["joint_velocity_target"][:, None]
            arm = p0 + v0 * t + 0.5 * (v1 - v0) / period * t * t
            width = targets.get("gripper_width_target", jnp.zeros((self.num_envs, 0)))
            grip = jnp.broadcast_to(width[:, None], (*arm.shape[:2], width.shape[1]))
        if self._lag is not None:
            lag, grip = jax.vmap(self._lag.send)(lag, grip)
            commands = (commands, lag)
        idle = jnp.zeros((*arm.shape[:2], 1))
        driven = jnp.concatenate([arm, grip, idle] if self.task.uses_gripper else [arm, idle], axis=2)
        order = self._actuators
        usual = np.array_equal(order, np.arange(len(order)))  # needs no gather
        return driven[:, :, : len(order)] if usual else driven[:, :, order], commands

    def _measure(self, sensing: Any, readings: Readings) -> tuple[Any, Readings]:
        measured = self._policy_readings(readings)
        return jax.vmap(self._sensing.measure)(sensing, measured) if self._sensing.active else ((), measured)

    def _policy_readings(self, readings: Readings) -> Readings:
        measured = {slot.name: readings[slot.name] for slot in self.task.slots}
        if self._bias.any():
            measured |= {
                s.name: measured[s.name] + self._bias for s in self.task.slots if s.source == _POSITION
            }
        return measured

    def _observe(self, true: Readings, measured: Readings, memory: Any, goal: Readings) -> tuple[Any, ...]:
        """The memory with what is measured, and the observations of actor and critic."""
        memory = jax.vmap(self.task.remember)(measured, memory)
        obs = jax.vmap(self.task.observe)(measured, memory, goal)
        return memory, obs, jax.vmap(self.task.critic_observe)(true, memory, goal)

    def _rewards(self, physics: PhysicsState, memory: Any, goal: Readings, action: Array) -> Readings:
        terms = jax.vmap(self.task.reward_terms)(self.readings(physics), memory, goal, action)
        weights = self.task.config.reward
        if set(weights) != set(terms):
            raise TaskError(
                f"Task '{self.task.full_name}' has reward terms {sorted(terms)} but weights for {sorted(weights)}."
            )
        return {name: weights[name] * term for name, term in terms.items()}

    def _check_slots(self) -> None:
        for slot in self.task.slots:
            columns = self._columns.get(slot.name)
            if columns is None or len(columns) != int(np.prod(slot.shape)):
                width = "no" if columns is None else str(len(columns))
                raise TaskError(
                    f"Task '{self.task.full_name}': slot '{slot.name}' has shape {slot.shape}, but its sensors give "
                    f"{width} numbers. Name its sensors in `sensors()`."
                )


def make(
    name: str,
    num_envs: int = 1024,
    engine: str = "auto",
    config: dict[str, Any] | None = None,
    plant: Plant | None = None,
) -> VecEnv:
    """The batched environment `robot/task` on an engine: auto, native, jax or warp. plant: see `VecEnv`."""
    return VecEnv(load_task(name, config), num_envs, engine, plant)


_SPAWN = (
    ", and JAX's threads do not survive a fork. Start workers with multiprocessing.get_context('spawn') "
    "(AsyncVectorEnv: context='spawn'), and make environments in them."
)
_made_in: list[int] = []  # the process that made an environment, and so started JAX


def _refuse_fork() -> None:
    """Raise PhysicsError in a process that was forked from one that had an environment: it would hang."""
    if not _made_in:
        _made_in.append(os.getpid())
    elif _made_in[0] != os.getpid():
        raise PhysicsError(f"This process was forked from one that had made an environment{_SPAWN}")


def _typed(key: Any, num_envs: int) -> Array:
    """A key, or one for each environment; old-style keys (uint32) are taken as such. Raises TaskError."""
    kind = getattr(key, "dtype", None)
    if kind == jnp.uint32 and key.ndim in (1, 2) and key.shape[-1] == 2:
        key = jax.random.wrap_key_data(jnp.asarray(key), impl="threefry2x32")
    elif kind is None or not jnp.issubdtype(kind, jax.dtypes.prng_key):
        raise TaskError(f"reset takes a key: jax.random.key(seed), not {key!r}."[:200])
    if key.ndim > 1 or (key.ndim == 1 and key.shape[0] != num_envs):
        raise TaskError(f"reset takes one key, or one for each of {num_envs} environments, not {key.shape}.")
    return key


def _built(task: Task[Any], part: Callable[[], Any]) -> Any:
    """What MuJoCo builds of the scene. Raises TaskError where a user's model file does not fit in."""
    try:
        return part()
    except ValueError as error:
        if task.robot.file.model is None:
            raise
        raise TaskError(
            f"Task '{task.full_name}' cannot be built with the model file of its robot: {error}. Where a name is "
            "repeated, rename that element in the model file."
        ) from error


def _finite(readings: Readings) -> Array:
    return jnp.stack([jnp.isfinite(value).all(axis=1) for value in readings.values()]).all(axis=0)


def _where(chosen: Array, new: Any, old: Any) -> Any:
    """Of two pytrees of [N, ...] arrays, the rows of the first where chosen [N], else those of the second."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.expand_dims(chosen, range(1, a.ndim)), a, b), new, old)


def _put(old: Any, ids: Array, new: Any) -> Any:
    """A pytree of [N, ...] arrays with rows ids [K] from one of [K, ...]; an id of N or more is not a row."""
    return jax.tree.map(lambda a, b: a.at[ids].set(b, mode="drop"), old, new)
