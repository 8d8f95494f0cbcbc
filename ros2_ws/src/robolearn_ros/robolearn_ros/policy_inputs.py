"""What the policy read in the seconds before a stop: published by the policy node, recorded by the safety node.

The log has joint states and commands, but not the goals and poses that a policy also reads. The policy node publishes
all of it, one message per decision; the safety node keeps the newest seconds and records them when the arm stops, so
that `robolearn explain --log` can say which inputs those decisions responded to. Nothing else depends on it.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, MultiArrayDimension

from robolearn.safety.types import State
from robolearn_ros.messages import Polled, qos

TOPIC = "robolearn/policy_inputs"
QUEUE = 50  # messages that may wait for one cycle
KEPT_S = 2.0
DECISIONS_MAX = 200  # kept, whatever the rate
NUMBERS_MAX = 200  # of one decision: more, as of a camera, is not recorded
_STOPS_MAX = 8  # that may wait to be written

_Decision = tuple[int, str, list[float]]  # cycle in which it came, digest of the bundle, values


class InputsReport:
    """Of the policy node: publishes what each decision read."""

    def __init__(self, node: Node):
        self._out = node.create_publisher(Float64MultiArray, TOPIC, qos(QUEUE))

    def publish(self, inputs: Iterable[NDArray[np.float32]], digest: str) -> None:
        """The newest decisions of one bundle, by the control loop."""
        for values in inputs:
            if len(values) > NUMBERS_MAX:
                continue
            message = Float64MultiArray(data=values.tolist())
            message.layout.dim = [MultiArrayDimension(label=digest, size=len(values), stride=len(values))]
            self._out.publish(message)


class InputsRecord:
    """Of the safety node: keeps the newest decisions, and records them once a stop has begun."""

    def __init__(self, node: Node, event: Callable[..., object], period_s: float):
        """event: records an event of a kind, with fields. period_s: of the control loop's cycles."""
        self.polled = Polled(node, Float64MultiArray, TOPIC, qos(QUEUE))
        self._event, self._span = event, round(KEPT_S / period_s)
        self._kept: deque[_Decision] = deque(maxlen=DECISIONS_MAX)
        self._state = State.HOLDING
        self._waiting: queue.SimpleQueue[tuple[int, list[_Decision]]] = queue.SimpleQueue()

    def take(self, cycle: int, state: State) -> None:
        """What came since the last cycle, and the monitor's state in this one; by the control loop."""
        for message in self.polled.take():
            labels = [dimension.label for dimension in message.layout.dim]
            if len(message.data) <= NUMBERS_MAX and len(labels) == 1:
                self._kept.append((cycle, labels[0][:64], list(message.data)))
        stopped = self._state is State.RUNNING and state in (State.STOPPING, State.STOPPED)
        self._state = state
        if not stopped:
            return
        if self._waiting.qsize() < _STOPS_MAX:
            self._waiting.put((cycle, [one for one in self._kept if one[0] > cycle - self._span]))
        self._kept.clear()

    def write(self) -> None:
        """Record what waits, one event for each bundle; by the executor's thread, and not while the arm brakes."""
        while self._state is not State.STOPPING and not self._waiting.empty():
            at_cycle, decisions = self._waiting.get_nowait()
            for digest in dict.fromkeys(one[1] for one in decisions):
                mine = [one for one in decisions if one[1] == digest]
                self._event(
                    "policy_inputs",
                    at_cycle=at_cycle,
                    policy_digest=digest,
                    cycles=[number for number, _, _ in mine],
                    values=[[float(f"{value:.9g}") for value in values] for _, _, values in mine],
                )
