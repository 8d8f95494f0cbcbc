"""A first robot file for a model file as published: joints, limits and what else is in it, as the file states them.

What the file does not state is left `null`, for a person to fill in: nothing is invented. Choices (what is cut or
held, the home posture, the topics) are marked `trust: model`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
import yaml

from robolearn.errors import RobotError
from robolearn.robots.arm_in_file import name_all, named_body, path_to, tops_of
from robolearn.robots.home import work_out
from robolearn.robots.model_file import is_mjcf, read_model
from robolearn.robots.model_limits import model_bounds
from robolearn.robots.schema import ModelFile

_TURN_RAD = round(np.pi, 6)  # either way, of a joint that the file lets turn for ever
_DIGITS = 6
_KEYS = ("position_min_rad", "position_max_rad", "velocity_rad_s", "torque_nm")
_ROS = {
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


class Draft(NamedTuple):
    """The text of a robot file, and what was chosen or is still open, one sentence each."""

    text: str
    remarks: list[str]


def model_of(
    path: Path,
    flange: str,
    folder: Path,
    base: str = "",
    flange_rpy: str = "0 0 0",
    package_dirs: Sequence[Path] = (),
    xacro_args: Sequence[str] = (),
    cut: Sequence[str] = (),
) -> ModelFile:
    """The `model` block for a file, relative to the folder of the robot file. Raises RobotError."""
    if not path.is_file():
        raise RobotError(f"No model file '{path}'.")
    try:
        turn = [float(word) for word in flange_rpy.split()]
    except ValueError:
        turn = []
    if len(turn) != 3:
        raise RobotError(
            f"--flange-rpy is '{flange_rpy}', expected three numbers in rad, such as '0 1.5708 0'."
        )
    pairs = [(name, value) for name, _, value in (given.partition("=") for given in xacro_args)]
    if wrong := [
        given for given, (name, _) in zip(xacro_args, pairs, strict=True) if not name or "=" not in given
    ]:
        raise RobotError(f"--xacro-arg takes NAME=VALUE, not '{wrong[0]}'.")
    kind = "mjcf" if is_mjcf(path) else "urdf"
    given = {
        kind: os.path.relpath(path, folder),
        "package_dirs": [os.path.relpath(given, folder) for given in package_dirs],
        "xacro_args": dict(pairs),
        "base_body": base or None,
        "flange_body": flange,
        "flange_rpy_rad": turn,
        "cut": list(cut),
    }
    return ModelFile(**given)


def draft_robot(model: ModelFile, folder: Path, name: str) -> Draft:
    """A robot file for a model file, to lie in folder. model: at least the file and the flange's body.

    Joints on the way to the flange that slide are held at 0, or at the nearest end of their range; bodies with other
    joints are cut, with all that hangs on them, unless `model` says otherwise. Raises RobotError where no arm is left.
    """
    spec = read_model(model, folder, bare=True).spec
    name_all(spec)
    line = path_to(named_body(spec, model.flange_body, "flange_body"))
    kept = {joint.name for top in model.keep for joint in named_body(spec, top, "keep").find_all(_JOINT)}
    on_line = [joint for body in line for joint in body.joints if joint.name not in {*model.hold, *kept}]
    sliding = {joint.name: _nearest_to_zero(joint) for joint in on_line if joint.type != _HINGE}
    joints = [joint.name for joint in on_line if joint.name not in sliding]
    if not joints:
        raise RobotError(f"No hinge moves body '{model.flange_body}': name the flange of the arm.")
    gripper = set(model.gripper.finger_joints) if model.gripper else set()
    inside_cut = {joint.name for top in model.cut for joint in named_body(spec, top, "cut").find_all(_JOINT)}
    taken = {*(joint.name for joint in on_line), *model.hold, *kept, *gripper, *inside_cut}
    left = [joint for joint in spec.joints if joint.name not in taken]
    cut = tops_of(left, {body.name for body in line})
    base = model.base_body or spec.joint(joints[0]).parent.parent.name
    changed = model.model_copy(
        update={
            "cut": [*model.cut, *cut],
            "hold": {**model.hold, **sliding},
            "base_body": None if base == "world" else base,
        }
    )
    limits, open_limits = _limits(changed, folder, joints)
    document: dict[str, Any] = {
        "schema": "robolearn.robot/1",
        "name": name,
        "label": f"{name}, from {Path(str(model.mjcf or model.urdf)).name}",
        "joint_names": joints,
        "model": changed.model_dump(exclude_defaults=True, mode="json"),
        "limits": limits,
    }
    remarks = [f"Held, since only hinges are driven: {', '.join(sliding)}."] if sliding else []
    remarks += (
        [f"Cut, since other joints move it: {', '.join(cut)}. Keep or hold it where it should stay."]
        if cut
        else []
    )
    remarks += open_limits
    home, mass = work_out(document, folder)
    document["moving_mass_kg"] = {
        "value": mass,
        "source": "the moving links of the model file, without a gripper",
        "trust": "computed",
    }
    if home is None:
        remarks.append(
            "No home posture was found: the tool is hardly ever in front of the base. Write home_rad."
        )
    else:
        source = "robolearn's choice: half stretched out in front of the base, the tool pointing down"
        document["home_rad"] = {"value": home, "source": source, "trust": "model"}
    document["ros"] = _ROS
    return Draft(_text(document), remarks)


_JOINT, _HINGE = mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtJoint.mjJNT_HINGE


def _nearest_to_zero(joint: mujoco.MjsJoint) -> float:
    if joint.type != mujoco.mjtJoint.mjJNT_SLIDE or joint.limited == mujoco.mjtLimited.mjLIMITED_FALSE:
        return 0.0
    low, high = sorted(float(x) for x in joint.range)
    return float(np.clip(0.0, low, high)) if high > low else 0.0


def _limits(model: ModelFile, folder: Path, joints: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The limits block, and which of it a person has to fill in."""
    stated: dict[str, dict[str, float]] = {key: {} for key in _KEYS}
    for bound in model_bounds(model, folder):
        known = stated[bound.key].get(bound.joint)
        tighter = max if bound.key == "position_min_rad" else min
        stated[bound.key][bound.joint] = bound.value if known is None else tighter(known, bound.value)
    source = f"{Path(str(model.mjcf or model.urdf)).name}, limits of the joints"
    block: dict[str, Any] = {}
    remarks = []
    for key in _KEYS:
        missing = [joint for joint in joints if joint not in stated[key]]
        if missing and key.startswith("position"):
            turn = -_TURN_RAD if key == "position_min_rad" else _TURN_RAD
            stated[key].update(dict.fromkeys(missing, turn))
            note = f"the file states no range for {', '.join(missing)}: half a turn either way was chosen"
            block[key] = {
                "value": _numbers(stated[key], joints),
                "source": source,
                "trust": "model",
                "note": note,
            }
        elif missing:
            note = f"the file states none for {', '.join(missing)}: write the manufacturer's figures"
            block[key] = {"value": None, "source": source, "trust": "secondary", "note": note}
            remarks.append(f"limits.{key} is null: {note}.")
        else:
            block[key] = {"value": _numbers(stated[key], joints), "source": source, "trust": "secondary"}
    return block, remarks


def _numbers(stated: dict[str, float], joints: list[str]) -> list[float]:
    return [round(stated[joint], _DIGITS) for joint in joints]


def _text(document: dict[str, Any]) -> str:
    """One line for each fact, as in the packaged files."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and key in ("model", "limits", "ros"):
            lines.append(f"{key}:")
            lines += [f"  {_flow({k: v})}" for k, v in value.items()]
        else:
            lines.append(_flow({key: value}))
    return "\n".join(lines) + "\n"


def _flow(pair: dict[str, Any]) -> str:
    ((key, value),) = pair.items()
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return f"{key}: {text.removesuffix('...' + chr(10)).rstrip()}"
