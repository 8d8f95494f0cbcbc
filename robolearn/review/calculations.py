"""Worked calculations for a safety engineer: every input with its source and edition, every step, the result.

`limits_table` puts a profile's numbers beside the manufacturer's, `speed_curves` has its position-dependent speed
limits; `contact_table` works power and force limiting; and `separation_sum` works speed and separation monitoring.
They compute with the same code as the monitor. Inputs that make no sense raise ProfileError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np

from robolearn.errors import ProfileError, unknown
from robolearn.robots import Robot
from robolearn.safety.arm_model import ArmModel
from robolearn.safety.assessed import Assessed, EnablingDevice, NotChecked, Number, Numbers
from robolearn.safety.contact import (
    KINDS,
    MODELS,
    REGIONS,
    SOURCE,
    ContactSpeed,
    Region,
    contact_speed,
    region,
    two_mass_kg,
)
from robolearn.safety.iso_13855 import FORMULAS, intrusion_distance_m
from robolearn.safety.iso_13855 import SOURCE as ISO_13855
from robolearn.safety.mode_schema import ModeLimits, Workspace
from robolearn.safety.people import Contact, Sensor, Separation
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.profile_checks import MANUFACTURER
from robolearn.safety.separation import PROTECTIVE_FORMULA, ProtectiveDistance, protective_distance

CONTACT_FORMULA = "v = k min(F, p A) / sqrt(mu K),  mu = 1 / (1 / mH + 1 / mR),  mR = M / 2 + mL"
CURVE_FORMULA = "|v| <= max(0, sqrt(2 a d) - b), d: distance to the lowest or highest position"
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
    """One limit of one mode. where: a joint, or empty. manufacturer: what it publishes, None where nothing.

    value: None where the limit is not a number; then `text` has it in words.  margin: how much tighter than what the
    manufacturer publishes, in `unit`.  manufacturer_source: where the manufacturer's number comes from.
    """

    field: str
    where: str
    value: float | None
    unit: str
    manufacturer: float | None
    margin: float | None
    source: str
    trust: str
    risk_assessment_ref: str
    manufacturer_source: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class SpeedCurve:
    """A position-dependent speed limit that the manufacturer publishes; each value holds one number per joint."""

    name: str
    formula: str
    decel_rad_s2: tuple[float, ...]  # a
    offset_rad_s: tuple[float, ...]  # b
    position_min_rad: tuple[float, ...]
    position_max_rad: tuple[float, ...]
    source: str
    trust: str


@dataclass(frozen=True, slots=True)
class ContactTable:
    """Power and force limiting for one mass of the robot: the inputs, and a row per body region.

    rows: by iso_ts_15066.  bodies: what the edition has of each region of `rows`, in the same order; `any_motion` and
    `lightest` go with it: the least and the most that kinetic_energy allows, to a motion of unbounded mass and to the
    lightest mass that is felt (empty where none was given).  pressure: whether it counts.
    """

    formula: str
    edition: str
    inputs: tuple[Input, ...]
    bodies: tuple[Region, ...]
    rows: tuple[ContactSpeed, ...]
    any_motion: tuple[ContactSpeed, ...]
    lightest: tuple[ContactSpeed, ...]
    forbidden: tuple[str, ...]
    pressure: bool
    kind: str

    def factor(self, body: Region) -> float:
        """k: how much more than the quasi-static force and pressure the region may take."""
        return (body.transient or 1.0) if self.kind == "transient" else 1.0


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
    """Every limit of one mode, joint by joint, beside the manufacturer's. Raises ProfileError for an unknown mode."""
    rows: list[LimitRow] = []
    limits = profile.mode(mode)
    for field in ModeLimits.model_fields:
        value = getattr(limits, field)
        if isinstance(value, Numbers):
            rows += _joint_rows(robot, field, value)
        elif isinstance(value, Number):
            rows.append(
                _row(field, "", value, _manufacturer_speed(robot) if field == "tcp_speed_max_m_s" else None)
            )
        elif isinstance(value, EnablingDevice):
            rows.append(_words(field, value.value.replace("_", " "), value))
        elif isinstance(value, NotChecked):
            rows.append(_open(field, value))
        elif isinstance(value, Workspace):
            rows += _region_rows(value)
        elif isinstance(value, Separation):
            rows += _number_rows(field, value)
            rows += _sensor_rows(f"{field}.sensor", value.sensor)
            if value.intrusion_below_sensor is not None:
                below = value.intrusion_below_sensor
                rows.append(_words(f"{field}.intrusion_below_sensor", below.reason, below))
            rows.append(
                LimitRow(
                    f"{field}.edition", "", None, "1", None, None, "named by the profile", "integrator",
                    profile.risk_assessment_ref, text=value.edition,
                )
            )  # fmt: skip
        else:
            assert isinstance(value, Contact)
            rows += _number_rows(field, value)
            rows.append(_words(f"{field}.edition", value.edition, value))
            rows.append(_words(f"{field}.model", f"{value.model}: {MODELS[value.model]}", value))
            for kind in ("transient_regions", "quasi_static_regions"):
                rows.append(_words(f"{field}.{kind}", ", ".join(getattr(value, kind)) or "none", value))
            rows += _speeds_by_model(field, value, robot)
    return tuple(rows)


