"""Who may speak, with real processes: operators with their key, one publisher of each input, this machine only.

Everything here is as for a real arm. The session's operator is this account's key, as for a simulated one.
"""

import time

import psutil
import pytest
import rclpy
import ros_standin
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_arm import FakeArm
from rcl_interfaces.srv import SetParametersAtomically
from robolearn_ros.messages import qos
from robolearn_ros.operator_client import OperatorClient
from robolearn_ros.operator_service import operate_request
from sensor_msgs.msg import JointState, Joy, Range
from std_srvs.srv import Trigger
from test_faults import stop_rule

from robolearn import keys
from robolearn.deploy.operators import operator_key_path, signed_request
from robolearn.deploy.serving import Serving, free_domain
from robolearn.review.verify import read_events, verify

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """(serving, arm, log): safety and policy node as processes, the arm in this one."""
    folder, domain = tmp_path_factory.mktemp("intruders"), free_domain()
    bundle = ros_standin.export_reaching(folder)
    arm = FakeArm(domain)
    try:
        with Serving(folder, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem")
            serving.start_policy(bundle.path, require_approval=False)
            serving.wait_until_active()
            yield serving, arm, folder / "safety"
    finally:
        arm.close()


@pytest.fixture
def running(session):
    _, arm, _ = session
    arm.run_again()
    arm.move()
    return arm


def ask(arm, kind, name, request):
    client = arm.node.create_client(kind, f"/safety_node/{name}")
    arm.wait(name, client.service_is_ready)
    future = client.call_async(request)
    arm.wait(f"an answer to {name}", future.done)
    return future.result()


def operate(arm, fields):
    result = ask(arm, SetParametersAtomically, "operate", operate_request(fields)).result
    return result.successful, result.reason


def challenge(arm):
    return ask(arm, Trigger, "challenge", Trigger.Request()).message


def stranger(arm):
    """The clients of somebody with a key of their own."""
    return OperatorClient(arm.node, Ed25519PrivateKey.generate())


def refused(arm, client, verb, **given):
    arm.wait("services", lambda: client.ready(verb))
    call = client.call(verb, **given)
    arm.wait("an answer", call.done)
    accepted, text = call.result()
    assert not accepted
    return text


@pytest.mark.parametrize(
    ("verb", "given"), [("start", {}), ("reset", {}), ("mode", {"mode": "collaborative"})]
)
def test_nobody_but_an_operator_starts_resets_or_changes_the_mode(session, verb, given):
    _, arm, _ = session
    arm.wait("a decision", lambda: arm.state != "")
    before = arm.state
    assert "belongs to no operator of this arm" in refused(arm, stranger(arm), verb, **given)
    time.sleep(0.3)
    assert arm.state == before


def test_a_request_that_was_carried_out_or_altered_counts_no_more(session):
    _, arm, _ = session
    arm.run_again()
    arm.call("stop")
    arm.wait("rest", lambda: arm.state == "stopped")
    key = keys.load_key(operator_key_path())
    fields = signed_request(key, "reset", challenge(arm), reason="cell checked")
    altered = {**fields, "verb": "start"}
    assert "does not fit the request" in operate(arm, altered)[1]
    time.sleep(0.3)  # what stopped it is over
    accepted, text = operate(arm, fields)
    assert accepted, text
    assert "Reset by this-machine: cell checked" in text
    assert "was already carried out" in operate(arm, fields)[1]
    assert "has the fields" in operate(arm, {"verb": "reset"})[1]


def test_the_modes_and_parameters_of_before_are_closed(session):
    _, arm, _ = session
    arm.run_again()
    offered = {name for name, _ in arm.node.get_service_names_and_types() if name.startswith("/safety_node/")}
    assert {"/safety_node/stop", "/safety_node/challenge", "/safety_node/operate"} <= offered
    assert not offered & {f"/safety_node/{name}" for name in ("start", "reset", "set_mode_automatic")}
    request = SetParametersAtomically.Request()
    request.parameters = [rclpy.parameter.Parameter("use_sim_time", value=True).to_parameter_msg()]
    result = ask(arm, SetParametersAtomically, "set_parameters_atomically", request).result
    assert not result.successful
    assert "fixed while it runs" in result.reason


def test_anybody_may_stop(running):
    answer = ask(running, Trigger, "stop", Trigger.Request())
    assert answer.success
    running.wait("a stop", lambda: running.stop_seen is not None)
    assert running.stop_seen[0] == "stop_request"


INPUTS = {
    "policy": (JointState, "/robolearn/policy_command"),
    "states": (JointState, "/franka/joint_states"),
    "person": (Range, "/robolearn/person_range"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_second_publisher_of_an_input_stops_and_neither_reset_nor_start_is_accepted_while_it_is_there(
    running, name
):
    arm, (kind, topic) = running, INPUTS[name]
    intruder = rclpy.create_node("intruder", context=arm.context)
    began = time.monotonic()
    publisher = intruder.create_publisher(kind, topic, qos(10))
    try:
        fault = "a second publisher of what the safety node reads"
        assert stop_rule(arm, fault, began)[0] == "stop_request"
        arm.wait("rest", lambda: arm.state == "stopped")
        expected = f"2 publishers on {topic}, expected one ("
        accepted, text = arm.call("reset")
        assert not accepted
        assert text.startswith(f"No reset: {expected}")
        assert "intruder" in text
    finally:
        intruder.destroy_publisher(publisher)
        intruder.destroy_node()
    until = time.monotonic() + 5.0
    while not arm.call("reset")[0]:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert arm.state in ("holding", "stopped")


def test_two_enabling_devices_are_one_too_many_even_if_none_is_needed(running):
    arm = running
    publishers = [arm.node.create_publisher(Joy, "/robolearn/enabling_device", qos(10)) for _ in range(2)]
    try:
        arm.wait("a stop", lambda: arm.stop_seen is not None)
        assert arm.stop_seen[0] == "stop_request"
    finally:
        for publisher in publishers:
            arm.node.destroy_publisher(publisher)
    time.sleep(0.5)


def test_a_person_sensor_that_repeats_its_last_message_stops_as_a_silent_one_does(running):
    arm, stuck = running, running._person()
    arm._person = lambda: stuck
    try:
        arm.wait("a stop", lambda: arm.stop_seen is not None)
        assert arm.stop_seen[0] == "person_age"
    finally:
        del arm._person


def test_no_socket_of_a_node_can_be_reached_from_another_machine(session):
    serving, _, _ = session
    for node in serving.nodes.values():
        addresses = {c.laddr.ip for c in psutil.Process(node.pid).net_connections("inet")}
        assert addresses == {"127.0.0.1"}, node.name


def test_the_log_names_the_operators_key_and_who_was_refused(session):
    serving, arm, log = session
    arm.run_again()
    time.sleep(0.2)
    serving.stop()
    assert verify(log).findings == []
    events = read_events(log)
    own = keys.key_id(keys.load_key(operator_key_path()))
    calls = [event["fields"] for event in events if event["kind"] in ("start", "reset")]
    assert len(calls) > 4
    assert {(fields["who"], fields["key"]) for fields in calls} == {("this-machine", own)}
    findings = [event["fields"] for event in events if event["kind"] == "finding"]
    assert any(f["about"] == "operator" and "belongs to no operator" in f["text"] for f in findings)
    assert any(f["about"] == "person" and "expected one" in f["text"] for f in findings)
