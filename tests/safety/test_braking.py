import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robolearn.safety.braking import plan_braking

JERKS = (50.0, 500.0, 5000.0)
PERIODS = (0.001, 0.002, 0.01)


def braking(v, a, jerk=5000.0, period=0.002, top=10.0, p=0.0):
    ones = np.ones(len(np.atleast_1d(v)))
    return plan_braking(p * ones, v * ones, a * ones, top * ones, jerk * ones, period)


def differences(plan):
    """Velocities, accelerations and jerks of the samples, from the one before the first to well after rest."""
    _, v = plan.trajectory
    v = np.vstack([plan.velocity_rad_s, v, np.zeros((2, v.shape[1]))])
    a = np.vstack([plan.acceleration_rad_s2, np.diff(v, axis=0) / plan.period_s])
    return v, a, np.diff(a, axis=0) / plan.period_s


speeds = st.floats(-6.0, 6.0) | st.floats(-1e-6, 1e-6) | st.sampled_from([0.0, 2.62, -2.62])
shares = st.floats(-1.0, 1.0) | st.sampled_from([-1.0, 0.0, 1.0])


@given(speeds, shares, st.sampled_from(JERKS), st.sampled_from(PERIODS))
@settings(max_examples=500, deadline=None)
def test_every_braking_motion_ends_at_rest_within_acceleration_and_jerk(v, share, jerk, period):
    plan = braking(v, 10.0 * share, jerk, period)
    v, a, j = differences(plan)
    assert np.abs(v[-3:]).max() < 1e-9
    assert np.abs(a).max() <= 10.0 * (1 + 1e-9)
    assert np.abs(j).max() <= jerk * (1 + 1e-9)


@given(speeds, shares, st.sampled_from(JERKS), st.sampled_from(PERIODS))
@settings(max_examples=500, deadline=None)
def test_the_bounds_contain_every_sample(v, share, jerk, period):
    plan = braking(v, 10.0 * share, jerk, period)
    p, velocity = plan.trajectory
    assert (p >= plan.low_rad).all()
    assert (p <= plan.high_rad).all()
    assert (velocity >= plan.slowest_rad_s - 1e-12).all()
    assert (velocity <= plan.fastest_rad_s + 1e-12).all()
    assert plan.slowest_rad_s[0] <= plan.velocity_rad_s[0] <= plan.fastest_rad_s[0]


@given(st.floats(0.01, 6.0), st.sampled_from(JERKS))
@settings(max_examples=100, deadline=None)
def test_no_quicker_stop_exists_than_the_textbook_one(v, jerk):
    plan = braking(v, 0.0, jerk)
    peak = min(10.0, np.sqrt(v * jerk))
    assert plan.duration_s == pytest.approx(v / peak + peak / jerk, rel=1e-5)


def test_stopping_travel_of_a_fast_joint_by_hand():
    # v = 2 rad/s, a = 10 rad/s^2, j = 5000 rad/s^3: T = v/a + a/j = 0.202 s, travel = v T / 2 by symmetry
    assert braking(2.0, 0.0).travel_rad[0] == pytest.approx(2.0 * 0.202 / 2.0, rel=1e-5)


def test_mirror_images_brake_alike():
    plus, minus = braking(1.3, 4.0, 300.0), braking(-1.3, -4.0, 300.0)
    np.testing.assert_allclose(plus.trajectory[0], -minus.trajectory[0], atol=1e-15)


def test_rest_stays_at_rest_bit_for_bit():
    plan = braking(0.0, 0.0, p=0.1)
    assert plan.samples == 0
    assert plan.duration_s == 0.0
    assert (plan.velocity(0.002) == 0.0).all()
    assert plan.trajectory[0].shape == (0, 1)


def test_each_joint_brakes_on_its_own():
    plan = plan_braking(
        np.zeros(2), np.array([1.0, 0.1]), np.zeros(2), np.full(2, 10.0), np.full(2, 5000.0), 0.002
    )
    alone = braking(0.1, 0.0)
    _, v = plan.trajectory
    np.testing.assert_array_equal(v[: alone.samples, 1], alone.trajectory[1][:, 0])
    assert (v[alone.samples :, 1] == 0.0).all()


