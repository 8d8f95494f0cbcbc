"""A robot's digest: SHA-256 over its facts, not over the bytes of its file.

What only people read is left out: comments, order, layout, sources, trust levels, notes; and the topics of the arm's
driver. Joint names count by their place alone, so that a prefix of the cell changes nothing. Every number counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robolearn.errors import RobotError
from robolearn.files.reading import MIB, read_regular
from robolearn.robots.schema import GripperFile, ModelFile, RobotFile
from robolearn.robots.xacro_file import portable_xacro

MODEL_MAX = 64 * MIB
_PROSE = frozenset({"source", "trust", "note", "label", "inertia_source", "geometry_source"})
_PLACES = frozenset({"mjcf", "urdf", "package_dirs"})  # of files, whose content counts
_NO_FACTS = ("schema_", "gripper", "joint_names_elsewhere", "ros", "traps", "label", "sources")


def robot_digest(file: RobotFile, gripper: GripperFile, folder: Path) -> str:
    """Of a robot file, the gripper's, and the MJCF, URDF or xacro file that it names, with what that includes (meshes
    not included).

    folder: of the robot file. Raises RobotError where the model file cannot be read.
    """
    facts = [
        _facts(file, file.joint_names),
        _facts(gripper, ()),
        _model(file.model, folder) if file.model is not None and (file.model.mjcf or file.model.urdf) else "",
    ]
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def same_joints(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two arms' joints have the same names in the same order, but for a prefix that all of one have."""
    if len(names) != len(others) or not names:
        return False
    longer, shorter = (names, others) if len(names[0]) >= len(others[0]) else (others, names)
    prefix = longer[0].removesuffix(shorter[0])
    return all(long == prefix + short for long, short in zip(longer, shorter, strict=True))


def _facts(file: RobotFile | GripperFile, joints: Sequence[str]) -> Any:
    content = file.model_dump(mode="json", exclude_defaults=True)
    places = {name: f"joint {k}" for k, name in enumerate(joints, 1)}
    return _without_prose({key: value for key, value in content.items() if key not in _NO_FACTS}, places)


def _without_prose(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_prose(one, places) for key, one in value.items() if key not in _PROSE | _PLACES}
    if isinstance(value, list):
        return [_without_prose(one, places) for one in value]
    return places.get(value, value) if isinstance(value, str) else value


def _model(model: ModelFile, folder: Path) -> str:
    """The digest of a model file without its comments and layout: of a xacro file as it is once expanded, of an MJCF
    file with the files that it includes.
    """
    path = folder / str(model.mjcf or model.urdf)
    if path.suffix == ".xacro":
        dirs = [folder / given for given in model.package_dirs]
        return _sha256(_canonical(path, portable_xacro(path, model.xacro_args, dirs)))
    whole = _canonical(path, read_regular(path, MODEL_MAX))
    if model.mjcf is None:
        return _sha256(whole)
    parts = _included(path, whole)
    return _sha256(json.dumps([_sha256(whole), parts], sort_keys=True)) if parts else _sha256(whole)


def _included(path: Path, text: str) -> dict[str, str]:
    """The digest of each file that the MJCF file at path includes, or one that it includes, by its name there.

    As MuJoCo does, look for it from the folder of the whole, then from that of the file that includes it.
    """
    found: dict[str, str] = {}
    todo = [(path, text)]
    while todo:
        beside, text = todo.pop()
        for element in ElementTree.fromstring(text).iter("include"):
            name = element.get("file", "")
            if name in found:
                continue
            here = next((f / name for f in (path.parent, beside.parent) if (f / name).is_file()), None)
            if here is None:
                raise RobotError(f"'{name}', which '{beside}' includes, is not there.")
            part = _canonical(here, read_regular(here, MODEL_MAX))
            found[name] = _sha256(part)
            todo.append((here, part))
    return found


def _canonical(path: Path, data: bytes) -> str:
    try:
        return ElementTree.canonicalize(data.decode("utf-8"), strip_text=True)
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise RobotError(f"{os.fspath(path)} is not XML: {error}.") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
