import numpy as np
import pytest

from robolearn.errors import BundleError
from robolearn.policy.interpolate import TargetStream

PERIOD, RATE = 0.02, 500
STEPS = round(PERIOD * RATE)
V_MAX, A_MAX = np.array([1.0, 0.8]), np.array([5.0, 4.0])


def make(position=(0.1, -0.2)):
    stream = TargetStream(PERIOD, V_MAX, A_MAX)
    stream.hold(position)
    return stream


def random_targets(count, seed=0):
    """Constant-acceleration segments that use the whole of the limits, from rest."""
    rng = np.random.default_rng(seed)
    p, v = np.array([0.1, -0.2]), np.zeros(2)
    for _ in range(count):
        wanted = rng.choice([-1.0, 0.0, 1.0], 2) * V_MAX
        new = v + np.clip(wanted - v, -A_MAX * PERIOD, A_MAX * PERIOD)
        p, v = p + 0.5 * (v + new) * PERIOD, new
        yield p, v


def play(stream, targets):
    """Positions and velocities [M, n] at the command rate."""
    out = []
    for p, v in targets:
        stream.push(p, v)
        out += [stream.sample(k / RATE) for k in range(STEPS)]
    return np.array([q for q, _ in out]), np.array([w for _, w in out])


def test_rest_is_returned_bit_for_bit():
    position = np.array([0.1, -0.2]) / 3
    stream = make(position)
    for _ in range(3):
        stream.push(position, np.zeros(2))
        for time_s in (0.0, 0.0061, PERIOD, 1.0):
            found, velocity = stream.sample(time_s)
            assert (found == position).all()
            assert not velocity.any()
    assert stream.at_rest


def test_the_stream_is_the_moving_average_of_the_segments():
    stream, targets = make(), list(random_targets(40))
    position, _ = play(stream, targets)
    fine = 400  # samples per period of the unsmoothed path, by hand
    p, v, path = np.array([0.1, -0.2]), np.zeros(2), [np.tile([0.1, -0.2], (fine, 1))]
    for p1, v1 in targets:
        s = (np.arange(fine) + 0.5)[:, None] / fine * PERIOD
        path.append(p + v * s + 0.5 * (v1 - v) / PERIOD * s**2)
        p, v = p1, v1
    path = np.concatenate(path)
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(path, axis=0)])
    starts = np.arange(len(targets) * STEPS) * fine // STEPS
    np.testing.assert_allclose(position, (sums[starts + fine] - sums[starts]) / fine, atol=1e-8)


def test_limits_of_the_targets_hold_at_the_command_rate():
    position, velocity = play(make(), random_targets(2000, seed=1))
    dt = 1 / RATE
    acceleration = np.diff(position, 2, axis=0) / dt**2
    jerk = np.diff(position, 3, axis=0) / dt**3
    assert (np.abs(velocity).max(axis=0) <= V_MAX + 1e-9).all()
    assert (np.abs(np.diff(position, axis=0) / dt).max(axis=0) <= V_MAX + 1e-9).all()
    assert (np.abs(acceleration).max(axis=0) <= A_MAX + 1e-6).all()
    assert (np.abs(jerk).max(axis=0) <= 2 * A_MAX / PERIOD + 1e-3).all()
    assert np.abs(jerk).max() > 0.9 * 2 * A_MAX[0] / PERIOD  # the bound is tight, not slack


def test_velocity_is_the_derivative_of_position():
    stream = make()
    for p, v in random_targets(5, seed=2):
        stream.push(p, v)
    for s in np.linspace(0.001, 0.019, 7):
        slope = (stream.sample(s + 1e-6)[0] - stream.sample(s - 1e-6)[0]) / 2e-6
        np.testing.assert_allclose(stream.sample(s)[1], slope, atol=1e-7)


def test_segments_join_without_a_step():
    stream = make()
    for p, v in random_targets(50, seed=3):
        before = stream.sample(PERIOD)
        stream.push(p, v)
        for x, y in zip(before, stream.sample(0.0), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-12)


def test_float32_targets_cost_little_smoothness():
    targets = [(np.float32(p + 2.5), np.float32(v)) for p, v in random_targets(500, seed=4)]
    stream = make(np.float32(np.array([0.1, -0.2]) + 2.5))
    position, _ = play(stream, targets)
    assert (np.abs(np.diff(position, 3, axis=0)).max(axis=0) * RATE**3 <= 2 * A_MAX / PERIOD + 50).all()


def test_braking_comes_to_rest_within_limits():
    stream, targets = make(), list(random_targets(30, seed=5))
    play(stream, targets)
    samples = []
    for _ in range(20):
        stream.brake()
        samples += [stream.sample(k / RATE)[0] for k in range(STEPS)]
    assert stream.at_rest
    assert (samples[-1] == stream.end_position_rad).all()
    assert (np.abs(np.diff(samples, 2, axis=0)).max(axis=0) * RATE**2 <= A_MAX + 1e-6).all()


@pytest.mark.parametrize(("position", "velocity", "message"), [
    ([1.1, -0.2], [0.0, 0.0], "joint 1 for speed of 75 rad/s; the bundle declares at most 1"),
    ([0.1, -0.2], [0.0, 0.3], "joint 2 for acceleration"),
    ([0.1, np.nan], [0.0, 0.0], "joint 2 for speed of nan"),
])  # fmt: skip
def test_targets_beyond_the_declared_limits_are_refused_and_change_nothing(position, velocity, message):
    stream = make()
    with pytest.raises(BundleError, match=message):
        stream.push(position, velocity)
    assert stream.at_rest
    assert (stream.sample(0.01)[0] == [0.1, -0.2]).all()
