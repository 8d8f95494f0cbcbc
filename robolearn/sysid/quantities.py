"""From fitted coordinates to numbers that a person and a model can use, each with its interval and a verdict.

With motor effort: stiffness, servo damping, viscous damping, friction and armature of each joint by itself. Without:
only what positions tell, lag, inertia over stiffness and friction over stiffness; the stiffness stays nominal, and
the model's drives then are those with the nominal stiffness and these ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.robots.calibration import Quantity, Status
from robolearn.sysid.diagnosis import JointDiagnosis
from robolearn.sysid.parameters import Layout, Name, physical

Array = NDArray[np.float64]

Z_95, Z_99 = 1.959964, 2.575829
IDENTIFIED_WITHIN = 0.02  # share of the value within which the 99 % interval of an identified number ends
# The same as half of the 95 % interval. (Were that itself 2 %, one in twenty of such numbers would be off by more.)
IDENTIFIED_MAX = IDENTIFIED_WITHIN * Z_95 / Z_99
# Up to this a number is wide: nearer to the arm than the robot file's, so the model uses it, but not known to 2 %.
# Beyond, it stays nominal.
WIDE_MAX = 0.10
# Absolute half-widths, in the unit, that are enough whatever the value: these may be 0, and are never wide.
ENOUGH = {"delay": 5e-4, "bias": 5e-5, "payload_com": 0.01}
RELATED = 0.98  # a correlation of more is named as the reason


@dataclass(frozen=True)
class _Derived:
    """A number that follows from coordinates. absolute: judged by `ENOUGH`, not relative to its value."""

    kind: str
    joint: int | None
    unit: str
    nominal: float
    value: Callable[[Array], float]
    absolute: float | None = None


@dataclass(frozen=True)
class Judged:
    """The quantities, their estimates and standard deviations [k], and their correlations [k, k]."""

    quantities: tuple[Quantity, ...]
    estimates: Array
    deviations: Array
    correlation: Array


def judge(
    layout: Layout, x: Array, covariance: Array, effort: bool, joints: tuple[JointDiagnosis, ...]
) -> Judged:
    """Every number of the fit with its status. joints: what the tests say; one that they reject gives none.

    Where they reject half of the arm, what drives it is of another kind, and no joint gives a number.
    """
    derived = [*_of_joints(layout, effort), *_shared(layout, effort)]
    slopes = np.array([_slope(item.value, x) for item in derived])
    spread = slopes @ covariance @ slopes.T
    deviations = np.sqrt(np.maximum(np.diag(spread), 0.0))
    estimates = np.array([item.value(x) for item in derived])
    correlation = spread / np.maximum(np.outer(deviations, deviations), 1e-300)
    names = layout.robot.joint_names
    labels = [_label(item, names) for item in derived]
    unexplained = [j for j, joint in enumerate(joints) if not joint.explained]
    found = []
    for k, item in enumerate(derived):
        half = Z_95 * float(deviations[k])
        status, reason = _width(item, float(estimates[k]), half)
        whole = item.joint is None or 2 * len(unexplained) >= len(names)
        bad = unexplained if whole else [j for j in unexplained if j == item.joint]
        joint = None if item.joint is None else names[item.joint]
        common = {
            "name": labels[k],
            "kind": item.kind,
            "joint": joint,
            "unit": item.unit,
            "nominal": item.nominal,
        }
        if bad:
            why = "the model does not explain " + ", ".join(names[j] for j in bad)
            found.append(Quantity(**common, status="not explained", best_fit=float(estimates[k]), why=why))
        elif status == "not identified":
            found.append(Quantity(**common, status=status, why=reason + _related(correlation, k, labels)))
        else:
            interval = (float(estimates[k] - half), float(estimates[k] + half))
            found.append(
                Quantity(**common, status=status, estimate=float(estimates[k]), interval=interval, why=reason)
            )
    if not effort:
        found += [_without_effort(layout.robot, j) for j in range(layout.robot.dof)]
    return Judged(tuple(found), estimates, deviations, correlation)


def _label(item: _Derived, names: tuple[str, ...]) -> str:
    kind = item.kind.replace("_per_", " / ").replace("_", " ")
    return kind if item.joint is None else f"{kind} of {names[item.joint]}"


def _of_joints(layout: Layout, effort: bool) -> list[_Derived]:
    found = []
    for j in range(layout.robot.dof):
        found += _with_effort(layout, j) if effort else _ratios(layout, j)
        at = layout.index("bias", j)
        assert at is not None
        found.append(_Derived("bias", j, "rad", 0.0, _of(layout, Name("bias", j)), ENOUGH["bias"]))
    return found


def _with_effort(layout: Layout, j: int) -> list[_Derived]:
    servo = layout.robot.servo

    def part(key: str) -> Callable[[Array], float]:
        return lambda x: float(physical(layout, x)[key][j])

    friction = servo.friction_nm[j] if servo.friction_nm else 0.0
    return [
        _Derived("stiffness", j, "Nm/rad", servo.kp_nm_rad[j], part("stiffness")),
        _Derived("servo_damping", j, "Nms/rad", servo.kv_nms_rad[j], part("servo_damping")),
        _Derived("viscous", j, "Nms/rad", servo.damping_nms_rad[j], part("viscous")),
        _Derived("friction", j, "Nm", friction, part("friction")),
        _Derived("armature", j, "kg m^2", servo.armature_kgm2[j], part("armature")),
    ]


def _ratios(layout: Layout, j: int) -> list[_Derived]:
    inertia = float(layout.reference_inertia[j])

    def total(x: Array) -> float:
        numbers = physical(layout, x)
        return float((inertia + numbers["armature"][j]) / numbers["stiffness"][j])

    lag, friction = Name("lag", j), Name("friction", j)
    nominal = (inertia + layout.robot.servo.armature_kgm2[j]) / layout.robot.servo.kp_nm_rad[j]
    return [
        _Derived("lag", j, "s", layout.nominal(lag), _of(layout, lag)),
        _Derived("inertia_per_stiffness", j, "s^2", nominal, total),
        _Derived("friction_per_stiffness", j, "rad", layout.nominal(friction), _of(layout, friction)),
    ]


def _shared(layout: Layout, effort: bool) -> list[_Derived]:
    found = [_Derived("delay", None, "s", 0.0, _of(layout, Name("delay")), ENOUGH["delay"])]
    if effort:
        mass = _of(layout, Name("payload_mass"))
        found.append(_Derived("payload_mass", None, "kg", 0.0, mass))
        for axis in "xyz":
            moment = _of(layout, Name(f"payload_moment_{axis}"))

            def centre(x: Array, moment: Callable[[Array], float] = moment) -> float:
                return moment(x) / mass(x)

            found.append(_Derived(f"payload_com_{axis}", None, "m", 0.0, centre, ENOUGH["payload_com"]))
    return found


def _of(layout: Layout, name: Name) -> Callable[[Array], float]:
    at = layout.index(name.kind, name.joint)
    assert at is not None
    return lambda x: layout.value(name, float(x[at]))


def _slope(value: Callable[[Array], float], x: Array) -> Array:
    step = 1e-5
    return np.array([(value(x + step * e) - value(x - step * e)) / (2 * step) for e in np.eye(len(x))])


def _width(item: _Derived, estimate: float, half: float) -> tuple[Status, str]:
    """The status of a number by the half-width of its 95 % interval, and why it is not identified."""
    if item.absolute is not None:
        if half <= item.absolute:
            return "identified", ""
        return "not identified", (
            f"its 95 % interval is {half:.2g} {item.unit} wide on each side, at most {item.absolute:g} would do"
        )
    if half <= IDENTIFIED_MAX * abs(estimate):
        return "identified", ""
    if abs(estimate) <= half:
        return "not identified", (
            f"cannot be distinguished from 0: {estimate:.2g} plus or minus {half:.2g} {item.unit}"
        )
    share = f"its 95 % interval is {100 * half / abs(estimate):.1f} % of its value on each side, at most"
    if half <= WIDE_MAX * abs(estimate):
        return "wide", f"{share} {100 * IDENTIFIED_MAX:.1f} % is identified"
    return "not identified", f"{share} {100 * WIDE_MAX:g} % would be used"


def _related(correlation: Array, k: int, labels: list[str]) -> str:
    others = np.abs(correlation[k]).copy()
    others[k] = 0.0
    most = int(others.argmax())
    if others[most] < RELATED:
        return ""
    return f"; the data do not distinguish it from {labels[most]} (correlation {correlation[k, most]:+.3f})"


def _without_effort(robot: Robot, j: int) -> Quantity:
    name = robot.joint_names[j]
    return Quantity(
        name=f"stiffness of {name}", kind="stiffness", joint=name, unit="Nm/rad",
        nominal=robot.servo.kp_nm_rad[j], status="not identified",
        why="positions and velocities give only ratios to it; record motor effort",
    )  # fmt: skip
