"""Joint motion from a safety log: every cycle's measurement, and what was sent.

Commands carry the time of the cycle that sent them; measurements carry the driver's stamps, on the same monotonic
clock. The log is read as it is: whether it was altered is the review's business (`robolearn.review.verify`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from robolearn.data.motion import Fault, Motion, ordered
from robolearn.errors import DataError
from robolearn.files.reading import MIB, open_regular
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.hash_chain import EVENTS_FILE
from robolearn.recorder.mcap_file import Chunk, read_trace

_HAS_MEASURED, _PUBLISHED = 4, 32  # bits of `present`
_EFFORT = "measured_effort_nm"


def log_digest(directory: Path) -> str:
    """The digest by which a log is named, in a calibration for one: of its events, then of its traces in order."""
    running = hashlib.sha256((directory / EVENTS_FILE).read_bytes())
    for path in _traces(directory):
        running.update(path.read_bytes())
    return running.hexdigest()


def _traces(directory: Path) -> list[Path]:
    return sorted(directory.glob("trace-*.mcap"))


def read_safety_log(directory: str | Path) -> Motion:
    """The motion in a log's folder. Raises DataError where there is no log, or none of its cycles was published."""
    directory = Path(directory)
    start, utc = _session(directory)
    names = tuple(str(name) for name in start["joint_names"])
    layout = Layout(names)
    messages, faults = [], []
    for path in _traces(directory):
        for part in read_trace(path):
            if isinstance(part, Chunk):
                messages += part.messages
            else:
                faults.append(
                    Fault("damaged file", "trace", 1, 0.0, f"{path.name}: {part.text}, at byte {part.start}")
                )
    if not messages:
        raise DataError(f"The safety log in {directory} has no cycles that can be read.")
    rows = layout.columns(messages)
    origin = float(rows["now_s"][0])
    sent = rows[(rows["present"] & _PUBLISHED) > 0]
    seen = rows[((rows["present"] & _HAS_MEASURED) > 0) & (rows["odd"] == 0)]
    if not len(sent) or not len(seen):
        raise DataError(
            f"The safety log in {directory} has no cycle with a measurement and a sent command: no motion."
        )
    odd = int((rows["odd"] != 0).sum())
    if odd:
        first = float(rows["now_s"][rows["odd"] != 0][0]) - origin
        text = f"{odd} cycles had inputs with other joint names or another shape and were ignored"
        faults.append(Fault("other joints", "measured", odd, first, text))
    command, more, _ = ordered("command", sent["now_s"] - origin, {"position_rad": sent["sent_position_rad"]})
    faults += more
    fresh = seen[_fresh(seen["measured_stamp_s"])]  # a cycle without a new message repeats the last one
    values = {
        "position_rad": fresh["measured_position_rad"],
        "velocity_rad_s": fresh["measured_velocity_rad_s"],
    }
    missing = ["wrench"]
    unit = None
    if _EFFORT in (rows.dtype.names or ()) and np.isfinite(fresh[_EFFORT]).all():
        values["effort"], unit = fresh[_EFFORT], "Nm"
    else:
        missing.append("effort")
    measured, more, kept = ordered("measured", fresh["measured_stamp_s"] - origin, values)
    faults += more
    robot = start.get("robot") or {}
    return Motion(
        source=str(directory),
        digest=log_digest(directory),
        joint_names=names,
        command=command,
        measured=measured,
        robot=robot.get("name"),
        robot_digest=robot.get("digest"),
        effort_unit=unit,
        delay_s=(fresh["now_s"] - fresh["measured_stamp_s"])[kept],
        faults=tuple(faults),
        missing=tuple(missing),
        start_utc=utc,
    )


def _fresh(stamps: np.ndarray) -> np.ndarray:
    """Whether each cycle's measurement is another than that of the cycle before, [N] bool."""
    return np.concatenate([[True], stamps[1:] != stamps[:-1]])


def _session(directory: Path) -> tuple[dict, str]:
    try:
        with open_regular(directory / EVENTS_FILE) as stream:
            first = stream.readline(MIB)
        event = json.loads(first)
        if event["kind"] != "session_start":
            raise DataError(f"The log in {directory} does not begin with session_start.")
        return dict(event["fields"]), str(event["utc"])
    except OSError as error:
        raise DataError(
            f"No safety log in {directory}: {EVENTS_FILE} cannot be read ({error.strerror})."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"The first event of the log in {directory} cannot be read.") from None
