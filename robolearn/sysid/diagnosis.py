"""Does the model explain the log? Tests of what is left after the fit, joint by joint.

Three kinds of misfit are looked for: friction whose shape in speed is another, backlash (a step with the sign of the
acceleration, which is that of the load), and what depends on the posture (sag, link inertia). Each is a score test
(Lagrange multiplier) of two regressors, with what the fit could have absorbed taken out of them and a variance that
allows autocorrelated residuals; and it has to matter: more than `MATTERS` of the tracking error. What no such test
names shows in the excess: residuals that are no white noise and larger than `EXCESS` of the tracking error, once the
timing error that all joints have in common is taken out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.sysid.estimation import Estimate, Problem
from robolearn.sysid.noise import FLOOR, autocorrelation, long_run_covariance

Array = NDArray[np.float64]

ALPHA = 1e-4  # of all tests of one arm together
JOINT_ALPHA = 0.05  # of a joint, where all joints together speak against the model
# Share of the tracking error's root mean square. Commands that reach a servo up to a millisecond early or late, as on
# a computer that is busy, look like up to 0.0015 of backlash; a backlash of 1 mrad like 0.007.
MATTERS = 0.002
EXCESS = 0.02  # the same, of what no test names
WHITE_P = 1e-6
_WHITE_LAGS = 20
_KINDS = ("friction that changes with speed", "backlash", "posture: sag or link inertia")


@dataclass(frozen=True)
class Misfit:
    """One test of one joint. size_rad: root mean square of what it explains of the residual; p: of no such misfit."""

    kind: str
    statistic: float
    p: float
    size_rad: float
    share: float  # of the tracking error
    found: bool


@dataclass(frozen=True)
class JointDiagnosis:
    """What is left in one joint. rms values in rad, on the fitted stretches; whiteness: largest autocorrelation."""

    joint: str
    tracking_rms_rad: float
    residual_rms_rad: float
    noise_rad: float
    excess_share: float
    misfits: tuple[Misfit, ...]
    autocorrelation: tuple[float, ...]
    whiteness_statistic: float
    whiteness_p: float

    @property
    def explained(self) -> bool:
        """Whether neither a test nor the excess speaks against the model."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the model does not explain this joint, in words."""
        said = [
            f"{m.kind} (score test {m.statistic:.0f}, p {_p_text(m.p)}, {m.size_rad * 1e3:.3f} mrad)"
            for m in self.misfits
            if m.found
        ]
        if self.excess_share > EXCESS and self.whiteness_p < WHITE_P:
            said.append(
                f"residuals are not white noise (Ljung-Box {self.whiteness_statistic:.0f} at {_WHITE_LAGS} lags, "
                f"p {_p_text(self.whiteness_p)}) and {100 * self.excess_share:.1f} % of the tracking error beyond "
                f"it, where at most {100 * EXCESS:.0f} % are allowed"
            )
        return tuple(said)


def diagnose(problem: Problem, found: Estimate, tracking_rms: Array) -> tuple[JointDiagnosis, ...]:
    """Test every joint. tracking_rms: [n], of command minus measurement, rad."""
    names = problem.layout.robot.joint_names
    features, absorbed = _features(problem, found), _absorber(problem, found)
    tests = [
        _judged([_test(problem, found, j, kind, features[k][:, :, j], absorbed, float(tracking_rms[j]))
                 for j in range(len(names))])
        for k, kind in enumerate(_KINDS)
    ]  # fmt: skip
    noise = problem.noise()[0]
    residual, groups = _without_timing(problem, found), found.groups
    acf = autocorrelation(residual, _WHITE_LAGS, groups)
    rows, diagnoses = len(residual), []
    for j, name in enumerate(names):
        rms = float(np.sqrt((residual[:, j] ** 2).mean()))
        white = noise[j] if noise[j] > FLOOR["position_rad"] else 0.0
        excess = math.sqrt(max(rms**2 - white**2, 0.0))
        box = float(rows * (acf[1:, j] ** 2).sum())
        diagnoses.append(
            JointDiagnosis(
                name,
                float(tracking_rms[j]),
                rms,
                float(white),
                excess / max(float(tracking_rms[j]), 1e-9),
                tuple(of_kind[j] for of_kind in tests),
                tuple(float(a) for a in acf[:, j]),
                box,
                _chi2_tail_even(box, _WHITE_LAGS),
            )
        )
    return tuple(diagnoses)


def _features(problem: Problem, found: Estimate) -> Array:
    """Regressors [kinds, M, 2, n] from the predicted motion."""
    predicted = found.residual + problem.measured
    position, speed = (
        predicted[0],
        predicted[1] if predicted.shape[0] > 1 else np.gradient(predicted[0], axis=0),
    )
    acceleration = np.zeros_like(speed)
    for group in np.unique(found.groups):
        rows = found.groups == group
        if rows.sum() > 2:
            acceleration[rows] = np.gradient(speed[rows], axis=0)
    scale = np.maximum(speed.std(axis=0), 1e-9)
    s, a = speed / scale, acceleration / np.maximum(acceleration.std(axis=0), 1e-12)
    friction = np.stack([np.tanh(s / 0.05) * np.exp(-np.abs(s) / 0.5), s * np.abs(s)], axis=1)
    backlash = np.stack([np.tanh(a / 0.2), np.tanh(a / 0.2) * np.abs(np.tanh(s / 0.2))], axis=1)
    posture = np.stack([np.sin(position), np.cos(position)], axis=1)
    posture = posture - posture.mean(axis=0)
    return np.stack([friction, backlash, posture])


