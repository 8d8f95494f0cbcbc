import json
import math

import pytest
from train_point import point_config

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