def speed_curves(robot: Robot) -> tuple[SpeedCurve, ...]:
    """The manufacturer's position-dependent speed limits, all of which hold beside velocity_max_rad_s."""
    facts = robot.file.limits
    named = [(name, facts.sets[name]) for name in facts.velocity_curves]
    return tuple(
        SpeedCurve(
            name, CURVE_FORMULA, tuple(curve.decel_rad_s2), tuple(curve.offset_rad_s), tuple(curve.q_min_rad),
            tuple(curve.q_max_rad), published.source, published.trust,
        )
        for name, published in named
        if (curve := published.velocity_curve) is not None
    )  # fmt: skip


def contact_table(
    moving_mass_kg: float,
    payload_kg: float,
    kind: str = "transient",
    area_cm2: float | None = None,
    regions: Iterable[str] | None = None,
    *,
    mass_source: str = "robot file",
    mass_trust: str = "computed",
    lightest_kg: float | None = None,
) -> ContactTable:
    """Allowed contact speeds against every region that may be touched, for mR = M / 2 + mL.

    kind: `quasi_static` or `transient`.  area_cm2 None leaves pressure out.  mass_source, mass_trust: of
    moving_mass_kg.  lightest_kg: mass felt without the payload where it is least, see `tcp_masses_kg`. Head and
    face are listed as forbidden, never with a speed. Raises ProfileError for a kind or a
    region that does not exist or may not be touched, and for masses and areas that cannot be.
    """
    if kind not in KINDS:
        raise ProfileError(unknown("kind of contact", kind, KINDS))
    _within("moving_mass_kg", moving_mass_kg, above=0.0)
    _within("payload_kg", payload_kg)
    mass = two_mass_kg(moving_mass_kg, payload_kg)
    inputs = [
        Input("M, moving mass of the robot", moving_mass_kg, "kg", mass_source, mass_trust),
        Input("mL, payload", payload_kg, "kg", "given", "integrator"),
        Input("mR, mass felt", mass, "kg", "M / 2 + mL", "computed"),
    ]
    if area_cm2 is not None:
        _within("area_cm2", area_cm2, above=0.0)
        inputs.append(Input("A, contact area", area_cm2, "cm^2", "given", "integrator"))
    allowed = [name for name in REGIONS if REGIONS[name].contact_allowed]
    bodies = tuple(region(name) for name in (allowed if regions is None else regions))
    light = () if lightest_kg is None else (lightest_kg + payload_kg,)
    rows, any_motion, *lightest = (
        tuple(contact_speed(body, felt, kind, area_cm2) for body in bodies) for felt in (mass, inf, *light)
    )
    forbidden = tuple(name for name in REGIONS if name not in allowed)
    return ContactTable(
        CONTACT_FORMULA, SOURCE, tuple(inputs), bodies, rows, any_motion, lightest[0] if lightest else (), forbidden,
        area_cm2 is not None, kind,
    )  # fmt: skip


