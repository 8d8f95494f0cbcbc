"""Joint motion from a rosbag2 MCAP file: JointState, Float64MultiArray, JointTrajectory and WrenchStamped messages.

Commands come from a Float64MultiArray topic, whose values have neither names nor stamps (they are taken in the order
given and stamped when the bag received them), or from a JointTrajectory topic (by name; each point becomes a sample).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.motion import Fault, Motion, ordered
from robolearn.errors import DataError, MissingDependency, unknown

_STATE, _ARRAY = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"
_TRAJECTORY, _WRENCH = "trajectory_msgs/msg/JointTrajectory", "geometry_msgs/msg/WrenchStamped"
_KINDS = (_STATE, _ARRAY, _TRAJECTORY, _WRENCH)


def read_rosbag(
    path: str | Path,
    joint_names: tuple[str, ...],
    *,
    state_topic: str | None = None,
    command_topic: str | None = None,
    effort_unit: str | None = None,
) -> Motion:
    """The motion of these joints in a bag: an MCAP file, or the folder of one.

    state_topic, command_topic: needed where the bag has several that fit. effort_unit: "Nm", "A", or None where it is
    not known: drivers report either in JointState.effort.
    Raises DataError where a topic is missing or ambiguous, or a message does not hold the arm's joints.
    """
    file = _file(Path(path))
    messages = _messages(file)
    states = _topic(messages, file, (_STATE,), state_topic, joint_names, "joint states", "state_topic")
    commands = _topic(
        messages, file, (_ARRAY, _TRAJECTORY), command_topic, joint_names, "commands", "command_topic"
    )
    faults: list[Fault] = []
    received, time, values, missing = _states(messages[states], joint_names, states, faults)
    origin = float(received[0])
    measured, more, kept = ordered("measured", time - origin, values)
    faults += more
    at, position = _commands(messages[commands], joint_names, commands, faults)
    command, more, _ = ordered("command", at - origin, {"position_rad": position})
    wrenches = sorted(topic for topic, found in messages.items() if found and found[0][2] == _WRENCH)
    notes = (f"wrench on {', '.join(wrenches)}, not used by the fit",) if wrenches else ()
    return Motion(
        source=str(path),
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
        joint_names=joint_names,
        command=command,
        measured=measured,
        effort_unit=effort_unit if "effort" in values else None,
        delay_s=(received - time)[kept],
        faults=(*faults, *more),
        missing=(*missing, *(() if wrenches else ("wrench",))),
        notes=notes,
    )


Found = tuple[float, Any, str]  # received s, message, type


def _file(path: Path) -> Path:
    files = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
    if len(files) != 1:
        raise DataError(f"'{path}' holds {len(files)} MCAP files, expected one. Give one file at a time.")
    return files[0]


def _messages(file: Path) -> dict[str, list[Found]]:
    """Every message of the kinds that are read, by topic, in the file's order of time."""
    try:
        from mcap_ros2.decoder import DecoderFactory
    except ModuleNotFoundError:
        raise MissingDependency(
            "Reading rosbag2 files needs mcap-ros2-support: pip install 'robolearn[sysid]'."
        ) from None
    from mcap.exceptions import McapError
    from mcap.reader import make_reader

    found: dict[str, list[Found]] = defaultdict(list)
    try:
        with file.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            for schema, channel, message, decoded in reader.iter_decoded_messages():
                if schema is not None and schema.name in _KINDS:
                    found[channel.topic].append((message.log_time / 1e9, decoded, schema.name))
    except OSError as error:
        raise DataError(f"Cannot read '{file}': {error.strerror}.") from None
    except (McapError, ValueError) as error:
        raise DataError(f"'{file}' is not a rosbag2 MCAP file that can be read: {error}.") from None
    return dict(found)


