"""The learner beside bare physics of the same model, in the same minute.

    python -m benchmarks.learn [TASK] [key=value ...]

Prints control steps per second of the C engine alone and of whole PPO iterations, their ratio, and how long building
and compiling take. The engine steps from the states that the learner has come to, with its last commands held: an arm
that holds a cube costs half as much again as one that touches nothing.
"""

from __future__ import annotations

import sys
import time

import jax

from benchmarks.envs import alternate, bare_steps
from robolearn.env.vec_env import make
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.train_config import train_config

WARM_UP = 12  # iterations: episodes of every age, most of the arms at work
ROUNDS = 10


def main() -> None:
    task = sys.argv[1] if len(sys.argv) > 1 else "fr3/pick_cube"
    config = train_config(task, None, [*sys.argv[2:], "engine=native"])
    begun = time.perf_counter()
    env = make(config.task, config.num_envs, config.engine, config.env)
    mesh = data_mesh()
    state, stop = first_state(config, env, mesh), per_device(mesh, False)
    built = time.perf_counter()
    iterate = make_iteration(config, env, mesh).lower(state, stop).compile()
    compiled = time.perf_counter()

    def iteration() -> float:
        nonlocal state
        begin = time.perf_counter()
        state, metrics = iterate(state, stop)
        jax.block_until_ready(metrics)
        return config.steps_per_iteration / (time.perf_counter() - begin)

    for _ in range(WARM_UP):
        iteration()
    learner, engine, ratio = alternate(iteration, bare_steps(env, state.env), ROUNDS)
    print(f"{task}, {env.num_envs} environments, {jax.devices()[0]}; control steps/s")
    print(f"learner {learner:9,.0f}  bare {engine:9,.0f}  learner / bare {ratio:.3f}")
    print(f"building {built - begun:.1f} s, compiling {compiled - built:.1f} s")


if __name__ == "__main__":
    main()
