"""The fit itself: weighted nonlinear least squares over MuJoCo's rollouts, and the covariance of what it finds.

Joints of a stiff arm hardly feel each other's drives, so at first all joints' coordinates of one kind are varied in one
simulation: a column of the Jacobian keeps the rows of its own joint. Later every coordinate is varied by itself, which
costs as many simulations as there are coordinates; that Jacobian follows the steps by Broyden's rule (1965) until it
is too old. `mujoco.sysid` takes finite differences anew in each step and gives no covariance of autocorrelated errors.
Intervals are those of an M-estimator whose errors may be autocorrelated and of unequal size: inv(A) B inv(A)^T with B
the long-run covariance of the scores (Newey and West 1987).
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
_FULL_JACOBIANS = (3, 2)  # in the first and the second fit, at most
_POOR, _SLOW, _AGED = (
    1e-3,
    0.3,
    4,
)  # gain of a step that asks for a new Jacobian; of one that is that many steps old
_STUCK = 3e-6  # less gain than this ends a fit
_SMALL = 0.1  # a step of fewer standard deviations ends a fit
_FAR = 2.5  # standard deviations of a last step that say that the fit had not ended
_MORE = 3  # last steps, at most
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
    """Predictions of several recordings as one least-squares problem.

    quick: the same with a simpler model, for what only differences are taken of; default the same.
    """

    def __init__(self, predictors: list[Predictor], quick: list[Predictor] | None = None):
        self.predictors, self._quick = predictors, quick or predictors
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

    def _changes(self, x: Array, moved: Array) -> Array:
        """What predictions at parameters [P, p] differ from those at x [p], [P, channels, M, n]."""
        self.evaluations += len(moved) + 1
        found = np.concatenate([p.predict(np.vstack([x, moved])) for p in self._quick], axis=2)
        return found[1:] - found[0]

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

    def joint_jacobian(self, x: Array) -> Array:
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
        moved = self._changes(x, np.array(trials))
        jacobian = np.zeros((layout.size, *moved.shape[1:]))
        for i, name in enumerate(layout.names):
            slope = moved[kinds.index(name.kind)] / steps[i]
            if name.kind in SHARED + SHARED_EFFORT:
                jacobian[i] = slope
            else:
                jacobian[i, :, :, name.joint] = slope[:, :, name.joint]
        return jacobian

    def full_jacobian(self, x: Array) -> Array:
        """[p, channels, M, n]: every coordinate varied by itself."""
        high = self.layout.bounds()[1]
        steps = np.where(x + _STEP > high, -_STEP, _STEP)
        return self._changes(x, x + np.diag(steps)) / steps[:, None, None, None]


def estimate(problem: Problem, progress: Progress | None = None) -> Estimate:
    """Fit all coordinates: twice, because the first fit tells how large what remains is."""
    layout, sigma = problem.layout, problem.noise()
    x, slope = layout.start(), None
    for turn in range(2):
        x, slope = _minimise(problem, x, sigma, slope, progress, turn)
        residual = problem.predict(x[None])[0] - problem.measured
        sigma = np.maximum(sigma, np.sqrt((residual**2).mean(axis=1)))
    for left in reversed(range(_MORE)):
        full = problem.full_jacobian(x)
        last, covariance, off = _covariance(problem, x, _own_rows(layout, full), full, residual, sigma)
        if off < _FAR or not left:
            break
        # It ended by a Jacobian that was too old, in a valley of delay and damping: on from here with this one.
        x, _ = _minimise(problem, x, sigma, full, progress, 1)
        residual = problem.predict(x[None])[0] - problem.measured
    return Estimate(last, covariance, residual, sigma, full, problem.groups, problem.evaluations)


def _own_rows(layout: Layout, full: Array) -> Array:
    """The Jacobian [p, channels, M, n] with a joint's columns on its own rows only."""
    own = full.copy()
    for i, name in enumerate(layout.names):
        if name.joint is not None:
            own[i][:, :, np.arange(own.shape[3]) != name.joint] = 0.0
    return own


