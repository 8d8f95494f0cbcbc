"""`robolearn safety ...`: worked calculations for a safety engineer, every input with its source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from robolearn.errors import RobotError
from robolearn.robots import load_robot
from robolearn.safety.calculations import Input, contact_table, limits_table, separation_sum
from robolearn.safety.profile import SafetyProfile, Separation

app = typer.Typer(
    no_args_is_help=True, help="Limits, contact speeds and separation distance, worked out with sources."
)
out = Console()

Robot = Annotated[str, typer.Argument(help="The arm.")]
Profile = Annotated[str | None, typer.Option(help="Safety profile (default: the arm's own).")]
Mode = Annotated[str, typer.Option(help="manual_reduced, automatic or collaborative.")]
MEASURE = "A formula is a starting point. Limits are verified by measurement on the real cell."


@app.command()
def limits(robot: Robot = "fr3", profile: Profile = None, mode: Mode = "automatic") -> None:
    """Every limit of one mode beside the maker's, with margin and source.

    Example: robolearn safety limits fr3 --mode collaborative
    """
    arm, chosen = load_robot(robot), SafetyProfile.load(profile or robot)
    out.print(f"[bold]{arm.label}[/], profile {chosen.name} ({chosen.digest[:12]}), mode {mode}")
    table = plain_table("limit", "where", "value", "maker", "margin", "unit", "trust")
    sources: dict[str, str] = {}
    for row in limits_table(arm, chosen, mode):
        table.add_row(row.field, row.where, _number(row.value), _number(row.maker), _number(row.margin), row.unit,
                      row.trust)  # fmt: skip
        sources[row.field] = row.source
    out.print(table)
    out.print("\nSources")
    for field, source in sources.items():
        out.print(f"{field}: {source}", markup=False, highlight=False)


@app.command()
def pfl(
    robot: Robot = "fr3",
    payload_kg: Annotated[float, typer.Option(help="Payload with tool and workpiece, kg.")] = 0.0,
    kind: Annotated[str, typer.Option(help="quasi_static or transient.")] = "transient",
    area_cm2: Annotated[
        float | None, typer.Option(help="Contact area; without it only force counts.")
    ] = None,
) -> None:
    """Power and force limiting: allowed contact speed for each body region.

    Example: robolearn safety pfl fr3 --payload-kg 1.0 --kind quasi_static
    """
    arm = load_robot(robot)
    if arm.moving_mass_kg is None:
        raise RobotError(f"Robot '{arm.name}' does not state moving_mass_kg, which the formula needs.")
    worked = contact_table(arm.moving_mass_kg, payload_kg, kind, area_cm2)
    out.print(f"[bold]{arm.label}[/], {kind.replace('_', '-')} contact: {worked.formula}", highlight=False)
    out.print(worked.edition, markup=False, highlight=False)
    _print_inputs(worked.inputs)
    table = plain_table("region", "force N", "limited by", "mu kg", "speed m/s")
    for row in worked.rows:
        table.add_row(row.region, f"{row.force_n:g}", row.limited_by, f"{row.reduced_mass_kg:.4f}",
                      f"{row.speed_m_s:.4f}")  # fmt: skip
    out.print(table)
    out.print(f"Contact never allowed: {', '.join(worked.forbidden)}. {MEASURE}")


@app.command()
def separation(
    robot: Robot = "fr3",
    profile: Profile = None,
    mode: Mode = "automatic",
    speed_m_s: Annotated[float, typer.Option(help="Speed of the arm's fastest point, m/s.")] = 1.0,
    stopping_time_s: Annotated[float, typer.Option(help="Stopping time at that speed, s.")] = 0.3,
    stopping_distance_m: Annotated[float, typer.Option(help="Stopping distance at that speed, m.")] = 0.15,
) -> None:
    """Speed and separation monitoring: the protective distance, term by term.

    Example: robolearn safety separation fr3 --speed-m-s 0.5
    """
    chosen = SafetyProfile.load(profile or robot)
    numbers = chosen.mode(mode).separation
    if not isinstance(numbers, Separation):
        out.print(f"Profile {chosen.name}, mode {mode}: separation is not checked.")
        raise typer.Exit
    worked = separation_sum(numbers, speed_m_s, stopping_time_s, stopping_distance_m)
    out.print(f"[bold]{worked.formula}[/]   {worked.edition}", highlight=False)
    _print_inputs(worked.inputs)
    terms = worked.terms
    table = plain_table("term", "m", "what")
    for name, value, what in (
        ("Sh", terms.human_m, "the person's way while the arm reacts and stops"),
        ("Sr", terms.reaction_m, "the arm's way while it reacts"),
        ("Ss", terms.stopping_m, "the arm's way while it stops"),
        ("C", terms.intrusion_m, "intrusion distance"),
        ("Zd", terms.sensor_m, "uncertainty of the person's position"),
        ("Zr", terms.robot_m, "uncertainty of the arm's position"),
        ("Sp", worked.total_m, "protective separation distance"),
    ):
        table.add_row(name, f"{value:.4f}", what)
    out.print(table)
    out.print(MEASURE)


def _print_inputs(inputs: Iterable[Input]) -> None:
    table = plain_table("input", "value", "unit", "trust", "source")
    for item in inputs:
        table.add_row(item.name, f"{item.value:g}", item.unit, item.trust, item.source)
    out.print(table)


def plain_table(*columns: str) -> Table:
    """A table without lines, as every command prints it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:.6g}"  # no minus before a zero
