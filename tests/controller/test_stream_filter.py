"""The controller's own C++ filter: bounds under any stream, delay, ends, and a slow filter written apart from it."""

import numpy as np
import pytest
from controller_streams import FR3, HOME, Stream, deliver, hostile, smooth
from robolearn_ros.stream_filter import Bounds, FilterConfig, StreamFilter
from slow_filter import slow_run

from robolearn.errors import ConfigError
from robolearn.safety.braking import plan_braking

RATES_HZ = (100.0, 200.0, 250.0, 500.0, 1000.0)


def filter_for(rate_hz, **changes):
    config = FilterConfig(stream_period_s=1.0 / rate_hz, delay_s=3.0 / rate_hz, delay_max_s=12.0 / rate_hz)
    made = StreamFilter(FR3, FilterConfig(**{**config.__dict__, **changes}))
    assert made.reset(HOME)
    return made


def play(stream, rate_hz, **changes):
    made = filter_for(rate_hz, **changes)
    return made.run(
        stream.now_ns, stream.arrival, stream.stamp_ns, stream.position_rad, stream.velocity_rad_s
    )


def well_behaved(rate_hz, duration_s=4.0, seed=0, path=smooth, **how):
    stamps = np.arange(0.0, duration_s, 1.0 / rate_hz)
    return deliver(stamps, path(stamps), np.random.default_rng(seed), duration_s=duration_s - 0.05, **how)


def shares(motion, bounds=FR3, step_s=0.001):
    """Largest velocity, acceleration and jerk over their bounds, by differences on the grid; distance outside."""
    q = motion.position_rad
    limits = (bounds.velocity_max_rad_s, bounds.acceleration_max_rad_s2, bounds.jerk_max_rad_s3)
    over = [np.abs(np.diff(q, k + 1, axis=0) / step_s ** (k + 1) / m).max() for k, m in enumerate(limits)]
    outside = max((q - bounds.position_max_rad).max(), (bounds.position_min_rad - q).max())
    return *over, outside


@pytest.mark.parametrize("seed", range(80))
def test_no_stream_whatever_it_does_takes_the_motion_past_a_bound(seed):
    stream, rate_hz = hostile(seed)
    # Every other time without the end that a stream which cannot be followed has, so that the bounds alone hold.
    motion = play(stream, rate_hz, follow_error_max_rad=(0.1, 100.0)[seed % 2])
    assert np.isfinite(motion.position_rad).all()
    velocity, acceleration, jerk, outside = shares(motion)
    assert max(velocity, acceleration, jerk) <= 1.0
    assert outside <= 0.0


@pytest.mark.parametrize("step_s", [0.001, 0.002, 0.01])
@pytest.mark.parametrize("seed", range(100, 115))
def test_the_bounds_hold_whatever_they_are_and_at_other_update_rates(step_s, seed):
    random = np.random.default_rng(seed)
    drawn = [np.exp(random.uniform(*np.log(span), 7)) for span in ((0.05, 20.0), (0.3, 300.0), (1.0, 1e6))]
    bounds = Bounds(FR3.position_min_rad, FR3.position_max_rad, *drawn)
    stream, rate_hz = hostile(seed, bounds=bounds, step_s=step_s)
    config = FilterConfig(
        step_s=step_s, stream_period_s=1.0 / rate_hz, delay_s=3.0 / rate_hz, delay_max_s=12.0 / rate_hz,
        follow_error_max_rad=100.0,
        bandwidth_rad_s=min(80.0, 0.2 / step_s),
    )  # fmt: skip
    made = StreamFilter(bounds, config)
    assert made.reset(HOME)
    motion = made.run(
        stream.now_ns, stream.arrival, stream.stamp_ns, stream.position_rad, stream.velocity_rad_s
    )
    *over, outside = shares(motion, bounds, step_s)
    rounding = 1.0 + 4e-15 / np.array([step_s, step_s**2, step_s**3]) / [limit.min() for limit in drawn]
    assert (np.array(over) <= rounding).all()
    assert outside <= 0.0


