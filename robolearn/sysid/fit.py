"""Fit an arm's drives to recordings of it: check them, fit, test, and say what was identified.

result = fit([motion], load_robot("fr3"))
result.calibration("fr3.calibration.yaml")
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

import robolearn
from robolearn.data.motion import Motion
from robolearn.errors import DataError
from robolearn.robots import Robot, robot_names
from robolearn.robots.calibration import Base, Calibration, Delay, LogUsed, Payload, Quantity
from robolearn.sysid.checks import check, usable_effort
from robolearn.sysid.diagnosis import JointDiagnosis, diagnose
from robolearn.sysid.estimation import Estimate, Problem, estimate
from robolearn.sysid.parameters import Model
from robolearn.sysid.prediction import CHANNELS, Predictor, stretches
from robolearn.sysid.quantities import Judged, judge
from robolearn.sysid.ranges import ranges_of, servo_of
from robolearn.sysid.stamps import without_jitter

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
DELAY_BEFORE_S = 0.1  # of commands before a stretch


@dataclass(frozen=True)
class HeldOut:
    """Stretches that were never fitted: measurements, and what the nominal and the fitted model predict of them.

    time_s: [M], of the recording; position arrays [M, n] rad, commanded included; group: [M], the stretch.
    """

    time_s: Array
    group: Array
    measured_rad: Array
    nominal_rad: Array
    fitted_rad: Array
    commanded_rad: Array

    def rmse(self, which: str) -> Array:
        """Root mean square error of `nominal`, `fitted` or `commanded` positions, [n] rad."""
        return np.sqrt(((getattr(self, f"{which}_rad") - self.measured_rad) ** 2).mean(axis=0))


@dataclass(frozen=True)
class FitResult:
    """What was found. effort: whether motor effort was used. seconds: how long it took."""

    robot: Robot
    motions: tuple[Motion, ...]
    effort: bool
    found: Estimate
    judged: Judged
    joints: tuple[JointDiagnosis, ...]
    held_out: HeldOut
    problem: Problem
    delay: Quantity
    measurement_delay: Delay | None
    timestep_s: float
    seconds: float

    @property
    def explained(self) -> bool:
        """Whether the model explains the recordings on every joint."""
        return all(joint.explained for joint in self.joints)

    @property
    def identified(self) -> tuple[Quantity, ...]:
        """What the data identify: within 2 % with a probability of 99 %, see `quantities`."""
        return tuple(q for q in self.judged.quantities if q.status == "identified")

    @property
    def estimated(self) -> tuple[Quantity, ...]:
        """What the model uses: what was identified, and what is wide."""
        return tuple(q for q in self.judged.quantities if q.estimate is not None)

    def calibration(self, made_utc: str | None = None) -> Calibration:
        """The overlay. Raises DataError where nothing at all was identified, nor is wide."""
        if not self.estimated:
            why = "; ".join(f"{j.joint}: {', '.join(j.reasons)}" for j in self.joints if j.reasons)
            raise DataError(
                "Nothing was identified, so there is no calibration to write. "
                + (
                    f"The model does not explain the log: {why}."
                    if why
                    else "Record a longer, livelier motion."
                )
            )
        servo = servo_of(
            self.robot, self.judged.quantities, self.problem.layout.reference_inertia, self.effort
        )
        drawn, origins = ranges_of(self.robot, self.judged.quantities, servo, self.measurement_delay)
        return Calibration(
            base=Base(robot=self.robot.name, file=_base_file(self.robot), digest=self.robot.digest),
            made_utc=made_utc or datetime.now(UTC).isoformat(timespec="seconds"),
            robolearn=robolearn.__version__,
            logs=[_log_used(motion) for motion in self.motions],
            timestep_s=self.timestep_s,
            effort=self.effort,
            explained=self.explained,
            quantities=list(self.judged.quantities),
            servo=servo,
            command_delay=_delay(self.delay),
            measurement_delay=self.measurement_delay,
            payload=_payload(self.judged.quantities),
            ranges=drawn,
            ranges_from=origins,
        )  # fmt: skip


def fit(
    motions: list[Motion], robot: Robot, *, use_effort: bool = True, progress: Progress | None = None
) -> FitResult:
    """Fit a robot's drives to recordings of it.

    Raises DataError where a recording is of another arm, too short, or holds no motion; see `checks`.
    """
    began = time.monotonic()
    if robot.calibration is not None:
        raise DataError("The robot is already calibrated. Fit the nominal robot file instead.")
    motions = [without_jitter(check(motion, robot)) for motion in motions]
    effort = use_effort and usable_effort(motions)
    timestep = float(np.median([motion.command.period_s for motion in motions]))
    timestep = min(max(timestep, 0.001), 0.005)
    channels = tuple(
        c for c in CHANNELS if all(c in m.measured.values for m in motions) and (effort or c != "effort")
    )
    if channels[0] != "position_rad":
        raise DataError("A recording without measured positions cannot be fitted.")
    model = Model(robot, timestep, effort=effort)
    simple = Model(robot, timestep, effort=effort, fingers=False)
    fitted, quick, held = [], [], []
    for motion in motions:
        parts = [part for part in stretches(motion, timestep, DELAY_BEFORE_S) if len(part.rows)]
        kept, out = [p for p in parts if not p.held_out], [p for p in parts if p.held_out]
        if not kept or not out:
            raise DataError(
                f"{motion.source} has fewer than four stretches without a gap, too few to "
                "hold one out. Record again without interruption."
            )
        fitted.append(Predictor(model, motion, kept, channels))
        quick.append(Predictor(simple, motion, kept, channels))
        held.append(Predictor(model, motion, out, channels[:1]))
    problem = Problem(fitted, quick)
    found = estimate(problem, progress)
    joints = diagnose(problem, found, _tracking(fitted))
    judged = judge(model.layout, found.x, found.covariance, effort, joints)
    delay = next(q for q in judged.quantities if q.kind == "delay")
    return FitResult(
        robot, tuple(motions), effort, found, judged, joints, _held_out(held, found.x), problem, delay,
        _measurement_delay(motions), timestep, time.monotonic() - began,
    )  # fmt: skip


def _tracking(predictors: list[Predictor]) -> Array:
    """Root mean square of command minus measurement, [n] rad."""
    parts = [_commanded(p) - p.measured()[0] for p in predictors]
    return np.sqrt((np.concatenate(parts) ** 2).mean(axis=0))


def _commanded(predictor: Predictor) -> Array:
    rows = np.concatenate([s.rows for s in predictor.stretches])
    at, command = predictor.motion.measured.time_s[rows], predictor.motion.command
    columns = command.values["position_rad"].T
    return np.stack([np.interp(at, command.time_s, column) for column in columns], axis=1)


def _held_out(predictors: list[Predictor], x: Array) -> HeldOut:
    """The nominal model is the robot file's, without delay, friction or bias."""
    nominal = np.zeros_like(x)
    parts = []
    for k, predictor in enumerate(predictors):
        both = predictor.predict(np.stack([_nominal(predictor, nominal), x]))[:, 0]
        rows = np.concatenate([s.rows for s in predictor.stretches])
        group = np.concatenate([np.full(len(s.rows), 100_000 * k + s.number) for s in predictor.stretches])
        parts.append(
            (
                predictor.motion.measured.time_s[rows],
                group,
                predictor.measured()[0],
                both[0],
                both[1],
                _commanded(predictor),
            )
        )
    return HeldOut(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _nominal(predictor: Predictor, zeros: Array) -> Array:
    """Coordinates of the robot file: all zero, but for a payload, which may not be massless."""
    x = zeros.copy()
    at = predictor.model.layout.index("payload_mass")
    if at is not None:
        x[at] = predictor.model.layout.bounds()[0][at]
    return x


def _measurement_delay(motions: list[Motion]) -> Delay | None:
    """How old measurements are when they are received, from their stamps: median, and where 95 % of them lie."""
    ages = [m.delay_s for m in motions if m.delay_s is not None and len(m.delay_s)]
    if not ages:
        return None
    low, middle, high = (float(v) for v in np.quantile(np.concatenate(ages), [0.025, 0.5, 0.975]))
    return Delay(estimate_s=middle, interval_s=(low, high))


def _log_used(motion: Motion) -> LogUsed:
    return LogUsed(
        source=motion.source, digest=motion.digest, start_utc=motion.start_utc, duration_s=motion.duration_s,
        verified=motion.verified,
    )  # fmt: skip


def _delay(quantity: Quantity) -> Delay | None:
    if quantity.estimate is None or quantity.interval is None:
        return None
    return Delay(estimate_s=quantity.estimate, interval_s=quantity.interval)


def _payload(quantities: tuple[Quantity, ...]) -> Payload | None:
    found = {q.kind: q.estimate for q in quantities if q.kind.startswith("payload_")}
    mass = found.get("payload_mass")
    if mass is None:
        return None
    return Payload(mass_kg=mass, com_m=[found.get(f"payload_com_{axis}") or 0.0 for axis in "xyz"])


def _base_file(robot: Robot) -> str:
    packaged = robot.arm in robot_names() and robot.path.parent.name == "robots"
    return robot.name if packaged else str(robot.path.absolute())
