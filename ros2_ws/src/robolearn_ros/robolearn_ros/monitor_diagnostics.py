"""What /diagnostics tells of the safety node: what is wrong, how its loop runs, and how old what it sends is."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from robolearn.safety.monitor import SafetyMonitor
from robolearn_ros.decision_report import NodeLog
from robolearn_ros.loop import Loop, Samples
from robolearn_ros.messages import qos
from robolearn_ros.node import ERROR, OK, WARN, called, loop_values, status
from robolearn_ros.session_log import SessionLog
from robolearn_ros.sim_clock import SimClock


class MonitorDiagnostics:
    """Problems that come and go, by name, and durations.

    check_time: of one cycle's decision.  latency: from the stamp of a joint state to the command that left knowing it.
    command_latency: from the stamp of the policy's command to the arm's.
    """

    def __init__(self, node: Node, loop: Loop, monitor: SafetyMonitor, log: SessionLog, said: NodeLog):
        self._node, self._loop, self._monitor, self._log, self._said = node, loop, monitor, log, said
        self._out = node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self.problems: dict[str, str] = {}
        self.check_time, self.latency, self.command_latency = Samples(), Samples(), Samples()

    def note(self, name: str, text: str) -> None:
        """Remember a problem, and record that it came or went; empty text ends it. By any thread."""
        if self.problems.get(name, "") == text:
            return
        self._log.event("finding", about=name, text=text or "ended")
        others = {other: found for other, found in self.problems.items() if other != name}
        self.problems = {**self.problems, name: text} if text else others
        if text:
            self._said.warning(text)

    def publish(self) -> None:
        """By the executor's thread."""
        monitor, log, clock = self._monitor, self._log, self._loop.clock
        values = loop_values(self._loop) | {
            "mode": monitor.mode,
            "state": monitor.state,
            "profile_digest": monitor.profile.digest,
            "log": str(log.directory) if log.directory else "none",
        }
        values |= clock.values() if isinstance(clock, SimClock) else {}
        values |= {f"check_us_{key}": value for key, value in self.check_time.summary_us().items()}
        values |= {f"state_to_command_us_{key}": value for key, value in self.latency.summary_us().items()}
        problems = self.problems
        level = ERROR if problems else (WARN if log.directory is None else OK)
        text = "; ".join(problems.values()) or (
            "no safety log is kept" if log.directory is None else "watching"
        )
        name, robot = f"{called(self._node)}: monitor", monitor.robot.name
        message = DiagnosticArray(status=[status(name, level, text, robot, values)])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._out.publish(message)

    def statistics(self) -> dict[str, Any]:
        """Loop, check and latency."""
        return {
            **self._loop.summary(),
            "check_us": self.check_time.summary_us(),
            "state_to_command_us": self.latency.summary_us(),
            "policy_to_command_us": self.command_latency.summary_us(),
        }
