"""The robot and the profile that a log was made with, from the files inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from robolearn.errors import LogError, RobolearnError, unknown
from robolearn.files.printable import printable
from robolearn.files.reading import MIB, open_regular, read_regular
from robolearn.recorder.safety_log import PROFILE_FILE, ROBOT_FILE
from robolearn.robots import Robot, load_robot
from robolearn.robots.gripper_files import gripper_names, split_robot
from robolearn.robots.robot import read_robot_file, robot_from_file
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


def stored(directory: Path, start: dict[str, Any], own_robot: str | Path | None = None) -> Stored:
    """Loads robot.yaml and profile.yaml of a log. Raises LogError.

    own_robot: a name or file of the reviewer's own in place of robot.yaml; it must be the robot that was recorded.
    """
    try:
        for name in (ROBOT_FILE, PROFILE_FILE):
            open_regular(directory / name, follow=False).close()
        if own_robot is None:
            _own_model(directory)
        robot = (
            load_robot(own_robot) if own_robot else robot_from_file(directory / ROBOT_FILE, _gripper(start))
        )
        profile = SafetyProfile.load(directory / PROFILE_FILE)
    except OSError as error:
        raise LogError(
            f"The robot or the profile stored in {directory} cannot be read: {error.filename}: {error.strerror}."
        ) from None
    except LogError:
        raise
    except (RobolearnError, ValueError) as error:
        way = "" if own_robot is not None else f" {_OWN}"
        raise LogError(
            f"The robot or the profile stored in {directory} cannot be loaded: {error}{way}"
        ) from error
    if own_robot is not None and robot.digest != start["robot"]["digest"]:
        raise LogError(
            f"{own_robot} gives a robot with digest {robot.digest[:12]}, recorded was "
            f"{start['robot']['digest'][:12]}: another arm, or a file that was changed since."
        )
    note = ""
    if robot.digest != start["robot"]["digest"]:
        note = (
            f"The stored robot file now gives a robot with digest {robot.digest[:12]}, recorded was "
            f"{start['robot']['digest'][:12]}: a file that it uses (gripper, MJCF, URDF) was changed since."
        )
    return Stored(robot, profile, note)


def _gripper(start: dict[str, Any]) -> str:
    """The packaged gripper that the robot had in place of its file's; empty where it had none. Raises LogError."""
    gripper = split_robot(str(start["robot"]["name"]))[1]
    if gripper and gripper not in gripper_names():
        raise LogError(unknown("gripper", printable(gripper)[:100], gripper_names()) + f" {_OWN}")
    return gripper


def _own_model(directory: Path) -> None:
    """An MJCF or URDF file that the stored robot names lies in the log, and draws on nothing outside it.

    MuJoCo reads whatever a model file names, endless devices too, and makes as many elements as it asks for. So such
    a file of a log may hold bodies, joints and simple geometry only. Raises LogError.
    """
    model = read_robot_file(directory / ROBOT_FILE).model
    if model is None:
        return
    path = directory / str(model.mjcf or model.urdf)
    name = printable(str(model.mjcf or model.urdf))[:200]
    if path.resolve().parent != directory.resolve():
        raise LogError(f"Its robot names the model file {name}, which is not in the log. {_OWN}")
    if path.suffix == ".xacro":
        raise LogError(f"The model file {name} of the log is a xacro file, which is not expanded. {_OWN}")
    try:
        root = ElementTree.fromstring(read_regular(path, _MODEL_MAX, follow=False))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise LogError(f"The model file {name} of the log is not XML: {error}. {_OWN}") from None
    for count, element in enumerate(root.iter()):
        names_a_file = any(key.endswith(("file", "filename", "dir")) for key in element.attrib)
        if element.tag in _UNBOUNDED or names_a_file or count > _ELEMENTS_MAX:
            tag = printable(str(element.tag))[:40]
            raise LogError(
                f"The model file {name} of the log holds <{tag}>, which is not read from a log. {_OWN}"
            )


_OWN = "Give your own copy of the robot file, or of its calibration, with --robot."
_MODEL_MAX, _ELEMENTS_MAX = 4 * MIB, 20_000
_UNBOUNDED = {"include", "hfield", "mesh", "texture", "skin", "flex", "flexcomp", "composite", "replicate", "plugin",
              "extension", "deformable", "attach", "model"}  # fmt: skip
