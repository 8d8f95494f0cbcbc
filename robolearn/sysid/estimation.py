"""The fit itself: weighted nonlinear least squares on `mujoco.sysid`, and the covariance of what it finds.

Joints of a stiff arm hardly feel each other's drives, so all joints' coordinates of one kind are varied in one
simulation: a column of the Jacobian keeps the rows of its own joint. What this neglects is in `bread`, which is taken
once with every coordinate varied by itself. Intervals are those of an M-estimator whose errors may be autocorrelated
and of unequal size: inv(A) B inv(A)^T with B the long-run covariance of the scores (Newey and West 1987).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.sysid.noise import FLOOR, long_run_covariance, white_noise
from robolearn.sysid.parameters import SHARED, SHARED_EFFORT, Layout
from robolearn.sysid.prediction import Predictor

Array = NDArray[np.float64]
Progress = Callable[[str, int, int], None]

_STEP = 1e-4  # of a coordinate, for differences
_ITERATIONS = 25
_FULL_JACOBIANS = (2, 5)  # of the first and the second fit
_SMALL = 0.01  # a step of fewer standard deviations ends a fit
_LAG_S = 0.25  # how long a disturbance may last and still be one of the noise


@dataclass(frozen=True)
class Estimate:
    """Coordinates x [p], their covariance [p, p], and the residuals behind it.

    residual: [channels, M, n], predicted minus measured.  sigma: [channels, n], the noise they were weighted by.
    jacobian: [p, channels, M, n], of the prediction.  groups: [M], the stretch of each row.  steps: simulated.
    """

    x: Array
    covariance: Array
    residual: Array
    sigma: Array
    jacobian: Array
    groups: Array
    evaluations: int


class Problem:
    """Predictions of several recordings as one least-squares problem."""

    def __init__(self, predictors: list[Predictor]):
        self.predictors = predictors
        self.layout: Layout = predictors[0].model.layout
        self.channels = predictors[0].channels
        self.measured = np.concatenate([p.measured() for p in predictors], axis=1)
        groups, period = [], []
        for k, predictor in enumerate(predictors):
            period.append(predictor.motion.measured.period_s)
            for stretch in predictor.stretches:
                groups.append(np.full(len(stretch.rows), 100_000 * k + stretch.number))
        self.groups = np.concatenate(groups)
        self.lags = max(1, round(_LAG_S / float(np.median(period))))
        self.evaluations = 0

    def predict(self, xs: Array) -> Array:
        """[P, channels, M, n] at parameters [P, p]."""
        self.evaluations += len(xs)
        return np.concatenate([p.predict(xs) for p in self.predictors], axis=2)

    def noise(self) -> Array:
        """White noise of the measurements, [channels, n], at least what the best sensors have."""
        found = np.zeros((len(self.channels), self.measured.shape[2]))
        for c, channel in enumerate(self.channels):
            pieces = []
            for predictor in self.predictors:
                values = predictor.motion.measured.values[channel]
                pieces += [white_noise(values[stretch.rows]) for stretch in predictor.stretches]
            found[c] = np.maximum(np.median(pieces, axis=0), FLOOR[channel])
        return found

    def joint_jacobian(self, x: Array, base: Array) -> Array:
        """[p, channels, M, n]: one simulation for each kind, a joint's columns on its own rows only."""
        layout = self.layout
        kinds = list(dict.fromkeys(name.kind for name in layout.names))
        trials, low_high = [], layout.bounds()
        steps = np.where(x + _STEP > low_high[1], -_STEP, _STEP)
        for kind in kinds:
            trial = x.copy()
            chosen = [i for i, name in enumerate(layout.names) if name.kind == kind]
            trial[chosen] += steps[chosen]
            trials.append(trial)
        moved = self.predict(np.array(trials))
        jacobian = np.zeros((layout.size, *base.shape))
        for i, name in enumerate(layout.names):
            slope = (moved[kinds.index(name.kind)] - base) / steps[i]
            if name.kind in SHARED + SHARED_EFFORT:
                jacobian[i] = slope
            else:
                jacobian[i, :, :, name.joint] = slope[:, :, name.joint]
        return jacobian

    def full_jacobian(self, x: Array, base: Array) -> Array:
        """[p, channels, M, n]: every coordinate varied by itself."""
        high = self.layout.bounds()[1]
        steps = np.where(x + _STEP > high, -_STEP, _STEP)
        moved = self.predict(x + np.diag(steps))
        return (moved - base) / steps[:, None, None, None]


