import json
import math
from importlib.metadata import PackageNotFoundError, version

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pointmass import PointMass
from train_point import point_config

from robolearn.config import load_config
from robolearn.errors import CheckpointError, ConfigError
from robolearn.learn import folder, selection, trainer
from robolearn.learn.checkpoint import Checkpoints
from robolearn.learn.evaluate import evaluate
from robolearn.learn.imitation import expert_of, noise_scale
from robolearn.learn.run import open_run
from robolearn.learn.train_config import PpoConfig, TrainConfig, train_config
from robolearn.learn.trainer import train


def without_times(rows):
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def prints(run_dir, iteration):
    """Fingerprints of every array of a checkpoint."""
    name = f"{iteration:012d}"
    return json.loads((run_dir / "checkpoints" / name / "meta" / "metadata").read_text())["fingerprints"]


class StopAfter:
    """Asks for an end before the given iteration."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 20 iterations, uninterrupted."""
    return train(point_config(20), tmp_path_factory.mktemp("whole") / "run", env=PointMass(64))


def test_learns_a_trivial_task(tmp_path):
    config = TrainConfig(
        task="test/point",
        num_envs=256,
        total_steps=150_000,
        ppo=PpoConfig(actor_hidden=(64, 64), critic_hidden=(64, 64)),
    )
    run = train(config, tmp_path / "run", env=PointMass(256))
    assert run.outcome == "finished"
    assert (
        run.metrics[-1]["reward"] > 0.5 * run.metrics[0]["reward"]
    )  # both negative: half the distance, or less
    result = run.evaluate(500, env=PointMass(500))
    assert result.success.rate > 0.97
    kept = folder.read_evaluation(tmp_path / "run")
    assert kept["success"]["episodes"] == 500
    assert kept["iteration"] == run.iteration == config.iterations


def test_imitation_makes_the_policy_the_guide_and_ppo_goes_on_from_there(whole, tmp_path):
    config = point_config(40).model_copy(update={"imitation_fraction": 0.5})
    run = train(config, tmp_path / "run", env=PointMass(64))
    rows = run.metrics
    assert rows[19]["loss/imitation"] < 0.2 * rows[0]["loss/imitation"]
    assert not any("loss/imitation" in row for row in rows[20:])  # the expert is no longer asked
    # the expert acts at first, and comes nearer to the goals than a policy that has learned little
    assert rows[2]["reward"] > 0.8 * whole.metrics[2]["reward"]  # both negative
    assert run.evaluate(500, env=PointMass(500)).success.rate > 0.85
    # afterwards the policy acts alone, and its rate adapts again
    assert rows[30]["loss/kl"] > 0.0
    assert len({row["learning_rate"] for row in rows[21:]}) > 1


def test_new_statistics_of_observations_do_not_change_the_policy(tmp_path):
    """Without gradient steps worth the name, what acts after ten iterations is what acted after five."""
    still = {"learning_rate": 1e-9, "learning_rate_min": 1e-9}
    config = point_config(10)
    config = config.model_copy(update={"ppo": config.ppo.model_copy(update=still)})
    early = train(config, tmp_path / "early", env=PointMass(64), stop=StopAfter(4))
    late = train(config, tmp_path / "late", env=PointMass(64))
    assert (early.iteration, late.iteration) == (5, 10)
    first, last = (run.policy.arrays[1] for run in (early, late))
    assert float(np.abs(first.mean - last.mean).max()) > 1e-3
    spread = np.sqrt(np.minimum(first.variance, last.variance))  # beyond 10 of it observations are clipped
    obs = first.mean + spread * jax.random.normal(jax.random.key(0), (50, len(spread)))
    np.testing.assert_allclose(late.policy.mean(obs), early.policy.mean(obs), atol=1e-6)


def worse_from(iteration, monkeypatch):
    """Candidates succeed in all their episodes, and from an iteration on in none."""
    seen = []

    def successes(self, policy):
        seen.append(jax.device_get(policy.arrays))
        return 8 if len(seen) <= iteration else 0

    monkeypatch.setattr(selection.Selection, "_successes", successes)
    return seen


