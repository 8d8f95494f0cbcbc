"""How many contacts and rows of constraints one simulation needs, by task: `python -m benchmarks.room`.

    python -m benchmarks.room [--tasks fr3/push ...] [--envs 64] [--every 10]

Whole episodes of the task's expert and of random actions, with the task's randomisation, on the native engine.
At every tenth control period it tells its contacts and rows. warp also keeps pairs of geoms that are near each other in
its room for contacts, so mujoco_warp looks at the same states for pairs, contacts and rows.

A task states `enough` of these in its `rooms`, MARGIN times as much; `tests/benchmarks/test_room.py` holds it to that.
"""

from __future__ import annotations

import argparse
import math
from functools import partial

import jax
import jax.numpy as jnp
import mujoco.mjx.third_party.mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco.mjx.third_party.mujoco_warp._src.collision_core import create_collision_context
from mujoco.mjx.third_party.mujoco_warp._src.types import BroadphaseType

import robolearn
from robolearn.env.task import has_expert, load_task, task_names
from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit
from robolearn.sim.physics import Room

MARGIN = 1.5
LEAST = Room(contacts=16, rows=64)  # where there is hardly any contact
_ENOUGH = Room(contacts=256, rows=1000)  # of one simulation while it is measured


def needed(task: str, num_envs: int, every: int, periods: int | None = None) -> Room:
    """The most contacts, or near pairs, and the most rows of any simulation at any time; of `periods` or an episode."""
    env = robolearn.make(task, num_envs, "native")
    near = Near(env)
    batch = env.physics._batch
    counts = {name: batch.bind(name) for name in ("ncon", "nefc")}
    start = compiled(jit(env.reset, quick=True).lower(jax.random.key(7)))(jax.random.key(7))
    contacts = rows = 0
    some = compiled(jit(partial(_play, env, every)).lower(start, jnp.zeros((), jnp.int32), jax.random.key(0)))
    for player in range(_PLAYERS):
        state = start
        for turn in range(max(1, (periods or env.episode_steps) // every)):
            state = some(state, jnp.asarray(player, jnp.int32), jax.random.key(turn))
            found = near.look(state)
            contacts = max(contacts, found.contacts, int(counts["ncon"].max()))
            rows = max(rows, found.rows, int(counts["nefc"].max()))
    return Room(contacts, rows)


def enough(most: Room) -> Room:
    """`most` with the margin, rounded up: contacts to a multiple of 4, rows to one of 8; at least LEAST."""
    contacts, rows = 4 * math.ceil(MARGIN * most.contacts / 4), 8 * math.ceil(MARGIN * most.rows / 8)
    return Room(max(contacts, LEAST.contacts), max(rows, LEAST.rows))


_PLAYERS = 3


def _play(env: VecEnv, periods: int, state: EnvState, player: jax.Array, key: jax.Array) -> EnvState:
    """Some control periods. player: 0 random actions; 1 actions that stay, which go farther; 2 the expert's, if any."""
    size = (env.num_envs, env.action_size)
    stays = jax.random.uniform(jax.random.key(11), size, minval=-1.0)

    def one(state: EnvState, key: jax.Array) -> tuple[EnvState, None]:
        drawn = jax.random.uniform(key, size, minval=-1.0)
        action = jnp.where(player == 0, drawn, stays)
        if has_expert(env.task):
            action = jnp.where(player == 2, env.expert(state), action)
        return env.step(state, action), None

    return jax.lax.scan(one, state, jax.random.split(key, periods))[0]


class Near:
    """mujoco_warp's own counts, of the states of an environment."""

    def __init__(self, env: VecEnv):
        wp.config.log_level = wp.LOG_ERROR
        self._device = wp.ScopedDevice("cpu")
        with self._device:
            self._model = mjw.put_model(env.model)
            self._model.opt.warn_overflow = 0
            nxn = self._model.opt.broadphase == BroadphaseType.NXN
            self._broadphase = mjw.nxn_broadphase if nxn else mjw.sap_broadphase
            self._data = mjw.make_data(
                env.model, nworld=env.num_envs, naconmax=_ENOUGH.contacts * env.num_envs, njmax=_ENOUGH.rows
            )

    def look(self, state: EnvState) -> Room:
        """The most near pairs or contacts, and rows, of one simulation. Sizes that are drawn are not looked at."""
        data = self._data
        with self._device:
            data.qpos.assign(np.asarray(state.physics.qpos))
            data.qvel.assign(np.asarray(state.physics.qvel))
            mjw.fwd_position(self._model, data)
            around = create_collision_context(data.naconmax)
            data.ncollision.zero_()
            self._broadphase(self._model, data, around)
            of_world = around.collision_worldid.numpy()[: int(data.ncollision.numpy()[0])]
            found = int(data.nacon.numpy()[0])
            touching = data.contact.worldid.numpy()[:found]
            rows = int(data.nefc.numpy().max())
        return Room(max(_most(of_world), _most(touching)), rows)


def _most(worlds: np.ndarray) -> int:
    return int(np.bincount(worlds).max()) if worlds.size else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="*", default=task_names())
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--every", type=int, default=10)
    options = parser.parse_args()
    for task in options.tasks:
        most = needed(task, options.envs, options.every)
        print(
            f"{task:20s} most {tuple(most)}  enough {tuple(enough(most))}  has {tuple(load_task(task).room)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
