"""Goals by action: where the policy is to bring the TCP or an object, with feedback, a result, and a way to cancel it.

The action is there where the package `robolearn_interfaces` is built; without it goals come by topic alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from robolearn.robots import Robot
from robolearn.robots.kinematics import forward
from robolearn_ros.clocks import Clock

ACTION = "robolearn/reach_goal"
TOLERANCE_M, HOLD_S, TIMEOUT_S = 0.02, 0.5, 30.0  # where a goal says 0
STOPPED = ("stopping", "stopped")


class Served(Protocol):
    """What the policy node tells of itself."""

    @property
    def values(self) -> dict[str, Any]:
        """The newest value of each source."""
        ...

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves that it streams."""
        ...

    @property
    def goal_sources(self) -> tuple[str, ...]:
        """The sources of the served bundle's goals."""
        ...

    @property
    def monitor_state(self) -> str:
        """The monitor's state by its newest decision; empty before the first."""
        ...

    clock: Clock


class Goals:
    """What goals mean to the control loop. paused: brake, and wait for the next goal."""

    def __init__(self) -> None:
        self.paused = False
        self.held = False  # whether goals by topic are left aside for now
        self._given: dict[str, np.ndarray] = {}

    def give(self, values: Mapping[str, np.ndarray]) -> None:
        """A goal that did not come by topic, from another thread."""
        self._given, self.held, self.paused = dict(values), True, False

    def merge(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """New values of this cycle, from the loop's thread: those by topic, and goals given since the last cycle."""
        if any(source.startswith("goal.") for source in values):
            if self.held:
                values = {k: v for k, v in values.items() if not k.startswith("goal.")}
            else:
                self.paused = False
        given, self._given = self._given, {}
        return values | given


@dataclass
class Reach:
    """One goal on its way. Times in s on the node's clock. No ROS here."""

    goal_m: np.ndarray
    subject: str
    tolerance_m: float
    hold_s: float
    timeout_s: float
    began_s: float
    _inside_s: float | None = field(default=None, init=False)
    _braked_s: float | None = field(default=None, init=False)
    error_m: float = field(default=math.nan, init=False)

    def update(self, now_s: float, position_m: np.ndarray | None) -> bool:
        """Take a position [3] m of the subject, None where it is not known. Whether the goal is reached."""
        self.error_m = (
            math.nan if position_m is None else float(np.linalg.norm(np.asarray(position_m) - self.goal_m))
        )
        if not self.error_m <= self.tolerance_m:
            self._inside_s = None
            return False
        self._inside_s = now_s if self._inside_s is None else self._inside_s
        return now_s - self._inside_s >= self.hold_s

    def timed_out(self, now_s: float) -> bool:
        """Whether the time for it is over."""
        return now_s - self.began_s > self.timeout_s

    def brake(self, now_s: float) -> None:
        """It is given up; from now on the arm brakes."""
        self._braked_s = now_s if self._braked_s is None else self._braked_s

    def rest_after_s(self, now_s: float) -> float:
        """How long ago braking began."""
        return 0.0 if self._braked_s is None else now_s - self._braked_s


def subject_position(served: Served, robot: Robot, subject: str) -> np.ndarray | None:
    """Where the TCP or an object is, [3] m in the base frame; None where it has not been heard of."""
    values = served.values
    if subject != "tcp":
        return values.get(f"pose.{subject}.position")
    joints = values.get("joint_state.position")
    return None if joints is None else np.asarray(forward(robot, joints)[0])
