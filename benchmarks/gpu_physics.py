"""Physics steps/s of an MJX engine, and of mujoco_warp with nothing of ours around it, from the same starts."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.errors import MissingDependency
from robolearn.sim.jit import jit
from robolearn.sim.physics import ModelFields, Physics, Room

PERIODS = 8  # control periods in one call of the jitted program


class Timed(NamedTuple):
    """rate: physics steps/s of all simulations together. compile_s: the first call, compiling included."""

    rate: float
    compile_s: float


def starts(env: VecEnv) -> tuple[EnvState, jax.Array]:
    """The starts of episodes, and the commands [N, substeps, nu] that hold the arm where it is."""
    state = jit(env.reset, quick=True)(jax.random.key(0))
    return state, holding(env, state)


def holding(env: VecEnv, state: EnvState) -> jax.Array:
    """Commands [N, substeps, nu] of a control period in which the last targets stay."""
    stay = {
        "joint_position_target": state.memory.command_position,
        "joint_velocity_target": 0.0 * state.memory.command_velocity,
        "gripper_width_target": getattr(state.memory, "command_width", jnp.zeros((env.num_envs, 1))),
    }
    return env._control(state, stay)[0]


def engine_steps(
    physics: Physics, state: EnvState, ctrl: jax.Array, fields: ModelFields, *, seconds: float
) -> Timed:
    """Of an engine, with `fields` as drawn, for at least so many seconds after compiling."""

    def roll(at: Any, ctrl: Any, fields: Any) -> Any:
        return jax.lax.scan(lambda at, _: (physics.step(at, ctrl, fields), None), at, length=PERIODS)[0]

    rolled, at = jit(roll), [state.physics]

    def call() -> None:
        at[0] = jax.block_until_ready(rolled(at[0], ctrl, fields))

    return _timed(call, physics.num_envs * PERIODS * ctrl.shape[1], seconds)


def bare_warp(
    model: mujoco.MjModel, room: Room, state: EnvState, ctrl: jax.Array, *, seconds: float
) -> Timed:
    """Of mujoco_warp alone: one model for all and no sensors, buffers of the same size, one CUDA graph on a GPU."""
    try:
        import mujoco.mjx.third_party.mujoco_warp as mjw
        import warp as wp
    except ImportError as error:
        raise MissingDependency(f"Bare mujoco_warp needs warp-lang: {error}") from None
    count, substeps = ctrl.shape[:2]
    model = copy.copy(model)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
    on_gpu = jax.default_backend() != "cpu"
    with wp.ScopedDevice("cuda:0" if on_gpu else "cpu"):
        there = mjw.put_model(model)
        there.opt.warn_overflow = 0
        data = mjw.make_data(model, nworld=count, naconmax=room.contacts * count, njmax=room.rows)
        for name in ("qpos", "qvel", "qacc_warmstart"):
            getattr(data, name).assign(np.asarray(getattr(state.physics, name)))
        data.ctrl.assign(np.asarray(ctrl[:, 0]))

        def periods() -> None:
            for _ in range(substeps):
                mjw.step(there, data)

        periods()  # compiles
        launch: Callable[[], Any] = periods
        if on_gpu:
            with wp.ScopedCapture() as capture:
                periods()
            graph: Any = capture.graph
            launch = lambda: wp.capture_launch(graph)  # noqa: E731

        def call() -> None:
            for _ in range(PERIODS):
                launch()
            wp.synchronize()

        return _timed(call, count * PERIODS * substeps, seconds)


def _timed(call: Callable[[], None], steps: int, seconds: float) -> Timed:
    begun = time.perf_counter()
    call()
    compile_s = time.perf_counter() - begun
    took: list[float] = []
    while len(took) < 3 or sum(took) < seconds:
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return Timed(steps / float(np.median(took)), compile_s)
