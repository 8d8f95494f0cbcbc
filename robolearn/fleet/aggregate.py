"""How updates become one: means, robust means, and the step of the server. Pure numpy.

updates: [N, D], one row for each site, differences to the vector that the round began with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ConfigError
from robolearn.fleet.vector import clipped

Rule = Literal["mean", "median", "trimmed_mean"]
Array = NDArray[np.floating]


def clipped_mean(updates: Array, norm_max: float, weights: Array | None = None) -> Array:
    """The mean of the updates, each clipped to norm_max first; [D], float64.

    weights: [N], above 0; equal without. A clipped mean moves by at most 2 norm_max / N for one site (equal weights).
    """
    rows = np.stack([clipped(row, norm_max) for row in updates]).astype(np.float64)
    return mean(rows, weights)


def mean(updates: Array, weights: Array | None = None) -> Array:
    """The weighted mean, [D], float64."""
    rows = np.asarray(updates, np.float64)
    shares = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if len(shares) != len(rows) or not (shares > 0.0).all():
        raise ConfigError(f"weights {shares.tolist()}: expected {len(rows)} numbers above 0.")
    return (shares / shares.sum()) @ rows


def median(updates: Array) -> Array:
    """The coordinate-wise median, [D]: what fewer than half of the sites send cannot move it without bound."""
    return np.median(np.asarray(updates, np.float64), axis=0)


def trimmed_mean(updates: Array, trim: int) -> Array:
    """Per coordinate the mean without the `trim` largest and smallest, [D] (Yin et al. 2018, arXiv:1803.01498).

    Withstands up to `trim` sites that send anything. Raises ConfigError where nothing would be left.
    """
    rows = np.sort(np.asarray(updates, np.float64), axis=0)
    if trim < 0 or 2 * trim >= len(rows):
        raise ConfigError(f"trim is {trim}, but of {len(rows)} updates 2 * trim must leave at least one.")
    return rows[trim : len(rows) - trim].mean(0)


def combine(
    rule: Rule, updates: Array, *, norm_max: float, weights: Array | None = None, trim: int = 1
) -> Array:
    """The update of the round by one rule, [D]; every row is clipped to norm_max first. Weights: only of the mean."""
    rows = np.stack([clipped(row, norm_max) for row in updates])
    if rule == "mean":
        return mean(rows, weights)
    return median(rows) if rule == "median" else trimmed_mean(rows, trim)


@dataclass
class ServerStep:
    """The server's optimiser: momentum over rounds (FedAvgM, Hsu et al. 2019, arXiv:1909.06335); 1 and 0: FedAvg."""

    rate: float = 1.0
    momentum: float = 0.0
    velocity: Array | None = None

    def apply(self, vector: Array, update: Array) -> NDArray[np.float32]:
        """The next global vector, [D]."""
        before = 0.0 if self.velocity is None else self.momentum * self.velocity
        self.velocity = before + np.asarray(update, np.float64)
        return np.asarray(np.asarray(vector, np.float64) + self.rate * self.velocity, np.float32)
