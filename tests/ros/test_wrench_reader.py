"""A WrenchStamped becomes what a policy reads: at the TCP, of the newest message, in a frame that is explained."""

import time

import numpy as np
import pytest
from geometry_msgs.msg import WrenchStamped
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.clocks import StampClock
from robolearn_ros.messages import qos, time_message, wrench_message
from robolearn_ros.sources import Sources
from robolearn_ros.wrench_reader import WrenchReader

from robolearn.errors import ConfigError
from robolearn.policy.slots import Slot
from robolearn.robots import load_robot
from robolearn.robots.wrench_frames import sensor_places

pytestmark = pytest.mark.ros
FR3, CLOCK = load_robot("fr3"), StampClock()
TOPIC = "/sensor/wrench"
SLOTS = (
    Slot("force", (3,), "N", "wrench.tcp.force"),
    Slot("torque", (3,), "Nm", "wrench.tcp.torque"),
)
FORCE, TORQUE = np.array([1.0, -2.0, 12.0]), np.array([0.1, 0.2, -0.3])


def told(frame="tcp", force=FORCE, late_s=0.0):
    stamp = time_message(CLOCK, CLOCK.now_ns() - round(late_s * 1e9))
    message = wrench_message(stamp, force, TORQUE)
    message.header.frame_id = frame
    return message


def reader(*frames, topic=TOPIC):
    return WrenchReader(FR3, topic, frames, CLOCK)


@pytest.fixture
def node():
    context = Context()
    context.init(domain_id=97)
    made = Node("wrench_test", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


@pytest.fixture
def heard(node):
    """What a policy node's sources make of a message that is published."""
    made = reader("tool0=flange")
    sources = Sources(node, "base", (), made)
    sources.expect(SLOTS)
    out = node.create_publisher(WrenchStamped, TOPIC, qos(1, reliable=False))
    deadline = time.monotonic() + 30.0
    while not node.count_publishers(TOPIC) or not out.get_subscription_count():
        assert time.monotonic() < deadline
        time.sleep(0.01)

    def publish(message):
        before, until = sources.problem, time.monotonic() + 30.0
        while time.monotonic() < until:
            out.publish(message)
            time.sleep(0.02)
            values = sources.take()
            if values or sources.problem != before:
                return values
        return {}

    return sources, made, publish


def test_at_the_tcp_it_is_read_as_it_stands_and_at_the_flange_it_is_moved(heard):
    sources, _, publish = heard
    assert sources.missing == [TOPIC]
    values = publish(told())
    np.testing.assert_array_equal(values["wrench.tcp.force"], FORCE)
    np.testing.assert_array_equal(values["wrench.tcp.torque"], TORQUE)
    assert sources.complete
    force, torque = sensor_places(FR3, {"tool0": "flange"})["tool0"].at_tcp(FORCE, TORQUE)
    values = publish(told("tool0"))
    np.testing.assert_allclose(values["wrench.tcp.force"], force)
    np.testing.assert_allclose(values["wrench.tcp.torque"], torque)


def test_what_nobody_explains_is_not_used_and_the_message_says_what_to_do(heard):
    sources, _, publish = heard
    assert publish(told("base")) == {}
    assert "it came in frame 'base', known are 'tcp', 'tool0'" in sources.problem
    assert "wrench_frames: {base: flange} in the deployment" in sources.problem
    assert "A frame of the arm's base cannot be used" in sources.problem
    assert not sources.complete
    assert publish(told("tcp")) != {}
    assert sources.problem == ""
    assert publish(told("")) == {}
    assert "set one in the driver" in sources.problem


def test_a_value_that_is_not_finite_is_no_message(heard):
    sources, made, publish = heard
    assert publish(told(late_s=0.2)) != {}
    stamp_s = made.stamp_s
    assert publish(told(force=np.array([np.nan, 0.0, 0.0]))) == {}
    assert "not finite" in sources.problem
    assert made.stamp_s == stamp_s
    assert "ms old" in sources.late(SLOTS, CLOCK.now_ns() / 1e9, 0.05)


def test_a_wrench_that_stopped_coming_is_late(heard):
    sources, _, publish = heard
    assert sources.late(SLOTS, CLOCK.now_ns() / 1e9, 0.05) == "no wrench has come yet"
    publish(told(late_s=0.2))
    now_s = CLOCK.now_ns() / 1e9
    assert "ms old, at most 50 are allowed" in sources.late(SLOTS, now_s, 0.05)
    assert sources.late(SLOTS, now_s, 1.0) == ""
    assert sources.late((), now_s, 0.05) == "", "a policy that reads none does not wait for it"
    assert sources.felt()["wrench.tcp.force"] == "1.00 -2.00 12.00"


@pytest.mark.parametrize("ahead_s", [0.4, 3600.0])
def test_a_wrench_of_the_future_is_none_of_now(heard, ahead_s):
    sources, _, publish = heard
    publish(told(late_s=-ahead_s))
    said = sources.late(SLOTS, CLOCK.now_ns() / 1e9, 0.05)
    assert "ms in the future, at most 50 are allowed: synchronise the clocks" in said


def test_a_policy_that_reads_no_wrench_needs_no_sensor(node):
    sources = Sources(node, "base", (), reader(topic=""))
    sources.expect(())
    assert sources.late((), 0.0, 0.05) == ""
    with pytest.raises(ConfigError, match="no force-torque sensor is known: set wrench_topic"):
        sources.expect(SLOTS)


def test_a_frame_that_is_no_pair_is_refused():
    with pytest.raises(ConfigError, match="'tool0' is not of the form tool0=flange"):
        reader("tool0")
