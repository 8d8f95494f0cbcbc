"""The command stream by itself, against numbers worked by hand; `test_stream.py` drives the monitor with one."""

import numpy as np
import pytest

from robolearn.safety.stream import CommandTimeline

DT = 0.002
WINDOW, SHIFT = 25, 100  # cycles


def stream_of(*commands):
    stream = CommandTimeline(DT)
    for position, velocity, periods in commands:
        stream.push(np.array([position]), np.array([velocity]), periods * DT)
    return stream


def test_nothing_to_play_before_the_first_command():
    assert CommandTimeline(DT).play() is None


def test_the_first_command_plays_exactly_and_a_repeat_is_carried_on_by_its_velocity():
    stream = stream_of((1.0, 0.5, 0))
    first, second = stream.play(), stream.play()
    assert first.exact
    assert first.position_rad[0] == 1.0
    assert first.velocity_rad_s[0] == 0.5
    assert not second.exact
    assert second.position_rad[0] == pytest.approx(1.0 + 0.5 * DT)
    assert second.extrapolated_s == pytest.approx(DT)


def test_acceleration_is_carried_on_for_two_periods_and_then_the_speed_is_kept():
    stream = stream_of((0.0, 0.0, 0))
    stream.play()
    stream.push(np.array([0.0]), np.array([0.02]), DT)  # 10 rad/s^2
    stream.play()
    played = [stream.play() for _ in range(4)]
    speeds = [target.velocity_rad_s[0] for target in played]
    assert speeds == pytest.approx([0.04, 0.06, 0.06, 0.06])
    steps = np.diff([target.position_rad[0] for target in played[1:]])
    assert steps == pytest.approx([0.06 * DT] * 2)


def test_a_command_that_is_ahead_is_carried_back():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    stream.push(np.array([2 * DT]), np.array([1.0]), 2 * DT)
    target = stream.play()
    assert not target.exact
    assert target.extrapolated_s == pytest.approx(-DT)
    assert target.position_rad[0] == pytest.approx(DT)


def test_clear_forgets():
    stream = stream_of((0.0, 1.0, 0))
    stream.clear()
    assert stream.play() is None


def offsets(stream, cycles):
    """How many periods each of the next cycles carries a command, which nothing follows."""
    return [stream.play().extrapolated_s / DT for _ in range(cycles)]


def test_a_first_command_without_velocity_stands_still():
    stream = CommandTimeline(DT)
    stream.push(np.array([1.0]), None, 5.0)
    first = stream.play()
    assert first.exact
    assert first.velocity_rad_s.tolist() == [0.0]
    later = stream.play()
    assert later.position_rad.tolist() == [1.0]
    assert later.velocity_rad_s.tolist() == [0.0]
    assert later.position_rad.dtype == later.velocity_rad_s.dtype == float


def test_the_speed_of_commands_without_one_is_their_difference_and_has_no_acceleration():
    stream = CommandTimeline(DT)
    stream.push(np.array([1.0]), None, 5.0)
    stream.play()
    stream.push(np.array([1.004]), None, 5.0 + 2 * DT)
    stream.play()
    stream.play()
    later = stream.play()
    assert later.extrapolated_s == pytest.approx(DT)
    assert later.velocity_rad_s[0] == pytest.approx(1.0)
    assert later.position_rad[0] == pytest.approx(1.004 + DT)
    assert later.velocity_rad_s.dtype == float


@pytest.mark.parametrize(
    ("periods", "taken_as"),
    [(1.24, 1.0), (0.76, 1.0), (1.25, 1.25), (0.75, 0.75), (1.74, 1.74), (1.76, 2.0), (3.1, 3.0)],
)
def test_stamps_near_a_whole_number_of_periods_apart_count_as_whole(periods, taken_as):
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    stream.push(np.array([periods * DT]), np.array([1.0]), periods * DT)
    target = stream.play()
    assert target.extrapolated_s / DT == pytest.approx(1.0 - taken_as)
    assert target.exact == (taken_as == 1.0)


def test_two_stamps_almost_at_once_count_as_a_period_apart():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    stream.push(np.array([0.1 * DT]), np.array([1.0]), 0.1 * DT)
    assert stream.play().exact


def test_acceleration_is_carried_back_for_two_periods_too():
    stream = stream_of((0.0, 0.0, 0))
    stream.play()
    stream.push(np.array([1.0]), np.array([0.08]), 4 * DT)  # 10 rad/s^2
    target = stream.play()
    assert target.extrapolated_s == pytest.approx(-3 * DT)
    assert target.velocity_rad_s[0] == pytest.approx(0.08 - 10 * 2 * DT)
    # two periods of that acceleration, and the speed at their beginning over the third
    assert target.position_rad[0] == pytest.approx(1.0 - 0.08 * 3 * DT + 10 * 2 * DT * (3 * DT - DT))


