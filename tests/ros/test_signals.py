"""One sensor's messages: in sequence, newer each time, not from the future; what is refused changes nothing."""

from types import SimpleNamespace

import numpy as np
import pytest
from robolearn_ros.signals import Signal, held, nearest_m
from sensor_msgs.msg import Joy

pytestmark = pytest.mark.ros

NOW_S = 100.0
AHEAD_S = 0.01


class Clock:
    def monotonic_s(self, sec, nanosec):
        return sec + nanosec / 1e9


@pytest.fixture
def signal():
    return Signal("/person", lambda m: m.value, nearest_m, Clock(), AHEAD_S)


def message(number, stamp_s, value=5.0):
    sec, nanosec = divmod(round(stamp_s * 1e9), 10**9)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    return number, SimpleNamespace(header=SimpleNamespace(stamp=stamp), value=value)


def state(signal):
    return signal.value, signal.stamp_s, signal._number


@pytest.mark.parametrize("moving", [False, True])
def test_newer_messages_count_and_the_nearest_of_a_cycle_wins(signal, moving):
    assert signal.take([message(1, 99.90)], NOW_S, moving) == ""
    assert signal.take([message(2, 99.95, 4.0), message(5, 99.99, 6.0)], NOW_S, moving) == ""
    assert state(signal) == (4.0, 99.99, 5)
    assert signal.take([], NOW_S, moving) == ""


def test_no_number_wins_over_every_distance(signal):
    signal.take([message(1, 99.9, 0.1), message(2, 99.95, np.nan), message(3, 99.99, 0.2)], NOW_S, True)
    assert np.isnan(signal.value)


@pytest.mark.parametrize("moving", [False, True])
def test_a_publisher_that_is_stuck_and_repeats_its_message_ages(signal, moving):
    signal.take([message(1, 99.9)], NOW_S, moving)
    for number in range(2, 50):
        assert signal.take([message(number, 99.9, 9.0)], NOW_S, moving) == ""
    assert state(signal) == (5.0, 99.9, 1)


@pytest.mark.parametrize("moving", [False, True])
def test_a_stamp_from_the_future_is_refused_and_what_comes_next_counts(signal, moving):
    signal.take([message(1, 99.9)], NOW_S, moving)
    before = state(signal)
    for ahead_s in (0.0101, 1.0, 3e8):
        problem = signal.take([message(2, NOW_S + ahead_s, 9.0)], NOW_S, moving)
        assert problem.startswith("a message on /person is stamped")
        assert state(signal) == before
    assert signal.take([message(2, 99.95)], NOW_S, moving) == ""
    assert signal.stamp_s == 99.95


def test_while_the_arm_moves_whatever_goes_back_is_refused(signal):
    signal.take([message(7, 99.9)], NOW_S, True)
    before = state(signal)
    for number in (7, 6, 1, 0):
        problem = signal.take([message(number, 99.95, 9.0)], NOW_S, True)
        assert f"the sequence on /person went back from 7 to {number}: another publisher" in problem
        assert state(signal) == before
    assert signal.take([message(8, 99.8, 9.0)], NOW_S, True) == "stamps on /person went back by 100 ms"
    assert state(signal) == before


def test_two_publishers_in_turn_are_noticed_with_the_first_that_goes_back(signal):
    signal.take([message(1000, 99.90, 0.4)], NOW_S, True)
    assert signal.take([message(3, 99.91, 5.0)], NOW_S, True)
    assert signal.value == 0.4
    assert not signal.take([message(1001, 99.92, 0.4)], NOW_S, True)


def test_at_rest_a_sensor_that_was_started_again_is_taken(signal):
    signal.take([message(700, 99.9)], NOW_S, False)
    assert signal.take([message(1, 99.95, 3.0)], NOW_S, False) == ""
    assert state(signal) == (3.0, 99.95, 1)
    assert signal.take([message(2, 99.8, 9.0)], NOW_S, False) == ""  # older: not taken, no reason to stop
    assert state(signal) == (3.0, 99.95, 1)


@pytest.mark.parametrize(
    ("buttons", "expected"), [([1], True), ([1, 0], True), ([0], False), ([], False), ([2], False)]
)
def test_an_enabling_device_is_held_by_its_first_button(buttons, expected):
    assert held(Joy(buttons=buttons)) is expected