def test_the_hostile_streams_reach_every_bound_and_every_cause():
    reached, causes = np.zeros(4), set()
    for seed in range(120):
        stream, rate_hz = hostile(seed, 3.0)
        motion = play(stream, rate_hz, follow_error_max_rad=(0.1, 100.0)[seed % 2])
        reached = np.maximum(reached, [*shares(motion)[:3], np.exp(shares(motion)[3])])
        causes |= set(motion.reason)
    assert (reached > 0.999).all()
    assert {
        "the stream ended", "a gap in the stream", "the stream jumped", "a velocity above its limit",
        "a value that is not finite", "stamps went backwards", "two samples with one stamp differ",
        "a position outside its limits", "the stream cannot be followed within the limits",
        "the control loop was held up",
    } <= causes  # fmt: skip


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_the_delay_is_that_of_the_parameters(rate_hz, lost):
    stream = well_behaved(rate_hz)
    keep = np.random.default_rng(1).random(len(stream.stamp_ns)) >= lost
    stream = Stream(
        stream.now_ns, stream.arrival[keep], stream.stamp_ns[keep], stream.position_rad[keep],
        stream.velocity_rad_s[keep],
    )  # fmt: skip
    motion = play(stream, rate_hz, delay_s=5.0 / rate_hz, delay_max_s=5.0 / rate_hz)
    assert set(motion.state[300:]) <= {"following", "late"}
    delay_s = 5.5 / rate_hz  # half of the window on top
    now_s = stream.now_ns / 1e9
    late, early = smooth(now_s - delay_s - 0.003), smooth(now_s - delay_s + 0.002)
    low, high = np.minimum(late, early), np.maximum(late, early)
    error = np.maximum(low - motion.position_rad, motion.position_rad - high)[1000:]
    assert error.max() < (2e-3 if lost else 3e-4)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_smooth_stream_stays_as_smooth(rate_hz):
    motion = play(well_behaved(rate_hz, 6.0), rate_hz)
    acceleration = np.abs(np.diff(motion.position_rad, 2, axis=0)) / 1e-6
    t = np.arange(0.0, 6.0, 1e-3)
    true = np.abs(np.diff(smooth(t), 2, axis=0)).max() / 1e-6
    assert acceleration.max() < 1.05 * true
    assert set(motion.state[300:]) == {"following"}


@pytest.mark.parametrize("velocities", ["backward differences", "none", "zeros"])
def test_it_is_as_smooth_whatever_velocities_the_sender_gives(velocities):
    stream = well_behaved(500.0)
    given = {
        "backward differences": stream.velocity_rad_s,
        "none": None,
        "zeros": 0.0 * stream.velocity_rad_s,
    }
    made = filter_for(500.0)
    motion = made.run(stream.now_ns, stream.arrival, stream.stamp_ns, stream.position_rad, given[velocities])
    assert np.abs(np.diff(motion.position_rad, 2, axis=0)).max() / 1e-6 < 3.5
    assert set(motion.state[300:]) == {"following"}


@pytest.mark.parametrize("rate_hz", [200.0, 500.0])
def test_the_header_does_what_a_slow_filter_written_apart_does(rate_hz):
    shift = np.array([0.005, -0.01, 0.0, 0.015, 0.0, -0.003, 0.0])
    stream = well_behaved(rate_hz, 1.3, path=lambda t: smooth(t) + shift)
    made = filter_for(rate_hz)
    motion = made.run(
        stream.now_ns, stream.arrival, stream.stamp_ns, stream.position_rad, stream.velocity_rad_s
    )
    slow = slow_run(
        made.config, HOME, FR3.acceleration_max_rad_s2, FR3.jerk_max_rad_s3, stream.now_ns / 1e9, stream.arrival,
        (stream.stamp_ns - stream.stamp_ns[0]) / 1e9, stream.position_rad, stream.velocity_rad_s,
    )  # fmt: skip
    assert np.abs(slow[-1] - HOME).max() > 0.05
    np.testing.assert_allclose(motion.position_rad, slow, rtol=0, atol=1e-9)


