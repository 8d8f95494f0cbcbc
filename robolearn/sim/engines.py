"""The physics engines by name."""

from __future__ import annotations

import jax
import mujoco

from robolearn.errors import PhysicsError, unknown
from robolearn.sim.jax_ready import require_jax
from robolearn.sim.physics import ENGINES, Physics


def make_physics(engine: str, model: mujoco.MjModel, num_envs: int) -> Physics:
    """The engine by name. `auto` is `warp` where JAX has an NVIDIA GPU, `native` elsewhere."""
    require_jax()
    if engine == "auto":
        engine = "warp" if jax.default_backend() in ("gpu", "cuda") else "native"
    if engine == "native":
        from robolearn.sim.native import NativePhysics

        return NativePhysics(model, num_envs)
    if engine in ("jax", "warp"):
        from robolearn.sim.mjx import MjxPhysics

        return MjxPhysics(model, num_envs, engine)
    raise PhysicsError(unknown("engine", engine, [*ENGINES, "auto"]))
