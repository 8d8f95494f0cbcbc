"""Condition of an arm from its logs: friction of each joint over time, from how far it lags behind what was sent.

For each log and joint one least-squares fit of the tracking error on sign of motion, speed, acceleration, gravity and a
constant. The term of the sign is Coulomb friction over the servo's stiffness, in rad. Temperature changes the friction
of all joints together: each is compared with the median over the joints of the same log. What then grows is found by
a cumulative sum (Page 1954) against the first logs. Where effort in Nm was recorded, the gravity term of it shows a
changed load, which moves several joints at once; friction moves one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.data.motion import Motion
from robolearn.errors import DataError
from robolearn.robots import Robot

Array = NDArray[np.float64]

BASELINE = 15  # first logs that healthy is taken from
# Of the cumulative sum, in standard deviations. The mean of 15 logs is itself off by a quarter of one, its spread by a
# fifth: with the textbook slack of 0.5 one healthy arm in six had an alarm within two months.
SLACK, LIMIT = 1.0, 9.0
SIGN_RAD_S = 0.02  # speed below which the direction of friction is not known
MOVING_S = 2.0  # each way, in every log: less does not tell friction from an offset
STANDS_OUT = 2.0  # standard deviations of the first logs' friction
LOAD_JOINTS = 2  # whose gravity terms must move together for a load
LOAD_SHIFT = 0.03  # share of the arm's own gravity
_TERMS = ("coulomb", "viscous", "inertia", "gravity", "offset")


@dataclass(frozen=True)
class Features:
    """One log. coulomb_rad: [n], NaN where the joint moved too little. gravity: [n], torque over the model's gravity
    torque, NaN without effort in Nm or where gravity hardly changes. tracking_rms_rad: [n].
    """

    source: str
    start_utc: str | None
    coulomb_rad: Array
    tracking_rms_rad: Array
    gravity: Array


@dataclass(frozen=True)
class JointCondition:
    """One joint over the logs. All lists have one entry for each log, None where it cannot be told.

    coulomb: the friction term, rad. relative: relative to the other joints and the baseline, 0 is as at first.
    score: the cumulative sum. alarm: index of the log at which it passed the limit; began: of the log after which it
    grew.
    change: the friction term's change at the end, in `unit`: rad, or Nm where the servo's stiffness is known.
    """

    joint: str
    coulomb: list[float | None]
    relative: list[float | None]
    score: list[float | None]
    tracking_rms_rad: list[float]
    alarm: int | None
    began: int | None
    change: float | None
    unit: str


@dataclass(frozen=True)
class Condition:
    """An arm over its logs. load: index of the log at which the carried load had changed; None where it did not, or
    effort was not recorded. baseline: how many of the first logs healthy was taken from.
    """

    robot: str
    logs: list[str]
    times: list[str | None]
    joints: list[JointCondition]
    load: int | None
    notes: list[str]
    baseline: int = BASELINE

    @property
    def alarms(self) -> list[JointCondition]:
        """Joints whose friction has grown."""
        return [joint for joint in self.joints if joint.alarm is not None]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "alarms": [joint.joint for joint in self.alarms]}


def features(motion: Motion, robot: Robot, model: mujoco.MjModel | None = None) -> Features:
    """The friction terms of one log. model: of the robot, compiled here if not given.

    Raises DataError where the log lacks a joint of the arm.
    """
    motion = motion.for_joints(tuple(robot.joint_names))
    model = model or robot.spec(None).compile()
    time = motion.measured.time_s
    inside = (time >= motion.command.time_s[0]) & (time <= motion.command.time_s[-1])
    time, measured = time[inside], motion.measured.values["position_rad"][inside]
    if len(time) < 100:
        raise DataError(
            f"{motion.source}: commands and measurements overlap in {len(time)} samples, too few to fit."
        )
    sent = np.stack(
        [np.interp(time, motion.command.time_s, q) for q in motion.command.values["position_rad"].T], 1
    )
    speed = _slope(sent, time)
    acceleration, gravity = _slope(speed, time), gravity_torque(model, robot, measured)
    effort = motion.measured.values.get("effort") if motion.effort_unit == "Nm" else None
    error, n = sent - measured, robot.dof
    coulomb, load = np.full(n, np.nan), np.full(n, np.nan)
    step = np.gradient(time)
    for j in range(n):
        terms = np.stack(
            [
                np.tanh(speed[:, j] / SIGN_RAD_S),
                speed[:, j],
                acceleration[:, j],
                gravity[:, j],
                np.ones(len(time)),
            ],
            1,
        )
        ways = [float(step[sign * speed[:, j] > SIGN_RAD_S].sum()) for sign in (1, -1)]
        if min(ways) < MOVING_S:
            continue
        coulomb[j] = _fit(terms, error[:, j])[_TERMS.index("coulomb")]
        if effort is not None and gravity[:, j].std() > 0.5:
            load[j] = _fit(terms, effort[inside][:, j])[_TERMS.index("gravity")]
    return Features(motion.source, motion.start_utc, coulomb, np.sqrt((error**2).mean(0)), load)


def _slope(values: Array, time: Array) -> Array:
    return np.gradient(values, time, axis=0)


def _fit(terms: Array, values: Array) -> Array:
    scale = np.maximum(np.abs(terms).max(0), 1e-9)
    return np.linalg.lstsq(terms / scale, values, rcond=1e-8)[0] / scale


def gravity_torque(model: mujoco.MjModel, robot: Robot, position: Array) -> Array:
    """What holds the arm against gravity, [N, n] Nm, at every tenth position and interpolated between."""
    data, rows = (
        mujoco.MjData(model),
        np.unique(np.append(np.arange(0, len(position), 10), len(position) - 1)),
    )
    joints = [model.joint(name) for name in robot.joint_names]
    at, dofs = [int(j.qposadr[0]) for j in joints], [int(j.dofadr[0]) for j in joints]
    torque = np.empty((len(rows), robot.dof))
    for i, row in enumerate(rows):
        data.qpos[at], data.qvel[:] = position[row], 0.0
        mujoco.mj_forward(model, data)
        torque[i] = data.qfrc_bias[dofs]
    return np.stack([np.interp(np.arange(len(position)), rows, column) for column in torque.T], 1)


def assess(
    found: Sequence[Features],
    robot: Robot,
    *,
    servo_known: bool = False,
    baseline: int = BASELINE,
    left_out: Sequence[str] = (),
) -> Condition:
    """What has become of the joints over the logs, oldest first.

    servo_known: the arm's drives are those of the robot file, as in simulation; changes are then in Nm.
    left_out: what is to be said of logs that could not be read.
    Raises DataError for fewer logs than a baseline and one more.
    """
    if len(found) <= baseline:
        raise DataError(
            f"{len(found)} logs are too few: {baseline} for the baseline (--baseline), and at least one more."
            + "".join(f" {text}" for text in left_out[:3])
        )
    coulomb = np.array([one.coulomb_rad for one in found])
    rms = np.array([one.tracking_rms_rad for one in found])
    usable = np.isfinite(coulomb[:baseline]).sum(0) >= max(3, baseline // 2)
    first = np.full(robot.dof, np.nan)
    first[usable] = np.nanmean(coulomb[:baseline][:, usable], 0)
    # What does not stand out from its spread cannot be followed: of a simulated arm without friction it is noise.
    spread = np.full(robot.dof, np.inf)
    spread[usable] = np.nanstd(coulomb[:baseline][:, usable], 0, ddof=1)
    usable &= first > np.maximum(STANDS_OUT * spread, 1e-7)
    notes = [
        f"{robot.joint_names[j]}: moved too little, or shows no friction: not followed"
        for j in np.flatnonzero(~usable)
    ]
    if usable.sum() < 3:
        raise DataError(
            "Fewer than three joints moved enough in the first logs, and show a friction, to be compared. Record "
            "longer motions; a simulated arm has no friction unless its plant or its calibration does."
        )
    ratio = np.where(usable, coulomb / np.where(usable, first, 1.0), np.nan)
    relative = ratio / _others(ratio, usable) - 1.0
    score = _scores(relative, usable, baseline)
    unit = "Nm" if servo_known else "rad"
    if not servo_known:
        notes.append("the servo is the maker's and unknown: friction terms are in rad, and only trends count")
    stiffness = np.asarray(robot.servo.kp_nm_rad) if servo_known else np.ones(robot.dof)
    joints = []
    for j, name in enumerate(robot.joint_names):
        over = np.flatnonzero(np.nan_to_num(score[:, j]) > LIMIT)
        alarm = int(over[0]) if len(over) else None
        began = None if alarm is None else int(np.flatnonzero(np.nan_to_num(score[:alarm, j]) <= 0)[-1])
        recent = relative[-5:, j][np.isfinite(relative[-5:, j])]
        change = float(np.median(recent) * first[j] * stiffness[j]) if usable[j] and len(recent) else None
        joints.append(
            JointCondition(
                name, _listed(coulomb[:, j]), _listed(relative[:, j]), _listed(score[:, j]), rms[:, j].tolist(),
                alarm, began, change, unit,
            )
        )  # fmt: skip
    load, said = _load_change(np.array([one.gravity for one in found]), baseline)
    return Condition(
        robot.name,
        [one.source for one in found],
        [one.start_utc for one in found],
        joints,
        load,
        [*left_out, *notes, *said],
        baseline,
    )


def _others(ratio: Array, usable: NDArray[np.bool_]) -> Array:
    """What the other joints of the same log have in common, [D, n]: their median, temperature above all."""
    common = np.full_like(ratio, np.nan)
    for j in np.flatnonzero(usable):
        rest = usable.copy()
        rest[j] = False
        moved = np.isfinite(ratio[:, rest]).any(1)  # a session in which nothing moved has nothing in common
        common[moved, j] = np.nanmedian(ratio[moved][:, rest], axis=1)
    return common


def _scores(relative: Array, usable: NDArray[np.bool_], baseline: int) -> Array:
    """Cumulative sums of growth, [D, n]; 0 in the baseline. The spread of few logs is itself uncertain: it is shared
    with the joints' common one, and widened by that of its mean.
    """
    early = relative[:baseline]
    spread = np.full(relative.shape[1], np.nan)
    spread[usable] = np.nanstd(early[:, usable], axis=0, ddof=1)
    pooled = float(np.sqrt(np.nanmean(spread**2)))
    wide = np.sqrt((spread**2 + pooled**2) / 2 * (1 + 1 / baseline))
    centre = np.full(relative.shape[1], np.nan)
    centre[usable] = np.nanmean(early[:, usable], axis=0)
    score = np.zeros_like(relative)
    for j in range(relative.shape[1]):
        if not usable[j]:
            score[:, j] = np.nan
            continue
        total = 0.0
        for i in range(baseline, len(relative)):
            z = (relative[i, j] - centre[j]) / max(wide[j], 1e-6)
            total = max(0.0, total + z - SLACK) if np.isfinite(z) else total
            score[i, j] = total
    return score


def _load_change(gravity: Array, baseline: int) -> tuple[int | None, list[str]]:
    """The log after which the gravity terms of several joints together stay away from those of the baseline."""
    seen = np.isfinite(gravity).all(0)
    if not seen.any():
        return None, ["no effort in Nm: a changed load cannot be distinguished from wear"]
    early = gravity[:baseline][:, seen]
    bound = np.maximum(LOAD_SHIFT, 6 * early.std(0, ddof=1))
    away = np.abs(gravity[:, seen] - early.mean(0)) > bound
    together = away.sum(1) >= min(LOAD_JOINTS, int(seen.sum()))
    both = np.flatnonzero(together[:-1] & together[1:])
    if not len(both):
        return None, []
    at = int(both[0])
    return at, [
        f"from log {at + 1} on the arm carries another load: gravity terms of several joints changed together"
    ]


def _listed(values: Array) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
