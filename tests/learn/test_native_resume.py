"""A run on the native engine, real task and randomisation, continues bit for bit."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from robolearn_envs.reach import Reach

from robolearn.config import load_config
from robolearn.env.task import load_task
from robolearn.errors import ConfigError
from robolearn.learn import folder
from robolearn.learn.run import open_run
from robolearn.learn.train_config import TrainConfig
from robolearn.learn.trainer import pinned


def prints(run_dir, iteration):
    """Fingerprints of every array of a checkpoint."""
    path = run_dir / "checkpoints" / f"{iteration:012d}" / "meta" / "metadata"
    return json.loads(path.read_text())["fingerprints"]


def test_a_changed_default_of_the_task_does_not_continue_the_run(tmp_path, monkeypatch):
    config = TrainConfig(task="fr3/reach", env={"episode_s": 0.5})
    folder.begin(tmp_path, pinned(config), {"obs": 1, "critic_obs": 1, "action": 1})
    folder.check_same_run(tmp_path, pinned(config))
    monkeypatch.setattr(Reach.config_type.model_fields["success_hold_s"], "default", 0.3)
    with pytest.raises(ConfigError, match=r"a different env\.success_hold_s \(0\.5, now 0\.3\)"):
        folder.check_same_run(tmp_path, pinned(config))
    folder.check_same_run(
        tmp_path, pinned(folder.read_run_config(tmp_path))
    )  # with its own config it goes on


ITERATIONS = 60


def command(run_dir):
    """`robolearn train` of a real task, randomised, as a process.

    What an arm remembers in the middle of an episode goes on, too.
    """
    small = ["num_envs=16", "groups=2", "env.episode_s=0.5", "env.success_hold_s=0.1", "checkpoint_every=10"]
    small += ["ppo.rollout_steps=8", "ppo.epochs=1", "ppo.minibatches=2", "engine=native"]
    small += ["env.history=3", "env.randomization.body_mass_scale=[0.9,1.1]"]
    small += ["ppo.actor_hidden=[16]", "ppo.critic_hidden=[16]", f"total_steps={ITERATIONS * 16 * 8}"]
    words = ["-m", "robolearn", "train", "fr3/reach", "--run", str(run_dir), "--no-bundle", *small]
    return [sys.executable, *words]


def metrics(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


@pytest.mark.slow
def test_a_killed_training_continues_bit_for_bit_and_exports_what_acts(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True, timeout=300)

    training = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until_s = time.monotonic() + 300
    while not list((killed / "checkpoints").glob("*10/meta/metadata")):
        assert training.poll() is None, training.stderr.read().decode()[-2000:]
        assert time.monotonic() < until_s, "no checkpoint in 300 s"
        time.sleep(0.01)
    training.kill()
    training.communicate()
    assert training.returncode == -9
    assert json.loads((killed / "run.json").read_text())["outcome"] == "running"

    subprocess.run(command(killed), check=True, capture_output=True, timeout=300)
    record = json.loads((killed / "run.json").read_text())
    assert (record["outcome"], len(record["starts"])) == ("finished", 2)
    assert prints(killed, ITERATIONS) == prints(whole, ITERATIONS)
    assert metrics(killed) == metrics(whole)
    for name in ("physics.qpos", "memory.past_joint_velocity"):
        assert any(name in kept for kept in prints(whole, ITERATIONS)["state"])

    opened = open_run(killed)
    obs = np.random.default_rng(0).normal(size=(5, opened.env.obs_size)).astype(np.float32)
    np.testing.assert_array_equal(opened.actor()(obs), open_run(whole).actor()(obs))
    opened.evaluate(16)
    bundle = opened.export(tmp_path / "reach.robolearn", key_path=tmp_path / "key.pem")
    assert bundle.manifest.evaluation["success"]["episodes"] == 16
    assert bundle.manifest.evaluation["iteration"] == ITERATIONS
    assert bundle.manifest.training["config"]["task"] == "fr3/reach"
    # The run pins its whole task: in its config, in what evaluates it, in the manifest.
    env = bundle.manifest.training["config"]["env"]
    assert env == load_config(TrainConfig, killed / "config.yaml").env
    assert env == opened.env.task.config.model_dump(mode="json")
    assert env["reward"] == load_task("fr3/reach").config.reward
