"""The one publisher that commands the arm, its claim to do so, and the brake guard behind it."""

from __future__ import annotations

from typing import NamedTuple

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.claim import Claim
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.types import Decision
from robolearn_ros.brake_guard import BrakeGuard
from robolearn_ros.messages import misfits, qos


class GuardOptions(NamedTuple):
    """How the brake guard is started: the period of the samples, and the priority of the control loop."""

    period_s: float
    rt_priority: int


class ArmOutput:
    """Sends decided samples to the arm's controller. Raises AlreadyClaimed where another process does so already."""

    def __init__(self, node: Node, topic: str):
        self._node, self.topic = node, topic
        self._resolved = node.resolve_topic_name(topic)
        self._claim = Claim("commands an arm", self._resolved, node.context.get_domain_id())
        self._guard: BrakeGuard | None = None
        self.silent = False  # the guard has taken over: nothing is sent from here any more

    def connect(self, joints: int, guard: GuardOptions | None) -> None:
        """Create the publisher, and start the guard; by the thread that runs the control loop."""
        self._qos = qos(1)
        self._out = self._node.create_publisher(Float64MultiArray, self.topic, self._qos)
        if guard is not None:
            self._guard = BrakeGuard(self._resolved, joints, *guard)

    @property
    def guard_gid(self) -> bytes | None:
        """The guard's publisher in the ROS graph; empty while the guard starts, None where there is none."""
        return self._guard.gid if self._guard is not None else None

    def send(self, tick_ns: int, decision: Decision, monitor: SafetyMonitor) -> None:
        """The decided sample; the guard first learns how to brake after it."""
        if self.silent:
            return
        message, ahead = Float64MultiArray(data=decision.command_rad.tolist()), monitor.braking
        if self._guard is None or ahead is None:
            self._out.publish(message)
            return
        limits = monitor.limits.acceleration_max_rad_s2, monitor.limits.jerk_max_rad_s3
        self._guard.plan(tick_ns, decision.command_rad, ahead, limits)
        self._out.publish(message)
        self._guard.sent()

    def hand_over(self) -> bool:
        """Nothing can be sent from here in this cycle: let the guard brake. False where there is none."""
        if self._guard is None or self.silent:
            return self.silent
        self.silent = True
        self._guard.brake()
        return True

    @property
    def problem(self) -> str:
        """Why nobody would brake the arm if this process were killed; empty where somebody would, or none is wanted."""
        return self._guard.problem if self._guard is not None else ""

    def misfits(self) -> list[str]:
        """Subscribers that can never hear what is sent, and why."""
        return misfits(self._node, self.topic, Float64MultiArray, self._qos, reading=False)

    def close(self) -> None:
        """End the guard, and let another process command the arm."""
        if self._guard is not None:
            self._guard.close()
        self._claim.release()
