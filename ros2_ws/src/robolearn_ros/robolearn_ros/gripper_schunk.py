"""A Schunk EGK behind Schunk's driver: its services move_to_absolute_position and grip, one at a time.

A service answers when the motion has ended, so that nothing is sent meanwhile.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from schunk_gripper_interfaces.srv import GripWithVelocity, MoveToAbsolutePositionGPE  # pyright: ignore[reportMissingImports]

from robolearn.robots import Gripper
from robolearn_ros.gripper_driver import finger_width, interface_of
from robolearn_ros.gripper_plan import Grasp, Motion

FORCE_MIN_PERCENT, FORCE_MAX_PERCENT = 50, 100


class SchunkDriver:
    """Positions as the driver's joint states have them; forces in percent of the largest."""

    grasps = True

    def __init__(self, node: Node, gripper: Gripper):
        ros = interface_of(gripper)
        self._fingers, self._ros = finger_width(gripper), ros
        percent = round(100.0 * ros.force_n / gripper.grip_force_n)
        self._percent = min(max(percent, FORCE_MIN_PERCENT), FORCE_MAX_PERCENT)
        self._move = node.create_client(MoveToAbsolutePositionGPE, f"{ros.command}/move_to_absolute_position")
        self._grip = node.create_client(GripWithVelocity, f"{ros.command}/grip")
        self.busy = False
        self._failed = False
        self.problem = ""

    def ready(self) -> bool:
        """Whether both services have been found."""
        there = self._move.service_is_ready() and self._grip.service_is_ready()
        self.problem = "" if there else f"no services in {self._ros.command}"
        return there

    def send(self, motion: Motion) -> bool:
        """Call a service."""
        if self.busy or not self.ready():
            return False
        self.busy = True
        if isinstance(motion, Grasp):
            request: Any = GripWithVelocity.Request(force=self._percent, velocity=self._ros.speed_m_s)
            calling = self._grip.call_async(request)
        else:
            request = MoveToAbsolutePositionGPE.Request(
                position=self._fingers.position(motion.width_m), velocity=self._ros.speed_m_s
            )
            calling = self._move.call_async(request)
        calling.add_done_callback(self._answered)
        return True

    def take_failed(self) -> bool:
        """Whether a call failed since the last one."""
        failed, self._failed = self._failed, False
        return failed

    def _answered(self, future: Any) -> None:
        answer = future.result()
        self.busy = False
        # A grip that met no workpiece has closed the fingers, which is what was asked for.
        well = answer is not None and (answer.success or getattr(answer, "no_workpiece_detected", False))
        self._failed = not well
        self.problem = "" if well else f"{self._ros.command}: {getattr(answer, 'message', 'no answer')}"
