import math
import time

import numpy as np
import pytest
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.loop import StampClock
from robolearn_ros.messages import JointReader, Polled, command, distance_m, misfits, qos
from robolearn_ros.safety_node import choose_command
from sensor_msgs.msg import JointState, Range
from std_msgs.msg import Float64

from robolearn.safety.types import Command

NAMES = ("a", "b", "c")


def cmd(position, stamp=0.0, velocity=None, names=NAMES, source="policy:x"):
    return Command(
        names, np.array(position, float), stamp, None if velocity is None else np.array(velocity), source
    )


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


LAST = cmd([0.0, 0.0, 0.0])


def test_of_good_commands_the_newest_counts():
    good = [cmd([0.01, 0, 0], 1.0), cmd([0.02, 0, 0], 2.0)]
    assert choose_command(good, LAST, 0.1) is good[1]
    assert choose_command([], LAST, 0.1) is LAST
    assert choose_command([], None, 0.1) is None
    assert choose_command([cmd([5, 5, 5])], None, 0.1).position_rad[0] == 5


@pytest.mark.parametrize("bad", [
    cmd([math.nan, 0, 0]),
    cmd([math.inf, 0, 0]),
    cmd([0, 0, 0], velocity=[0, math.nan, 0]),
    cmd([0, 0, 0], stamp=math.nan),
    cmd([0, 0]),
    cmd([0, 0, 0], names=("a", "b", "d")),
    cmd([0, 0, 0], source="somebody else"),
    cmd([1.0, 0, 0]),
    cmd([0, -0.11, 0]),
])  # fmt: skip
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("after", [0, 1])
def test_a_bad_command_never_hides_among_good_ones(bad, before, after):
    given = [*[cmd([0.01, 0, 0])] * before, bad, *[cmd([0.02, 0, 0])] * after]
    assert choose_command(given, LAST, 0.1) is bad


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
