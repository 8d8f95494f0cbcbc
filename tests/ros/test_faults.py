"""What goes wrong on a real robot: the arm is stopped or held in the time that the table of faults states
(docs/tutorials/integrator.md), the reason is said, a documented step helps."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ros_standin
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_arm import FakeArm
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.arm import arm_topics
from robolearn_ros.node import ERROR, OK, WARN
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from robolearn import keys
from robolearn.deploy.serving import Serving, free_domain, parameter_arguments
from robolearn.policy.approval import approve
from robolearn.robots import load_robot

pytestmark = pytest.mark.ros

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "integrator.md"
WITHIN_S = {  # fault: the time that the table states
    fault: float(seconds)
    for fault, seconds in re.findall(
        r"^\| ([^|]+) \|[^|]+\| ([\d.]+) s \|", TUTORIAL.read_text(), re.MULTILINE
    )
}
SLACK_S = 1.0  # for a machine that is busy with other things


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
            serving.start_safety(
                log_dir=folder / "safety", log_key=folder / "log.pem", exclusive_publishers=False
            )
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active()
            arm.goal(0.5, 0.2, 0.4)
            yield serving, arm
    finally:
        arm.close()


@pytest.fixture
def running(session):
    """The session with the arm moving; switches are put back afterwards."""
    serving, arm = session
    arm.run_again()
    arm.move()
    yield serving, arm
    arm.silent = arm.no_person = arm.reverse = arm.deaf = arm.nan = arm.flood = False
    arm.drop, arm.stamp_offset_s = None, 0.0
    assert arm.largest_step < 0.05  # whatever happened, nothing that jumps reached the arm


def stop_rule(arm, fault, began_s):
    """The rule that stopped the arm and its text; it was held in the stated time after began_s."""
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    arm.wait("standstill", lambda: time.monotonic() - arm.moved_s > 0.3)
    assert max(arm.moved_s, arm.stopped_s) - began_s <= WITHIN_S[fault] + SLACK_S
    return arm.stop_seen


def test_joints_in_another_order_beside_others_change_nothing(running):
    _, arm = running
    arm.reverse = True
    time.sleep(0.5)
    assert arm.stop_seen is None
    assert arm.state == "running"


def test_a_missing_joint_stops_and_is_named(running):
    _, arm = running
    arm.drop, began = "fr3_joint4", time.monotonic()
    rule, text = stop_rule(arm, "a joint is missing in the joint states", began)
    assert rule == "shape"
    assert "fr3_joint4" in text


def test_joint_states_that_end_stop(running):
    _, arm = running
    arm.silent, began = True, time.monotonic()
    assert stop_rule(arm, "joint states end", began)[0] == "state_age"


@pytest.mark.parametrize(("offset_s", "rules"), [(-1.0, {"clock", "state_age"}), (1.0, {"clock"})])
def test_joint_states_from_the_past_or_the_future_stop(running, offset_s, rules):
    _, arm = running
    arm.stamp_offset_s, began = offset_s, time.monotonic()
    assert stop_rule(arm, "joint states from the past or the future", began)[0] in rules
    arm.stamp_offset_s = 0.0
    if offset_s > 0:
        time.sleep(offset_s)  # until stamps are newer than the newest that was seen


def test_joint_states_that_are_no_numbers_stop(running):
    _, arm = running
    arm.nan, began = True, time.monotonic()
    assert stop_rule(arm, "NaN in the joint states", began)[0] == "finite"
    arm.nan = False
    arm.run_again()
    arm.move()


def test_a_flood_of_joint_states_of_another_sender_stops_and_is_said(running):
    _, arm = running
    arm.flood, began = True, time.monotonic()
    # his stamps go back behind the arm's own, or crowd them out
    assert stop_rule(arm, "somebody else floods the joint states", began)[0] in {"clock", "state_age"}
    expected = f"2 publishers on {arm.states.topic_name}, expected one"
    arm.report("safety_node: monitor", lambda level, text, _: level == ERROR and expected in text)
    arm.flood = False
    arm.run_again()
    arm.move()


def test_a_controller_that_is_not_active_stops_and_a_reset_before_it_is_active_again_leaves_no_lurch(running):
    _, arm = running
    arm.deaf, began = True, time.monotonic()
    arm.goal(0.5, -0.3, 0.5)  # somewhere to go
    assert stop_rule(arm, "the controller is not active", began)[0] == "tracking"
    arm.wait("the end of the stop", lambda: arm.state == "stopped")
    text = arm.reset()
    assert "its measured position is held now" in text
    time.sleep(0.1)
    arm.deaf = False
    arm.run_again()
    assert arm.state == "running"


def test_a_safety_node_that_is_held_up_stops(running):
    serving, arm = running
    node, began = serving.nodes["safety_node"], time.monotonic()
    node.send(signal.SIGSTOP)
    time.sleep(0.2)
    node.send(signal.SIGCONT)
    rule, text = stop_rule(arm, "the computer holds the safety node up for 0.2 s", began)
    assert rule == "cycle_gap"
    assert re.fullmatch(r"the monitor's last cycle was [23]\d\d\.\d ms ago", text)


def test_a_person_sensor_that_falls_silent_stops(running):
    _, arm = running
    arm.no_person, began = True, time.monotonic()
    assert stop_rule(arm, "the person sensor falls silent", began)[0] == "person_age"


def test_a_policy_that_hangs_stops_and_may_go_on_after_a_reset(running):
    serving, arm = running
    policy, began = serving.nodes["policy_node"], time.monotonic()
    policy.send(signal.SIGSTOP)
    try:
        assert stop_rule(arm, "the policy hangs, or its node dies", began)[0] == "command_age"
    finally:
        policy.send(signal.SIGCONT)
    arm.run_again()
    assert arm.state == "running"


def test_a_flood_of_commands_stops(running):
    _, arm = running
    real, began = arm.last_policy, time.monotonic()
    for _ in range(60):
        arm.policy_out.publish(real)
    assert stop_rule(arm, "a flood of commands", began)[0] in ("command_flood", "clock")


def test_a_command_of_another_sender_stops(running):
    _, arm = running
    message = JointState(name=arm.last_policy.name, position=arm.last_policy.position)
    message.header.stamp = arm.last_policy.header.stamp
    message.header.frame_id = "somebody else"
    began = time.monotonic()
    arm.policy_out.publish(message)
    assert stop_rule(arm, "commands of another sender", began)[0] in ("source", "clock")


def test_the_stop_service_stops_and_is_no_failure(running):
    _, arm = running
    began = time.monotonic()
    assert arm.call("stop")[0]
    assert stop_rule(arm, "somebody asks for a stop", began)[0] == "stop_request"
    accepted, text = arm.call("start")
    assert not accepted
    assert "Reset first" in text


def test_a_second_publisher_on_the_controller_stops_and_is_said(running):
    serving, arm = running
    topic, began = arm.commands.topic, time.monotonic()
    intruder = arm.node.create_publisher(Float64MultiArray, topic, 1)
    try:
        rule, _ = stop_rule(arm, "another publisher on the controller's topic", began)
        assert rule == "stop_request"
        serving.wait_for_output("safety_node", f"1 other publisher(s) on {topic}", 5.0)
    finally:
        arm.node.destroy_publisher(intruder)
        time.sleep(0.3)


def test_the_diagnostics_tell_ages_and_times(running):
    _, arm = running
    arm.wait("some cycles of the policy", lambda: arm.stop_seen is not None or arm.state == "running")
    level, text, policy = arm.report("policy_node: policy", lambda *one: "inference_us_p99.9" in one[2])
    assert (level, text) == (OK, "serving")
    _, _, monitor = arm.report("safety_node: monitor")
    for values, kinds in (
        (policy, ("observation_age_us", "inference_us", "late_us", "work_us")),
        (monitor, ("state_to_command_us", "check_us", "late_us", "work_us")),
    ):
        assert int(values["missed"]) >= 0
        assert int(values["ticks"]) > 100
        for kind in kinds:
            p50, p99, p999, largest = (
                float(values[f"{kind}_{key}"]) for key in ("p50", "p99", "p99.9", "max")
            )
            assert 0.0 < p50 <= p99 <= p999 <= largest * 1.001, kind  # six digits of each are told
    assert float(policy["observation_age_us_p50"]) < 50e3  # what observation_age_max_s allows


def test_the_arm_is_held_when_the_log_cannot_be_written(running):
    serving, arm = running
    children = _children(serving.nodes["safety_node"].pid)
    writer = next(p for p in children if "writer_process" in " ".join(p.cmdline()))
    began = time.monotonic()
    writer.kill()
    assert stop_rule(arm, "the safety log cannot be written", began)[0] == "stop_request"
    serving.wait_for_output("safety_node", "the safety log is not written", 5.0)
    arm.wait("the end of the stop", lambda: arm.state == "stopped")
    accepted, text = arm.call("reset")
    assert not accepted
    assert text.startswith("No reset: the safety log is not written: The log writer of ")


def test_a_log_that_somebody_else_shortens_is_a_stop_and_no_reset_follows(bundle, tmp_path):
    fault, domain = "somebody removes, replaces, shortens or writes to the safety log", free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=tmp_path / "safety", log_key=tmp_path / "log.pem")
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active(60.0)
            arm.run_again()
            arm.move()
            began = time.monotonic()
            (tmp_path / "safety" / "events.jsonl").write_bytes(b"")
            rule, text = stop_rule(arm, fault, began)
            assert rule == "stop_request"
            assert "Another process changed the safety log" in text
            arm.wait("the end of the stop", lambda: arm.state == "stopped")
            accepted, text = arm.call("reset")
            assert not accepted
            assert "Another process changed the safety log" in text
    finally:
        arm.close()


def test_a_start_beside_another_publisher_on_the_controller_is_refused_with_the_reason(bundle, tmp_path):
    domain = free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=None)
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active(60.0)
            arm.run_again()
            assert arm.call("stop")[0]
            arm.wait("the end of the stop", lambda: arm.state == "stopped")
            arm.reset()
            topic = arm.commands.topic
            intruder = arm.node.create_publisher(Float64MultiArray, topic, 1)
            serving.wait_for_output("safety_node", f"1 other publisher(s) on {topic}", 10.0)
            accepted, text = arm.call("start")
            assert not accepted
            assert text.startswith(f"No start: 1 other publisher(s) on {topic}")
            arm.node.destroy_publisher(intruder)
            arm.run_again()
    finally:
        arm.close()


def test_a_policy_slower_than_its_period_stops_and_is_said(bundle, tmp_path):
    domain, slow = free_domain(), tmp_path / "slow"
    arm = FakeArm(domain)
    given = {
        "bundle": str(bundle.path),
        "require_approval": False,
        "command_rate_hz": 250.0,
        "state_rate_hz": 250.0,
    }
    command = [sys.executable, str(Path(__file__).parent / "slow_policy_node.py"), str(slow)]
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=None)
            policy = subprocess.Popen([*command, *parameter_arguments(given)], env=serving.environment)
            try:
                arm.wait("the policy", lambda: arm.last_policy is not None, 60.0)
                arm.run_again()
                arm.move()
                began = time.monotonic()
                slow.touch()
                assert stop_rule(arm, "the policy is slower than its period", began)[0] == "command_age"
                expected = "the policy took longer than its period of 20 ms"
                assert any(
                    level == WARN and expected in text
                    for level, text, _ in arm.reported.get("policy_node: policy", [])
                ) or arm.report(
                    "policy_node: policy", lambda level, text, _: level == WARN and expected in text
                )
                slow.unlink()
                arm.run_again()
                arm.move()
            finally:
                policy.terminate()
                policy.wait(10.0)
    finally:
        arm.close()
    assert arm.largest_step < 0.05


def test_a_safety_node_that_dies_leaves_the_arm_held_and_is_missed(bundle, tmp_path):
    fault, domain = "the safety node dies", free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=None)
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active(60.0)
            arm.run_again()
            arm.move()
            began = time.monotonic()
            serving.kill("safety_node")
            arm.wait("standstill", lambda: time.monotonic() - arm.moved_s > 0.5)
            said = serving.nodes["safety_node"].output
            arm.wait("the guard's word", lambda: "brake guard: the safety node ended" in said.read_text())
            assert arm.moved_s - began <= WITHIN_S[fault] + SLACK_S
            expected = "the safety node has been silent for"
            arm.report("policy_node: policy", lambda level, text, _: level == ERROR and expected in text)
            arm.state = ""
            serving.restart("safety_node")
            arm.wait("the monitor", lambda: arm.state == "holding", 60.0)
            arm.run_again()
            arm.move()
    finally:
        arm.close()
    assert arm.largest_step < 0.05


def test_the_table_of_faults_has_no_row_that_nothing_injects():
    assert len(WITHIN_S) == 18
    here = Path(__file__)
    injected = here.read_text() + (here.parent / "test_intruders.py").read_text()
    assert [fault for fault in WITHIN_S if f'"{fault}"' not in injected] == []


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


@pytest.mark.parametrize(("stated_hz", "whose"), [
    (0.0, "robot file 'fr3' says 1000 Hz"), (700.0, "the parameter state_rate_hz says 700 Hz"),
])  # fmt: skip
def test_joint_states_slower_than_stated_are_refused(bundle, tmp_path, stated_hz, whose):
    domain = free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            node = serving.start_policy(bundle.path, require_approval=False, state_rate_hz=stated_hz)
            serving.wait_for_output("policy_node", f" Hz, but {whose}", 60.0)
            assert "active: " not in node.last_words(100)
    finally:
        arm.close()


@pytest.mark.parametrize(("part", "name", "message"), [
    ("outputs", "joint_position_target", "target 'joint_position_target' is in 'deg', but is sent in 'rad'"),
])  # fmt: skip
def test_a_bundle_in_other_units_is_refused_by_name(tmp_path, part, name, message):
    bundle = ros_standin.export_reaching(tmp_path, in_degrees=(part, name))
    with Serving(tmp_path, domain_id=free_domain()) as serving:
        node = serving.start_policy(bundle.path, require_approval=False)
        assert node.wait(60.0) == 2
        assert message in node.last_words()
        assert "Traceback" not in node.last_words(50)


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
