"""The out-of-distribution score: its threshold from held-out episodes, in the graph as in numpy, advisory only."""

import json

import numpy as np
import policy_standin
import pytest

from robolearn.errors import BundleError
from robolearn.policy.bundle import Manifest, PolicyBundle
from robolearn.policy.ood import DEVIATION_MIN, OodModel, episodes_needed, fit_ood
from robolearn.policy.runtime import PolicyRuntime

STEPS = 20


def episodes(count, seed, size=6):
    """Observations [T, E, D] that go on within an episode, its entries correlated, and [T, E] all running."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(size, size))
    walk = rng.normal(size=(STEPS, count, size)).cumsum(0) * 0.1 + rng.normal(size=(count, size))
    return (walk @ mix).astype(np.float32), np.ones((STEPS, count), bool)


def test_the_false_alarm_rate_holds_on_fresh_episodes_though_entries_and_steps_go_together():
    model = fit_ood(*episodes(2000, 1), episode_s=1.0)
    assert (model.fit_episodes, model.held_out_episodes) == (1000, 1000)
    fresh, _ = episodes(20_000, 2)
    alarmed = (model.score(fresh).max(0) > 1.0).mean()
    assert 0.003 < alarmed < 0.02


def test_a_threshold_from_the_fitted_episodes_would_alarm_more_often():
    """Few episodes and many entries: the distance is shortest to what it was fitted to."""
    model = fit_ood(*episodes(220, 1, size=40), episode_s=1.0)
    observed, _ = episodes(220, 1, size=40)
    fitted = np.quantile(model.score(observed[:, 0::2]).max(0), 0.99)
    fresh = model.score(episodes(5000, 2, size=40)[0]).max(0)
    assert (fresh > fitted).mean() > 2 * (fresh > 1.0).mean()


def test_too_few_episodes_give_no_score():
    needed = episodes_needed()
    assert needed == 99
    assert fit_ood(*episodes(2 * needed - 1, 1), episode_s=1.0) is None
    assert fit_ood(*episodes(2 * needed, 1), episode_s=1.0).held_out_episodes == needed


def test_what_follows_an_episodes_end_does_not_count():
    observed, running = episodes(400, 1)
    running[STEPS // 2 :, 7] = False
    observed[STEPS // 2 :, 7] = 1e6
    same = observed.copy()
    same[STEPS // 2 :, 7] = 0.0
    assert fit_ood(observed, running, 1.0).threshold == fit_ood(same, running, 1.0).threshold


def test_an_entry_that_never_varies_is_not_infinitely_surprising():
    observed, running = episodes(400, 1)
    observed[:, :, 2] = 0.5
    model = fit_ood(observed, running, 1.0)
    assert model.deviation[2] == DEVIATION_MIN
    moved = observed[0, 0].copy()
    moved[2] += 1e-5
    assert abs(model.score(moved) - model.score(observed[0, 0])) < 0.05


def test_it_is_kept_as_json_and_damage_is_named():
    model = fit_ood(*episodes(400, 1), episode_s=1.5)
    again, iteration = OodModel.from_json(model.to_json(7), "ood.json")
    assert iteration == 7
    assert again.summary() == model.summary()
    assert np.array_equal(again.factor, model.factor)
    data = json.loads(model.to_json(7))
    for change in ({"schema": "robolearn.ood/9"}, {"mean": [0.0]}, {"threshold": 0.0}, {"factor": None}):
        with pytest.raises(BundleError, match=r"ood\.json: no out-of-distribution score can be read"):
            OodModel.from_json(json.dumps(data | change), "ood.json")
    with pytest.raises(BundleError, match="Evaluate again"):
        OodModel.from_json("[]", "ood.json")


# -- in a bundle --


def readings(seed):
    draw = np.random.default_rng(seed).uniform
    return {"joint_position": draw(-1, 1, 2), "joint_velocity": draw(-1, 1, 2), "goal_angle": draw(-1, 1, 2)}


@pytest.fixture(scope="module")
def model():
    return fit_ood(*episodes(400, 1), episode_s=1.5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model):
    return policy_standin.export(tmp_path_factory.mktemp("ood"), ood=model)


def started(bundle):
    runtime = PolicyRuntime(bundle)
    runtime.reset({"joint_state.position": np.zeros(2)})
    return runtime


def test_the_graph_returns_the_score_that_numpy_computes(bundle, model):
    runtime = started(bundle)
    assert runtime.ood_score is None
    for seed in range(20):
        given, memory = readings(seed), runtime.memory
        observed = np.concatenate(
            [
                given["goal_angle"] - memory["command_position"],
                given["joint_position"],
                given["joint_velocity"],
            ]
        )
        runtime.step(given)
        assert runtime.ood_score == pytest.approx(float(model.score(observed)), rel=1e-3)


def test_targets_are_the_same_bit_for_bit_with_and_without_a_score(bundle, tmp_path):
    plain = started(policy_standin.export(tmp_path))
    scored = started(bundle)
    for seed in range(20):
        a, b = plain.step(readings(seed)), scored.step(readings(seed))
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)
    assert plain.ood_score is None


def test_measurements_of_any_size_keep_no_target_back(bundle):
    runtime = started(bundle)
    for size in (1e3, 1e20, 3e38):
        targets = runtime.step(readings(0) | {"joint_velocity": np.array([size, -size])})
        assert np.isfinite(targets["joint_position_target"]).all()
        assert runtime.ood_score > 100


def test_a_score_that_is_no_number_is_infinite_and_keeps_no_target_back(bundle):
    runtime = started(bundle)
    outputs = {"ood_score": np.array([np.nan], np.float32)}
    assert runtime._score(outputs) == np.inf
    assert outputs == {}


def test_the_manifest_states_it_and_a_bundle_without_one_is_as_before(bundle, model, tmp_path):
    kept = PolicyBundle.load(bundle.path).manifest.ood
    assert kept.threshold == pytest.approx(model.threshold)
    assert kept.false_alarm_rate == 0.01
    assert "ood_score, above 1 in 0.01 of episodes of 1.5 s" in bundle.inspect()
    plain = policy_standin.export(tmp_path)
    assert b'"ood"' not in plain.manifest.to_bytes()
    assert "score    none" in plain.inspect()


def test_a_manifest_that_promises_a_score_its_graph_lacks_is_refused(bundle, tmp_path):
    plain = policy_standin.export(tmp_path)
    manifest: Manifest = plain.manifest.model_copy(update={"ood": bundle.manifest.ood})
    with pytest.raises(BundleError, match="the graph's outputs are"):
        PolicyRuntime(PolicyBundle(manifest, plain.onnx_bytes, "", "", "", ""))


def test_a_score_of_other_observations_is_refused(tmp_path):
    other = fit_ood(*episodes(400, 1, size=5), episode_s=1.0)
    with pytest.raises(BundleError, match="observations with 5 entries"):
        policy_standin.export(tmp_path, ood=other)


def test_a_graph_whose_score_is_another_one_is_not_written(tmp_path, model, monkeypatch):
    monkeypatch.setattr(
        PolicyRuntime, "_score", lambda self, outputs: float(outputs.pop("ood_score")[0]) * 1.01
    )
    with pytest.raises(BundleError, match="out-of-distribution score is"):
        policy_standin.export(tmp_path, ood=model)
