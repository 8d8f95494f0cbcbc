"""Where the limits block of a robot file claims more than the arm's own MJCF or URDF file allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import mujoco
import numpy as np

from robolearn.errors import RobotError
from robolearn.robots.model_file import model_path, urdf_root
from robolearn.robots.mujoco_log import log_to_console_only
from robolearn.robots.schema import ModelFile, RobotFile

_ROUNDING = 1e-3  # rad, or a share of a torque or a speed: files round, and write degrees


class Bound(NamedTuple):
    """What a model file says of one joint. key: of the limits block; place: the element and its attribute."""

    joint: str
    key: str
    value: float
    unit: str
    place: str


def wider_than_model(file: RobotFile, folder: Path) -> list[str]:
    """One sentence for each limit that is wider than the model file's; a tighter one is a user's right.

    The robot has been built from these files: they can be read, and have every joint.
    """
    if file.model is None:
        return []
    name = str(file.model.mjcf or file.model.urdf)
    index = {joint: i for i, joint in enumerate(file.joint_names)}
    findings = []
    for bound in model_bounds(file.model, folder):
        given = getattr(file.limits, bound.key).value if bound.joint in index else None
        if given is None:
            continue
        mine = given[index[bound.joint]]
        slack = _ROUNDING * (1.0 if bound.unit == "rad" else bound.value)
        excess = bound.value - mine if bound.key == "position_min_rad" else mine - bound.value
        if excess > slack:
            findings.append(
                f"limits.{bound.key} of joint '{bound.joint}' is {mine:g} {bound.unit}, but {name} says "
                f"{bound.value:.5g} {bound.unit} ({bound.place}): a limit may be tighter than the "
                "model's, not wider. Correct the wrong one."
            )
    return findings


def model_bounds(model: ModelFile, folder: Path) -> Iterator[Bound]:
    """What the model file says of the joints' ranges, torques and speeds."""
    path = model_path(model, folder)
    dirs = [folder / given for given in model.package_dirs]
    yield from _of_mjcf(path) if model.mjcf else _of_urdf(urdf_root(path, model.xacro_args, dirs))


def _of_urdf(root: ElementTree.Element) -> Iterator[Bound]:
    """MuJoCo forgets some of it, so it is read from the file itself."""
    for joint in root.iter("joint"):
        limit, name, turns = joint.find("limit"), joint.get("name", ""), joint.get("type") == "revolute"
        if limit is None:
            continue
        for attribute, key, unit in (
            ("lower", "position_min_rad", "rad"),
            ("upper", "position_max_rad", "rad"),
            ("effort", "torque_nm", "Nm"),
            ("velocity", "velocity_rad_s", "rad/s"),
        ):
            text = limit.get(attribute)
            if text is None or not (turns or unit != "rad"):
                continue
            if unit != "rad" and float(text) <= 0.0:  # a placeholder: the file states none
                continue
            yield Bound(name, key, float(text), unit, f"joint '{name}', limit {attribute}")


def _of_mjcf(path: Path) -> Iterator[Bound]:
    """From the compiled model, in which defaults, included files and degrees are resolved."""
    log_to_console_only()
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except ValueError as error:
        raise RobotError(f"MuJoCo cannot read '{path}': {error}") from None
    for i in range(model.njnt):
        joint = model.joint(i).name
        if model.jnt_limited[i]:
            low, high = model.jnt_range[i]
            yield Bound(joint, "position_min_rad", float(low), "rad", f"joint '{joint}', range")
            yield Bound(joint, "position_max_rad", float(high), "rad", f"joint '{joint}', range")
        if model.jnt_actfrclimited[i]:
            largest = float(np.abs(model.jnt_actfrcrange[i]).max())
            yield Bound(joint, "torque_nm", largest, "Nm", f"joint '{joint}', actuatorfrcrange")
    for i in range(model.nu):
        if model.actuator_trntype[i] != mujoco.mjtTrn.mjTRN_JOINT:
            continue
        joint, gear = model.joint(int(model.actuator_trnid[i, 0])).name, abs(float(model.actuator_gear[i, 0]))
        what = f"actuator '{model.actuator(i).name or i}' of joint '{joint}'"
        if model.actuator_forcelimited[i]:
            largest = float(np.abs(model.actuator_forcerange[i]).max())
            yield Bound(joint, "torque_nm", gear * largest, "Nm", f"{what}, forcerange times gear")
        motor = (
            model.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
            and model.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_NONE
            and model.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_NONE
        )
        if motor and model.actuator_ctrllimited[i]:
            largest = abs(float(model.actuator_gainprm[i, 0])) * float(
                np.abs(model.actuator_ctrlrange[i]).max()
            )
            yield Bound(joint, "torque_nm", gear * largest, "Nm", f"{what}, ctrlrange times gain and gear")
