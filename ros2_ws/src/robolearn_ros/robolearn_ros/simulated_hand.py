"""The motion of a simulated gripper between two commands: limited speed, a contact, a force. No ROS here."""

from __future__ import annotations

from typing import Literal

BLOCKED_M = 0.004  # the set point this far ahead of the fingers: something is between them
REACHED_M = 0.002
GRASPED_S = 0.05  # the fingers stand still for so long before a grasp is said to hold

Outcome = Literal["", "reached", "blocked", "held", "stopped", "replaced"]


class SimulatedHand:
    """Turns a command into a set point of the opening, step by step. Widths in m, times in s."""

    def __init__(self, width_m: float, width_max_m: float, stiffness_n_m: float):
        """stiffness_n_m: of the simulated drive, whose force is that times how far the set point is ahead."""
        self.set_point_m = width_m
        self.measured_m = width_m
        self.outcome: Outcome = "reached"  # of the newest command; empty while it is under way
        self._width_max_m, self._stiffness = width_max_m, stiffness_n_m
        self._target_m, self._speed_m_s, self._force_n, self._grasp = width_m, 0.0, 0.0, False
        self._still_s = 0.0
        self._closing = False
        self.number = 0  # of the newest command

    def begin(self, target_m: float, speed_m_s: float, force_n: float, *, grasp: bool) -> int:
        """A new command in place of the one before. Returns its number."""
        self._target_m = min(max(target_m, 0.0), self._width_max_m)
        self._closing = self._target_m < self.measured_m
        self._speed_m_s, self._force_n, self._grasp = speed_m_s, force_n, grasp
        self._still_s, self.outcome = 0.0, ""
        self.set_point_m = self._within_force(self.set_point_m)
        self.number += 1
        return self.number

    def stop(self) -> None:
        """Stay where it is, without force."""
        self.set_point_m, self.outcome = self.measured_m, "stopped"

    def step(self, dt_s: float, measured_m: float) -> float:
        """The set point after another dt_s, with the fingers at measured_m."""
        moved_m, self.measured_m = abs(measured_m - self.measured_m), measured_m
        if self.outcome in ("reached", "stopped", "blocked"):
            return self.set_point_m
        if self.outcome == "held":
            ahead = self._force_n / self._stiffness
            pressed = measured_m - ahead if self._closing else measured_m + ahead
            self.set_point_m = min(max(pressed, 0.0), self._width_max_m)
            return self.set_point_m
        way = self._target_m - self.set_point_m
        step = min(abs(way), self._speed_m_s * dt_s)
        self.set_point_m = self._within_force(self.set_point_m + (step if way > 0 else -step))
        ahead = abs(self.set_point_m - measured_m)
        still = moved_m < 0.1 * self._speed_m_s * dt_s and ahead > BLOCKED_M
        self._still_s = self._still_s + dt_s if still else 0.0
        if self._at_target():
            self.outcome = "reached"  # and it stays there: it presses only on what stops it before
        elif self._still_s >= GRASPED_S:
            self._come_to_rest()
        return self.set_point_m

    def _within_force(self, set_point_m: float) -> float:
        """A set point that presses with no more than the force: a grasp that is commanded again goes on pressing."""
        room = 2.0 * BLOCKED_M
        pressing = max(self._force_n / self._stiffness, room) if self._grasp else room
        inwards, outwards = (pressing, BLOCKED_M) if self._closing else (BLOCKED_M, pressing)
        return min(max(set_point_m, self.measured_m - inwards), self.measured_m + outwards)

    def _at_target(self) -> bool:
        return self.set_point_m == self._target_m and abs(self._target_m - self.measured_m) < REACHED_M

    def _come_to_rest(self) -> None:
        if self._grasp:
            self.outcome = "held"
        else:
            self.outcome, self.set_point_m = "blocked", self.measured_m
