"""Joint motion from a LeRobotDataset v3: a folder with `meta/info.json` and frames in Parquet files.

`action` holds the commands and `observation.state` the measurements of a frame, both under the frame's `timestamp`,
which begins at 0 in each episode. `names` of a feature say which number is which: `joint`, `joint.pos`, `joint.vel` and
`joint.effort` (or `.torque`). The format states no unit: the reader must give it.
Format: LeRobotDataset v3.0, huggingface/lerobot, src/lerobot/datasets/utils.py (meta/info.json, `data_path`, features).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.motion import Fault, Motion, ordered
from robolearn.errors import DataError, MissingDependency, unknown
from robolearn.files.reading import MIB, read_regular

INFO = Path("meta") / "info.json"
VERSION = "v3."
UNITS = {"rad": 1.0, "deg": float(np.pi / 180.0)}
ACTION, STATE = "action", "observation.state"
BETWEEN_EPISODES_S = 1.0
_COLUMNS = ("timestamp", "episode_index")
_KINDS = {
    "position_rad": ("", ".pos", ".position"),
    "velocity_rad_s": (".vel", ".velocity"),
    "effort": (".effort", ".torque"),
}


def is_lerobot(path: str | Path) -> bool:
    """Whether a folder is a LeRobotDataset, of whatever version."""
    return (Path(path) / INFO).is_file()


def read_lerobot(
    path: str | Path,
    joint_names: tuple[str, ...],
    *,
    position_unit: str | None,
    effort_unit: str | None = None,
    episode: int | None = None,
) -> Motion:
    """The motion of these joints in a dataset, one episode or all of them with a gap after each.

    position_unit: "rad" or "deg", of positions and, per second, of velocities. effort_unit: "Nm", "A", or None where
    it is not known.
    Raises DataError where the unit is not given, the dataset is of another version, or a joint is not in it.
    """
    folder = Path(path)
    info, sha = _info(folder)
    if position_unit is None:
        raise DataError(
            f"{folder}: a LeRobotDataset does not define the unit of its positions. Give --position-unit rad or deg."
        )
    if position_unit not in UNITS:
        raise DataError(unknown("position unit", position_unit, UNITS))
    command_at = _columns(folder, info, ACTION, joint_names)
    state_at = _columns(folder, info, STATE, joint_names)
    for what, found in ((ACTION, command_at), (STATE, state_at)):
        if "position_rad" not in found:
            names = [name for name in joint_names if name not in _names(info, what)]
            raise DataError(f"{folder}: '{what}' has no position of {', '.join(names or joint_names)}.")
    frames = _frames(folder, info, sha)
    numbers = frames["episode_index"]
    if episode is not None:
        if episode not in numbers:
            raise DataError(f"{folder} has no episode {episode}; it has 0 to {int(numbers.max())}.")
        frames = {key: column[numbers == episode] for key, column in frames.items()}
    time, note = _time(frames)
    scale = UNITS[position_unit]

    def taken(feature: str, at: dict[str, list[int]]) -> dict[str, Any]:
        return {
            kind: frames[feature][:, columns] * (1.0 if kind == "effort" else scale)
            for kind, columns in at.items()
        }

    commands = {"position_rad": taken(ACTION, command_at)["position_rad"]}
    command, first, _ = ordered("command", time, commands)
    measured, second, _ = ordered("measured", time, taken(STATE, state_at))
    faults: list[Fault] = [*first, *second]
    missing = [kind.partition("_")[0] for kind in _KINDS if kind not in state_at]
    kind = info.get("robot_type")
    return Motion(
        source=str(folder),
        digest=sha.hexdigest(),
        joint_names=joint_names,
        command=command,
        measured=measured,
        effort_unit=effort_unit if "effort" in measured.values else None,
        faults=tuple(faults),
        missing=(*missing, "wrench", "when measurements were received"),
        notes=(f"robot_type {kind}, not compared with the arm", f"positions in {position_unit}", note),
    )


def _info(folder: Path) -> tuple[dict[str, Any], Any]:
    """The dataset's description, and the digest that goes on with its frames."""
    try:
        data = read_regular(folder / INFO, 16 * MIB)
        info = json.loads(data)
        version, features = str(info["codebase_version"]), info["features"]
    except OSError as error:
        raise DataError(f"No LeRobotDataset in {folder}: {INFO} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{folder / INFO} is not a description of a LeRobotDataset.") from None
    if not version.startswith(VERSION):
        raise DataError(
            f"{folder} is a LeRobotDataset {version[:20]}, expected {VERSION}x. Convert it with LeRobot's converter."
        )
    if not isinstance(features, dict) or not {ACTION, STATE} <= set(features):
        raise DataError(f"{folder} lacks '{ACTION}' or '{STATE}': its frames contain no joint motion.")
    return info, hashlib.sha256(data)


