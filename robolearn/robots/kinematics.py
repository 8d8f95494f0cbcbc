"""Forward kinematics from the robot file alone, in numpy or any array library that looks like it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.errors import RobotError

if TYPE_CHECKING:
    from robolearn.robots.robot import Robot

Triple = tuple[float, float, float]


class ChainStep(NamedTuple):
    """One transform: by xyz [m] and rpy [rad, about the fixed x, y, z axes], then a turn about axis if revolute."""

    xyz: Triple
    rpy: Triple
    axis: Triple
    type: str
    name: str


def forward(robot: Robot, q: Any, xp: Any = np, gripper: str | None = "parallel") -> tuple[Any, Any]:
    """The tool centre point at joint positions q [..., n] rad: position [..., 3] m and rotation [..., 3, 3].

    Both in the base frame. xp: numpy or jax.numpy; with jax.numpy it can be jitted, differentiated and vmapped.
    gripper as in `Robot.spec`.
    """
    q = xp.asarray(q, dtype=float)
    position, rotation = xp.zeros(3), xp.eye(3)
    joint = 0
    for step in (*robot.chain, *robot.tool_steps(gripper)):
        offset, fixed, cross, outer = (xp.asarray(constant, dtype=float) for constant in _constants(step))
        position = position + rotation @ offset
        rotation = rotation @ fixed
        if step.type == "revolute":
            angle = q[..., joint, None, None]
            sin, cos = xp.sin(angle), xp.cos(angle)
            rotation = rotation @ (cos * xp.eye(3) + sin * cross + (1.0 - cos) * outer)
            joint += 1
    return position, rotation


def rotation_from_rpy(rpy: Any) -> NDArray[np.float64]:
    """[3, 3]: roll about x, then pitch about y, then yaw about z, all fixed axes (URDF)."""
    (sr, sp, sy), (cr, cp, cy) = np.sin(rpy), np.cos(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def rpy_from_rotation(rotation: NDArray[np.float64]) -> Triple:
    """The inverse of `rotation_from_rpy`; roll is 0 where pitch is +-90 degrees."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0]))
    if np.hypot(rotation[0, 0], rotation[1, 0]) < 1e-12:
        return 0.0, float(pitch), float(np.arctan2(-rotation[0, 1], rotation[1, 1]))
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    return float(roll), float(pitch), float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def quaternion_from_rpy(rpy: Any) -> NDArray[np.float64]:
    """[4] (w, x, y, z)."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation_from_rpy(rpy).ravel())
    return quaternion


def chain_from_model(
    model: mujoco.MjModel, joint_names: tuple[str, ...], flange: ChainStep, flange_body: str
) -> tuple[ChainStep, ...]:
    """The chain of an arm inside a compiled model. Raises RobotError unless it is one line of hinge joints."""
    body = model.body(flange_body).id
    line: list[int] = []
    while body > 0:
        line.insert(0, body)
        body = int(model.body_parentid[body])
    steps: list[ChainStep] = []
    found: list[str] = []
    for body in line:
        steps.append(_step(model.body_pos[body], _rotation(model.body_quat[body]), model.body(body).name))
        first = int(model.body_jntadr[body])
        for joint in range(first, first + int(model.body_jntnum[body])):
            name, anchor = model.joint(joint).name, model.jnt_pos[joint]
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
                raise RobotError(
                    f"Joint '{name}' on the way to '{flange_body}' is no hinge; only hinges work."
                )
            axis = _triple(model.jnt_axis[joint])
            steps.append(ChainStep(_triple(anchor), (0.0, 0.0, 0.0), axis, "revolute", name))
            steps.append(_step(-anchor, np.eye(3), f"{name} anchor"))
            found.append(name)
    if tuple(found) != joint_names:
        raise RobotError(
            f"joint_names are {list(joint_names)}, but the joints from the base to body '{flange_body}' are {found}. "
            "List exactly these, in this order."
        )
    if model.nv != len(found):
        raise RobotError(
            f"The model file has {model.nv} degrees of freedom, but joint_names has {len(found)} joints. Remove the "
            "rest from the file: robolearn mounts its own gripper."
        )
    return (*steps, flange)


def _step(xyz: Any, rotation: NDArray[np.float64], name: str) -> ChainStep:
    return ChainStep(_triple(xyz), rpy_from_rotation(rotation), (0.0, 0.0, 1.0), "fixed", name)


def _triple(values: Any) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)


def _rotation(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


@lru_cache(maxsize=1024)
def _constants(step: ChainStep) -> tuple[NDArray[np.float64], ...]:
    """Offset [3], fixed rotation, cross-product matrix of the axis, axis times its transpose [3, 3]."""
    axis = np.array(step.axis) / np.linalg.norm(step.axis)
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.array(step.xyz), rotation_from_rpy(step.rpy), cross, np.outer(axis, axis)
