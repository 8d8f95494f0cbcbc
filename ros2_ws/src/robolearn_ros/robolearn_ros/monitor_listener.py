"""Listens to the safety node: where it holds the arm, and whether it follows commands.

Whoever streams commands, a policy or a motion, begins where the arm is held and moves only while it is followed.
"""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn_ros.arm import SENT_TOPIC
from robolearn_ros.decision_report import TOPIC as DECISION_TOPIC
from robolearn_ros.messages import Polled, qos

DECISION_AGE_MAX_NS = 300_000_000  # decisions come at 10 Hz at least
SENT_AGE_MAX_NS = 100_000_000


class MonitorListener:
    """What the safety node sent and decided last. Times in ns on the node's clock.

    held_rad: [n], of use once `holds`.  follows: whether commands were followed by the newest decision.
    state: the monitor's, empty before its first decision.
    """

    def __init__(self, node: Node, joints: int):
        self._sent = Polled(node, JointState, SENT_TOPIC, qos(10))
        self._decisions = Polled(node, DiagnosticStatus, DECISION_TOPIC, qos(50, latched=True))
        self.held_rad: NDArray[np.float64] = np.zeros(joints)
        self.follows, self.state = False, ""
        self._held_ns = self._decision_ns = 0

    @property
    def holds(self) -> bool:
        """Whether it is known where the arm is held."""
        return self._held_ns != 0

    def measured(self, position_rad: NDArray[np.float64], now_ns: int) -> None:
        """A measured position [n]: where nothing was sent lately and nothing is followed, the arm is held there."""
        if now_ns - self._held_ns > SENT_AGE_MAX_NS and not self.follows:
            self.held_rad, self._held_ns = position_rad, now_ns - SENT_AGE_MAX_NS

    def take(self, now_ns: int) -> None:
        """What came since the last cycle."""
        for message in self._sent.take():
            self.held_rad, self._held_ns = np.array(message.position, float), now_ns
        for message in self._decisions.take():
            self.state = {pair.key: pair.value for pair in message.values}.get("state", "")
            self.follows, self._decision_ns = self.state == "running", now_ns

    def follows_at(self, now_ns: int) -> bool:
        """Whether commands are followed, by a decision that is not old."""
        return self.follows and now_ns - self._decision_ns <= DECISION_AGE_MAX_NS

    def silent_s(self, now_ns: int) -> float:
        """For how long it has been silent, once it was heard; 0 while that is as it should be."""
        silent_ns = now_ns - self._decision_ns
        return silent_ns / 1e9 if self._decision_ns and silent_ns > DECISION_AGE_MAX_NS else 0.0
