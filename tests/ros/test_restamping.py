"""Stamps of a simulator's clock: moved where it keeps real time, held back where it does not."""

import time

import numpy as np
import pytest
from robolearn_ros.restamping import OFFSET_S, Restamping

from robolearn.deploy.serving import Serving, free_domain

SYSTEM_S = 1.8e9
DELAY_S = 0.003  # of every message at least


def feed(restamping, factor, seconds, began_s=50.0, sim_s=7.0, jitter_s=0.0, rate_hz=200.0, seed=0):
    """[(arrival, simulator's stamp, stamp passed on or None)] of a simulator at a factor of real time."""
    random, out = np.random.default_rng(seed), []
    for k in range(round(seconds * rate_hz)):
        real_s = began_s + k / rate_hz
        arrival_s, stamp_s = real_s + DELAY_S + jitter_s * random.random(), sim_s + factor * k / rate_hz
        out.append((real_s, arrival_s, restamping.stamp_s(stamp_s, arrival_s, SYSTEM_S + arrival_s)))
    return out


def test_stamps_of_a_simulator_in_real_time_are_those_of_the_states_plus_the_least_delay():
    restamping = Restamping()
    passed = [row for row in feed(restamping, 1.0, 3.0, jitter_s=0.002) if row[2] is not None]
    assert len(passed) > 400
    assert restamping.problem == ""
    for real_s, arrival_s, stamp_s in passed:
        assert stamp_s <= arrival_s + 1e-6
        assert stamp_s == pytest.approx(real_s + DELAY_S, abs=0.002)
    assert np.all(np.diff([row[2] for row in passed]) > 0.0)


@pytest.mark.parametrize("factor", [0.5, 0.94, 1.06, 2.0])
def test_nothing_is_passed_on_from_a_simulator_that_does_not_keep_real_time(factor):
    restamping = Restamping()
    assert all(stamp_s is None for _, _, stamp_s in feed(restamping, factor, 3.0))
    assert f"runs at {factor:.2f} times real time" in restamping.problem


@pytest.mark.parametrize("factor", [0.96, 1.04])
def test_a_clock_slightly_off_goes_on_with_stamps_that_are_hardly_old(factor):
    passed = [row for row in feed(Restamping(), factor, 5.0) if row[2] is not None]
    assert len(passed) > 800
    assert max(arrival_s - stamp_s for _, arrival_s, stamp_s in passed) <= abs(1.0 - factor) * OFFSET_S + 1e-6


def test_a_simulator_that_slows_down_is_held_back_and_passed_on_again_later():
    restamping = Restamping()
    assert feed(restamping, 1.0, 2.0)[-1][2] is not None
    assert feed(restamping, 0.5, 2.0, began_s=52.0, sim_s=9.0)[-1][2] is None
    assert feed(restamping, 1.0, 2.0, began_s=54.0, sim_s=10.0)[-1][2] is not None


@pytest.mark.parametrize(("began_s", "sim_s"), [(52.0, 0.0), (60.0, 17.0), (52.0, 30.0)])
def test_after_a_reset_a_pause_or_a_jump_the_clock_must_be_seen_again(began_s, sim_s):
    restamping = Restamping()
    before = feed(restamping, 1.0, 2.0)[-1][2]
    after = feed(restamping, 1.0, 2.0, began_s=began_s, sim_s=sim_s)
    assert after[0][2] is None
    assert after[-1][2] > before
    assert after[-1][2] == pytest.approx(after[-1][1], abs=1e-6)


def test_states_with_stamps_of_the_system_clock_are_refused():
    """Those of a real arm: what restamps them would hide their age."""
    restamping = Restamping()
    for k in range(400):
        arrival_s = 50.0 + k / 200.0
        assert restamping.stamp_s(SYSTEM_S + arrival_s - 0.2, arrival_s, SYSTEM_S + arrival_s) is None
    assert "the stamps are of the system clock" in restamping.problem


@pytest.mark.parametrize("held_s", [0.15, 0.3, 0.45])
def test_states_that_waited_in_a_queue_do_not_look_fresh(held_s):
    """A process that was held up reads the states of that time all at once."""
    restamping = Restamping()
    feed(restamping, 1.0, 2.0)
    for k in range(600):
        real_s = 52.0 + k / 200.0
        arrival_s = max(real_s, 52.0 + held_s) + DELAY_S
        stamp_s = restamping.stamp_s(9.0 + k / 200.0, arrival_s, SYSTEM_S + arrival_s)
        if stamp_s is not None:
            assert stamp_s == pytest.approx(real_s + DELAY_S, abs=0.002)
    assert stamp_s is not None


def test_a_recording_of_an_arm_is_refused():
    restamping = Restamping()
    for k in range(400):
        arrival_s = 50.0 + k / 200.0
        stamp_s = SYSTEM_S - 10 * 86_400.0 + arrival_s
        assert restamping.stamp_s(stamp_s, arrival_s, SYSTEM_S + arrival_s) is None
    assert restamping.problem.startswith("the stamps are of another day, so these states were recorded")


@pytest.mark.ros
def test_the_node_moves_stamps_of_a_simulators_clock(tmp_path):
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from sensor_msgs.msg import JointState

    domain, context = free_domain(), Context()
    with Serving(tmp_path, domain_id=domain) as serving:
        serving.start("restamp_node", from_topic="/gazebo/joint_states")
        rclpy.init(context=context, domain_id=domain)
        node, seen, began = Node("gazebo", context=context), [], time.monotonic()
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        out = node.create_publisher(JointState, "/gazebo/joint_states", 10)
        node.create_subscription(JointState, "/sim_joint_states", seen.append, 10)
        try:
            while len(seen) < 20:
                now = time.monotonic()
                assert now - began < 60.0
                message = JointState(name=["a"], position=[1.5])
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(
                    round((now - began) * 1e9), 10**9
                )
                out.publish(message)
                executor.spin_once(timeout_sec=0.005)
            stamp = seen[-1].header.stamp
            assert stamp.sec + stamp.nanosec / 1e9 == pytest.approx(time.time(), abs=5.0)
            assert (list(seen[-1].name), list(seen[-1].position)) == (["a"], [1.5])
            node.create_publisher(JointState, "/gazebo/joint_states", 10)
            serving.wait_for_output("restamp_node", "there are 2 publishers on /gazebo/joint_states", 20.0)
        finally:
            node.destroy_node()
            context.shutdown()
