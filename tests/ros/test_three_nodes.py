"""The three nodes as real processes on one simulated arm. One session serves every test here."""

import json
import signal
import time

import numpy as np
import pytest
import ros_standin
from robolearn_ros.demo_driver import HELD_WITHIN_S

from robolearn.deploy.exercise import exercise
from robolearn.deploy.serving import Serving, free_domain
from robolearn.dossier.explain_stops import explain_stops
from robolearn.policy.bundle import PolicyBundle
from robolearn.recorder.cycle_codec import Layout
from robolearn.review.ood_scores import ood_scores, ood_summary
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.replay import cycles, replay
from robolearn.review.verify import verify
from robolearn.robots import load_robot

pytestmark = pytest.mark.ros

HELD_UP_S = 0.07  # the arm, on its way to the second goal; its state may be 50 ms old
GOALS = [[0.5, 0.2, 0.4], [0.45, -0.3, 0.5], [0.55, 0.0, 0.3]]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """(what the driver found, events on the way, exit codes, statistics, folder)."""
    folder = tmp_path_factory.mktemp("three_nodes")
    bundle = ros_standin.export_reaching(folder)
    events = []

    def watch(event):
        events.append(event)
        if event["event"] == "goal" and event["index"] == 1:
            serving.nodes["sim_node"].send(signal.SIGSTOP)
            time.sleep(HELD_UP_S)
            serving.nodes["sim_node"].send(signal.SIGCONT)

    with Serving(folder, rate_hz=250.0, domain_id=free_domain()) as serving:
        serving.start_sim(person_sensor=False)
        serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem")
        serving.start_policy(bundle.path)
        result = exercise(serving, GOALS, on_event=watch, timeout_s=120.0)
        codes = serving.stop()
        return result, events, codes, serving.statistics(), folder


def test_the_arm_reaches_every_goal(session):
    result, events, *_ = session
    assert [goal["reached"] for goal in result["goals"]] == [True] * len(GOALS)
    assert [event["index"] for event in events if event["event"] == "goal"] == [1, 2, 3]


def test_a_stop_because_the_machine_was_busy_is_told_and_work_goes_on(session):
    assert "state_age" in [stop["rule"] for stop in session[0]["unexpected_stops"]]


@pytest.mark.parametrize(("name", "rule"), [
    ("killed", "command_age"),
    ("nan", "finite"),
    ("jump", "command_jump"),
    ("person", "separation"),
])  # fmt: skip
def test_each_fault_ends_in_a_latched_stop_and_work_goes_on(session, name, rule):
    fault = next(fault for fault in session[0]["faults"] if fault["name"] == name)
    assert fault["rule"] == rule
    assert fault["latched"]
    assert "Reset first" in fault["start_without_reset"]
    assert fault["again"]["reached"]
    assert fault["tcp_travel_after_stop_m"] < 0.2
    assert fault["standstill_after_s"] <= HELD_WITHIN_S
    assert fault["passed"]


def test_what_was_sent_to_the_arm_was_smooth(session):
    statistics, folder = session[3:]
    assert statistics["sim_node"]["refused_commands"] == 0
    layout = Layout(load_robot("fr3").joint_names)
    # Read from the log: an arm that is held up loses messages, and then sees a step that nobody sent.
    sent = [
        cycle.decision.command_rad for cycle in cycles(folder / "safety", layout) if cycle.decision.publish
    ]
    assert len(sent) > 1000
    # Faster than the action space allows only by what the monitor's own catching up adds.
    assert np.abs(np.diff(sent, axis=0)).max() < 0.02


def test_the_nodes_end_in_order(session):
    assert session[2] == {"sim_node": 0, "safety_node": 0, "policy_node": 0}


def test_the_log_verifies_and_replays(session):
    folder = session[4]
    verdict = verify(folder / "safety")
    assert verdict.findings == []
    replayed = replay(folder / "safety")
    assert replayed.cycles > 1000
    assert replayed.disagreements == []


def test_the_log_has_the_score_of_every_decision(session):
    events = RecordedLog(session[4] / "safety").events
    scored = [event for event in events if event["kind"] == "ood_score"]
    assert sum(event["fields"]["count"] for event in scored) > 100
    assert ood_summary(events, 1 / 250)["above"] == 0
    cycles_scored, scores = zip(*ood_scores(events), strict=True)
    assert list(cycles_scored) == sorted(cycles_scored)
    assert 0 < min(scores) < max(scores) < 1


def test_the_log_has_what_the_policy_read_before_a_stop_while_it_ran(session):
    events = RecordedLog(session[4] / "safety").events
    stops = [event["fields"]["at_cycle"] for event in events if event["kind"] == "stop"]
    read = [event["fields"] for event in events if event["kind"] == "policy_inputs"]
    assert len(read) >= 1
    for fields in read:
        assert min(abs(fields["at_cycle"] - at) for at in stops) <= 1
        assert len(fields["cycles"]) == len(fields["values"]) > 0
        assert fields["at_cycle"] - 2.0 * 250 < min(fields["cycles"])
        assert max(fields["cycles"]) <= fields["at_cycle"]
    bundle = PolicyBundle.load(session[4] / "reach-by-hand.robolearn")
    found = explain_stops(bundle, session[4] / "safety", steps=8)
    assert len(found.explained) >= len(read)
    assert found.explained[0].shares["joint_velocity"] < 1e-3  # the law does not read it
    assert found.gap_rad[0] < 1e-5


def test_the_log_names_every_call_and_stop(session):
    lines = (session[4] / "safety" / "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds.count("stop") >= 4
    assert kinds.count("reset") >= 4