def _without_timing(problem: Problem, found: Estimate) -> Array:
    """Position residuals [M, n] without what a wrong stamp of the whole sample explains: speed times an error that is
    one for all joints.
    """
    residual = found.residual[0]
    speed = found.residual[1] + problem.measured[1] if len(found.residual) > 1 else None
    if speed is None or residual.shape[1] < 3:
        return residual
    weight = 1.0 / found.sigma[0] ** 2
    late = (speed * residual * weight).sum(1) / np.maximum((speed**2 * weight).sum(1), 1e-12)
    left = residual - speed * late[:, None]
    # What white noise loses by this, joint by joint: its share of the sample's speed.
    lost = (speed**2 * weight) / np.maximum((speed**2 * weight).sum(1, keepdims=True), 1e-12)
    return left / np.sqrt(np.maximum(1.0 - lost.mean(0), 0.1))


def _absorber(problem: Problem, found: Estimate) -> tuple[Any, Any, Any]:
    """Weights, the weighted Jacobian [p, rows] and the inverse of its information with the prior."""
    layout = problem.layout
    weight = 1.0 / found.sigma[:, None, :] ** 2 * np.ones_like(found.residual)
    jacobian = found.jacobian.reshape(layout.size, -1)
    weighted = jacobian * weight.reshape(1, -1)
    information = weighted @ jacobian.T + np.diag(1.0 / layout.prior_deviation() ** 2)
    return weighted, jacobian, np.linalg.inv(information)


def _test(
    problem: Problem,
    found: Estimate,
    joint: int,
    kind: str,
    features: Array,  # [M, 2]
    absorbed: tuple[Any, Any, Any],
    tracking_rms: float,
) -> Misfit:
    weighted, jacobian, inverse = absorbed
    shape = found.residual.shape
    rows = np.arange(shape[1]) * shape[2] + joint  # of channel 0 in a flattened array
    stiffness = problem.layout.joint_values("stiffness", found.x)[joint]
    residual = found.residual
    scores, projected, rests = [], [], []
    for column in features.T:
        along = weighted[:, rows] @ column
        if shape[0] > 2:
            along = along - stiffness * (weighted[:, rows + 2 * shape[1] * shape[2]] @ column)
        taken = inverse @ along  # what the coordinates would do in its place
        rest = -(taken @ jacobian).reshape(shape)
        rest[0, :, joint] += column
        if (
            len(rest) > 2
        ):  # a torque that the model lacks moves the arm one way and shows in the motor the other way
            rest[2, :, joint] -= stiffness * column
        projected.append(rest[0, :, joint])
        rests.append(rest)
        scores.append(np.einsum("cmn,cmn->m", rest / found.sigma[:, None, :] ** 2, residual))
    score = np.stack(scores, axis=1)
    variance = long_run_covariance(score, problem.lags, found.groups)
    total = score.sum(axis=0)
    statistic = float(total @ np.linalg.pinv(variance) @ total)
    p = math.exp(-statistic / 2.0)  # chi-squared with two degrees of freedom
    # How large: the step along each regressor that the score asks for.
    information = np.einsum("acmn,bcmn->ab", np.array(rests) / found.sigma[:, None, :] ** 2, np.array(rests))
    coefficients = np.linalg.lstsq(information, total, rcond=1e-10)[0]
    size = float(np.sqrt(((np.stack(projected, axis=1) @ coefficients) ** 2).mean()))
    share = size / max(tracking_rms, 1e-9)
    return Misfit(kind, statistic, p, size, share, found=False)


def _judged(tests: list[Misfit]) -> list[Misfit]:
    """The tests of one kind, those found that matter: significant alone, or all joints together and also alone."""
    together = _chi2_tail_even(sum(test.statistic for test in tests), 2 * len(tests)) < ALPHA / len(_KINDS)
    level = JOINT_ALPHA if together else ALPHA / len(_KINDS) / len(tests)
    return [
        replace(t, found=t.p < level and t.share > MATTERS and t.size_rad > FLOOR["position_rad"])
        for t in tests
    ]


def _chi2_tail_even(x: float, degrees: int) -> float:
    """Probability that a chi-squared number of an even count of degrees of freedom exceeds x."""
    half, term, total = x / 2.0, 1.0, 1.0
    for k in range(1, degrees // 2):
        term *= half / k
        total += term
    return math.exp(-half) * total if half < 700 else 0.0


def _p_text(p: float) -> str:
    return "below 1e-12" if p < 1e-12 else f"{p:.1e}"
