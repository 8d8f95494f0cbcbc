"""A motion to be played: one JointTrajectory in an MCAP file, as ROS 2 tools and Foxglove read it.

The file's metadata says for which arm and profile it was made. `robolearn serve --motion` plays it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import DataError, MissingDependency

Array = NDArray[np.float64]
TOPIC = "/robolearn/motion"
TYPE = "trajectory_msgs/msg/JointTrajectory"
ABOUT = "robolearn.motion/1"  # name of the metadata record
_LINE = "=" * 80
_SCHEMA = f"""\
std_msgs/Header header
string[] joint_names
JointTrajectoryPoint[] points
{_LINE}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{_LINE}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
{_LINE}
MSG: trajectory_msgs/JointTrajectoryPoint
float64[] positions
float64[] velocities
float64[] accelerations
float64[] effort
builtin_interfaces/Duration time_from_start
{_LINE}
MSG: builtin_interfaces/Duration
int32 sec
uint32 nanosec
"""


@dataclass(frozen=True)
class PlannedMotion:
    """Joint targets over time: time_s [N] from 0, position_rad and velocity_rad_s [N, n]. about: text by name."""

    joint_names: tuple[str, ...]
    time_s: Array
    position_rad: Array
    velocity_rad_s: Array
    about: dict[str, str] = field(default_factory=dict)
    digest: str = ""

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return float(self.time_s[-1])

    def sample(self, time_s: float) -> tuple[Array, Array]:
        """Position and velocity [n] at a time; before the begin and after the end at rest."""
        if time_s >= self.time_s[-1]:
            return self.position_rad[-1], np.zeros(len(self.joint_names))
        i = max(int(np.searchsorted(self.time_s, time_s, side="right")) - 1, 0)
        step = self.time_s[i + 1] - self.time_s[i]
        s = max(time_s - self.time_s[i], 0.0) / step
        position = self.position_rad[i] + s * (self.position_rad[i + 1] - self.position_rad[i])
        velocity = self.velocity_rad_s[i] + s * (self.velocity_rad_s[i + 1] - self.velocity_rad_s[i])
        return position, velocity


def write_motion(path: str | Path, motion: PlannedMotion) -> Path:
    """Write a motion; the path. Raises DataError where it cannot be written."""
    writer_type, _ = _mcap_ros2()
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    points = [
        {
            "positions": position.tolist(),
            "velocities": velocity.tolist(),
            "accelerations": [],
            "effort": [],
            "time_from_start": {"sec": int(t), "nanosec": round((t - int(t)) * 1e9)},
        }
        for t, position, velocity in zip(
            motion.time_s, motion.position_rad, motion.velocity_rad_s, strict=True
        )
    ]
    header = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}
    try:
        with partial.open("wb") as stream:
            writer = writer_type(stream)
            schema = writer.register_msgdef(TYPE, _SCHEMA)
            writer._writer.add_metadata(ABOUT, motion.about)
            message = {"header": header, "joint_names": list(motion.joint_names), "points": points}
            writer.write_message(TOPIC, schema, message, log_time=0, publish_time=0)
            writer.finish()
        partial.replace(path)
    except OSError as error:
        raise DataError(f"Cannot write the motion '{path}': {error.strerror}.") from None
    return path


def read_motion(path: str | Path) -> PlannedMotion:
    """Read a motion. Raises DataError where the file is none, or its times or numbers are not usable."""
    from mcap.exceptions import McapError
    from mcap.reader import make_reader

    _, factory = _mcap_ros2()
    path = Path(path)
    try:
        with path.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[factory()])
            about = {m.name: dict(m.metadata) for m in reader.iter_metadata()}
            found = [message for _, _, _, message in reader.iter_decoded_messages(topics=[TOPIC])]
    except OSError as error:
        raise DataError(f"Cannot read the motion '{path}': {error.strerror}.") from None
    except McapError as error:
        raise DataError(f"'{path}' is not a readable MCAP file: {error}.") from None
    if len(found) != 1:
        raise DataError(
            f"'{path}' has {len(found)} messages on {TOPIC}, expected one JointTrajectory. "
            "Make a motion with `robolearn sysid excite`."
        )
    message = found[0]
    time = np.array([p.time_from_start.sec + p.time_from_start.nanosec / 1e9 for p in message.points])
    position = np.array([p.positions for p in message.points], float)
    velocity = np.array([p.velocities for p in message.points], float)
    n = len(message.joint_names)
    if len(time) < 2 or position.shape != (len(time), n) or velocity.shape != (len(time), n):
        raise DataError(f"'{path}': every point needs a position and a velocity for each of {n} joints.")
    if not (np.diff(time) > 0).all() or not np.isfinite(position).all() or not np.isfinite(velocity).all():
        raise DataError(f"'{path}': times must increase and every number must be finite.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return PlannedMotion(tuple(message.joint_names), time, position, velocity, about.get(ABOUT, {}), digest)


def _mcap_ros2():
    try:
        from mcap_ros2.decoder import DecoderFactory
        from mcap_ros2.writer import Writer
    except ModuleNotFoundError:
        raise MissingDependency(
            "Reading and writing ROS 2 messages in MCAP files needs mcap-ros2-support: "
            "pip install 'robolearn[sysid]'."
        ) from None
    return Writer, DecoderFactory