def test_a_command_that_stays_away_is_met_again_by_a_smooth_shift():
    stream = stream_of((0.0, 1.0, 0))
    assert stream.play().exact
    late = []
    for index in range(1, 301):  # commands come on time, but each one period after its own
        late.append(stream.play().extrapolated_s / DT)
        stream.push(np.array([index * DT]), np.array([1.0]), index * DT)
    assert late[:WINDOW] == [1.0] * WINDOW
    steps = -np.diff([1.0, *late[WINDOW - 1 : WINDOW + SHIFT]])
    turns = (np.arange(SHIFT) + 0.5) / SHIFT
    np.testing.assert_allclose(steps[1:], (1 - np.cos(2 * np.pi * turns)) / SHIFT, atol=1e-12)
    assert late[WINDOW - 1 + SHIFT :] == [0.0] * (300 - WINDOW - SHIFT + 1)


def test_the_shift_goes_by_the_nearest_of_the_window():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    away = offsets(stream, WINDOW)  # 1, 2, 3 .. periods ahead: the nearest is 1
    assert away == [float(k) for k in range(1, WINDOW + 1)]
    shifted = offsets(stream, SHIFT)
    assert shifted[-1] == pytest.approx(WINDOW + SHIFT - 1.0)


def test_commands_that_are_early_are_met_too():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    early = []
    for k in range(2, 302):
        stream.push(np.array([(k + 1) * DT]), np.array([1.0]), (k + 1) * DT)
        early.append(stream.play().extrapolated_s / DT)
    assert early[:WINDOW] == [-2.0] * WINDOW
    assert early[WINDOW] > -2.0
    assert early[WINDOW - 1 + SHIFT :] == [0.0] * (300 - WINDOW - SHIFT + 1)


def test_the_nearest_of_early_commands_is_met():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    early = []
    for k in range(2, 302):  # three and two periods early in turn
        index = k + 1 + (k % 2)
        if index * DT > stream.stamp_s:
            stream.push(np.array([index * DT]), np.array([1.0]), index * DT)
        early.append(stream.play().extrapolated_s / DT)
    assert set(early[:WINDOW]) == {-2.0, -3.0}
    assert set(early[-10:]) == {0.0, -1.0}  # without the rounding of a hundred steps


def test_a_second_shift_goes_by_what_is_left_after_the_first():
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    seen = []
    for k in range(1, 401):  # from the 51st cycle on commands come three periods late, not one
        index = k - (1 if k <= 50 else 3)
        if index * DT > stream.stamp_s:
            stream.push(np.array([index * DT]), np.array([1.0]), index * DT)
        seen.append(stream.play().extrapolated_s / DT)
    first = WINDOW + SHIFT  # it took away one of the three
    assert seen[first - 1 : first - 1 + WINDOW] == [2.0] * WINDOW
    assert seen[first + WINDOW] < 2.0
    assert seen[first + WINDOW + SHIFT :] == [0.0] * (400 - first - WINDOW - SHIFT)


def test_a_shift_begins_when_the_last_offsets_are_all_on_one_side():
    rng, began = np.random.default_rng(0), 0
    for turn in np.repeat([0.02, 0.05, 0.3], 30):  # how often the side changes
        stream, window, side = CommandTimeline(DT), [], 1.0
        for _ in range(200):
            side = -side if rng.random() < turn else side
            offset = side * float(rng.uniform(0.1, 5.0)) if rng.random() > 0.3 * turn else 0.0
            window = [*window[-(WINDOW - 1) :], offset]
            stream._watch(offset)
            due = len(window) == WINDOW and (min(window) > 0.0 or max(window) < 0.0)
            assert stream._shift_cycle == (SHIFT if due else 0)
            if due:
                assert stream._shift == -min(window, key=abs)
                stream._shift_cycle, window, began = 0, [], began + 1
    assert began > 100


def test_no_shift_while_both_sides_or_the_command_itself_are_in_the_window():
    for period in (2, 24):
        stream = stream_of((0.0, 1.0, 0))
        assert stream.play().exact
        seen = []
        for k in range(1, 400):
            ahead = 1 if k % period else 0
            index = k - ahead
            if index * DT > stream.stamp_s:
                stream.push(np.array([index * DT]), np.array([1.0]), index * DT)
            seen.append(stream.play().extrapolated_s / DT)
        assert set(seen) == {0.0, 1.0}
    stream = stream_of((0.0, 1.0, 0))
    stream.play()
    both = []
    for k in range(1, 400):
        index = k + (1 if k % 2 else -1)
        if index * DT > stream.stamp_s:
            stream.push(np.array([index * DT]), np.array([1.0]), index * DT)
        both.append(stream.play().extrapolated_s / DT)
    assert min(both) == -1.0
    assert max(both) <= 1.0
    assert all(offset == round(offset) for offset in both)


def test_a_command_after_clear_is_a_first_one():
    stream = stream_of((0.0, 1.0, 0))
    offsets(stream, WINDOW + 10)  # a shift is running
    stream.clear()
    assert stream.stamp_s == -np.inf
    stream.push(np.array([2.0]), np.array([0.5]), 7.0)
    assert stream.play().exact
    assert offsets(stream, WINDOW) == [float(k) for k in range(1, WINDOW + 1)]
