"""A served arm in the browser: what is on the topics is what the page shows, and nothing else."""

import time

import numpy as np
import pytest

from robolearn.deploy.serving import free_domain
from robolearn.robots import load_robot

pytestmark = pytest.mark.ros

ROBOT = load_robot("fr3")


def test_the_page_follows_the_topics_of_the_arm(port):
    import rclpy
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
    from geometry_msgs.msg import PointStamped
    from rclpy.node import Node
    from robolearn_ros.arm import arm_topics
    from robolearn_ros.messages import qos
    from robolearn_ros.watch import Watch
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64

    rclpy.init(domain_id=free_domain())
    watch = arm = None
    try:
        watch = Watch(ROBOT, "left", "left_", port)
        arm = Node("arm")
        topics = arm_topics(ROBOT, "left")
        states = arm.create_publisher(JointState, topics.best_state, topics.state_qos(1))
        widths = arm.create_publisher(Float64, "left/robolearn/gripper_width", qos(1))
        goals = arm.create_publisher(PointStamped, "left/robolearn/goal", qos(1))
        decisions = arm.create_publisher(DiagnosticStatus, "left/robolearn/decision", qos(1, latched=True))
        position = np.asarray(ROBOT.home_rad) + 0.2
        state = JointState(name=[f"left_{name}" for name in reversed(ROBOT.joint_names)])
        state.position, state.velocity = position[::-1].tolist(), [0.0] * ROBOT.dof
        goal = PointStamped()
        goal.point.x, goal.point.y, goal.point.z = 0.4, 0.1, 0.3
        text = "![x](http://elsewhere/x.png) <img src=y> stop of [this](http://elsewhere)"
        decision = DiagnosticStatus(message=text)
        decision.values = [KeyValue(key="state", value="stopped"), KeyValue(key="mode", value="automatic")]
        qpos = watch.scene.data.qpos
        assert watch.scene._text.content == "No joint state yet."
        deadline = time.monotonic() + 60.0
        while not (np.allclose(qpos[: ROBOT.dof], position) and np.allclose(qpos[ROBOT.dof :], 0.02)
                   and "goal" in watch.scene._marks and "stopped" in watch.scene._text.content):  # fmt: skip
            assert time.monotonic() < deadline, (qpos, watch.scene._text.content)
            state.header.stamp = arm.get_clock().now().to_msg()
            for publisher, message in ((states, state), (widths, Float64(data=0.04)), (goals, goal),
                                       (decisions, decision)):  # fmt: skip
                publisher.publish(message)
            watch.step()
        said = watch.scene._text.content
        assert said.startswith("**stopped**, mode automatic")
        assert not set("[]()<>!") & set(said)  # no links and pictures of others
        topics_of_ours = watch.node.get_publisher_names_and_types_by_node("viewer", "/left")
        assert {name for name, _ in topics_of_ours} <= {"/rosout", "/parameter_events"}  # it reads only
    finally:
        if watch is not None:
            watch.close()
        if arm is not None:
            arm.destroy_node()
        rclpy.shutdown()


def test_wrong_input_ends_with_one_line(capsys):
    from robolearn_ros.watch import main

    assert main(["--robot", "no_such_arm"]) == 2
    assert "no_such_arm" in capsys.readouterr().err
    assert main(["--port", "0"]) == 2
    assert capsys.readouterr().err == "port is 0, but must be 1 to 65535.\n"
