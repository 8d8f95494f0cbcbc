"""What a control step costs on paper: bytes, operations and launches, from the programs themselves; on any machine.

    python -m benchmarks.paper [--task fr3/pick_cube] [--envs 64]

XLA's parts are lowered one by one, since it counts the body of a loop once: what is done around physics, a restart of
one environment with and without the constants that follow drawn values, one gradient step of two sizes. Their bytes are
those that XLA's cost analysis counts after fusion on this machine; instructions of the compiled program stand for
launches. Of warp the launches of one substep are counted as they happen, and the bytes are those of the arrays that a
step is handed. docs/explain/scaling.md says what follows from it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco.mjx.third_party.mujoco_warp as mjw
import numpy as np
import warp as wp

import robolearn
from robolearn.env.vec_env import VecEnv
from robolearn.learn.groups import AXIS
from robolearn.learn.learner import init_learner
from robolearn.learn.rollout import Transition
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.learn.update import epochs, samples_of
from robolearn.sim.constants import derived_names
from robolearn.sim.derived import DerivedConstants
from robolearn.sim.physics import Physics, PhysicsState, Room

_NO_LAUNCH = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "reshape", "after-all"}


def paper(task: str, num_envs: int) -> dict[str, Any]:
    """Costs of the parts, of num_envs environments together where not said otherwise."""
    config = train_config(task, None, [f"num_envs={num_envs}", "groups=1"])
    env = robolearn.make(task, num_envs, "native", config.env)
    around = _still(env, num_envs)
    state = jax.eval_shape(around.reset, jax.random.key(0))
    found: dict[str, Any] = {"task": task, "num_envs": num_envs, "substeps": env.task.substeps}
    found["state_bytes_per_env"] = _bytes(state) / num_envs
    found["drawn_bytes_per_env"] = _bytes(state.fields) / num_envs
    found["warp_substep"] = warp_substep(env)
    action = jax.ShapeDtypeStruct((num_envs, env.action_size), jnp.float32)
    found["around_physics"] = cost(around.step, state, action)
    for name, drawn in (("restart", True), ("restart_without_constants", False)):
        found[name] = cost(partial(_restart, _still(env, num_envs, constants=drawn)), state)
    few, more = (gradient_step(config, env, count) for count in (num_envs, 4 * num_envs))
    found["gradient_step"] = few
    # what depends on the rows of a minibatch, and what parameters and their optimiser cost whatever the rows are
    each = {name: (more[name] - few[name]) / (more["rows"] - few["rows"]) for name in ("bytes", "flops")}
    found["gradient_step_a_sample"] = each
    found["gradient_step_without_samples"] = {name: few[name] - each[name] * few["rows"] for name in each}
    return found


def cost(function: Any, *arguments: Any) -> dict[str, float]:
    """Bytes, operations and instructions of a compiled program, bodies of loops counted once."""
    compiled = jax.jit(function).lower(*arguments).compile()
    counts: Any = compiled.cost_analysis()
    text = compiled.as_text() or ""
    entry = text[text.index("ENTRY") :]
    kinds = re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = (?:\(.*?\)|\S+) ([\w-]+)\(", entry, re.MULTILINE)
    return {
        "bytes": float(counts.get("bytes accessed", 0.0)),
        "flops": float(counts.get("flops", 0.0)),
        "instructions": sum(kind not in _NO_LAUNCH for kind in kinds),
    }


class _Still(Physics):
    """An engine that does nothing but what the device does for it in JAX: sensors, and constants at a restart."""

    engine = "still"

    def __init__(self, real: Any, num_envs: int, constants: bool):
        super().__init__(real.model, num_envs)
        self._real, self._derived = real, DerivedConstants(real.model) if constants else None

    def step(self, state: PhysicsState, ctrl: Any, fields: Any) -> PhysicsState:
        moved = state.qpos + 0.0 * ctrl.sum()
        return state.replace(qpos=moved, sensordata=self._real._compute(moved, state.qvel, fields))

    def _look(self, ids: Any, qpos: Any, qvel: Any, fields: Any) -> Any:
        wanted = self._derived is not None and derived_names(self.model, fields)
        constants = jax.vmap(self._derived)(fields) if self._derived and wanted else {}
        return self._real._compute(qpos, qvel, fields), constants


def _still(env: VecEnv, num_envs: int, *, constants: bool = True) -> VecEnv:
    other = robolearn.make(env.task.full_name, num_envs, "native", env.task.config.model_dump(mode="json"))
    other.physics = _Still(env.physics, num_envs, constants)
    return other


def _restart(env: VecEnv, state: Any) -> Any:
    """Of one environment."""
    return env._begin(state.physics, state.key[:1], jnp.zeros(1, jnp.int32))


def warp_substep(env: VecEnv) -> dict[str, Any]:
    """Launches of one mujoco_warp step, and bytes of what it is handed of one simulation."""
    wp.config.log_level = wp.LOG_ERROR
    room = env.task.room
    state = jax.jit(env.reset)(jax.random.key(0)).physics
    with wp.ScopedDevice("cpu"):
        model = mjw.put_model(env.model)
        model.opt.warn_overflow = 0
        count = env.num_envs
        data = mjw.make_data(env.model, nworld=count, naconmax=room.contacts * count, njmax=room.rows)
        data.qpos.assign(np.asarray(state.qpos))
        mjw.step(model, data)
        with _counted() as launches:
            mjw.step(model, data)
        plenty = Room()
        more = mjw.make_data(env.model, nworld=count, naconmax=plenty.contacts * count, njmax=plenty.rows)
    return {
        "launches": launches,
        "room": tuple(room),
        "bytes_per_env": _warp_bytes(data) / count,
        "bytes_per_env_with_plenty_of_room": _warp_bytes(more) / count,
    }


def _warp_bytes(data: Any) -> int:
    return sum(value.size * wp.types.type_size_in_bytes(value.dtype) for value in _arrays(data))


def _arrays(data: Any) -> Iterator[Any]:
    for value in vars(data).values():
        if isinstance(value, wp.array):
            yield value
        elif hasattr(value, "__dataclass_fields__"):
            yield from _arrays(value)


@contextmanager
def _counted() -> Iterator[dict[str, int]]:
    """How often warp starts a kernel, or sets or copies an array, by kind."""
    counts = {"kernels": 0, "sets_and_copies": 0}
    places = [(wp, "launch", "kernels"), (wp, "launch_tiled", "kernels"), (wp, "copy", "sets_and_copies")]
    places += [(wp.array, "zero_", "sets_and_copies"), (wp.array, "fill_", "sets_and_copies")]
    before = [(where, name, getattr(where, name)) for where, name, _ in places]

    def counting(real: Any, kind: str) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[kind] += 1
            return real(*arguments, **keywords)

        return call

    try:
        for (where, name, kind), (_, _, real) in zip(places, before, strict=True):
            setattr(where, name, counting(real, kind))
        yield counts
    finally:
        for where, name, real in before:
            setattr(where, name, real)


def gradient_step(config: TrainConfig, env: VecEnv, num_envs: int) -> dict[str, Any]:
    """One minibatch of the update of so many environments, its rows, and the bytes of the gradient that devices
    exchange for it.
    """
    ppo = config.ppo
    learner = init_learner(config, env, jax.random.key(0))
    t, n = ppo.rollout_steps, num_envs
    rows_each = t * n // ppo.minibatches
    whole = Transition(
        obs=jnp.zeros((t, n, env.obs_size)), critic_obs=jnp.zeros((t, n, env.critic_obs_size)),
        final_critic_obs=jnp.zeros((t, n, env.critic_obs_size)), action=jnp.zeros((t, n, env.action_size)),
        log_prob=jnp.zeros((t, n)), reward=jnp.zeros((t, n)), terminated=jnp.zeros((t, n), bool),
        truncated=jnp.zeros((t, n), bool), expert=None,
    )  # fmt: skip

    def prepare(learner: Any, steps: Any) -> Any:
        return samples_of(ppo, learner, steps, env.episode_steps)

    def step(learner: Any, steps: Any, rows: Any) -> Any:
        samples, _ = samples_of(ppo, learner, steps, env.episode_steps)
        return epochs(config, learner, samples, rows, jnp.asarray(0.9))

    mesh = jax.make_mesh((1,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec()

    def sharded(function: Any, count: int) -> Any:
        return jax.shard_map(function, mesh=mesh, in_specs=(spec,) * count, out_specs=spec, check_vma=False)

    before = cost(sharded(prepare, 2), learner, whole)
    both = cost(sharded(step, 3), learner, whole, jnp.zeros((1, rows_each), jnp.int32))
    one = {name: both[name] - before[name] for name in both}
    return one | {"rows": rows_each, "gradient_bytes": _bytes(learner.params), "samples": before}


def _bytes(tree: Any) -> int:
    return sum(
        int(np.prod(leaf.shape)) * (leaf.dtype.itemsize if hasattr(leaf.dtype, "itemsize") else 8)
        for leaf in jax.tree.leaves(tree)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="fr3/pick_cube")
    parser.add_argument("--envs", type=int, default=64)
    options = parser.parse_args()
    print(json.dumps(paper(options.task, options.envs), indent=1))


if __name__ == "__main__":
    main()