def test_the_brake_is_the_monitors_braking_motion():
    """A stop of the filter and one planned by robolearn.safety.braking, from the same velocity and acceleration."""
    stream = well_behaved(500.0, 4.0)
    gone = stream.arrival < 2500
    motion = play(
        Stream(stream.now_ns, stream.arrival[gone], stream.stamp_ns[gone], stream.position_rad[gone],
               stream.velocity_rad_s[gone]), 500.0
    )  # fmt: skip
    first = int(np.flatnonzero(motion.state == "late")[0])
    start = first - 1
    plan = plan_braking(
        motion.position_rad[start], motion.velocity_rad_s[start], motion.acceleration_rad_s2[start],
        FR3.acceleration_max_rad_s2, FR3.jerk_max_rad_s3, 0.001,
    )  # fmt: skip
    times = 0.001 * np.arange(1, plan.samples + 1)
    np.testing.assert_allclose(
        motion.velocity_rad_s[first : first + len(times)], plan.velocity(times), rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(
        motion.position_rad[-1] - motion.position_rad[start], plan.travel_rad, rtol=0, atol=1e-9
    )
    assert np.abs(motion.velocity_rad_s[start]).max() > 0.5
    assert motion.state[-1] == "stopped"
    assert motion.reason[-1] == "the stream ended"


def test_a_stream_that_ends_at_speed_is_at_rest_within_the_time_its_limits_allow():
    """Sender killed at 0.9 rad/s, 500 Hz: what the acceptance of the controller asks for, on the filter alone."""
    stamps = np.arange(0.0, 2.0, 0.002)
    position = np.tile(HOME, (len(stamps), 1))
    ramp = np.clip(stamps - 0.5, 0.0, None)
    position[:, 0] += np.where(ramp < 0.3, 1.5 * ramp**2, 0.135 + 0.9 * (ramp - 0.3))
    stream = deliver(stamps, position, np.random.default_rng(0), duration_s=3.0)
    motion = play(stream, 500.0)
    speed = np.abs(motion.velocity_rad_s[:, 0])
    killed = int(np.searchsorted(stream.now_ns, 1_998_000_000))
    assert speed[killed] == pytest.approx(0.9, abs=0.01)
    assert np.abs(np.diff(motion.position_rad[killed:], 2, axis=0)).max() <= 10.0 * 1e-6
    assert (speed[killed + 110 :] == 0.0).all()


def settled(made, position, periods=100, start_ns=0):
    """Feed a stream at rest at position, 500 Hz, and run; the time of the next sample."""
    for k in range(periods):
        now = start_ns + k * 2_000_000
        made.push(now, position, np.zeros(7), now)
        made.update(now)
        made.update(now + 1_000_000)
    return start_ns + periods * 2_000_000


def test_a_stream_that_comes_back_after_an_end_does_not_move_the_arm():
    made = filter_for(500.0)
    now = settled(made, HOME)
    assert made.state == "following"
    for k in range(200):  # nothing comes
        made.update(now + k * 1_000_000)
    assert (made.state, made.reason) == ("stopped", "the stream ended")
    held = made.update(now + 200 * 1_000_000)[0]
    moved = HOME + np.array([0.3, 0, 0, 0, 0, 0, 0])
    now = settled(made, moved, start_ns=now + 400_000_000)  # at rest, but elsewhere
    np.testing.assert_array_equal(made.update(now)[0], held)
    assert (made.state, made.refused) == ("stopped", "the stream is away from the held position")
    for k in range(100):  # near the held position, but moving
        near = held + 0.015 * np.sin(0.3 * k)
        made.push(now + k * 2_000_000, near, None, now + k * 2_000_000)
        made.update(now + k * 2_000_000)
    assert made.state == "stopped"
    np.testing.assert_array_equal(made.update(now + 200_000_000)[0], held)
    assert made.refused == "the stream does not rest yet"
    settled(made, held + 0.01, start_ns=now + 400_000_000)
    assert (made.state, made.reason) == ("following", "none")


def test_without_restart_by_stream_only_a_reset_ends_a_stop():
    made = StreamFilter(FR3, restart_by_stream=False)
    assert made.reset(HOME)
    now = settled(made, HOME)
    made.stop()
    made.update(now)
    assert (made.state, made.reason) == ("stopped", "a stop was requested")
    now = settled(made, HOME, start_ns=now + 2_000_000)
    assert made.state == "stopped"
    assert made.reset(HOME)
    settled(made, HOME, start_ns=now)
    assert made.state == "following"


def test_it_goes_onto_a_stream_that_rests_a_little_away_slowly():
    made = filter_for(500.0)
    target = HOME + 0.09
    path = []
    for k in range(1500):
        now = k * 1_000_000
        if k % 2 == 0:
            made.push(now, target, np.zeros(7), now)
        path.append(made.update(now)[0])
    path = np.array(path)
    np.testing.assert_allclose(path[-1], target, atol=1e-6)
    assert np.abs(np.diff(path, 2, axis=0)).max() / 1e-6 < 0.6


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda s, p, v: p.__setitem__(2, np.nan), "a value that is not finite"),
    (lambda s, p, v: p.__setitem__(2, np.inf), "a value that is not finite"),
    (lambda s, p, v: v.__setitem__(2, np.nan), "a value that is not finite"),
    (lambda s, p, v: v.__setitem__(2, 3.0), "a velocity above its limit"),
    (lambda s, p, v: p.__setitem__(2, p[2] + 0.02), "the stream jumped"),
    (lambda s, p, v: p.__setitem__(2, 2.9008), "a position outside its limits"),
    (lambda s, p, v: s.__setitem__(0, s[0] + 40_000_000), "a gap in the stream"),
    (lambda s, p, v: s.__setitem__(0, s[0] - 12_000_000), "stamps went backwards"),
    (lambda s, p, v: s.__setitem__(0, s[0] - 2_000_000), "two samples with one stamp differ"),
])  # fmt: skip
def test_one_sample_that_cannot_be_right_stops_it_at_once_and_for_good(spoil, reason):
    stream = well_behaved(500.0)
    k = 1000
    stamp, position, velocity = stream.stamp_ns[k : k + 1], stream.position_rad[k], stream.velocity_rad_s[k]
    spoil(stamp, position, velocity)
    motion = play(stream, 500.0)
    at = stream.arrival[k]
    assert motion.state[at - 1] == "following"
    assert motion.state[at] == "braking"
    assert motion.reason[at] == motion.reason[-1] == reason
    assert motion.state[-1] == "stopped"
    assert np.abs(motion.velocity_rad_s[at - 1]).max() > 0.2
    assert (motion.velocity_rad_s[at + 200 :] == 0.0).all()
    assert max(shares(motion)[:3]) <= 1.0


