"""The system's time and monotonic time, read together."""

from __future__ import annotations

import time

_READINGS = 5


def system_offset_ns() -> int:
    """System time minus monotonic time now, ns, by the quickest of a few readings.

    A process that is held up between two readings would otherwise take the pause for a clock that was set.
    """
    readings = []
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        system = time.time_ns()
        after = time.monotonic_ns()
        readings.append((after - before, system - (before + after) // 2))
    return min(readings)[1]
