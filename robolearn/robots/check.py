"""`check_robot`: everything that is missing or contradictory in a robot file, found in one go."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robolearn.errors import RobotError
from robolearn.robots.consistency import contradictions, missing
from robolearn.robots.drives import questioned_torques
from robolearn.robots.kinematics import rotation_from_rpy
from robolearn.robots.model_file import links_without_mass
from robolearn.robots.model_limits import wider_than_model
from robolearn.robots.robot import Robot, read_robot_file, robot_from_file
from robolearn.robots.schema import RobotFile
from robolearn.robots.watched import unwatched_advice, unwatched_links

_AT_FLANGE_M = 0.01  # a joint nearer than this says nothing about the way out of the arm
_BACK = -0.7  # cosine of the angle to that way, from which on the axis points back


def check_robot(path: str | Path) -> list[str]:
    """Findings, one sentence each; an empty list means that the robot loads, compiles and lacks nothing.

    A limit wider than that of the arm's own MJCF or URDF file is one.
    Limits that are `null` with a note are declared as unpublished, and are no finding.
    """
    path = Path(path).expanduser()
    try:
        file = read_robot_file(path)
    except RobotError as error:
        return [str(error)]
    problems = contradictions(file)
    if not problems:
        try:
            robot = robot_from_file(path)
            model = robot.spec().compile()
            if unwatched := unwatched_links(model):
                problems.append(unwatched_advice(unwatched, path.name, model))
            problems += questioned_torques(file, model, robot.limits)
            problems += wider_than_model(file, path.parent)
            problems += _guessed_masses(file, path.parent)
            problems += _gripper_into_the_arm(robot)
        except (RobotError, ValueError) as error:
            problems.append(str(error))
    return problems + missing(file)


def _gripper_into_the_arm(robot: Robot) -> list[str]:
    """Whether the flange's z axis goes against the way to it from the last joint that is not at it, at zero."""
    own = robot.file.model
    if own is None or own.gripper is not None:
        return []
    position, turn, joints = np.zeros(3), np.eye(3), []
    for step in robot.chain:
        position, turn = position + turn @ np.asarray(step.xyz), turn @ rotation_from_rpy(step.rpy)
        if step.type == "revolute":
            joints.append(position)
    away = [position - joint for joint in joints if np.linalg.norm(position - joint) > _AT_FLANGE_M]
    if not away or away[-1] @ turn[:, 2] > _BACK * np.linalg.norm(away[-1]):
        return []
    sentence = (
        f"The z axis of the flange '{own.flange_body}' points back into the arm, and with it the gripper. Turn it "
        "under model, for example flange_rpy_rad: [3.14159265, 0, 0], and choose home_rad anew (robolearn robots draft "
        "--flange-rpy)."
    )
    return [sentence]


def _guessed_masses(file: RobotFile, folder: Path) -> list[str]:
    links = links_without_mass(file.model, folder) if file.model is not None else []
    if not links:
        return []
    sentence = (
        f"The model file states no inertial of {', '.join(links)}: their masses are worked out from the geometry as if "
        "it were solid, at 1000 kg/m3, which is no figure of the arm. Add <inertial> to these links, or identify the "
        "arm's drives (robolearn sysid)."
    )
    return [sentence]
