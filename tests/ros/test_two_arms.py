"""Two arms with one bundle in one ROS graph: each hears its own nodes only."""

import math
import time
from contextlib import ExitStack

import numpy as np
import pytest
import rclpy
import ros_standin
from robolearn_ros.observer import Observer

from robolearn.deploy.deployment import deployment_for, node_parameters
from robolearn.deploy.serving import Serving, free_domain
from robolearn.robots import load_robot

pytestmark = pytest.mark.ros

GOALS = {"left": [0.5, 0.2, 0.4], "right": [0.45, -0.3, 0.5]}


def test_two_arms_one_bundle_and_no_cross_talk(tmp_path):
    bundle, domain, robot = ros_standin.export_reaching(tmp_path), free_domain(), load_robot("fr3")
    rclpy.init(domain_id=domain)
    arms = {side: Observer(robot, side, f"{side}_") for side in GOALS}
    left, right = arms.values()
    for arm in arms.values():
        arm._person_due_s = math.inf  # the simulated cells have person sensors of their own

    def wait(what, until, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, (what, [arm.told[-1:] for arm in arms.values()])
            for arm in arms.values():
                arm.step()

    def reaches(arm, side):
        return float(np.linalg.norm(arm.tcp_m - GOALS[side])) < 0.03

    def arrived(arm, side):
        """Whether it is at its goal; it is started where it stands, also where a busy machine has stopped it."""
        if arm.state == "stopped":
            arm.call("reset")
        if arm.state != "running":
            arm.call("start")
        return arm.state == "running" and reaches(arm, side)

    with ExitStack() as stack:
        servings = {}
        for side in GOALS:
            changes = {"namespace": side, "joint_prefix": f"{side}_", "rate_hz": 250.0, "rt_priority": 20}
            nodes = node_parameters(deployment_for("fr3", changes=changes), bundle.path, sim=True)
            serving = Serving(tmp_path / side, domain_id=domain, namespace=side)
            servings[side] = stack.enter_context(serving)
            for name, parameters in nodes.items():
                serving.start(name, **parameters)
        for serving in servings.values():
            serving.wait_until_active(60.0)
        wait(
            "joint states and decisions of both", lambda: all(arm.track and arm.told for arm in arms.values())
        )
        rested = right.track[-1].position_rad
        left.send_goal(np.array(GOALS["left"]))
        wait("the left arm's goal", lambda: arrived(left, "left"))
        assert right.state == "holding"
        assert np.abs(right.track[-1].position_rad - rested).max() < 1e-3
        right.send_goal(np.array(GOALS["right"]))
        wait("the right arm's goal", lambda: arrived(right, "right"))
        wait("the left arm at its goal", lambda: arrived(left, "left"))
        assert right.call("stop")[0]
        wait("a stop of the right arm", lambda: right.state == "stopped")
        assert left.told[-1].rule != "stop_request"
        topics = {name for name, _ in left.node.get_topic_names_and_types() if "robolearn" in name}
        assert {name.split("/")[1] for name in topics} == {"left", "right"}
        assert {code for serving in servings.values() for code in serving.stop().values()} == {0}
    for arm in arms.values():
        arm.node.destroy_node()
    rclpy.try_shutdown()
