"""The filters that robolearn is set beside: formulas against numbers worked by hand, and how they are measured."""

import numpy as np
import pytest
from slow_checker import SlowChecker

from benchmarks import peers

DT = 0.002


@pytest.fixture(scope="module")
def setup():
    return peers.Setup()


def test_a_clamp_keeps_a_joint_in_its_range_and_nothing_else():
    low, high = np.array([-1.0, -2.0, -3.0]), np.array([1.0, 2.0, 3.0])
    assert peers.clamp(np.array([0.9, 2.5, -3.5]), low, high).tolist() == [0.9, 2.0, -3.0]
    assert np.isnan(peers.clamp(np.array([np.nan, 0.0, 0.0]), low, high)[0])


def test_the_relative_clamp_goes_no_farther_from_the_present_position():
    """1.0 + min(1.3 - 1.0, 0.1) = 1.1 and 1.0 + max(0.5 - 1.0, -0.1) = 0.9, with no look at a range."""
    out = peers.relative_clamp(np.array([1.3, 0.5, 1.05]), np.ones(3), 0.1)
    np.testing.assert_allclose(out, [1.1, 0.9, 1.05], rtol=1e-15)
    assert np.isnan(peers.relative_clamp(np.array([np.nan]), np.zeros(1), 0.1)[0])


@pytest.mark.parametrize(
    ("command", "previous", "velocity", "expected"),
    [
        (0.5, 0.0, 0.0, 0.00004),  # from rest: 10 rad/s2 x 2 ms = 0.02 rad/s, x 2 ms
        (-0.5, 0.0, 1.0, -0.00204),  # the measured speed counts in both directions: (1 + 0.02) x 2 ms
        (0.5, 0.0, 5.0, 0.004),  # no faster than 2 rad/s
        (1.2, 0.999, 2.0, 1.0),  # the range comes first
        (0.001, 0.0, 1.0, 0.001),  # within all: untouched
        (3.0, 1.5, 0.0, 1.0),  # outside the range before: onto its edge
    ],
)
def test_saturation_by_range_and_one_step_from_the_command_before(command, previous, velocity, expected):
    out = peers.saturate(
        np.array([command]), np.array([previous]), np.array([velocity]), -1.0, 1.0, 2.0, 10.0, DT
    )
    assert out[0] == pytest.approx(expected, rel=1e-12)


def limited(command, velocity=0.0, acceleration=0.0, upper=2.0, jerk=2000.0):
    arrays = (np.array([value]) for value in (command, 0.0, velocity, acceleration))
    return peers.limit_rate(*arrays, -2.0, upper, 10.0, jerk, DT)[0]


