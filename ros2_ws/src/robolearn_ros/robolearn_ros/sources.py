"""Where a policy's slots come from on the robot, beyond the arm's own joint states.

| source | topic | message |
|---|---|---|
| `goal.position` | `/robolearn/goal` | geometry_msgs/PointStamped; PoseStamped where orientation is read too |
| `goal.orientation` | `/robolearn/goal` | geometry_msgs/PoseStamped |
| `pose.<object>.position`, `pose.<object>.orientation` | `/robolearn/pose/<object>` | geometry_msgs/PoseStamped |
| `gripper.width` | `/robolearn/gripper_width` | std_msgs/Float64, m |

Units are those of the messages: m and rad, rad/s, and 1 for quaternions; a slot in another unit is refused.
Any of these topics can be changed by the parameter slot_topics, such as `pose.cube=/tracker/cube`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped
from rclpy.node import Node
from std_msgs.msg import Float64

from robolearn.errors import BundleError, ConfigError
from robolearn.policy.bundle import Manifest
from robolearn_ros.messages import Polled, qos

ARM = ("joint_state.position", "joint_state.velocity")
GRIPPER = "gripper.width"
GRIPPER_TOPIC = "/robolearn/gripper_width"
GOAL_TOPIC = "/robolearn/goal"
_PARTS = ("position", "orientation")
_UNITS = {"joint_state.position": "rad", "joint_state.velocity": "rad/s", GRIPPER: "m"}
_UNIT_OF_PART = {"position": "m", "orientation": "1"}
_UNITS_OF_TARGETS = {
    "joint_position_target": "rad",
    "joint_velocity_target": "rad/s",
    "gripper_width_target": "m",
}


def check_units(name: str, manifest: Manifest) -> None:
    """Raises BundleError where a slot or target is in another unit than the message that carries it has.

    name: of the bundle.
    """
    for slot in (*manifest.slots, *manifest.goal_slots):
        expected = _UNITS.get(slot.source) or _UNIT_OF_PART.get(slot.source.rpartition(".")[2])
        if expected is not None and slot.unit != expected:
            raise BundleError(
                f"Bundle '{name}': slot '{slot.name}' is in '{slot.unit}', but {slot.source} comes in '{expected}'. "
                "Export the policy with slots in the units of the messages."
            )
    for output in manifest.outputs:
        expected = _UNITS_OF_TARGETS.get(output.name)
        if expected is not None and output.unit != expected:
            raise BundleError(
                f"Bundle '{name}': target '{output.name}' is in '{output.unit}', but is sent in '{expected}'. "
                "Export the policy with targets in the units of the messages."
            )


class Sources:
    """Polls the topics behind the sources that a policy needs. Values are [3] m, [4] (w, x, y, z), [1] m."""

    def __init__(self, node: Node, base_frame: str, changed: Iterable[str] = ()):
        """changed: `stem=topic`. Raises ConfigError for any other form."""
        self._node, self._base_frame = node, base_frame
        self._changed = {}
        for entry in changed:
            stem, separator, topic = entry.partition("=")
            if not separator or not topic.startswith("/"):
                raise ConfigError(f"slot_topics: '{entry}' is not of the form pose.cube=/tracker/cube.")
            self._changed[stem] = topic
        self._polled: dict[str, Polled[Any]] = {}
        self._needed: list[str] = []
        self._have: set[str] = set()
        self.problem = ""

    def expect(self, sources: Iterable[str]) -> None:
        """Subscribe to what these sources need. Raises BundleError for a source that has no topic."""
        self._needed = [source for source in sources if source not in ARM]
        for source in self._needed:
            stem = _stem(source)
            if stem not in self._polled:
                self._polled[stem] = Polled(self._node, self._kind(stem), self._topic(stem), qos(1))

    def lacks(self, sources: Iterable[str]) -> list[str]:
        """Those sources that nothing has been subscribed for. Raises BundleError for one that has no topic."""
        return sorted({s for s in sources if s not in ARM and s not in self._needed and _stem(s)})

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
        for stem, polled in self._polled.items():
            for message in polled.take():
                values |= self._read(stem, message)
        self._have |= values.keys()
        return values

    def _read(self, stem: str, message: Any) -> dict[str, np.ndarray]:
        if isinstance(message, Float64):
            values = {stem: np.array([message.data])}
        else:
            frame = message.header.frame_id
            if frame not in ("", self._base_frame):
                self.problem = (
                    f"{self._topic(stem)} came in frame '{frame}', expected '{self._base_frame}'; not used"
                )
                return {}
            values = _pose(stem, message)
        if not all(np.isfinite(value).all() for value in values.values()):
            self.problem = f"{self._topic(stem)} held a value that is not finite; not used"
            return {}
        self.problem = ""
        return values

    def _topic(self, stem: str) -> str:
        default = {"goal": GOAL_TOPIC, GRIPPER: GRIPPER_TOPIC}.get(
            stem, "/robolearn/" + stem.replace(".", "/")
        )
        return self._changed.get(stem, default)

    def _kind(self, stem: str) -> Any:
        if stem == GRIPPER:
            return Float64
        return PointStamped if stem == "goal" and "goal.orientation" not in self._needed else PoseStamped


def _stem(source: str) -> str:
    """`goal`, `pose.<object>` or `gripper.width`."""
    parts = source.split(".")
    if source == GRIPPER:
        return GRIPPER
    if parts[-1] in _PARTS and (parts[:-1] == ["goal"] or (parts[0] == "pose" and len(parts) == 3)):
        return ".".join(parts[:-1])
    raise BundleError(
        f"The policy reads '{source}', for which this node has no topic. It knows {', '.join(ARM)}, {GRIPPER}, "
        "goal.position, pose.<object>.position and the same with .orientation."
    )


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
