"""Where the arm is held, by itself: found, checked, lost and found again."""

from dataclasses import replace

import numpy as np
import pytest
from safety_rig import DT, profile_with

from robolearn.robots import load_robot
from robolearn.safety.envelope import build_envelope
from robolearn.safety.held_position import HeldPosition, rests_outside
from robolearn.safety.inputs import Reading
from robolearn.safety.types import Record

ROBOT = load_robot("fr3")
HOME = ROBOT.home_rad
NUMBERS = {
    "rest_readings_min": 3, "rest_spread_max_rad": 0.0078125, "tracking_error_max_rad": 0.0625,
    "standstill_drift_max_rad": 0.03125,
}  # fmt: skip
PROFILE = profile_with(**NUMBERS)
ENVELOPE = build_envelope(ROBOT, PROFILE.mode("automatic"), DT, "parallel")
SLOW = build_envelope(ROBOT, PROFILE.mode("manual_reduced"), DT, "parallel")
JOINT = np.eye(7)[3]
OUTSIDE = np.where(np.arange(7) == 1, 1.7, HOME)  # far forward and down, through the floor


def reading(position=HOME, stamp_s=1.0):
    return Reading(position, np.zeros(7), stamp_s)


def resting(held, position=HOME, count=3, begin_s=1.0):
    for k in range(count):
        held.readings.add(reading(position, begin_s + k), ENVELOPE.limits)
    return held


def holding(position=HOME):
    held = resting(HeldPosition(DT), position)
    assert held.establish(ENVELOPE) is None
    return held


def drift(far, limit=0.03125):
    source = ENVELOPE.limits.source("standstill_drift_max_rad")
    return Record("drift", far, limit, limit - far, "rad", source, "")


def test_nothing_is_known_at_first():
    held = HeldPosition(DT)
    assert (held.filter, held.unknown) == (None, None)


def test_readings_that_agree_are_held_and_fewer_are_not():
    held = resting(HeldPosition(DT), count=2)
    record = held.establish(ENVELOPE)
    assert record == held.readings.unclear(ENVELOPE.limits)
    assert record.rule == "standstill"
    assert held.filter is None
    held.readings.add(reading(stamp_s=9.0), ENVELOPE.limits)
    assert held.establish(ENVELOPE) is None
    np.testing.assert_array_equal(held.filter.position_rad, HOME)
    assert (held.filter.envelope, held.filter.period_s) == (ENVELOPE, DT)
    assert held.filter.braking is not None  # it can be stopped from here


def test_a_place_outside_the_limits_is_not_held():
    held = resting(HeldPosition(DT), OUTSIDE)
    assert held.establish(ENVELOPE).rule == "workspace"
    assert held.filter is None


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("far", "same"), [(0.0625, True), (0.0626, False)])
def test_after_a_gap_an_arm_where_it_was_sent_is_held_exactly_there(far, same, sign):
    sent = np.round(HOME * 256) / 256  # so that differences are exact
    held = holding(sent)
    held.lose()
    assert held.filter is None
    assert "only 0 of 3" in held.establish(ENVELOPE).text
    found = sent + sign * far * JOINT
    resting(held, found)
    assert held.establish(ENVELOPE) is None
    np.testing.assert_array_equal(held.filter.position_rad, sent if same else found)
    assert held.drift(reading(found), ENVELOPE.limits) is None  # counts from where it was measured


def test_what_was_sent_before_a_gap_is_remembered_for_one_place_only():
    held = holding()
    held.lose()
    held.lose()  # nothing is known already: the place from before stays the one
    assert resting(held, OUTSIDE).establish(ENVELOPE).rule == "workspace"
    held.lose()
    near = HOME + 0.01 * JOINT
    assert resting(held, near).establish(ENVELOPE) is None
    np.testing.assert_array_equal(held.filter.position_rad, HOME)
    held.filter = None
    held.readings.forget()
    assert resting(held, near).establish(ENVELOPE) is None
    np.testing.assert_array_equal(held.filter.position_rad, near)


def test_an_arm_that_was_moved_is_held_where_its_readings_show_it():
    held, moved = holding(), HOME + 0.2 * JOINT
    before = held.filter
    text = held.take_measured(reading(moved), ENVELOPE)
    assert text == "the arm was moved, and this joint state is 0.2 rad from the ones before it"
    assert held.filter is before
    held.readings.forget()
    assert resting(held, moved).take_measured(reading(moved), ENVELOPE) == ""
    np.testing.assert_array_equal(held.filter.position_rad, moved)
    before = held.filter
    held.readings.forget()
    text = resting(held, OUTSIDE).take_measured(reading(OUTSIDE), ENVELOPE)
    assert text.startswith("the arm rests outside its limits (workspace: ")
    assert held.filter is before


def test_another_mode_holds_the_same_place_under_its_own_limits():
    held = holding()
    held.change_limits(SLOW)
    np.testing.assert_array_equal(held.filter.position_rad, HOME)
    assert (held.filter.envelope, held.filter.period_s) == (SLOW, DT)
    nothing = HeldPosition(DT)
    nothing.change_limits(SLOW)
    assert nothing.filter is None


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_how_far_the_arm_is_from_what_was_sent(sign):
    assert holding().offset_rad(reading(HOME + sign * 0.25 * JOINT)) == pytest.approx(0.25)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_drift_counts_from_where_the_arm_came_to_rest(sign):
    place = np.round(HOME * 256) / 256
    held = holding(place)
    assert held.drift(None, ENVELOPE.limits) is None
    assert held.drift(reading(place + sign * 0.03125 * JOINT), ENVELOPE.limits) is None
    found = held.drift(reading(place + sign * 0.0625 * JOINT), ENVELOPE.limits)
    assert replace(found, text="") == drift(0.0625)
    held.at_rest(place + sign * 0.0625 * JOINT)
    assert held.drift(reading(place + sign * 0.0625 * JOINT), ENVELOPE.limits) is None
    assert held.drift(reading(place), ENVELOPE.limits) is not None


def test_how_a_place_outside_is_told():
    record = Record("workspace", 1.0, 0.0, -1.0, "m", "cell", "below the floor")
    assert rests_outside(record) == "the arm rests outside its limits (workspace: below the floor)"
