"""Noise of recordings, and long-run covariances of what is autocorrelated."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# What the smallest noise is taken to be where a recording has none: resolution of a good encoder, and what follows.
FLOOR = {"position_rad": 2e-6, "velocity_rad_s": 2e-4, "effort": 2e-3}
_DIFFERENCES = 4
_GAIN = 70.0  # sum of squares of the binomial weights 1 4 6 4 1


def white_noise(values: Array) -> Array:
    """Standard deviation of the white noise on smooth signals, [n] of [M, n], by fourth differences.

    A polynomial of third degree over five samples leaves nothing; the median makes single outliers harmless.
    """
    if len(values) <= _DIFFERENCES:
        return np.zeros(values.shape[1])
    differences = np.diff(values, _DIFFERENCES, axis=0)
    return np.median(np.abs(differences), axis=0) / 0.6745 / np.sqrt(_GAIN)


def long_run_covariance(scores: Array, lags: int, groups: Array) -> Array:
    """Covariance of the sum of autocorrelated scores [M, p], by Bartlett weights (Newey and West 1987).

    lags: how far apart two rows may be and still be related. groups: [M], rows of other groups are unrelated.
    """
    total = np.zeros((scores.shape[1], scores.shape[1]))
    for rows in _runs(groups):
        # Bartlett's weights are those of all sums over lags + 1 rows in a row: one product in place of one each lag.
        padded = np.concatenate([np.zeros((lags + 1, total.shape[0])), np.cumsum(scores[rows], axis=0)])
        padded = np.concatenate([padded, np.repeat(padded[-1:], lags, axis=0)])
        sums = padded[lags + 1 :] - padded[: -lags - 1]
        total += sums.T @ sums / (lags + 1.0)
    return total


def _runs(groups: Array) -> list[slice]:
    """The stretches of equal neighbours."""
    cuts = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    return [slice(low, high) for low, high in itertools.pairwise(cuts)]


def autocorrelation(residual: Array, lags: int, groups: Array) -> Array:
    """Autocorrelation [lags + 1, n] of residuals [M, n] within groups [M], lag 0 first; 0 where all are zero."""
    centred = residual - residual.mean(axis=0)
    power = (centred**2).sum(axis=0)
    found = [np.ones(residual.shape[1])]
    for lag in range(1, lags + 1):
        same = groups[lag:] == groups[:-lag]
        product = (centred[lag:] * centred[:-lag] * same[:, None]).sum(axis=0)
        found.append(product / np.where(power > 0, power, 1.0))
    return np.array(found)
