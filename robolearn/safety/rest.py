"""Whether the arm rests, and where: decided by several consecutive readings that agree, never by a single one."""

from __future__ import annotations

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import Limits
from robolearn.safety.types import Record, Vector

_AWAY_PERIODS = 5.0  # after which an arm whose controller holds the last sample may have come to rest
_AWAY_SPEEDS = 5.0  # times the speed of standstill: what was sent to move faster and rests did not follow


class RestReadings:
    """The newest readings in a row that show the arm at standstill in one place. One `add` per cycle."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The row begins again."""
        self._count, self._stamp_s = 0, -np.inf
        self._low = self._high = self._newest = np.zeros(0)

    def add(self, reading: Reading | None, limits: Limits) -> None:
        """The reading of a cycle; None where none came that can be used. One that came already counts once."""
        if reading is None or moving(reading, limits):
            self.forget()
            return
        if reading.stamp_s <= self._stamp_s:
            return
        position = reading.position_rad
        if self._count:
            low, high = np.minimum(self._low, position), np.maximum(self._high, position)
            if comparisons.every(high - low <= limits.mode.rest_spread_max_rad.value):
                self._low, self._high = low, high
            else:
                self._count = 0
        if not self._count:
            self._low = self._high = position
        self._count, self._stamp_s, self._newest = self._count + 1, reading.stamp_s, position

    def missing(self, limits: Limits) -> Record | None:
        """Too few readings agree yet."""
        least = limits.mode.rest_readings_min.value
        text = f"only {self._count} of {least:g} readings in a row show it at rest in one place"
        return comparisons.under(
            "standstill", self._count, least, "1", limits.source("rest_readings_min"), text
        )

    def elsewhere(self, reading: Reading, limits: Limits) -> Record | None:
        """A reading shows the arm where they do."""
        far = float(np.abs(reading.position_rad - self._newest).max())
        return comparisons.over(
            "standstill", far, limits.mode.rest_spread_max_rad.value, "rad",
            limits.source("rest_spread_max_rad"), f"this joint state is {far:.3g} rad from the ones before it",
        )  # fmt: skip

    @property
    def position_rad(self) -> Vector:
        """Where the newest of them shows the arm, [n] rad; of use once none are missing."""
        return self._newest


def moving(reading: Reading, limits: Limits) -> bool:
    """Whether a reading shows any joint faster than standstill."""
    return not comparisons.every(
        np.abs(reading.velocity_rad_s) <= limits.mode.standstill_velocity_max_rad_s.value
    )


def came_to_rest(
    elapsed_s: float, period_s: float, sent_rad_s: Vector, reading: Reading, limits: Limits
) -> Record | None:
    """A cycle that is late finds the arm moving as it was sent to, sent_rad_s [n], and not at rest."""
    most_s = _AWAY_PERIODS * period_s
    if elapsed_s <= most_s or moving(reading, limits):
        return None
    still = limits.mode.standstill_velocity_max_rad_s.value
    if np.abs(sent_rad_s).max() <= _AWAY_SPEEDS * still:
        return None
    text = f"the arm came to rest while the monitor was away for {elapsed_s * 1e3:.1f} ms"
    return Record("cycle_gap", elapsed_s, most_s, most_s - elapsed_s, "s", "the monitor's period", text)
