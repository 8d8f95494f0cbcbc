"""Braking motions: the quickest jerk-limited way to bring every joint to rest, each on its own.

The monitor works on the sequence of positions that it sends, one per period dt, with backward differences:

    v[k] = (p[k] - p[k-1]) / dt      a[k] = (v[k] - v[k-1]) / dt      j[k] = (a[k] - a[k-1]) / dt

A braking motion takes the continuous time-optimal profile v(t) from (v0, a0) to rest with |a| <= A and |j| <= J,
and sends v[i] = v(i dt), p[i] = p[i-1] + v[i] dt. Its differences are means of the continuous acceleration and
jerk over one or two periods, so they obey the same bounds exactly, and the closed form needs no iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.safety.types import Vector

BRAKING_SHARE = 1.0 - 1e-6  # of the limits: room for rounding, so that a braking motion never exceeds them


@dataclass(frozen=True, slots=True)
class Braking:
    """A braking motion of n joints from one sent sample on. All arrays [n]; times in seconds.

    sign: +1 where the motion to remove is positive.  In units mirrored by sign: speed and ramp are v and a at the
    beginning, peak the largest deceleration, t1/t2/t3 the times of jerk down, constant deceleration, jerk up.
    """

    position_rad: Vector
    velocity_rad_s: Vector
    acceleration_rad_s2: Vector
    sign: Vector
    speed: Vector
    ramp: Vector
    peak: Vector
    jerk: Vector
    t1: Vector
    t2: Vector
    t3: Vector
    period_s: float

    @property
    def duration_s(self) -> float:
        """Time until the last joint rests."""
        return float((self.t1 + self.t2 + self.t3).max())

    @property
    def samples(self) -> int:
        """How many samples must be sent until every joint rests."""
        return int(np.ceil(self.duration_s / self.period_s - 1e-9))

    def velocity(self, t_s: ArrayLike) -> Vector:
        """Velocity at times t_s [k] (or one time) after the beginning: [k, n] (or [n]) rad/s."""
        t = np.asarray(t_s, dtype=np.float64)[..., None]
        rest = self.t1 + self.t2 + self.t3
        middle = self.speed + (self.ramp - 0.5 * self.jerk * self.t1) * self.t1
        first = self.speed + (self.ramp - 0.5 * self.jerk * t) * t
        last = 0.5 * self.jerk * np.maximum(rest - t, 0.0) ** 2
        hold = middle - self.peak * (t - self.t1)
        return self.sign * np.where(t < self.t1, first, np.where(t < self.t1 + self.t2, hold, last))

    def trajectory(self) -> tuple[Vector, Vector]:
        """Every sample still to be sent: positions [m, n] rad and velocities [m, n] rad/s; the last is at rest."""
        velocity = self.velocity(self.period_s * np.arange(1, self.samples + 1))
        return self.position_rad + self.period_s * np.cumsum(velocity, axis=0), velocity

    def travel(self) -> Vector:
        """Signed travel [n] rad of the continuous motion until rest."""
        t1, t2, t3 = self.t1, self.t2, self.t3
        down = (self.speed + (0.5 * self.ramp - self.jerk * t1 / 6.0) * t1) * t1
        middle = self.speed + (self.ramp - 0.5 * self.jerk * t1) * t1
        return self.sign * (down + (middle - 0.5 * self.peak * t2) * t2 + self.jerk * t3**3 / 6.0)

    def sampling_slack(self) -> Vector:
        """How far [n] rad the travel of the samples may be from `travel()`.

        The samples sum v at the end of each period: half a period of v0 less than the trapezoidal rule, whose
        error is at most dt^2 / 8 times the variation of the acceleration.
        """
        dt = self.period_s
        variation = np.abs(self.ramp) + 2.0 * self.peak
        return 0.5 * dt * np.abs(self.velocity_rad_s) + 0.125 * dt * dt * variation

    def reversing(self) -> NDArray[np.bool_]:
        """Which joints [n] bool pass through zero velocity on the way to rest."""
        return self.velocity_rad_s * self.sign < 0.0

    def hull(self) -> tuple[Vector, Vector]:
        """Bounds [n], [n] rad on every position sample of the motion, its beginning included."""
        travel, slack = self.travel(), self.sampling_slack()
        wide = np.where(
            self.reversing(), np.abs(self.velocity_rad_s) * (self.t1 + self.t2 + self.t3) + slack, slack
        )
        low = self.position_rad + np.minimum(travel, 0.0) - wide
        return low, self.position_rad + np.maximum(travel, 0.0) + wide

    def velocity_hull(self) -> tuple[Vector, Vector]:
        """Lowest and highest velocity [n], [n] rad/s of the motion: at its beginning, or where the ramp turns."""
        top = self.sign * (self.speed + 0.5 * np.maximum(self.ramp, 0.0) ** 2 / self.jerk)
        start = np.where(self.sign * self.velocity_rad_s < 0.0, self.velocity_rad_s, top)
        return np.minimum(np.minimum(start, top), 0.0), np.maximum(np.maximum(start, top), 0.0)


def plan_braking(
    position_rad: Vector,
    velocity_rad_s: Vector,
    acceleration_rad_s2: Vector,
    acceleration_max_rad_s2: Vector,
    jerk_max_rad_s3: Vector,
    period_s: float,
) -> Braking:
    """The braking motion from a sent sample (position, velocity, acceleration: [n]) within the limits [n]."""
    jerk = jerk_max_rad_s3 * BRAKING_SHARE
    # where the joint's velocity would go if only its acceleration were taken away
    rest_velocity = velocity_rad_s + 0.5 * acceleration_rad_s2 * np.abs(acceleration_rad_s2) / jerk
    sign = np.where(rest_velocity < 0.0, -1.0, 1.0)
    speed, ramp = sign * velocity_rad_s, sign * acceleration_rad_s2
    wanted = np.sqrt(np.maximum(jerk * speed + 0.5 * ramp**2, 0.0))
    peak = np.minimum(wanted, np.maximum(acceleration_max_rad_s2 * BRAKING_SHARE, -ramp))
    t1 = np.maximum((ramp + peak) / jerk, 0.0)
    middle = speed + (ramp - 0.5 * jerk * t1) * t1
    t3 = peak / jerk
    excess = np.maximum(middle - 0.5 * jerk * t3**2, 0.0)
    t2 = np.where(peak < wanted, excess / np.maximum(peak, 1e-300), 0.0)
    return Braking(
        position_rad, velocity_rad_s, acceleration_rad_s2,
        sign, speed, ramp, peak, jerk, t1, t2, t3, period_s,
    )  # fmt: skip
