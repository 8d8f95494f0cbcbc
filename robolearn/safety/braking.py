"""Braking motions: the quickest jerk-limited way to bring every joint to rest, each on its own.

The monitor works on the sequence of positions that it sends, one per period dt, with backward differences:

    v[k] = (p[k] - p[k-1]) / dt      a[k] = (v[k] - v[k-1]) / dt      j[k] = (a[k] - a[k-1]) / dt

A braking motion takes the continuous time-optimal profile v(t) from (v0, a0) to rest with |a| <= A and |j| <= J,
and sends v[i] = v(i dt), p[i] = p[i-1] + v[i] dt. Its differences are means of the continuous acceleration and
jerk over one or two periods, so they obey the same bounds exactly, and the closed form needs no iteration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from struct import pack

import numpy as np
from numpy.typing import ArrayLike

from robolearn.safety import comparisons
from robolearn.safety.types import Vector

REST, RAMP, PEAK, LOW, HIGH, SLOWEST, FASTEST = (
    0,
    3,
    4,
    10,
    11,
    12,
    13,
)  # of the fields that `plan_each` gives
BRAKING_SHARE = 1.0 - 1e-6  # of the limits: room for rounding, so that a braking motion never exceeds them


@dataclass(eq=False)  # not frozen: made in every cycle, and that takes a third of the time
class Braking:
    """A braking motion of n joints from one sent sample on; never changed. All arrays [n]; times in seconds.

    rest: the time until each joint rests; duration_s: until the last one does.
    sign: +1 where the motion to remove is positive.  In units mirrored by sign: speed and ramp are v and a at the
    beginning, peak the largest deceleration, t1/t2/t3 the times of jerk down, constant deceleration, jerk up.
    travel_rad: signed, of the continuous motion.  low_rad, high_rad: bounds on every position sample, the beginning
    included.  slowest_rad_s, fastest_rad_s: lowest and highest velocity, rest included.  bounds: these four, [4, n].
    """

    position_rad: Vector
    velocity_rad_s: Vector
    acceleration_rad_s2: Vector
    rest: Vector
    sign: Vector
    speed: Vector
    ramp: Vector
    peak: Vector
    jerk: Vector
    t1: Vector
    t2: Vector
    t3: Vector
    travel_rad: Vector
    low_rad: Vector
    high_rad: Vector
    slowest_rad_s: Vector
    fastest_rad_s: Vector
    bounds: Vector
    duration_s: float
    period_s: float

    @property
    def samples(self) -> int:
        """How many samples must be sent until every joint rests."""
        return math.ceil(self.duration_s / self.period_s - 1e-9)

    def velocity(self, t_s: ArrayLike) -> Vector:
        """Velocity at times t_s [k] (or one time) after the beginning: [k, n] (or [n]) rad/s."""
        t = np.asarray(t_s, dtype=np.float64)[..., None]
        middle = self.speed + (self.ramp - 0.5 * self.jerk * self.t1) * self.t1
        first = self.speed + (self.ramp - 0.5 * self.jerk * t) * t
        last = 0.5 * self.jerk * np.maximum(self.rest - t, 0.0) ** 2
        hold = middle - self.peak * (t - self.t1)
        return self.sign * np.where(t < self.t1, first, np.where(t < self.t1 + self.t2, hold, last))

    @cached_property
    def trajectory(self) -> tuple[Vector, Vector]:
        """Every sample still to be sent: positions [m, n] rad and velocities [m, n] rad/s; the last is at rest."""
        velocity = self.velocity(self.period_s * np.arange(1, self.samples + 1))
        return self.position_rad + self.period_s * np.cumsum(velocity, axis=0), velocity


def plan_braking(
    position_rad: Vector,
    velocity_rad_s: Vector,
    acceleration_rad_s2: Vector,
    acceleration_max_rad_s2: Vector,
    jerk_max_rad_s3: Vector,
    period_s: float,
) -> Braking:
    """The braking motion from a sent sample (position, velocity, acceleration: [n]) within the limits [n]."""
    # Joint by joint in plain numbers: for some seven of them that takes a fifth of the time of arrays.
    half, eighth = 0.5 * period_s, 0.125 * period_s * period_s
    values: list[float] = []
    for joint in zip(
        position_rad.tolist(), velocity_rad_s.tolist(), acceleration_rad_s2.tolist(),
        acceleration_max_rad_s2.tolist(), jerk_max_rad_s3.tolist(), strict=True,
    ):  # fmt: skip
        values += _plan_joint(*joint, half, eighth)
    # through bytes, which is the quickest way from numbers to an array
    table = np.frombuffer(pack(f"{len(values)}d", *values)).reshape(len(position_rad), -1)
    columns = table.T
    return Braking(
        position_rad, velocity_rad_s, acceleration_rad_s2, *columns, bounds=columns[-4:],
        duration_s=comparisons.largest(columns[0]), period_s=period_s,
    )  # fmt: skip


def plan_each(
    position_rad: Vector,
    velocity_rad_s: Vector,
    acceleration_rad_s2: Vector,
    acceleration_max_rad_s2: Vector,
    jerk_max_rad_s3: Vector,
    period_s: float,
) -> Vector:
    """The fields of `plan_braking` from rest to fastest, [14, m, n], for many samples [m, n]: bit for bit the same.

    `_plan_joint` in arrays, step by step.
    """
    p, v, a = position_rad, velocity_rad_s, acceleration_rad_s2
    half, eighth = 0.5 * period_s, 0.125 * period_s * period_s
    jerk = jerk_max_rad_s3 * BRAKING_SHARE
    half_jerk = 0.5 * jerk
    backward = v + 0.5 * a * np.abs(a) / jerk < 0.0
    sign, speed, ramp = np.where(backward, -1.0, 1.0), np.where(backward, -v, v), np.where(backward, -a, a)
    square = jerk * speed + 0.5 * ramp * ramp
    wanted = np.sqrt(np.where(square < 0.0, 0.0, square))
    most = acceleration_max_rad_s2 * BRAKING_SHARE
    most = np.where(-ramp > most, -ramp, most)
    held = most < wanted
    peak = np.where(held, most, wanted)
    rise = ramp + peak
    t1 = np.where(rise > 0.0, rise / jerk, 0.0)
    middle = speed + (ramp - half_jerk * t1) * t1
    t3 = peak / jerk
    left = middle - half_jerk * t3 * t3
    with np.errstate(divide="ignore", invalid="ignore"):  # of joints at rest, whose t2 is 0
        t2 = np.where(held, np.where(left < 0.0, 0.0, left) / peak, 0.0)
    rest = t1 + t2 + t3

    down = (speed + (0.5 * ramp - jerk * t1 / 6.0) * t1) * t1
    travel = sign * (down + (middle - 0.5 * peak * t2) * t2 + jerk * t3 * t3 * t3 / 6.0)
    wide = half * np.abs(v) + eighth * (np.abs(ramp) + 2.0 * peak)
    wide = np.where(speed < 0.0, wide + np.abs(v) * rest, wide)
    low, high = np.where(travel < 0.0, p + travel, p), np.where(travel < 0.0, p, p + travel)
    turn = np.where(ramp > 0.0, sign * (speed + 0.5 * ramp * ramp / jerk), v)
    slowest, fastest = np.where(turn < v, turn, v), np.where(turn < v, v, turn)
    return np.stack(
        (
            rest, sign, speed, ramp, peak, np.broadcast_to(jerk, p.shape), t1, t2, t3, travel, low - wide,
            high + wide, np.where(slowest < 0.0, slowest, 0.0), np.where(fastest > 0.0, fastest, 0.0),
        )
    )  # fmt: skip


def _plan_joint(
    p: float, v: float, a: float, a_max: float, j_max: float, half: float, eighth: float
) -> tuple[float, ...]:
    """One joint's fields of Braking, from rest to fastest. half, eighth: dt / 2 and dt^2 / 8.

    Comparisons in place of min and max, which take as long as all the arithmetic.
    """
    jerk = j_max * BRAKING_SHARE
    half_jerk = 0.5 * jerk
    # its velocity's sign if only the acceleration were taken away
    if v + 0.5 * a * abs(a) / jerk < 0.0:
        sign, speed, ramp = -1.0, -v, -a
    else:
        sign, speed, ramp = 1.0, v, a
    square = jerk * speed + 0.5 * ramp * ramp
    wanted = math.sqrt(0.0 if square < 0.0 else square)
    peak = a_max * BRAKING_SHARE
    if -ramp > peak:
        peak = -ramp
    held = peak < wanted  # for a while, the largest deceleration
    if not held:
        peak = wanted
    rise = ramp + peak
    t1 = rise / jerk if rise > 0.0 else 0.0
    middle = speed + (ramp - half_jerk * t1) * t1
    t3 = peak / jerk
    t2 = 0.0
    if held:
        left = middle - half_jerk * t3 * t3
        t2 = (0.0 if left < 0.0 else left) / peak
    rest = t1 + t2 + t3

    down = (speed + (0.5 * ramp - jerk * t1 / 6.0) * t1) * t1
    travel = sign * (down + (middle - 0.5 * peak * t2) * t2 + jerk * t3 * t3 * t3 / 6.0)
    # The samples sum v at the end of each period: half a period of v less than the trapezoidal rule, whose error is
    # at most dt^2 / 8 times the variation of the acceleration.
    wide = half * abs(v) + eighth * (abs(ramp) + 2.0 * peak)
    if speed < 0.0:  # it passes through zero velocity on its way to rest
        wide += abs(v) * rest
    low = high = p
    if travel < 0.0:
        low += travel
    else:
        high += travel
    # the velocity goes from v to where the ramp turns, and from there to rest
    turn = sign * (speed + 0.5 * ramp * ramp / jerk) if ramp > 0.0 else v
    slowest, fastest = (turn, v) if turn < v else (v, turn)
    return (
        rest, sign, speed, ramp, peak, jerk, t1, t2, t3, travel, low - wide, high + wide,
        slowest if slowest < 0.0 else 0.0, fastest if fastest > 0.0 else 0.0,
    )  # fmt: skip
