"""Scores between the nodes: every one is published, summed up for diagnostics, and recorded with its cycle."""

import itertools
import math
import time

import pytest
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.ood import OodRecord, OodReport

pytestmark = pytest.mark.ros


@pytest.fixture
def node():
    context = Context()
    context.init(domain_id=97)
    made = Node("ood_test", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def test_what_is_published_is_recorded_and_told(node):
    events, numbers = [], itertools.count(100)
    report = OodReport(node)
    record = OodRecord(node, lambda kind, **fields: events.append((kind, fields)))
    wait_until(
        lambda: node.count_subscribers("robolearn/ood_score") and node.count_publishers("robolearn/ood_score")
    )
    report.publish([0.25, 3.14159265, math.inf])
    deadline = time.monotonic() + 10.0
    while record._waiting.qsize() < 3 and time.monotonic() < deadline:
        record.take(lambda: next(numbers))
        time.sleep(0.01)
    record.write()
    ((kind, fields),) = events
    assert (kind, fields["count"], fields["above"]) == ("ood_score", 3, 2)
    assert fields["scores"] == [0.25, 3.142, math.inf]
    assert fields["cycles"] == sorted(fields["cycles"])
    assert fields["cycles"][0] >= 100
    record.write()
    assert len(events) == 1  # nothing new
    values, text = report.take()
    assert values == {"ood_score_largest": math.inf, "ood_scores_above_1": 2, "ood_scores": 3}
    assert "2 of 3 scores are above the threshold" in text
    assert report.take() == ({}, "")


def test_familiar_observations_are_no_warning(node):
    report = OodReport(node)
    report.publish([0.5, 0.75])
    values, text = report.take()
    assert (values["ood_score_largest"], text) == (0.75, "")


def test_a_flood_of_scores_is_bounded(node):
    events = []
    record = OodRecord(node, lambda kind, **fields: events.append(fields))
    for k in range(5000):
        record._waiting.put((k, 2.0))
    record.write()
    assert events[0]["count"] == events[0]["above"] == 5000
    assert len(events[0]["scores"]) == len(events[0]["cycles"]) == 1000


def wait_until(condition):
    deadline = time.monotonic() + 10.0
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()
