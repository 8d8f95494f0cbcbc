"""Goals with the action `ReachGoal` where its message package is built, by topic alone where it is not."""

from __future__ import annotations

from rclpy.node import Node

from robolearn.robots import Robot
from robolearn_ros.goals import ACTION, Goals, Served
from robolearn_ros.own_messages import PACKAGE, built
from robolearn_ros.sources import Sources


def goal_action(node: Node, robot: Robot, inputs: Sources, served: Served) -> Goals:
    """Goals, with the action where its package is built; that it is not is said once."""
    if not built():
        node.get_logger().info(
            f"No action {ACTION}: the package {PACKAGE} is not built. Goals come by topic."
        )
        return Goals()
    from robolearn_ros.goal_server import GoalServer  # needs the package

    return GoalServer(node, robot, inputs, served)
