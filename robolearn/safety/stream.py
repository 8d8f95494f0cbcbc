"""The policy's commands laid out in time, so that a message that is late by a cycle does not jerk the arm.

A policy streams commands on its own clock, the monitor sends on its own. With the same rate on both, jitter makes
a cycle see no new command now and then, and two in the next. Sending "the newest" would stop the arm for one cycle
and let it jump in the next. So the commands are laid out by their stamps, which are counted in periods, and a play
index x runs along them, one period per cycle:

    x on the newest command          it goes out bit-identical
    x ahead of it (message late)     it is extrapolated by x - i periods with its velocity and last acceleration
    x behind it (cycle late)         it is extrapolated back in the same way
    x never on one for 25 cycles     x is shifted there over 100 cycles, smoothly

What is extrapolated goes through every rule like a command. Stamps must be those of the policy's time grid (when the
sample applies), not of the moment of sending: their noise would be read as motion. Up to a quarter of a period of
noise is rounded away. How far a command may be extrapolated is the rule command_age.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from robolearn.safety.types import Vector

_ROUND_PERIODS = 0.25  # stamps this near to a whole number of periods apart count as whole
_WINDOW_CYCLES = 25
_SHIFT_CYCLES = 100
_ACCELERATION_PERIODS = 2.0  # how long the last acceleration is believed in; after that, constant velocity


class Target(NamedTuple):
    """Where the policy wants the arm in this cycle. exact: bit-identical to a command; extrapolated_s: 0 there."""

    position_rad: Vector
    velocity_rad_s: Vector
    exact: bool
    extrapolated_s: float


class CommandTimeline:
    """The newest command and the play index. One `push` per new command, one `play` per cycle."""

    def __init__(self, period_s: float):
        self.period_s = period_s
        self.clear()

    def clear(self) -> None:
        """Forget every command."""
        self.position: Vector | None = None
        self.velocity: Vector | None = None
        self.acceleration: Vector | None = None
        self.stamp_s = -np.inf
        self._index = 0.0  # of the newest command, in periods
        self._play = -1.0
        self._off = 0  # cycles in a row off the newest command, on one side of it
        self._nearest = 0.0  # the offset of those cycles that is nearest to it, in periods
        self._shift = 0.0  # periods, the whole of the running shift
        self._shift_cycle = 0

    def push(self, position: Vector, velocity: Vector | None, stamp_s: float) -> None:
        """Take a command newer than every one before: position [n] rad, velocity [n] rad/s or None."""
        if self.position is None or self.velocity is None:
            self.velocity = np.zeros_like(position) if velocity is None else velocity
            self.acceleration = np.zeros_like(position)
        else:
            gap = stamp_s - self.stamp_s
            periods = gap / self.period_s
            whole = round(periods)
            self._index += max(whole, 1.0) if abs(periods - whole) < _ROUND_PERIODS else periods
            before = self.velocity
            self.velocity = (position - self.position) / gap if velocity is None else velocity
            self.acceleration = (
                np.zeros_like(position) if velocity is None else (self.velocity - before) / gap
            )
        self.position, self.stamp_s = position, stamp_s

    def play(self) -> Target | None:
        """One cycle on: the target of this cycle; None while no command came."""
        if self.position is None or self.velocity is None or self.acceleration is None:
            return None
        self._play += 1.0 + self._shift_step()
        offset = self._play - self._index
        if abs(offset - round(offset)) < 1e-9:  # rounding of a finished shift
            offset = float(round(offset))
            self._play = self._index + offset
        self._watch(offset)
        if offset == 0.0:
            return Target(self.position, self.velocity, True, 0.0)
        ahead = offset * self.period_s
        reach = _ACCELERATION_PERIODS * self.period_s
        short = float(np.clip(ahead, -reach, reach))
        velocity = self.velocity + self.acceleration * short
        position = self.position + self.velocity * ahead + self.acceleration * short * (ahead - 0.5 * short)
        return Target(position, velocity, False, ahead)

    def _watch(self, offset: float) -> None:
        """Begin a shift once x has been off the newest command, on the same side, for a whole window."""
        if self._shift_cycle:
            return
        if offset * self._nearest <= 0.0:  # on the command, on its other side, or the first one off it
            self._off, self._nearest = 0, offset
        if offset:
            self._off += 1
            self._nearest = min(self._nearest, offset, key=abs)
        if self._off == _WINDOW_CYCLES:
            self._shift, self._shift_cycle, self._nearest = -self._nearest, _SHIFT_CYCLES, 0.0

    def _shift_step(self) -> float:
        """This cycle's part of a running shift: a raised-cosine rate, so that speed changes smoothly."""
        if not self._shift_cycle:
            return 0.0
        left = (self._shift_cycle - 0.5) / _SHIFT_CYCLES
        self._shift_cycle -= 1
        return self._shift / _SHIFT_CYCLES * (1.0 - float(np.cos(2.0 * np.pi * left)))