def test_the_rate_limiter_clamps_jerk_then_acceleration_then_velocity():
    # 1 rad in one step: the jerk limit gives 2,000 x 2 ms = 4 rad/s2, 8 mm/s, 16 micrometres in rad
    assert limited(1.0) == pytest.approx(16e-6, rel=1e-12)
    # from 9 rad/s2, jerk allows 13, acceleration 10: 1 + 10 x 2 ms = 1.02 rad/s
    assert limited(1.0, velocity=1.0, acceleration=9.0) == pytest.approx(0.00204, rel=1e-12)
    # 1.99 rad/s under a limit of 2: 2,000 / 10 x 0.01 = 2 rad/s2 instead of 4
    assert limited(1.0, velocity=1.99) == pytest.approx((1.99 + 2.0 * DT) * DT, rel=1e-12)
    # above the limit: it slows down with 10 rad/s2 at most, whatever jerk that takes
    assert limited(1.0, velocity=2.5) == pytest.approx((2.5 - 10.0 * DT) * DT, rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_rate_limiter_throws_at_what_is_not_finite(value):
    with pytest.raises(ValueError, match="infinite or NaN"):
        limited(value)


def test_every_filter_hands_a_good_stream_on_unaltered(setup):
    for make in peers.FILTERS:
        each = make(setup)
        for command in peers.smooth(setup, 150):
            np.testing.assert_allclose(each(command), command.position_rad, atol=peers.SAME_RAD)


def test_streams_do_not_depend_on_any_filter_and_repeat(setup):
    one, two = (peers.OpenLoop(setup, 4).commands("wander", 40) for _ in range(2))
    assert all(a.position_rad.tobytes() == b.position_rad.tobytes() for a, b in zip(one, two, strict=True))


def test_a_good_stream_is_good_to_its_end_and_one_with_a_step_until_the_step(setup):
    commands = np.array([command.position_rad for command in peers.smooth(setup, 60)])
    assert peers.good_until(setup, commands, setup.tight) == 60
    commands[37:] += 0.01
    assert peers.good_until(setup, commands, setup.tight) == 37


def test_commands_toward_a_joint_stop_are_good_until_braking_would_come_too_late(setup):
    """At 1.5 rad/s and 10 rad/s2 braking takes over 0.11 rad: commands end to be good well before the stop."""
    home, speed = setup.robot.home_rad, 0.0
    commands = np.repeat(home[None], 500, axis=0)
    for k in range(1, 500):
        speed = min(speed + 4.0 * DT, 1.5)
        commands[k, 6] = commands[k - 1, 6] + speed * DT
        commands[k, 6] = min(commands[k, 6], setup.limits.position_max_rad[6])
    commands[:, 6] += 1.5
    moved = peers.Setup()
    moved.robot = type("Arm", (), {"home_rad": commands[0], "dof": 7})()
    left = setup.limits.position_max_rad[6] - commands[peers.good_until(moved, commands, moved.tight), 6]
    assert 0.11 < left < 0.13


def test_what_goes_out_after_the_end_of_a_stream(setup):
    texts = {
        (make.title, name): peers.stop_of(setup, make, last)
        for make in peers.FILTERS
        for name, last in peers.ENDS.items()
    }
    assert texts["plain clamp", "the stream ends"].startswith("rests after 2 ms")
    for title in ("plain clamp", "LeRobot", "ros2_control"):
        assert texts[title, "it turns to NaN"] == "sends NaN"
    assert texts["libfranka", "it turns to NaN"].startswith("throws")
    for name in peers.ENDS:
        assert "10 rad/s²" in texts["robolearn", name]


def test_the_judge_tells_in_which_samples_a_limit_was_broken(setup):
    sent = np.repeat(setup.robot.home_rad[None], 10, axis=0)
    sent[5:, 0] += 0.01  # 5 rad/s for one sample, 2.62 allowed, and two samples of acceleration
    found = peers.broken(setup.judge, setup.robot.home_rad, sent)
    assert np.flatnonzero(found["velocity"][0]).tolist() == [5]
    assert found["velocity"][1] == pytest.approx(5.0 - 2.62, abs=0.01)
    assert np.flatnonzero(found["acceleration"][0]).tolist() == [5, 6]
    assert np.flatnonzero(found["jerk"][0]).tolist() == [5, 6, 7]
    assert not found["position"][0].any()
    assert isinstance(setup.judge, SlowChecker)


def test_an_arm_too_fast_before_its_stop_could_not_have_braked(setup):
    sent = np.repeat(setup.robot.home_rad[None], 41, axis=0)
    assert peers.lost(setup, sent) == (0, 3)
    sent[:, 0] = setup.limits.position_max_rad[0] - 0.01 + np.maximum(np.arange(41) - 38, 0) * 2.0 * DT
    # looked at: sample 0, come from home in one step; 20, at rest; 40, at 2 rad/s with 2 mrad left
    assert peers.lost(setup, sent) == (2, 3)


def test_shares_are_0_only_where_there_is_nothing():
    assert [peers.share(part, 100_000) for part in (0, 1, 1000)] == ["0", "under 0.1 %", "1.0 %"]


def test_the_page_shows_the_marks_that_the_table_goes_between():
    page = (peers.ROOT / "docs" / "explain" / "peers.md").read_text()
    assert page.count(peers.MARKS[0]) == page.count(peers.MARKS[1]) == 1
    assert all(f" {title} |" in page for title in peers.TITLES)
