"""The grid of measurements: as near as half a step, exact from then on, and nothing else is changed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robolearn.recorder.cycle_codec import Wrench
from robolearn.recorder.resolution import STEPS, measured_on_grid, wrench_on_grid
from robolearn.safety.types import Measured

NUMBERS = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3).map(np.array)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_measurement_is_moved_by_half_a_step_at_most_and_only_once(position, velocity, effort):
    measured = Measured(("a", "b", "c"), position, velocity, 1.0, effort_nm=effort)
    put = measured_on_grid(measured)
    for name in ("position_rad", "velocity_rad_s", "effort_nm"):
        assert (np.abs(getattr(put, name) - getattr(measured, name)) <= 0.5 * STEPS[name]).all()
        assert getattr(measured_on_grid(put), name).tobytes() == getattr(put, name).tobytes()
    assert (put.joint_names, put.stamp_s) == (measured.joint_names, measured.stamp_s)


def test_what_is_no_number_and_what_is_absent_stay_so():
    put = measured_on_grid(Measured(("a", "b"), np.array([np.nan, np.inf]), np.zeros(2), 1.0))
    assert np.isnan(put.position_rad[0])
    assert np.isposinf(put.position_rad[1])
    assert put.effort_nm is None


def test_a_wrench_is_put_on_its_grid():
    wrench = wrench_on_grid(Wrench(np.array([1.001, -2.0, 0.5]), np.array([0.1, 0.0, -0.1]), 1.0))
    assert (wrench.force_n / STEPS["force_n"] == np.rint(wrench.force_n / STEPS["force_n"])).all()
    assert np.abs(wrench.torque_nm - [0.1, 0.0, -0.1]).max() <= 0.5 * STEPS["torque_nm"]
