"""Many steps assessed at once, for a replay, which knows what is sent next: the same assessments in less time.

What the monitor computes about a step is a pure function of the last sample that was sent and of the step. A recorded
trace says both for a thousand cycles, so `Foresight` computes them in arrays, by the cheap bounds of `envelope` and
`space` alone. A step that they do not clear, or that is another one than the trace has, is left to the monitor.
What is foreseen is bit for bit what `Envelope.assess` finds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robolearn.safety import braking as plans
from robolearn.safety.arm_model import Posture, point_speeds
from robolearn.safety.braking import Braking, plan_each
from robolearn.safety.envelope import TORQUE_CHANGE_PER_RAD, Assessment, Envelope
from robolearn.safety.types import Vector

_SURE = 1.0 - 1e-12  # of a limit: more than what arrays round otherwise than one step alone
_SURE_M = 1e-9
_BEFORE = 3  # samples in a row before the first step that can be foreseen: its differences come from them

Flags = NDArray[np.bool_]


class Foresight:
    """Assessments of the steps of a recorded sequence under one envelope."""

    def __init__(self, envelope: Envelope) -> None:
        self._limits, self._space, self._period_s = envelope.limits, envelope.space, envelope.period_s
        self._arm = envelope.arm.another()
        self._gaps = self._arm.gaps(envelope.limits.mode.self_distance_min_m.value)
        self._torque_max_nm = envelope.torque_max_nm
        self._possible = (
            envelope.torque_rate_max_nm_s is None
        )  # torque rates take every sample of every way to rest
        self._last = np.zeros((0, self._arm.dof))
        self._known: dict[bytes, Assessment] = {}

    def find(
        self, position_rad: Vector, velocity_rad_s: Vector, acceleration_rad_s2: Vector, next_rad: Vector
    ) -> Assessment | None:
        """Of the step from a sent sample to next_rad, all [n]: no violation but perhaps separation, which depends on
        the person. None where it was not foreseen.
        """
        return self._known.get(_key(position_rad, velocity_rad_s, acceleration_rad_s2, next_rad))

    def take(self, sent_rad: Vector, followed: Flags) -> None:
        """Foresees the steps to the next samples sent, [m, n] rad, NaN where none was; those `followed` [m] alone."""
        path = np.concatenate((self._last, sent_rad))
        wanted = np.concatenate((np.zeros(len(self._last), dtype=bool), followed))
        wanted[:_BEFORE] = False
        self._last, self._known = path[-_BEFORE:].copy(), {}
        if not (wanted.any() and self._possible):
            return
        with np.errstate(all="ignore"):
            self._foresee(path, wanted)

    def _foresee(self, path: Vector, wanted: Flags) -> None:
        """path: [m, n].  wanted: [m], not among the first three."""
        limits, dt = self._limits, self._period_s
        velocity, acceleration = np.zeros_like(path), np.zeros_like(path)
        velocity[1:] = np.diff(path, axis=0) / dt
        acceleration[2:] = np.diff(velocity[1:], axis=0) / dt
        table = plan_each(
            path, velocity, acceleration, limits.acceleration_max_rad_s2, limits.jerk_max_rad_s3, dt
        )
        # samples that no monitor sent never come to the arm's model
        usual = ((path >= limits.position_min_rad) & (path <= limits.position_max_rad)).all(axis=1)
        usual &= (np.abs(velocity) <= limits.velocity_possible_rad_s).all(axis=1)
        clear = wanted & usual & np.roll(usual, 1)
        clear &= limits.curve.allows_all(table[-4:])
        clear &= table[plans.REST].max(axis=1) <= limits.mode.stopping_time_max_s.value
        swing = np.maximum(table[plans.HIGH] - path, path - table[plans.LOW])
        # everything else from the posture of each sample, and of the one before it
        rows = np.flatnonzero(clear | np.roll(clear, -1))
        if not len(rows):
            return
        at = np.searchsorted(rows, np.flatnonzero(clear))
        path, velocity, acceleration, swing, table = (
            path[rows], velocity[rows], acceleration[rows], swing[rows], table[:, rows],
        )  # fmt: skip
        ramp, peak = table[plans.RAMP], table[plans.PEAK]
        posture, torque, bound = self._arm.motion(
            path, velocity, acceleration, np.maximum(peak, np.abs(ramp))
        )
        far = np.array(
            [self._arm.reach @ each for each in swing]
        )  # [m, p]: row by row, which rounds as one does
        before = Posture(posture.points[at - 1], posture.rotation[at - 1])
        after = Posture(posture.points[at], posture.rotation[at])
        fastest = point_speeds(before, after, self._arm.radius, dt).max(axis=1)
        good = self._torques_clear(torque[at], bound[at], swing[at])
        good &= self._speeds_clear(path[at], fastest, swing[at], table[:, at])
        good &= self._places_clear(path[at], after, swing[at], far[at])
        nearest = self._space.person_mins(
            after, fastest, table[plans.REST, at].max(axis=1), far[at].max(axis=1)
        )
        self._keep(at, good, path, velocity, acceleration, table, posture, torque, nearest)

    def _torques_clear(self, torque: Vector, bound: Vector, swing: Vector) -> Flags:
        """[m]: of the sample and until rest; torque, bound, swing: [m, n]."""
        if self._torque_max_nm is None:
            return np.ones(len(torque), dtype=bool)
        share = (1.0 - TORQUE_CHANGE_PER_RAD * swing.sum(axis=1, keepdims=True)) * _SURE
        inside = (np.abs(torque) <= self._torque_max_nm) & (bound <= share * self._torque_max_nm)
        return inside.all(axis=1)

    def _speeds_clear(self, path: Vector, fastest_m_s: Vector, swing: Vector, table: Vector) -> Flags:
        """[m]: no part is faster than any limit of speed and contact, now and until rest."""
        arm, most = self._arm, self._space.careful_m_s * _SURE
        rates = np.maximum(-table[plans.SLOWEST], table[plans.FASTEST])
        clear, now = rates @ arm.longest <= most, fastest_m_s <= most
        for k in np.flatnonzero(now & ~clear).tolist():  # as `Space.speeds_to_rest` goes on
            clear[k] = arm.kept_levers(path[k], swing[k]) @ rates[k] <= most
            clear[k] = clear[k] or arm.levers(arm.posture(path[k]), swing[k]) @ rates[k] <= most
        return clear & now

    def _places_clear(self, path: Vector, posture: Posture, swing: Vector, far: Vector) -> Flags:
        """[m]: walls, boxes, own links and stopping distance; far: [m, p], how far each point may go."""
        walls = self._space.wall_clearances(posture) >= far[..., None] + _SURE_M
        clear = walls.all(axis=(1, 2)) & (far[:, -1] <= self._limits.mode.stopping_distance_max_m.value)
        rows = np.flatnonzero(clear)
        clear[rows] = self._gaps.clear_along(self._arm, path[rows], swing[rows])
        return clear

    def _keep(
        self, at: NDArray[np.intp], good: Flags, path: Vector, velocity: Vector, acceleration: Vector,
        table: Vector, posture: Posture, torque: Vector, nearest: Vector,
    ) -> None:  # fmt: skip
        """What is clear, by what it is the answer to."""
        rest = table[plans.REST].max(axis=1).tolist()
        for k, person_min_m in zip(at[good].tolist(), nearest[good].tolist(), strict=True):
            fields = table[:, k]
            braking = Braking(
                path[k], velocity[k], acceleration[k], *fields, bounds=fields[-4:], duration_s=rest[k],
                period_s=self._period_s,
            )  # fmt: skip
            known = Assessment(
                braking, Posture(posture.points[k], posture.rotation[k]), torque[k], person_min_m, None
            )
            self._known[_key(path[k - 1], velocity[k - 1], acceleration[k - 1], path[k])] = known


def _key(*parts: Vector) -> bytes:
    return b"".join([part.tobytes() for part in parts])
