"""A gripper behind a position controller: every opening goes to its joints at once."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from robolearn.robots import Gripper
from robolearn_ros.gripper_driver import finger_width, interface_of
from robolearn_ros.gripper_plan import Grasp, Motion
from robolearn_ros.messages import qos


class PositionDriver:
    """Publishes one position for each joint of the gripper, as a forward command controller takes them."""

    grasps = False
    problem = ""
    busy = False

    def __init__(self, node: Node, gripper: Gripper):
        self._fingers = finger_width(gripper)
        self._out = node.create_publisher(Float64MultiArray, interface_of(gripper).command, qos(1))

    def ready(self) -> bool:
        """Whether anybody subscribes."""
        return self._out.get_subscription_count() > 0

    def send(self, motion: Motion) -> bool:
        """Publish it."""
        width_m = 0.0 if isinstance(motion, Grasp) else motion.width_m
        position = self._fingers.position(width_m)
        self._out.publish(Float64MultiArray(data=[position] * len(self._fingers.joints)))
        return True

    def take_failed(self) -> bool:
        """A topic has no answer."""
        return False
