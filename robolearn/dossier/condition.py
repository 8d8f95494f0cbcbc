"""Condition of an arm from its logs: friction of each joint over time.

Of each joint the friction in the tracking error or that in the effort is followed, whichever scatters less in the first
logs: an encoder's noise hides the friction of a stiff servo, and a torque sensor behind the gears does not feel theirs.
Direction and speed resemble each other, so most of what scatters in a log's friction is the error of the terms beside
it: they are held against what they were in the first logs, as far as they were steady there (a random-effects
estimate). Temperature changes the friction of all joints together: each is compared with the median over the joints of
the same log. What then grows is found by a cumulative sum (Page 1954) against the logs before. The gravity term of the
effort shows a changed load, which moves several joints at once; friction moves one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr

from robolearn.dossier.joint_friction import FRICTION_TERMS, Features, Terms, no_terms
from robolearn.errors import DataError
from robolearn.robots import Robot

Array = NDArray[np.float64]

TRACKING, EFFORT = "tracking error", "effort"
BASELINE = 15  # first logs that healthy is taken from
LEARNED = 30  # logs at most that a joint's mean and spread are taken from: later ones may be worn
# Of the cumulative sum, in standard deviations: 2 of 300 healthy arms of seven joints passed it within two months.
SLACK, LIMIT = 1.0, 6.0
DEVIATE_MAX = 8.0
STANDS_OUT = 2.0  # standard deviations of the first logs' friction
LOAD_JOINTS = 2  # whose gravity terms must move together for a load
LOAD_SHIFT = 0.03  # share of the arm's own gravity
_STEADY_MIN = 0.1  # of their scatter in the first logs that the terms beside friction are always allowed


@dataclass(frozen=True)
class JointCondition:
    """One joint over the logs. All lists have one entry for each log, None where it cannot be told.

    coulomb: the friction term, rad; Nm where source is `effort`. relative: relative to the other joints and the
    baseline, 0 is as at first.
    score: the cumulative sum. alarm: index of the log at which it passed the limit; began: of the log after which it
    grew.
    change: the friction term's change at the end, in `unit`: rad, or Nm where it is from effort or the servo's
    stiffness is known. source: `tracking error` or `effort`, whichever scattered less at first.
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
    source: str = TRACKING


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
    coulomb, own, from_effort = _followed(found, baseline)
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
    score = _scores(relative, own / np.where(usable, first, 1.0), usable, baseline)
    in_nm = from_effort | servo_known
    if not in_nm[usable].all():
        notes.append(
            "the servo is the manufacturer's and unknown: friction terms from the tracking error are in rad, and only "
            "trends "
            "count"
        )
    stiffness = np.where(in_nm & ~from_effort, np.asarray(robot.servo.kp_nm_rad), 1.0)
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
                alarm, began, change, "Nm" if in_nm[j] else "rad", EFFORT if from_effort[j] else TRACKING,
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


