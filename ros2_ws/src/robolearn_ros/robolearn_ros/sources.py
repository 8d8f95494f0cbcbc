"""Subscribes to the topics behind a policy's slots, by the table `robolearn.policy.sources`.

Units are those of the messages. Any of the topics can be changed by the parameter slot_topics, such as
`pose.cube=/tracker/cube`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped, WrenchStamped
from rclpy.node import Node
from std_msgs.msg import Float64, Float64MultiArray

from robolearn.errors import BundleError, ConfigError
from robolearn.policy.bundle import Manifest
from robolearn.policy.slots import Slot
from robolearn.policy.sources import JOINT_POSITION, JOINT_VELOCITY, find_source
from robolearn_ros.frame_listener import FrameListener
from robolearn_ros.messages import Polled, qos
from robolearn_ros.wrench_reader import STEM as WRENCH
from robolearn_ros.wrench_reader import WrenchReader

ARM = (JOINT_POSITION, JOINT_VELOCITY)
MESSAGES = {
    "geometry_msgs/PointStamped": PointStamped,
    "geometry_msgs/PoseStamped": PoseStamped,
    "geometry_msgs/WrenchStamped": WrenchStamped,
    "std_msgs/Float64": Float64,
    "std_msgs/Float64MultiArray": Float64MultiArray,
}
_PARTS = ("position", "orientation")
_UNITS_OF_TARGETS = {
    "joint_position_target": "rad",
    "joint_velocity_target": "rad/s",
    "gripper_width_target": "m",
}


def check_targets(name: str, manifest: Manifest) -> None:
    """Raises BundleError where a target is in another unit than the message that carries it has. name: of the bundle.

    Slots need no such check: one in another unit cannot be made.
    """
    for output in manifest.outputs:
        expected = _UNITS_OF_TARGETS.get(output.name)
        if expected is not None and output.unit != expected:
            raise BundleError(
                f"Bundle '{name}': target '{output.name}' is in '{output.unit}', but is sent in '{expected}'. "
                "Export the policy with targets in the units of the messages."
            )


class Sources:
    """Polls the topics behind the slots that a policy needs; values by source, shaped as the table says."""

    def __init__(
        self, node: Node, base_frame: str, changed: Iterable[str] = (), wrench: WrenchReader | None = None
    ):
        """changed: `stem=topic`. Raises ConfigError for any other form. wrench: of the arm's sensor."""
        self._wrench = wrench
        self._node, self._base_frame = node, base_frame
        self._changed = {}
        for entry in changed:
            stem, separator, topic = entry.partition("=")
            if not separator or not topic.startswith("/"):
                raise ConfigError(f"slot_topics: '{entry}' is not of the form pose.cube=/tracker/cube.")
            self._changed[stem] = topic
        self._polled: dict[str, Polled[Any]] = {}
        self._needed: dict[str, int] = {}  # numbers that each source has
        self._have: set[str] = set()
        self._problems: dict[str, str] = {}  # of the newest message of each topic, by stem
        self._frames = FrameListener(node)

    def expect(self, slots: Iterable[Slot]) -> None:
        """Subscribe to what these slots need. Raises ConfigError for a wrench on an arm without a sensor."""
        self._needed = {slot.source: math.prod(slot.shape) for slot in slots if slot.source not in ARM}
        for source in self._needed:
            stem = _stem(source)
            if stem not in self._polled:
                # Best effort hears every publisher of a sensor.
                profile = qos(1, reliable=stem != WRENCH)
                self._polled[stem] = Polled(self._node, self._kind(source), self._topic(stem), profile)

    def lacks(self, slots: Iterable[Slot]) -> list[str]:
        """Sources of those slots that nothing has been subscribed for."""
        return sorted({slot.source for slot in slots if slot.source not in (*ARM, *self._needed)})

    @property
    def missing(self) -> list[str]:
        """Topics from which nothing has come yet."""
        return sorted({self._topic(_stem(source)) for source in self._needed if source not in self._have})

    @property
    def complete(self) -> bool:
        """Whether every source has a value."""
        return all(source in self._have for source in self._needed)

    def misfits(self) -> list[str]:
        """Publishers of these topics whose messages can never come, and why."""
        return [text for polled in self._polled.values() for text in polled.misfits()]

    def take(self) -> dict[str, np.ndarray]:
        """New values by source. What is not finite or in another frame is refused, and said in `problem`."""
        values: dict[str, np.ndarray] = {}
        self._frames.take()
        for stem, polled in self._polled.items():
            for message in polled.take():
                values |= self._read(stem, message)
        self._have |= values.keys()
        return values

    @property
    def problem(self) -> str:
        """Why the newest messages of some topics are not used; empty where all are."""
        return "; ".join(self._problems.values())

    def late(self, slots: Iterable[Slot], now_s: float, age_max_s: float) -> str:
        """Why what these slots read is too old, where it is something that must keep coming; else empty."""
        if self._wrench is None or not any(slot.source.startswith(f"{WRENCH}.") for slot in slots):
            return ""
        return self._wrench.late(now_s, age_max_s)

    def felt(self) -> dict[str, str]:
        """The newest wrench as a policy reads it, by source, for diagnostics; empty where none has come."""
        newest = {} if self._wrench is None else self._wrench.newest
        return {source: " ".join(f"{number:.2f}" for number in value) for source, value in newest.items()}

    def given(self, values: Iterable[str]) -> None:
        """Sources whose value came another way than by topic."""
        self._have |= set(values)

    @property
    def needed(self) -> frozenset[str]:
        """Sources of the slots that topics were subscribed for."""
        return frozenset(self._needed)

    def pose_in_base(self, stem: str, message: PointStamped | PoseStamped) -> dict[str, np.ndarray]:
        """A point or pose in the base frame, by source. An empty frame is the base frame.

        Raises ConfigError where it is in another frame, and nothing on /tf leads to the base frame.
        """
        values, frame = _pose(stem, message), message.header.frame_id
        if frame in ("", self._base_frame):
            return values
        turn = values.get(f"{stem}.orientation", np.array([1.0, 0.0, 0.0, 0.0]))
        try:
            position, turn = self._frames.transform(
                values[f"{stem}.position"], turn, message.header, self._base_frame
            )
        except ConfigError as error:
            raise ConfigError(
                f"it came in frame '{frame}', expected '{self._base_frame}', and {error}"
            ) from None
        moved = {f"{stem}.position": position, f"{stem}.orientation": turn}
        return {source: moved[source] for source in values}

    def _read(self, stem: str, message: Any) -> dict[str, np.ndarray]:
        if isinstance(message, Float64 | Float64MultiArray):
            values = {stem: np.atleast_1d(np.asarray(message.data, dtype=float))}
            if len(values[stem]) != self._needed[stem]:
                found, expected = len(values[stem]), self._needed[stem]
                self._problems[stem] = (
                    f"{self._topic(stem)} held {found} numbers, expected {expected}; not used"
                )
                return {}
        else:
            try:
                values = self._wrench_values(message) if stem == WRENCH else self.pose_in_base(stem, message)
            except ConfigError as error:
                self._problems[stem] = f"{self._topic(stem)} is not used: {error}"
                return {}
        if not all(np.isfinite(value).all() for value in values.values()):
            self._problems[stem] = f"{self._topic(stem)} held a value that is not finite; not used"
            return {}
        self._problems.pop(stem, None)
        return values

    def _wrench_values(self, message: WrenchStamped) -> dict[str, np.ndarray]:
        values = {} if self._wrench is None else self._wrench.values(message)
        return {source: value for source, value in values.items() if source in self._needed}

    def _topic(self, stem: str) -> str:
        """`/robolearn/goal`, `/robolearn/pose/cube`, ...: the table's topic with the task's names, unless changed."""
        if stem == WRENCH and stem not in self._changed:
            if self._wrench is None:
                raise ConfigError("the policy reads the wrench at the TCP, and no sensor is known.")
            self._wrench.require()
            return self._node.resolve_topic_name(self._wrench.topic)
        row = find_source(
            stem if stem in self._needed else f"{stem}.{'force' if stem == WRENCH else 'position'}"
        )
        topic = row.topic.partition("<")[0] + stem.rpartition(".")[2] if "<" in row.topic else row.topic
        # The table's topics are in the namespace of the arm.
        return self._node.resolve_topic_name(self._changed.get(stem, topic.lstrip("/")))

    def _kind(self, source: str) -> Any:
        if source == "goal.position" and "goal.orientation" in self._needed:
            return PoseStamped
        return MESSAGES[find_source(source).message]


def _stem(source: str) -> str:
    """What arrives together: `goal` and `pose.<object>` without `.position` or `.orientation`, `wrench.tcp`, else the
    source.
    """
    if source.startswith(f"{WRENCH}."):
        return WRENCH
    stem, _, part = source.rpartition(".")
    return stem if part in _PARTS and (stem == "goal" or stem.startswith("pose.")) else source


def _pose(stem: str, message: PointStamped | PoseStamped) -> dict[str, np.ndarray]:
    if isinstance(message, PointStamped):
        return {f"{stem}.position": _point(message.point)}
    q = message.pose.orientation
    return {
        f"{stem}.position": _point(message.pose.position),
        f"{stem}.orientation": np.array([q.w, q.x, q.y, q.z]),
    }


def _point(point: Any) -> np.ndarray:
    return np.array([point.x, point.y, point.z])
