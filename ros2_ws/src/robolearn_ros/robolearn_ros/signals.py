"""Signals of one sensor, such as the distance to a person or an enabling device: one source, in sequence, in time.

A message counts if its stamp is newer than the last one's and not from the future. A publisher that is stuck and
repeats an old message therefore ages and stops the arm, as one that is silent does. The middleware numbers each
publisher's messages: where the number goes back, another publisher speaks, or the sensor's node was started again.
While the arm moves that is refused and is a reason to stop; at rest the new source is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from rclpy.node import Node
from sensor_msgs.msg import Joy, Range

from robolearn.safety.types import Surroundings
from robolearn_ros.clocks import Clock
from robolearn_ros.messages import Numbered, Polled, distance_m, qos

T = TypeVar("T")

ENABLING_TOPIC = "robolearn/enabling_device"
QUEUE = 50  # messages of one topic that may wait for one cycle


class Signal(Generic[T]):
    """The newest valid value of one sensor, its stamp, and what was wrong with the last messages."""

    def __init__(
        self,
        topic: str,
        read: Callable[[Any], T],
        worst: Callable[[Sequence[T]], T],
        clock: Clock,
        ahead_max_s: float,
    ):
        """read: the value of a message.  worst: the value that counts of several that came in one cycle.

        ahead_max_s: how far in the future a stamp may lie.
        """
        self._topic, self._read, self._worst = topic, read, worst
        self._clock, self._ahead_max_s = clock, ahead_max_s
        self._number = 0
        self.value: T | None = None
        self.stamp_s = -math.inf

    def take(self, messages: Sequence[Numbered[Any]], now_s: float, moving: bool) -> str:
        """Take a cycle's messages. Returns why the arm must stop, empty where there is no reason.

        What is refused changes neither value nor stamp, so that the last valid value goes on ageing.
        """
        values: list[T] = []
        problem = ""
        for number, message in messages:
            refused = self._refusal(number, message, now_s, moving)
            if refused is None:
                continue
            if refused:
                problem = problem or refused
                continue
            self._number = number
            self.stamp_s = self._stamp_s(message)
            values.append(self._read(message))
        if values:
            self.value = self._worst(values)
        return problem

    def _refusal(self, number: int, message: Any, now_s: float, moving: bool) -> str | None:
        """Empty for a valid message, None for a repeated one, which is left out; otherwise what is wrong."""
        stamp_s = self._stamp_s(message)
        ahead_s = stamp_s - now_s
        if not ahead_s <= self._ahead_max_s:
            return f"a message on {self._topic} is stamped {ahead_s:.3f} s in the future"
        if number <= self._number and moving:
            return (
                f"the sequence on {self._topic} went back from {self._number} to {number}: another publisher, or the "
                "sensor's node was started again"
            )
        if stamp_s == self.stamp_s:
            return None
        if stamp_s < self.stamp_s:
            behind_ms = (self.stamp_s - stamp_s) * 1e3
            return f"stamps on {self._topic} went back by {behind_ms:.0f} ms" if moving else None
        return ""

    def _stamp_s(self, message: Any) -> float:
        stamp = message.header.stamp
        return self._clock.monotonic_s(stamp.sec, stamp.nanosec)


class CellSignals:
    """The person sensor and the enabling device: polled, checked, and given to the monitor as its surroundings."""

    def __init__(self, node: Node, clock: Clock, person_topic: str, ahead_max_s: float):
        """ahead_max_s: how far in the future a stamp may lie."""
        self.polled = (
            Polled(node, Range, person_topic, qos(QUEUE)),
            Polled(node, Joy, ENABLING_TOPIC, qos(QUEUE)),
        )
        person, enabling = (polled.topic for polled in self.polled)
        self.person = Signal(person, distance_m, nearest_m, clock, ahead_max_s)
        self.enabled = Signal(enabling, held, all, clock, ahead_max_s)

    @property
    def topics(self) -> dict[str, str]:
        """What is read, by name."""
        return {"person": self.polled[0].topic, "enabling": self.polled[1].topic}

    def take(self, now_s: float, moving: bool) -> str:
        """Take what came since the last cycle. Returns why the arm must stop, empty where there is no reason."""
        signals = zip((self.person, self.enabled), self.polled, strict=True)
        problems = [signal.take(polled.take_numbered(), now_s, moving) for signal, polled in signals]
        return "; ".join(problem for problem in problems if problem)

    def surroundings(self, stop_requested: bool) -> Surroundings:
        """The monitor's inputs from signals."""
        person, enabled = self.person, self.enabled
        return Surroundings(
            person.value,
            None if person.value is None else person.stamp_s,
            stop_requested,
            enabled.value,
            None if enabled.value is None else enabled.stamp_s,
        )


def nearest_m(distances_m: Sequence[float]) -> float:
    """The distance that counts of several that came in one cycle: the smallest, and before it what is not a number."""
    return min(distances_m, key=lambda distance: -math.inf if math.isnan(distance) else distance)


def held(message: Joy) -> bool:
    """Whether an enabling device is held: its first button reads 1."""
    return bool(message.buttons) and message.buttons[0] == 1
