"""Single commands for a gripper out of the stream of openings that a policy sends. No ROS here.

A stream says where the fingers are to be at every moment. The drivers of grippers take one command at a time: move
to an opening, or close and hold with a force.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DEADBAND_M = 0.003  # smaller changes of the target are not worth a command
SQUEEZE_M = 0.008  # the target so far inside fingers that it closes on, or that stand still, means: hold what is there
MOVED_M = 0.0005  # a smaller change of the opening is no motion
STALLED_S = 0.15  # longer than a driver takes from a command to the first motion
CLOSING_S = 0.15  # a target that was lowered three times, each within so long of the one before, is closing
CLOSING_STEPS = 3
RELEASE_M = 0.002  # the target this near to the measured opening, or wider, lets go


@dataclass(frozen=True)
class Move:
    """Go to an opening."""

    width_m: float


@dataclass(frozen=True)
class Grasp:
    """Close until something is held."""


Motion = Move | Grasp


class GripperPlan:
    """What to command next. Widths in m, times in s on any one clock."""

    def __init__(self, width_max_m: float, *, grasps: bool):
        """grasps: whether holding is a command of its own; without it a target inside an object holds it."""
        self._width_max_m, self._grasps = width_max_m, grasps
        self._sent: Motion | None = None
        self._sent_s = self._moved_s = -math.inf
        self._measured_m = math.inf
        self._again = False  # the last motion came to nothing
        self._target_m, self._lowered_s, self._lowered = math.inf, -math.inf, 0

    def next(self, target_m: float, measured_m: float, now_s: float) -> Motion | None:
        """The command that the target asks for; None where the last one still serves. Then call `sent`.

        A target that goes on closing well inside the fingers asks for a grasp: moves would end without force at what
        they meet. So does one that rests there while the fingers stand still: they have met something.
        """
        target_m = min(max(target_m, 0.0), self._width_max_m)
        self._watch(target_m, now_s)
        if abs(measured_m - self._measured_m) > MOVED_M:
            self._measured_m, self._moved_s = measured_m, now_s
        if self._grasps:
            if isinstance(self._sent, Grasp):
                return Move(target_m) if target_m > measured_m - RELEASE_M else None
            stalled = now_s - max(self._moved_s, self._sent_s) > STALLED_S
            closing = stalled or self._lowered >= CLOSING_STEPS
            if closing and target_m < measured_m - SQUEEZE_M and self._sent is not None:
                return Grasp()
        if isinstance(self._sent, Move):
            changed = abs(target_m - self._sent.width_m)
            at_end = target_m in (0.0, self._width_max_m) and changed > 0.0
            if changed < DEADBAND_M and not at_end and not self._again:
                return None
        return Move(target_m)

    def _watch(self, target_m: float, now_s: float) -> None:
        """Count how often the target has been lowered; it starts again where it rises, or rests for CLOSING_S."""
        if target_m > self._target_m or now_s - self._lowered_s > CLOSING_S:
            self._lowered = 0
        if target_m < self._target_m:
            self._lowered, self._lowered_s = self._lowered + 1, now_s
        self._target_m = target_m

    def sent(self, motion: Motion, now_s: float) -> None:
        """A command is on its way."""
        if not isinstance(self._sent, Move) or isinstance(motion, Grasp):
            self._sent_s = now_s  # of a new motion; those that follow a moving target change nothing
        self._sent, self._again = motion, False

    def failed(self) -> None:
        """The last command came to nothing: what the target asks for is commanded again."""
        self._again = True
        if isinstance(self._sent, Grasp):
            self._sent = Move(math.inf)


class FingerWidth:
    """The opening from finger joints, as linear between their positions at the two ends; back from it as well."""

    def __init__(self, joints: list[str], position_open: float, position_closed: float, width_max_m: float):
        self.joints = joints
        self._closed, self._span, self._width_max_m = (
            position_closed,
            position_open - position_closed,
            width_max_m,
        )

    def width_m(self, names: list[str], positions: list[float]) -> float | None:
        """Of a joint state; None where it lacks a joint."""
        found = dict(zip(names, positions, strict=False))
        if any(joint not in found for joint in self.joints):
            return None
        mean = sum(found[joint] for joint in self.joints) / len(self.joints)
        return (mean - self._closed) / self._span * self._width_max_m

    def position(self, width_m: float) -> float:
        """Of each joint at an opening."""
        return self._closed + self._span * width_m / self._width_max_m
