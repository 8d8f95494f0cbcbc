"""Arithmetic of vectors and quaternions written out in numbers, in which a 0 or 1 of the model costs nothing.

A number is a float, or an array with one element for each of many arms. XLA makes one loop over the arms of such
sums and products, several times as fast as of small vectors and matrices with an axis of three for each arm.
"""

from __future__ import annotations

from typing import Any

Number = Any  # a float of the model, or an array over arms; [] within jax.vmap
Triple = tuple[Number, Number, Number]
Quat = tuple[Number, Number, Number, Number]  # w, x, y, z


def times(a: Number, b: Number) -> Number:
    """a b."""
    for x, y in ((a, b), (b, a)):
        if isinstance(x, float) and x in (0.0, 1.0):
            return y if x else 0.0
    return a * b


def plus(a: Number, b: Number) -> Number:
    """a + b."""
    return b if isinstance(a, float) and a == 0.0 else a if isinstance(b, float) and b == 0.0 else a + b


def minus(a: Number, b: Number) -> Number:
    """a - b."""
    if isinstance(a, float) and a == 0.0:
        return times(-1.0, b)
    return a if isinstance(b, float) and b == 0.0 else a - b


def add(a: Triple, b: Triple) -> Triple:
    """a + b."""
    return (plus(a[0], b[0]), plus(a[1], b[1]), plus(a[2], b[2]))


def subtract(a: Triple, b: Triple) -> Triple:
    """a - b."""
    return (minus(a[0], b[0]), minus(a[1], b[1]), minus(a[2], b[2]))


def scale(factor: Number, a: Triple) -> Triple:
    """factor a."""
    return (times(factor, a[0]), times(factor, a[1]), times(factor, a[2]))


def cross(a: Triple, b: Triple) -> Triple:
    """a x b."""

    def part(i: int, j: int) -> Number:
        return minus(times(a[i], b[j]), times(a[j], b[i]))

    return (part(1, 2), part(2, 0), part(0, 1))


def product(p: Quat, q: Quat) -> Quat:
    """The quaternion product: turn by q, then by p."""

    def part(*signed: tuple[float, int, int]) -> Number:
        total: Number = 0.0
        for sign, i, j in signed:
            total = plus(total, times(sign, times(p[i], q[j])))
        return total

    return (
        part((1.0, 0, 0), (-1.0, 1, 1), (-1.0, 2, 2), (-1.0, 3, 3)),
        part((1.0, 0, 1), (1.0, 1, 0), (1.0, 2, 3), (-1.0, 3, 2)),
        part((1.0, 0, 2), (-1.0, 1, 3), (1.0, 2, 0), (1.0, 3, 1)),
        part((1.0, 0, 3), (1.0, 1, 2), (-1.0, 2, 1), (1.0, 3, 0)),
    )


def turned(quat: Quat, vector: Triple) -> Triple:
    """A vector turned by a unit quaternion: v + 2 w (u x v) + 2 u x (u x v)."""
    axis = (quat[1], quat[2], quat[3])
    side = scale(2.0, cross(axis, vector))
    return add(vector, add(scale(quat[0], side), cross(axis, side)))
