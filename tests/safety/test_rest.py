"""Whether the arm rests, by itself: readings in a row, and what breaks the row."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_rig import DT, Rig, profile_with

from robolearn.robots import load_robot
from robolearn.safety.inputs import Reading
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.rest import RestReadings, came_to_rest, plainly_moving
from robolearn.safety.types import Record, State

NUMBERS = {
    "rest_readings_min": 4,
    "rest_spread_max_rad": 0.0078125,
    "standstill_velocity_max_rad_s": 0.03125,
}
LIMITS = compile_limits(profile_with(**NUMBERS).mode("automatic"), load_robot("fr3"))
STAMP = 50.0


def reading(k, position=1.0, velocity=0.0):
    return Reading(np.full(7, position), np.full(7, velocity), STAMP + k)


def rest_of(*readings, limits=LIMITS):
    rest = RestReadings()
    for one in readings:
        rest.add(one, limits)
    return rest


def missing(count):
    text = f"only {count} of 4 readings in a row show the arm at rest in one place"
    return Record("standstill", count, 4.0, count - 4.0, "1", LIMITS.source("rest_readings_min"), text)


def moves(speed, what, limit=0.03125, joint=1):
    source = LIMITS.source("standstill_velocity_max_rad_s")
    text = f"the arm moves: fr3_joint{joint}: {what} {speed:.3g} rad/s over 4 readings"
    return Record("standstill", speed, limit, limit - speed, "rad/s", source, text)


def test_readings_that_agree_are_counted_until_there_are_enough():
    rest = RestReadings()
    for k in range(4):
        assert rest.unclear(LIMITS) == missing(k)
        rest.add(reading(k, 1.0 + 0.0078125 * (k % 2), -0.03125), LIMITS)
    assert rest.unclear(LIMITS) is None
    np.testing.assert_array_equal(rest.position_rad, np.full(7, 1.0078125))
    rest.add(reading(9, 1.0), LIMITS)
    assert rest.unclear(LIMITS) is None


def test_a_reading_that_comes_again_counts_once():
    assert rest_of(reading(0), reading(0), reading(-1), reading(1)).unclear(LIMITS) == missing(2)


@pytest.mark.parametrize("broken_by", [None, reading(3, velocity=0.126), reading(3, velocity=-0.126)])
def test_the_row_begins_again_after_what_is_no_rest(broken_by):
    rest = rest_of(reading(0), reading(1), reading(2), broken_by)
    assert rest.unclear(LIMITS) == missing(0)
    rest.add(reading(2), LIMITS)  # older than what broke the row, and as good as any
    assert rest.unclear(LIMITS) == missing(1)


@pytest.mark.parametrize("far", [-0.01, 0.01])
def test_a_reading_elsewhere_begins_a_row_of_its_own(far):
    one_joint = Reading(np.full(7, 1.0) + far * np.eye(7)[6], np.zeros(7), STAMP + 3)
    rest = rest_of(reading(0), reading(1), reading(2), one_joint)
    assert rest.unclear(LIMITS) == missing(1)
    np.testing.assert_array_equal(rest.position_rad, one_joint.position_rad)


def test_readings_that_creep_away_do_not_agree_for_long():
    """Each is near the one before it, but not all of them near each other."""
    rest = rest_of(*(reading(k, 1.0 + 0.005 * k) for k in range(50)))
    assert rest.unclear(LIMITS) is not None


def test_only_the_newest_readings_of_a_row_count():
    rest = rest_of(*(reading(k, velocity=0.1) for k in range(50)), *(reading(50 + k) for k in range(4)))
    assert rest.unclear(LIMITS) is None
    rest = rest_of(*(reading(k) for k in range(50)), *(reading(50 + k, velocity=0.0625) for k in range(4)))
    assert rest.unclear(LIMITS) == moves(0.0625, "mean velocity")


def test_whether_another_reading_is_where_they_were():
    rest = rest_of(reading(0), reading(1))
    assert rest.elsewhere(reading(2, 1.0078125), LIMITS) is None
    assert rest.elsewhere(reading(2, 1.03125), LIMITS) == Record(
        "standstill", 0.03125, 0.0078125, 0.0078125 - 0.03125, "rad", LIMITS.source("rest_spread_max_rad"),
        "this joint state is 0.0312 rad from the ones before it",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("velocity", "found"), [(0.125, False), (-0.125, False), (0.1251, True), (-0.1251, True), (np.nan, True)]
)
def test_a_reading_four_times_as_fast_as_standstill_is_motion_by_itself(velocity, found):
    assert plainly_moving(reading(0, velocity=velocity), LIMITS) is found


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_mean_velocity_decides_and_its_bound_is_rest(sign):
    spikes = [reading(k, velocity=sign * v) for k, v in enumerate((0.0, 0.125, 0.0, 0.0))]
    assert rest_of(*spikes).unclear(LIMITS) is None  # a mean of 0.03125
    fast = [*spikes[:3], reading(3, velocity=sign * 0.0625)]
    assert rest_of(*fast).unclear(LIMITS) == moves(0.046875, "mean velocity")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_arm_whose_driver_says_no_velocity_moves_if_its_position_does(sign):
    def row(speed, noise):
        one = np.eye(7)[2]
        return [
            Reading(sign * one * (speed * k * 0.03125 + noise * (0, 1, 1, 0)[k]), np.zeros(7), k * 0.03125)
            for k in range(4)
        ]

    assert rest_of(*row(0.03125, 0.0)).unclear(LIMITS) is None
    assert rest_of(*row(0.0625, 0.0)).unclear(LIMITS) == moves(0.0625, "change of position", joint=3)
    assert rest_of(*row(0.0625, 0.001)).unclear(LIMITS) is None  # the scatter may be all of it


def test_one_more_reading_counts_where_it_is_newer():
    rest = rest_of(*(reading(k) for k in range(4)))
    assert rest.unclear(LIMITS, reading(3, velocity=0.125)) is None
    assert rest.unclear(LIMITS, reading(4, velocity=0.125)) is None  # a mean of 0.025
    fast = rest_of(reading(0), *(reading(k, velocity=0.03125) for k in range(1, 4)))
    assert fast.unclear(LIMITS, reading(4, velocity=0.125)).value == 0.04375
    creeping = rest_of(*(reading(0.03125 * k, 0.0019 * k) for k in range(4)))
    assert "change of position" in creeping.unclear(LIMITS, reading(0.125, 0.0019 * 4)).text
    assert creeping.unclear(LIMITS, reading(0.125, 0.0)) is None  # it went back: the scatter may be all of it


def test_one_more_reading_is_no_substitute_for_the_row():
    assert rest_of(*(reading(k) for k in range(3))).unclear(LIMITS, reading(3)) == missing(3)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_arm_that_turns_back_moves_though_its_mean_velocity_is_zero(sign):
    def turning(end):
        return rest_of(*(reading(k, velocity=sign * end * (k - 1.5) / 1.5) for k in range(4)))

    assert turning(0.03125).unclear(LIMITS) is None
    record = turning(0.046875).unclear(LIMITS)
    assert record.value == pytest.approx(0.046875, rel=1e-12)
    assert record.text == "the arm moves: fr3_joint1: change of velocity 0.0469 rad/s over 4 readings"


@pytest.mark.parametrize("state", [State.HOLDING, State.STOPPED])
@pytest.mark.parametrize(
    ("frequency_hz", "amplitude_rad"),
    [(2.0, 0.04), (5.0, 0.02), (20.0, 0.02), (125.0, 0.002), (249.0, 0.002)],
)
def test_an_arm_that_oscillates_within_the_drift_is_neither_reset_nor_started(
    state, frequency_hz, amplitude_rad
):
    """Asked in every cycle, the turning points too, where a few readings in a row are slow."""
    rig, joint, turn = Rig(start=False), np.eye(7)[3], 2.0 * np.pi * frequency_hz
    if state is State.STOPPED:
        rig.start()
        rig.cycle(None, around=rig.around(stop_requested=True))
        rig.coast()
    place, began = rig.position.copy(), rig.now
    for k in range(300):
        phase = turn * (rig.now + DT - began)
        rig.position = place + amplitude_rad * np.sin(phase) * joint
        rig.velocity = amplitude_rad * turn * np.cos(phase) * joint
        measured = rig.measured(stamp_s=rig.now + DT)
        rig.cycle(None, measured=measured)
        if k > 10 and state is State.HOLDING:
            assert not rig.monitor.start(rig.now, measured, "x").accepted
        elif k > 10:
            assert not rig.monitor.reset(rig.now, measured, "x", "y").accepted
    assert rig.monitor.state is state


# -- both directions, with noise of half the speed of standstill --

STILL = 0.02  # rad/s, of the packaged profile
PACKAGED = compile_limits(profile_with().mode("automatic"), load_robot("fr3"))


def noisy(seed, speed, joint=0, said=1.0):
    """Readings at 500 Hz of an arm of which one joint moves at speed, rad/s, without end.

    said: share of its speed that the driver's velocity shows.
    """
    random, moving = np.random.default_rng(seed), speed * np.eye(7)[joint]
    k = 0
    while True:
        position = moving * k * DT + 1e-5 * random.normal(size=7)
        yield Reading(position, said * moving + 0.5 * STILL * random.normal(size=7), STAMP + k * DT)
        k += 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_noise_of_half_the_speed_of_standstill_hides_no_rest(seed):
    rest = rest_of(*itertools.islice(noisy(seed, 0.0), 10), limits=PACKAGED)
    assert rest.unclear(PACKAGED) is None


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.floats(2.5 * STILL, 0.5) | st.floats(-0.5, -2.5 * STILL),
    st.sampled_from([0.0, 1.0]),
)
def test_noise_of_half_the_speed_of_standstill_hides_no_motion(seed, joint, speed, said):
    rest = RestReadings()
    for one in itertools.islice(noisy(seed, speed, joint, said), 40):
        rest.add(one, PACKAGED)
        assert rest.unclear(PACKAGED) is not None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("speed", "said"), [(0.0, 1.0), (0.05, 1.0), (0.05, 0.0)])
def test_a_start_goes_by_several_readings(seed, speed, said):
    rig = Rig(start=False)
    place, readings = rig.position, noisy(seed, speed, said=said)
    for one in itertools.islice(readings, 25):
        rig.position, rig.velocity = place + one.position_rad, one.velocity_rad_s
        measured = rig.measured(stamp_s=rig.now + DT)
        rig.cycle(None, measured=measured)
    answer = rig.monitor.start(rig.now, measured, "tester")
    assert answer.accepted is (speed == 0.0)
    if speed:  # where noise made one of them plain motion, the row is not full again
        assert answer.text.startswith(("No start: the arm moves", "No start: only "))


def test_an_arm_that_rests_after_a_pause_although_it_was_sent_on_is_found_in_full():
    period, away, still = 0.0078125, 5 * 0.0078125, 0.03125
    fast = np.array([0.0, -5.5 * still, 0, 0, 0, 0, 0])
    found = came_to_rest(0.0625, period, fast, reading(0), LIMITS)
    text = "the arm came to rest while the monitor was away for 62.5 ms"
    assert found == Record("cycle_gap", 0.0625, away, away - 0.0625, "s", "the monitor's period", text)
    assert came_to_rest(away, period, fast, reading(0), LIMITS) is None
    assert came_to_rest(np.nextafter(away, 1.0), period, fast, reading(0), LIMITS) is not None
    assert came_to_rest(0.0625, period, fast, reading(0, velocity=0.2), LIMITS) is None  # it still moves
    quarter = 0.25 * 5.5 * still
    assert came_to_rest(0.0625, period, fast, reading(0, velocity=quarter), LIMITS) is not None
    assert came_to_rest(0.0625, period, fast, reading(0, velocity=-np.nextafter(quarter, 1)), LIMITS) is None
    faster = np.full(7, 32 * still)
    assert came_to_rest(0.0625, period, faster, reading(0, velocity=4 * still), LIMITS) is not None
    assert came_to_rest(0.0625, period, faster, reading(0, velocity=4.001 * still), LIMITS) is None
    assert came_to_rest(0.0625, period, faster, reading(0, velocity=np.nan), LIMITS) is None
    slow = np.full(7, 5 * still)  # an arm may come to rest from there in time
    assert came_to_rest(0.0625, period, slow, reading(0), LIMITS) is None
    assert came_to_rest(0.0625, period, np.nextafter(slow, 1.0), reading(0), LIMITS) is not None


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_hide_that_the_arm_came_to_rest_in_a_pause(seed):
    sent = np.full(7, 0.5)
    rests = itertools.islice(noisy(seed, 0.0), 100)
    assert all(came_to_rest(0.0625, 0.002, sent, one, PACKAGED) is not None for one in rests)
    moves = itertools.islice(noisy(seed, 0.45), 100)
    assert all(came_to_rest(0.0625, 0.002, sent, one, PACKAGED) is None for one in moves)