def test_repeated_and_overtaken_samples_change_nothing():
    stream = well_behaved(500.0)
    plain = play(stream, 500.0)
    twice = Stream(
        *(np.repeat(a, 2, axis=0) if len(a) == len(stream.arrival) else a for a in vars(stream).values())
    )
    swapped = Stream(stream.now_ns, stream.arrival, *(a.copy() for a in list(vars(stream).values())[2:]))
    for array in (swapped.stamp_ns, swapped.position_rad, swapped.velocity_rad_s):
        array[1001:1003] = array[[1002, 1001]]
    np.testing.assert_array_equal(play(twice, 500.0).position_rad, plain.position_rad)
    motion = play(swapped, 500.0)
    assert set(motion.state[300:]) == {"following"}
    np.testing.assert_allclose(motion.position_rad, plain.position_rad, atol=1e-4)


def test_a_stream_that_comes_late_again_and_again_is_played_further_behind():
    stream = well_behaved(500.0, 12.0)
    now_s = stream.now_ns / 1e9
    # of each fifth of a second, what should come within ten milliseconds
    late = (now_s[np.minimum(stream.arrival, len(now_s) - 1)] % 0.2) < 0.01
    stream.arrival[late] += 10
    stream.arrival[:] = np.maximum.accumulate(stream.arrival)
    made = filter_for(500.0)
    motion = made.run(
        stream.now_ns, stream.arrival, stream.stamp_ns, stream.position_rad, stream.velocity_rad_s
    )
    assert made.counts["late"] < 8
    assert set(motion.state[now_s > 3.0]) == {"following"}
    acceleration = np.abs(np.diff(motion.position_rad, 2, axis=0)).max(axis=1) / 1e-6
    assert acceleration[np.flatnonzero(now_s > 4.0)[0] : -2].max() < 4.0
    fixed = play(stream, 500.0, delay_max_s=0.006)
    assert "late" in fixed.state[now_s > 3.0]


