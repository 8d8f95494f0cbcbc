"""One mode's limits as arrays, ready for a control loop, and where each number comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.safety import comparisons
from robolearn.safety.assessed import Assessed
from robolearn.safety.mode_schema import ModeLimits
from robolearn.safety.types import Vector

_CELLS = 512  # per joint, of the table that bounds the manufacturer's speed curve from below
_NEAR_CELLS = 8  # on either side of an answer: what is inside these and slower is answered without the table
_ABOVE = 1.0 + 1e-12  # by more than rounding


@dataclass(frozen=True, slots=True)
class Limits:
    """A mode's limits for one robot. Arrays [n] are read-only and in the robot's joint order.

    curve: where the manufacturer's position-dependent speed limits need not be evaluated.
    velocity_possible_rad_s: how fast the arm can be: the manufacturer's limit, or the profile's where that is higher.
    """

    mode: ModeLimits
    robot: Robot
    position_min_rad: Vector
    position_max_rad: Vector
    velocity_max_rad_s: Vector
    velocity_possible_rad_s: Vector
    acceleration_max_rad_s2: Vector
    jerk_max_rad_s3: Vector
    curve: CurveTable
    sources: dict[str, str]

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The robot's joint names."""
        return self.robot.joint_names

    def source(self, field: str) -> str:
        """Where a limit comes from, such as `source('tcp_speed_max_m_s')`."""
        return self.sources[field]

    def velocity_bounds(self, position_rad: Vector) -> tuple[Vector, Vector]:
        """Lowest and highest velocity [n], [n] rad/s allowed at position_rad [n]: profile and manufacturer's curves."""
        low, high = self.robot.limits.velocity_bounds(position_rad)
        return np.maximum(low, -self.velocity_max_rad_s), np.minimum(high, self.velocity_max_rad_s)


class CurveTable:
    """Velocities that are allowed at every position of a cell, per joint: a quick yes where there is room.

    The upper limit falls and the lower limit falls as the position grows (a joint may move fast away from its end
    stop); where a robot's curve does not, the table is empty and every question goes to the curve itself.
    limits_at: lower and upper velocity [m, n] at positions [m, n].
    """

    def __init__(self, low: Vector, high: Vector, limits_at: Callable[[Vector], tuple[Vector, Vector]]):
        edges = low + (high - low) * np.linspace(0.0, 1.0, _CELLS + 1)[:, None]
        lower, upper = limits_at(edges)
        falling = (np.diff(lower, axis=0) <= 0.0).all() and (np.diff(upper, axis=0) <= 0.0).all()
        self._lower = lower[:-1] if falling else np.zeros_like(lower[:-1])
        self._upper = upper[1:] if falling else np.zeros_like(upper[1:])
        self._low, self._scale, self._joints = low, _CELLS / (high - low), np.arange(len(low))
        # For one question in one go: [2, n, cells and one more on either side, where nothing is allowed], flat. The
        # first half: the least velocity where the joint is lowest; the other: the least -v where it is highest.
        least = np.full((2, len(low), _CELLS + 2), np.inf)
        least[0, :, 1:-1], least[1, :, 1:-1] = self._lower.T, -self._upper.T
        self._least = least.ravel()
        # The upper end itself, and what rounding could take for it, counts as off the table.
        self._lows, self._scales = np.tile(low, 2), np.concatenate((self._scale, _ABOVE * self._scale))
        self._starts = (_CELLS + 2) * np.arange(2 * len(low)) + 1
        self._edges = edges
        # lowest and highest position, slowest and fastest velocity [4, n] that are allowed together: none yet
        self._least_near, self._most_near = np.full((2, 4, len(low)), [[[np.inf]], [[-np.inf]]])

    def allows_quickly(self, bounds: Vector) -> bool:
        """`allows` for bounds [4, n]: lowest and highest position, slowest and fastest velocity.

        Mostly the next question lies near the last one, in a stretch of the table that is known to allow more.
        """
        if comparisons.every((bounds >= self._least_near) & (bounds <= self._most_near)):
            return True
        if not self.allows(*bounds):
            return False
        cells = (bounds[:2] - self._low) * self._scale
        first = np.maximum(cells[0].astype(np.intp) - _NEAR_CELLS, 0)
        last = np.minimum(
            cells[1].astype(np.intp) + _NEAR_CELLS, _CELLS - 2
        )  # the upper end is left to `allows`
        low, high = self._edges[first, self._joints], self._edges[last + 1, self._joints]
        slowest, fastest = self._lower[first, self._joints], self._upper[last, self._joints]
        self._least_near = np.stack((low, low, slowest, slowest))
        self._most_near = np.stack((high, high, fastest, fastest))
        return True

    def allows(self, low_rad: Vector, high_rad: Vector, slowest: Vector, fastest: Vector) -> bool:
        """Whether all velocities in [slowest, fastest] are allowed at all positions in [low_rad, high_rad].

        False where a position is out of range; it may also mean that the table is too coarse to tell.
        """
        cells = (np.concatenate((low_rad, high_rad)) - self._lows) * self._scales
        cells = np.floor(np.fmin(np.fmax(cells, -1.0), _CELLS)).astype(np.intp)  # not a number: off the table
        least = self._least.take(self._starts + cells)
        return comparisons.every(np.concatenate((slowest, -fastest)) >= least)

    def allows_all(self, bounds: Vector) -> NDArray[np.bool_]:
        """[m]: `allows` for many bounds [4, m, n] at once."""
        cells = (np.concatenate((bounds[0], bounds[1]), axis=1) - self._lows) * self._scales
        cells = np.floor(np.fmin(np.fmax(cells, -1.0), _CELLS)).astype(np.intp)
        least = self._least.take(self._starts + cells)
        return np.all(np.concatenate((bounds[2], -bounds[3]), axis=1) >= least, axis=1)

    def allows_each(self, position_rad: Vector, velocity_rad_s: Vector) -> NDArray[np.bool_]:
        """[m]: whether each velocity [m, n] is allowed at its position [m, n] in range; False as above."""
        cell = ((position_rad - self._low) * self._scale).astype(np.intp).clip(0, _CELLS - 1)
        lower, upper = self._lower[cell, self._joints], self._upper[cell, self._joints]
        inside = (velocity_rad_s >= lower) & (velocity_rad_s <= upper)
        return np.all(inside, axis=1)


def compile_limits(mode: ModeLimits, robot: Robot) -> Limits:
    """A mode's limits as arrays for one robot."""
    low, high = mode.position_min_rad.array, mode.position_max_rad.array
    flat = mode.velocity_max_rad_s.array

    def limits_at(position_rad: Vector) -> tuple[Vector, Vector]:
        lower, upper = robot.limits.velocity_bounds(position_rad)
        return np.maximum(lower, -flat), np.minimum(upper, flat)

    return Limits(
        mode=mode,
        robot=robot,
        position_min_rad=low,
        position_max_rad=high,
        velocity_max_rad_s=flat,
        velocity_possible_rad_s=np.maximum(flat, robot.limits.velocity_rad_s),
        acceleration_max_rad_s2=mode.acceleration_max_rad_s2.array,
        jerk_max_rad_s3=mode.jerk_max_rad_s3.array,
        curve=CurveTable(low, high, limits_at),
        sources={
            field: value.source
            for field in type(mode).model_fields
            if isinstance(value := getattr(mode, field), Assessed)
        },
    )
