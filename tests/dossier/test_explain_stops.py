"""The seconds before each stop of a log are explained from the log and the bundle alone."""

import json
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest
from stopped_log import RECORDED, stopped_log
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.dossier.explain_stops import DECISIONS, STOPS_NOT_SHOWN, explain_stops
from robolearn.errors import DataError, LogError
from robolearn.review.event_fields import malformed
from robolearn.review.verify import verify

sys.path.append(str(Path(__file__).parents[1] / "ros"))
from ros_standin import export_reaching  # a reaching law by hand: Jacobian transpose to the goal


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export_reaching(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def log(bundle, tmp_path_factory):
    return stopped_log(tmp_path_factory.mktemp("stops") / "log", bundle, stops=3)


def test_every_stop_is_explained_and_what_the_law_ignores_ranks_last(bundle, log):
    assert verify(log).intact
    found = explain_stops(bundle, log, steps=16)
    assert [bool(stop.why_not) for stop in found.stops] == [False, False, True]
    assert "no decision of this bundle was recorded" in found.stops[2].why_not
    assert found.baseline_decisions == 2 * RECORDED
    assert found.gap_rad[0] < 2e-6
    assert found.gap_rad[1] < 1e-3  # where an action is clipped on the way, the integral has a kink
    for stop in found.explained:
        assert stop.rules
        assert (stop.decisions, len(stop.before_s), len(stop.signed)) == (RECORDED, DECISIONS, DECISIONS)
        assert stop.before_s[0] > stop.before_s[-1] > 0.0
        assert sum(stop.shares.values()) == pytest.approx(1.0)
        assert (
            max(stop.shares["joint_velocity"], stop.shares["command_position"]) < 1e-3
        )  # not read by the law
        assert (
            min(stop.shares[name] for name in ("goal_position", "joint_position", "command_velocity")) > 0.05
        )
        assert stop.replaced_rad["joint_velocity"] < 1e-7 < stop.replaced_rad["goal_position"]


def test_what_did_not_change_gets_nothing(bundle, tmp_path):
    found = explain_stops(bundle, stopped_log(tmp_path / "log", bundle, stops=1, fixed_goal=True), steps=8)
    assert found.stops[0].shares["goal_position"] == 0.0


def test_the_command_writes_a_page_that_says_what_is_not_shown(bundle, log, tmp_path):
    page = tmp_path / "page.html"
    words = ["explain", str(bundle.path), "--log", str(log), "--steps", "8", "-o", str(page)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "<script" not in text
    assert all(escape(line) in text for line in STOPS_NOT_SHOWN)
    data = json.loads(page.with_suffix(".json").read_text())
    assert data["not_shown"] == list(STOPS_NOT_SHOWN)
    assert [stop["decisions"] for stop in data["stops"]] == [RECORDED, RECORDED, 0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"stops": 0}, DataError, "has no stop"),
        ({"inputs": False}, DataError, "does not hold what the policy read"),
        ({"digest": "e" * 64}, DataError, "are of other bundles .eeeeeeeeeeee."),
        ({"values": np.zeros((3, 4))}, DataError, "do not fit the bundle, which reads"),
        ({"values": np.full((3, 999), np.nan)}, DataError, "do not fit"),
        ({"values": np.full((3, 31), 1e300)}, DataError, "reads 31 finite numbers"),
    ],
)
def test_what_cannot_be_explained_is_said(bundle, tmp_path, change, error, message):
    folder = stopped_log(tmp_path / "log", bundle, **{"stops": 1, **change})
    with pytest.raises(error, match=message):
        explain_stops(bundle, folder)


def test_an_altered_log_is_refused(bundle, tmp_path):
    folder = stopped_log(tmp_path / "log", bundle, stops=1)
    events = folder / "events.jsonl"
    events.write_text(events.read_text().replace("rogue publisher", "quiet publisher"))
    with pytest.raises(LogError, match="does not verify"):
        explain_stops(bundle, folder)


def test_fields_of_another_kind_are_refused():
    event = {"seq": 1, "cycle": 1, "utc": "", "monotonic_us": 1, "kind": "policy_inputs"}
    fields = {"at_cycle": 5, "policy_digest": "a", "cycles": [1], "values": [[0.5]]}
    assert malformed(event | {"fields": fields}) == ""
    assert malformed(event | {"fields": fields | {"values": [["x"]]}}).startswith("values")
    assert malformed(event | {"fields": fields | {"cycles": [-1]}}).startswith("cycles")
