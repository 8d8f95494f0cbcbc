"""Where the arm is held: found by readings in a row that agree, checked as a command is, and lost in a gap.

A sequence of samples that goes out begins at rest there; `CommandFilter` is that sequence.
"""

from __future__ import annotations

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.envelope import Envelope
from robolearn.safety.follow import CommandFilter
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import Limits
from robolearn.safety.rest import RestReadings
from robolearn.safety.types import Record, Vector


class HeldPosition:
    """The sent sequence, and the readings that tell where the arm rests.

    filter: None while no position is known that could be held.  readings: the newest in a row of a resting arm.
    unknown: why no position was held in the last cycle, None where one was.
    """

    def __init__(self, period_s: float):
        self._period_s = period_s
        self.filter: CommandFilter | None = None
        self.readings = RestReadings()
        self.unknown: Record | None = None
        self._sent_rad: Vector | None = None  # the last position sent before a gap
        self._rest_rad = np.zeros(0)  # where the arm was measured when it came to rest

    def establish(self, envelope: Envelope) -> Record | None:
        """Hold the place where readings in a row show the arm at rest, if it may rest there; else why not.

        An arm that rests where it was sent last is held exactly there, so that its controller sees no step.
        """
        limits = envelope.limits
        unclear = self.readings.unclear(limits)
        if unclear:
            return unclear
        place, sent = self.readings.position_rad, self._sent_rad
        error = limits.mode.tracking_error_max_rad.value
        if sent is not None and comparisons.every(np.abs(place - sent) <= error):
            place = sent
        outside = self._hold(place, envelope)
        if outside:
            return outside
        self._sent_rad, self._rest_rad = None, self.readings.position_rad
        return None

    def take_measured(self, reading: Reading, envelope: Envelope) -> str:
        """Hold an arm that was moved where its readings show it; else why not."""
        elsewhere = self.readings.elsewhere(reading, envelope.limits)
        if elsewhere:
            return f"the arm was moved, and {elsewhere.text}"
        outside = self._hold(self.readings.position_rad, envelope)
        return rests_outside(outside) if outside else ""

    def _hold(self, position_rad: Vector, envelope: Envelope) -> Record | None:
        """A new sequence that rests at position_rad [n], unless that breaks a limit: which one."""
        resting = CommandFilter(position_rad, envelope, self._period_s)
        outside = resting.settle()
        if outside is None:
            self.filter = resting
        return outside

    def lose(self) -> None:
        """What the arm did in a gap is not known: the sequence ends, and one from rest begins later."""
        self.readings.forget()
        if self.filter is not None:
            self._sent_rad, self.filter = self.filter.position_rad, None

    def offset_rad(self, reading: Reading) -> float:
        """How far the arm is from what was sent; only while a position is held."""
        assert self.filter is not None
        return float(np.abs(reading.position_rad - self.filter.position_rad).max())

    def change_limits(self, envelope: Envelope) -> None:
        """Hold the same position, if there is one, under the limits of another mode; at rest."""
        if self.filter is not None:
            self.filter = CommandFilter(self.filter.position_rad, envelope, self._period_s)

    def at_rest(self, position_rad: Vector) -> None:
        """The arm came to rest, measured at position_rad [n]: `drift` counts from there."""
        self._rest_rad = position_rad

    def drift(self, reading: Reading | None, limits: Limits) -> Record | None:
        """A resting arm stays where it came to rest."""
        if reading is None:
            return None
        return comparisons.over(
            "drift", float(np.abs(reading.position_rad - self._rest_rad).max()),
            limits.mode.standstill_drift_max_rad.value, "rad", limits.source("standstill_drift_max_rad"),
        )  # fmt: skip


def rests_outside(record: Record) -> str:
    """Says that the arm rests where it may not."""
    return f"the arm rests outside its limits ({record.rule}: {record.text})"