def estimate(problem: Problem, progress: Progress | None = None) -> Estimate:
    """Fit all coordinates: twice, because the first fit tells how large what remains is."""
    layout, sigma = problem.layout, problem.noise()
    x = layout.start()
    for turn in range(2):
        x = _minimise(problem, x, sigma, progress, turn)
        residual = problem.predict(x[None])[0] - problem.measured
        sigma = np.maximum(sigma, np.sqrt((residual**2).mean(axis=1)))
    base = residual + problem.measured
    partial, full = problem.joint_jacobian(x, base), problem.full_jacobian(x, base)
    x, covariance = _covariance(problem, x, partial, full, residual, sigma)
    return Estimate(x, covariance, residual, sigma, full, problem.groups, problem.evaluations)


def _minimise(problem: Problem, x: Array, sigma: Array, progress: Progress | None, turn: int) -> Array:
    """Levenberg-Marquardt with bounds. The Jacobian is first the joints' own, then the full one, taken again only
    where the steps no longer go as far as it promises: a simulation of it costs as many rollouts as coordinates."""
    layout, weight = problem.layout, 1.0 / sigma[:, None, :]
    prior, (low, high) = 1.0 / layout.prior_deviation(), layout.bounds()
    x = np.clip(x, low, high)
    # Positions alone hardly hold the stiffness of a light joint: on the way it would run off and not come back.
    effort = "effort" in problem.channels
    held = np.array([turn == 0 and not effort and name.kind == "stiffness" for name in layout.names])
    base, full = problem.predict(x[None])[0], turn > 0
    cost, damping, fulls, stale = _cost(problem, base, x, weight, prior), 1e-3, 0, True
    normal = np.zeros((0, 0))
    jacobian = np.zeros(0)
    for iteration in range(_ITERATIONS):
        if progress is not None:
            progress("fit", turn * _ITERATIONS + iteration, 2 * _ITERATIONS)
        if stale:
            found = problem.full_jacobian(x, base) if full else problem.joint_jacobian(x, base)
            jacobian = (found * weight).reshape(layout.size, -1)
            normal, stale, fulls = jacobian @ jacobian.T + np.diag(prior**2), False, fulls + full
        residual = ((base - problem.measured) * weight).ravel()
        gradient = jacobian @ residual + prior**2 * x
        free = ~held & ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
        small = False
        for _ in range(8):
            lhs = normal[np.ix_(free, free)]
            step = np.zeros(layout.size)
            step[free] = -np.linalg.solve(lhs + damping * np.diag(np.diag(lhs)), gradient[free])
            trial = np.clip(x + step, low, high)
            small = float(np.sqrt(step[free] @ lhs @ step[free])) < _SMALL
            moved = problem.predict(trial[None])[0]
            after = _cost(problem, moved, trial, weight, prior)
            if after < cost or small:
                break
            damping = max(damping, 1e-6) * 10.0
        gain = (cost - after) / cost
        if after < cost:
            x, base, cost, damping = trial, moved, after, damping * 0.1
        if full and (small or gain < 1e-9):
            break
        if gain < (0.5 if full else 0.3):
            if full and fulls >= _FULL_JACOBIANS[turn]:
                if gain < 1e-4:
                    break
                continue
            stale, full = True, True
        elif not full:
            stale = True
    return x


def _cost(problem: Problem, predicted: Array, x: Array, weight: Array, prior: Array) -> float:
    return float((((predicted - problem.measured) * weight) ** 2).sum() + ((prior * x) ** 2).sum())


def _covariance(
    problem: Problem, x: Array, partial: Array, full: Array, residual: Array, sigma: Array
) -> tuple[Array, Array]:
    """The last Newton step on the joints' own equations, and the covariance of its solution, [p, p]."""
    layout, p = problem.layout, problem.layout.size
    weight = 1.0 / sigma[:, None, :] ** 2
    prior = np.diag(1.0 / layout.prior_deviation() ** 2)
    weighted = (partial * weight).reshape(p, -1)
    bread = weighted @ full.reshape(p, -1).T + prior
    scores = np.einsum("pcmn,cmn->mp", partial * weight, residual)
    step = np.linalg.solve(bread, scores.sum(axis=0) + prior @ x)
    low, high = layout.bounds()
    x = np.clip(x - np.clip(step, -0.1, 0.1), low, high)
    meat = long_run_covariance(scores, problem.lags, problem.groups)
    inverse = np.linalg.inv(bread)
    noise = weighted @ partial.reshape(p, -1).T  # what white noise of this size would give
    covariance = inverse @ meat @ inverse.T
    floor = inverse @ (noise + prior) @ inverse.T
    scale = np.sqrt(np.maximum(np.diag(floor) / np.maximum(np.diag(covariance), 1e-300), 1.0))
    return x, covariance * np.outer(scale, scale)
