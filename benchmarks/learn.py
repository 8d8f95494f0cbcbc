"""The learner beside bare physics of the same model: steps per second, and where the time goes.

    python benchmarks/learn.py [TASK] [key=value ...]

Prints, for one process on this machine: the C engine alone, the environment alone, and a whole PPO iteration, each in
control steps per second and as a share of the engine alone; the share of an iteration spent in the environment; and
how long building and compiling take. CPU time is printed too, so that a busy machine shows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from robolearn.env import make
from robolearn.learn.command import train_config
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.learner import make_iteration

REPEATS = 5


def rate(run: Callable[[], Any], steps: int) -> tuple[float, float]:
    """Median steps per second over REPEATS runs, and CPU seconds per million steps."""
    walls, cpus = [], []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return steps / float(np.median(walls)), float(np.median(cpus)) / steps * 1e6


def bare_engine(env: Any, steps: int) -> tuple[float, float]:
    """`mujoco.batch.Batch` alone: the same model, states, number of simulations and substeps; no JAX."""
    import mujoco
    from mujoco.batch import Batch

    batch = Batch(env.model, env.num_envs)
    home = env.model.key_qpos[0] if env.model.nkey else env.model.qpos0
    batch.bind("qpos")[:] = home
    ctrl = np.zeros((env.num_envs, env.task.substeps, env.model.nu))
    ctrl[:] = env.model.key_ctrl[0] if env.model.nkey else 0.0

    def run() -> None:
        for _ in range(steps):
            batch.rollout(env.task.substeps, ctrl, int(mujoco.mjtState.mjSTATE_CTRL), record=())

    run()
    return rate(run, steps * env.num_envs)


def main() -> None:
    task = sys.argv[1] if len(sys.argv) > 1 else "fr3/reach"
    config = train_config(task, None, [*sys.argv[2:], "engine=native"])
    steps = config.ppo.rollout_steps
    begun = time.perf_counter()
    env = make(config.task, config.num_envs, config.engine, config.env)
    mesh = data_mesh()
    state = first_state(config, env, mesh)
    built = time.perf_counter()
    stop = per_device(mesh, False)
    iterate = make_iteration(config, env, mesh).lower(state, stop).compile()
    compiled = time.perf_counter()

    @jax.jit
    def wander(env_state: Any, key: jax.Array) -> Any:
        def one(s: Any, k: jax.Array) -> tuple[Any, None]:
            return env.step(s, jax.random.uniform(k, (env.num_envs, env.action_size), minval=-1.0)), None

        return jax.lax.scan(one, env_state, jax.random.split(key, steps))[0]

    held = {"state": state, "env": wander(state.env, jax.random.key(0))}

    def environment() -> None:
        held["env"] = jax.block_until_ready(wander(held["env"], jax.random.key(1)))

    def iteration() -> None:
        held["state"], metrics = iterate(held["state"], stop)
        jax.block_until_ready(metrics)

    iteration()
    per_run = steps * env.num_envs
    rows = {
        "engine alone": bare_engine(env, steps),
        "environment": rate(environment, per_run),
        "PPO iteration": rate(iteration, per_run),
    }
    engine = rows["engine alone"][0]
    print(
        f"{task}, {env.num_envs} environments, {env.task.substeps} physics steps per control step, {jax.devices()[0]}"
    )
    print(f"{'':16}{'steps/s':>10}{'of engine':>12}{'CPU s per 1M':>15}{'engine / this':>16}")
    for name, (per_s, cpu) in rows.items():
        print(
            f"{name:16}{per_s:10,.0f}{per_s / engine:12.2f}{cpu:15.1f}{rows['engine alone'][1] / cpu:16.2f}"
        )
    share = rows["PPO iteration"][0] / rows["environment"][0]
    print(f"share of an iteration spent in the environment: {share:.0%} of wall time")
    print(f"building {built - begun:.1f} s, compiling {compiled - built:.1f} s")


if __name__ == "__main__":
    main()
