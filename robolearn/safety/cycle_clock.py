"""The caller's clock: one call per period, no gap, no step back. A time is believed before anything is kept of it.

A call that comes too soon after the one before decides nothing: limits are kept per sample, and samples may not go
out faster than one per period. A little is allowed for, because a loop that was late once is on time again.
"""

from __future__ import annotations

from math import inf, isfinite
from typing import NamedTuple

from robolearn.safety import comparisons
from robolearn.safety.mode_limits import Limits
from robolearn.safety.types import Record

_BURST_PERIODS = 2.0  # periods that may be saved up: a late call and the next one on time make two in a row
_JITTER = 1e-3  # of a period, by which a call may be early


class Tick(NamedTuple):
    """One call. now_s: the time by which ages are judged in it.

    problem: the first violation, or None.  early: the call decides nothing, and why.  believed: what it brings may
    be kept.  elapsed_s: since the last call that was believed.
    """

    now_s: float
    problem: Record | None = None
    early: Record | None = None
    believed: bool = True
    elapsed_s: float = 0.0


class CycleClock:
    """Judges the times of the calls. now_s: the newest that is believed, -inf before the first."""

    def __init__(self, period_s: float):
        self.period_s = period_s
        self.now_s = -inf
        self._leap_s: float | None = None  # a time after a gap, believed once the next call agrees with it
        self._saved = _BURST_PERIODS

    def tick(self, now_s: float, limits: Limits) -> Tick:
        """One call at now_s.

        A call at no usable time counts as one period after the last. The first time, and one after a gap, is believed
        with the call after it: a single time from the future changes nothing.
        """
        before, gap_max = self.now_s, limits.mode.cycle_gap_max_s.value
        problem = self.usable(now_s)
        if problem:
            return Tick(before, problem, believed=False)
        elapsed = now_s - before
        if elapsed > gap_max:
            leap = self._leap_s
            if leap is None or not leap <= now_s <= leap + gap_max:
                self._leap_s = now_s
                return Tick(now_s, self._gap(elapsed, limits), believed=False, elapsed_s=elapsed)
            elapsed = now_s - leap
        self.now_s, self._leap_s = now_s, None
        self._saved = min(self._saved + elapsed / self.period_s, _BURST_PERIODS)
        if self._saved < 1.0 - _JITTER:
            return Tick(now_s, early=self._early(elapsed), elapsed_s=elapsed)
        self._saved -= 1.0
        return Tick(now_s, elapsed_s=elapsed)

    def usable(self, now_s: float) -> Record | None:
        """A time is finite and not before the last one."""
        return comparisons.finite_time(now_s, "the monitor's clock") or comparisons.forward(
            now_s, self.now_s, "the monitor's clock"
        )

    def current(self, now_s: float, limits: Limits) -> Record | None:
        """A time between two calls is usable, and soon after the last call."""
        return self.usable(now_s) or self._gap(now_s - self.now_s, limits)

    def _gap(self, elapsed_s: float, limits: Limits) -> Record | None:
        if not isfinite(elapsed_s):  # before the first call
            return None
        text = f"the monitor's last cycle was {elapsed_s * 1e3:.1f} ms ago"
        return comparisons.over(
            "cycle_gap",
            elapsed_s,
            limits.mode.cycle_gap_max_s.value,
            "s",
            limits.source("cycle_gap_max_s"),
            text,
        )

    def _early(self, elapsed_s: float) -> Record:
        period = self.period_s
        text = f"{elapsed_s * 1e3:.3f} ms after the call before, a period is {period * 1e3:g} ms: nothing was decided"
        return Record("cycle_early", elapsed_s, period, elapsed_s - period, "s", "the monitor's period", text)
