"""What the policy read goes from node to node, and is recorded once the arm has stopped, of the last 2 s only."""

import time

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.policy_inputs import NUMBERS_MAX, InputsRecord, InputsReport

from robolearn.safety.types import State

pytestmark = pytest.mark.ros
PERIOD_S = 0.002


@pytest.fixture
def node():
    context = Context()
    context.init(domain_id=98)
    made = Node("inputs_test", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


@pytest.fixture
def ends(node):
    events = []
    report = InputsReport(node)
    record = InputsRecord(node, lambda kind, **fields: events.append((kind, fields)), PERIOD_S)
    wait_until(
        lambda: (
            node.count_subscribers("robolearn/policy_inputs")
            and node.count_publishers("robolearn/policy_inputs")
        )
    )
    return report, record, events


def test_what_was_read_before_a_stop_is_recorded_once_the_arm_rests(ends):
    report, record, events = ends
    report.publish([np.array([0.1, 0.2], np.float32), np.zeros(NUMBERS_MAX + 1, np.float32)], "a" * 64)
    report.publish([np.array([0.3, 0.4], np.float32)], "b" * 64)
    wait_until(lambda: taken(record, 100, State.RUNNING) == 2)
    record.take(140, State.STOPPING)
    record.write()
    assert events == []  # the arm brakes
    record.take(141, State.STOPPED)
    record.write()
    assert [kind for kind, _ in events] == ["policy_inputs"] * 2
    first, second = (fields for _, fields in events)
    assert (first["at_cycle"], first["policy_digest"], first["cycles"]) == (140, "a" * 64, [100])
    assert np.float32(first["values"]).tolist() == np.float32([[0.1, 0.2]]).tolist()
    assert second["policy_digest"] == "b" * 64
    record.take(150, State.HOLDING)
    record.take(151, State.RUNNING)
    record.take(160, State.STOPPED)
    record.write()
    assert len(events) == 2  # nothing was read since


def test_what_is_older_than_two_seconds_is_not_recorded(ends):
    report, record, events = ends
    report.publish([np.ones(3, np.float32)], "a")
    wait_until(lambda: taken(record, 10, State.RUNNING) == 1)
    record.take(10 + 1000, State.STOPPED)
    record.write()
    assert events == []


def taken(record, cycle, state):
    record.take(cycle, state)
    return len(record._kept)


def wait_until(condition):
    deadline = time.monotonic() + 20.0
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()
