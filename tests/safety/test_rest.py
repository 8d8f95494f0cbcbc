"""Whether the arm rests, by itself: readings in a row, and what breaks the row."""

import numpy as np
import pytest
from safety_rig import profile_with

from robolearn.robots import load_robot
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.rest import RestReadings, came_to_rest, moving
from robolearn.safety.types import Record

NUMBERS = {
    "rest_readings_min": 4,
    "rest_spread_max_rad": 0.0078125,
    "standstill_velocity_max_rad_s": 0.03125,
}
LIMITS = compile_limits(profile_with(**NUMBERS).mode("automatic"), load_robot("fr3"))
STAMP = 50.0


def reading(k, position=1.0, velocity=0.0):
    return Reading(np.full(7, position), np.full(7, velocity), STAMP + k)


def rest_of(*readings):
    rest = RestReadings()
    for one in readings:
        rest.add(one, LIMITS)
    return rest


def missing(count):
    text = f"only {count} of 4 readings in a row show it at rest in one place"
    return Record("standstill", count, 4.0, count - 4.0, "1", LIMITS.source("rest_readings_min"), text)


def test_readings_that_agree_are_counted_until_there_are_enough():
    rest = RestReadings()
    for k in range(4):
        assert rest.missing(LIMITS) == missing(k)
        rest.add(reading(k, 1.0 + 0.0078125 * (k % 2), -0.03125), LIMITS)
    assert rest.missing(LIMITS) is None
    np.testing.assert_array_equal(rest.position_rad, np.full(7, 1.0078125))
    rest.add(reading(9, 1.0), LIMITS)
    assert rest.missing(LIMITS) is None


def test_a_reading_that_comes_again_counts_once():
    assert rest_of(reading(0), reading(0), reading(-1), reading(1)).missing(LIMITS) == missing(2)


@pytest.mark.parametrize("broken_by", [None, reading(3, velocity=0.04), reading(3, velocity=-0.04)])
def test_the_row_begins_again_after_what_is_no_rest(broken_by):
    rest = rest_of(reading(0), reading(1), reading(2), broken_by)
    assert rest.missing(LIMITS) == missing(0)
    rest.add(reading(2), LIMITS)  # older than what broke the row, and as good as any
    assert rest.missing(LIMITS) == missing(1)


@pytest.mark.parametrize("far", [-0.01, 0.01])
def test_a_reading_elsewhere_begins_a_row_of_its_own(far):
    one_joint = Reading(np.full(7, 1.0) + far * np.eye(7)[6], np.zeros(7), STAMP + 3)
    rest = rest_of(reading(0), reading(1), reading(2), one_joint)
    assert rest.missing(LIMITS) == missing(1)
    np.testing.assert_array_equal(rest.position_rad, one_joint.position_rad)


def test_readings_that_creep_away_do_not_agree_for_long():
    """Each is near the one before it, but not all of them near each other."""
    rest = rest_of(*(reading(k, 1.0 + 0.005 * k) for k in range(50)))
    assert rest.missing(LIMITS) is not None


def test_whether_another_reading_is_where_they_were():
    rest = rest_of(reading(0), reading(1))
    assert rest.elsewhere(reading(2, 1.0078125), LIMITS) is None
    assert rest.elsewhere(reading(2, 1.03125), LIMITS) == Record(
        "standstill", 0.03125, 0.0078125, 0.0078125 - 0.03125, "rad", LIMITS.source("rest_spread_max_rad"),
        "this joint state is 0.0312 rad from the ones before it",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("velocity", "found"), [(0.03125, False), (-0.03125, False), (0.0313, True), (np.nan, True)]
)
def test_moving_is_faster_than_standstill(velocity, found):
    assert moving(reading(0, velocity=velocity), LIMITS) is found


def test_an_arm_that_rests_after_a_pause_although_it_was_sent_on_is_found_in_full():
    period, away, still = 0.0078125, 5 * 0.0078125, 0.03125
    fast = np.array([0.0, -5.5 * still, 0, 0, 0, 0, 0])
    found = came_to_rest(0.0625, period, fast, reading(0), LIMITS)
    text = "the arm came to rest while the monitor was away for 62.5 ms"
    assert found == Record("cycle_gap", 0.0625, away, away - 0.0625, "s", "the monitor's period", text)
    assert came_to_rest(away, period, fast, reading(0), LIMITS) is None
    assert came_to_rest(np.nextafter(away, 1.0), period, fast, reading(0), LIMITS) is not None
    assert came_to_rest(0.0625, period, fast, reading(0, velocity=0.04), LIMITS) is None  # it still moves
    slow = np.full(7, 5 * still)  # an arm may come to rest from there in time
    assert came_to_rest(0.0625, period, slow, reading(0), LIMITS) is None
    assert came_to_rest(0.0625, period, np.nextafter(slow, 1.0), reading(0), LIMITS) is not None
