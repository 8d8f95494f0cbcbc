"""The physics engines by name: one table, from which configs, tests and error messages take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from robolearn.errors import PhysicsError, unknown

if TYPE_CHECKING:
    import mujoco

    from robolearn.sim.physics import Physics, Room


def _native(model: mujoco.MjModel, num_envs: int, room: Room) -> Physics:
    del room  # MuJoCo's C engine makes its buffers as large as it needs them
    from robolearn.sim.native import NativePhysics

    return NativePhysics(model, num_envs)


def _jax(model: mujoco.MjModel, num_envs: int, room: Room) -> Physics:
    from robolearn.sim.mjx import MjxPhysics

    return MjxPhysics(model, num_envs, "jax", room)


def _warp(model: mujoco.MjModel, num_envs: int, room: Room) -> Physics:
    from robolearn.sim.mjx import MjxPhysics

    return MjxPhysics(model, num_envs, "warp", room)


# Each imports what it needs when it is asked for. `native` is the reference that the others are tested against.
ENGINES: dict[str, Callable[[mujoco.MjModel, int, Room], Physics]] = {
    "native": _native,
    "jax": _jax,
    "warp": _warp,
}


def _known(name: str) -> str:
    if name != "auto" and name not in ENGINES:
        raise ValueError(unknown("engine", name, ["auto", *ENGINES]))
    return name


EngineName = Annotated[str, AfterValidator(_known)]  # a config's key: `auto`, or a name in ENGINES


def make_physics(engine: str, model: mujoco.MjModel, num_envs: int, room: Room | None = None) -> Physics:
    """The engine by name. `auto` is `warp` where JAX has an NVIDIA GPU, `native` elsewhere. room: for `warp`.

    Raises PhysicsError for a name that is none, and for a model that the engine cannot simulate.
    """
    from robolearn.sim.jax_ready import require_jax

    require_jax()
    if engine == "auto":
        import jax

        engine = "warp" if jax.default_backend() in ("gpu", "cuda") else "native"
    if engine not in ENGINES:
        raise PhysicsError(unknown("engine", engine, [*ENGINES, "auto"]))
    from robolearn.sim.physics import Room

    return ENGINES[engine](model, num_envs, room or Room())
