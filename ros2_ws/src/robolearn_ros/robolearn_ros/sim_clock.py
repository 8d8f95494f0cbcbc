"""use_sim_time: a node's clock that follows /clock, and the choice of a node's clock."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage

from robolearn.recorder.clocks import system_offset_ns
from robolearn_ros.clocks import LOOK_NS, NS, Clock, StampClock, sleep_until_ns
from robolearn_ros.messages import Polled, qos
from robolearn_ros.sim_time import SimTime

TOPIC = "/clock"
QUEUE = 1000
_NAP_NS = 5_000_000
_COUNT_EVERY_NS = NS // 2
_ARRIVAL_MAX_NS = NS  # ago; anything else is no moment of arrival


def node_clock(node: Node) -> Clock:
    """The clock of a node, by its parameter use_sim_time, which `parameters.declare` has checked."""
    return SimClock(node) if bool(node.get_parameter("use_sim_time").value) else StampClock()


class SimClock:
    """The simulator's time. Messages are taken by the thread that sleeps on it, or calls `take`; others may read.

    No message is needed for each cycle: between them time goes on at the simulator's rate (`sim_time`).
    """

    simulated = True

    def __init__(self, node: Node):
        self._node, self._time = node, SimTime()
        self._polled = Polled(node, ClockMessage, TOPIC, qos(QUEUE, reliable=False))
        self._counted_ns = self._publishers = 0

    def now_ns(self) -> int:
        """The simulator's time now, as estimated."""
        return self._time.now_ns(time.monotonic_ns())

    def monotonic_s(self, sec: int, nanosec: int) -> float:
        """A stamp of the simulator's time, on a clock that does not go back at a reset."""
        return (sec * NS + nanosec + self._time.base_ns) / NS

    def stamp(self, time_ns: int) -> tuple[int, int]:
        """(sec, nanosec) in the simulator's time."""
        return divmod(time_ns - self._time.base_ns, NS)

    def take(self) -> None:
        """Every message that came since the last call. What counts is when it was sent, not when this is called."""
        now_ns = time.monotonic_ns()
        messages = self._polled.take_with_info()
        if self._others(now_ns):
            self._time.lose(f"there are {self._publishers} publishers on /clock, expected one", now_ns)
            return
        offset_ns = system_offset_ns() if messages else 0
        for info, message in messages:
            arrival_ns = (info["received_timestamp"] or 0) - offset_ns
            if not 0 <= now_ns - arrival_ns <= _ARRIVAL_MAX_NS:
                arrival_ns = now_ns
            self._time.add(
                arrival_ns, message.clock.sec * NS + message.clock.nanosec, info["source_timestamp"] or None
            )
        self._time.look(now_ns)

    def _others(self, now_ns: int) -> bool:
        """Whether several publish, by a look every half second."""
        if now_ns - self._counted_ns > _COUNT_EVERY_NS:
            self._counted_ns, self._publishers = now_ns, self._node.count_publishers(TOPIC)
        return self._publishers > 1

    def sleep_until_ns(self, deadline_ns: int) -> bool:
        """Sleep until the simulator's time is deadline_ns; False while it is not known."""
        give_up_ns = time.monotonic_ns() + LOOK_NS
        while True:
            self.take()
            due_ns, now_ns = self._time.wall_ns(deadline_ns), time.monotonic_ns()
            if due_ns is None:
                if now_ns > give_up_ns:
                    return False
                due_ns = now_ns + _NAP_NS
            elif due_ns <= now_ns:
                return True
            else:
                give_up_ns = now_ns + LOOK_NS
            sleep_until_ns(min(due_ns, now_ns + _NAP_NS))

    @property
    def fault(self) -> str:
        """Why the simulator's time is not known."""
        return self._time.problem

    def values(self) -> dict[str, Any]:
        """For diagnostics."""
        return {
            "clock": "simulated",
            "real_time_factor": self._time.rate,
            "added_to_simulated_time_s": self._time.base_ns / NS,
        }
