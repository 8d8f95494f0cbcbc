"""Comparing two evaluations: only over the same episodes, and said in one sentence."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robolearn.errors import ConfigError
from robolearn.learn.evaluate import summarise
from robolearn.show.compared import check_comparable, compare, disparity_text

RNG = np.random.default_rng(0)
MASS = RNG.uniform(0.1, 0.3, 300)


def evaluated(folder, success, mass=MASS) -> Any:
    n = len(success)
    rows = {
        "success": success, "first_success": np.full(n, 5), "terminated": np.zeros(n), "physics_failed": np.zeros(n),
        "episode_return": np.zeros(n), "stratum/mass kg": mass,
    }  # fmt: skip
    env = SimpleNamespace(control_hz=10.0, task=SimpleNamespace(full_name="two/reach"))
    return SimpleNamespace(result=summarise(env, rows, 7), target=folder, prefix="")


def test_two_policies_are_compared_and_the_file_says_the_same(tmp_path):
    a = RNG.random(300) < 0.95
    b = a & (RNG.random(300) < 0.8)
    found = compare(evaluated(tmp_path, a), evaluated(tmp_path, b), tmp_path / "a", tmp_path / "b")
    assert found.found.only_b == 0
    assert found.found.only_a == int((a & ~b).sum())
    assert "against" in found.text
    written = json.loads(found.file.read_bytes())
    assert written["difference"] == pytest.approx(a.mean() - b.mean())
    assert len(written["draws_sha256"]) == 64


def test_other_episodes_are_refused(tmp_path):
    a, b = evaluated(tmp_path, MASS > 0.2), evaluated(tmp_path, MASS > 0.2, MASS[::-1])
    with pytest.raises(ConfigError, match="did not get the same episodes"):
        compare(a, b, tmp_path / "a", tmp_path / "b")
    b.result = dataclasses.replace(a.result, task="two/push")
    with pytest.raises(ConfigError, match="did not get the same episodes"):
        compare(a, b, tmp_path / "a", tmp_path / "b")


def test_more_episodes_than_are_drawn_at_once_are_refused():
    check_comparable(1000, None, False)
    with pytest.raises(ConfigError, match="at most 1,000 episodes"):
        check_comparable(1001, None, False)
    with pytest.raises(ConfigError, match="cannot be combined with --policy or --video"):
        check_comparable(10, "expert", False)


def test_the_worse_stratum_is_named_with_what_would_have_been_found(tmp_path):
    poor = evaluated(tmp_path, np.where(MASS > 0.25, RNG.random(300) < 0.6, True)).result
    text = disparity_text(poor)
    assert "mass kg 0.2" in text
    assert "below the rest" in text
    assert "80 % power" in text
    even = disparity_text(evaluated(tmp_path, np.ones(300, bool)).result)
    assert even.startswith("Disparity: no stratum of 3 is significantly worse")
    assert "no stratum has enough" in disparity_text(dataclasses.replace(poor, strata=()))
