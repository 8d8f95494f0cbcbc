"""Joint states of a simulator with a clock of its own, such as Gazebo, stamped with the system clock.

For simulation only: it refuses states that bear stamps of the system clock, as those of an arm do, and passes on
nothing while the simulator does not keep real time, or while several publish, of which the safety node would see only
this node. The safety node then stops by the age of the state.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn_ros.clocks import StampClock
from robolearn_ros.loop import Loop
from robolearn_ros.messages import qos, time_message
from robolearn_ros.node import OK, PHASE, STATS_PATH, WARN, CallbackNode, called, run_node, status
from robolearn_ros.parameters import Parameter, declare
from robolearn_ros.restamping import Restamping

PARAMETERS = (
    Parameter("from_topic", "joint_states", "joint states with stamps of the simulator's clock"),
    Parameter("to_topic", "sim_joint_states", "where they go with stamps of the system clock: the nodes' state_topic"),
    Parameter("rt_priority", 0, "SCHED_FIFO priority, 0 for none", "", 0, 95),
    PHASE,
    STATS_PATH,
)  # fmt: skip
RATE_HZ = 10.0  # of the loop, which only ends the node
QUEUE = 50


class RestampNode(CallbackNode):
    """One topic in, one out. Only the executor's thread works here."""

    def __init__(self) -> None:
        self.node = Node("restamp_node")
        p = declare(
            self.node,
            PARAMETERS,
            "it brings a simulator's joint states onto the system clock, for nodes without use_sim_time",
        )
        self.loop = Loop(RATE_HZ, p["rt_priority"], p["phase"])
        self._clock, self._restamping, self._said, self._publishers = StampClock(), Restamping(), "", 0
        self._counts = {"passed_on": 0, "held_back": 0}
        self._out = self.node.create_publisher(JointState, p["to_topic"], qos(QUEUE))
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        # Best effort hears every publisher.
        self._from = self.node.create_subscription(
            JointState, p["from_topic"], self._on_state, qos(QUEUE, reliable=False)
        )
        self.node.create_timer(1.0, self._publish_diagnostics)

    def statistics(self) -> dict[str, Any]:
        """How many states were passed on."""
        return {**self.loop.summary(), **self._counts}

    def _on_state(self, message: JointState) -> None:
        stamp, arrival_ns = message.header.stamp, time.monotonic_ns()
        restamped_s = self._restamping.stamp_s(stamp.sec + stamp.nanosec / 1e9, arrival_ns / 1e9, time.time())
        if self._publishers > 1:
            restamped_s = None
        self._counts["held_back" if restamped_s is None else "passed_on"] += 1
        if restamped_s is not None:
            message.header.stamp = time_message(self._clock, round(restamped_s * 1e9))
            self._out.publish(message)

    def _publish_diagnostics(self) -> None:
        topic, problem, factor = self._from.topic_name, self._restamping.problem, self._restamping.factor
        self._publishers = self.node.count_publishers(topic)
        if self._publishers > 1:
            problem = f"there are {self._publishers} publishers on {topic}, expected one"
        if problem != self._said:
            self._said, log = problem, self.node.get_logger()
            log.warning(f"No joint state is passed on: {problem}.") if problem else log.info("Passing on.")
        values = {"real_time_factor": "unknown" if factor is None else factor, **self._counts}
        level, text = (WARN, problem) if problem else (OK, "passing on")
        message = DiagnosticArray(status=[status(f"{called(self.node)}: clock", level, text, "", values)])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(RestampNode, args)


if __name__ == "__main__":
    sys.exit(main())
