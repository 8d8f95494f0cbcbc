"""Worked calculations for a safety engineer: every input with its source and edition, every step, the result.

`limits_table` puts a profile's numbers beside the maker's; `contact_table` works power and force limiting; and
`separation_sum` works speed and separation monitoring. They compute with the same code as the monitor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from robolearn.robots import Robot
from robolearn.safety.contact import REGIONS, SOURCE, ContactSpeed, contact_speed
from robolearn.safety.profile import (
    MAKER,
    Contact,
    NotChecked,
    Number,
    Numbers,
    SafetyProfile,
    Separation,
    Workspace,
)
from robolearn.safety.separation import PROTECTIVE_FORMULA, ProtectiveDistance, protective_distance

CONTACT_FORMULA = "v = min(F, p A) / sqrt(mu K),  mu = 1 / (1 / mH + 1 / mR),  mR = M / 2 + mL"
UNITS = (
    ("_rad_s3", "rad/s^3"),
    ("_rad_s2", "rad/s^2"),
    ("_rad_s", "rad/s"),
    ("_m_s", "m/s"),
    ("_nm_s", "Nm/s"),
    ("_nm", "Nm"),
    ("_rad", "rad"),
    ("_kg", "kg"),
    ("_cm2", "cm^2"),
    ("_m", "m"),
    ("_s", "s"),
)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a calculation."""

    name: str
    value: float
    unit: str
    source: str
    trust: str


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit of one mode. where: a joint, or empty. maker: what the maker publishes, None where nothing.

    margin: how much tighter than the maker's number, in `unit`.
    """

    field: str
    where: str
    value: float | None
    unit: str
    maker: float | None
    margin: float | None
    source: str
    trust: str
    risk_assessment_ref: str


@dataclass(frozen=True, slots=True)
class ContactTable:
    """Power and force limiting for one mass of the robot: the inputs, and a row per body region."""

    formula: str
    edition: str
    inputs: tuple[Input, ...]
    rows: tuple[ContactSpeed, ...]
    forbidden: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeparationSum:
    """Protective separation distance: the inputs, the terms and their sum."""

    formula: str
    edition: str
    inputs: tuple[Input, ...]
    terms: ProtectiveDistance

    @property
    def total_m(self) -> float:
        """Sp, m."""
        return self.terms.total_m


def unit_of(field: str) -> str:
    """The unit that a key ends in."""
    return next((unit for ending, unit in UNITS if field.endswith(ending)), "1")


def limits_table(robot: Robot, profile: SafetyProfile, mode: str) -> tuple[LimitRow, ...]:
    """Every number of one mode, joint by joint, beside the maker's. Raises ProfileError for an unknown mode."""
    rows: list[LimitRow] = []
    limits = profile.mode(mode)
    for field in type(limits).model_fields:
        value = getattr(limits, field)
        if isinstance(value, Numbers):
            rows += _joint_rows(robot, field, value)
        elif isinstance(value, Number):
            rows.append(_row(field, "", value))
        elif isinstance(value, NotChecked):
            rows.append(
                LimitRow(
                    field, "", None, unit_of(field), None, None, f"not checked: {value.not_checked}", "integrator",
                    value.risk_assessment_ref,
                )
            )  # fmt: skip
        elif isinstance(value, Workspace):
            rows += _region_rows(value)
        elif isinstance(value, (Separation, Contact)):
            rows += [
                _row(f"{field}.{name}", "", number)
                for name in type(value).model_fields
                if isinstance(number := getattr(value, name), Number)
            ]
    return tuple(rows)