@pytest.mark.parametrize(("held_up_s", "end"), [(0.02, "following"), (0.06, "stopped")])
def test_a_sender_that_is_held_up_is_bridged_for_a_while(held_up_s, end):
    stream = well_behaved(500.0)
    now_s = stream.now_ns / 1e9
    sent_s = (stream.stamp_ns - stream.stamp_ns[0]) / 1e9
    away = (sent_s > 2.0) & (sent_s < 2.0 + held_up_s)  # no samples are made in that time
    stream = Stream(stream.now_ns, *(a[~away] for a in list(vars(stream).values())[1:]))
    motion = play(stream, 500.0, delay_max_s=0.006)
    during = (now_s > 2.0) & (now_s < 2.0 + held_up_s + 0.02)
    assert "late" in motion.state[during]
    assert motion.state[-1] == end
    assert max(shares(motion)[:3]) <= 1.0
    if end == "following":
        after = now_s > 2.3
        np.testing.assert_allclose(motion.position_rad[after], smooth(now_s[after] - 0.0075), atol=2e-3)


def test_a_loop_that_is_held_up_catches_up_or_stops():
    for away_s, end in ((0.05, "following"), (0.2, "stopped")):
        stream = well_behaved(500.0, 5.0)
        stream.now_ns[2000:] += int(away_s * 1e9)
        stream.arrival[:] = np.searchsorted(stream.now_ns, (stream.stamp_ns - stream.stamp_ns[0]) + 500_000)
        motion = play(stream, 500.0)
        assert motion.state[-1] == end
        assert max(shares(motion)[:3]) <= 1.0
    assert motion.reason[-1] == "the control loop was held up"


def test_a_loop_that_misses_one_step_of_eight_plays_on_in_time():
    stream = well_behaved(500.0, 8.0, clock_share=8.0 / 7.0)
    motion = play(stream, 500.0)
    now_s = stream.now_ns / 1e9
    assert set(motion.state[(now_s > 0.3) & (now_s < 7.9)]) == {"following"}
    after = (now_s > 3.0) & (now_s < 7.9)
    np.testing.assert_allclose(motion.position_rad[after], smooth(now_s[after] - 0.0075), atol=3e-3)


def test_a_clock_of_the_loop_that_goes_backwards_stops_it():
    stream = well_behaved(500.0)
    stream.now_ns[2000:] -= 10_000_000
    motion = play(stream, 500.0)
    assert motion.reason[-1] == "the controller's clock went backwards"
    assert max(shares(motion)[:3]) <= 1.0


def test_a_sender_whose_clock_is_faster_or_slower_is_followed_without_end():
    for share in (0.9995, 1.0005):
        stream = well_behaved(500.0, 20.0, clock_share=share)
        motion = play(stream, 500.0)
        assert set(motion.state[300:]) <= {"following", "late"}
        assert motion.state[-1] == "following"


@pytest.mark.parametrize(("changes", "words"), [
    ({"delay_s": 0.001}, "delay_s"), ({"step_s": 0.03}, "update_rate"), ({"bandwidth_rad_s": 500.0}, "bandwidth"),
    ({"late_max_s": float("nan")}, "finite"), ({"lag_max_s": 5.0}, "longer than the samples"),
])  # fmt: skip
def test_numbers_that_cannot_be_used_are_refused_by_name(changes, words):
    with pytest.raises(ConfigError, match=words):
        StreamFilter(FR3, FilterConfig(**changes))


def test_bounds_that_cannot_be_are_refused():
    bad = {**FR3.__dict__, "jerk_max_rad_s3": np.full(7, np.inf)}
    with pytest.raises(ConfigError, match="limits"):
        StreamFilter(Bounds(**bad))
    with pytest.raises(ConfigError, match="one number for each joint"):
        StreamFilter(Bounds(**{**FR3.__dict__, "jerk_max_rad_s3": np.full(6, 1.0)}))
    assert not StreamFilter(FR3).reset(HOME + 10.0)
