"""Streams of commands as they reach a controller, from well-behaved to hostile, all drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from robolearn_ros.stream_filter import Bounds

Vector = NDArray[np.float64]

FR3 = Bounds(
    position_min_rad=np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159]),
    position_max_rad=np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159]),
    velocity_max_rad_s=np.array([2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]),
    acceleration_max_rad_s2=np.full(7, 10.0),
    jerk_max_rad_s3=np.full(7, 5000.0),
)
HOME = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])


@dataclass
class Stream:
    """now_ns: [steps] of the control loop. Of each sample: the step before which it comes, and what it holds."""

    now_ns: NDArray[np.int64]
    arrival: NDArray[np.int64]
    stamp_ns: NDArray[np.int64]
    position_rad: Vector
    velocity_rad_s: Vector


def smooth(t: Vector) -> Vector:
    """A motion from rest at HOME within the limits, [k, 7]; analytic, so that delays can be measured."""
    rate = np.array([1.1, 1.7, 0.9, 1.3, 2.1, 1.9, 2.3])
    size = np.array([0.5, 0.4, 0.5, 0.4, 0.5, 0.5, 0.5])
    u = np.clip((t - 0.5) / 2.0, 0.0, 1.0)[:, None]
    return HOME + size * np.sin(rate * np.maximum(t - 0.5, 0.0)[:, None]) * u**3 * (10 - 15 * u + 6 * u**2)


def deliver(
    stamps_s: Vector,
    position_rad: Vector,
    random: np.random.Generator,
    *,
    duration_s: float,
    step_s: float = 0.001,
    latency_s: float = 0.0005,
    jitter_s: float = 0.0003,
    clock_share: float = 1.0003,
    wake_s: float = 0.0001,
    clock_offset_ns: int = 10**18,
) -> Stream:
    """Samples with backward-difference velocities on their way to a loop whose clock and wake-ups are not theirs."""
    velocity = np.zeros_like(position_rad)
    velocity[1:] = np.diff(position_rad, axis=0) / np.diff(stamps_s)[:, None]
    come = np.maximum.accumulate(stamps_s + latency_s + np.abs(random.normal(size=len(stamps_s))) * jitter_s)
    steps = int(duration_s / step_s)
    now = np.arange(steps) * step_s * clock_share + np.abs(random.normal(size=steps)) * wake_s
    now = np.maximum.accumulate(now)
    return Stream(
        (now * 1e9).astype(np.int64),
        np.searchsorted(now, come),
        np.round(stamps_s * 1e9).astype(np.int64) + clock_offset_ns,
        position_rad,
        velocity,
    )


def hostile(
    seed: int, duration_s: float = 4.0, bounds: Bounds = FR3, step_s: float = 0.001
) -> tuple[Stream, float]:
    """A stream that rests at HOME and then does what no sender should, and its nominal rate in Hz.

    Phases of random length: accelerations far above the limits, reversals at full speed, runs into the position
    limits, rests; samples that are lost, repeated, overtaken, late in bursts, not finite, jump, or have wrong stamps.
    """
    random = np.random.default_rng(seed)
    rate_hz = float(np.exp(random.uniform(np.log(100.0), np.log(1000.0))))
    period = 1.0 / rate_hz
    stamps = np.arange(0.0, duration_s, period)
    position = _wander(random, len(stamps), period, bounds, mild=bool(random.random() < 0.6))
    made = deliver(
        stamps, position, random, duration_s=duration_s, step_s=step_s,
        jitter_s=float(random.choice([0.0, 0.0003, 0.002, 0.01])), wake_s=float(random.choice([0.0, 1e-4, 2e-3])),
        clock_share=float(random.uniform(0.995, 1.005)),
    )  # fmt: skip
    _spoil(made, random, count=int(random.choice([0, 1, 3])))
    return made, rate_hz


def _wander(random: np.random.Generator, count: int, period: float, bounds: Bounds, *, mild: bool) -> Vector:
    """Positions [count, 7] whose speed never exceeds the limits, whatever their acceleration.

    mild: accelerations within the limits, but for ends at the position limits.
    """
    v_max = bounds.velocity_max_rad_s
    position = np.tile(HOME, (count, 1))
    velocity = np.zeros(7)
    k = int(random.uniform(0.15, 0.4) / period)
    while k < count:
        length = max(1, int(random.exponential(0.4 if mild else 0.15) / period))
        kind = 6 if mild else random.integers(6)
        wanted = random.uniform(-1, 1, 7) * v_max
        for _ in range(min(length, count - k)):
            if kind == 0:  # reversals
                velocity = np.where(random.random(7) < 0.2, -1.0, 1.0) * np.sign(velocity + 1e-9) * v_max
            elif kind == 1:  # noise
                velocity = random.uniform(-1, 1, 7) * v_max * random.choice([0.01, 0.1, 1.0])
            elif kind == 2:  # rest at once
                velocity = np.zeros(7)
            elif kind == 3:  # a step of velocity
                velocity = wanted
            else:  # an acceleration around the limit
                share = random.uniform(0.3, 0.9) if mild else random.choice([0.5, 1.0, 3.0])
                change = bounds.acceleration_max_rad_s2 * share * period
                velocity = velocity + np.clip(wanted - velocity, -change, change)
            position[k] = np.clip(
                position[k - 1] + velocity * period, bounds.position_min_rad, bounds.position_max_rad
            )
            k += 1
    return position


def _spoil(made: Stream, random: np.random.Generator, count: int) -> None:
    """Lose, repeat, reorder, delay and corrupt samples in place, in `count` places."""
    faults, count = count, len(made.stamp_ns)
    for k in random.integers(count // 4, count, size=faults):
        kind = random.integers(9)
        end = min(count, k + int(random.integers(1, 40)))
        if kind == 0:
            made.position_rad[k, random.integers(7)] = random.choice([np.nan, np.inf, -np.inf, 1e300])
        elif kind == 1:
            made.velocity_rad_s[k, random.integers(7)] = random.choice([np.nan, np.inf, 1e300, 100.0])
        elif kind == 2:
            made.position_rad[k:] += random.normal(size=7) * random.choice([0.01, 0.1, 1.0])
        elif kind == 3:
            made.stamp_ns[k:] += int(random.choice([-1, 1]) * random.choice([1e6, 1e7, 1e9, 1e17]))
        elif kind == 4:
            made.arrival[k:end] = made.arrival[end - 1]  # held up, then all at once
        elif kind == 5 and end - k > 1:
            order = k + random.permutation(end - k)
            for array in (made.stamp_ns, made.position_rad, made.velocity_rad_s):
                array[k:end] = array[order]
        elif kind == 6:
            made.stamp_ns[k:end] = made.stamp_ns[k]  # repeated stamps
        elif kind == 7:
            made.velocity_rad_s[k:] = 0.0
        else:
            made.now_ns[made.arrival[k] :] += int(random.choice([5e6, 5e7, 5e8]))  # the loop is held up
    keep = random.random(count) >= random.choice([0.0, 0.0, 0.02, 0.3])
    for name in ("arrival", "stamp_ns", "position_rad", "velocity_rad_s"):
        setattr(made, name, getattr(made, name)[keep])
    made.now_ns[:] = np.maximum.accumulate(made.now_ns)
    made.arrival[:] = np.maximum.accumulate(made.arrival)