def _minimise(
    problem: Problem, x: Array, sigma: Array, slope: Array | None, progress: Progress | None, turn: int
) -> tuple[Array, Array]:
    """Levenberg-Marquardt with bounds; slope: a full Jacobian to begin with. Coordinates and the last Jacobian."""
    layout, weight = problem.layout, 1.0 / sigma[:, None, :]
    prior, (low, high) = 1.0 / layout.prior_deviation(), layout.bounds()
    x = np.clip(x, low, high)
    # Positions alone hardly hold the stiffness of a light joint: on the way it would run off and not come back.
    effort = "effort" in problem.channels
    held = np.array([turn == 0 and not effort and name.kind == "stiffness" for name in layout.names])
    base, full, age, fulls = problem.predict(x[None])[0], slope is not None, 0, 0
    jacobian = problem.joint_jacobian(x) if slope is None else slope
    cost, damping = _cost(problem, base, x, weight, prior), 1e-3
    for iteration in range(_ITERATIONS):
        if progress is not None:
            progress("fit", turn * _ITERATIONS + iteration, 2 * _ITERATIONS)
        weighted = (jacobian * weight).reshape(layout.size, -1)
        normal = weighted @ weighted.T + np.diag(prior**2)
        gradient = weighted @ ((base - problem.measured) * weight).ravel() + prior**2 * x
        free = ~held & ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
        lhs, trial, moved, after = normal[np.ix_(free, free)], x, base, cost
        # In standard deviations, and of the undamped step: a damped one is small wherever the Jacobian is bad.
        small = float(np.sqrt(gradient[free] @ np.linalg.solve(lhs, gradient[free]))) < _SMALL
        for _ in range(8):
            step = np.zeros(layout.size)
            step[free] = -np.linalg.solve(lhs + damping * np.diag(np.diag(lhs)), gradient[free])
            trial = np.clip(x + step, low, high)
            moved = problem.predict(trial[None])[0]
            after = _cost(problem, moved, trial, weight, prior)
            if after < cost or small:
                break
            damping = max(damping, 1e-6) * 10.0
        gain, stepped = (cost - after) / cost, trial - x
        if full and stepped.any():
            jacobian = _broyden(jacobian, stepped, moved - base, np.diag(normal))
        if after < cost:
            x, base, cost, damping = trial, moved, after, damping * 0.1
        if full and small:
            break
        age += 1
        poor = gain < (_POOR if age < _AGED else _SLOW)
        spent = age <= 1 or fulls >= _FULL_JACOBIANS[turn]
        if full and gain < _STUCK and spent:
            break
        if (poor and not spent) or (not full and gain < _SLOW):
            jacobian, full, age, fulls, damping = problem.full_jacobian(x), True, 0, fulls + 1, 1e-3
        elif not full:
            jacobian = problem.joint_jacobian(x)
    return x, jacobian if full else problem.full_jacobian(x)


def _broyden(jacobian: Array, step: Array, change: Array, scale: Array) -> Array:
    """The Jacobian [p, ...] that predicts the change of a step [p], nearest to the last one in units of 1 / scale."""
    along = scale * step
    missed = change - np.tensordot(step, jacobian, 1)
    for i, share in enumerate(along / (along @ step)):
        if share:
            jacobian[i] += share * missed
    return jacobian


def _cost(problem: Problem, predicted: Array, x: Array, weight: Array, prior: Array) -> float:
    return float((((predicted - problem.measured) * weight) ** 2).sum() + ((prior * x) ** 2).sum())


def _covariance(
    problem: Problem, x: Array, partial: Array, full: Array, residual: Array, sigma: Array
) -> tuple[Array, Array, float]:
    """The last Newton step on the joints' own equations, the covariance of its solution, [p, p], and how far it went.

    That is the largest share of a standard deviation of coordinates that are at no bound.
    """
    layout, p = problem.layout, problem.layout.size
    weight = 1.0 / sigma[:, None, :] ** 2
    prior = np.diag(1.0 / layout.prior_deviation() ** 2)
    weighted = (partial * weight).reshape(p, -1)
    bread = weighted @ full.reshape(p, -1).T + prior
    scores = np.einsum("pcmn,cmn->mp", partial * weight, residual)
    step = np.linalg.solve(bread, scores.sum(axis=0) + prior @ x)
    low, high = layout.bounds()
    after = np.clip(x - np.clip(step, -0.1, 0.1), low, high)
    meat = long_run_covariance(scores, problem.lags, problem.groups)
    inverse = np.linalg.inv(bread)
    noise = weighted @ partial.reshape(p, -1).T  # what white noise of this size would give
    covariance = inverse @ meat @ inverse.T
    floor = inverse @ (noise + prior) @ inverse.T
    scale = np.sqrt(np.maximum(np.diag(floor) / np.maximum(np.diag(covariance), 1e-300), 1.0))
    covariance = covariance * np.outer(scale, scale)
    off = np.abs(step) / np.sqrt(np.diag(covariance))
    return after, covariance, float(off[(after > low) & (after < high)].max(initial=0.0))
