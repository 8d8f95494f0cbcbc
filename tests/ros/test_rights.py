"""What the nodes publish, subscribe, serve and call is within the rights that an SROS 2 keystore gives them.

Runs with any middleware: without DDS Security nothing refuses a missing right, and only the operator of a real cell
would see that a node does not start.
"""

import fnmatch
import os
import time

import built_interfaces
import numpy as np
import pytest
import rclpy
import ros_standin
from rclpy.node import Node

from robolearn.data.motion_file import PlannedMotion, write_motion
from robolearn.deploy.deployment import deployment_for, node_parameters
from robolearn.deploy.ros_policies import rights
from robolearn.deploy.serving import Serving, free_domain
from robolearn.robots import load_robot

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(not built_interfaces.can_build(), reason=built_interfaces.SKIP),
]

ALWAYS = ("/rosout", "/parameter_events")  # every enclave may
# Nodes in the process of sim_node.
SIMULATED = (
    "forward_position_controller",
    "joint_trajectory_controller",
    "robolearn_controller",
    "controller_manager",
)


@pytest.fixture(autouse=True)
def interfaces(monkeypatch):
    """The packages of messages, so that the nodes offer all that they can."""
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH"):  # both are changed below
        monkeypatch.setenv(name, os.environ.get(name, ""))
    built_interfaces.install_interfaces()


@pytest.fixture
def graph():
    domain = free_domain()
    rclpy.init(domain_id=domain)
    node = Node("looks", start_parameter_services=False)
    node.domain = domain
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def nodes_of(graph):
    """Full names of all nodes but the one that looks."""
    return {f"{space.rstrip('/')}/{name}" for name, space in graph.get_node_names_and_namespaces()} - {
        "/looks"
    }


def enclave_of(node):
    node = node.rpartition("/")[2]
    return "safety_node" if "brake_guard" in node else "sim_node" if node in SIMULATED else node


def used(graph, name):
    """{what a right is called: names that a node uses}. name: of the node, with its namespace."""
    space, _, bare = name.rpartition("/")
    of = lambda look: {one for one, _ in look(bare, space or "/")} - set(ALWAYS)  # noqa: E731
    return {
        "publish": of(graph.get_publisher_names_and_types_by_node),
        "subscribe": of(graph.get_subscriber_names_and_types_by_node),
        "serve": of(graph.get_service_names_and_types_by_node),
        "call": of(graph.get_client_names_and_types_by_node),
    }


def beyond(graph, deployment):
    """What nodes do that their enclave may not: sentences."""
    given = {one.name: one for one in rights(deployment)}
    return sorted(
        f"{node}: {right} {name}"
        for node in nodes_of(graph)
        for right, names in used(graph, node).items()
        for name in names
        if not any(fnmatch.fnmatchcase(name, one) for one in getattr(given[enclave_of(node)], right))
    )


def settled(graph, wanted):
    """Wait until the nodes are found, and what they use is the same for a second."""
    deadline, before, since = time.monotonic() + 60.0, None, time.monotonic()
    while True:
        now = {name: used(graph, name) for name in sorted(nodes_of(graph))}
        if now != before:
            before, since = now, time.monotonic()
        if {f"/{name}" for name in wanted} <= set(now) and time.monotonic() - since > 1.0:
            return now
        assert time.monotonic() < deadline, now
        time.sleep(0.1)


@pytest.mark.parametrize("controller", ["forward", "trajectory", "robolearn"])
def test_the_nodes_of_a_cell_stay_within_their_rights(controller, graph, tmp_path):
    bundle = ros_standin.export_reaching(tmp_path)
    with Serving(tmp_path, rate_hz=100.0, domain_id=graph.domain) as serving:
        serving.start("sim_node", robot="fr3", rate_hz=100.0, controller=controller)
        serving.start_safety(log_dir=None, controller=controller)
        serving.start_policy(bundle.path)
        serving.wait_until_active(60.0)
        found = settled(graph, {"safety_node", "policy_node", "sim_node"})
        assert "/robolearn/policy_command" in found["/policy_node"]["publish"]
        assert "/robolearn/reach_goal/_action/send_goal" in found["/policy_node"]["serve"]
        assert beyond(graph, deployment_for("fr3", changes={"controller": controller})) == []
        # The keys of a cell also serve its simulated arm, whose controller forwards.
        if controller == "forward":
            assert beyond(graph, deployment_for("fr3")) == []


def test_a_cell_with_a_namespace_stays_within_its_rights(graph, tmp_path):
    bundle = ros_standin.export_reaching(tmp_path)
    changes = {"namespace": "left", "joint_prefix": "left_", "rt_priority": 20}
    deployment = deployment_for("fr3", changes=changes)
    with Serving(tmp_path, domain_id=graph.domain, namespace="left") as serving:
        for name, parameters in node_parameters(deployment, bundle.path, sim=True).items():
            serving.start(name, **parameters)
        serving.wait_until_active(60.0)
        found = settled(graph, {"left/safety_node", "left/policy_node", "left/sim_node"})
        assert "/left/robolearn/policy_command" in found["/left/policy_node"]["publish"]
        assert beyond(graph, deployment) == []


def test_a_motion_stays_within_the_rights_of_the_policy(graph, tmp_path):
    robot = load_robot("fr3")
    path = np.tile(robot.home_rad, (3, 1))
    motion = PlannedMotion(robot.joint_names, np.array([0.0, 0.5, 1.0]), path, 0.0 * path)
    write_motion(tmp_path / "still.mcap", motion)
    with Serving(tmp_path, rate_hz=100.0, domain_id=graph.domain) as serving:
        serving.start_sim()
        serving.start_safety(log_dir=None)
        serving.start("motion_node", robot="fr3", motion=str(tmp_path / "still.mcap"), command_rate_hz=100.0)
        found = settled(graph, {"safety_node", "policy_node", "sim_node"})
        assert "/robolearn/policy_command" in found["/policy_node"]["publish"]
        assert beyond(graph, deployment_for("fr3")) == []


@pytest.mark.parametrize("gripper", ["franka_hand", "robotiq_2f85", "schunk_egk40"])
def test_a_gripper_and_its_node_stay_within_their_rights(gripper, graph, tmp_path):
    with Serving(tmp_path, rate_hz=100.0, domain_id=graph.domain, robot=f"fr3+{gripper}") as serving:
        serving.start_sim(mock_gripper=True)
        serving.start("gripper_node", robot=f"fr3+{gripper}")
        found = settled(graph, {"gripper_node", "sim_node"})
        assert "/robolearn/gripper_width" in found["/gripper_node"]["publish"]
        assert beyond(graph, deployment_for(f"fr3+{gripper}")) == []
