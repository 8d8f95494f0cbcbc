import json
import math

import pytest
from train_point import point_config

from robolearn.errors import ConfigError, MissingDependency
from robolearn.learn.trackers import JsonLines, drop_after, open_trackers, read_metrics


def test_json_lines_are_on_disk_at_once_and_have_no_nan(tmp_path):
    tracker = JsonLines(tmp_path)
    tracker.log({"iteration": 1, "steps": 10, "loss": 0.5, "odd": math.nan, "huge": math.inf})
    line = (tmp_path / "metrics.jsonl").read_text()
    tracker.close()
    assert json.loads(line) == {"iteration": 1, "steps": 10, "loss": 0.5, "odd": None, "huge": None}


def test_a_resumed_run_drops_what_it_repeats_and_a_line_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps({"iteration": i}) + "\n" for i in range(1, 6)) + '{"iteration": 6, "lo'
    )
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2, 3, 4, 5]
    drop_after(path, 3)
    assert [row["iteration"] for row in read_metrics(path)] == [1, 2, 3]


def test_missing_metrics_are_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []
    drop_after(tmp_path / "metrics.jsonl", 3)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorboardX")
    trackers, missing = open_trackers(tmp_path, point_config(), 0)
    for tracker in trackers:
        tracker.log({"iteration": 1, "steps": 10, "loss/policy": 0.25})
        tracker.close()
    assert missing == []
    events = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"loss/policy" in events[0].read_bytes()


def test_without_tensorboardx_the_run_goes_on_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    trackers, missing = open_trackers(tmp_path, point_config(), 0)
    for tracker in trackers:
        tracker.close()
    assert [type(tracker).__name__ for tracker in trackers] == ["JsonLines"]
    assert missing == ["TensorBoard events need tensorboardX: pip install 'robolearn[train]'."]


class StandIn:
    """What is used of wandb, its calls kept. broken: the method that fails."""

    def __init__(self, broken=""):
        self.broken, self.calls = broken, []

    def __getattr__(self, name):
        def call(*_, **arguments):
            self.calls.append((name, arguments))
            if name == self.broken:
                raise OSError("the service is gone")
            return self

        return call


def wandb_calls(tmp_path, monkeypatch, stand_in, **changes):
    """What a run of one iteration does with W&B, what it is told at the start, and what it is warned of later."""
    monkeypatch.setitem(__import__("sys").modules, "wandb", stand_in)
    monkeypatch.delenv("WANDB_MODE", raising=False) if "env" not in changes else None
    for name in ("ERROR_REPORTING", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", "x")  # so that what is set for W&B ends with the test
    changes.pop("env", None)
    warned = []
    trackers, missing = open_trackers(tmp_path, point_config(**changes), 0, warned.append)
    for tracker in trackers:
        tracker.log({"iteration": 1, "steps": 10})
        tracker.close()
    calls = [call for call in getattr(stand_in, "calls", []) if call[0] != "Settings"]
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"iteration": 1, "steps": 10}]
    return calls, missing, warned


def test_wandb_is_offline_unless_told_otherwise_where_it_is_installed(tmp_path, monkeypatch):
    calls, missing, _ = wandb_calls(tmp_path, monkeypatch, StandIn())
    assert [name for name, _ in calls] == ["init", "log", "finish"]
    assert (calls[0][1]["mode"], calls[0][1]["dir"], missing) == ("offline", str(tmp_path), [])


def wandb_run(tmp_path, stand_in, first_iteration):
    """The id with which a run that starts, or goes on, at this iteration comes to W&B."""
    trackers, _ = open_trackers(tmp_path, point_config(), first_iteration)
    for tracker in trackers:
        tracker.close()
    arguments = [arguments for name, arguments in stand_in.calls if name == "init"][-1]
    assert arguments["resume"] == "allow"
    return arguments["id"]


def test_a_run_that_goes_on_is_the_same_run_at_wandb(tmp_path, monkeypatch):
    stand_in = StandIn()
    monkeypatch.setitem(__import__("sys").modules, "wandb", stand_in)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    first = wandb_run(tmp_path, stand_in, 0)
    assert wandb_run(tmp_path, stand_in, 3) == first
    assert wandb_run(tmp_path, stand_in, 9) == first
    (tmp_path / "wandb" / "run_id").write_text("../../etc\n")  # not ours
    changed = wandb_run(tmp_path, stand_in, 9)
    assert changed != first
    assert wandb_run(tmp_path, stand_in, 0) != changed  # it begins anew


def test_only_the_config_can_put_wandb_online(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    calls, _, _ = wandb_calls(tmp_path, monkeypatch, StandIn(), env=True)
    assert calls[0][1]["mode"] == "offline"
    (tmp_path / "metrics.jsonl").unlink()
    calls, _, _ = wandb_calls(tmp_path, monkeypatch, StandIn(), wandb={"mode": "online"})
    assert calls[0][1]["mode"] == "online"


def test_wandb_can_be_left_out(tmp_path, monkeypatch):
    calls, missing, _ = wandb_calls(tmp_path, monkeypatch, StandIn(), wandb={"mode": "disabled"})
    assert (calls, missing) == ([], [])
    (tmp_path / "metrics.jsonl").unlink()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    calls, missing, _ = wandb_calls(tmp_path, monkeypatch, StandIn(), env=True)
    assert (calls, missing) == ([], [])


def test_without_wandb_nothing_is_said_unless_it_was_to_be_online(tmp_path, monkeypatch):
    assert wandb_calls(tmp_path, monkeypatch, None) == ([], [], [])
    with pytest.raises(MissingDependency, match="pip install 'robolearn.wandb.'"):
        open_trackers(tmp_path, point_config(wandb={"mode": "online"}), 0)


def test_wandb_that_fails_stops_no_training_but_is_named(tmp_path, monkeypatch):
    _, missing, _ = wandb_calls(tmp_path, monkeypatch, StandIn("init"))
    assert missing == [
        "W&B failed to start (the service is gone). Set wandb.mode=offline or wandb.mode=disabled."
    ]
    with pytest.raises(ConfigError, match="W&B failed to start"):
        open_trackers(tmp_path, point_config(wandb={"mode": "online"}), 0)
    (tmp_path / "metrics.jsonl").unlink()
    calls, _, warned = wandb_calls(tmp_path, monkeypatch, StandIn("log"))
    assert [name for name, _ in calls] == ["init", "log"]
    assert warned == ["W&B logging is off from here on: the service is gone"]
