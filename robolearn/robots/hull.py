"""Hulls: capsules and boxes that contain a link, not seen, watched by the safety monitor."""

from __future__ import annotations

import mujoco

from robolearn.robots.schema import BoxShape, CapsuleShape

_GROUP = 3  # of geoms: MuJoCo's renderer and viewer leave it out until it is asked for
_COLOR = [0.9, 0.3, 0.2, 0.4]


def add_hull_shape(
    body: mujoco.MjsBody,
    name: str,
    shape: CapsuleShape | BoxShape,
    touches: bool = True,
    mass_kg: float | None = None,
) -> None:
    """One shape of a hull on its body. touches: whether it makes contact with what has contype 1.

    mass_kg: 0 where the body's inertia comes from its other geometry.
    """
    geom = body.add_geom(name=name, rgba=_COLOR, group=_GROUP, contype=0, conaffinity=int(touches))
    if mass_kg is not None:
        geom.mass = mass_kg
    set_shape(geom, shape)


def set_shape(geom: mujoco.MjsGeom, shape: CapsuleShape | BoxShape) -> None:
    """Give a geom the kind, place and size of a shape."""
    if isinstance(shape, CapsuleShape):
        geom.type = mujoco.mjtGeom.mjGEOM_CAPSULE
        geom.fromto = [*shape.from_m, *shape.to_m]
        geom.size = [shape.radius_m, 0.0, 0.0]
    else:
        geom.type, geom.pos, geom.size = mujoco.mjtGeom.mjGEOM_BOX, shape.center_m, shape.half_size_m
