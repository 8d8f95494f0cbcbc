"""The arm's controller is read and compared before a first message goes to it: with mock controllers in one graph."""

import threading
import time
from dataclasses import replace

import pytest
import rclpy
from fake_arm import FakeArm
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from robolearn_ros.controller_node import ControllerNode, controller_parameters_of
from robolearn_ros.handshake import Handshake
from robolearn_ros.messages import Polled, qos
from sensor_msgs.msg import JointState

from robolearn.deploy.arm_controller import ExpectedController
from robolearn.deploy.serving import Serving, free_domain

pytestmark = pytest.mark.ros

EXPECTED = ExpectedController(
    "forward", "/arm/forward_position_controller", "/arm/forward_position_controller/commands",
    ("j1", "j2", "j3"), 500.0,
)  # fmt: skip
ROBOLEARN = replace(
    EXPECTED, kind="robolearn", node="/arm/robolearn_controller", topic="/robolearn/sent_command",
    rate_hz=0.0, stream_rate_hz=500.0, profile_digest="0" * 64,
)  # fmt: skip


class Graph:
    """One node that asks, and mock controllers that another thread spins."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=free_domain())
        self.node = Node("asker", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.closing, self.made = False, []
        self.thread = threading.Thread(target=self.spin)
        self.thread.start()

    def spin(self):
        while not self.closing:
            self.executor.spin_once(timeout_sec=0.02)

    def mock(self, expected, **changes):
        made = ControllerNode(
            expected.node, controller_parameters_of(expected, 500.0) | changes, self.context
        )
        self.executor.add_node(made.node)
        self.made.append(made)
        return made

    def drop(self):
        for made in self.made:
            self.executor.remove_node(made.node)
        time.sleep(0.1)
        for made in self.made:
            made.node.destroy_node()
        self.made = []

    def close(self):
        self.closing = True
        self.thread.join()
        self.drop()
        self.node.destroy_node()
        self.context.shutdown()


@pytest.fixture(scope="module")
def graph():
    made = Graph()
    yield made
    made.close()


CASES = {
    "as expected": (EXPECTED, {}, ""),
    "swapped": (EXPECTED, {"joints": ["j2", "j1", "j3"]}, "1 is j2, expected j1; 2 is j1, expected j2"),
    "missing": (EXPECTED, {"joints": ["j1", "j2"]}, "joints: it lacks j3"),
    "extra": (EXPECTED, {"joints": ["j1", "j2", "j3", "j4"]}, "joints: it has j4 too"),
    "interface": (EXPECTED, {"interface_name": "velocity"}, "interface_name is 'velocity', expected 'position'"),
    "no interface": (EXPECTED, {"interface_name": None}, "interface_name is 'None'"),
    "rate": (EXPECTED, {"update_rate": 250}, "update_rate is 250 Hz, expected 500 Hz"),
    "no rate": (EXPECTED, {"update_rate": None}, "update_rate is not known"),
    "robolearn": (ROBOLEARN, {"joints": ["j3", "j1", "j2"]}, ""),
    "other profile": (ROBOLEARN, {"profile_digest": "1" * 64}, "profile_digest is 111111111111, expected 000000000000"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_whatever_differs_is_refused_by_name(graph, case):
    expected, changes, said = CASES[case]
    shake = Handshake(graph.node, expected)
    graph.mock(expected, **changes)
    problem = shake.check()
    graph.drop()
    assert (problem == "") is (said == "")
    assert said in problem
    if said == "":
        assert shake.found["state"] == "active"
    else:
        assert problem.startswith(f"{expected.node} is not the controller of this deployment: ")


def test_its_state_is_that_of_a_report_which_comes_now(graph):
    shake, controller = Handshake(graph.node, EXPECTED), graph.mock(EXPECTED)
    assert shake.check() == ""
    controller.state = "inactive"
    assert "is inactive, expected active" in shake.check()
    controller.state = "active"
    assert shake.check() == ""
    controller.state = None
    assert "it is unknown whether /arm/forward_position_controller is active" in shake.check()
    graph.drop()


def test_a_rate_of_zero_is_the_controller_managers(graph):
    graph.mock(EXPECTED, update_rate=0)
    manager = replace(EXPECTED, node="/arm/controller_manager")
    managers = graph.mock(manager, update_rate=500)
    managers.state = None
    shake = Handshake(graph.node, EXPECTED)
    assert shake.check() == ""
    assert shake.found["update_rate"] == 500
    graph.drop()


def test_a_controller_that_is_not_there_is_named(graph):
    absent = replace(EXPECTED, node="/arm/other_controller")
    problem = Handshake(graph.node, absent).check()
    assert problem.startswith("/arm/other_controller does not answer on /arm/other_controller/get_parameters")
    assert "check_controller" in problem


def test_robolearns_controller_is_waited_for_until_it_follows(graph):
    shake, controller = Handshake(graph.node, ROBOLEARN), graph.mock(ROBOLEARN)
    assert "does not follow: it reports nothing" in shake.wait_until_followed()
    controller.tell("waiting", "the stream does not rest yet")
    assert "does not follow: waiting (the stream does not rest yet)" in shake.wait_until_followed()
    controller.tell("following", "none")
    assert shake.wait_until_followed() == ""
    assert shake.wait_until_followed() == ""  # nothing new comes, and nothing changed
    graph.drop()
    assert Handshake(graph.node, EXPECTED).wait_until_followed() == ""


def test_no_message_goes_to_a_controller_with_swapped_joints_and_none_before_the_first_start(tmp_path):
    """The safety node as a process, on an arm that was never started."""
    domain = free_domain()
    arm = FakeArm(domain)
    names = list(arm.robot.joint_names)
    sent = Polled(arm.node, JointState, "/robolearn/sent_command", qos(10))
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_safety(log_dir=tmp_path / "log", log_key=tmp_path / "log.pem", rt_priority=0)
            arm.wait("a decision", lambda: arm.state == "holding", 30.0)
            swapped = rclpy.parameter.Parameter("joints", value=[names[1], names[0], *names[2:]])
            arm.controller.node.set_parameters([swapped])
            accepted, text = arm.call("start")
            assert not accepted
            assert "joints: it has them in another order (1 is fr3_joint2, expected fr3_joint1" in text
            arm.controller.node.set_parameters([rclpy.parameter.Parameter("joints", value=names)])
            arm.controller.state = "inactive"
            accepted, text = arm.call("start")
            assert not accepted
            assert "/forward_position_controller is inactive, expected active" in text
            arm.controller.state = "active"
            accepted, text = arm.call("start")
            assert not accepted
            assert "no command has come" in text  # the controller is taken; there is no policy here
            assert (arm.commanded, sent.take()) == (0, [])
    finally:
        arm.close()
    events = (tmp_path / "log" / "events.jsonl").read_text()
    assert "it has them in another order" in events
    assert "'state': 'active'" in events
