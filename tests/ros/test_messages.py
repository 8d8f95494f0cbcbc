import math
import time

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.clocks import StampClock
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


def told(time_s, position, velocity=(), names=NAMES):
    message = JointState(name=list(names), position=list(position), velocity=list(velocity))
    ns = round(time_s * 1e9)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 10**9)
    return message


@pytest.mark.parametrize("velocity", [(), (math.nan, math.nan, math.nan)])
@pytest.mark.parametrize("period_s", [0.001, 0.002, 0.008, 1 / 30])
def test_velocities_that_a_driver_does_not_tell_are_derived(velocity, period_s):
    reader = JointReader(NAMES, StampClock())
    first = reader.measured(told(1000.0, [0.0, 1.0, 2.0], velocity))
    assert reader.derived
    assert np.isnan(first.velocity_rad_s).all()  # nothing is known of them yet
    for k in range(1, 40):
        t = k * period_s
        got = reader.measured(told(1000.0 + t, [0.5 * t, 1.0 - 0.25 * t, 2.0], velocity))
        np.testing.assert_allclose(got.velocity_rad_s, [0.5, -0.25, 0.0], atol=1e-4)
    again = reader.measured(told(1000.0 + t, [0.5 * t, 1.0 - 0.25 * t, 2.0], velocity))  # the same message
    np.testing.assert_array_equal(again.velocity_rad_s, got.velocity_rad_s)


def test_a_velocity_that_is_told_is_taken_and_one_nan_among_them_is_left_to_the_monitor():
    reader = JointReader(NAMES, StampClock())
    np.testing.assert_array_equal(
        reader.measured(told(1.0, [0, 0, 0], [1.0, 2.0, 3.0])).velocity_rad_s, [1, 2, 3]
    )
    assert not reader.derived
    mixed = reader.measured(told(2.0, [0, 0, 0], [1.0, math.nan, 3.0]))
    assert np.isnan(mixed.velocity_rad_s[1])
    assert not reader.derived
    # A driver that falls silent about them in motion: there is a trail already.
    np.testing.assert_allclose(reader.measured(told(2.5, [0.5, 0, 0])).velocity_rad_s, [1.0, 0.0, 0.0])
    backwards = reader.measured(told(2.0, [0, 0, 0]))
    assert np.isnan(backwards.velocity_rad_s).all()


def test_joints_of_a_driver_that_puts_a_prefix_before_them_have_the_robot_files_names():
    reader = JointReader(NAMES, StampClock(), "left_")
    message = told(1.0, [3.0, 9.0, 1.0, 2.0], [0.0] * 4, ["left_c", "c", "left_a", "left_b"])
    measured = reader.measured(message)
    assert measured.joint_names == NAMES
    np.testing.assert_array_equal(measured.position_rad, [1, 2, 3])
    lacking = told(1.0, [3.0, 1.0], [0.0] * 2, ["left_c", "left_a"])
    assert reader.missing(lacking) == ["left_b"]
    assert reader.measured(lacking).joint_names == ("a", "c")


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
        "there and this node have incompatible QoS on /lossy: Best effort publisher and reliable subscription"
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
