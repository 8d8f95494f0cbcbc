"""A control loop that owns its time: absolute sleeps on a fixed grid, real-time priority where permitted.

No rclpy here. Measured at 500 Hz on two shared cores, this loop's p99.9 is a tenth of an rclpy timer's.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn_ros.clocks import NS, Clock, StampClock

_LIBC = ctypes.CDLL(None, use_errno=True)
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
MIDDLEWARE_BELOW = 10  # the priority of delivering threads under that of the loop
_GIVING_WAY = 15


class Samples:
    """The newest durations of one kind, ns, in a ring that is never allocated again."""

    def __init__(self, capacity: int = 1 << 15):
        self._ring = np.zeros(capacity, np.int64)
        self.count = 0
        self.largest = 0

    def add(self, value_ns: int) -> None:
        """One more."""
        self._ring[self.count & (len(self._ring) - 1)] = value_ns
        self.count += 1
        self.largest = max(self.largest, value_ns)

    def summary_us(self) -> dict[str, float]:
        """p50, p99, p99.9 of the newest, largest of all, in us; empty while there are none."""
        kept = self._ring[: min(self.count, len(self._ring))].copy()
        if not len(kept):
            return {}
        p50, p99, p999 = np.percentile(kept, [50, 99, 99.9]) / 1e3
        return {"p50": p50, "p99": p99, "p99.9": p999, "max": self.largest / 1e3, "count": self.count}


@dataclass(frozen=True)
class RealTime:
    """What the system granted, and a sentence on what it did not."""

    fifo: bool
    locked: bool
    text: str


def request_real_time(priority: int) -> RealTime:
    """SCHED_FIFO for the calling thread and locked memory for the process, where permitted. 0 asks for neither."""
    if priority == 0:
        return RealTime(False, False, "real-time priority is off (rt_priority is 0)")
    missing = []
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        fifo = True
    except OSError as error:
        fifo = False
        missing.append(f"SCHED_FIFO was refused ({error.strerror}): allow rtprio in /etc/security/limits.d")
    # Pages are locked as they are first touched: locking every reserved page would take gigabytes.
    locked = _LIBC.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0
    if not locked:
        reason = os.strerror(ctypes.get_errno())
        missing.append(f"mlockall was refused ({reason}): allow memlock in /etc/security/limits.d")
    return RealTime(fifo, locked, "; ".join(missing) or f"SCHED_FIFO {priority}, memory locked")


def set_fifo(priority: int) -> bool:
    """SCHED_FIFO for the calling thread, if priority is above 0 and it is permitted."""
    if priority > 0:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            return True
    return False


def promote_other_threads(priority: int) -> None:
    """SCHED_FIFO for every thread that runs already but the calling one: those of the middleware, which deliver.

    Without it a busy machine delivers messages late to a loop that is on time. Not permitted: no change.
    """
    own = threading.get_native_id()
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != own:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(priority))


class Loop:
    """Ticks at rate_hz on a fixed grid. Late ticks are skipped and counted, never caught up in a burst.

    The grid lies at whole multiples of the period on the loop's clock plus `phase` periods, so that the nodes of
    one machine run one after another: arm, policy, monitor.

    loop = Loop(500.0, priority=40)
    for tick_ns in loop:  # the grid time of this tick, on the loop's clock
        ...

    On a clock that may stand, a simulator's, None comes in place of a tick, about every 50 ms while it does.
    """

    def __init__(self, rate_hz: float, priority: int = 0, phase: float = 0.0, clock: Clock | None = None):
        """clock: the system's monotonic one where none is given."""
        self.clock = StampClock() if clock is None else clock
        self.period_ns = round(NS / rate_hz)
        self.phase_ns = round(phase * self.period_ns)
        self.priority = priority
        self.index = 0  # ticks of the grid since the start, skipped ones included
        self.missed = 0
        self.late = Samples()  # wake-up after the grid time
        self.work = Samples()  # from wake-up to the end of the tick
        self.real_time = RealTime(False, False, "not started")
        self._stopped = False

    def aside(self) -> ThreadPoolExecutor:
        """A thread for what may take long and is not due in the same tick, such as a policy.

        It gives way to the loop, and to the middleware's threads here and in other nodes' processes: a message that
        waits for it is a cycle late.
        """

        def give_way() -> None:
            if self.real_time.fifo:
                set_fifo(max(self.priority - _GIVING_WAY, 1))

        return ThreadPoolExecutor(1, "aside", give_way)

    def stop(self) -> None:
        """End the iteration after the current tick, or before its first; callable from anywhere."""
        self._stopped = True

    def __iter__(self) -> Any:
        self.real_time = request_real_time(self.priority)
        sys.setswitchinterval(1e-4)  # another thread gives the interpreter back within 0.1 ms
        gc.collect()
        gc.freeze()
        clock = self.clock
        while not self._stopped and not clock.sleep_until_ns(0):
            yield None
        start = (clock.now_ns() // self.period_ns + 2) * self.period_ns + self.phase_ns
        while not self._stopped:
            tick = start + self.index * self.period_ns
            if not clock.sleep_until_ns(tick):
                yield None
                continue
            began = time.monotonic_ns()
            self.late.add(max(clock.now_ns() - tick, 0))
            yield tick
            self.work.add(time.monotonic_ns() - began)
            passed = max(1, -((start - clock.now_ns()) // self.period_ns) - self.index)
            self.missed += passed - 1
            self.index += passed

    def summary(self) -> dict[str, Any]:
        """Statistics for diagnostics and benchmarks."""
        return {
            "rate_hz": NS / self.period_ns,
            "ticks": self.late.count,
            "missed": self.missed,
            "late_us": self.late.summary_us(),
            "work_us": self.work.summary_us(),
            "real_time": self.real_time.text,
        }
