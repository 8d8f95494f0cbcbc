"""The policy's out-of-distribution score between the nodes: published, shown in diagnostics, recorded. Advisory only.

The policy node publishes one score per decision, the safety node writes them into the log once a second. Neither does
anything else because of them.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Float64

from robolearn_ros.messages import Polled, qos

TOPIC = "robolearn/ood_score"
QUEUE = 50  # messages that may wait for one cycle
_EVENT_SCORES_MAX = 1000  # of a second, whatever publishes; the rest is counted


class OodReport:
    """Of the policy node: publishes scores and sums them up since the last report."""

    def __init__(self, node: Node):
        self._out = node.create_publisher(Float64, TOPIC, qos(QUEUE))
        self._above = self._count = 0
        self._largest = 0.0

    def publish(self, scores: Iterable[float]) -> None:
        """The scores of the newest decisions, by the control loop."""
        for score in scores:
            self._out.publish(Float64(data=score))
            self._count += 1
            self._above += score > 1.0
            self._largest = max(self._largest, score)

    def take(self) -> tuple[dict[str, Any], str]:
        """Values for diagnostics, and a warning where a score was above 1, of what came since the last call."""
        count, above, largest = self._count, self._above, self._largest
        self._above, self._count, self._largest = 0, 0, 0.0
        values = {"ood_score_largest": largest, "ood_scores_above_1": above, "ood_scores": count}
        if not count or not above:
            return values if count else {}, ""
        return values, (
            f"observations are unlike those of the evaluation: {above} of {count} scores are above the threshold, "
            f"{largest:.3g} times it at most"
        )


class OodRecord:
    """Of the safety node: collects scores with the cycle in which they came, and records them once a second."""

    def __init__(self, node: Node, event: Callable[..., Any]):
        """event: records an event of a kind, with fields."""
        self.polled = Polled(node, Float64, TOPIC, qos(QUEUE))
        self._event = event
        self._waiting: queue.SimpleQueue[tuple[int, float]] = queue.SimpleQueue()

    def take(self, cycle: Callable[[], int]) -> None:
        """What came since the last cycle, by the control loop. cycle: the number of this one."""
        messages = self.polled.take()
        if not messages:
            return
        number = cycle()
        for message in messages:
            if self._waiting.qsize() < 2 * _EVENT_SCORES_MAX:
                self._waiting.put((number, message.data))

    def write(self) -> None:
        """Record what has been collected; by the executor's thread."""
        found: list[tuple[int, float]] = []
        while not self._waiting.empty():
            found.append(self._waiting.get_nowait())
        if not found:
            return
        scores = [float(f"{score:.4g}") for _, score in found[:_EVENT_SCORES_MAX]]
        cycles = [number for number, _ in found[:_EVENT_SCORES_MAX]]
        above = sum(not score <= 1.0 for _, score in found)
        self._event("ood_score", count=len(found), above=above, cycles=cycles, scores=scores)
