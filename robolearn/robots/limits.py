"""Joint limits with their sources, and position-dependent speed limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.errors import RobotError, unknown
from robolearn.robots.schema import LimitFacts, LimitSetFacts, Vector, VelocityCurve

Array = NDArray[np.float64]

FIELDS = (
    "position_min_rad",
    "position_max_rad",
    "velocity_rad_s",
    "acceleration_rad_s2",
    "jerk_rad_s3",
    "torque_nm",
    "torque_rate_nm_s",
)


def read_only(values: ArrayLike) -> Array:
    """A float64 copy that refuses to be written to."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


class SpeedCurves:
    """The least of k position-dependent speed limits and a flat one. flat: [n] rad/s."""

    def __init__(self, flat: Array, curves: list[VelocityCurve]):
        self._flat, self._any = flat, bool(curves)
        self._q_min = np.array([curve.q_min_rad for curve in curves])
        self._q_max = np.array([curve.q_max_rad for curve in curves])
        self._offset = np.array([curve.offset_rad_s for curve in curves])
        self._twice_decel = 2.0 * np.array([curve.decel_rad_s2 for curve in curves])

    def bounds(self, q: ArrayLike) -> tuple[Array, Array]:
        """Lower and upper speed limit [..., n] rad/s, each, at joint positions q [..., n] rad.

        Franka's formula: v_max(q) = min(v, max(0, -offset + sqrt(max(0, 2 decel (q_max - q))))), and its mirror image
        (frankarobotics/docs robot_specifications.rst; libfranka src/joint_velocity_limits.cpp, whose tolerance of
        1e-3 rad/s is left out).
        """
        q = np.asarray(q, dtype=np.float64)
        if not self._any:
            flat = np.zeros(q.shape) + self._flat
            return -flat, flat
        q = q[..., None, :]  # beside the k curves
        up = np.sqrt(np.maximum(self._twice_decel * (self._q_max - q), 0.0)) - self._offset
        down = np.sqrt(np.maximum(self._twice_decel * (q - self._q_min), 0.0)) - self._offset
        # + 0.0 turns a -0.0 into 0.0
        lower = -np.minimum(self._flat, np.maximum(down.min(axis=-2), 0.0)) + 0.0
        return lower, np.minimum(self._flat, np.maximum(up.min(axis=-2), 0.0))


@dataclass(frozen=True)
class LimitSet:
    """One published set: arrays [n], read-only, None where the set holds no such number."""

    name: str
    applies_to: str
    source: str
    trust: str
    position_min_rad: Array
    position_max_rad: Array
    velocity_rad_s: Array
    acceleration_rad_s2: Array | None
    jerk_rad_s3: Array | None
    torque_nm: Array | None
    torque_rate_nm_s: Array | None
    _curves: SpeedCurves = field(repr=False)

    def velocity_bounds(self, q: ArrayLike) -> tuple[Array, Array]:
        """Lower and upper speed limit [..., n] rad/s, each, of this set alone at q [..., n] rad."""
        return self._curves.bounds(q)


@dataclass(frozen=True)
class JointLimits:
    """What the joints may do. Arrays [n], read-only, in the robot's joint order; None: none is published."""

    position_min_rad: Array
    position_max_rad: Array
    velocity_rad_s: Array
    torque_nm: Array
    acceleration_rad_s2: Array | None
    jerk_rad_s3: Array | None
    torque_rate_nm_s: Array | None
    sets: dict[str, LimitSet]
    _sources: dict[str, tuple[str, str]] = field(repr=False)
    _curves: SpeedCurves = field(repr=False)

    def velocity_bounds(self, q: ArrayLike) -> tuple[Array, Array]:
        """Lower and upper speed limit [..., n] rad/s, each, at q [..., n] rad: the tightest of all curves and the
        flat limit.
        """
        return self._curves.bounds(q)

    def source(self, name: str) -> str:
        """Where the numbers of a field come from, or why there are none."""
        return self._sourced(name)[0]

    def trust(self, name: str) -> str:
        """How far to trust the numbers of a field; see `robolearn.robots.schema`."""
        return self._sourced(name)[1]

    def _sourced(self, name: str) -> tuple[str, str]:
        if name not in self._sources:
            raise RobotError(unknown("limit", name, FIELDS))
        return self._sources[name]


def joint_limits(facts: LimitFacts) -> JointLimits:
    """The limits block of a robot file as arrays. The file has been checked: what an arm needs is there."""
    given = {name: getattr(facts, name) for name in FIELDS}
    sources = {name: _source(fact) for name, fact in given.items()}
    values = {name: None if fact is None else fact.value for name, fact in given.items()}
    sets = {name: _limit_set(name, published) for name, published in facts.sets.items()}
    named = (facts.sets[name].velocity_curve for name in facts.velocity_curves)
    curves = SpeedCurves(
        read_only(facts.velocity_rad_s.value or []), [curve for curve in named if curve is not None]
    )
    return JointLimits(**_arrays(values), sets=sets, _sources=sources, _curves=curves)


def _limit_set(name: str, facts: LimitSetFacts) -> LimitSet:
    values = {key: getattr(facts, key) for key in FIELDS}
    own = [facts.velocity_curve] if facts.velocity_curve else []
    curves = SpeedCurves(read_only(facts.velocity_rad_s), own)
    return LimitSet(name, facts.applies_to, facts.source, facts.trust, **_arrays(values), _curves=curves)


def _arrays(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else read_only(value) for name, value in values.items()}


def _source(fact: Vector | None) -> tuple[str, str]:
    if fact is None:
        return "not in the robot file", "none"
    if fact.value is None:
        return f"{fact.note} ({fact.source})", "none"
    return fact.source, fact.trust
