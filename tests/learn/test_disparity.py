"""Disparity: known values, power where there is a bias, no false flags where there is none."""

import numpy as np
import pytest

from robolearn.learn.disparity import (
    clopper_pearson,
    detectable_gap,
    disparity,
    fisher_worse,
    holm,
    newcombe,
    paired,
)


def test_fisher_one_sided_is_the_tail_of_the_tea_tasting():
    # Fisher's tea: 3 of 4 and 1 of 4; the chance of at most 1 of 4 is 1/70 + 16/70.
    assert fisher_worse(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert fisher_worse(4, 4, 4, 4) == 1.0


def test_holm_steps_down_and_keeps_the_order():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_exact_interval_has_closed_ends():
    assert clopper_pearson(0, 10, 0.05) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert clopper_pearson(10, 10, 0.05) == pytest.approx((0.025 ** (1 / 10), 1.0))


def _groups(rng, rates, each):
    return [
        {"name": f"g{i}", "episodes": each, "successes": int(rng.binomial(each, rate))}
        for i, rate in enumerate(rates)
    ]


def _of(strata):
    return disparity(
        sum(s["successes"] for s in strata), sum(s["episodes"] for s in strata), strata, detectable=False
    )


def test_a_bias_of_five_points_is_flagged_with_power_at_1000_per_side():
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(100):
        found = _of(_groups(rng, (0.90, 0.95), 1000))
        flagged += [s.name for s in found.flagged] == ["g0"]
    assert flagged >= 80


def test_none_is_flagged_where_there_is_none_in_at_least_95_of_100():
    rng = np.random.default_rng(2)
    clean = sum(not _of(_groups(rng, (0.95,) * 12, 170)).flagged for _ in range(100))
    assert clean >= 95


def test_the_detectable_gap_is_found_with_eighty_per_cent_power():
    gap = detectable_gap(1000, 1000, 0.95, 0.05)
    assert gap is not None
    assert 0.02 < gap < 0.035
    rng = np.random.default_rng(3)
    found = [
        fisher_worse(rng.binomial(1000, 0.95 - gap), 1000, rng.binomial(1000, 0.95), 1000) <= 0.05
        for _ in range(1500)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.035)
    assert detectable_gap(3, 20, 0.5, 0.001) is None


def test_a_stratum_without_a_rest_is_left_out_and_the_widest_gap_comes_first():
    strata = [
        {"name": "all", "episodes": 200, "successes": 150},
        {"name": "a", "episodes": 100, "successes": 60},
        {"name": "b", "episodes": 100, "successes": 90},
    ]
    found = disparity(150, 200, strata)
    assert found.strata[0].detectable == pytest.approx(0.157, abs=0.005)
    assert [s.name for s in found.strata] == ["a", "b"]
    assert found.gap == pytest.approx(0.3)
    assert found.to_json()["flagged"] == ["a"]
    assert found.strata[0].low < 0.6 < found.strata[0].high


def test_two_policies_over_the_same_episodes():
    a = np.array([True] * 80 + [True] * 12 + [False] * 4 + [False] * 4)
    b = np.array([True] * 80 + [False] * 12 + [True] * 4 + [False] * 4)
    found = paired(a, b)
    assert (found.both, found.only_a, found.only_b, found.neither) == (80, 12, 4, 4)
    assert found.difference == pytest.approx(0.08)
    assert found.p == pytest.approx(0.0768, abs=1e-4)  # 2 * P(Binomial(16, 1/2) >= 12)
    assert found.low < 0.08 < found.high
    assert paired(a, a).p == 1.0
    assert paired(a, a).low < 0 < paired(a, a).high


def test_the_paired_interval_is_newcombes_own_example():
    # Newcombe 1998, table III, method 10, dataset 36, 12, 2, 0 of 50: 0.0569 to 0.3404.
    assert newcombe(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=2e-4)
