"""The ledger is dp-accounting's, and a budget is kept. Runs where dp-accounting is installed: `make fleet`."""

import json

import numpy as np
import pytest

dp_accounting = pytest.importorskip("dp_accounting", reason="make fleet runs this")

from robolearn.fleet.privacy import NOT_COVERED, BudgetSpent, Ledger, epsilon, read_ledger  # noqa: E402
from robolearn.fleet.settings import Privacy  # noqa: E402

PRIVACY = Privacy(noise_multiplier=2.0, delta=1e-3, epsilon_max=2.5)


@pytest.mark.parametrize(("noise", "rounds", "delta"), [(1.0, 10, 1e-3), (2.0, 3, 1e-2), (5.0, 30, 1e-3)])
def test_epsilon_is_dp_accountings(noise, rounds, delta):
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for _ in range(rounds):
        accountant.compose(dp_accounting.GaussianDpEvent(noise))
    assert epsilon(noise, rounds, delta) == pytest.approx(accountant.get_epsilon(delta), rel=1e-3)


def test_epsilon_is_that_of_one_gaussian_with_the_noise_of_all_rounds():
    """Independent of dp-accounting: the exact curve of the Gaussian mechanism (Balle and Wang 2018, theorem 8)."""
    from math import erf, exp, sqrt

    def delta_of(eps, z):
        phi = lambda x: 0.5 * (1 + erf(x / sqrt(2)))  # noqa: E731
        return phi(0.5 / z - eps * z) - exp(eps) * phi(-0.5 / z - eps * z)

    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, 2.0 / sqrt(10)) > 1e-3 else (low, middle)
    assert epsilon(2.0, 10, 1e-3) == pytest.approx(high, rel=2e-3)


def test_the_next_round_above_the_budget_is_refused_and_spends_nothing():
    ledger = Ledger(PRIVACY, clip_norm=1.0, sites=3)
    rounds = 0
    while epsilon(2.0, rounds + 1, 1e-3) <= 2.5:
        ledger.spend()
        rounds += 1
    with pytest.raises(BudgetSpent, match="the budget is 2.5"):
        ledger.spend()
    assert 0 < rounds < 100
    assert ledger.rounds == rounds
    assert ledger.spent == epsilon(2.0, rounds, 1e-3) <= 2.5 < epsilon(2.0, rounds + 1, 1e-3)


def test_the_noise_on_the_mean_has_the_promised_standard_deviation():
    ledger = Ledger(PRIVACY, clip_norm=3.0, sites=4)
    noise = ledger.noise(200_000, np.random.default_rng(0))
    assert ledger.noise_std == pytest.approx(2.0 * 3.0 / 4)
    assert noise.std() == pytest.approx(1.5, rel=0.01)
    assert abs(noise.mean()) < 0.02


def test_the_ledger_lasts_and_says_what_it_does_not_cover(tmp_path):
    ledger = read_ledger(tmp_path, PRIVACY, 1.0, 3)
    ledger.spend()
    ledger.write(tmp_path)
    again = read_ledger(tmp_path, PRIVACY, 1.0, 3)
    assert (again.rounds, again.spent) == (1, ledger.spent)
    assert json.loads((tmp_path / "privacy.json").read_text())["not_covered"] == list(NOT_COVERED)


def test_a_ledger_is_not_continued_with_less_noise(tmp_path):
    ledger = read_ledger(tmp_path, PRIVACY, 1.0, 3)
    ledger.spend()
    ledger.write(tmp_path)
    weaker = PRIVACY.model_copy(update={"noise_multiplier": 0.5})
    with pytest.raises(BudgetSpent, match="1 rounds with noise_multiplier 2, now 0.5"):
        read_ledger(tmp_path, weaker, 1.0, 3)