def tcp_masses_kg(robot: Robot) -> tuple[float, float]:
    """Mass felt at the flange of the bare arm at its home position, kg, in its lightest and its heaviest direction.

    1 / mR: the eigenvalues of J inv(M) J', J the Jacobian of the point, M the joint inertia with rotors.
    """
    arm = ArmModel(robot, {}, None)
    arm.posture(robot.home_rad)
    felt = 1.0 / np.linalg.eigvalsh(arm.mobility_of_tcp())
    return float(felt.min()), float(felt.max())


def with_sensor(
    numbers: Separation, approach: str, resolution_m: float, height_m: float | None = None
) -> Separation:
    """A mode's numbers with another sensor, and C as it follows from that. Raises ProfileError."""
    _within("resolution_m", resolution_m, above=0.0)
    if height_m is not None:
        _within("height_m", height_m)
    given = {"source": "given", "trust": "integrator", "risk_assessment_ref": "none: a calculation"}
    c_m = intrusion_distance_m(approach, resolution_m, height_m)
    data = numbers.model_dump() | {
        "sensor": {
            **given, "approach": approach, "resolution_m": {**given, "value": resolution_m},
            "height_m": None if height_m is None else {**given, "value": height_m},
        },
        "intrusion_distance_m": {**given, "value": c_m, "trust": "computed", "source": f"{FORMULAS[approach]}"},
        "intrusion_below_sensor": None,
    }  # fmt: skip
    return Separation.model_validate(data)


def separation_sum(
    numbers: Separation, robot_speed_m_s: float, stopping_time_s: float, stopping_distance_m: float
) -> SeparationSum:
    """The protective separation distance of a mode for a given motion, each number finite and at least zero.

    Raises ProfileError where one is not.
    """
    _within("robot_speed_m_s", robot_speed_m_s)
    _within("stopping_time_s", stopping_time_s)
    _within("stopping_distance_m", stopping_distance_m)
    inputs = [
        Input(name, number.value, unit_of(name), number.source, number.trust)
        for name in type(numbers).model_fields
        if isinstance(number := getattr(numbers, name), Number)
    ]
    if isinstance(numbers.sensor, Sensor):
        sensor = numbers.sensor
        inputs += [
            Input(f"sensor.{name}", number.value, "m", number.source, number.trust)
            for name in ("resolution_m", "height_m")
            if isinstance(number := getattr(sensor, name), Number)
        ]
        inputs.append(
            Input(
                "C from the sensor", sensor.intrusion_distance_m, "m",
                f"{sensor.approach} approach: {FORMULAS[sensor.approach]} ({ISO_13855})", "computed",
            )
        )  # fmt: skip
    inputs += [
        Input("robot_speed_m_s", robot_speed_m_s, "m/s", "given", "integrator"),
        Input("stopping_time_s", stopping_time_s, "s", "given", "integrator"),
        Input("stopping_distance_m", stopping_distance_m, "m", "given", "integrator"),
    ]
    terms = protective_distance(numbers, robot_speed_m_s, stopping_time_s, stopping_distance_m)
    return SeparationSum(PROTECTIVE_FORMULA, numbers.edition, tuple(inputs), terms)


