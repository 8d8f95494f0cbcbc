"""What passes through the safety node beside the arm: the gripper's commands, and a wrench for the record."""

from __future__ import annotations

import math

from geometry_msgs.msg import WrenchStamped
from rclpy.node import Node
from std_msgs.msg import Float64, Float64MultiArray

from robolearn.recorder.cycle_codec import Wrench
from robolearn.recorder.resolution import wrench_on_grid
from robolearn_ros.arm import GRIPPER_COMMAND_TOPIC
from robolearn_ros.clocks import Clock
from robolearn_ros.messages import Polled, qos, wrench

QUEUE = 50  # messages of one topic that may wait for one cycle


class GripperRelay:
    """Passes on the gripper's opening while commands are followed; at a stop it keeps what it holds."""

    def __init__(self, node: Node, width_max_m: float):
        self._width_max_m = width_max_m
        self.polled = Polled(node, Float64, "robolearn/policy_gripper", qos(1))
        self._out = node.create_publisher(Float64MultiArray, GRIPPER_COMMAND_TOPIC, qos(1))

    def relay(self, running: bool) -> None:
        """What came since the last cycle."""
        for message in self.polled.take():
            if running and math.isfinite(message.data):
                self._out.publish(Float64MultiArray(data=[min(max(message.data, 0.0), self._width_max_m)]))


class WrenchInput:
    """The newest wrench of a force-torque sensor; recorded, not judged."""

    def __init__(self, node: Node, topic: str, clock: Clock):
        """topic: empty for no sensor."""
        self._clock = clock
        self.newest: Wrench | None = None
        self.frame_id: str | None = None  # of the newest
        # Best effort hears every publisher; a lost wrench is missing in the record only.
        self.polled = Polled(node, WrenchStamped, topic, qos(QUEUE, reliable=False)) if topic else None

    def take(self) -> bool:
        """Take what came since the last cycle. Whether the frame is another than before."""
        messages = self.polled.take() if self.polled is not None else []
        if not messages:
            return False
        self.newest = wrench_on_grid(wrench(messages[-1], self._clock))
        before, self.frame_id = self.frame_id, messages[-1].header.frame_id
        return self.frame_id != before
