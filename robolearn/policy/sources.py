"""The one table of sources: where a slot's value comes from on the robot, with shape, unit, message and topic.

A slot is checked against this table when it is made, so that a task that no robot can serve fails where it is
written. The policy node subscribes by the same table, and the documentation prints it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from robolearn.errors import RobolearnError, unknown

ANY = None  # a shape or unit that the task chooses


class SlotError(RobolearnError, ValueError):
    """A slot whose source, shape or unit no robot can provide."""


@dataclass(frozen=True)
class Source:
    """One row of the table.

    name: with `<...>` for a part that the task chooses. shape: `"n"` stands for the number of joints, ANY for the
    task's choice. unit: ANY for the task's choice. message, topic: what carries it; empty where nothing does.
    """

    name: str
    shape: tuple[int | str, ...] | None
    unit: str | None
    message: str
    topic: str
    description: str

    def matches(self, source: str) -> bool:
        """Whether a slot's source is this row."""
        pattern = re.sub(
            r"<\w+>", r"[A-Za-z_]\\w*", re.escape(self.name).replace(r"\<", "<").replace(r"\>", ">")
        )
        return re.fullmatch(pattern, source) is not None


JOINT_POSITION, JOINT_VELOCITY, GRIPPER_WIDTH = (
    "joint_state.position",
    "joint_state.velocity",
    "gripper.width",
)
WRENCH_FORCE, WRENCH_TORQUE = "wrench.tcp.force", "wrench.tcp.torque"
_POINT, _POSE, _NUMBERS = (
    "geometry_msgs/PointStamped",
    "geometry_msgs/PoseStamped",
    "std_msgs/Float64MultiArray",
)
_WRENCH, _WRENCH_TOPIC = "geometry_msgs/WrenchStamped", "wrench_topic, or the robot file's"
_STATE = "sensor_msgs/JointState"

SOURCES = (
    Source(JOINT_POSITION, ("n",), "rad", _STATE, "the robot file's", "positions, in the bundle's joint order"),
    Source(JOINT_VELOCITY, ("n",), "rad/s", _STATE, "the robot file's", "velocities, likewise"),
    Source(GRIPPER_WIDTH, (1,), "m", "std_msgs/Float64", "/robolearn/gripper_width", "measured gripper opening"),
    Source("goal.position", (3,), "m", _POINT, "/robolearn/goal",
           "base frame; PoseStamped where the orientation is read too"),
    Source("goal.orientation", (4,), "1", _POSE, "/robolearn/goal", "quaternion w, x, y, z, base frame"),
    Source("goal.<name>", ANY, ANY, _NUMBERS, "/robolearn/goal/<name>", "any other goal, as the task defines it"),
    Source("pose.<object>.position", (3,), "m", _POSE, "/robolearn/pose/<object>", "base frame"),
    Source("pose.<object>.orientation", (4,), "1", _POSE, "/robolearn/pose/<object>",
           "quaternion w, x, y, z, base frame"),
    Source(WRENCH_FORCE, (3,), "N", _WRENCH, _WRENCH_TOPIC,
           "what the surroundings do to the tool, without its weight; axes of the TCP"),
    Source(WRENCH_TORQUE, (3,), "Nm", _WRENCH, _WRENCH_TOPIC, "likewise, about the TCP"),
    Source("zeros", ANY, ANY, "", "", "memory only: starts from zeros"),
    Source("policy", ANY, ANY, "", "", "targets only: what the policy returns"),
)  # fmt: skip


def find_source(source: str) -> Source:
    """The row of a source. Raises SlotError where there is none."""
    row = next((row for row in SOURCES if row.matches(source)), None)
    if row is None:
        raise SlotError(unknown("source", source, [row.name for row in SOURCES]))
    return row


def check_slot(name: str, shape: tuple[int, ...], unit: str, source: str) -> None:
    """Raises SlotError where the source is unknown or comes in another shape or unit."""
    try:
        row = find_source(source)
    except SlotError as error:
        raise SlotError(f"Slot '{name}': {error}") from None
    if row.unit is not ANY and unit != row.unit:
        raise SlotError(f"Slot '{name}' is in '{unit}', but {source} comes in '{row.unit}'.")
    if row.shape is not None and not _fits(shape, row.shape):
        expected = "one value per joint" if row.shape == ("n",) else str(list(row.shape))
        raise SlotError(f"Slot '{name}' has shape {list(shape)}, but {source} has {expected}.")


def _fits(shape: tuple[int, ...], expected: tuple[Any, ...]) -> bool:
    return len(shape) == len(expected) and all(
        given == wanted or wanted == "n" for given, wanted in zip(shape, expected, strict=True)
    )