def _joint_rows(robot: Robot, field: str, numbers: Numbers) -> list[LimitRow]:
    published, direction = next((name, sign) for ours, name, sign in MANUFACTURER if ours == field)
    manufacturers = getattr(robot.limits, published)
    rows = []
    for joint, name in enumerate(robot.joint_names):
        value = numbers.value[joint]
        manufacturer = None if manufacturers is None else float(manufacturers[joint])
        margin = None if manufacturer is None else direction * (manufacturer - value)
        rows.append(
            LimitRow(
                field, name, value, unit_of(field), manufacturer, margin, numbers.source, numbers.trust,
                numbers.risk_assessment_ref, "" if manufacturer is None else robot.limits.source(published),
            )
        )  # fmt: skip
    return rows


def _row(field: str, where: str, number: Number, manufacturer: tuple[float, str] | None = None) -> LimitRow:
    """manufacturer: the manufacturer's number and its source."""
    published, source = manufacturer or (None, "")
    margin = None if published is None else published - number.value
    return LimitRow(
        field, where, number.value, unit_of(field), published, margin, number.source, number.trust,
        number.risk_assessment_ref, source,
    )  # fmt: skip


def _number_rows(field: str, group: Separation | Contact | Sensor) -> list[LimitRow]:
    """The numbers of a group."""
    named = ((name, getattr(group, name)) for name in type(group).model_fields)
    return [_row(f"{field}.{name}", "", number) for name, number in named if isinstance(number, Number)]


def _speeds_by_model(field: str, contact: Contact, robot: Robot) -> list[LimitRow]:
    """What each model allows: a number by iso_ts_15066, by kinetic_energy the least of any motion."""
    limit = contact.speed(robot)
    found = [("kinetic_energy", limit.energy_floor_m_s, "in any motion; a light one may be faster")]
    if limit.two_mass_m_s is not None:
        found.append(
            ("iso_ts_15066", limit.two_mass_m_s, limit.reason(limit.two_mass_m_s).partition(", by")[0])
        )
    return [
        LimitRow(
            f"{field}.{model}", "", value, "m/s", None, None, f"{MODELS[model]} ({what})", "computed",
            contact.risk_assessment_ref,
        )
        for model, value, what in found
    ]  # fmt: skip


def _sensor_rows(field: str, sensor: Sensor | NotChecked) -> list[LimitRow]:
    """The sensor that sees persons, and C that follows from it."""
    if isinstance(sensor, NotChecked):
        return [_open(field, sensor)]
    return [
        *_number_rows(field, sensor),
        _words(f"{field}.approach", sensor.approach, sensor),
        LimitRow(
            f"{field}.intrusion_distance_m", "", sensor.intrusion_distance_m, "m", None, None,
            f"{FORMULAS[sensor.approach]} ({ISO_13855})", "computed", sensor.risk_assessment_ref,
        ),
    ]  # fmt: skip


def _open(field: str, item: NotChecked) -> LimitRow:
    """A check that is not made."""
    return LimitRow(
        field, "", None, unit_of(field), None, None, f"not checked: {item.not_checked}", "integrator",
        item.risk_assessment_ref, text="not checked",
    )  # fmt: skip


def _words(field: str, text: str, origin: Assessed) -> LimitRow:
    """A limit that is not a number."""
    return LimitRow(
        field, "", None, "1", None, None, origin.source, origin.trust, origin.risk_assessment_ref, text=text
    )


def _manufacturer_speed(robot: Robot) -> tuple[float, str] | None:
    """The TCP speed that the manufacturer publishes, m/s, and its source."""
    fact = robot.file.cartesian.get("tcp_speed_m_s")
    return None if fact is None or fact.value is None else (fact.value, fact.source)


def _within(name: str, value: float, above: float | None = None) -> None:
    """An input is finite and at least zero, or above a bound."""
    good = 0.0 <= value < inf if above is None else above < value < inf
    if not good:
        wanted = "zero or above" if above is None else f"above {above:g}"
        raise ProfileError(f"{name} is {value:g}, expected a finite number, {wanted}.")


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
            plane.risk_assessment_ref, text=f"({', '.join(f'{x:g}' for x in plane.normal)}) . x is at least this",
        )
        for plane in workspace.planes
    ]  # fmt: skip
    return rows
