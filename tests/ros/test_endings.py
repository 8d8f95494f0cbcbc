"""Whoever ends a process ends the motion: a sample of the matrix that `make endings` runs as a whole."""

import signal

import endings
import pytest
import ros_standin
from endings import Way

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return ros_standin.export_reaching(tmp_path_factory.mktemp("endings")).path


@pytest.mark.parametrize("way", [
    Way("serve", signal.SIGTERM, "start-up"),
    Way("serve", signal.SIGINT, "moving"),  # and a second time
    Way("serve", signal.SIGHUP, "braking"),
    Way("serve", signal.SIGKILL, "moving"),
    Way("safety_node", signal.SIGTERM, "moving"),
    Way("policy_node", signal.SIGKILL, "moving"),
    Way("lifecycle", signal.SIGTERM, "moving"),
    Way("terminal", signal.SIGINT, "moving", "launch"),
    Way("policy_node", signal.SIGKILL, "moving", "launch"),
    Way("launch", signal.SIGKILL, "moving", "launch"),
], ids=str)  # fmt: skip
def test_the_arm_is_braked_to_rest_and_nobody_is_left(bundle, tmp_path, way):
    outcome = endings.end(bundle, tmp_path / "session", way)
    assert outcome.problems == [], outcome.said[-3000:]


def test_the_matrix_has_every_process_signal_and_phase():
    ways = endings.every_way()
    caught = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    for whom in ("serve", *endings.NODES, "launch"):
        for phase in ("start-up", "held", "moving", "braking", "stopped"):
            assert caught <= {way.number for way in ways if (way.whom, way.phase) == (whom, phase)}
    assert not any(
        way.whom == "safety_node" and way.number == signal.SIGKILL for way in ways
    )  # what cannot be caught
