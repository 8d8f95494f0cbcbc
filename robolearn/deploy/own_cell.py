"""The first deployment file and safety profile of a cell around an arm of the user's own.

The profile is the packaged one of another arm, with this arm's limits in that arm's place and a box around its reach.
"""

from __future__ import annotations

import json
import re

import numpy as np

from robolearn.config import config_dir
from robolearn.deploy.deployment import TEMPLATE
from robolearn.errors import ConfigError, RobotError
from robolearn.robots import Robot, forward

_LIKE, _LIKE_REF = "iiwa14", "RA-DEMO-IIWA14"  # whose profile is taken
_STOPS_S = 0.25  # from full speed to rest, where the robot file states no acceleration
_JERK_S = 0.02  # from rest to full acceleration, where it states no jerk
_ACCELERATION_MIN_RAD_S2 = 10.0  # policies use up to 5 where the robot file states none
_JUMP_MAX_RAD = 1.0  # what a profile may say, also of an arm whose file states no plausible speed
_PERIODS = 5  # of the command stream, that one command may jump
_AROUND_M = 0.10  # beyond the TCP's reach: the fingers and the palm


def own_deployment_text(robot: Robot) -> str:
    """The packaged file for arms behind ros2_control, for this robot file, at the rate of its controller."""
    if robot.ros is None:
        raise ConfigError(
            f"Robot '{robot.name}' has no `ros` block: write which topics and controller its driver has. See "
            "robolearn/robots/ur5e.yaml."
        )
    text = (config_dir() / "deploy" / f"{TEMPLATE}.yaml").read_text(encoding="utf-8")
    text = text[text.index("robot:") :]
    text = re.sub(r"^robot: \S+ ", f"robot: {json.dumps(str(robot.path.resolve()))} ", text)
    rate = min(500.0, robot.ros.command_rate_hz)
    return re.sub(r"^rate_hz: \S+", f"rate_hz: {rate}", text, flags=re.MULTILINE)


def own_profile_text(robot: Robot) -> str:
    """A safety profile with the limits of this arm's robot file; what it does not state is marked as chosen.

    Raises RobotError where the packaged profile cannot be read.
    """
    text = (config_dir() / "safety" / f"{_LIKE}.yaml").read_text(encoding="utf-8")
    text = text[text.index("schema:") :].replace(_LIKE_REF, f"RA-{robot.name.upper().replace('_', '-')}")
    text = text.replace(f"robot: {_LIKE}\n", f"robot: {robot.name}\n")
    limits = robot.limits
    given = {
        "position_min_rad": ("position_min_rad", None),
        "position_max_rad": ("position_max_rad", None),
        "velocity_max_rad_s": ("velocity_rad_s", None),
        "acceleration_max_rad_s2": (
            "acceleration_rad_s2",
            np.maximum(limits.velocity_rad_s / _STOPS_S, _ACCELERATION_MIN_RAD_S2),
        ),
        "torque_max_nm": ("torque_nm", None),
    }
    chosen_acceleration = given["acceleration_max_rad_s2"][1]
    acceleration = (
        limits.acceleration_rad_s2 if limits.acceleration_rad_s2 is not None else chosen_acceleration
    )
    given["jerk_max_rad_s3"] = ("jerk_rad_s3", acceleration / _JERK_S)
    for key, (field, chosen) in given.items():
        values = getattr(limits, field)
        if values is None:
            source, trust, values = "chosen here: the robot file states none", "integrator", chosen
        else:
            source, trust = f"robot file {robot.path.name}: {limits.source(field)}", limits.trust(field)
            trust = (
                "integrator" if trust == "model" else trust
            )  # a choice of the robot file becomes one of the cell
        text = _replace(text, key, np.round(values, 6).tolist(), source, trust)
    rate = min(500.0, robot.ros.command_rate_hz) if robot.ros is not None else 100.0
    jump = float(np.clip(round(float(limits.velocity_rad_s.max()) * _PERIODS / rate, 3), 0.1, _JUMP_MAX_RAD))
    text = _replace(
        text,
        "command_jump_max_rad",
        jump,
        f"chosen here: {_PERIODS} periods of the fastest joint",
        "integrator",
    )
    lag = re.search(r"^  command_lag_max_rad:\n    value: (.*)\n", text, flags=re.MULTILINE)
    if lag and float(lag[1]) < jump:
        source = "chosen here: no less than command_jump_max_rad"
        text = _replace(text, "command_lag_max_rad", jump, source, "integrator")
    low, high = _box(robot)
    box = r"name: cell\n      min_m: .*\n      max_m: .*\n      source: .*\n"
    new = (
        f"name: cell\n      min_m: {low}\n      max_m: {high}\n"
        '      source: "chosen here: the reach of this arm and its gripper, above what it stands on"\n'
    )
    return _one(text, box, new)


def _box(robot: Robot) -> tuple[list[float], list[float]]:
    """Corners [3] m around where the TCP gets, above the base."""
    rng = np.random.default_rng(0)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    tcp, _ = forward(robot, rng.uniform(low, high, (5000, robot.dof)))
    flat = float(np.ceil(10.0 * (np.hypot(tcp[:, 0], tcp[:, 1]).max() + _AROUND_M)) / 10.0)
    top = float(np.ceil(10.0 * (tcp[:, 2].max() + _AROUND_M)) / 10.0)
    return [-flat, -flat, 0.0], [flat, flat, top]


def _replace(text: str, key: str, value: list[float] | float, source: str, trust: str) -> str:
    """Another value, source and trust for a key of the block `common`."""
    pattern = rf"^  {key}:\n    value: .*\n    source: .*\n    trust: .*\n"
    new = f"  {key}:\n    value: {value}\n    source: {json.dumps(source, ensure_ascii=False)}\n    trust: {trust}\n"
    return _one(text, pattern, new)


def _one(text: str, pattern: str, new: str) -> str:
    changed, count = re.subn(pattern, lambda _: new, text, count=1, flags=re.MULTILINE)
    if count != 1:
        raise RobotError(f"The packaged profile has no place like '{pattern}'. Install robolearn again.")
    return changed
