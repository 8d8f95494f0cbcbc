"""Calls of other threads that the control loop carries out, between two cycles. No rclpy here."""

from __future__ import annotations

import queue
from collections.abc import Callable

from robolearn.safety.types import Answer

ANSWER_WAIT_S = 1.0

Call = Callable[[float], Answer]  # with the time of the cycle, s on the node's clock


class LoopCalls:
    """A queue of calls, each with a place for its answer."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Call, queue.SimpleQueue[Answer]]] = queue.SimpleQueue()

    def ask(self, call: Call) -> Answer:
        """Hand a call to the control loop and wait for its answer, by any other thread."""
        try:
            return self.put(call).get(timeout=ANSWER_WAIT_S)
        except queue.Empty:
            return Answer(False, "The control loop did not answer. Look at /diagnostics.")

    def put(self, call: Call) -> queue.SimpleQueue[Answer]:
        """Hand a call to the control loop. Returns where its answer will come."""
        reply: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._waiting.put((call, reply))
        return reply

    def carry_out(self, now_s: float, failed: Callable[[str], None]) -> None:
        """Every call that waits, by the control loop. failed: called with what happened where one raises."""
        while not self._waiting.empty():
            call, reply = self._waiting.get_nowait()
            try:
                reply.put(call(now_s))
            except Exception as error:
                reason = f"a service call failed: {type(error).__name__}: {error}"
                failed(reason)
                reply.put(Answer(False, reason))

    def refuse(self, reason: str) -> None:
        """Answer every call that waits, by the control loop, without carrying it out."""
        while not self._waiting.empty():
            self._waiting.get_nowait()[1].put(Answer(False, reason))
