"""From targets at the policy's rate to a smooth command stream at the arm's rate.

The policy's targets, position and velocity at the end of each control period T, describe a path that is continuous in
position and velocity but whose acceleration steps. The stream is that path averaged over the last T seconds. An
average of positions, velocities or accelerations that lie within limits lies within the same limits, so nothing the
policy keeps to is lost; acceleration becomes continuous and jerk at most 2 * acceleration_max / T (for 5 rad/s^2 at
50 Hz: 500 rad/s^3). The price is a delay of T / 2. A path at rest is returned exactly, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.errors import BundleError

Vector = NDArray[np.float64]

# Targets are float32: over 20 ms one unit in the last place near 3 rad looks like this much speed and acceleration.
_VELOCITY_TOLERANCE_RAD_S = 1e-3
_ACCELERATION_TOLERANCE_RAD_S2 = 0.1


def ticks_per_period(command_rate_hz: float, control_hz: float) -> int:
    """Commands per control period. Raises BundleError where that is not a whole number, at least 1."""
    ratio = command_rate_hz / control_hz
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-9:
        raise BundleError(
            f"The command rate is {command_rate_hz:g} Hz, but must be a whole multiple of the policy's "
            f"{control_hz:g} Hz."
        )
    return round(ratio)


class TargetStream:
    """Joins targets into segments and samples their moving average. All vectors [n], rad and seconds."""

    def __init__(self, period_s: float, velocity_max_rad_s: ArrayLike, acceleration_max_rad_s2: ArrayLike):
        self.period_s = period_s
        self.velocity_max_rad_s = np.asarray(velocity_max_rad_s, float)
        self.acceleration_max_rad_s2 = np.asarray(acceleration_max_rad_s2, float)
        self.hold(np.zeros(len(self.velocity_max_rad_s)))

    @property
    def end_position_rad(self) -> Vector:
        """Where the newest segment ends."""
        return self._position

    @property
    def end_velocity_rad_s(self) -> Vector:
        """How fast the newest segment ends."""
        return self._velocity

    @property
    def at_rest(self) -> bool:
        """Whether both segments that the average covers stand still."""
        return not (self._now.any() or self._before.any())

    def hold(self, position_rad: ArrayLike) -> None:
        """Forget everything: at rest at position_rad from now on."""
        self._position = np.array(position_rad, float)
        self._velocity = np.zeros_like(self._position)
        self._origin = self._position  # of the older segment
        # Rows: coefficients of s, s^2, s^3 of the displacement from the start of the segment.
        self._before = np.zeros((3, len(self._position)))
        self._now = self._before
        self._step = self._velocity  # from the start of the older segment to the start of the newer

    def push(self, position_rad: ArrayLike, velocity_rad_s: ArrayLike) -> None:
        """Begin the next segment, which ends at these targets after one period.

        Raises BundleError where the segment would exceed the stream's velocity or acceleration; nothing changes then.
        """
        position, velocity, T = (
            np.asarray(position_rad, float),
            np.asarray(velocity_rad_s, float),
            self.period_s,
        )
        travel = position - self._position
        slope = travel / T
        segment = np.stack([
            self._velocity,
            (3 * slope - 2 * self._velocity - velocity) / T,
            (self._velocity + velocity - 2 * slope) / T**2,
        ])  # fmt: skip
        self._check(segment, velocity)
        self._origin = self._origin + self._step
        self._before, self._now, self._step = self._now, segment, self._position - self._origin
        self._position, self._velocity = position, velocity

    def brake(self) -> None:
        """Begin a segment that slows every joint down at the stream's acceleration, to rest at the earliest."""
        change = self.acceleration_max_rad_s2 * self.period_s
        velocity = self._velocity - np.clip(self._velocity, -change, change)
        self.push(self._position + 0.5 * (self._velocity + velocity) * self.period_s, velocity)

    def sample(self, time_s: float) -> tuple[Vector, Vector]:
        """Position and velocity time_s into the newest segment; later than its end counts as its end."""
        T = self.period_s
        s = min(max(time_s, 0.0), T)
        powers = np.array([s, s**2, s**3])
        integral = np.array([s**2 / 2, s**3 / 3, s**4 / 4])
        whole = np.array([T**2 / 2, T**3 / 3, T**4 / 4])
        displaced = (whole - integral) @ self._before + integral @ self._now + self._step * s
        velocity = (self._step + powers @ self._now - powers @ self._before) / T
        return self._origin + displaced / T, velocity

    def _check(self, segment: Vector, velocity_end: Vector) -> None:
        T = self.period_s
        _, c2, c3 = segment
        acceleration = np.maximum(np.abs(2 * c2), np.abs(2 * c2 + 6 * c3 * T))
        # Speed is a parabola in time; its extremum is where the acceleration is zero, if inside the segment.
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.nan_to_num(-c2 / (3 * c3), posinf=0.0, neginf=0.0).clip(0.0, T)
        inner = np.abs(self._velocity + 2 * c2 * s + 3 * c3 * s**2)
        velocity = np.maximum(inner, np.abs(velocity_end))
        for what, value, limit, tolerance, unit in (
            ("speed", velocity, self.velocity_max_rad_s, _VELOCITY_TOLERANCE_RAD_S, "rad/s"),
            (
                "acceleration",
                acceleration,
                self.acceleration_max_rad_s2,
                _ACCELERATION_TOLERANCE_RAD_S2,
                "rad/s^2",
            ),
        ):
            over = ~(value <= limit + tolerance)  # a NaN counts as over
            if over.any():
                j = int(np.argmax(over))
                raise BundleError(
                    f"The policy's targets ask joint {j + 1} for {what} of {value[j]:.3g} {unit}; the bundle "
                    f"declares at most {limit[j]:.3g}. The policy is held."
                )
