"""The files of grippers: those that come with robolearn, and a user's own; and the names of arms with another gripper.

fr3+robotiq_2f85    the packaged arm fr3 with the packaged gripper robotiq_2f85 in place of the one of its file
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from robolearn.config import build, read_document
from robolearn.errors import ConfigError, RobotError, unknown
from robolearn.robots.schema import GripperFile

DEFAULT = "parallel"
SEPARATOR = "+"
_FOLDER = Path(__file__).parent / "grippers"
_YAML = (".yaml", ".yml")


def gripper_names() -> tuple[str, ...]:
    """The grippers that come with robolearn."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def split_robot(name: str) -> tuple[str, str]:
    """An arm's name without its gripper, and the gripper's name; empty where none is named."""
    arm, _, gripper = name.partition(SEPARATOR)
    return arm, gripper


def load_gripper(name: str, folder: Path | None = None) -> GripperFile:
    """A gripper's facts by name, or from a file; folder: what a relative path begins at.

    Raises RobotError for an unknown name, a file that cannot be read, or a wrong key.
    """
    if name in gripper_names():
        return _read(_FOLDER / f"{name}.yaml")
    if Path(name).suffix not in _YAML:
        raise RobotError(unknown("gripper", name, gripper_names()) + " Or give the path of a gripper YAML.")
    return _read((folder or Path()) / Path(name).expanduser())


@lru_cache(maxsize=16)
def _read(path: Path) -> GripperFile:
    try:
        document = read_document(path)
        return build(GripperFile, document.data, str(path), document.line)
    except ConfigError as error:
        raise RobotError(str(error)) from None
