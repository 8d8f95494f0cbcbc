"""One untrained policy of a real task through everything that comes after a training, without training it."""

import json

import jax
import numpy as np
import pytest

from robolearn.dossier.explain_failures import DECISIONS, explain_failures
from robolearn.dossier.failures_page import failure_items
from robolearn.dossier.verify_run import verify_run
from robolearn.errors import ConfigError
from robolearn.learn import audit, folder
from robolearn.learn.learner import Policy
from robolearn.learn.networks import init_mlp
from robolearn.learn.normalize import init_normalizer
from robolearn.learn.run import Run
from robolearn.learn.train_config import TrainConfig
from robolearn.learn.trainer import pinned
from robolearn.policy.runtime import PolicyRuntime

EPISODES = 200


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder_of_run = tmp_path_factory.mktemp("whole") / "run"
    env = {"episode_s": 0.4, "success_hold_s": 0.1, "tolerance_m": 0.6}
    config = pinned(TrainConfig(task="fr3/reach", engine="native", num_envs=64, env=env))
    made = Run(folder_of_run, config, None, 1)
    task = made._make_env(1)
    folder.begin(folder_of_run, config, {"obs": task.obs_size, "critic_obs": 1, "action": task.action_size})
    layers = init_mlp(jax.random.key(0), [task.obs_size, 16, task.action_size], 0.5)
    policy = Policy((layers, init_normalizer(task.obs_size)), config.ppo.activation)
    made = Run(folder_of_run, config, policy, 1)
    with audit.RunAudit(folder_of_run, config, task) as trail:
        trail.end("finished", 1)
    made.evaluate(EPISODES)
    return made


def test_an_evaluation_of_enough_episodes_gives_a_score_and_the_export_has_it(run, tmp_path):
    model = run.ood()
    assert (model.fit_episodes, model.held_out_episodes) == (100, 100)
    assert model.episode_s == pytest.approx(0.4)
    bundle = run.export(tmp_path / "reach.robolearn", key_path=tmp_path / "key.pem")
    assert bundle.manifest.ood.threshold == pytest.approx(model.threshold)
    runtime = PolicyRuntime(bundle)
    home = run.env.task.robot.home_rad
    runtime.reset({"joint_state.position": home})
    at_home = {"joint_position": home, "joint_velocity": np.zeros(7), "goal_position": [0.5, 0.0, 0.4]}
    runtime.step(at_home)
    assert 0 < runtime.ood_score < 1.5
    runtime.step(at_home | {"joint_velocity": np.full(7, 2.0)})
    assert runtime.ood_score > 1.5
    text = (run.run_dir / folder.OOD).read_text()
    (run.run_dir / folder.OOD).write_text(text.replace('"threshold": ', '"threshold": 9'))
    with pytest.raises(ConfigError, match=r"ood\.json' is not the file"):
        run.ood()
    (run.run_dir / folder.OOD).write_text(text)


def test_every_failure_of_the_evaluation_is_explained_and_recorded(run):
    counted = folder.read_evaluation(run.run_dir)["success"]
    failed = counted["episodes"] - counted["successes"]
    assert 0 < failed < EPISODES
    found, file = explain_failures(run, steps=4)
    assert (found.played, found.failed, found.counted) == (EPISODES, failed, failed)
    assert len(found.episodes) == min(failed, 200)
    assert {"iteration": 1, **found.to_json()} == json.loads(file.read_text())
    assert failure_items(found.to_json())[0][1].startswith(f"{len(found.episodes)} of {failed} in {EPISODES}")
    first = found.episodes[0]
    assert len(first.times_s) == len(first.decisions) == DECISIONS
    assert first.times_s[-1] == pytest.approx(first.length_s - 1 / run.env.control_hz)
    assert sum(first.shares.values()) == pytest.approx(1.0)
    assert sum(found.succeeded.values()) == pytest.approx(1.0)
    assert set(first.shares) >= {"joint_position", "goal_position"}
    verdict = verify_run(run.run_dir)
    assert [finding.text for finding in verdict.findings if finding.weight == "altered"] == []
    file.write_text(file.read_text().replace('"failed"', '"failures"'))
    named = [finding.where for finding in verify_run(run.run_dir).findings if finding.weight == "altered"]
    assert named == ["failures.json"]


def test_without_an_evaluation_of_the_newest_policy_there_is_nothing_to_explain(run):
    other = Run(run.run_dir, run.config, run.policy, 2)
    with pytest.raises(ConfigError, match="no evaluation of its newest policy. Run: robolearn eval"):
        explain_failures(other)
