"""What a robot file leaves to its model file: joints and limits, as the model file states them.

A robot file with a `model` may leave out its label, `joint_names`, and any of the four limits that every arm needs;
`ros: ros2_control` stands for the topics of ros2_control's examples. What the model file does not state is not
invented: such a limit becomes null, and the robot file is refused until a person has written the figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from robolearn.config import build
from robolearn.errors import RobotError
from robolearn.robots.arm_in_file import name_all, named_body, path_to
from robolearn.robots.model_file import read_model
from robolearn.robots.model_limits import model_bounds
from robolearn.robots.schema import ModelFile

LIMITS = ("position_min_rad", "position_max_rad", "velocity_rad_s", "torque_nm")
ROS = "ros2_control"
ROS2_CONTROL = {
    "source": "names that ros2_control's examples use: compare them with those of the arm's driver",
    "trust": "model",
    "state_topic": "/joint_states",
    "state_rate_hz": 100,
    "state_qos": {"reliability": "reliable", "depth": 10},
    "command_topic": "/forward_position_controller/commands",
    "command_type": "std_msgs/msg/Float64MultiArray",
    "command_rate_hz": 100,
    "command_qos": {"reliability": "reliable", "depth": 1},
    "controller": "forward_position_controller",
    "controller_type": "position_controllers/JointGroupPositionController",
}
_TURN_RAD = round(np.pi, 6)  # either way, of a joint that the file lets turn for ever
_DIGITS = 6
_HINGE = mujoco.mjtJoint.mjJNT_HINGE


def completed(data: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The content of a robot file in folder, with what it leaves to its model file.

    where: the file's name, for messages. Raises ConfigError for a faulty `model`, RobotError where the model file
    cannot be read or has no such flange.
    """
    whole = dict(data)
    if whole.get("ros") == ROS:
        whole["ros"] = ROS2_CONTROL
    limits = whole.get("limits", {})
    if not isinstance(whole.get("model"), dict) or not isinstance(limits, dict):
        return whole
    whole.setdefault("label", whole.get("name"))
    if "joint_names" in whole and all(key in limits for key in LIMITS):
        return whole
    model = build(ModelFile, whole["model"], f"{where}, model")
    if "joint_names" not in whole:
        spec = read_model(model, folder, bare=True).spec
        name_all(spec)
        whole["joint_names"] = [joint.name for joint in driven_line(spec, model) if joint.type == _HINGE]
    if isinstance(whole["joint_names"], list):
        stated, _ = stated_limits(model, folder, [str(name) for name in whole["joint_names"]])
        whole["limits"] = stated | limits
    return whole


def driven_line(spec: mujoco.MjSpec, model: ModelFile) -> list[mujoco.MjsJoint]:
    """The joints on the way to the flange, base first, that the robot file neither keeps nor holds. Every element of
    the spec has a name. Raises RobotError where there is no such flange, or nothing that turns it.
    """
    fixed = {*model.hold, *joints_on(spec, model.keep, "keep")}
    line = path_to(named_body(spec, model.flange_body, "flange_body"))
    joints = [joint for body in line for joint in body.joints if joint.name not in fixed]
    if not any(joint.type == _HINGE for joint in joints):
        raise RobotError(f"No hinge moves body '{model.flange_body}': name the flange of the arm.")
    return joints


def joints_on(spec: mujoco.MjSpec, bodies: Iterable[str], key: str) -> set[str]:
    """The names of the joints on these bodies and all that hangs on them. key: under `model`, that names them."""
    kind = mujoco.mjtObj.mjOBJ_JOINT
    return {joint.name for top in bodies for joint in named_body(spec, top, key).find_all(kind)}


def stated_limits(
    model: ModelFile, folder: Path, joints: list[str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The limits block, and which of it a person has to fill in."""
    stated: dict[str, dict[str, float]] = {key: {} for key in LIMITS}
    for bound in model_bounds(model, folder):
        known = stated[bound.key].get(bound.joint)
        tighter = max if bound.key == "position_min_rad" else min
        stated[bound.key][bound.joint] = bound.value if known is None else tighter(known, bound.value)
    source = f"{Path(str(model.mjcf or model.urdf)).name}, limits of the joints"
    block: dict[str, dict[str, Any]] = {}
    remarks = []
    for key in LIMITS:
        missing = [joint for joint in joints if joint not in stated[key]]
        fact: dict[str, Any] = {"value": None, "source": source, "trust": "secondary"}
        if missing and key.startswith("position"):
            turn = -_TURN_RAD if key == "position_min_rad" else _TURN_RAD
            stated[key].update(dict.fromkeys(missing, turn))
            fact["trust"] = "model"
            fact["note"] = (
                f"the file states no range for {', '.join(missing)}: half a turn either way was chosen"
            )
        elif missing:
            fact["note"] = f"the file states none for {', '.join(missing)}: write the manufacturer's figures"
            remarks.append(f"limits.{key} is null: {fact['note']}.")
        if not missing or key.startswith("position"):
            fact["value"] = [round(stated[key][joint], _DIGITS) for joint in joints]
        block[key] = fact
    return block, remarks