def contact_table(
    moving_mass_kg: float,
    payload_kg: float,
    kind: str = "transient",
    area_cm2: float | None = None,
    regions: Iterable[str] | None = None,
) -> ContactTable:
    """Allowed contact speeds against every region that may be touched, for mR = M / 2 + mL.

    area_cm2 None leaves pressure out. Head and face are listed as forbidden, never with a speed.
    """
    mass = moving_mass_kg / 2.0 + payload_kg
    inputs = [
        Input("M, moving mass of the robot", moving_mass_kg, "kg", "robot file", "computed"),
        Input("mL, payload", payload_kg, "kg", "given", "integrator"),
        Input("mR, mass felt", mass, "kg", "M / 2 + mL", "computed"),
    ]
    if area_cm2 is not None:
        inputs.append(Input("A, contact area", area_cm2, "cm^2", "given", "integrator"))
    wanted = list(REGIONS) if regions is None else list(regions)
    rows = tuple(
        contact_speed(REGIONS[name], mass, kind, area_cm2) for name in wanted if REGIONS[name].contact_allowed
    )
    forbidden = tuple(name for name in REGIONS if not REGIONS[name].contact_allowed)
    return ContactTable(CONTACT_FORMULA, SOURCE, tuple(inputs), rows, forbidden)


def separation_sum(
    numbers: Separation, robot_speed_m_s: float, stopping_time_s: float, stopping_distance_m: float
) -> SeparationSum:
    """The protective separation distance of a mode for a given motion."""
    inputs = [
        Input(name, number.value, unit_of(name), number.source, number.trust)
        for name in type(numbers).model_fields
        if isinstance(number := getattr(numbers, name), Number)
    ]
    inputs += [
        Input("robot_speed_m_s", robot_speed_m_s, "m/s", "given", "integrator"),
        Input("stopping_time_s", stopping_time_s, "s", "given", "integrator"),
        Input("stopping_distance_m", stopping_distance_m, "m", "given", "integrator"),
    ]
    terms = protective_distance(numbers, robot_speed_m_s, stopping_time_s, stopping_distance_m)
    return SeparationSum(PROTECTIVE_FORMULA, numbers.edition, tuple(inputs), terms)


def intrusion_distance_m(resolution_mm: float) -> float:
    """C for a light curtain approached at right angles, ISO 13855:2010: 8 (d - 14) mm, 850 mm for d above 40 mm.

    Source: manuals of SICK, Keyence and Datalogic that quote it (trust: secondary). Note that the 2024 edition
    replaces C by D_DS and Z, whose figures are not in robolearn.
    """
    return 0.85 if resolution_mm > 40.0 else max(0.0, 8.0 * (resolution_mm - 14.0)) / 1000.0


def _joint_rows(robot: Robot, field: str, numbers: Numbers) -> list[LimitRow]:
    published, direction = next((name, sign) for ours, name, sign in MAKER if ours == field)
    makers = getattr(robot.limits, published)
    rows = []
    for joint, name in enumerate(robot.joint_names):
        value = numbers.value[joint]
        maker = None if makers is None else float(makers[joint])
        margin = None if maker is None else direction * (maker - value)
        rows.append(
            LimitRow(
                field, name, value, unit_of(field), maker, margin, numbers.source, numbers.trust,
                numbers.risk_assessment_ref,
            )
        )  # fmt: skip
    return rows


def _row(field: str, where: str, number: Number) -> LimitRow:
    return LimitRow(
        field, where, number.value, unit_of(field), None, None, number.source, number.trust,
        number.risk_assessment_ref,
    )  # fmt: skip


def _region_rows(workspace: Workspace) -> list[LimitRow]:
    rows = []
    for kind, boxes in (("stay_in", (workspace.stay_in,)), ("keep_out", workspace.keep_out)):
        for box in boxes:
            for end, corner in (("min", box.min_m), ("max", box.max_m)):
                rows += [
                    LimitRow(
                        f"workspace.{kind}", f"{box.name} {axis}_{end}", value, "m", None, None, box.source,
                        box.trust, box.risk_assessment_ref,
                    )
                    for axis, value in zip("xyz", corner, strict=True)
                ]  # fmt: skip
    rows += [
        LimitRow(
            "workspace.plane", plane.name, plane.offset_m, "m", None, None, plane.source, plane.trust,
            plane.risk_assessment_ref,
        )
        for plane in workspace.planes
    ]  # fmt: skip
    return rows
