"""Contacts of the `jax` engine: points that MJX's colliders repeat take part once.

Between two boxes or convex meshes MJX returns four points of the polygon in which they touch. Where it has fewer
corners, as where a box stands on an edge or a corner, it returns some of them again, and each of them pushes: four
equal contacts are four times as stiff as the one that MuJoCo's C engine has there.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import mujoco
from mujoco import mjx

# Corners of one polygon that are computed from two of its edges differ by rounding: by less than 1e-7 m in 4,000 random
# poses of two boxes within a metre, where of other points of one pair none were closer than 3e-6 m.
SAME_POINT_M = 1e-5
SAME_NORMAL = 1e-3  # length of the difference; boxes have one normal for all points of a pair
_NO_CONTACTS = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
_APART_M = 1.0  # what MJX itself gives a point that does not touch


def forward(model: Any, data: Any) -> Any:
    """`mjx.forward` of the `jax` engine, with each contact point once. model, data: of one simulation."""
    if data._impl.ncon == 0 or model.opt.disableflags & _NO_CONTACTS:
        return mjx.forward(model, data)
    data = mjx.fwd_position(model, data)
    distance = distinct(data._impl.contact)
    # Rows are made a second time. The first ones are not used, and XLA removes what made them.
    data = mjx.make_constraint(model, data.tree_replace({"_impl.contact.dist": distance}))
    data = mjx.sensor_pos(model, data)
    data = mjx.sensor_vel(model, mjx.fwd_velocity(model, data))
    data = mjx.fwd_acceleration(model, mjx.fwd_actuation(model, data))
    return mjx.sensor_acc(model, mjx.solve(model, data))


def distinct(contact: Any) -> Any:
    """Distances of contacts, [C] m, where a point that is there already is moved out of reach.

    A repeat has the same pair of geoms, the same place and the same normal as another point. The deepest of them stays,
    of equal ones the first. Shapes are fixed: every point is compared with every other one.
    """
    distance = contact.dist
    order = jnp.arange(distance.shape[0])
    deeper = (distance[:, None] < distance) | ((distance[:, None] == distance) & (order[:, None] < order))
    same_pair = (contact.geom[:, None] == contact.geom).all(-1)
    near = jnp.square(contact.pos[:, None] - contact.pos).sum(-1) < SAME_POINT_M**2
    normal = contact.frame[:, 0]
    aligned = jnp.square(normal[:, None] - normal).sum(-1) < SAME_NORMAL**2
    repeat = (deeper & same_pair & near & aligned).any(0)
    return jnp.where(repeat, _APART_M + contact.includemargin, distance)
