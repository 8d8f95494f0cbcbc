"""The robot and the profile that a log was made with, from the files inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.errors import LogError, RobolearnError
from robolearn.recorder.safety_log import PROFILE_FILE, ROBOT_FILE
from robolearn.robots import Robot, load_robot
from robolearn.safety.profile import SafetyProfile


@dataclass(frozen=True)
class Stored:
    """What the log was made with. note: empty, or in what the robot differs from the one recorded."""

    robot: Robot
    profile: SafetyProfile
    note: str


def session_start(directory: Path, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields of the first event. Raises LogError where the log does not begin with it."""
    if not events or events[0]["kind"] != "session_start":
        raise LogError(
            f"The log in {directory} does not begin with session_start; nothing says what was recorded."
        )
    return events[0]["fields"]


def stored(directory: Path, start: dict[str, Any]) -> Stored:
    """Loads robot.yaml and profile.yaml of a log. Raises LogError."""
    try:
        robot = load_robot(directory / ROBOT_FILE)
        profile = SafetyProfile.load(directory / PROFILE_FILE)
    except RobolearnError as error:
        raise LogError(f"The robot or the profile stored in {directory} cannot be loaded: {error}") from error
    note = ""
    if robot.digest != start["robot"]["digest"]:
        note = (
            f"The stored robot file now gives a robot with digest {robot.digest[:12]}, recorded was "
            f"{start['robot']['digest'][:12]}: a file that it draws on (gripper, MJCF, URDF) was changed since."
        )
    return Stored(robot, profile, note)
