"""Whether the arm rests, and where: decided by several consecutive readings that agree, never by a single one."""

from __future__ import annotations

import math

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import Limits
from robolearn.safety.types import Record, Vector

_AWAY_PERIODS = 5.0  # after which an arm whose controller holds the last sample may have come to rest
_AWAY_SPEEDS = 5.0  # times the speed of standstill: what was sent to move faster and rests did not follow
_FOLLOWS = 0.25  # of the speed that was sent: an arm with less of it does not follow
# Times the speed of standstill: a reading this fast is motion, however the others read. Of sensors whose noise is half
# the speed of standstill it takes eight standard deviations.
_PLAIN_MOTION = 4.0
# Standard errors that a slope of position or velocity may lie above the speed of standstill before it counts as
# motion: the scatter of the readings about the slope tells how well they know it.
_SLOPE_ERRORS = 5.0


class RestReadings:
    """The newest `rest_readings_min` readings in a row of an arm in one place. One `add` per cycle.

    Noise makes single readings of velocity exceed the speed of standstill: with a standard deviation of half that
    speed, 28 % of those of seven joints. So the readings decide together: their mean velocity, and the slope of their
    positions over time, which does not depend on what the driver calls velocity; and how far their velocity changes to
    either end, because the mean of an arm that turns back is zero. Only a reading several times faster than standstill
    is motion by itself.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The row begins again."""
        self._stamp_s, self._newest = np.zeros(0), np.zeros(0)
        self._position_rad = self._velocity_rad_s = np.zeros((0, 0))

    def add(self, reading: Reading | None, limits: Limits) -> None:
        """The reading of a cycle; None where none came that can be used. One that came already counts once."""
        if reading is None or plainly_moving(reading, limits):
            self.forget()
            return
        if len(self._stamp_s):
            if reading.stamp_s <= self._stamp_s[-1]:
                return
            last = math.ceil(limits.mode.rest_readings_min.value) - 1
            before = slice(max(len(self._stamp_s) - last, 0), None)
            position = np.vstack([self._position_rad[before], reading.position_rad])
            if comparisons.every(np.ptp(position, axis=0) <= limits.mode.rest_spread_max_rad.value):
                self._stamp_s = np.append(self._stamp_s[before], reading.stamp_s)
                self._velocity_rad_s = np.vstack([self._velocity_rad_s[before], reading.velocity_rad_s])
                self._position_rad, self._newest = position, reading.position_rad
                return
        self._stamp_s, self._newest = np.array([reading.stamp_s]), reading.position_rad
        self._position_rad = reading.position_rad[None]
        self._velocity_rad_s = reading.velocity_rad_s[None]

    def unclear(self, limits: Limits, reading: Reading | None = None) -> Record | None:
        """Why the arm does not count as at rest: too few readings agree, or together they show motion.

        reading: one more, where it is newer.
        """
        least, count = limits.mode.rest_readings_min.value, len(self._stamp_s)
        text = f"only {count} of {least:g} readings in a row show the arm at rest in one place"
        return comparisons.under(
            "standstill", count, least, "1", limits.source("rest_readings_min"), text
        ) or self._motion(limits, reading)

    def _motion(self, limits: Limits, reading: Reading | None) -> Record | None:
        """The speed that the readings of a full row show together, where it is no standstill."""
        stamp_s, position, velocity = self._stamp_s, self._position_rad, self._velocity_rad_s
        if reading is not None and reading.stamp_s > stamp_s[-1]:
            stamp_s = np.append(stamp_s, reading.stamp_s)
            position, velocity = np.vstack([position, reading[0]]), np.vstack([velocity, reading[1]])
        half_s = 0.5 * (stamp_s[-1] - stamp_s[0])
        for speed, what in (
            (np.abs(velocity.mean(axis=0)), "mean velocity"),
            (_least_slope(stamp_s, position), "change of position"),
            (_least_slope(stamp_s, velocity) * half_s, "change of velocity"),
        ):
            joint = int(np.argmax(speed))
            text = (
                f"the arm moves: {limits.joint_names[joint]}: {what} {speed[joint]:.3g} rad/s over "
                f"{len(stamp_s)} readings"
            )
            record = comparisons.over(
                "standstill", float(speed[joint]), limits.mode.standstill_velocity_max_rad_s.value, "rad/s",
                limits.source("standstill_velocity_max_rad_s"), text,
            )  # fmt: skip
            if record:
                return record
        return None

    def still(self, reading: Reading, limits: Limits) -> bool:
        """Whether a reading, together with the row where it is newer, shows rest."""
        return not plainly_moving(reading, limits) and self.motion(limits, reading) is None

    def elsewhere(self, reading: Reading, limits: Limits) -> Record | None:
        """A reading shows the arm where they do."""
        far = float(np.abs(reading.position_rad - self._newest).max())
        return comparisons.over(
            "standstill", far, limits.mode.rest_spread_max_rad.value, "rad",
            limits.source("rest_spread_max_rad"), f"this joint state is {far:.3g} rad from the ones before it",
        )  # fmt: skip

    @property
    def position_rad(self) -> Vector:
        """Where the newest of them shows the arm, [n] rad; of use once nothing is unclear."""
        return self._newest


def _least_slope(stamp_s: Vector, values: Vector) -> Vector:
    """The least rate of change [n] per s that explains values [k, n] at k stamps, by least squares and their scatter.

    Of fewer than three the scatter is not known: 0.
    """
    if len(stamp_s) < 3:
        return np.zeros(values.shape[1])
    t, x = (stamp_s - stamp_s.mean())[:, None], values - values.mean(axis=0)
    size = (t * t).sum()
    slope = (t * x).sum(axis=0) / size
    error = np.sqrt(((x - t * slope) ** 2).sum(axis=0) / (len(stamp_s) - 2) / size)
    return np.maximum(np.abs(slope) - _SLOPE_ERRORS * error, 0.0)


def plainly_moving(reading: Reading, limits: Limits) -> bool:
    """Whether a reading by itself shows motion: a joint several times faster than standstill."""
    most = _PLAIN_MOTION * limits.mode.standstill_velocity_max_rad_s.value
    return not comparisons.every(np.abs(reading.velocity_rad_s) <= most)


def came_to_rest(
    elapsed_s: float, period_s: float, sent_rad_s: Vector, reading: Reading, limits: Limits
) -> Record | None:
    """A cycle that is late finds the arm at rest, and not moving as it was sent to, sent_rad_s [n].

    There is one reading since then. So that noise does not make motion of it, it may be as fast as a reading of a
    resting arm may be, but no faster than a quarter of what was sent: an arm that follows late is not at rest.
    """
    most_s = _AWAY_PERIODS * period_s
    still = limits.mode.standstill_velocity_max_rad_s.value
    sent = float(np.abs(sent_rad_s).max())
    if elapsed_s <= most_s or sent <= _AWAY_SPEEDS * still:
        return None
    fastest = min(_FOLLOWS * sent, _PLAIN_MOTION * still)
    if not comparisons.every(np.abs(reading.velocity_rad_s) <= fastest):
        return None
    text = f"the arm came to rest while the monitor was away for {elapsed_s * 1e3:.1f} ms"
    return Record("cycle_gap", elapsed_s, most_s, most_s - elapsed_s, "s", "the monitor's period", text)
