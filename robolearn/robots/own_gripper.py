"""A gripper of the user's model file as the robot's gripper: renamed, and driven like robolearn's own."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np

from robolearn.errors import RobotError
from robolearn.robots.arm_in_file import move_joints
from robolearn.robots.gripper import FINGERS, GRIPPER, Gripper, add_drive
from robolearn.robots.kinematics import (
    ChainStep,
    rotation_from_rpy,
    rpy_from_rotation,
)
from robolearn.robots.schema import GripperFile, OwnGripper

_ALONG = 0.99  # cosine between the fingers' way and the TCP's y axis
_SLIDE = mujoco.mjtJoint.mjJNT_SLIDE


def adopt_gripper(spec: mujoco.MjSpec, own: OwnGripper, generic: GripperFile) -> None:
    """Give the parts of a gripper in the file the names, the drive and the site `tcp` that robolearn's own have.

    At 0 the fingers then touch, and each moves half the opening. Raises RobotError where they are no two sliding
    fingers that move alike.
    """
    width = _check(spec, own)
    sign = 1.0 if own.closed_at == "lower" else -1.0
    closed = {name: float(spec.joint(name).range[0 if sign > 0 else 1]) for name in own.finger_joints}
    move_joints(spec, closed)
    for name, finger in zip(own.finger_joints, FINGERS, strict=True):
        joint = spec.joint(name)
        joint.name, joint.axis, joint.ref = finger, sign * np.array(joint.axis), 0.0
        joint.range, joint.limited = [0.0, width / 2.0], mujoco.mjtLimited.mjLIMITED_TRUE
        joint.armature, joint.frictionloss = generic.finger_armature_kg, 0.0
        joint.damping = [generic.finger_damping_ns_m, 0.0, 0.0]
        joint.stiffness = [0.0, 0.0, 0.0]
    palm = spec.body(own.palm_body)
    for number, geom in enumerate(palm.find_all(mujoco.mjtObj.mjOBJ_GEOM)):
        geom.name = f"{GRIPPER}part_{number}"
        if geom.conaffinity:
            geom.priority, geom.condim, geom.friction = 1, 4, generic.pad_friction
    turn = rotation_from_rpy(own.tcp_rpy_rad)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, turn.ravel())
    palm.add_site(name="tcp", pos=own.tcp_xyz_m, quat=quat, size=[0.005] * 3, rgba=[0.9, 0.2, 0.1, 0.0])
    add_drive(spec, _facts(own, generic, width))


def own_gripper_facts(spec: mujoco.MjSpec, own: OwnGripper, generic: Gripper) -> Gripper:
    """The facts of a gripper in the file. spec: with a site `flange` and the gripper not yet adopted."""
    width = _check(spec, own)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    palm, flange = model.body(own.palm_body).id, data.site("flange")
    frame = flange.xmat.reshape(3, 3)
    turn = frame.T @ data.xmat[palm].reshape(3, 3)
    offset = frame.T @ (data.xpos[palm] - flange.xpos)
    way = data.xaxis[model.joint(own.finger_joints[0]).id] * (1.0 if own.closed_at == "lower" else -1.0)
    side = data.xmat[palm].reshape(3, 3) @ rotation_from_rpy(own.tcp_rpy_rad)[:, 1]
    if way @ side < _ALONG:
        along = np.round(way @ data.xmat[palm].reshape(3, 3), 2)
        raise RobotError(
            f"model.gripper: finger '{own.finger_joints[0]}' opens along {along} in the palm's frame, which is not the "
            "y axis of the TCP: set tcp_rpy_rad, or name the other finger first."
        )
    x, y, z = (float(v) for v in offset)
    a, b, c = (float(v) for v in own.tcp_xyz_m)
    roll, pitch, yaw = own.tcp_rpy_rad
    return replace(
        generic,
        label=f"the gripper '{own.palm_body}' of the model file",
        source="the model file",
        trust="secondary",
        width_max_m=width,
        grip_force_n=own.grip_force_n,
        mass_kg=float(model.body_subtreemass[palm]),
        mount=ChainStep((x, y, z), rpy_from_rotation(turn), (0.0, 0.0, 1.0), "fixed", "gripper mount"),
        tcp=ChainStep((a, b, c), (roll, pitch, yaw), (0.0, 0.0, 1.0), "fixed", "tcp"),
        file=_facts(own, generic.file, width),
    )


def _facts(own: OwnGripper, generic: GripperFile, width: float) -> GripperFile:
    return generic.model_copy(update={"width_max_m": width, "grip_force_n": own.grip_force_n})


def _check(spec: mujoco.MjSpec, own: OwnGripper) -> float:
    """The opening, m, between fingers that move alike."""
    travel = []
    for name in own.finger_joints:
        joint = spec.joint(name)
        if joint.type != _SLIDE:
            raise RobotError(
                f"model.gripper: '{name}' is not a sliding finger; fingers that turn are not supported. Cut the "
                "gripper (model.cut), and robolearn's own is mounted, or keep it closed (model.keep)."
            )
        travel.append(float(joint.range[1] - joint.range[0]))
    if travel[0] <= 0.0 or abs(travel[0] - travel[1]) > 1e-3:
        raise RobotError(
            f"model.gripper: the fingers move {travel[0]:g} and {travel[1]:g} m, expected equal strokes."
        )
    return travel[0] + travel[1]
