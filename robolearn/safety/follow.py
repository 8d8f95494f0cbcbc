"""The sequence that was sent, and how it goes on: with the target, toward it within the limits, or to rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.braking import BRAKING_SHARE, Braking, plan_braking
from robolearn.safety.envelope import Assessment, Envelope, Step
from robolearn.safety.mode_limits import Limits
from robolearn.safety.rules import Stage, in_order
from robolearn.safety.stream import Target
from robolearn.safety.types import Record, Vector, Verdict

_SHARES = (1.0, 0.7, 0.4, 0.1)  # of the largest share that one step allows, tried in turn
_SPEED_SHARE = 0.98  # of a Cartesian speed limit: aimed at when slowing down to it
_ROUNDING = 1e-9  # relative, of acceleration and jerk: differences of positions are no finer
_CATCH_UP_SHARE = 0.3  # of the acceleration limit, for closing the gap to the policy without overshoot
_CLOSE_PERIODS = 3.0  # the last bit of a gap closes by a third per period


class Sent:
    """The last sample sent: position, velocity and acceleration [n], the latter two by backward differences."""

    def __init__(self, position_rad: Vector, period_s: float):
        self.period_s = period_s
        self.position = position_rad.copy()
        self.velocity = np.zeros_like(self.position)
        self.acceleration = np.zeros_like(self.position)

    def after(self, position_rad: Vector) -> Step:
        """The step to position_rad [n]."""
        velocity = (position_rad - self.position) / self.period_s
        acceleration = (velocity - self.velocity) / self.period_s
        return Step(position_rad, velocity, acceleration, (acceleration - self.acceleration) / self.period_s)

    def send(self, step: Step) -> None:
        """The step's position went out."""
        self.velocity, self.acceleration = step.velocity, step.acceleration
        self.position = step.position.copy()


class SentPositionWindow:
    """The positions sent within the tracking delay, and the band [n], [n] that they span."""

    def __init__(self, position_rad: Vector, delay_s: float, period_s: float):
        self._ring = np.tile(position_rad, (int(np.ceil(delay_s / period_s)) + 1, 1))
        self._next = 0

    def add(self, position_rad: Vector) -> None:
        """One more sample was sent."""
        self._ring[self._next] = position_rad
        self._next = (self._next + 1) % len(self._ring)

    def band(self) -> tuple[Vector, Vector]:
        """Lowest and highest position [n] rad sent within the delay."""
        return self._ring.min(axis=0), self._ring.max(axis=0)


def approach(sent: Sent, target_rad: Vector, target_velocity_rad_s: Vector, limits: Limits) -> Vector:
    """Where to go next [n] on the way to a target that moves: along the straight line, slowing down before it.

    The gap e that is left when the arm moves with the target closes at min(e / 3 dt, sqrt(2 a e)), at the pace of
    the slowest joint, so that the direction is kept.
    """
    dt = sent.period_s
    gap = target_rad - (sent.position + target_velocity_rad_s * dt)
    size = np.abs(gap)
    pace = np.minimum(
        size / (_CLOSE_PERIODS * dt), np.sqrt(2.0 * _CATCH_UP_SHARE * limits.acceleration_max_rad_s2 * size)
    )
    share = float(np.where(size > 0.0, pace * dt / np.maximum(size, 1e-300), 1.0).min())
    return sent.position + target_velocity_rad_s * dt + share * gap


def largest_share(sent: Sent, base_rad: Vector, target_rad: Vector, limits: Limits) -> float:
    """The largest share in [0, 1] of the way from base to target that obeys the joint limits of one step.

    base_rad [n] is the next sample of the braking motion, which obeys them all; position, velocity, acceleration
    and jerk are linear in the share, so each bound gives one largest share.
    """
    way = target_rad - base_rad
    base, dt = sent.after(base_rad), sent.period_s
    share = 1.0
    for value, slope, low, high in (
        (base_rad, way, limits.position_min_rad, limits.position_max_rad),
        (base.velocity, way / dt, -limits.velocity_max_rad_s, limits.velocity_max_rad_s),
        (base.acceleration, way / dt**2, -limits.acceleration_max_rad_s2, limits.acceleration_max_rad_s2),
        (base.jerk, way / dt**3, -limits.jerk_max_rad_s3, limits.jerk_max_rad_s3),
    ):
        left = np.where(slope > 0.0, high * BRAKING_SHARE - value, value - low * BRAKING_SHARE)
        steep = np.abs(slope)
        with np.errstate(over="ignore"):  # of a joint that hardly moves: it bounds nothing
            share = min(share, float(np.where(steep > 0.0, left / np.maximum(steep, 1e-300), 1.0).min()))
    return max(share, 0.0)


