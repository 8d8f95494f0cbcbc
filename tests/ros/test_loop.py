import os
import threading
import time

import numpy as np
import pytest
from robolearn_ros.clocks import StampClock, sleep_until_ns
from robolearn_ros.loop import (
    MIDDLEWARE_BELOW,
    Loop,
    RealTime,
    Samples,
    request_real_time,
)


def test_ticks_lie_on_the_grid_and_late_ones_are_skipped_and_counted():
    loop, ticks = Loop(1000.0, phase=0.25), []
    for tick in loop:
        ticks.append(tick)
        if len(ticks) == 5:
            sleep_until_ns(tick + 3_500_000)
        missed = loop.missed  # of the grid up to this tick: the end of the last one may itself be late
        if len(ticks) == 10:
            loop.stop()
    assert all(tick % 1_000_000 == 250_000 for tick in ticks)
    gaps = np.diff(ticks) // 1_000_000
    assert gaps[4] >= 3
    assert missed == gaps.sum() - len(gaps)
    assert loop.index == 1 + gaps.sum() + loop.missed - missed
    assert loop.summary()["ticks"] == 10


def test_a_loop_that_was_stopped_before_it_began_never_ticks():
    loop = Loop(1000.0)
    loop.stop()
    assert next(iter(loop), None) is None


def test_sleep_ends_at_its_moment_and_at_once_when_that_has_passed():
    sleep_until_ns(0)
    deadline = time.monotonic_ns() + 2_000_000
    sleep_until_ns(deadline)
    assert time.monotonic_ns() >= deadline


def test_samples_give_percentiles_of_the_newest_and_the_largest_of_all():
    samples = Samples(capacity=8)
    assert samples.summary_us() == {}
    samples.add(9_000_000)
    for value in range(8):
        samples.add(1000 * value)
    summary = samples.summary_us()
    assert summary["count"] == 9
    assert summary["max"] == 9000.0
    assert summary["p50"] == pytest.approx(3.5)


def test_stamps_go_there_and_back():
    clock = StampClock()
    now = time.monotonic_ns()
    assert clock.monotonic_s(*clock.stamp(now)) == pytest.approx(now / 1e9, abs=1e-9)
    assert abs(clock.stepped_s()) < 0.1
    clock.offset_ns -= 2_000_000_000
    assert clock.stepped_s() == pytest.approx(2.0, abs=0.1)


def test_what_was_not_asked_for_is_said():
    granted = request_real_time(0)
    assert not granted.fifo
    assert "rt_priority is 0" in granted.text


def priority():
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def test_the_thread_aside_changes_no_priority_that_was_not_granted():
    loop, before = Loop(1000.0), priority()
    with loop.aside() as aside:
        assert aside.submit(priority).result() == before


def test_the_thread_aside_is_below_those_who_deliver(monkeypatch):
    loop, asked = Loop(1000.0, priority=40), []
    loop.real_time = RealTime(True, True, "granted")

    def ask(who, kind, p):
        asked.append((who, kind, p.sched_priority, threading.get_ident()))

    monkeypatch.setattr(os, "sched_setscheduler", ask)
    with loop.aside() as aside:
        thread = aside.submit(threading.get_ident).result()
    assert asked == [(0, os.SCHED_FIFO, 25, thread)]
    assert thread != threading.get_ident()
    assert asked[0][2] < loop.priority - MIDDLEWARE_BELOW