def _topic(
    messages: dict[str, list[Found]],
    file: Path,
    kinds: tuple[str, ...],
    given: str | None,
    joint_names: tuple[str, ...],
    what: str,
    option: str,
) -> str:
    """The topic of one quantity: the one given, else the only one that fits."""
    fitting = sorted(
        topic
        for topic, found in messages.items()
        if found[0][2] in kinds and _holds(found[0][1], joint_names)
    )
    if given is not None:
        if given not in messages or messages[given][0][2] not in kinds:
            raise DataError(f"'{file}': {unknown(f'topic of {what}', given, fitting)}")
        return given
    if not fitting:
        kind = " or ".join(kind.rpartition("/")[2] for kind in kinds)
        others = ", ".join(sorted(messages)) or "none that is read"
        raise DataError(f"'{file}' has no {what} of {', '.join(joint_names)} ({kind}). Its topics: {others}.")
    if len(fitting) > 1:
        raise DataError(
            f"'{file}' has {what} on {', '.join(fitting)}. Choose one: --{option.replace('_', '-')}."
        )
    return fitting[0]


def _holds(message: Any, joint_names: tuple[str, ...]) -> bool:
    names = getattr(message, "name", None) or getattr(message, "joint_names", None)
    if names is not None:
        return set(joint_names) <= set(names)
    return len(getattr(message, "data", ())) == len(joint_names)


def _states(
    found: list[Found], joint_names: tuple[str, ...], topic: str, faults: list[Fault]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[str]]:
    """Times received, stamps, and columns of joint states that have every joint."""
    rows, odd, first_odd = [], 0, 0.0
    begin = found[0][0]
    for received, message, _ in found:
        index = {name: i for i, name in enumerate(message.name)}
        if any(name not in index for name in joint_names) or len(message.position) != len(message.name):
            odd, first_odd = odd + 1, first_odd or received - begin
            continue
        order = [index[name] for name in joint_names]
        stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        rows.append((received, stamp, message, order))
    if odd:
        text = f"{topic}: {odd} messages lack a joint of the arm and were ignored, first at {first_odd:.3f} s"
        faults.append(Fault("other joints", "measured", odd, first_odd, text))
    if not rows:
        raise DataError(f"No message on {topic} has a position for every joint.")
    received, time = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    values = {"position_rad": np.array([[row[2].position[i] for i in row[3]] for row in rows], float)}
    missing = []
    for name, field in (("velocity_rad_s", "velocity"), ("effort", "effort")):
        full = [len(getattr(row[2], field)) == len(row[2].name) for row in rows]
        if all(full):
            values[name] = np.array([[getattr(row[2], field)[i] for i in row[3]] for row in rows], float)
        else:
            missing.append(field)
            if any(full):
                text = f"{topic}: {full.count(False)} messages have no {field}; it is ignored"
                faults.append(Fault(f"{field} incomplete", "measured", full.count(False), 0.0, text))
    return received, time, values, missing


def _commands(
    found: list[Found], joint_names: tuple[str, ...], topic: str, faults: list[Fault]
) -> tuple[np.ndarray, np.ndarray]:
    """Times [N] and targets [N, n] of a command topic."""
    time: list[float] = []
    values: list[list[float]] = []
    wrong = 0
    for received, message, kind in found:
        if kind == _ARRAY:
            if len(message.data) != len(joint_names):
                wrong += 1
                continue
            time.append(received)
            values.append(list(message.data))
            continue
        if not set(joint_names) <= set(message.joint_names):
            wrong += 1
            continue
        order = [list(message.joint_names).index(name) for name in joint_names]
        stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        begin = stamp or received
        for point in message.points:
            time.append(begin + point.time_from_start.sec + point.time_from_start.nanosec / 1e9)
            values.append([point.positions[i] for i in order])
    if wrong:
        text = f"{topic}: {wrong} messages are not of these {len(joint_names)} joints and were ignored"
        faults.append(Fault("other joints", "command", wrong, 0.0, text))
    if not time:
        raise DataError(f"No message on {topic} is a command for {len(joint_names)} joints.")
    return np.array(time), np.array(values, float)
