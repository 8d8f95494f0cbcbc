"""Transitions and swaps of the policy node, with real processes."""

import time

import numpy as np
import pytest
import ros_standin
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_arm import FakeArm
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from robolearn.deploy.serving import Serving, free_domain
from robolearn.policy.approval import revoke
from robolearn.review.verify import read_events

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return ros_standin.export_reaching(folder, "first"), ros_standin.export_reaching(folder, "second")


@pytest.fixture
def session(bundles, tmp_path):
    domain = free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=None)
            serving.start_policy(bundles[0].path, require_approval=False)
            serving.wait_until_active()
            arm.run_again()
            yield serving, arm
    finally:
        arm.close()


@pytest.fixture
def swapping(bundles, tmp_path):
    """As `session`, with a log and a policy node that may swap in motion."""
    domain = free_domain()
    arm = FakeArm(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=tmp_path / "log")
            serving.start_policy(bundles[0].path, require_approval=False, swap_in_motion=True)
            serving.wait_until_active()
            arm.run_again()
            yield serving, arm, tmp_path / "log"
    finally:
        arm.close()


def ask(arm, kind, name, request):
    client = arm.node.create_client(kind, name)
    arm.wait(name, client.service_is_ready)
    future = client.call_async(request)
    arm.wait(f"answer of {name}", future.done)
    return future.result()


def change(arm, transition):
    return ask(
        arm,
        ChangeState,
        "/policy_node/change_state",
        ChangeState.Request(transition=Transition(id=transition)),
    ).success


def stage(arm, path):
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(path))
    request = SetParameters.Request(parameters=[Parameter(name="staged_bundle", value=value)])
    assert ask(arm, SetParameters, "/policy_node/set_parameters", request).results[0].successful
    return ask(arm, Trigger, "/policy_node/stage", Trigger.Request())


def moved(arm, seconds=0.5):
    before = arm.position.copy()
    time.sleep(seconds)
    return float(np.abs(arm.position - before).max())


def test_deactivate_holds_and_activate_goes_on(session):
    _, arm = session
    arm.goal(0.5, 0.3, 0.4)
    assert moved(arm) > 0.05
    assert change(arm, Transition.TRANSITION_DEACTIVATE)
    time.sleep(0.5)
    arm.goal(0.5, -0.3, 0.4)
    assert moved(arm) == 0.0
    assert arm.state == "running"
    assert change(arm, Transition.TRANSITION_ACTIVATE)
    assert moved(arm) > 0.05
    assert arm.largest_step < 0.05


def test_a_cleanup_ends_the_stream_and_the_monitor_stops(session):
    _, arm = session
    assert change(arm, Transition.TRANSITION_DEACTIVATE)
    assert change(arm, Transition.TRANSITION_CLEANUP)
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    assert arm.stop_seen[0] == "command_age"


def test_a_bad_bundle_is_not_staged_and_the_old_one_goes_on(session, bundles, tmp_path):
    _, arm = session
    broken = tmp_path / "broken.robolearn"
    broken.write_bytes(bundles[1].path.read_bytes()[:-1])
    answer = stage(arm, broken)
    assert not answer.success
    assert "archive structure" in answer.message
    arm.goal(0.5, 0.3, 0.4)
    assert moved(arm) > 0.05
    assert arm.state == "running"


def test_a_staged_bundle_takes_over_at_rest_and_needs_a_start(session, bundles):
    serving, arm = session
    arm.goal(0.5, 0.3, 0.4)
    assert moved(arm) > 0.05
    answer = stage(arm, bundles[1].path)
    assert answer.success
    assert "needs a start" in answer.message
    serving.wait_for_output("policy_node", "swapped: second", 5.0)
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    assert arm.stop_seen[0] == "source"
    arm.run_again()
    arm.goal(0.5, -0.3, 0.4)
    assert moved(arm) > 0.05
    _, _, values = arm.report("policy_node: policy")
    assert (values["bundle"], values["digest"]) == ("second.robolearn", bundles[1].digest)
    assert arm.last_policy.header.frame_id == f"policy:{bundles[1].digest}"
    assert arm.largest_step < 0.05


def test_a_swap_in_motion_names_the_new_policy_without_a_stop(swapping, bundles):
    serving, arm, log = swapping
    old, new = (f"policy:{bundle.digest}" for bundle in bundles)
    arm.goal(0.5, 0.3, 0.4)
    assert moved(arm) > 0.05
    assert arm.last_policy.header.frame_id == old
    arm.goal(0.5, -0.3, 0.4)
    time.sleep(0.2)
    assert stage(arm, bundles[1].path).success
    serving.wait_for_output("policy_node", "swapped: second", 5.0)
    arm.wait("the new name", lambda: arm.last_policy.header.frame_id == f"{old}+{new}")
    time.sleep(0.5)
    assert arm.state == "running"
    assert arm.stop_seen is None
    assert arm.largest_step < 0.05
    arm.wait("the event", lambda: len(told(log)) >= 2)
    assert [event["policy_digest"] for event in told(log)] == [bundle.digest for bundle in bundles]


def told(log):
    return [event["fields"] for event in read_events(log) if event["kind"] == "command_source"]


def test_a_policy_that_is_revoked_while_it_runs_brakes_and_holds(session, tmp_path):
    serving, arm = session
    third = ros_standin.export_reaching(tmp_path, "third")
    assert stage(arm, third.path).success
    serving.wait_for_output("policy_node", "swapped: third", 5.0)
    arm.wait("a stop", lambda: arm.stop_seen is not None)
    arm.run_again()
    arm.goal(0.5, 0.3, 0.4)
    assert moved(arm) > 0.05
    revoke(third.path, Ed25519PrivateKey.generate(), "op-3", "Drops parts.")
    serving.wait_for_output("policy_node", "the policy brakes and holds", 10.0)
    time.sleep(0.5)
    arm.goal(0.5, -0.3, 0.4)
    assert moved(arm) == 0.0
    arm.report("policy_node: policy", lambda level, message, values: "was revoked by op-3" in message)
    assert arm.largest_step < 0.05
    answer = stage(arm, third.path)
    assert not answer.success
    assert "was revoked by op-3" in answer.message
