"""The grid on which measurements are judged and recorded: far finer than any sensor, and coarse enough to record.

A driver hands on float64, whose last bits are noise that nothing can compress: 14 noisy float64 a cycle are by
themselves 3 GB a day at 500 Hz. So a measurement is put on a grid as it is received, before the monitor judges it.
What is judged is what is recorded, bit for bit. The steps are powers of two, so that rounding is exact.

    position  2^-23 rad    1.2e-7 rad: 0.1 um at 1 m. An encoder of 20 bits a turn resolves 6e-6 rad.
    velocity  2^-18 rad/s  3.8e-6 rad/s: a sixteenth of one step of position in a cycle at 500 Hz
    effort    2^-10 Nm     0.001 Nm
    force     2^-8 N       0.004 N
    torque    2^-12 Nm     0.0002 Nm
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robolearn.recorder.cycle_codec import Wrench
from robolearn.safety.types import Measured

Vector = NDArray[np.float64]

STEPS = {
    "position_rad": 2.0**-23,
    "velocity_rad_s": 2.0**-18,
    "effort_nm": 2.0**-10,
    "force_n": 2.0**-8,
    "torque_nm": 2.0**-12,
}


def measured_on_grid(measured: Measured) -> Measured:
    """The measurement on the grid; what is not a finite number stays what it is."""
    effort = measured.effort_nm
    return replace(
        measured,
        position_rad=_on(measured.position_rad, "position_rad"),
        velocity_rad_s=_on(measured.velocity_rad_s, "velocity_rad_s"),
        effort_nm=None if effort is None else _on(effort, "effort_nm"),
    )


def wrench_on_grid(wrench: Wrench) -> Wrench:
    """The wrench on the grid."""
    return replace(
        wrench, force_n=_on(wrench.force_n, "force_n"), torque_nm=_on(wrench.torque_nm, "torque_nm")
    )


def _on(values: Vector, name: str) -> Vector:
    step = STEPS[name]
    return np.rint(values / step) * step
