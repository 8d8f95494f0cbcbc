"""Joint impedance of the controller against the formula in numpy."""

import numpy as np
import pytest
from robolearn_ros.stream_filter import Impedance

from robolearn.errors import ConfigError

K, D = np.array([600.0, 250.0]), np.array([50.0, 15.0])
MAX, RATE = np.array([87.0, 12.0]), np.array([1000.0, 1000.0])
DT = 0.001


def test_torques_are_stiffness_damping_and_feed_forward_within_their_limits():
    random = np.random.default_rng(0)
    made = Impedance(K, D, MAX, RATE)
    assert made.reset([1.0, 2.0])
    before = np.array([1.0, 2.0])
    clipped = limited = free = 0
    for _ in range(3000):
        scale = random.choice([0.001, 0.01, 0.5])
        q, qd, q_ref, qd_ref, weight = random.normal(size=(5, 2)) * scale
        torque, good = made.update(q, qd, q_ref, qd_ref, weight, DT)
        assert good
        wanted = K * (q_ref - q) + D * (qd_ref - qd) + weight
        expected = np.clip(np.clip(wanted, -MAX, MAX), before - RATE * DT, before + RATE * DT)
        np.testing.assert_allclose(torque, expected, rtol=0, atol=1e-8)
        assert (np.abs(torque) <= MAX).all()
        assert (np.abs(torque - before) <= RATE * DT).all()
        clipped += int((np.abs(wanted) > MAX).any())
        limited += int((np.abs(torque - np.clip(wanted, -MAX, MAX)) > 1e-6).any())
        free += int((np.abs(torque - wanted) < 1e-6).any())
        before = torque
    assert min(clipped, limited, free) > 100


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_keeps_the_torques(which, value):
    made = Impedance(K, D, MAX, RATE)
    made.reset([3.0, -2.0])
    state = np.zeros((5, 2))
    state[which, 1] = value
    torque, good = made.update(*state, DT)
    assert not good
    np.testing.assert_array_equal(torque, [3.0, -2.0])


def test_numbers_that_cannot_be_used_are_refused():
    for numbers in ((0.0 * K, D, MAX, RATE), (K, D, MAX, np.array([np.inf, 1.0])), (K, -D, MAX, RATE)):
        with pytest.raises(ConfigError, match="above zero"):
            Impedance(*numbers)
    assert not Impedance(K, D, MAX, RATE).reset([np.nan, 0.0])