def _followed(found: Sequence[Features], baseline: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The friction terms that are followed and their own errors, [D, n], and of which joints they are from effort [n].

    What all joints share, temperature above all, is in both and would hide which of them has less noise: it is taken
    from those that scatter less at first sight, and divided out.
    """
    tracking = np.array([one.coulomb_rad for one in found])
    effort = np.array(
        [np.full(tracking.shape[1], np.nan) if one.coulomb_nm is None else one.coulomb_nm for one in found]
    )
    tracking, own_tracking = steadied(tracking, [one.in_tracking for one in found], baseline)
    effort, own_effort = steadied(effort, [one.in_effort for one in found], baseline)
    # A joint whose effort was not recorded throughout is followed by its tracking error.
    known = (np.isfinite(effort) | ~np.isfinite(tracking)).all(0)
    first = tracking[:baseline], effort[:baseline]
    better = known & (_scatter(first[1]) < _scatter(first[0]))
    common = _common(np.where(better, first[1], first[0]))
    better = known & (_scatter(first[1] / common) < _scatter(first[0] / common))
    return np.where(better, effort, tracking), np.where(better, own_effort, own_tracking), better


def _common(values: Array) -> Array:
    """What the joints of each log have in common, [D, 1]: the median of their shares of their own means."""
    mean = np.array([np.nanmean(column) if np.isfinite(column).any() else np.nan for column in values.T])
    common = np.ones((len(values), 1))
    for i, row in enumerate(values / np.where(mean > 0, mean, np.nan)):
        common[i] = np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 1.0
    return np.where(common > 0, common, 1.0)


def steadied(coulomb: Array, terms: Sequence[Terms | None], baseline: int) -> tuple[Array, Array]:
    """Friction terms [D, n] without what the error of the terms beside them adds, and the standard deviations that are
    left of their own errors (0 where unknown). terms: of each log, where known.

    What those varied by in the first logs, beyond their own errors, they are allowed to in every log: then the friction
    is the best linear prediction. A joint with too few first logs stays as it is.
    """
    result, own, size = coulomb.copy(), np.zeros_like(coulomb), len(FRICTION_TERMS)
    known = [one if one is not None else no_terms(coulomb.shape[1]) for one in terms]
    values = np.array([one.values for one in known]).reshape(len(coulomb), -1, size)
    covariances = np.array([one.covariance for one in known]).reshape(len(coulomb), -1, size, size)
    for j in range(coulomb.shape[1]):
        usable = np.isfinite(values[:, j]).all(1) & np.isfinite(coulomb[:, j])
        first = np.flatnonzero(usable[:baseline])
        if len(first) < max(3, baseline // 2):
            continue
        beside, errors = values[:, j, 1:], covariances[:, j, 1:, 1:]
        spread = beside[first].var(0, ddof=1)
        noise = np.diagonal(errors[first], axis1=1, axis2=2).mean(0)
        allowed = np.diag(np.maximum(spread - noise, _STEADY_MIN * spread))
        off = beside - beside[first].mean(0)
        for i in np.flatnonzero(usable):
            taken = np.linalg.solve(errors[i] + allowed, covariances[i, j, 1:, 0])
            result[i, j] -= taken @ off[i]
            own[i, j] = np.sqrt(max(covariances[i, j, 0, 0] - taken @ covariances[i, j, 1:, 0], 0.0))
    return result, own


def _scatter(values: Array) -> Array:
    """Spread over mean of each column, infinite where that is no friction."""
    kept = np.isfinite(values).sum(0) >= 3
    result = np.full(values.shape[1], np.inf)
    mean, spread = np.nanmean(values[:, kept], 0), np.nanstd(values[:, kept], 0, ddof=1)
    result[kept] = np.where(mean > 0, spread / np.where(mean > 0, mean, 1.0), np.inf)
    return result


def _others(ratio: Array, usable: NDArray[np.bool_]) -> Array:
    """What the other joints of the same log have in common, [D, n]: their median, temperature above all."""
    common = np.full_like(ratio, np.nan)
    for j in np.flatnonzero(usable):
        rest = usable.copy()
        rest[j] = False
        moved = np.isfinite(ratio[:, rest]).any(1)  # a session in which nothing moved has nothing in common
        common[moved, j] = np.nanmedian(ratio[moved][:, rest], axis=1)
    return common


def _scores(relative: Array, own: Array, usable: NDArray[np.bool_], baseline: int) -> Array:
    """Cumulative sums of growth, [D, n]; 0 in the baseline.

    own: [D, n], the logs' own standard deviations of relative: one with little motion may scatter more than the rest.

    Each log is compared with those before it, the first `LEARNED` at most: a prediction from n logs is off by Student's
    t with n - 1 degrees of freedom, which is made a standard normal deviate first (Hawkins 1987, self-starting).
    """
    score = np.zeros_like(relative)
    for j in range(relative.shape[1]):
        if not usable[j]:
            score[:, j] = np.nan
            continue
        total = 0.0
        for i in range(baseline, len(relative)):
            if np.isfinite(relative[i, j]):
                before = relative[: min(i, max(LEARNED, baseline)), j]
                total = max(
                    0.0, total + _deviate(relative[i, j], before[np.isfinite(before)], own[i, j]) - SLACK
                )
            score[i, j] = total
    return score


def _deviate(value: float, before: Array, own: float) -> float:
    """The standard normal deviate of a value among those before it, [n], whose spread is at least the value's own."""
    n = len(before)
    t = (value - before.mean()) / (max(before.std(ddof=1), own, 1e-6) * np.sqrt(1 + 1 / n))
    return float(np.clip(np.sign(t) * -ndtri(stdtr(n - 1, -abs(t))), -DEVIATE_MAX, DEVIATE_MAX))


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
