"""What a stop reports, measured against what was predicted."""

from __future__ import annotations

import numpy as np
import pytest

from robolearn.robots import load_robot
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.rest import RestReadings
from robolearn.safety.stops import Stop
from robolearn.safety.types import Record, StopReport

LIMITS = compile_limits(SafetyProfile.load("fr3").mode("automatic"), load_robot("fr3"))
STILL = LIMITS.mode.standstill_velocity_max_rad_s.value
CAUSE = Record("torque", 90.0, 87.0, -3.0, "Nm", "manufacturer", "joint 1", "fr3_joint1")
PREDICTED = np.linspace(0.1, 0.7, 7)


def reading(position, velocity, stamp_s=0.0):
    return Reading(np.full(7, position), np.full(7, velocity), stamp_s)


class Alone:
    """A stop whose readings come one by one, without any before them."""

    def __init__(self, begun_at):
        self.stop = Stop(CAUSE, 10.0, 0.2, PREDICTED, begun_at)

    def standstill(self, reading, now_s, limits):
        return self.stop.standstill(reading, RestReadings(), now_s, limits)


def make(begun_at):
    return Alone(begun_at)


def fields(report: StopReport):
    return (report.cause, report.began_s, report.predicted_time_s, report.measured_time_s)


def test_a_report_in_full():
    report = make(reading(1.0, 0.5)).standstill(reading(1.25, 0.0), 10.25, LIMITS)
    assert fields(report) == ("torque", 10.0, 0.2, 0.25)
    np.testing.assert_array_equal(report.predicted_travel_rad, PREDICTED)
    np.testing.assert_array_equal(report.measured_travel_rad, np.full(7, 0.25))


def test_an_arm_that_rests_when_the_stop_begins_took_no_time():
    assert fields(make(None).standstill(reading(1.0, 0.0), 10.0, LIMITS)) == ("torque", 10.0, 0.2, 0.0)
    assert make(None).standstill(reading(1.0, 0.0), 9.999, LIMITS).measured_time_s is None


@pytest.mark.parametrize("speed", [STILL, -STILL])
def test_standstill_includes_its_bound(speed):
    assert make(None).standstill(reading(1.0, speed), 10.25, LIMITS) is not None
    assert make(None).standstill(reading(1.0, speed * (1 + 1e-9)), 10.25, LIMITS) is None


def test_an_arm_that_does_not_come_to_rest_is_reported_after_a_second_without_a_time():
    stop, moving = make(reading(1.0, 0.5)), reading(1.5, 1.0)
    assert stop.standstill(moving, 10.25, LIMITS) is None
    assert stop.standstill(moving, 11.2, LIMITS) is None
    report = stop.standstill(moving, 11.25, LIMITS)
    assert fields(report) == ("torque", 10.0, 0.2, None)
    np.testing.assert_array_equal(report.measured_travel_rad, np.full(7, 0.5))


@pytest.mark.parametrize(
    ("begun_at", "now"), [(None, reading(1.0, 0.0)), (reading(1.0, 0.0), None), (None, None)]
)
def test_without_a_measurement_at_both_ends_no_travel_is_claimed(begun_at, now):
    stop = make(begun_at)
    stop.standstill(now, 10.25, LIMITS)
    report = stop.standstill(now, 11.25, LIMITS)
    np.testing.assert_array_equal(report.measured_travel_rad, np.zeros(7), strict=True)


def noisy(seed, speed, count):
    """Readings at 500 Hz, their velocity with noise of half the speed of standstill."""
    random = np.random.default_rng(seed)
    for k in range(count):
        velocity = speed + 0.5 * STILL * random.normal(size=7)
        yield Reading(np.full(7, speed * k * 0.002), velocity, 0.002 * k)


def cycles_to_standstill(speed, seed):
    """After how many readings a stop is said to have come to rest; None within 40."""
    stop, rest = Stop(CAUSE, 10.0, 0.2, PREDICTED, None), RestReadings()
    for k, one in enumerate(noisy(seed, speed, 40)):
        rest.add(one, LIMITS)
        if stop.standstill(one, rest, 10.0 + 0.002 * k, LIMITS) is not None:
            assert k == 0 or rest.motion(LIMITS) is None  # as is decided over the place where the arm is held
            return k + 1
    return None


def test_the_end_of_a_stop_is_decided_by_the_readings_together():
    at_rest = [cycles_to_standstill(0.0, seed) for seed in range(200)]
    assert max(at_rest) <= 10  # single readings: later than that in 1 of 300000, but also in motion:
    assert all(cycles_to_standstill(2.5 * STILL, seed) is None for seed in range(200))
