"""Writes a cell's own files: deployment file and safety profile, from those that come with robolearn.

The packaged text is kept, comments and sources included; what was answered is put in its place, and the result is
loaded and checked as `robolearn serve` would, before anything is left on disk.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robolearn.config import config_dir
from robolearn.deploy.deployment import load_deployment, node_parameters
from robolearn.deploy.own_cell import own_deployment_text, own_profile_text
from robolearn.errors import ConfigError, unknown
from robolearn.files.writing import replace_file
from robolearn.robots import Robot, is_packaged, is_robot_path, load_robot, robot_names
from robolearn.robots.gripper_files import DEFAULT, SEPARATOR, split_robot
from robolearn.safety.profile import SafetyProfile

DEPLOYMENT, PROFILE = "cell.yaml", "profile.yaml"
_BOX = 6


@dataclass(frozen=True)
class Cell:
    """What is asked. Empty or None leaves what the packaged files have.

    robot: a packaged one, with or without another gripper (`fr3+franka_hand`), or the path of a robot file.
    operators: pseudonym: public key.  workspace_m: x, y, z of one corner, then of the other, base frame.
    tcp_speed_max_m_s: of mode automatic.
    """

    robot: str
    name: str
    controller: str = ""
    mode: str = "manual_reduced"
    namespace: str = ""
    joint_prefix: str = ""
    person_topic: str = ""
    wrench_topic: str = ""
    operators: dict[str, str] = field(default_factory=dict)
    approver_keys: tuple[str, ...] = ()
    trusted_keys: tuple[str, ...] = ()
    workspace_m: tuple[float, ...] = ()
    tcp_speed_max_m_s: float | None = None


def with_gripper(robot: str, gripper: str) -> str:
    """A packaged arm's name with that of another gripper. Raises ConfigError where the robot names one itself."""
    if gripper in ("", DEFAULT):
        return robot
    if is_robot_path(robot) or split_robot(robot)[1]:
        raise ConfigError(f"--gripper {gripper}: '{robot}' names its gripper itself. Leave --gripper out.")
    return f"{robot}{SEPARATOR}{gripper}"


def write_cell(folder: Path, cell: Cell) -> tuple[Path, Path]:
    """Write the deployment file and the profile into a new or empty folder; returns both.

    Raises ConfigError or ProfileError, with nothing written, where an answer is wrong.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty. Choose a new folder.")
    if not is_packaged(cell.robot) and not is_robot_path(cell.robot):
        raise ConfigError(unknown("arm", cell.robot, robot_names()) + " Or give the path of a robot YAML.")
    robot = load_robot(cell.robot)  # an unknown gripper, or a faulty file, is the first thing to mend
    texts = {DEPLOYMENT: _deployment_text(cell, robot), PROFILE: _profile_text(cell, robot)}
    with tempfile.TemporaryDirectory() as scratch:
        _check(Path(scratch), texts, robot)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        replace_file(folder / name, text.encode())
    return folder / DEPLOYMENT, folder / PROFILE


def _check(scratch: Path, texts: dict[str, str], robot: Robot) -> None:
    for name, text in texts.items():
        (scratch / name).write_text(text, encoding="utf-8")
    deployment = load_deployment(scratch / DEPLOYMENT)
    profile = SafetyProfile.load(scratch / PROFILE)
    profile.check_against(robot)
    profile.mode(deployment.mode)
    node_parameters(deployment, "bundle")


def _deployment_text(cell: Cell, robot: Robot) -> str:
    own = is_robot_path(cell.robot)
    packaged = config_dir() / "deploy" / f"{split_robot(cell.robot)[0]}.yaml"
    text = own_deployment_text(robot) if own else packaged.read_text(encoding="utf-8")
    given: dict[str, Any] = {
        "robot": "" if own else cell.robot,
        "deployment_id": cell.name,
        "profile": PROFILE,
        "mode": cell.mode,
        "controller": cell.controller,
        "namespace": cell.namespace,
        "joint_prefix": cell.joint_prefix,
        "person_topic": cell.person_topic,
        "wrench_topic": cell.wrench_topic,
        "operators": cell.operators,
        "operator": next(iter(cell.operators), ""),
        "approver_keys": list(cell.approver_keys),
        "trusted_keys": list(cell.trusted_keys),
    }
    for key, value in given.items():
        if value:
            text = _set(text, key, value)
    return text


def _profile_text(cell: Cell, robot: Robot) -> str:
    packaged = config_dir() / "safety" / f"{robot.arm}.yaml"
    own = is_robot_path(cell.robot)
    text = own_profile_text(robot) if own else packaged.read_text(encoding="utf-8")
    text = _set(text, "title", f"{robot.label}, {cell.name}")
    text = _set(text, "risk_assessment_ref", "to be named (no risk assessment was made for this cell)")
    if cell.workspace_m:
        if len(cell.workspace_m) != _BOX:
            raise ConfigError(
                f"The workspace has {len(cell.workspace_m)} numbers, expected two corners: x y z x y z."
            )
        corners = list(zip(cell.workspace_m[:3], cell.workspace_m[3:], strict=True))
        low, high = [min(pair) for pair in corners], [max(pair) for pair in corners]
        text = _inside(text, r"^    stay_in:\n", r"min_m: \[.*\]", f"min_m: {low}")
        text = _inside(text, r"^    stay_in:\n", r"max_m: \[.*\]", f"max_m: {high}")
        text = _inside(text, r"^    stay_in:\n", r'source: ".*"', 'source: "set for this cell"')
    if cell.tcp_speed_max_m_s is not None:
        place = r"^  automatic:\n(?:    .*\n)*?    tcp_speed_max_m_s:\n"
        text = _inside(text, place, r"value: .*", f"value: {cell.tcp_speed_max_m_s}")
        text = _inside(text, place, r'source: ".*"', 'source: "set for this cell"')
    return text


def _set(text: str, key: str, value: Any) -> str:
    """A key at the top level with another value, which JSON writes; its comment stays."""
    line = re.compile(rf"^{key}:(?:[^#\n]|#(?! ))*(?P<comment>  *# .*)?$", re.MULTILINE)
    if not line.search(text):
        raise ConfigError(f"The packaged file has no key '{key}'. Reinstall robolearn.")
    return line.sub(lambda found: f"{key}: {json.dumps(value)}{found['comment'] or ''}", text, count=1)


def _inside(text: str, place: str, pattern: str, new: str) -> str:
    """The first match of a pattern after a place, replaced."""
    found = re.search(place, text, re.MULTILINE)
    if found is None:
        raise ConfigError(f"The packaged profile has no place like '{place}'. Reinstall robolearn.")
    return text[: found.end()] + re.sub(pattern, lambda _: new, text[found.end() :], count=1)
