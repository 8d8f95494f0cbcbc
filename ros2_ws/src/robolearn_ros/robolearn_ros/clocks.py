"""The clock of a node: ages, periods, limits, the grid of its loop and stamps are all on it. No rclpy here.

| clock | its time | who has it |
|---|---|---|
| StampClock | CLOCK_MONOTONIC; stamps are system time | every node, unless told otherwise |
| SimClock (`sim_clock`) | the simulator's, by /clock | nodes with use_sim_time |
| ScaledClock | this process's own, at any rate | sim_node with clock_rate, which publishes it |
"""

from __future__ import annotations

import ctypes
import time
from typing import Protocol

from robolearn.recorder.clocks import system_offset_ns

NS = 1_000_000_000
LOOK_NS = 50_000_000  # of real time, how long a sleep on a clock that stands lasts
OTHER_CLOCK_S = 86_400.0  # stamps further apart than this are of different clocks
_STEP_S = 0.005
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC, _TIMER_ABSTIME = 1, 1
_EINTR = 4


class _Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


def sleep_until_ns(deadline_ns: int) -> None:
    """Sleep until CLOCK_MONOTONIC reaches deadline_ns; Python signal handlers run in between."""
    moment = _Timespec(deadline_ns // NS, deadline_ns % NS)
    while _LIBC.clock_nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(moment), None) == _EINTR:
        pass


class Clock(Protocol):
    """Never runs backwards. simulated: whether its time is a simulator's."""

    simulated: bool

    def now_ns(self) -> int:
        """Its time now."""
        ...

    def monotonic_s(self, sec: int, nanosec: int) -> float:
        """A message's stamp on this clock."""
        ...

    def stamp(self, time_ns: int) -> tuple[int, int]:
        """(sec, nanosec) of a moment on this clock."""
        ...

    def sleep_until_ns(self, deadline_ns: int) -> bool:
        """Sleep until it reaches deadline_ns. False after LOOK_NS of real time in which its time is not known."""
        ...

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where nothing is."""
        ...


class StampClock:
    """CLOCK_MONOTONIC, tied to ROS stamps in system time.

    The offset is taken once: a system clock that is stepped later makes stamps old or early, which is seen as such.
    """

    simulated = False

    def __init__(self) -> None:
        self.offset_ns = system_offset_ns()

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def stepped_s(self) -> float:
        """How far the system clock has been moved since the offset was taken."""
        return (system_offset_ns() - self.offset_ns) / NS

    def monotonic_s(self, sec: int, nanosec: int) -> float:
        """A stamp on the monotonic clock."""
        return (sec * NS + nanosec - self.offset_ns) / NS

    def stamp(self, time_ns: int) -> tuple[int, int]:
        """(sec, nanosec) of a moment on the monotonic clock."""
        return divmod(time_ns + self.offset_ns, NS)

    def sleep_until_ns(self, deadline_ns: int) -> bool:
        """Always True."""
        sleep_until_ns(deadline_ns)
        return True

    @property
    def fault(self) -> str:
        """That the system clock was stepped."""
        stepped = self.stepped_s()
        return f"the system clock was moved by {stepped:.3f} s" if abs(stepped) > _STEP_S else ""


class ScaledClock:
    """A simulator's own clock: from 0 on, `rate` times as fast as real time; it can be paused."""

    simulated = True

    def __init__(self, rate: float):
        self.rate = rate
        self._line = time.monotonic_ns(), 0  # a moment of real time, and this clock's time then
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether its time stands."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        if paused != self._paused:
            self._line, self._paused = (time.monotonic_ns(), self.now_ns()), paused

    def now_ns(self) -> int:
        """Its time now."""
        began_ns, at_ns = self._line
        return at_ns if self._paused else at_ns + round(self.rate * (time.monotonic_ns() - began_ns))

    def monotonic_s(self, sec: int, nanosec: int) -> float:
        """Stamps are of this clock."""
        return sec + nanosec / NS

    def stamp(self, time_ns: int) -> tuple[int, int]:
        """(sec, nanosec)."""
        return divmod(time_ns, NS)

    def sleep_until_ns(self, deadline_ns: int) -> bool:
        """Sleep until it reaches deadline_ns; False while it is paused."""
        if self._paused:
            sleep_until_ns(time.monotonic_ns() + LOOK_NS)
            return False
        began_ns, at_ns = self._line
        sleep_until_ns(began_ns + max(round((deadline_ns - at_ns) / self.rate), 0))
        return True

    @property
    def fault(self) -> str:
        """That it is paused."""
        return "the simulation is paused" if self._paused else ""


def out_of_date(what: str, age_s: float, age_max_s: float, clock: Clock) -> str:
    """Why a message of that age is not of now: too old, or stamped in the future; empty where it is neither."""
    if -age_max_s <= age_s <= age_max_s:
        return ""
    if text := other_clock(what, age_s, clock):
        return text
    allowed = f"at most {age_max_s * 1e3:.0f} are allowed"
    if age_s > 0.0:
        return f"{what} is {age_s * 1e3:.0f} ms old, {allowed}"
    return f"{what} is stamped {-age_s * 1e3:.0f} ms in the future, {allowed}: synchronise the clocks"


def other_clock(what: str, age_s: float, clock: Clock) -> str:
    """Says so where a message's age shows that it is stamped with another clock than this node's."""
    if not abs(age_s) > OTHER_CLOCK_S:
        return ""
    own = "follows /clock (use_sim_time)" if clock.simulated else "is on system time"
    when = f"{abs(age_s):.0f} s {'old' if age_s > 0 else 'in the future'}"
    return (
        f"{what} is stamped with another clock: {when}, and this node {own}. "
        "Set use_sim_time for every node, or for none; a real arm is on system time."
    )
