"""Rotations as the tasks need them: quaternions are (w, x, y, z), in JAX, one at a time."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from robolearn.env.task import Array
from robolearn.robots.kinematics import takes_few_operations


def rotation_of(quat: Array) -> Array:
    """Rotation [3, 3] of a unit quaternion [4]."""
    if takes_few_operations():
        return jnp.eye(3) + 2.0 * (jnp.outer(quat, quat).ravel() @ _ROTATION).reshape(3, 3)
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    return jnp.stack(
        [
            jnp.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            jnp.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            jnp.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )


def _rotation() -> NDArray[np.float32]:
    """[16, 9]: how the products w w, w x, .. z z of a quaternion make up half of its rotation less the identity."""
    w, x, y, z = range(4)
    entries = (
        ((-1, y, y), (-1, z, z)), ((1, x, y), (-1, w, z)), ((1, x, z), (1, w, y)),
        ((1, x, y), (1, w, z)), ((-1, x, x), (-1, z, z)), ((1, y, z), (-1, w, x)),
        ((1, x, z), (-1, w, y)), ((1, y, z), (1, w, x)), ((-1, x, x), (-1, y, y)),
    )  # fmt: skip
    table = np.zeros((4, 4, 9), np.float32)
    for entry, terms in enumerate(entries):
        for sign, i, j in terms:
            table[i, j, entry] += sign
    return table.reshape(16, 9)


_ROTATION = _rotation()


def quat_of(rotation: Array) -> Array:
    """Unit quaternion [4] of a rotation [3, 3], from whichever of its parts is largest (Shepperd 1978)."""
    m = rotation
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    squares = jnp.stack([trace, m[0, 0], m[1, 1], m[2, 2]])
    candidates = jnp.stack(
        [
            jnp.stack([1 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]),
            jnp.stack([m[2, 1] - m[1, 2], 1 + 2 * m[0, 0] - trace, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]]),
            jnp.stack([m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 + 2 * m[1, 1] - trace, m[1, 2] + m[2, 1]]),
            jnp.stack([m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + 2 * m[2, 2] - trace]),
        ]
    )
    quat = candidates[jnp.argmax(squares)]
    return quat / jnp.linalg.norm(quat)


def turn_about_z(yaw: Array) -> Array:
    """Unit quaternion [4] of a turn about z by yaw, a scalar in rad."""
    zero = jnp.zeros_like(yaw)
    return jnp.stack([jnp.cos(0.5 * yaw), zero, zero, jnp.sin(0.5 * yaw)])


def angle_between(a: Array, b: Array) -> Array:
    """The angle in rad of the turn from rotation a to rotation b, [3, 3] each. Smooth except at 0 and pi."""
    cosine = 0.5 * (jnp.sum(a * b) - 1.0)
    return jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
