"""What the arm's driver tells of the arm lets it move, or says why not."""

import time
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from robolearn_ros.messages import qos
from robolearn_ros.safety_node import SafetyNode
from robolearn_ros.status_gates import StatusGates
from std_msgs.msg import Bool, Float64

from robolearn.deploy.serving import free_domain
from robolearn.robots import load_robot
from robolearn.safety.types import State

pytestmark = pytest.mark.ros

RUNNING, SCALING = (
    "/io_and_status_controller/robot_program_running",
    "/speed_scaling_state_broadcaster/speed_scaling",
)


@pytest.fixture
def arm():
    """A UR5e's gates in a graph with its driver's topics, as far as their types are installed."""
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = Node("watcher", context=context, namespace="left")
    gates = StatusGates(node, load_robot("ur5e"))
    program = node.create_publisher(Bool, f"/left{RUNNING}", qos(1, latched=True))
    scaling = node.create_publisher(Float64, f"/left{SCALING}", qos(10))
    yield SimpleNamespace(gates=gates, program=program, scaling=scaling)
    node.destroy_node()
    context.shutdown()


def until(gates, said):
    """Take messages until that is what closes the gates."""
    deadline = time.monotonic() + 10.0
    while gates.closed != said:
        assert time.monotonic() < deadline, gates.closed
        gates.take()
        time.sleep(0.01)


def test_what_cannot_be_read_here_is_named(arm):
    assert arm.gates.unwatched == [
        "/left/io_and_status_controller/robot_mode (robot_mode): ur_dashboard_msgs/msg/RobotMode is not installed",
        "/left/io_and_status_controller/safety_mode (safety_mode): ur_dashboard_msgs/msg/SafetyMode is not installed",
    ]


def test_a_gate_is_closed_until_its_topic_says_that_the_arm_is_ready(arm):
    silent = f"nothing was received on /left{SCALING} (speed_scaling)"
    assert arm.gates.closed == f"{silent}; nothing was received on /left{RUNNING} (program_running)"
    arm.program.publish(Bool(data=True))
    until(arm.gates, silent)
    arm.scaling.publish(Float64(data=100.0))
    until(arm.gates, "")
    arm.program.publish(Bool(data=False))
    until(
        arm.gates,
        f"the External Control program is not running: start it on the pendant (/left{RUNNING} is False)",
    )
    arm.program.publish(Bool(data=True))
    arm.scaling.publish(Float64(data=42.0))
    until(
        arm.gates,
        "speed scaling is below 100 %, and streamed positions do not follow it: set the slider to 100 % "
        f"(/left{SCALING} is 42.0)",
    )


@pytest.mark.parametrize("name", ["fr3", "iiwa14"])
def test_arms_whose_messages_are_not_installed_are_not_watched_and_say_so(name):
    context = Context()
    rclpy.init(context=context, domain_id=free_domain())
    node = Node("watcher", context=context)
    gates = StatusGates(node, load_robot(name))
    assert gates.closed == ""
    assert len(gates.unwatched) == 1
    node.destroy_node()
    context.shutdown()


def test_a_closed_gate_stops_refuses_reset_and_start_and_ends_the_stream(monkeypatch):
    rclpy.init(args=["--ros-args", "-p", "robot:=ur5e"], domain_id=free_domain())
    safety = SafetyNode()
    try:
        closed = "the External Control program is not running"
        gate = SimpleNamespace(closed="", take=lambda: None, polled=())
        monkeypatch.setattr(safety, "gates", gate)
        safety.monitor._state = State.RUNNING
        safety.streaming = True
        safety._take()
        assert safety._stop_asked == ""
        gate.closed = closed
        safety._take()
        assert safety._stop_asked == closed
        assert safety.streaming  # the braking motion goes out
        safety.monitor._state = State.STOPPED
        safety._take()
        assert not safety.streaming
        request = SimpleNamespace(operator="anna", reason="looked", key_id="0")
        assert safety._reset(1.0, request).text == f"No reset: {closed}"
        safety.monitor._state = State.HOLDING
        assert safety._start(1.0, request).text == f"No start: {closed}"
        gate.closed = ""  # unlocked: nothing goes out before a reset and a start
        safety.monitor._state = State.STOPPED
        safety._take()
        assert not safety.streaming
        assert "reset" in safety._start(1.0, request).text.lower()
    finally:
        safety.close()
        safety.node.destroy_node()
        rclpy.shutdown()


def test_on_simulated_time_the_driver_of_a_real_arm_refuses_a_start(monkeypatch):
    given = ("robot:=ur5e", "use_sim_time:=true", "status_gates:=false")
    rclpy.init(args=["--ros-args", *(word for one in given for word in ("-p", one))], domain_id=free_domain())
    safety = SafetyNode()
    try:
        assert safety.clock.simulated
        assert safety.output.guard_gid is None  # its grid would be in real time
        assert "real arm" not in safety._unready(1.0)
        topic = next(
            one.topic for one in safety.robot.ros.status_topics.values() if one.type == "std_msgs/msg/Bool"
        )
        safety.node.create_publisher(Bool, topic, 1)
        deadline = time.monotonic() + 10.0
        while not safety.node.count_publishers(topic) and time.monotonic() < deadline:
            time.sleep(0.01)
        said = safety._unready(1.0)
        assert f"{topic} is published, as the driver of a real arm does" in said
        assert "never driven on simulated time" in said
    finally:
        safety.close()
        safety.node.destroy_node()
        rclpy.shutdown()
