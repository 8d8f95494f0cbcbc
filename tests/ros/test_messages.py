import math
import time

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.loop import StampClock
from robolearn_ros.messages import JointReader, Polled, command, distance_m, misfits, qos
from sensor_msgs.msg import JointState, Range
from std_msgs.msg import Float64

NAMES = ("a", "b", "c")


def test_joints_are_read_by_name_in_any_order_beside_others():
    reader = JointReader(NAMES, StampClock())
    for names in (["c", "finger", "a", "b"], ["b", "a", "c"], ["a", "b", "c"]):
        values = {"a": 1.0, "b": 2.0, "c": 3.0, "finger": 9.0}
        message = JointState(
            name=names, position=[values[n] for n in names], velocity=[-values[n] for n in names]
        )
        measured = reader.measured(message)
        assert measured.joint_names == NAMES
        np.testing.assert_array_equal(measured.position_rad, [1, 2, 3])
        np.testing.assert_array_equal(measured.velocity_rad_s, [-1, -2, -3])
        assert reader.missing(message) == []


def test_a_missing_joint_is_named_and_never_filled_in():
    reader = JointReader(NAMES, StampClock())
    message = JointState(name=["a", "c"], position=[1.0, 3.0], velocity=[0.0, 0.0])
    assert reader.missing(message) == ["b"]
    assert reader.measured(message).joint_names == ("a", "c")
    short = reader.measured(JointState(name=list(NAMES), position=[1.0], velocity=[]))
    assert short.position_rad.shape == (1,)
    assert short.velocity_rad_s.shape == (0,)


def test_a_command_keeps_its_sender_and_its_lack_of_velocity():
    message = JointState(name=list(NAMES), position=[1.0, 2.0, 3.0])
    given = command(message, StampClock())
    assert given.velocity_rad_s is None
    assert given.source == "unnamed"
    message.header.frame_id = "policy:x"
    assert command(message, StampClock()).source == "policy:x"


@pytest.mark.parametrize(("told", "distance"), [(2.5, 2.5), (math.inf, 20.0), (-math.inf, 0.0)])
def test_range_infinities_follow_rep_117(told, distance):
    assert distance_m(Range(range=told, max_range=20.0)) == distance


def test_a_range_that_is_no_number_stays_one():
    assert math.isnan(distance_m(Range(range=math.nan, max_range=20.0)))


@pytest.fixture
def make_node():
    """Makes nodes of one domain, each a participant of its own, as in separate processes."""
    contexts = []

    def make(name):
        contexts.append(Context())
        contexts[-1].init(domain_id=102)
        return Node(name, context=contexts[-1])

    yield make
    for context in contexts:
        context.shutdown()


def test_those_who_can_never_hear_each_other_are_named(make_node):
    here, there = make_node("here"), make_node("there")
    polled = {topic: Polled(here, Float64, topic, qos(1)) for topic in ("/well", "/lossy", "/other")}
    there.create_publisher(Float64, "/well", qos(1))
    there.create_publisher(Float64, "/lossy", qos(1, reliable=False))
    there.create_publisher(Range, "/other", qos(1))
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:  # topics are found before the names of nodes are
        time.sleep(0.01)
        if all("there" in "".join(polled[topic].misfits()) for topic in ("/lossy", "/other")):
            break
    assert here.count_publishers("/well") == 1
    assert polled["/well"].misfits() == []
    (lossy,), (other,) = polled["/lossy"].misfits(), polled["/other"].misfits()
    assert lossy == (
        "there and this node do not hear each other on /lossy: Best effort publisher and reliable subscription"
    )
    assert other == "there has /other as sensor_msgs/msg/Range, expected std_msgs/msg/Float64"
    there.create_subscription(Float64, "/told", lambda _: None, qos(1))
    while not here.get_subscriptions_info_by_topic("/told") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert here.count_subscribers("/told") == 1
    assert misfits(here, "/told", Float64, qos(1), reading=False) == []
    (lossy,) = misfits(here, "/told", Float64, qos(1, reliable=False), reading=False)
    assert "/told: Best effort publisher and reliable subscription" in lossy
    (deaf,) = misfits(here, "/lossy", Float64, qos(1, reliable=False), reading=False)
    assert "/lossy" in deaf
