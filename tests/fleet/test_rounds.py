"""Rounds without an engine: what is asked, what is averaged, what is recorded, and how a run goes on."""

import json
import re

import numpy as np
import pytest

from robolearn.errors import ConfigError
from robolearn.fleet.rounds import Answer, Exchange, RoundFailed, Rounds, run_rounds
from robolearn.fleet.settings import Federation
from robolearn.fleet.vector import Layout

SITES = ["east", "north", "south"]
LAYOUT = Layout.of({"w": np.zeros(4, np.float32)})
PRIVACY = {"noise_multiplier": 1.0, "delta": 1e-3, "epsilon_max": 1.0}


def federation(**changes):
    base = {"schema": "robolearn.federation/1", "name": "test", "task": "fr3/reach", "rounds": 3}
    return Federation.model_validate(base | changes)


@pytest.fixture
def rounds(tmp_path):
    made = Rounds(tmp_path)
    made.begin(LAYOUT, np.zeros(4, np.float32))
    return made


def answering(updates, requests=None):
    def ask(vector, request):
        if requests is not None:
            requests.append((vector.copy(), request))
        answers = [
            Answer(site, None, value, 10)
            if isinstance(value, str)
            else Answer(site, np.full(4, value, np.float32), "", 20)
            for site, value in updates.items()
        ]
        return Exchange(answers, 100, [site for site in SITES if site not in updates])

    return ask


def test_rounds_add_the_mean_and_continue_the_schedule(rounds):
    requests, seen = [], []
    run_rounds(
        rounds,
        federation(),
        SITES,
        answering({"east": 1.0, "north": 2.0, "south": 3.0}, requests),
        seen.append,
    )
    number, vector, _ = rounds.last()
    assert number == 3
    np.testing.assert_allclose(vector, 6.0)
    assert [(r.round, r.iteration, r.count) for _, r in requests] == [(1, 0, 4), (2, 4, 4), (3, 8, 4)]
    assert {r.layout for _, r in requests} == {LAYOUT.digest}
    assert [one["received_bytes"] for one in seen] == [60, 60, 60]
    assert rounds.records()[0]["answered"] == SITES


def test_each_update_is_clipped_before_the_mean(rounds):
    updates = {"east": 0.1, "north": 50.0, "south": -0.2}
    run_rounds(rounds, federation(rounds=1, clip_norm=1.0, norm_max=1000.0), SITES, answering(updates))
    expected = np.mean([0.1, 0.5, -0.2])  # norm of four times x is 2 x
    np.testing.assert_allclose(rounds.last()[1], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "why"), [(np.nan, "not finite"), (1e9, "norm 2e\\+09, at most 100"), ("no app", "no app")]
)
def test_what_cannot_be_averaged_is_left_out_and_named(rounds, value, why):
    run_rounds(rounds, federation(rounds=1), SITES, answering({"east": 1.0, "north": value, "south": 3.0}))
    np.testing.assert_allclose(rounds.last()[1], 2.0)
    record = rounds.records()[0]
    assert record["answered"] == ["east", "south"]
    assert re.search(why, record["refused"]["north"])


def test_too_few_sites_fail_the_round_and_keep_those_before(rounds):
    run_rounds(rounds, federation(rounds=1), SITES, answering({"east": 1.0, "north": 1.0}))
    with pytest.raises(RoundFailed, match="Round 2: 1 sites gave.*no answer from north, south"):
        run_rounds(rounds, federation(), SITES, answering({"east": 1.0}))
    assert rounds.last()[0] == 1
    assert rounds.records()[-1]["outcome"] == "failed"
    run_rounds(rounds, federation(), SITES, answering({"east": 1.0, "north": 1.0}))  # goes on after round 1
    assert [one["round"] for one in rounds.records() if one["outcome"] == "done"] == [1, 2, 3]


def test_momentum_lasts_over_a_restart(rounds, tmp_path):
    settings = federation(momentum=0.5, rounds=2)
    run_rounds(
        rounds, settings.model_copy(update={"rounds": 1}), SITES, answering({"east": 1.0, "north": 1.0})
    )
    run_rounds(Rounds(tmp_path), settings, SITES, answering({"east": 1.0, "north": 1.0}))
    np.testing.assert_allclose(rounds.last()[1], 1.0 + 1.5)


def test_the_first_vector_is_written_once(rounds):
    with pytest.raises(ConfigError, match="has begun already"):
        rounds.begin(LAYOUT, np.zeros(4, np.float32))


def test_with_privacy_noise_is_added_epsilon_recorded_and_the_budget_kept(rounds, tmp_path):
    pytest.importorskip("dp_accounting", reason="make fleet runs this")
    from robolearn.fleet.privacy import BudgetSpent, epsilon

    settings = federation(
        clip_norm=1.0, rounds=50, privacy={"noise_multiplier": 2.0, "delta": 1e-3, "epsilon_max": 2.0}
    )
    with pytest.raises(BudgetSpent):
        run_rounds(rounds, settings, SITES, answering(dict.fromkeys(SITES, 0.0)))
    done, vector, _ = rounds.last()
    assert 0 < done < 50
    assert np.abs(vector).max() > 0.0
    assert rounds.records()[-1]["epsilon"] == pytest.approx(epsilon(2.0, done, 1e-3))
    assert json.loads((tmp_path / "privacy.json").read_text())["rounds"] == done


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {
                "clip_norm": 1.0,
                "rule": "median",
                "privacy": {"noise_multiplier": 1.0, "delta": 0.1, "epsilon_max": 1.0},
            },
            "accounted for the rule 'mean' only",
        ),
        ({"address": "here"}, "expected host:port"),
        ({"privacy": {"noise_multiplier": 1.0, "delta": 1e-3, "epsilon_max": 1.0}}, "needs clip_norm"),
        (
            {"clip_norm": 1.0, "privacy": PRIVACY | {"unit": "demonstration"}},
            "privacy of one demonstration within a site is not there",
        ),
        ({"clip_norm": 1.0, "privacy": PRIVACY | {"unit": "episode"}}, "unit is 'episode', expected 'site'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        federation(**changes)