def test_the_best_candidate_is_kept_and_a_resumed_run_keeps_it_too(tmp_path, monkeypatch):
    config = point_config(20, imitation_fraction=0.35, selection_episodes=8)
    seen = worse_from(2, monkeypatch)
    whole = train(config, tmp_path / "whole", env=PointMass(64))
    assert len(seen) == 4  # the end of imitation after 7 iterations, then the checkpoints 10, 15, 20
    assert whole.selected == {"iteration": 10, "successes": 8, "episodes": 8}
    seen = worse_from(2, monkeypatch)
    run_dir = tmp_path / "run"
    train(config, run_dir, env=PointMass(64), stop=StopAfter(12))
    resumed = train(config, run_dir, env=PointMass(64), resume=True)
    assert prints(run_dir, 20) == prints(tmp_path / "whole", 20)
    opened = open_run(run_dir)
    assert opened.selected == resumed.selected == whole.selected
    assert "iteration 10, the best of the run with 8 successes in 8 episodes of its own" in opened.which
    for kept in (whole, resumed, opened):
        jax.tree.map(np.testing.assert_array_equal, kept.policy.arrays, seen[1])


def test_choosing_changes_no_bit_of_the_training_and_counts_episodes_without_noise(whole, tmp_path):
    config = point_config(20, selection_episodes=100)
    run = train(config, tmp_path / "run", env=PointMass(64))
    assert without_times(run.metrics) == without_times(whole.metrics)
    assert prints(tmp_path / "run", 20)["state"] == prints(whole.run_dir, 20)["state"]
    assert run.selected is not None
    again = evaluate(PointMass(64), run.actor(), 100, seed=selection.SEED)
    assert run.selected["successes"] == again.success.successes


def test_the_expert_acts_in_fewer_and_fewer_environments():
    config = TrainConfig(task="test/point", num_envs=64, groups=4, imitation_fraction=0.5)
    groups = jnp.arange(4)
    for progress, led in ((0.0, 64), (0.25, 32), (0.4375, 8), (0.5, 0), (1.0, 0)):
        expert = expert_of(config, PointMass(64), groups, jnp.float32(progress))
        assert expert is not None
        assert int(expert.active.sum()) == led
        assert len(set(np.asarray(expert.active).reshape(4, 16).sum(1).tolist())) == 1  # alike in every group
    alone = config.model_copy(update={"imitation_fraction": 0.0})
    assert expert_of(alone, PointMass(64), groups, jnp.float32(0.0)) is None
    assert np.asarray(noise_scale(config, PointMass(4), groups[:1], jnp.float32(0.49))).tolist() == [
        0.0,
        1.0,
        0.0,
        1.0,
    ]
    assert np.asarray(noise_scale(config, PointMass(4), groups[:1], jnp.float32(0.5))).tolist() == [1.0] * 4


def test_another_seed_gives_other_numbers(whole, tmp_path):
    """The same seed the same ones: see the tests of runs that are stopped, and of those that choose a policy."""
    other = train(point_config(20, seed=1), tmp_path / "other", env=PointMass(64))
    assert without_times(other.metrics) != without_times(whole.metrics)


def test_stopping_and_resuming_again_and_again_changes_no_bit(whole, tmp_path):
    run_dir = tmp_path / "run"
    for more, done in ((3, 4), (10, 15)):
        stopped = train(point_config(20), run_dir, env=PointMass(64), stop=StopAfter(more), resume=True)
        assert stopped.outcome == "stopped"
        assert len(stopped.metrics) == done
        assert without_times(stopped.metrics) == without_times(whole.metrics)[:done]
    finished = train(point_config(20), run_dir, env=PointMass(64), resume=True)
    assert finished.outcome == "finished"
    assert without_times(finished.metrics) == without_times(whole.metrics)
    assert prints(run_dir, 20) == prints(whole.run_dir, 20)
    assert len(folder.read_record(run_dir)["starts"]) == 3


def test_damaged_newest_checkpoint_costs_time_but_no_bit(whole, tmp_path):
    run_dir = tmp_path / "run"
    train(point_config(20), run_dir, env=PointMass(64), stop=StopAfter(12))
    newest = max((run_dir / "checkpoints").iterdir())
    for path in (newest / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])
    said = []
    watcher = trainer.Silent()
    watcher.warn = said.append
    run = train(point_config(20), run_dir, env=PointMass(64), resume=True, progress=watcher)
    assert any("Checkpoint 13 is damaged" in text for text in said)
    assert without_times(run.metrics) == without_times(whole.metrics)
    assert prints(run_dir, 20) == prints(whole.run_dir, 20)


