"""What goes wrong on a real robot: the arm is stopped or held, the reason is said, a documented step helps."""

import signal
import time

import pytest
import ros_standin
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_arm import FakeArm
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.arm import arm_topics
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from robolearn import keys
from robolearn.policy.approval import approve
from robolearn.robots import load_robot
from robolearn.serve import Serving, free_domain

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return ros_standin.export_reaching(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def session(bundle, tmp_path_factory):
    """(serving, arm): safety and policy node as processes, the arm in this one."""
    folder, domain = tmp_path_factory.mktemp("serving"), free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(folder, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem")
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active()
            arm.goal(0.5, 0.2, 0.4)
            yield serving, arm
    finally:
        arm.close()


@pytest.fixture
def running(session):
    """The session with the monitor running; switches are put back afterwards."""
    serving, arm = session
    arm.run_again()
    yield serving, arm
    arm.silent = arm.no_person = arm.reverse = arm.deaf = False
    arm.drop, arm.stamp_offset_s = None, 0.0
    assert arm.largest_step < 0.05  # whatever happened, nothing that jumps reached the arm


def stop_rule(arm):
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    arm.wait("standstill", lambda: arm.state == "stopped")
    return arm.stop_seen


def test_joints_in_another_order_beside_others_change_nothing(running):
    _, arm = running
    arm.reverse = True
    time.sleep(0.5)
    assert arm.stop_seen is None
    assert arm.state == "running"


def test_a_missing_joint_stops_and_is_named(running):
    _, arm = running
    arm.drop = "fr3_joint4"
    rule, text = stop_rule(arm)
    assert rule == "shape"
    assert "fr3_joint4" in text


def test_joint_states_that_end_stop(running):
    _, arm = running
    arm.silent = True
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    assert arm.stop_seen[0] == "state_age"
    arm.silent = False


@pytest.mark.parametrize(("offset_s", "rules"), [(-1.0, {"clock", "state_age"}), (1.0, {"clock"})])
def test_joint_states_from_the_past_or_the_future_stop(running, offset_s, rules):
    _, arm = running
    arm.stamp_offset_s = offset_s
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    assert arm.stop_seen[0] in rules
    arm.stamp_offset_s = 0.0
    if offset_s > 0:
        time.sleep(offset_s)  # until stamps are newer than the newest that was seen


def test_a_controller_that_is_not_active_stops_and_a_reset_before_it_is_active_again_leaves_no_lurch(running):
    _, arm = running
    arm.goal(0.4, -0.3, 0.5)  # somewhere to go
    time.sleep(0.2)
    arm.deaf = True
    arm.goal(0.5, 0.2, 0.4)
    assert stop_rule(arm)[0] == "tracking"
    accepted, text = arm.call("reset")
    assert accepted, text
    assert "its measured position is held now" in text
    time.sleep(0.1)
    arm.deaf = False
    arm.run_again()
    assert arm.state == "running"


def test_a_person_sensor_that_falls_silent_stops(running):
    _, arm = running
    arm.no_person = True
    assert stop_rule(arm)[0] == "person_age"


def test_a_policy_that_hangs_stops_and_may_go_on_after_a_reset(running):
    serving, arm = running
    policy = serving.nodes["policy_node"]
    policy.send(signal.SIGSTOP)
    try:
        assert stop_rule(arm)[0] == "command_age"
    finally:
        policy.send(signal.SIGCONT)
    arm.run_again()
    assert arm.state == "running"


def test_a_flood_of_commands_stops(running):
    _, arm = running
    real = arm.last_policy
    for _ in range(60):
        arm.policy_out.publish(real)
    rule, _ = stop_rule(arm)
    assert rule == "stop_request"


def test_a_command_of_another_sender_stops(running):
    _, arm = running
    message = JointState(name=arm.last_policy.name, position=arm.last_policy.position)
    message.header.stamp = arm.last_policy.header.stamp
    message.header.frame_id = "somebody else"
    arm.policy_out.publish(message)
    assert stop_rule(arm)[0] in ("source", "clock")


def test_the_stop_service_stops_and_is_no_failure(running):
    _, arm = running
    assert arm.call("stop")[0]
    assert stop_rule(arm)[0] == "stop_request"
    accepted, text = arm.call("start")
    assert not accepted
    assert "Reset first" in text


def test_a_second_publisher_on_the_controller_stops_and_is_said(running):
    serving, arm = running
    topic = arm.commands.topic
    intruder = arm.node.create_publisher(Float64MultiArray, topic, 1)
    try:
        assert stop_rule(arm)[0] == "stop_request"
        serving.wait_for_output("safety_node", f"1 other publisher(s) on {topic}", 5.0)
    finally:
        arm.node.destroy_publisher(intruder)
        time.sleep(0.3)


def test_the_arm_is_held_when_the_log_cannot_be_written(session):
    serving, arm = session
    arm.run_again()
    writer = next(p for p in _children(serving.nodes["safety_node"].pid))
    writer.kill()
    assert stop_rule(arm)[0] == "stop_request"
    serving.wait_for_output("safety_node", "the safety log is not written", 5.0)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"robot": "ur5e"}, "is for robot 'fr3', but this arm is 'ur5e'"),
    ({"require_approval": True}, "approver_keys is empty"),
    ({"require_approval": True, "approver_keys": ["0123456789abcdef"]}, "is approved by nobody"),
    ({"trusted_keys": ["0123456789abcdef"]}, "which is not trusted here"),
    ({"bundle": "/nowhere/none.robolearn"}, "Cannot read the bundle '/nowhere/none.robolearn'"),
])  # fmt: skip
def test_a_bundle_that_may_not_be_served_here_refuses_to_start(bundle, tmp_path, parameters, message):
    with Serving(tmp_path, domain_id=free_domain()) as serving:
        node = serving.start(
            "policy_node", **{"bundle": str(bundle.path), "require_approval": False, **parameters}
        )
        assert node.wait(30.0) == 2
        assert message in node.last_words()
        assert "Traceback" not in node.last_words(50)


def test_approved_is_served_and_a_missing_joint_is_named_until_it_comes(bundle, tmp_path):
    key, domain = Ed25519PrivateKey.generate(), free_domain()
    approve(bundle.path, key, "reviewer-7")
    arm = FakeArm(domain)
    arm.drop = "fr3_joint2"
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_policy(bundle.path, approver_keys=[keys.key_id(key)])
            serving.wait_for_output("policy_node", "lacks fr3_joint2", 20.0)
            assert serving.nodes["policy_node"].exit_code is None
            arm.drop = None
            serving.wait_until_active()
    finally:
        arm.close()


def test_joint_states_of_another_type_are_refused_by_name(bundle, tmp_path):
    domain, context = free_domain(), Context()
    context.init(domain_id=domain)
    topic = arm_topics(load_robot("fr3")).best_state
    stranger = Node("stranger", context=context)
    stranger.create_publisher(Float64MultiArray, topic, 1)
    expected = f"stranger has {topic} as std_msgs/msg/Float64MultiArray, expected sensor_msgs/msg/JointState"
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_for_output("policy_node", expected, 20.0)
    finally:
        context.shutdown()


def _children(pid):
    import psutil

    return psutil.Process(pid).children()
