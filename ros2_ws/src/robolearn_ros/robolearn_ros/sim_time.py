"""A simulator's time between and beyond the messages on /clock: an estimate of its rate and offset. No ROS here.

Messages come late by an unknown time, never early. Where the middleware tells when each was sent, only the quickest of
the last hundreds tells how long that takes; whether the two ends have one clock does not matter. The estimate is the
line on which the earliest of the last half second lie. It is followed by at most 10 % faster or slower than the
simulator runs, so that time neither jumps nor runs backwards. What cannot be followed so, a pause, a jump, a reset, a
rate out of range, is named, and time stands until the simulator has run evenly for a while. After a reset `base_ns` is
added to its times: this node's never go back.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from robolearn_ros.clocks import NS

RATE_MIN, RATE_MAX = 0.05, 10.0  # simulator's time over real time
SIMULATED_MAX_NS = 10**8 * NS  # three years; times above it count from 1970
WINDOW_NS = NS // 2  # all times here are of real time, where nothing else is said
ACQUIRE_NS = 3 * NS // 10
MESSAGES_MIN = 6
NOTHING = "nothing has come on /clock"
TRANSITS = 500  # messages of which the quickest tells how long a message takes
SILENT_NS = NS // 10
FIT_EVERY_NS = 20_000_000
CORRECT_NS = NS // 4  # over which an error of the followed time is taken away
CORRECT_MAX = 0.1  # of the rate
JUMP_NS = NS // 5  # of the simulator's time, ahead of the estimate
OFF_MAX_NS = NS // 10  # error of the followed time
RESET_GAP_NS = NS  # of this node's time, between the newest before a reset and the first after it


class SimTime:
    """Fed with what /clock tells, and with the moments at which nothing came. All by one thread; others may read.

    problem: why the time is not known now; empty while it is.  rate: simulator's time over real time; NaN before it was
    known.  base_ns: what is added to the simulator's times.
    """

    def __init__(self) -> None:
        self.problem = NOTHING
        self.rate = float("nan")
        self.base_ns = 0
        self._line: tuple[int, int, float] | None = (
            None  # real time, this node's time then, rate from there on
        )
        self._stands_ns = 0  # this node's time while there is no line
        self._seen: deque[tuple[int, int]] = deque(maxlen=5000)  # (when it was sent, simulator's time)
        self._transits: deque[int] = deque(maxlen=TRANSITS)
        self._quickest_ns = 0
        self._last_ns: int | None = None  # newest simulator's time
        self._fitted_ns = 0

    def now_ns(self, wall_ns: int) -> int:
        """This node's time at a moment of real time."""
        line = self._line
        if line is None:
            return self._stands_ns
        return line[1] + round(line[2] * (wall_ns - line[0]))

    def wall_ns(self, time_ns: int) -> int | None:
        """The moment of real time at which this node's time will be time_ns; None while that is not known."""
        line = self._line
        return None if line is None else line[0] + round((time_ns - line[1]) / line[2])

    def add(self, arrival_ns: int, time_ns: int, sent_ns: int | None = None) -> None:
        """One message, in order. arrival_ns: real time.  time_ns: the simulator's.

        sent_ns: when it was sent, on any clock of the rate of real time; None where that is not known.
        """
        sent_ns = arrival_ns if sent_ns is None else sent_ns
        transits = self._transits
        if transits and abs(arrival_ns - sent_ns - transits[-1]) > NS:
            transits.clear()
            self.lose("the publisher of /clock has changed, or a system clock was set", arrival_ns)
        transits.append(arrival_ns - sent_ns)
        self._quickest_ns = min(transits)
        arrival_ns = sent_ns + self._quickest_ns
        if not 0 <= time_ns <= SIMULATED_MAX_NS:
            self.lose(
                f"the time on /clock is {time_ns / NS:.0f} s, expected a simulator's, which begins at 0: it is the "
                "system's, or of a recording",
                arrival_ns,
            )
            return
        last_ns, self._last_ns = self._last_ns, time_ns
        if last_ns is not None and time_ns < last_ns:
            self.lose(
                f"the time on /clock went back by {(last_ns - time_ns) / NS:.3f} s to {time_ns / NS:.3f} s: the "
                "simulator was reset, or several publish it",
                arrival_ns,
            )
        elif last_ns is not None and time_ns == last_ns:
            return  # as a paused simulator repeats it
        elif self._line is not None:
            ahead_ns = time_ns + self.base_ns - self.now_ns(arrival_ns)
            if ahead_ns > JUMP_NS * max(self.rate, 1.0):
                self.lose(
                    f"the time on /clock jumped ahead by {ahead_ns / NS:.3f} s to {time_ns / NS:.3f} s",
                    arrival_ns,
                )
        seen = self._seen
        seen.append((sent_ns, time_ns))
        while sent_ns - seen[0][0] > WINDOW_NS:
            seen.popleft()

    def look(self, wall_ns: int) -> None:
        """What came until now has been added: estimate, or name what is wrong."""
        seen = self._seen
        if not seen:
            return
        if wall_ns - seen[-1][0] - self._quickest_ns > SILENT_NS:
            at_s = (self._last_ns or 0) / NS
            self.lose(f"the simulator is paused, or has ended: /clock has stood at {at_s:.3f} s", wall_ns)
        elif self._line is None:
            if self._enough:
                self._begin(wall_ns)
            elif self.problem == NOTHING:
                self.problem = "/clock was not seen for long enough yet: it is expected at 20 Hz or more"
        elif wall_ns - self._fitted_ns >= FIT_EVERY_NS and self._enough:
            self._follow(wall_ns)

    def lose(self, problem: str, wall_ns: int) -> None:
        """The time is not known from now on; it stands. problem: why."""
        self._stands_ns, self._line, self.problem = self.now_ns(wall_ns), None, problem
        self._seen.clear()

    @property
    def _enough(self) -> bool:
        return len(self._seen) >= MESSAGES_MIN and self._seen[-1][0] - self._seen[0][0] >= ACQUIRE_NS

    def _fit(self, wall_ns: int) -> tuple[float, int]:
        """The simulator's rate and its time at wall_ns, by the quickest message of each half of the window."""
        first_wall, first_time = self._seen[0]
        wall, time = (np.array(self._seen, dtype=np.int64) - (first_wall, first_time)).astype(float).T
        rough = time[-1] / wall[-1]
        half = int(np.searchsorted(wall, wall[-1] / 2))
        early = time - rough * wall
        a, b = int(np.argmax(early[:half])), half + int(np.argmax(early[half:]))
        rate = (time[b] - time[a]) / (wall[b] - wall[a]) if wall[b] - wall[a] > wall[-1] / 4 else rough
        newest = rate * (wall_ns - self._quickest_ns - first_wall) + (time - rate * wall).max()
        return float(rate), first_time + round(float(newest))

    def _in_range(self, rate: float, wall_ns: int) -> bool:
        if RATE_MIN <= rate <= RATE_MAX:
            return True
        self.lose(
            f"the simulator runs at {rate:.3g} times real time, expected {RATE_MIN:g} to {RATE_MAX:g}",
            wall_ns,
        )
        return False

    def _begin(self, wall_ns: int) -> None:
        rate, time_ns = self._fit(wall_ns)
        if not self._in_range(rate, wall_ns):
            return
        if time_ns + self.base_ns < self._stands_ns:
            self.base_ns = self._stands_ns + RESET_GAP_NS - time_ns
        self.rate, self._fitted_ns = rate, wall_ns
        self._line, self.problem = (wall_ns, time_ns + self.base_ns, rate), ""

    def _follow(self, wall_ns: int) -> None:
        rate, time_ns = self._fit(wall_ns)
        if not self._in_range(rate, wall_ns):
            return
        own_ns = self.now_ns(wall_ns)
        error_ns = time_ns + self.base_ns - own_ns
        if abs(error_ns) > OFF_MAX_NS * max(rate, 1.0):
            self.lose(f"/clock runs unevenly: its time is {error_ns / NS:+.3f} s off the estimate", wall_ns)
            return
        self.rate, self._fitted_ns = rate, wall_ns
        change = min(max(error_ns / CORRECT_NS, -CORRECT_MAX * rate), CORRECT_MAX * rate)
        self._line = wall_ns, own_ns, rate + change
