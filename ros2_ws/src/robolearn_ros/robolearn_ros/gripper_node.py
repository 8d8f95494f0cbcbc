"""Between the safety node and the driver of the arm's gripper: openings in, the gripper's own commands out.

Takes what the safety node lets through, commands the gripper through its manufacturer's driver (`gripper_driver`), and
publishes the opening that the finger joints have, where there is no sensor for it.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64, Float64MultiArray

from robolearn.policy.sources import GRIPPER_WIDTH, find_source
from robolearn.robots import load_robot
from robolearn_ros.arm import GRIPPER_COMMAND_TOPIC
from robolearn_ros.gripper_driver import finger_width, interface_of, make_driver
from robolearn_ros.gripper_plan import GripperPlan
from robolearn_ros.loop import Loop
from robolearn_ros.messages import qos
from robolearn_ros.node import OK, PHASE, STATS_PATH, WARN, CallbackNode, called, run_node, status
from robolearn_ros.parameters import Parameter, declare
from robolearn_ros.sim_clock import node_clock

PARAMETERS = (
    Parameter("robot", "fr3", "robot name or robot YAML; its gripper's file says how the gripper is commanded"),
    Parameter("rate_hz", 50.0, "how often the target and the opening are looked at", "Hz", 5, 200),
    Parameter("rt_priority", 0, "SCHED_FIFO priority, 0 for none", "", 0, 95),
    PHASE,
    STATS_PATH,
)  # fmt: skip

STATE_AGE_MAX_S = 0.5


class GripperNode(CallbackNode):
    """One gripper: a target, a measured opening, and a driver. At the end it keeps what it holds."""

    def __init__(self) -> None:
        self.node = Node("gripper_node")
        p = declare(self.node, PARAMETERS)
        gripper = load_robot(p["robot"]).gripper
        self._label, ros = gripper.label, interface_of(gripper)
        self.clock = node_clock(self.node)
        self.loop = Loop(p["rate_hz"], p["rt_priority"], p["phase"], self.clock)
        self._driver = make_driver(self.node, gripper)
        self._plan = GripperPlan(gripper.width_max_m, grasps=self._driver.grasps)
        self._fingers = finger_width(gripper)
        self._target_m: float | None = None
        self._width_m: float | None = None
        self._seen_s = -math.inf
        self._counts = {"sent": 0, "failed": 0, "refused_targets": 0}
        self._state_topic = self.node.resolve_topic_name(ros.state_topic)
        self.node.create_subscription(Float64MultiArray, GRIPPER_COMMAND_TOPIC, self._on_target, qos(1))
        # Best effort hears every publisher; the next joint state comes soon.
        self.node.create_subscription(JointState, ros.state_topic, self._on_state, qos(1, reliable=False))
        self._out = self.node.create_publisher(Float64, find_source(GRIPPER_WIDTH).topic.lstrip("/"), qos(10))
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self.node.create_timer(1.0 / p["rate_hz"], self._work)
        self.node.create_timer(1.0, self._publish_diagnostics)
        self.node.get_logger().info(f"{gripper.label}, commanded by its driver '{ros.driver}'")

    def statistics(self) -> dict[str, Any]:
        """What was commanded."""
        return {**self.loop.summary(), **self._counts}

    def _on_target(self, message: Float64MultiArray) -> None:
        if len(message.data) != 1 or not math.isfinite(message.data[0]):
            self._counts["refused_targets"] += 1
            return
        self._target_m = float(message.data[0])

    def _on_state(self, message: JointState) -> None:
        width = self._fingers.width_m(list(message.name), list(message.position))
        if width is None or not math.isfinite(width):
            return
        self._width_m, self._seen_s = width, self._now_s()
        self._out.publish(Float64(data=width))

    def _work(self) -> None:
        if self._driver.take_failed():
            self._counts["failed"] += 1
            self._plan.failed()
        if self._target_m is None or self._width_m is None or self._stale or self._driver.busy:
            return
        now_s = self._now_s()
        motion = self._plan.next(self._target_m, self._width_m, now_s)
        if motion is not None and self._driver.send(motion):
            self._counts["sent"] += 1
            self._plan.sent(motion, now_s)

    def _now_s(self) -> float:
        return self.clock.now_ns() / 1e9

    @property
    def _stale(self) -> bool:
        return self._now_s() - self._seen_s > STATE_AGE_MAX_S

    def _publish_diagnostics(self) -> None:
        self._driver.ready()
        problem = (self.clock.fault if self.clock.simulated else "") or self._driver.problem
        if self._stale:
            problem = f"no joint state with {', '.join(self._fingers.joints)} on {self._state_topic}"
        values = {"target_m": self._target_m, "width_m": self._width_m, **self._counts}
        level, text = (WARN, problem) if problem else (OK, "following")
        one = status(f"{called(self.node)}: gripper", level, text, self._label, values)
        message = DiagnosticArray(status=[one])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(GripperNode, args)


if __name__ == "__main__":
    sys.exit(main())
