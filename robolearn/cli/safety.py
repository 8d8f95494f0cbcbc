"""`robolearn safety ...`: worked calculations for a safety engineer, every input with its source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from robolearn.cli.terminal import Terminal
from robolearn.errors import ProfileError, RobotError
from robolearn.review.calculations import (
    ContactTable,
    Input,
    LimitRow,
    contact_table,
    limits_table,
    separation_sum,
    speed_curves,
    tcp_masses_kg,
    with_sensor,
)
from robolearn.robots import Robot, load_robot
from robolearn.safety.contact import MODELS
from robolearn.safety.profile import SafetyProfile, Separation

app = typer.Typer(
    no_args_is_help=True, help="Work out limits, contact speeds and separation distance, with sources."
)
out = Terminal()

RobotName = Annotated[str, typer.Argument(metavar="[ROBOT]", help="The arm: a name or a robot file.")]
Profile = Annotated[str | None, typer.Option(help="Safety profile (default: the arm's own).")]
Mode = Annotated[str, typer.Option(help="manual_reduced, automatic or collaborative.")]
MEASURE = "A formula is a starting point. Limits are verified by measurement on the real cell."


@app.command()
def limits(robot: RobotName = "fr3", profile: Profile = None, mode: Mode = "automatic") -> None:
    """Show every limit of a mode beside the manufacturer's, with margin, source and reference.

    Example: robolearn safety limits fr3 --mode collaborative
    """
    arm, chosen = _fitting(robot, profile)
    rows = limits_table(arm, chosen, mode)
    out.print(f"[bold]{escape(arm.label)}[/], profile {escape(chosen.name)}, mode {mode}", highlight=False)
    _plain(f"Profile digest {chosen.digest}\nRisk assessment {chosen.risk_assessment_ref}\n")
    table = plain_table("limit", "value", "manufacturer", "margin", "unit")
    before = ""
    for row in rows:
        if row.value is None:
            continue
        group, _, name = row.field.rpartition(".") if not row.where else (row.field, "", row.where)
        if group and group != before:
            table.add_row(group)
        before = group
        table.add_row(f"  {name}" if group else name, _number(row.value),
                      _number(row.manufacturer), _number(row.margin),
                      row.unit)  # fmt: skip
    out.print(table)
    out.print()
    for row in rows:
        if row.text:
            _plain(f"{row.field}{' ' if row.where else ''}{row.where}: {row.text}")
    _print_curves(arm)
    _print_sources(rows)


@app.command()
def pfl(
    robot: RobotName = "fr3",
    payload_kg: Annotated[float, typer.Option(help="Payload with tool and workpiece, kg.")] = 0.0,
    kind: Annotated[str, typer.Option(help="quasi_static or transient.")] = "transient",
    area_cm2: Annotated[
        float | None,
        typer.Option(help="Contact area, cm^2. Without it, only force is limited, not pressure."),
    ] = None,
) -> None:
    """Power and force limiting: allowed contact speed for each body region, by both effective-mass models.

    Example: robolearn safety pfl fr3 --payload-kg 1.0 --kind quasi_static
    """
    arm = load_robot(robot)
    mass = arm.file.moving_mass_kg
    if mass is None or mass.value is None:
        raise RobotError(f"Robot '{arm.name}' does not state moving_mass_kg, which the formula needs.")
    light, heavy = tcp_masses_kg(arm)
    worked = contact_table(
        mass.value,
        payload_kg,
        kind,
        area_cm2,
        mass_source=mass.source,
        mass_trust=mass.trust,
        lightest_kg=light,
    )
    out.print(f"[bold]{escape(arm.label)}[/], {kind.replace('_', '-')} contact", highlight=False)
    _plain(f"{worked.formula}\n{worked.edition}\n")
    _print_inputs(worked.inputs)
    table = plain_table("region", "F N", "p N/cm^2", "K N/m", "mH kg", "k", "mu kg", "limit", "v m/s")
    for body, row in zip(worked.bodies, worked.rows, strict=True):
        table.add_row(row.region, f"{body.force_n:g}", f"{body.pressure_n_cm2:g}", f"{body.stiffness_n_m:g}",
                      f"{body.mass_kg:g}", f"{worked.factor(body):g}", f"{row.reduced_mass_kg:.4f}",
                      row.limited_by, f"{row.speed_m_s:.4f}")  # fmt: skip
    out.print()
    out.print(table)
    _plain(
        "\nF, p: quasi-static force and pressure, the lowest p of the region's places; k: factor of the kind of "
        "contact; K, mH: stiffness and mass of the region; limit: which of k F and k p A is the lower."
    )
    _print_models(worked, light, heavy)
    if not worked.pressure:
        _plain("Pressure is NOT counted: no contact area was given. A small area allows less: --area-cm2.")
    _plain(f"Contact never allowed: {', '.join(worked.forbidden)}. {MEASURE}")


@app.command()
def separation(
    robot: RobotName = "fr3",
    profile: Profile = None,
    mode: Mode = "automatic",
    speed_m_s: Annotated[float, typer.Option(help="Speed of the arm's fastest point, m/s.")] = 1.0,
    stopping_time_s: Annotated[float, typer.Option(help="Stopping time at that speed, s.")] = 0.3,
    stopping_distance_m: Annotated[float, typer.Option(help="Stopping distance at that speed, m.")] = 0.15,
    approach: Annotated[
        str, typer.Option(help="Approach direction for --resolution-m: orthogonal or parallel.")
    ] = "parallel",
    resolution_m: Annotated[
        float | None, typer.Option(help="Resolution of another sensor than the profile's, m; gives C.")
    ] = None,
    height_m: Annotated[
        float | None, typer.Option(help="Height of its plane above the floor, m, for parallel approach.")
    ] = None,
) -> None:
    """Speed and separation monitoring: the protective distance, term by term.

    Examples: robolearn safety separation fr3 --speed-m-s 0.5
    robolearn safety separation fr3 --resolution-m 0.07 --height-m 0.3
    """
    arm, chosen = _fitting(robot, profile)
    numbers = chosen.mode(mode).separation
    if not isinstance(numbers, Separation):
        _plain(f"Profile {chosen.name}, mode {mode}: separation is not checked: {numbers.not_checked}.")
        raise typer.Exit
    if resolution_m is not None:
        numbers = with_sensor(numbers, approach, resolution_m, height_m)
    elif height_m is not None or approach != "parallel":
        raise ProfileError("approach and height_m describe another sensor: give its resolution_m as well.")
    worked = separation_sum(numbers, speed_m_s, stopping_time_s, stopping_distance_m)
    out.print(f"[bold]{escape(arm.label)}[/], profile {escape(chosen.name)}, mode {mode}", highlight=False)
    _plain(f"{worked.formula}\n{worked.edition}\n")
    _print_inputs(worked.inputs)
    terms = worked.terms
    table = plain_table("term", "m", "what")
    for name, value, what in (
        ("Sh", terms.human_m, "distance the person moves while the arm reacts and stops"),
        ("Sr", terms.reaction_m, "distance the arm moves while it reacts"),
        ("Ss", terms.stopping_m, "distance the arm moves while it stops"),
        ("C", terms.intrusion_m, "intrusion distance"),
        ("Zd", terms.sensor_m, "uncertainty of the person's position"),
        ("Zr", terms.robot_m, "uncertainty of the arm's position"),
        ("Sp", worked.total_m, "protective separation distance"),
    ):
        table.add_row(name, f"{value:.4f}", what)
    out.print()
    out.print(table)
    _plain(MEASURE)


def _fitting(robot: str, profile: str | None) -> tuple[Robot, SafetyProfile]:
    """The arm, and a profile that fits it. Raises RobotError, ProfileError."""
    arm = load_robot(robot)
    chosen = SafetyProfile.load(profile or arm.arm)
    chosen.check_against(arm)
    return arm, chosen


def _print_models(worked: ContactTable, light_kg: float, heavy_kg: float) -> None:
    """Beside the speeds by M / 2 + mL, those by the energy of the motion."""
    table = plain_table("v m/s against", "iso_ts_15066", "kinetic_energy least", "most")
    for row in zip(worked.rows, worked.any_motion, worked.lightest, strict=True):
        table.add_row(row[0].region, *(f"{one.speed_m_s:.4f}" for one in row))
    out.print()
    out.print(table)
    _plain(
        f"\niso_ts_15066: {MODELS['iso_ts_15066']}, as above. kinetic_energy: {MODELS['kinetic_energy']}, which "
        "follows posture and motion; least: in any motion; most: at the flange, at the home position and in its "
        f"lightest direction, {light_kg:.2f} kg and the payload (heaviest direction: {heavy_kg:.2f} kg). The lower of "
        "both holds, unless contact.model of the profile names one."
    )


def _print_inputs(inputs: Iterable[Input]) -> None:
    table = plain_table("input", "value", "unit", "trust", "source")
    for item in inputs:
        table.add_row(item.name, f"{item.value:g}", item.unit, item.trust, escape(item.source))
    out.print(table)


def _print_curves(arm: Robot) -> None:
    """The manufacturer's position-dependent speed limits."""
    for curve in speed_curves(arm):
        _plain(
            f"\nThe manufacturer's speed curve {curve.name} [{curve.trust}], which holds as well: {curve.formula}"
        )
        _plain(curve.source)
        table = plain_table("joint", "a rad/s^2", "b rad/s", "lowest rad", "highest rad")
        columns = (curve.decel_rad_s2, curve.offset_rad_s, curve.position_min_rad, curve.position_max_rad)
        for joint, *values in zip(arm.joint_names, *columns, strict=True):
            table.add_row(joint, *map(_number, values))
        out.print(table)


def _print_sources(rows: Iterable[LimitRow]) -> None:
    """Once for each limit, or region: trust, risk assessment, source, and the manufacturer's where it is another."""
    out.print("\n[bold]Sources[/]: trust, risk assessment, where from", highlight=False)
    done: set[tuple[str, str]] = set()
    for row in rows:
        key = (row.field, row.source)
        if key in done:
            continue
        done.add(key)
        manufacturer = (
            ""
            if row.manufacturer_source in ("", row.source)
            else f". Manufacturer: {row.manufacturer_source}"
        )
        _plain(f"{row.field}: {row.trust}; {row.risk_assessment_ref}; {row.source}{manufacturer}")


def _plain(text: str) -> None:
    """Text as it is: words of a profile are no markup."""
    out.print(text, markup=False, highlight=False)


def plain_table(*columns: str) -> Table:
    """A table without lines, as every command prints it. What does not fit is folded, never cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:.6g}"  # no minus before a zero
