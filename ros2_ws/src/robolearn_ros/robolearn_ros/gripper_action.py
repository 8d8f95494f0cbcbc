"""A gripper behind a gripper action controller: control_msgs/action/GripperCommand, one goal replaces the other."""

from __future__ import annotations

import time
from typing import Any

from action_msgs.msg import GoalStatus
from control_msgs.action import GripperCommand  # pyright: ignore[reportMissingImports]
from rclpy.action import ActionClient
from rclpy.node import Node

from robolearn.robots import Gripper
from robolearn_ros.gripper_driver import finger_width, interface_of
from robolearn_ros.gripper_plan import Grasp, Motion

PERIOD_S = 0.1  # between two goals: a controller on a serial line takes no more
_REPLACED = (GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED)


class ActionDriver:
    """The goal's position is that of the first joint; a goal that an object stalls holds it."""

    grasps = False

    def __init__(self, node: Node, gripper: Gripper):
        ros = interface_of(gripper)
        self._fingers, self._force_n, self._name = finger_width(gripper), ros.force_n, ros.command
        self._client = ActionClient(node, GripperCommand, ros.command)
        self._sent_s = -PERIOD_S
        self._number = 0  # of the newest goal: what becomes of an older one does not matter
        self._failed = False
        self.problem = ""

    @property
    def busy(self) -> bool:
        """A new goal replaces the last one, but not more often than every PERIOD_S."""
        return time.monotonic() - self._sent_s < PERIOD_S

    def ready(self) -> bool:
        """Whether the action's server has been found."""
        found = self._client.server_is_ready()
        self.problem = "" if found else f"no action server for {self._name}"
        return found

    def send(self, motion: Motion) -> bool:
        """Send a goal."""
        if not self.ready():
            return False
        goal = GripperCommand.Goal()
        goal.command.position = self._fingers.position(0.0 if isinstance(motion, Grasp) else motion.width_m)
        goal.command.max_effort = self._force_n
        self._sent_s, self._number = time.monotonic(), self._number + 1
        number = self._number
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._accepted(future, number))
        return True

    def take_failed(self) -> bool:
        """Whether a goal was rejected, or neither reached nor stalled, since the last call."""
        failed, self._failed = self._failed, False
        return failed

    def _accepted(self, future: Any, number: int) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            if number == self._number:
                self._failed, self.problem = True, f"{self._name} rejected a goal"
            return
        handle.get_result_async().add_done_callback(lambda done: self._ended(done, number))

    def _ended(self, future: Any, number: int) -> None:
        answer = future.result()
        if number != self._number or answer is None:
            return
        result = answer.result
        held = result.reached_goal or result.stalled
        if not held and answer.status in _REPLACED:
            self._failed, self.problem = True, f"{self._name} aborted a goal at {result.position:.4f}"
