"""Stamps of measurements without their jitter, where the sensors are read more regularly than their stamps tell.

A fit that takes jitter of stamps for motion is biased wherever torque or speed has a kink, as at each reversal of
friction: 0.1 ms moved the stiffness of a stiff joint by more than its own standard deviation. Whether jitter is of the
stamps or of the sampling itself is decided by the measured motion: it is smoother in the times that are right.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robolearn.data.motion import Motion, Stream

Array = NDArray[np.float64]

JITTER_MIN_S = 1e-6  # less changes nothing
HALF = 100  # stamps on each side whose mean is without jitter
_BREAK = 5  # periods without a stamp: what follows is another run
_WINDOW, _DEGREE = 21, 3  # samples, and the polynomial in time that motion is over so many


def without_jitter(motion: Motion) -> Motion:
    """The motion with even stamps of measurements where its positions are smoother in them; else the same."""
    time, positions = motion.measured.time_s, motion.measured.values["position_rad"]
    even = even_stamps(time)
    jitter = float(np.std(time - even))
    if jitter < JITTER_MIN_S or not (np.diff(even) > 0).all():
        return motion
    rough = np.array([_roughness(stamps, positions) for stamps in (time, even)])
    if not rough[1].sum() < rough[0].sum():
        return motion
    note = f"stamps of measurements jitter by {1e3 * jitter:.2g} ms (standard deviation): made even"
    measured = Stream(even, motion.measured.values, motion.measured.breaks_s)
    return replace(motion, measured=measured, notes=(*motion.notes, note))


def even_stamps(time_s: Array) -> Array:
    """Stamps [N] on the local average of a regular grid: samples that are missing leave the grid where it is."""
    steps = np.diff(time_s)
    if not len(steps):
        return time_s.copy()
    period = float(np.median(steps))
    slots = np.round(steps / period)
    ends = [0, *(np.flatnonzero(slots > _BREAK) + 1).tolist(), len(time_s)]
    even = np.empty_like(time_s)
    for low, high in itertools.pairwise(ends):
        grid = period * np.concatenate([[0.0], np.cumsum(slots[low : high - 1])])
        even[low:high] = grid + _level(time_s[low:high] - grid)
    return even


def _level(values: Array) -> Array:
    """Mean of as many values before as after each, `HALF` at most; at the ends a straight line through them."""
    index = np.arange(len(values))
    half = np.minimum(HALF, np.minimum(index, index[::-1]))
    sums = np.concatenate([[0.0], np.cumsum(values - values[0])])
    mean = values[0] + (sums[index + half + 1] - sums[index - half]) / (2 * half + 1)
    for edge in (slice(0, HALF), slice(-HALF, None)):
        wide = slice(0, 2 * HALF + 1) if edge.start == 0 else slice(-2 * HALF - 1, None)
        if len(index[wide]) > 2:
            mean[edge] = np.polyval(np.polyfit(index[wide], values[wide], 1), index[edge])
    return mean


def _roughness(time_s: Array, values: Array) -> Array:
    """What a polynomial in time over short windows leaves of signals [N, n], as a share of their noise: [n]."""
    blocks = len(time_s) // _WINDOW
    time = time_s[: blocks * _WINDOW].reshape(blocks, _WINDOW)
    span = np.ptp(time, axis=1)
    kept = span < 2 * np.median(span)  # not across a gap
    scaled = (time[kept] - time[kept].mean(axis=1, keepdims=True)) / span[kept, None]
    basis = np.linalg.qr(scaled[:, :, None] ** np.arange(_DEGREE + 1))[0]
    signal = values[: blocks * _WINDOW].reshape(blocks, _WINDOW, -1)[kept]
    left = signal - basis @ (basis.transpose(0, 2, 1) @ signal)
    scale = np.median(np.abs(np.diff(values, 4, axis=0)), axis=0) + 1e-9
    return (left**2).mean(axis=(0, 1)) / scale**2
