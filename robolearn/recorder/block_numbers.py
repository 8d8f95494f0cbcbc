"""Whole numbers for 64-bit words, and few bits for whole numbers: the arithmetic of `cycle_blocks`, on arrays.

Everything here can be undone exactly. A column is one of the axes: words, values and integers are [k, c].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Naturals = NDArray[np.uint64]
Values = NDArray[np.float64]

SHIFT_MAX = 120  # of fixed point: values down to 2^-120 of a unit
QUOTIENT_MAX = 40  # of a Rice code, in bits of its unary part
_SIGN = np.int64(63)
_HIGH = np.int64(2**63 - 1)
_WHOLE_MAX = 2.0**62
_PIECE = 1 << 18
_EIGHT = np.arange(8)


def ordered(words: Integers) -> Integers:
    """The bits of floats as integers in the order of the floats; its own inverse."""
    return words ^ ((words >> _SIGN) & _HIGH)


def shifts(values: Values) -> NDArray[np.int64]:
    """Per column the smallest s for which value * 2^s is whole in every row, [c]; 0 where there are only zeros."""
    mantissa, exponent = np.frexp(values)
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] + exponent - 54
    needed = -np.where(whole == 0, 4096, lowest).min(axis=0)
    return np.where(needed == -4096, 0, needed)


def to_fixed(values: Values, shift: NDArray[np.int64]) -> Integers:
    """value * 2^shift, rounded to whole numbers and held inside 62 bits; 0 for what is not a number."""
    scaled = np.rint(np.ldexp(np.where(np.isfinite(values), values, 0.0), shift))
    return scaled.clip(-_WHOLE_MAX, _WHOLE_MAX).astype(np.int64)


def from_fixed(integers: Integers, shift: NDArray[np.int64]) -> Values:
    """The values that `to_fixed` took, where they were whole."""
    return np.ldexp(integers.astype(np.float64), -shift)


def to_nanos(values: Values) -> Integers:
    """value * 1e9, rounded, held inside 62 bits; 0 for what is not a number."""
    scaled = np.rint(np.where(np.isfinite(values), values, 0.0) * 1e9)
    return scaled.clip(-_WHOLE_MAX, _WHOLE_MAX).astype(np.int64)


def from_nanos(integers: Integers) -> Values:
    """Seconds: whole nanoseconds divided by 1e9."""
    return integers / 1e9


def zigzag(differences: Integers) -> Naturals:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return ((differences << np.int64(1)) ^ (differences >> _SIGN)).view(np.uint64)


def unzigzag(naturals: Naturals) -> Integers:
    """The inverse of `zigzag`."""
    half = (naturals >> np.uint64(1)).view(np.int64)
    return half ^ -(naturals & np.uint64(1)).view(np.int64)


def lengths(naturals: Naturals) -> NDArray[np.int64]:
    """Bits that each number needs, 0 to 64."""
    found = np.frexp(naturals.astype(np.float64))[1].astype(np.int64)
    # The conversion rounds to 53 bits, perhaps up to the next power of two.
    return found - ((found > 0) & (naturals >> np.maximum(found - 1, 0).astype(np.uint64) == 0))


def pack_bits(naturals: Naturals, counts: NDArray[np.int64]) -> bytes:
    """The lowest `counts` bits of each number, one after another; both [m]."""
    bits = np.unpackbits(naturals.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    return np.packbits(bits[np.arange(64) >= 64 - counts[:, None]]).tobytes()


def unpack_bits(data: bytes, counts: NDArray[np.int64]) -> Naturals:
    """The inverse of `pack_bits`: [m]; counts up to 63. data must hold ceil(sum of counts / 8) bytes."""
    # Of each number the eight bytes in which it begins, and the ninth: it may begin inside a byte.
    ends = np.cumsum(counts)
    begin = ends - counts
    padded = np.frombuffer(data + bytes(9), np.uint8)
    at = begin >> 3
    words = padded[at[:, None] + _EIGHT].view(">u8").ravel().astype(np.uint64)
    skipped = (begin & 7).astype(np.uint64)
    words = words << skipped | padded[at + 8].astype(np.uint64) >> (np.uint64(8) - skipped)
    return np.where(counts > 0, words >> (64 - counts & 63).astype(np.uint64), np.uint64(0))


def pack_unary(naturals: NDArray[np.int64]) -> bytes:
    """Each number as so many ones and a zero; [m]."""
    bits = np.ones(int(naturals.sum()) + len(naturals), np.uint8)
    bits[np.cumsum(naturals + 1) - 1] = 0
    return np.packbits(bits).tobytes()


def unpack_unary(data: bytes, count: int) -> NDArray[np.int64]:
    """The inverse of `pack_unary`: [count]. Raises ValueError where data holds fewer numbers."""
    ends, found = [], 0
    for at in range(0, len(data), _PIECE):  # no more at a time than is needed: data of others may be long
        piece = np.flatnonzero(np.unpackbits(np.frombuffer(data[at : at + _PIECE], np.uint8)) == 0)
        ends.append(piece[: count - found] + 8 * at)
        found += len(ends[-1])
        if found == count:
            break
    if found < count:
        raise ValueError("a block whose unary part is too short")
    return np.diff(np.concatenate([[-1], *ends])) - 1


def summed(differences: Integers, history: Integers, order: NDArray[np.int64]) -> Integers:
    """The integers [k, c] whose differences of each column's order [c] these are, going on after history [h, c]."""
    highest = int(order.max(initial=0))
    last = [history[-1]]
    for _ in range(1, highest):
        history = history[1:] - history[:-1]
        last.append(history[-1])
    for level in range(highest - 1, -1, -1):
        differences = np.where(order > level, last[level] + differences.cumsum(axis=0), differences)
    return differences
