"""Stamps of a simulator's clock moved onto the clock of this machine, while the two keep pace. No ROS here.

The nodes judge speeds, ages and stopping times in real time. A motion within v, a and j in real time has v/k, a/k^2
and j/k^3 on the clock of a simulator that runs k times as fast: at half speed 2, 4 and 8 times the limits. So stamps
are moved only while the simulator keeps real time.
"""

from __future__ import annotations

from collections import deque

FACTOR_TOLERANCE = 0.05
WINDOW_S = 0.5  # of real time, over which the factor is told
# Of real time, over which the quickest message tells the distance of the two clocks. After a longer silence that is not
# known: what comes then may have waited in a queue, and would look fresh.
OFFSET_S = 0.1
GAP_S = 0.5  # of the simulator's clock between two messages: the factor is told anew
REAL_CLOCK_S = 86_400.0  # stamps this near to the system clock are no simulator's
SIMULATED_MAX_S = 1e8  # three years; stamps above it count from 1970
_LEAST_STEP_S = 1e-6


class Restamping:
    """Fed with every message's stamp. Times in s."""

    def __init__(self) -> None:
        self.problem = "no message has come"
        self.factor: float | None = (
            None  # simulator's time over real time in the window; None while it is not known
        )
        self._seen: deque[tuple[float, float]] = deque()  # (arrival, stamp)
        self._last_s = float("-inf")  # stamp given last

    def stamp_s(self, stamp_s: float, arrival_s: float, system_s: float) -> float | None:
        """The stamp to pass on, on the clock of arrival_s; None while nothing may be, for the reason in `problem`.

        stamp_s: of the message.  arrival_s: on the monotonic clock.  system_s: on the system clock at that moment.
        """
        if abs(stamp_s - system_s) < REAL_CLOCK_S:
            self.problem = (
                "the stamps are of the system clock, so this is no simulator with a clock of its own: give the nodes "
                "this topic itself"
            )
            return None
        if stamp_s > SIMULATED_MAX_S:
            self.problem = (
                "the stamps are of another day, so these states were recorded or their clock is wrong: a simulator's "
                "clock begins at 0"
            )
            return None
        seen = self._seen
        if seen and not (0.0 <= stamp_s - seen[-1][1] < GAP_S and arrival_s - seen[-1][0] < OFFSET_S):
            seen.clear()  # paused, reset, restarted, or held up
            self.factor = None
        seen.append((arrival_s, stamp_s))
        while arrival_s - seen[0][0] > 2.0 * WINDOW_S:
            seen.popleft()
        if arrival_s - seen[0][0] < WINDOW_S:
            self.problem = "the simulator's clock was not seen for long enough yet"
            return None
        self.factor = (stamp_s - seen[0][1]) / (arrival_s - seen[0][0])
        if abs(self.factor - 1.0) > FACTOR_TOLERANCE:
            self.problem = (
                f"the simulator runs at {self.factor:.2f} times real time, expected 1 within {FACTOR_TOLERANCE:g}: let "
                "it keep real time, with a coarser model or a larger physics step"
            )
            return None
        self.problem = ""
        behind = min(a - s for a, s in seen if arrival_s - a <= OFFSET_S)
        self._last_s = max(stamp_s + behind, self._last_s + _LEAST_STEP_S)
        return self._last_s
