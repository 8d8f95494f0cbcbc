"""What the safety node tells people of its decisions: a status on change and at 10 Hz, and stops in the ROS log."""

from __future__ import annotations

import queue
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from robolearn.safety.types import Decision, State, Verdict
from robolearn_ros.clocks import Clock
from robolearn_ros.messages import qos
from robolearn_ros.node import ERROR, OK, WARN, status
from robolearn_ros.own_messages import StampedDecisions

TOPIC = "robolearn/decision"
PERIOD_NS = 100_000_000
_WRITE_S = 0.1


class NodeLog:
    """Lines for the ROS log from any thread, written by the executor's: writing may block, and a loop must not."""

    def __init__(self, node: Node):
        self._node = node
        self._lines: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()
        node.create_timer(_WRITE_S, self.write)

    def error(self, text: str) -> None:
        """A stop, or what needs somebody's attention."""
        self._lines.put((True, text))

    def warning(self, text: str) -> None:
        """What somebody should know."""
        self._lines.put((False, text))

    def write(self) -> None:
        """Everything said so far; by the executor's thread, or once it has ended."""
        while not self._lines.empty():
            error, text = self._lines.get_nowait()
            if error:  # rclpy ties one severity to each line of code that logs
                self._node.get_logger().error(text)
            else:
                self._node.get_logger().warning(text)


class DecisionReport:
    """Publishes decisions. `reason` is why a stop was requested, of a stop by the rule stop_request."""

    def __init__(self, node: Node, log: NodeLog, robot: str, profile_digest: str, clock: Clock):
        self._out = node.create_publisher(DiagnosticStatus, TOPIC, qos(50, latched=True))
        self._stamped = StampedDecisions(node, robot, profile_digest, clock)
        self._log, self._robot, self._profile_digest = log, robot, profile_digest
        self._key: tuple[Any, ...] = ()
        self._published_ns = 0
        self._before = State.HOLDING
        self.reason = ""

    def tell(self, decision: Decision, mode: str, asked: str, now_ns: int) -> None:
        """One cycle's decision. asked: why a stop was requested in this cycle; empty if none was."""
        if decision.latched and self._before in (State.HOLDING, State.RUNNING):
            self.reason = asked
            self._log.error(f"Stop: {self._text(decision)}")
        self._before = decision.state
        record = decision.records[0] if decision.records else None
        key = (decision.verdict, decision.state, record and record.rule, mode)
        if key == self._key and now_ns - self._published_ns < PERIOD_NS:
            return
        self._key, self._published_ns = key, now_ns
        values: dict[str, Any] = {
            "verdict": decision.verdict,
            "state": decision.state,
            "latched": decision.latched,
            "mode": mode,
            "monotonic_ns": now_ns,
            "stopping_time_s": decision.stopping_time_s,
            "profile_digest": self._profile_digest,
        }
        if record is not None:
            fields = ("rule", "where", "value", "limit", "margin", "unit", "source")
            values |= {field: getattr(record, field) for field in fields}
        asked_for = self.reason if self._asked_for(decision) else ""
        if asked_for:
            values["reason"] = asked_for
        level = {Verdict.PASS: OK, Verdict.LIMIT: WARN, Verdict.STOP: ERROR if decision.latched else WARN}
        text = self._text(decision)
        self._out.publish(status("robolearn: decision", level[decision.verdict], text, self._robot, values))
        self._stamped.tell(decision, mode, asked_for, text, now_ns)

    def _asked_for(self, decision: Decision) -> bool:
        return bool(self.reason and decision.records and decision.records[0].rule == "stop_request")

    def _text(self, decision: Decision) -> str:
        """What a decision says to a person; of a stop that was asked for, why."""
        if not decision.records:
            return str(decision.state)
        text = decision.records[0].text
        return f"{text}: {self.reason}" if self._asked_for(decision) else text
