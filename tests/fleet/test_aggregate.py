"""Aggregation against slow references in plain Python."""

import math
import statistics

import numpy as np
import pytest

from robolearn.errors import ConfigError
from robolearn.fleet.aggregate import ServerStep, clipped_mean, combine, mean, median, trimmed_mean

RANDOM = np.random.default_rng(3)
UPDATES = RANDOM.normal(size=(5, 17)).astype(np.float32) * np.array(
    [[0.1], [1.0], [3.0], [0.5], [8.0]], np.float32
)


def slow_clipped_mean(rows, norm_max, weights):
    total = [0.0] * len(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        norm = math.sqrt(sum(float(x) ** 2 for x in row))
        factor = min(1.0, norm_max / norm)
        for i, x in enumerate(row):
            total[i] += weight / sum(weights) * factor * float(x)
    return total


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 0.1, 1.0]])
def test_the_clipped_mean_is_that_of_the_slow_loop(weights):
    expected = slow_clipped_mean(UPDATES.tolist(), 2.0, weights or [1.0] * 5)
    found = clipped_mean(UPDATES, 2.0, None if weights is None else np.array(weights))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_median_and_trimmed_mean_are_those_of_the_slow_loops():
    columns = UPDATES.T.tolist()
    np.testing.assert_allclose(median(UPDATES), [statistics.median(c) for c in columns], rtol=1e-6)
    expected = [statistics.mean(sorted(c)[1:-1]) for c in columns]
    np.testing.assert_allclose(trimmed_mean(UPDATES, 1), expected, rtol=1e-6)


def test_one_poisoned_site_moves_the_mean_by_its_clipped_share_and_the_robust_rules_hardly():
    honest = RANDOM.normal(0.0, 0.01, size=(4, 50)).astype(np.float32) + 0.1
    poisoned = np.concatenate([honest, np.full((1, 50), -1e6, np.float32)])
    without = mean(honest)
    moved = combine("mean", poisoned, norm_max=1.0) - without * 0.8
    assert np.linalg.norm(moved) == pytest.approx(0.2, rel=1e-3)
    for rule in ("median", "trimmed_mean"):
        assert np.abs(combine(rule, poisoned, norm_max=1e9) - without).max() < 0.02


def test_robust_rules_have_a_limit_two_of_five_colluding_sites_pass_a_trim_of_one():
    honest = np.full((3, 4), 0.1, np.float32)
    updates = np.concatenate([honest, np.full((2, 4), -100.0, np.float32)])
    assert trimmed_mean(updates, 1).max() < -30.0
    np.testing.assert_allclose(median(updates), 0.1, rtol=1e-6)


@pytest.mark.parametrize("trim", [-1, 3])
def test_a_trim_that_leaves_nothing_is_refused(trim):
    with pytest.raises(ConfigError, match=f"trim is {trim}, but of 5 updates"):
        trimmed_mean(UPDATES, trim)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 1.0, 0.0, 1.0, 1.0]])
def test_weights_are_one_above_zero_for_each_update(weights):
    with pytest.raises(ConfigError, match="expected 5 numbers above 0"):
        mean(UPDATES, np.array(weights))


def test_the_server_keeps_its_momentum():
    server = ServerStep(momentum=0.5)
    vector = server.apply(np.zeros(2, np.float32), np.array([1.0, -2.0]))
    np.testing.assert_array_equal(vector, np.array([1.0, -2.0], np.float32))
    vector = server.apply(vector, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(vector, np.array([2.5, -3.0], np.float32))
    np.testing.assert_array_equal(ServerStep().apply(np.ones(2), np.ones(2)), np.full(2, 2.0, np.float32))