def _names(info: dict[str, Any], feature: str) -> list[str]:
    """What each number of a feature is; datasets have a list, or lists by group."""
    names = info["features"][feature].get("names") if isinstance(info["features"][feature], dict) else None
    if isinstance(names, dict):
        names = [name for group in names.values() if isinstance(group, list) for name in group]
    return [str(name) for name in names] if isinstance(names, list) else []


def _columns(
    folder: Path, info: dict[str, Any], feature: str, joint_names: tuple[str, ...]
) -> dict[str, list[int]]:
    """Where the numbers of all joints stand in a feature, by kind. Raises DataError for an unknown joint."""
    names = _names(info, feature)
    if not names:
        raise DataError(f"{folder}: '{feature}' has no joint names in {INFO}.")
    found = {}
    for kind, endings in _KINDS.items():
        for ending in endings:
            if all(f"{joint}{ending}" in names for joint in joint_names):
                found[kind] = [names.index(f"{joint}{ending}") for joint in joint_names]
                break
    if not found:
        known = {name.rpartition(".")[0] or name for name in names}
        absent = next((joint for joint in joint_names if joint not in known), joint_names[0])
        raise DataError(f"{folder}: '{feature}' is not of this arm. {unknown('joint', absent, known)}")
    return found


def _frames(folder: Path, info: dict[str, Any], sha: Any) -> dict[str, np.ndarray]:
    """The columns that are read, of all Parquet files in order; their bytes go into the digest."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise MissingDependency(
            "Reading a LeRobotDataset needs pyarrow: pip install 'robolearn[data]'."
        ) from None
    files = sorted((folder / "data").glob("chunk-*/file-*.parquet"))
    if not files:
        raise DataError(f"{folder} has no frames: no data/chunk-*/file-*.parquet.")
    parts: dict[str, list[np.ndarray]] = {key: [] for key in (*_COLUMNS, ACTION, STATE)}
    for file in files:
        try:
            with file.open("rb") as stream:
                sha.update(hashlib.file_digest(stream, "sha256").digest())
            table = parquet.ParquetFile(file).read(columns=list(parts))
            for key in parts:
                parts[key].append(np.array(table.column(key).to_pylist(), float))
        except (OSError, ArrowException, KeyError, ValueError, TypeError) as error:
            first = str(error).partition("\n")[0][:200]
            raise DataError(f"'{file}' is not a Parquet file of frames that can be read: {first}.") from None
    frames = {key: np.concatenate(columns) for key, columns in parts.items()}
    for key in (ACTION, STATE):
        width = len(_names(info, key))
        if frames[key].ndim != 2 or frames[key].shape[1] != width:
            raise DataError(
                f"{folder}: '{key}' names {width} numbers, its frames hold {frames[key].shape[1:]}."
            )
    return frames


def _time(frames: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    """Times that go on from one episode to the next, after a gap, and what to say of it."""
    stamps, numbers = frames["timestamp"].ravel(), frames["episode_index"].ravel()
    time, start, order = np.zeros(len(stamps)), 0.0, list(dict.fromkeys(numbers.tolist()))
    for number in order:
        rows = numbers == number
        time[rows] = start + stamps[rows]
        start = float(time[rows].max()) + BETWEEN_EPISODES_S
    return time, f"{len(order)} episodes, {BETWEEN_EPISODES_S:g} s apart here"
