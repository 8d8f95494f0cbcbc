"""The stream filter once more, written apart from it: slow, plain numpy, for streams that stay within every bound.

The mean over the window is a numerical quadrature here, where the header has closed forms; the tracking law acts on
all joints at once; nothing is clipped, for nothing needs to be.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from robolearn_ros.stream_filter import FilterConfig

Vector = NDArray[np.float64]

# stream_clock.hpp
RATE_MAX, PULL_S, SMOOTH_S, LEAK, CATCH_UP, PACE_S = 0.05, 0.2, 0.05, 1e-3, 0.1, 0.25
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)  # exact up to degree 11


class SlowPath:
    """Samples so far: times [k], positions and velocities [k, n]."""

    def __init__(self, window_s: float):
        self.window_s = window_s
        self.times: list[float] = []
        self.positions: list[Vector] = []
        self.velocities: list[Vector] = []
        self.cubics: dict[int, Vector] = {}

    def raw(self, t: float) -> tuple[Vector, Vector]:
        """Position and velocity [n] of the cubic through the samples; at rest outside them."""
        times = self.times
        if t < times[0]:
            return self.positions[0], np.zeros_like(self.positions[0])
        k = int(np.searchsorted(times, t, side="right")) - 1
        if k == len(times) - 1:
            return self.positions[k], self.velocities[k] if t == times[k] else np.zeros_like(
                self.positions[k]
            )
        c, t = self.cubic(k), t - times[k]
        return np.array([1, t, t**2, t**3]) @ c, np.array([0, 1, 2 * t, 3 * t**2]) @ c

    def cubic(self, k: int) -> Vector:
        """Coefficients [4, n] after sample k, solved for instead of written down as Hermite's."""
        if k not in self.cubics:
            h = self.times[k + 1] - self.times[k]
            rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, h, h**2, h**3], [0, 1, 2 * h, 3 * h**2]])
            ends = [self.positions[k], self.velocities[k], self.positions[k + 1], self.velocities[k + 1]]
            self.cubics[k] = np.linalg.solve(rows, np.array(ends))
        return self.cubics[k]

    def mean(self, t: float) -> tuple[Vector, Vector, Vector]:
        """Position, velocity, acceleration [n] of the mean over the window before t."""
        low = t - self.window_s
        cuts = [low, *(s for s in self.times if low < s < t), t]
        area = np.zeros_like(self.positions[0])
        for a, b in pairwise(cuts):
            middle, half = (a + b) / 2, (b - a) / 2
            area = area + half * sum(
                w * self.raw(middle + half * x)[0] for x, w in zip(NODES, WEIGHTS, strict=True)
            )
        (p0, v0), (p1, v1) = self.raw(low), self.raw(t)
        return area / self.window_s, (p1 - p0) / self.window_s, (v1 - v0) / self.window_s


def slow_run(
    config: FilterConfig, home: Vector, a_max: Vector, j_max: Vector, now_s: Vector, arrival: NDArray[np.int64],
    stamps_s: Vector, position: Vector, velocity: Vector,
) -> Vector:  # fmt: skip
    """Commanded positions [steps, n] of a filter that begins at home and follows the stream."""
    path, dt = SlowPath(config.stream_period_s), config.step_s
    q, v, a = home.copy(), np.zeros_like(home), np.zeros_like(home)
    offset = heard = rest_from = played = None
    rate, pace, stepped = 1.0, 1.0, 0.0
    since_start, first_offset, came = 0.0, np.zeros_like(home), 0
    out = np.empty((len(now_s), len(home)))
    w = config.bandwidth_rad_s
    for step, now in enumerate(now_s):
        while came < len(stamps_s) and arrival[came] <= step:
            stamp = stamps_s[came] - stamps_s[0]
            earlier = stamp - now
            if offset is None:
                offset = earlier
            elif earlier > offset:
                offset += min(earlier - offset, CATCH_UP * max(now - heard, dt))
            else:
                offset += max(earlier - offset, -LEAK * max(now - heard, 0.0))
            heard = now
            path.times.append(stamp)
            path.positions.append(position[came])
            path.velocities.append(velocity[came])
            if played is None and rest_from is None:
                rest_from = stamp
            came += 1
        if played is None and rest_from is not None and path.times[-1] - rest_from >= config.start_rest_s:
            played, stepped = now + offset - config.delay_s, now
            first_offset = q - path.mean(played)[0]
        if played is not None:
            pull = (now + offset - config.delay_s - played - dt) / PULL_S
            pace += ((now - stepped) / dt - pace) * dt / PACE_S
            stepped = now
            rate += (pace + np.clip(pull, -RATE_MAX, RATE_MAX) - rate) * dt / SMOOTH_S
            played += rate * dt
            p0, v0, a0 = path.mean(played)
            a1 = path.mean(played + rate * dt)[2] if played + rate * dt <= path.times[-1] else a0
            share = _blend(since_start, config.start_blend_s)
            later = _blend(since_start + dt, config.start_blend_s)
            p_ref = p0 + share[0] * first_offset
            v_ref = rate * v0 + share[1] * first_offset
            a_ref = rate**2 * a0 + share[2] * first_offset
            a_next = rate**2 * a1 + later[2] * first_offset
            catch_up = _curve(p_ref - q, w / 3, a_max / 2)
            change = _curve(v_ref - v + catch_up, w, j_max / 2)
            jerk = (a_next - a_ref) / dt + 3 * w * (a_ref - a + change)
            assert (np.abs(jerk) <= j_max).all(), "the slow filter knows no bounds"
            q = q + v * dt + a * dt**2 / 2 + jerk * dt**3 / 6
            v = v + a * dt + jerk * dt**2 / 2
            a = a + jerk * dt
            since_start += dt
        out[step] = q
    return out


def _curve(error: Vector, gain: float, rate: Vector) -> Vector:
    linear = rate / gain**2
    far = np.sqrt(np.maximum(rate * (2 * np.abs(error) - linear), 0.0))
    return np.sign(error) * np.where(np.abs(error) <= linear, gain * np.abs(error), far)


def _blend(t: float, duration: float) -> tuple[float, float, float]:
    """1 to 0 over the duration: value, first and second derivative."""
    if t >= duration:
        return 0.0, 0.0, 0.0
    p = 1 - Polynomial([0, 0, 0, 10, -15, 6])
    u = t / duration
    return p(u), p.deriv()(u) / duration, p.deriv(2)(u) / duration**2