class CommandFilter:
    """One arm's sent sequence from rest at a position on, with a braking motion ready behind every sample."""

    def __init__(self, position_rad: Vector, envelope: Envelope, period_s: float):
        self.envelope, self.limits, self.period_s = envelope, envelope.limits, period_s
        self.sent = Sent(position_rad, period_s)
        limits = envelope.limits
        rates = (1.0 + _ROUNDING) * np.concatenate((limits.acceleration_max_rad_s2, limits.jerk_max_rad_s3))
        self._low = np.concatenate((limits.position_min_rad, -rates))
        self._high = np.concatenate((limits.position_max_rad, rates))
        self._following = in_order(
            {
                "tracking": lambda reading_rad, target, person_m: self.tracking(reading_rad),
                "command_lag": lambda reading_rad, target, person_m: self.lag(target),
                "separation": lambda reading_rad, target, person_m: self.person(person_m),
            },
            Stage.FOLLOWING,
        )
        self._step_checks = in_order(self._by_rule(), Stage.STEP)
        self._window = SentPositionWindow(position_rad, self.limits.mode.tracking_delay_max_s.value, period_s)
        self._posture = None  # of the last sample, where it is known already
        self._step = 0  # samples of the braking motion already sent
        self._torque = np.zeros_like(position_rad)
        self._braking = self._plan_at_rest()
        self._person_min_m = self.assess(self.sent.after(self.position_rad), None).person_min_m

    @property
    def position_rad(self) -> Vector:
        """The last position sent, [n] rad."""
        return self.sent.position

    @property
    def velocity_rad_s(self) -> Vector:
        """The velocity that the last step made, [n] rad/s."""
        return self.sent.velocity

    @property
    def stopping_time_s(self) -> float:
        """How long the braking motion that is kept ready still takes."""
        return max(self._braking.duration_s - self._step * self.period_s, 0.0)

    @property
    def braking(self) -> tuple[Braking, int]:
        """The braking motion that is kept ready, and how many of its samples have been sent."""
        return self._braking, self._step

    def remaining_travel(self) -> Vector:
        """Signed travel [n] rad until rest along the braking motion that is kept ready."""
        path, _ = self._braking.trajectory
        return path[-1] - self.position_rad if len(path) else np.zeros_like(self.position_rad)

    def following(
        self, measured_rad: Vector | None, target: Target | None, person_m: float | None
    ) -> Record | None:
        """The first violation by what was sent so far. None: there is no measurement, no target, no person."""
        for check in self._following:
            record = check(measured_rad, target, person_m)
            if record is not None:
                return record
        return None

    def tracking(self, measured_rad: Vector | None) -> Record | None:
        """The measured position is near one of those sent within the tracking delay."""
        if measured_rad is None:
            return None
        error, limits = self.limits.mode.tracking_error_max_rad.value, self.limits
        near = np.abs(measured_rad - self.position_rad) <= error
        if comparisons.every(near):
            return None
        low, high = self._window.band()
        return comparisons.within(
            "tracking", measured_rad, low - error, high + error, "rad", limits.source("tracking_error_max_rad"),
            limits.joint_names,
        )  # fmt: skip

    def lag(self, target: Target | None) -> Record | None:
        """The target is not far from what was sent."""
        if target is None:
            return None
        return comparisons.magnitude(
            "command_lag",
            target.position_rad - self.position_rad,
            self.limits.mode.command_lag_max_rad.value,
            "rad",
            self.limits.source("command_lag_max_rad"),
            self.limits.joint_names,
        )

    def person(self, person_m: float | None) -> Record | None:
        """A person is far enough away for the arm as it moves now."""
        return self.envelope.space.person(self._person_min_m, person_m)

    def assess(self, step: Step, person_m: float | None) -> Assessment:
        """What sending a step next would mean."""
        sent, arm, foresight = self.sent, self.envelope.arm, self.envelope.foresight
        if foresight is not None:
            found = foresight.find(sent.position, sent.velocity, sent.acceleration, step.position)
            if found is not None:
                return found._replace(record=self.envelope.space.person(found.person_min_m, person_m))
        if self._posture is None:
            self._posture = arm.posture(sent.position)
            self._torque = arm.torque(sent.velocity, sent.acceleration)
        return self.envelope.assess(self._posture, self._torque, step, person_m)

    def follow(self, target: Target | None, person_m: float | None) -> tuple[Verdict, tuple[Record, ...]]:
        """Send the target, or the nearest to it that is inside every limit."""
        if target is None:  # no command yet: rest
            self.brake()
            return Verdict.STOP, (_WAITING,)
        step = self.sent.after(target.position_rad)
        # the velocity is part of the assessment as well: it need not be looked at twice
        records = () if self._rates_clear(step) else self._step_records(step)
        if not records:
            found = self.assess(step, person_m)
            if found.record is None:
                self._send(step, found)
                return (Verdict.PASS, ()) if target.exact else (Verdict.LIMIT, (_extrapolated(target),))
            records = (found.record,)
        self._limit(target, records, person_m)
        return Verdict.LIMIT, records

    def settle(self) -> Record | None:
        """At rest: what resting here breaks, or None; then the braking motion kept ready begins here."""
        found = self.assess(self.sent.after(self.position_rad), None)
        if found.record is None:
            self._keep(found)
        return found.record

    def brake(self) -> bool:
        """Send the next sample of the braking motion; False once the arm is sent to rest."""
        self._send(self.sent.after(self._brake_next()), None)
        return bool(self.sent.velocity.any() or self.sent.acceleration.any())

    def _limit(self, target: Target, records: tuple[Record, ...], person_m: float | None) -> None:
        """Send as much of the way to the target as the limits allow; if nothing helps, brake."""
        base = self._brake_next()
        wanted = approach(self.sent, target.position_rad, target.velocity_rad_s, self.limits)
        speed = next((r for r in records if r.rule.endswith("_speed")), None)
        if speed is not None:
            share = _SPEED_SHARE * speed.limit / speed.value
            wanted = self.sent.position + share * (wanted - self.sent.position)
        largest = largest_share(self.sent, base, wanted, self.limits)
        for share in _SHARES:
            step = self.sent.after(base + largest * share * (wanted - base))
            if self._rates_clear(step):
                found = self.assess(step, person_m)
                if found.record is None:
                    self._send(step, found)
                    return
        self._send(self.sent.after(base), None)

    def _step_records(self, step: Step) -> tuple[Record, ...]:
        """The joint rules that a step would break."""
        found = (check(step) for check in self._step_checks)
        return tuple(record for record in found if record)

    def _by_rule(self) -> dict[str, Callable[[Step], Record | None]]:
        """What keeps each rule on the joints' next sample."""
        limits, names = self.limits, self.limits.joint_names
        source = limits.source
        return {
            "position": lambda step: comparisons.within(
                "position", step.position, limits.position_min_rad, limits.position_max_rad, "rad",
                source("position_max_rad"), names,
            ),
            "velocity": lambda step: comparisons.within(
                "velocity", step.velocity, *limits.velocity_bounds(step.position), "rad/s",
                source("velocity_max_rad_s"), names,
            ),
            "acceleration": lambda step: comparisons.magnitude(
                "acceleration", step.acceleration, limits.acceleration_max_rad_s2, "rad/s^2",
                source("acceleration_max_rad_s2"), names,
            ),
            "jerk": lambda step: comparisons.magnitude(
                "jerk", step.jerk, limits.jerk_max_rad_s3, "rad/s^3", source("jerk_max_rad_s3"), names
            ),
        }  # fmt: skip

    def _rates_clear(self, step: Step) -> bool:
        """Whether position, acceleration and jerk are inside their limits: all of them in one comparison."""
        values = np.concatenate((step.position, step.acceleration, step.jerk))
        return comparisons.every((values >= self._low) & (values <= self._high))

    def _send(self, step: Step, found: Assessment | None) -> None:
        """Send a step. found None: it is the next sample of the braking motion that is kept ready."""
        self.sent.send(step)
        self._window.add(step.position)
        if found is None:
            self._step, self._posture = self._step + 1, None
        else:
            self._keep(found)

    def _keep(self, found: Assessment) -> None:
        """The braking motion of an assessment is the one to follow from now on."""
        self._braking, self._step, self._posture = found.braking, 0, found.posture
        self._person_min_m, self._torque = found.person_min_m, found.torque_nm

    def _brake_next(self) -> Vector:
        velocity = self._braking.velocity(self.period_s * (self._step + 1))
        return self.sent.position + self.period_s * velocity

    def _plan_at_rest(self) -> Braking:
        limits = self.limits
        return plan_braking(
            self.sent.position, self.sent.velocity, self.sent.acceleration, limits.acceleration_max_rad_s2,
            limits.jerk_max_rad_s3, self.period_s,
        )  # fmt: skip


_WAITING = Record("waiting", 0.0, 1.0, -1.0, "1", "robolearn", "no command came since the start")


def _extrapolated(target: Target) -> Record:
    late = target.extrapolated_s
    if late < 0.0:
        text = f"this cycle is before the newest command: that is extrapolated back by {-late * 1e3:.2f} ms"
    else:
        text = f"no new command for this cycle: the last one is extrapolated by {late * 1e3:.2f} ms"
    return Record("timing", late, 0.0, -abs(late), "s", "robolearn", text)