def test_a_joint_that_reverses_has_both_signs_in_its_bounds():
    # v = 1 mrad/s, a = -10 rad/s^2: it goes on to where it turns, and comes to rest from the other side
    plan = braking(0.001, -10.0)
    assert plan.slowest_rad_s[0] < 0.0 < plan.fastest_rad_s[0]
    assert plan.low_rad[0] < plan.travel_rad[0] < 0.0 < plan.high_rad[0]
    assert braking(1.0, -10.0).slowest_rad_s[0] == 0.0


def test_more_deceleration_than_allowed_is_not_made_worse():
    # rounding can leave the last acceleration a hair beyond the limit
    plan = braking(1.0, -10.0 * (1 + 1e-12))
    _, a, _ = differences(plan)
    assert np.abs(a[1:]).max() <= 10.0 * (1 + 1e-11)


def slack(plan, extra=0.0):
    """How far the bounds on the samples lie outside the continuous motion, by the formula of `_plan_joint`."""
    v, a, dt = abs(plan.velocity_rad_s[0]), abs(plan.acceleration_rad_s2[0]), plan.period_s
    return 0.5 * dt * v + 0.125 * dt**2 * (a + 2.0 * plan.peak[0]) + extra


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("v", "a"), [(1.2, 3.0), (1.2, 0.0), (1.2, -3.0), (0.4, 2.0)])
def test_the_bounds_are_no_wider_than_the_motion_needs(v, a, sign):
    plan = braking(sign * v, sign * a, jerk=300.0, p=0.7)
    way = sorted((0.7, 0.7 + plan.travel_rad[0]))
    assert plan.low_rad[0] == pytest.approx(way[0] - slack(plan), abs=1e-12)
    assert plan.high_rad[0] == pytest.approx(way[1] + slack(plan), abs=1e-12)
    turn = v + (a * a / (2.0 * 300.0) if a > 0.0 else 0.0)
    fast, slow = (
        (plan.fastest_rad_s, plan.slowest_rad_s) if sign > 0 else (-plan.slowest_rad_s, -plan.fastest_rad_s)
    )
    assert fast[0] == pytest.approx(turn, rel=1e-6)
    assert slow[0] == 0.0


@pytest.mark.parametrize("v", [0.02, 0.3])
def test_the_bounds_of_a_joint_that_reverses(v):
    plan = braking(v, -6.0, jerk=50.0, p=-0.4)
    assert plan.speed[0] < 0.0
    wide, way = slack(plan, extra=v * plan.duration_s), sorted((-0.4, -0.4 + plan.travel_rad[0]))
    assert plan.low_rad[0] == pytest.approx(way[0] - wide, abs=1e-12)
    assert plan.high_rad[0] == pytest.approx(way[1] + wide, abs=1e-12)
    assert plan.fastest_rad_s[0] == v


@pytest.mark.parametrize(
    ("v", "a"), [(1.2, 4.0), (1.2, -4.0), (-0.5, 4.0), (0.02, -6.0), (3.0, 0.0), (0.0, 5.0)]
)
def test_travel_is_the_integral_of_the_velocity(v, a):
    plan = braking(v, a, jerk=300.0)
    t = np.linspace(0.0, plan.duration_s, 200_001)
    assert plan.travel_rad[0] == pytest.approx(np.trapezoid(plan.velocity(t)[:, 0], t), abs=1e-9)


def test_the_sign_is_that_of_the_motion_to_remove():
    # 0.3 rad/s less 4^2 / (2 * 50) = 0.16 rad/s, which the acceleration takes away while it fades
    assert braking(0.3, -4.0, jerk=50.0).sign[0] == 1.0
    assert braking(0.15, -4.0, jerk=50.0).sign[0] == -1.0


def test_a_deceleration_beyond_the_limit_is_held_and_not_jumped_away_from():
    plan = braking(6.0, -10.5, jerk=50.0)
    _, a, j = differences(plan)
    assert a[1:].min() >= -10.5 * (1 + 1e-9)
    assert np.abs(j).max() <= 50.0 * (1 + 1e-9)
