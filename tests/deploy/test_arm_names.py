"""One arm among several: its namespace, and the prefix of its joints."""

import pytest
import yaml

from robolearn.deploy.arm_names import arm_topic, full_namespace, in_namespace, prefixed
from robolearn.deploy.controller import controller_parameters, controller_yaml
from robolearn.deploy.deployment import deployment_for, node_parameters
from robolearn.deploy.ros_policies import rights
from robolearn.errors import ConfigError
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile


@pytest.mark.parametrize(
    ("given", "full"),
    [("", ""), ("left", "/left"), ("/left", "/left"), ("left/", "/left"), ("cell/left", "/cell/left")],
)
def test_a_namespace_is_named_in_full(given, full):
    assert full_namespace(given) == full


@pytest.mark.parametrize("given", ["left arm", "2nd", "left//arm", "~", "left-arm"])
def test_what_ros_does_not_take_as_a_namespace_is_refused(given):
    with pytest.raises(ConfigError, match="expected letters, digits and underscores"):
        full_namespace(given)
    with pytest.raises(ConfigError, match="namespace is"):
        deployment_for("fr3", changes={"namespace": given})


def test_topics_of_an_arm_are_below_its_namespace_in_place_of_the_robot_files():
    fr3, iiwa = load_robot("fr3"), load_robot("iiwa14")
    assert arm_topic(fr3, "/franka/joint_states", "") == "/franka/joint_states"
    assert arm_topic(fr3, "/franka/joint_states", "left") == "/left/franka/joint_states"
    assert arm_topic(iiwa, "/lbr/joint_states", "lbr_left") == "/lbr_left/joint_states"
    assert arm_topic(iiwa, "/lbr2/joint_states", "left") == "/left/lbr2/joint_states"
    assert in_namespace("/cell/person", "left") == "/cell/person"
    assert in_namespace("robolearn/goal", "left") == "/left/robolearn/goal"
    assert prefixed(("a", "b"), "left_") == ("left_a", "left_b")


def test_every_node_gets_the_prefix_and_the_controllers_file_has_both():
    deployment = deployment_for("fr3", changes={"namespace": "left", "joint_prefix": "left_"})
    nodes = node_parameters(deployment, "b.robolearn", sim=True)
    assert {parameters["joint_prefix"] for parameters in nodes.values()} == {"left_"}
    parameters = controller_parameters(
        load_robot("fr3"), SafetyProfile.load("fr3"), namespace="left", joint_prefix="left_"
    )
    assert parameters["joints"][0] == "left_fr3_joint1"
    assert parameters["topic"] == "/left/robolearn/sent_command"
    data = yaml.safe_load(controller_yaml(parameters, namespace="left"))
    assert set(data) == {"/left/controller_manager", "/left/robolearn_controller"}


def test_rights_are_those_of_one_arm():
    given = {one.enclave: one for one in rights(deployment_for("fr3", changes={"namespace": "left"}))}
    safety = given["/robolearn/safety_node"]
    assert "/left/forward_position_controller/commands" in safety.publish
    assert "/left/robolearn/policy_command" in safety.subscribe
    assert "/left/franka/joint_states" in safety.subscribe
    assert "/left/robolearn_controller/get_parameters" in safety.call
    assert "/left/safety_node/operate" in safety.serve
    assert not [
        topic for topic in safety.publish if not topic.startswith("/left/") and topic != "/diagnostics"
    ]
