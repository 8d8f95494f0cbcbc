"""Is a sample, and the braking motion that would follow it, inside every limit? Joints here, space in `space`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robolearn.robots import Robot
from robolearn.safety import comparisons
from robolearn.safety.arm_model import ArmModel, Posture, arm_in_cell, point_speeds
from robolearn.safety.assessed import NotChecked
from robolearn.safety.braking import Braking, plan_braking
from robolearn.safety.mode_limits import Limits, compile_limits
from robolearn.safety.mode_schema import ModeLimits
from robolearn.safety.rules import Stage, in_order
from robolearn.safety.space import Space
from robolearn.safety.types import Record, Vector

if TYPE_CHECKING:
    from robolearn.safety.foresight import Foresight

# How much of its limit a joint torque may change by per radian of motion of all joints together: gravity and inertia
# of a stretched arm, about 100 Nm/rad against 87 Nm on the FR3's shoulder.
TORQUE_CHANGE_PER_RAD = 1.5


class Step(NamedTuple):
    """A sample to send, and what it makes of the sequence by backward differences: each [n]."""

    position: Vector
    velocity: Vector
    acceleration: Vector
    jerk: Vector


@dataclass(slots=True, eq=False)  # not frozen: made in every cycle
class Sample:
    """A step, the way to rest behind it, and what both mean; the arm's model is at the step's posture.

    torque_nm, torque_before_nm: [n].  speeds_m_s: [p], of every point.  contact_m_s: allowed where a person may be
    touched.  swing_rad: [n], how far each joint may go until rest.  displacement_bound_m: [p], how far that may take
    each point.  person_min_m: how near to the base a person may be.  person_m: how near one is, None where that is
    not checked.
    """

    braking: Braking
    posture: Posture
    torque_nm: Vector
    torque_before_nm: Vector
    speeds_m_s: Vector
    contact_m_s: float
    swing_rad: Vector
    displacement_bound_m: Vector
    person_min_m: float
    person_m: float | None


class Assessment(NamedTuple):
    """What was found about a sample. record: the first violation, or None.

    torque_nm: [n], estimated for the sample.  person_min_m: how near to the base a person may be at this sample, 0
    where separation is not checked.
    """

    braking: Braking
    posture: Posture
    torque_nm: Vector
    person_min_m: float
    record: Record | None


class Envelope:
    """Checks samples of one arm against one mode's limits.

    torque_max_nm, torque_rate_max_nm_s: [n], None where they are not checked.  foresight: of a replay.
    """

    foresight: Foresight | None = None

    def __init__(self, limits: Limits, arm: ArmModel, period_s: float):
        self.limits, self.arm, self.period_s = limits, arm, period_s
        self.space = Space(limits, arm, period_s)
        torque, rate = limits.mode.torque_max_nm, limits.mode.torque_rate_max_nm_s
        self.torque_max_nm = None if isinstance(torque, NotChecked) else torque.array
        self.torque_rate_max_nm_s = None if isinstance(rate, NotChecked) else rate.array
        self._checks = in_order(self._by_rule(), Stage.MOTION)

    def _by_rule(self) -> dict[str, Callable[[Sample], Record | None]]:
        """What keeps each rule on the next sample and on the way to rest."""
        return {
            **dict.fromkeys(("position", "velocity"), self._joints),
            **dict.fromkeys(("torque", "torque_rate"), self._torques),
            **dict.fromkeys(("tcp_speed", "elbow_speed", "link_speed", "contact"), self._speeds),
            **dict.fromkeys(("workspace", "keep_out", "self_distance", "stopping_distance"), self._places),
            "separation": self._separation,
            "stopping_time": self._stopping_time,
        }

    def assess(
        self, before: Posture, torque_before: Vector, step: Step, person_m: float | None
    ) -> Assessment:
        """Check a step from the posture and the torque [n] before it, and the way to rest.

        person_m: distance of the nearest person from the base, None where separation is not checked.
        """
        limits, space, p = self.limits, self.space, step.position
        braking = plan_braking(
            p, step.velocity, step.acceleration, limits.acceleration_max_rad_s2, limits.jerk_max_rad_s3,
            self.period_s,
        )  # fmt: skip
        swing = np.maximum(braking.high_rad - p, p - braking.low_rad)
        posture = self.arm.posture(p)
        torque = self.arm.torque(step.velocity, step.acceleration)
        speeds = point_speeds(before, posture, self.arm.radius, self.period_s)
        allowed = space.contact_speed(step.velocity, speeds)
        bound = self.arm.reach @ swing
        person_min_m = space.person_min(
            posture, comparisons.largest(speeds), braking.duration_s, comparisons.largest(bound)
        )
        sample = Sample(
            braking, posture, torque, torque_before, speeds, allowed, swing, bound, person_min_m, person_m
        )
        record = None
        for check in self._checks:
            record = check(sample)
            if record is not None:
                break
        return Assessment(braking, posture, torque, person_min_m, record)

    def _speeds(self, sample: Sample) -> Record | None:
        """Cartesian speeds, now and until rest."""
        space = self.space
        return (
            space.speeds(sample.speeds_m_s)
            or space.contact(sample.speeds_m_s, sample.contact_m_s)
            or space.speeds_to_rest(sample.posture, sample.braking, sample.swing_rad)
        )

    def _places(self, sample: Sample) -> Record | None:
        """Where every part gets until rest."""
        return self.space.places(
            sample.posture, sample.braking, sample.swing_rad, sample.displacement_bound_m
        )

    def _separation(self, sample: Sample) -> Record | None:
        return self.space.person(sample.person_min_m, sample.person_m)

    def _stopping_time(self, sample: Sample) -> Record | None:
        limits = self.limits
        return comparisons.over(
            "stopping_time", sample.braking.duration_s, limits.mode.stopping_time_max_s.value, "s",
            limits.source("stopping_time_max_s"),
        )  # fmt: skip

    def _joints(self, sample: Sample) -> Record | None:
        """Joint positions and velocities until rest."""
        limits, braking = self.limits, sample.braking
        if limits.curve.allows_quickly(braking.bounds):
            return None
        position, velocity = braking.trajectory
        position = np.vstack([braking.position_rad, position])
        velocity = np.vstack([braking.velocity_rad_s, velocity])
        inside = (position >= limits.position_min_rad) & (position <= limits.position_max_rad)
        if not inside.all():
            at = int(np.argmin(inside.all(axis=1)))
            return comparisons.within(
                "position", position[at], limits.position_min_rad, limits.position_max_rad, "rad",
                limits.source("position_max_rad"), limits.joint_names,
            )  # fmt: skip
        for at in np.flatnonzero(~limits.curve.allows_each(position, velocity)):
            record = comparisons.within(
                "velocity", velocity[at], *limits.velocity_bounds(position[at]), "rad/s",
                limits.source("velocity_max_rad_s"), limits.joint_names,
            )  # fmt: skip
            if record:
                return record
        return None

    def _torques(self, sample: Sample) -> Record | None:
        """Torque of the sample, its rate, and both until rest.

        Braking motions are looked at sample by sample only where a bound on them comes near the limit.
        """
        braking, torque, before = sample.braking, sample.torque_nm, sample.torque_before_nm
        found = self._torque(torque) or self._torque_rate(torque, before)
        largest, rate = self.torque_max_nm, self.torque_rate_max_nm_s
        if found or (largest is None and rate is None):
            return found
        if largest is not None and rate is None:
            bound = self.arm.torque_bound(np.maximum(braking.peak, np.abs(braking.ramp)))
            share = 1.0 - TORQUE_CHANGE_PER_RAD * float(sample.swing_rad.sum())
            if comparisons.every(bound <= share * largest):
                return None
        path, velocity = braking.trajectory
        change = np.diff(velocity, axis=0, prepend=braking.velocity_rad_s[None]) / self.period_s
        torques = np.vstack([torque, self.arm.torques(path, velocity, change)])
        self.arm.posture(braking.position_rad)  # as the caller left it
        inside = np.ones(len(path), dtype=bool)
        if largest is not None:
            inside &= (np.abs(torques[1:]) <= largest).all(axis=1)
        if rate is not None:
            inside &= (np.abs(np.diff(torques, axis=0) / self.period_s) <= rate).all(axis=1)
        if inside.all():
            return None
        first = int(np.argmin(inside))
        before, torque = torques[first], torques[first + 1]
        return self._torque(torque) or self._torque_rate(torque, before)

    def _torque(self, torque: Vector) -> Record | None:
        if self.torque_max_nm is None:
            return None
        limits = self.limits
        return comparisons.magnitude(
            "torque", torque, self.torque_max_nm, "Nm", limits.source("torque_max_nm"), limits.joint_names
        )

    def _torque_rate(self, torque: Vector, before: Vector) -> Record | None:
        if self.torque_rate_max_nm_s is None:
            return None
        limits, rate = self.limits, (torque - before) / self.period_s
        return comparisons.magnitude(
            "torque_rate",
            rate,
            self.torque_rate_max_nm_s,
            "Nm/s",
            limits.source("torque_rate_max_nm_s"),
            limits.joint_names,
        )


def build_envelope(robot: Robot, mode: ModeLimits, period_s: float, gripper: str | None) -> Envelope:
    """The envelope of one mode: its limits, and the arm among the mode's keep-out boxes."""
    arm = arm_in_cell(robot, mode.workspace.keep_out, gripper)
    return Envelope(compile_limits(mode, robot), arm, period_s)