def test_finished_run_is_left_as_it_is(whole):
    before = (whole.run_dir / "metrics.jsonl").read_text()
    again = train(point_config(20), whole.run_dir, env=PointMass(64), resume=True)
    assert again.outcome == "finished"
    assert (whole.run_dir / "metrics.jsonl").read_text() == before


def test_time_budget_ends_the_run_with_a_checkpoint(tmp_path):
    run = train(point_config(10_000, time_budget_s=0.01), tmp_path / "run", env=PointMass(64))
    assert run.outcome == "time budget"
    assert len(run.metrics) == 1
    assert Checkpoints(tmp_path / "run", read_only=True).iterations == [1]


def test_run_folder_holds_what_is_needed_to_repeat_it(whole):
    assert load_config(TrainConfig, whole.run_dir / "config.yaml") == point_config(20)
    start = folder.read_record(whole.run_dir)["starts"][0]
    assert start["packages"]["jax"] == jax.__version__
    assert start["packages"].get("warp-lang") == _installed("warp-lang")
    assert start["machine"]["cores"] >= 1
    assert {"started_utc", "git", "command", "xla_flags"} <= set(start)
    rows = whole.metrics
    assert [row["iteration"] for row in rows] == list(range(1, 21))
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[-1]["steps"] == 20 * 64 * 8


def _installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def test_the_accelerator_plugins_are_in_the_record(monkeypatch):
    """They are named after the CUDA or ROCm that they are for."""
    names = ("jax-cuda13-plugin", "jax-cuda13-pjrt", "jax-rocm7-plugin", "numpy", "jaxtyping")
    monkeypatch.setattr(folder, "installed", lambda: dict.fromkeys(names, "9.9"))
    packages = folder.provenance()["packages"]
    assert set(names[:3]) < set(packages)
    assert "jaxtyping" not in packages


def test_versions_are_those_that_python_finds():
    """Read from the head of each package's metadata, however its name is spelled there."""
    found = folder.installed()
    assert {name: found[name] for name in found} == {name: version(name) for name in found}
    assert {"jax", "numpy", "orbax-checkpoint"} <= found.keys() | folder.provenance()["packages"].keys()


def test_open_run_gives_the_same_policy(whole):
    opened = open_run(whole.run_dir)
    obs = jax.random.normal(jax.random.key(0), (100, 4)) * 3
    np.testing.assert_array_equal(opened.actor()(obs), whole.actor()(obs))
    assert float(abs(opened.actor()(obs * 100)).max()) <= 1.0
    np.testing.assert_allclose(opened.actor()(obs[0]), opened.actor()(obs)[0], rtol=1e-4, atol=1e-6)


def test_folder_in_use_is_refused(whole):
    with pytest.raises(ConfigError, match="already holds a run. Resume it, or choose another run folder"):
        train(point_config(20), whole.run_dir, env=PointMass(64))


def test_resuming_with_another_config_is_refused_by_key(whole):
    changed = point_config(20).model_copy(update={"ppo": PpoConfig(discount=0.5)})
    with pytest.raises(ConfigError, match=r"holds a run with a different ppo\.\w+ \("):
        train(changed, whole.run_dir, env=PointMass(64), resume=True)


def test_keys_that_touch_no_number_may_change(whole):
    train(
        point_config(20, checkpoint_every=7, time_budget_s=100.0),
        whole.run_dir,
        env=PointMass(64),
        resume=True,
    )
    assert load_config(TrainConfig, whole.run_dir / "config.yaml").checkpoint_every == 7


def test_no_run_and_no_checkpoint_say_so(tmp_path):
    with pytest.raises(ConfigError, match="Unknown run folder"):
        open_run(tmp_path / "nothing")
    folder.begin(tmp_path / "empty", point_config(), {"obs": 4, "critic_obs": 5, "action": 2})
    with pytest.raises(CheckpointError, match="has no checkpoint that can be read"):
        open_run(tmp_path / "empty")


def test_divergence_stops_with_a_plain_line(tmp_path):
    class Exploding(PointMass):
        def step(self, state, action):
            after = super().step(state, action)
            return after.replace(reward=after.reward / 0.0)

    with pytest.raises(ConfigError, match="diverged in iteration 1: the loss is not finite"):
        train(point_config(20), tmp_path / "run", env=Exploding(64))
    assert Checkpoints(tmp_path / "run", read_only=True).iterations == []


