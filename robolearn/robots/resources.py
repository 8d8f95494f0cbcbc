"""Where the files are that a URDF names: `package://`, `model://`, `file://` and plain paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from robolearn.errors import RobotError

_SCHEMES = ("package://", "model://")
_LEVELS_MAX = 8  # folders above the model file that are looked into


def find_resource(uri: str, beside: Path, package_dirs: Sequence[Path] = ()) -> Path:
    """The file that a URI in a model file means.

    beside: the folder of the model file. A package is looked for in package_dirs (folders that hold packages, or the
    package itself), in AMENT_PREFIX_PATH and ROS_PACKAGE_PATH, and in the folders above the model file. Raises
    RobotError that says where it was looked for.
    """
    for scheme in _SCHEMES:
        if uri.startswith(scheme):
            name, _, inside = unquote(uri.removeprefix(scheme)).lstrip("/").partition("/")
            return _in_package(uri, name, inside, beside, package_dirs)
    path = Path(unquote(uri.removeprefix("file://"))) if uri.startswith("file://") else Path(uri)
    for candidate in [path] if path.is_absolute() else [folder / path for folder in (beside, *package_dirs)]:
        if candidate.is_file():
            return candidate
    for candidate in _installed_elsewhere(path, beside, package_dirs):
        return candidate
    raise RobotError(f"'{uri}' does not exist. Paths are relative to the model file, in {beside}.")


def find_package(name: str, beside: Path, package_dirs: Sequence[Path] = ()) -> Path:
    """The folder of a ROS package, looked for as `find_resource` does. Raises RobotError."""
    for folder in _package_folders(name, beside, package_dirs):
        return folder
    raise RobotError(_no_package(name, beside))


def _installed_elsewhere(path: Path, beside: Path, package_dirs: Sequence[Path]) -> Iterator[Path]:
    """Of an absolute path of the machine that expanded a xacro file, `.../share/PACKAGE/...`: the same file here."""
    for i, part in enumerate(path.parts[:-2]):
        if part == "share" and path.is_absolute():
            for folder in _package_folders(path.parts[i + 1], beside, package_dirs):
                candidate = folder.joinpath(*path.parts[i + 2 :])
                if candidate.is_file():
                    yield candidate


def _in_package(uri: str, name: str, inside: str, beside: Path, package_dirs: Sequence[Path]) -> Path:
    folders = list(_package_folders(name, beside, package_dirs))
    for folder in folders:
        if (folder / inside).is_file():
            return folder / inside
    if folders:
        raise RobotError(f"'{uri}': the package '{name}' is at {folders[0]}, but holds no {inside}.")
    raise RobotError(f"'{uri}': {_no_package(name, beside)}")


def _no_package(name: str, beside: Path) -> str:
    return (
        f"package '{name}' was not found in model.package_dirs, AMENT_PREFIX_PATH, ROS_PACKAGE_PATH or the "
        f"folders above {beside}. Write `package_dirs: [FOLDER]` under model, with the folder that holds {name}/."
    )


def _package_folders(name: str, beside: Path, package_dirs: Sequence[Path]) -> Iterator[Path]:
    """Folders that are the package of that name, the likeliest first."""
    above = [beside, *beside.resolve().parents][:_LEVELS_MAX]
    prefixes = [Path(p) / "share" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    ros = [Path(p) for p in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if p]
    for folder in (*package_dirs, *prefixes, *ros, *above):
        if _is_package(folder, name):
            yield folder
        if (folder / name).is_dir():
            yield folder / name


def _is_package(folder: Path, name: str) -> bool:
    """Whether a folder is a ROS package of that name, by its package.xml, or is just called so."""
    manifest = folder / "package.xml"
    if manifest.is_file():
        try:
            return (ElementTree.parse(manifest).getroot().findtext("name") or "").strip() == name
        except (ElementTree.ParseError, OSError):
            return False
    return folder.name == name
