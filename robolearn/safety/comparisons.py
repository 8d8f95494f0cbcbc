"""Comparisons, one small pure function each: values in, a Record of the violation out, or None.

None of them changes anything. Which rule compares what is in `rules`; what becomes of a violation, in `monitor`.
Every comparison is written so that NaN violates it. `every` and `largest` are for comparisons.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robolearn.safety.types import Record, Vector


def every(flags: NDArray[np.bool_]) -> bool:
    """`flags.all()`, in less than half of its time for the few that a cycle asks about."""
    return bool(np.count_nonzero(flags) == flags.size)


def largest(values: Vector) -> float:
    """`values.max()`, in less than half of its time for the few that a cycle asks about; NaN where there is one."""
    return values.item(values.argmax())


def finite(values: Vector | None, what: str) -> Record | None:
    """Everything is a finite number. NaN and infinities are never clamped."""
    if values is None or all(map(math.isfinite, _numbers(values))):
        return None
    bad = int(np.count_nonzero(~np.isfinite(values)))
    return Record("finite", float(bad), 0.0, -float(bad), "1", "robolearn", f"{what}: {bad} not finite")


def _numbers(values: Vector) -> list[float]:
    """All of them; a row of float64, as they come for the most part, in half of the time."""
    row = type(values) is np.ndarray and values.ndim == 1
    return values.tolist() if row else np.ravel(values).tolist()


def finite_time(value: float, what: str) -> Record | None:
    """A single number is finite."""
    if math.isfinite(value):
        return None
    return Record("finite", 1.0, 0.0, -1.0, "1", "robolearn", f"{what} is {value}")


def shape(names: tuple[str, ...], position: Vector, velocity: Vector | None, expected: tuple[str, ...],
          what: str) -> Record | None:  # fmt: skip
    """The joints are exactly the robot's, by name and in any order, one number each."""
    n = len(expected)
    lengths = [len(names), np.size(position), n if velocity is None else np.size(velocity)]
    if (names == expected or set(names) == set(expected)) and lengths == [n, n, n]:
        return None
    strange = sorted(set(names) ^ set(expected))
    text = (
        f"{what}: joints do not fit the robot: {', '.join(strange)}"
        if strange
        else f"{what}: {lengths} values"
    )
    return Record("shape", float(lengths[1]), float(n), -1.0, "1", "robot file", text)


def age(rule: str, now_s: float, stamp_s: float, age_max_s: float, ahead_max_s: float, source: str,
        what: str) -> Record | None:  # fmt: skip
    """A stamp is neither older than age_max_s nor further ahead of now than ahead_max_s."""
    old = now_s - stamp_s
    if not old <= age_max_s:
        return over(rule, old, age_max_s, "s", source, f"{what} is {old * 1e3:.1f} ms old")
    if not -old <= ahead_max_s:
        return over("clock", -old, ahead_max_s, "s", source, f"{what} is stamped in the future")
    return None


def forward(stamp_s: float, before_s: float, what: str) -> Record | None:
    """Time does not run backwards."""
    if stamp_s >= before_s:
        return None
    text = f"{what} went back by {(before_s - stamp_s) * 1e3:.3f} ms"
    return Record("clock", stamp_s, before_s, stamp_s - before_s, "s", "robolearn", text)


def over(rule: str, value: float, limit: float, unit: str, source: str, text: str = "",
         where: str = "") -> Record | None:  # fmt: skip
    """A value is at most its limit."""
    if value <= limit:
        return None
    text = text or f"{where + ': ' if where else ''}{value:.4g} {unit} is above {limit:.4g} {unit}"
    return Record(rule, float(value), float(limit), float(limit - value), unit, source, text, where)


def under(rule: str, value: float, limit: float, unit: str, source: str, text: str = "",
          where: str = "") -> Record | None:  # fmt: skip
    """A value is at least its limit."""
    if value >= limit:
        return None
    text = text or f"{where + ': ' if where else ''}{value:.4g} {unit} is below {limit:.4g} {unit}"
    return Record(rule, float(value), float(limit), float(value - limit), unit, source, text, where)


def within(rule: str, value: Vector, low: Vector, high: Vector, unit: str, source: str,
           names: tuple[str, ...]) -> Record | None:  # fmt: skip
    """Every value lies in [low, high]; the record is of the one that exceeds by most."""
    if every((value >= low) & (value <= high)):
        return None
    margin = np.minimum(value - low, high - value)
    worst = int(np.argmin(margin))
    bound = low[worst] if value[worst] - low[worst] < high[worst] - value[worst] else high[worst]
    side = "below" if bound == low[worst] else "above"
    text = f"{names[worst]}: {value[worst]:.5g} {unit} is {side} {bound:.5g} {unit}"
    return Record(
        rule, float(value[worst]), float(bound), float(margin[worst]), unit, source, text, names[worst]
    )


def magnitude(rule: str, value: Vector, limit: Vector | float, unit: str, source: str,
              names: tuple[str, ...]) -> Record | None:  # fmt: skip
    """Every |value| is at most its limit, or the one limit of all; the record is of the one that exceeds by most."""
    size = np.abs(value)
    if every(size <= limit):
        return None
    worst = int(np.argmin(limit - size))
    most = float(np.broadcast_to(limit, size.shape)[worst])
    text = f"{names[worst]}: {size[worst]:.5g} {unit} is above {most:.5g} {unit}"
    return Record(
        rule, float(value[worst]), most, float(most - size[worst]), unit, source, text, names[worst]
    )
