"""Control steps per second of the batched environments, as ratios measured in the same minute on the same machine.

    python benchmarks/envs.py [--tasks fr3/reach,...] [--envs 1024] [--subproc] [--single] [--mjx]

bare: `mujoco.batch.Batch.step(nstep)` on the same model and threads, from the same states with the same commands,
nothing else.
vec: `VecEnv.step` on `native` with observation, reward, the task's randomisation and auto-reset, episodes staggered.
The two alternate; the median of the ratios of neighbours is printed, because other work on the machine slows both.
single: one Gymnasium environment in a process of its own on one core, per second of that core, beside `mujoco.mj_step`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.batch import Batch

import robolearn
from robolearn.env.task import task_names
from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.sim.jit import jit

CHUNK = 20  # control steps between two looks at the clock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default=",".join(t for t in task_names() if t.startswith("fr3/")))
    parser.add_argument("--envs", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--subproc", action="store_true", help="also SB3's SubprocVecEnv of the Gymnasium face"
    )
    parser.add_argument("--single", action="store_true", help="also one Gymnasium environment on one core")
    parser.add_argument("--mjx", action="store_true", help="also MJX-JAX on this CPU")
    options = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, {options.envs} environments; control steps/s")
    for name in options.tasks.split(","):
        env = robolearn.make(name, options.envs, "native")
        vec = vec_steps(env)
        for _ in range(3):
            vec()
        bare = bare_steps(env, vec.state[0])  # pyright: ignore[reportFunctionMemberAccess]
        rates = alternate(vec, bare, options.rounds)
        print(
            f"{name:22s} vec {rates[0]:9,.0f}  bare {rates[1]:9,.0f}  vec / bare {rates[2]:.3f}", flush=True
        )
        if options.subproc:
            rates = alternate(vec, subproc_steps(name), 3)
            print(f"{'':22s} SubprocVecEnv {rates[1]:,.0f}  vec / SubprocVecEnv {rates[2]:.1f}", flush=True)
        if options.single:
            with multiprocessing.get_context("spawn").Pool(1, pin) as pool:
                single, physics = pool.apply(single_steps, (name,))
            print(
                f"{'':22s} single {single:,.0f}  mj_step alone {physics:,.0f}  single / mj_step "
                f"{single / physics:.3f} (control steps per CPU second)",
                flush=True,
            )
        if options.mjx:
            rates = alternate(vec, vec_steps(robolearn.make(name, 64, "jax"), chunk=2), 3)
            print(f"{'':22s} MJX-JAX (64 envs) {rates[1]:,.0f}  vec / MJX-JAX {rates[2]:,.0f}", flush=True)


def alternate(a: Callable[[], float], b: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Median rates of a and b, and the median of their ratio over neighbouring rounds."""
    a(), b()  # compile, warm up
    pairs = np.array([(a(), b()) for _ in range(rounds)])
    return (*np.median(pairs, axis=0), float(np.median(pairs[:, 0] / pairs[:, 1])))


def vec_steps(env: VecEnv, chunk: int = CHUNK) -> Callable[[], float]:
    """Times random actions through the environment, restarts spread evenly over time."""
    n, actions = env.num_envs, random_actions(env, chunk)

    def roll(state, actions):
        return jax.lax.scan(lambda state, action: (env.step(state, action), None), state, actions)[0]

    compiled = jit(roll)
    start = jit(env.reset)(jax.random.key(0))
    spread = jnp.arange(n, dtype=jnp.int32) % env.episode_steps
    env_state = [start.replace(step_count=spread)]

    def timed() -> float:
        begin = time.perf_counter()
        env_state[0] = jax.block_until_ready(compiled(env_state[0], actions))
        return n * chunk / (time.perf_counter() - begin)

    timed.state = env_state  # pyright: ignore[reportFunctionMemberAccess]
    return timed


def random_actions(env: VecEnv, chunk: int) -> jax.Array:
    """The same [chunk, N, A] for everyone who is timed."""
    shape = (chunk, env.num_envs, env.action_size)
    return jax.random.uniform(jax.random.key(1), shape, minval=-1, maxval=1)


def bare_steps(env: VecEnv, state: EnvState) -> Callable[[], float]:
    """Times the bare batch from the physics of these environments, with the commands that random actions give."""
    batch = Batch(env.model, env.num_envs, nthread=len(os.sched_getaffinity(0)))
    names = ("time", "qpos", "qvel", "act", "qacc_warmstart")
    start = {name: np.asarray(getattr(state.physics, name), float) for name in names}

    def commands(state: EnvState, action: jax.Array) -> tuple[EnvState, Any]:
        after = env.step(state, action)
        return after, after.memory

    actions = random_actions(env, CHUNK)
    no_restart = state.replace(step_count=jnp.zeros_like(state.step_count))
    memory = jit(lambda state: jax.lax.scan(commands, state, actions))(no_restart)[1]
    ctrl = np.zeros((CHUNK, env.num_envs, env.model.nu))
    for i, joint in enumerate(env.task.robot.joint_names):
        ctrl[:, :, env.model.actuator(joint).id] = memory.command_position[:, :, i]
    if env.task.uses_gripper:
        ctrl[:, :, env.model.actuator("gripper").id] = memory.command_width[:, :, 0]
    wanted = batch.bind("ctrl")

    def timed() -> float:
        for name, value in start.items():
            row = batch.bind(name)
            row[:] = value.reshape(row.shape)
        begin = time.perf_counter()
        for now in ctrl:
            wanted[:] = now
            batch.step(nstep=env.task.substeps)
        return env.num_envs * CHUNK / (time.perf_counter() - begin)

    return timed


def subproc_steps(name: str) -> Callable[[], float]:
    """Times one process for each core, each with a single Gymnasium environment: SB3's usual way."""
    from stable_baselines3.common.vec_env import SubprocVecEnv

    def one():
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        from robolearn.env.gym import GymEnv

        return GymEnv(name)

    processes = max(2, len(os.sched_getaffinity(0)))
    envs = SubprocVecEnv([one] * processes, start_method="spawn")
    envs.reset()
    actions = np.zeros((processes, *envs.action_space.shape), np.float32)

    def timed() -> float:
        begin = time.perf_counter()
        for _ in range(200):
            envs.step(actions)
        return processes * 200 / (time.perf_counter() - begin)

    return timed


def pin() -> None:
    """Keep this process on one core: with more, JAX hands every step to another thread, at twice the CPU time."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def single_steps(name: str, steps: int = 1000) -> tuple[float, float]:
    """Control steps per CPU second of one Gymnasium environment with random actions, and of `mj_step` alone."""
    from robolearn.env.gym import GymEnv

    env = GymEnv(name)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)
    model, substeps = env.robolearn.model, env.robolearn.task.substeps
    data = mujoco.MjData(model)

    def stepped() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    def bare() -> None:
        for _ in actions:
            mujoco.mj_step(model, data, substeps)

    def rate(run: Callable[[], None]) -> float:
        run()
        begin = time.process_time()
        run()
        return steps / (time.process_time() - begin)

    return rate(stepped), rate(bare)


if __name__ == "__main__":
    main()
