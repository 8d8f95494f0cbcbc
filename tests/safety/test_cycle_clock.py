"""The caller's clock by itself: every finding in full, what is believed, and how soon calls may follow each other."""

import numpy as np
import pytest
from safety_rig import profile_with

from robolearn.robots import load_robot
from robolearn.safety.cycle_clock import CycleClock, Tick
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.types import Record

PERIOD = 0.0078125
LIMITS = compile_limits(profile_with(cycle_gap_max_s=0.0625).mode("automatic"), load_robot("fr3"))
GAP_SOURCE = LIMITS.source("cycle_gap_max_s")


def clock_at(now_s=50.0):
    """A clock that believes now_s, with nothing saved up."""
    clock = CycleClock(PERIOD)
    assert clock.tick(now_s - PERIOD, LIMITS) == Tick(now_s - PERIOD, believed=False, elapsed_s=np.inf)
    assert clock.tick(now_s, LIMITS) == Tick(now_s, elapsed_s=PERIOD)
    assert clock.tick(now_s, LIMITS).early is None  # the second of two that were saved up
    return clock


def gap(seconds):
    text = f"the monitor's last cycle was {seconds * 1e3:.1f} ms ago"
    return Record("cycle_gap", seconds, 0.0625, 0.0625 - seconds, "s", GAP_SOURCE, text)


def test_the_first_time_is_believed_with_the_second():
    clock = CycleClock(PERIOD)
    assert clock.now_s == -np.inf
    assert not clock.tick(1e9, LIMITS).believed  # nobody knows better yet
    assert not clock.tick(50.0, LIMITS).believed
    assert clock.tick(50.0 + PERIOD, LIMITS).believed
    assert clock.now_s == 50.0 + PERIOD


def test_one_call_per_period_is_neither_early_nor_late():
    clock = clock_at()
    for k in range(1, 1000):
        assert clock.tick(50.0 + k * PERIOD, LIMITS) == Tick(50.0 + k * PERIOD, elapsed_s=PERIOD)


def test_a_gap_is_believed_with_the_call_after_it():
    clock = clock_at()
    assert clock.tick(80.0, LIMITS) == Tick(80.0, gap(30.0), believed=False, elapsed_s=30.0)
    assert clock.now_s == 50.0
    assert clock.tick(80.0 + PERIOD, LIMITS) == Tick(80.0 + PERIOD, elapsed_s=PERIOD)
    assert clock.now_s == 80.0 + PERIOD


def test_a_pause_of_the_allowed_length_is_no_gap():
    clock = clock_at()
    assert clock.tick(50.0625, LIMITS) == Tick(50.0625, elapsed_s=0.0625)
    assert clock.tick(50.125, LIMITS).problem is None
    assert clock.tick(np.nextafter(50.1875, 60.0), LIMITS).problem.rule == "cycle_gap"


@pytest.mark.parametrize("ahead_s", [0.25, 1.0, 1e9, 1e300])
def test_a_single_time_from_the_future_changes_nothing(ahead_s):
    clock = clock_at()
    assert clock.tick(50.0 + ahead_s, LIMITS).problem.rule == "cycle_gap"
    assert clock.tick(50.0 + PERIOD, LIMITS) == Tick(50.0 + PERIOD, elapsed_s=PERIOD)
    assert clock.tick(50.0 + ahead_s, LIMITS).problem.rule == "cycle_gap"  # it was not remembered either
    assert clock.now_s == 50.0 + PERIOD


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_time_that_is_no_number_counts_as_a_period_and_is_not_kept(bad):
    clock = clock_at()
    problem = Record("finite", 1.0, 0.0, -1.0, "1", "robolearn", f"the monitor's clock is {bad}")
    for _ in range(5):
        assert clock.tick(bad, LIMITS) == Tick(50.0, problem, believed=False)
    assert clock.now_s == 50.0
    assert clock.tick(50.0 + PERIOD, LIMITS) == Tick(50.0 + PERIOD, elapsed_s=PERIOD)


def test_a_time_that_goes_back_counts_as_a_period_and_is_not_kept():
    clock = clock_at()
    text = "the monitor's clock went back by 31.250 ms"
    problem = Record("clock", 49.96875, 50.0, -0.03125, "s", "robolearn", text)
    assert clock.tick(49.96875, LIMITS) == Tick(50.0, problem, believed=False)
    assert clock.now_s == 50.0


def early(elapsed):
    text = f"{elapsed * 1e3:.3f} ms after the call before, a period is 7.8125 ms: nothing was decided"
    return Record("cycle_early", elapsed, PERIOD, elapsed - PERIOD, "s", "the monitor's period", text)


def test_a_call_that_comes_too_soon_decides_nothing():
    clock = clock_at()
    for k, elapsed in ((1, 0.25), (2, 0.25), (3, 0.25)):
        now = 50.0 + 0.25 * k * PERIOD
        assert clock.tick(now, LIMITS) == Tick(now, early=early(elapsed * PERIOD), elapsed_s=elapsed * PERIOD)
    assert clock.tick(50.0 + PERIOD, LIMITS).early is None
    assert clock.tick(50.0 + PERIOD, LIMITS) == Tick(50.0 + PERIOD, early=early(0.0), elapsed_s=0.0)


@pytest.mark.parametrize("factor", [1.0, 1.001, 2.0, 10.0, 1e6])
def test_as_many_calls_decide_as_there_are_periods(factor):
    clock, calls = clock_at(), 2000
    decided = sum(clock.tick(50.0 + k * PERIOD / factor, LIMITS).early is None for k in range(1, calls + 1))
    assert decided == pytest.approx(calls / factor, abs=1.5)


def test_a_call_that_was_late_and_the_next_one_on_time_both_decide():
    clock, rng = clock_at(), np.random.default_rng(0)
    late = rng.uniform(0.0, 1.0, 500)
    assert all(clock.tick(50.0 + (1 + k + late[k]) * PERIOD, LIMITS).early is None for k in range(500))


def test_no_more_than_two_are_saved_up():
    clock = clock_at()
    assert clock.tick(50.0625, LIMITS).early is None  # after eight periods
    assert clock.tick(50.0625, LIMITS).early is None
    assert clock.tick(50.0625, LIMITS).early is not None


def test_times_between_two_calls():
    clock = clock_at()
    assert clock.current(50.0, LIMITS) is None
    assert clock.current(50.0625, LIMITS) is None
    assert clock.current(50.25, LIMITS) == gap(0.25)
    assert clock.current(np.nan, LIMITS).rule == "finite"
    assert clock.current(49.0, LIMITS).rule == "clock"
    assert clock.now_s == 50.0
    assert CycleClock(PERIOD).current(50.0, LIMITS) is None


@pytest.mark.parametrize("after_s", [0.0, 0.0625])
def test_the_call_after_a_gap_agrees_with_it_up_to_the_allowed_pause(after_s):
    clock = clock_at()
    assert not clock.tick(80.0, LIMITS).believed
    assert clock.tick(80.0 + after_s, LIMITS).believed
    clock = clock_at()
    assert not clock.tick(80.0, LIMITS).believed
    assert not clock.tick(np.nextafter(80.0625, 81.0), LIMITS).believed