def test_full_disk_ends_training_with_one_line(tmp_path):
    """/dev/full stands for a full disk under metrics.jsonl."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(
        CheckpointError, match="No space left on device. Checkpoints so far are intact. Free some"
    ):
        train(point_config(20), tmp_path / "run", env=PointMass(64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 60}, "num_envs 60 must be a multiple of groups 8"),
        ({"ppo": {"minibatches": 7}}, "must be a multiple of ppo.minibatches 7"),
    ],
)
def test_configs_that_do_not_divide_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**({"task": "test/point"} | changes))


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    refused = []

    def stop():
        if not refused:
            with pytest.raises(ConfigError, match=r"A training is running in .*run' \(process \d+ on "):
                train(point_config(20), tmp_path / "run", env=PointMass(64), resume=True)
            refused.append(True)
        return True

    train(point_config(20), tmp_path / "run", env=PointMass(64), stop=stop)
    assert refused
    assert train(point_config(20), tmp_path / "run", env=PointMass(64), resume=True).outcome == "finished"


@pytest.mark.parametrize("kind", ["a file", "too long"])
def test_a_run_folder_that_cannot_be_is_refused_in_one_line(tmp_path, kind):
    (tmp_path / "file").touch()
    target = tmp_path / ("file" if kind == "a file" else "x" * 300)
    with pytest.raises(ConfigError, match=r"The run folder '.*' cannot be used: .*--run"):
        train(point_config(2), target, env=PointMass(64))


def test_a_finished_run_is_extended_and_never_shortened(tmp_path):
    train(point_config(2), tmp_path / "run", env=PointMass(64))
    longer = train(point_config(4), tmp_path / "run", env=PointMass(64), resume=True)
    assert (longer.iteration, len(longer.metrics)) == (4, 4)
    assert longer.which == f"Policy of checkpoint 4, the newest valid one in {tmp_path / 'run'}."
    with pytest.raises(ConfigError, match=r"a run with a different total_steps"):
        train(point_config(2), tmp_path / "run", env=PointMass(64), resume=True)


def test_from_reward_alone_has_its_own_values_and_what_is_given_wins_over_them(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "imitation_fraction: 0.5\nppo: {initial_log_std: -2.0, discount: 0.9}\n"
        "from_reward: {total_steps: 7, ppo: {initial_log_std: -0.7, squash: tanh}}\n"
    )
    imitating, alone = (train_config("fr3/reach", file, words) for words in ([], ["imitation_fraction=0"]))
    assert (imitating.ppo.initial_log_std, imitating.ppo.squash) == (-2.0, "clip")
    assert (alone.total_steps, alone.ppo.initial_log_std, alone.ppo.squash) == (7, -0.7, "tanh")
    assert alone.ppo.discount == 0.9
    assert alone.from_reward == imitating.from_reward == {}
    given = train_config("fr3/reach", file, ["imitation_fraction=0", "ppo.initial_log_std=-1"])
    assert (given.ppo.initial_log_std, given.total_steps) == (-1.0, 7)
    changes = {"imitation_fraction": 0, "ppo": {"initial_log_std": -1.0}}
    assert train_config("fr3/reach", file, changes=changes) == given
    kept = tmp_path / "resolved.yaml"
    kept.write_text(given.to_yaml())
    assert train_config("fr3/reach", kept) == given


@pytest.mark.parametrize("task", ["reach", "pick_cube", "push", "stack", "peg_insert", "open_drawer"])
def test_every_packaged_config_goes_from_reward_alone_too(task):
    imitating, alone = (train_config(f"fr3/{task}", None, words) for words in ([], ["imitation_fraction=0"]))
    assert imitating.imitation_fraction > 0.0
    assert alone.ppo.initial_log_std > imitating.ppo.initial_log_std


def test_a_wrong_override_is_blamed_on_the_command_line_and_a_wrong_file_on_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("num_envs: 64\n")
    with pytest.raises(ConfigError, match=r"num_envs=-3 \(command line\)"):
        train_config("fr3/reach", file, ["num_envs=-3"])
    file.write_text("num_envs: -3\n")
    with pytest.raises(ConfigError, match=r"mine.yaml") as error:
        train_config("fr3/reach", file, ["seed=1"])
    assert "command line" not in str(error.value)
    assert train_config("fr3/reach", file, ["num_envs=64"]).num_envs == 64
