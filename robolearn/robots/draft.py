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
from robolearn.robots.from_model_file import ROS, ROS2_CONTROL, driven_line, joints_on, stated_limits
from robolearn.robots.home import drafted_robot, work_out
from robolearn.robots.model_file import is_mjcf, read_model
from robolearn.robots.schema import ModelFile


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


def draft_robot(model: ModelFile, folder: Path, name: str, short: bool = False) -> Draft:
    """A robot file for a model file, to lie in folder. model: at least the file and the flange's body.

    short: leave out what a robot file takes from its model file anyway (`from_model_file`).

    Joints on the way to the flange that slide are held at 0, or at the nearest end of their range; bodies with other
    joints are cut, with all that hangs on them, unless `model` says otherwise. Raises RobotError where no arm is left.
    """
    spec = read_model(model, folder, bare=True).spec
    name_all(spec)
    on_line = driven_line(spec, model)
    sliding = {joint.name: _nearest_to_zero(joint) for joint in on_line if joint.type != _HINGE}
    joints = [joint.name for joint in on_line if joint.name not in sliding]
    gripper = set(model.gripper.finger_joints) if model.gripper else set()
    declared = joints_on(spec, model.keep, "keep") | joints_on(spec, model.cut, "cut")
    taken = {*(joint.name for joint in on_line), *model.hold, *gripper, *declared}
    left = [joint for joint in spec.joints if joint.name not in taken]
    line = path_to(named_body(spec, model.flange_body, "flange_body"))
    cut = tops_of(left, {body.name for body in line})
    base = model.base_body or spec.joint(joints[0]).parent.parent.name
    changed = model.model_copy(
        update={
            "cut": [*model.cut, *cut],
            "hold": {**model.hold, **sliding},
            "base_body": None if base == "world" else base,
        }
    )
    limits, open_limits = stated_limits(changed, folder, joints)
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
    worked = work_out(document, folder)
    fact = {"source": "the moving links of the model file, without a gripper", "trust": "computed"}
    document["moving_mass_kg"] = {"value": worked.moving_mass_kg, **fact}
    if worked.home_rad is None:
        remarks.append(
            "No home posture was found: the tool is hardly ever in front of the base. Write home_rad."
        )
    else:
        source = "robolearn's choice: half stretched out in front of the base, the tool pointing down"
        document["home_rad"] = {"value": worked.home_rad, "source": source, "trust": "model"}
    document["ros"] = dict(ROS2_CONTROL)
    return Draft(robot_text(shortened(document, folder) if short else document), remarks)


def shortened(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A robot file in folder without what its model file states: label, joints, those limits, and the base where it
    is at the origin; topics that are those of ros2_control's examples by that name.
    """
    model = ModelFile(**document["model"])
    stated, _ = stated_limits(model, folder, document["joint_names"])
    left_out = {"label", "joint_names", "limits"}
    short = {key: value for key, value in document.items() if key not in left_out}
    own = {
        key: fact
        for key, fact in document["limits"].items()
        if key not in stated or fact["value"] is None or fact["value"] != stated[key]["value"]
    }
    if own:
        short["limits"] = own
    if document.get("ros") == ROS2_CONTROL:
        short["ros"] = ROS
    bare = {key: value for key, value in document["model"].items() if key != "base_body"}
    as_it_is, plain = (
        drafted_robot(document | {"model": block}, folder).chain for block in (document["model"], bare)
    )
    if [step.type for step in as_it_is] == [step.type for step in plain] and all(
        np.allclose((*a.xyz, *a.rpy, *a.axis), (*b.xyz, *b.rpy, *b.axis), atol=1e-9)
        for a, b in zip(as_it_is, plain, strict=True)
    ):
        short["model"] = bare
    return short


_BLOCKS = ("model", "limits", "ros")
_HINGE = mujoco.mjtJoint.mjJNT_HINGE


def _nearest_to_zero(joint: mujoco.MjsJoint) -> float:
    if joint.type != mujoco.mjtJoint.mjJNT_SLIDE or joint.limited == mujoco.mjtLimited.mjLIMITED_FALSE:
        return 0.0
    low, high = sorted(float(x) for x in joint.range)
    return float(np.clip(0.0, low, high)) if high > low else 0.0


def robot_text(document: dict[str, Any]) -> str:
    """One line for each fact, as in the packaged files."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and key in _BLOCKS:
            lines.append(f"{key}:")
            lines += [f"  {_flow({k: v})}" for k, v in value.items()]
        else:
            lines.append(_flow({key: value}))
    return "\n".join(lines) + "\n"


def _flow(pair: dict[str, Any]) -> str:
    ((key, value),) = pair.items()
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return f"{key}: {text.removesuffix('...' + chr(10)).rstrip()}"
