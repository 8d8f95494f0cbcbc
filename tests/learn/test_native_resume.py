"""A run on the native engine, real task and randomisation, continues bit for bit."""

import json

import numpy as np
import pytest

from robolearn.learn.config import PpoConfig, TrainConfig
from robolearn.learn.run import open_run
from robolearn.learn.trainer import train


@pytest.mark.slow
def test_native_engine_continues_bit_for_bit_and_exports_what_acts(tmp_path):
    ppo = PpoConfig(rollout_steps=8, epochs=1, minibatches=2, actor_hidden=(16,), critic_hidden=(16,))
    config = TrainConfig(
        task="fr3/reach",
        engine="native",
        num_envs=16,
        total_steps=6 * 16 * 8,
        ppo=ppo,
        env={"episode_s": 0.5, "success_hold_s": 0.1, "randomization": {"body_mass_scale": [0.9, 1.1]}},
    )
    calls = iter([False, False, True])
    whole = train(config, tmp_path / "whole")
    first = train(config, tmp_path / "parts", stop=lambda: next(calls))
    second = train(config, tmp_path / "parts", resume=True)
    assert (first.outcome, second.outcome) == ("stopped", "finished")

    def prints(run):
        path = run.run_dir / "checkpoints" / f"{6:012d}" / "meta" / "metadata"
        return json.loads(path.read_text())["fingerprints"]

    assert prints(whole) == prints(second)
    assert any("physics.qpos" in name for name in prints(whole)["state"])

    opened = open_run(tmp_path / "parts")
    obs = np.random.default_rng(0).normal(size=(5, whole.env.obs_size)).astype(np.float32)
    np.testing.assert_array_equal(opened.actor()(obs), whole.actor()(obs))
    opened.evaluate(16)
    bundle = opened.export(tmp_path / "reach.robolearn", key_path=tmp_path / "key.pem")
    assert bundle.manifest.evaluation["success"]["episodes"] == 16
    assert bundle.manifest.evaluation["iteration"] == 6
    assert bundle.manifest.training["config"]["task"] == "fr3/reach"
