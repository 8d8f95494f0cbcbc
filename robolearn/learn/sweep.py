"""Sweeps: success as a function of one quantity at a time beyond its trained range, and where a threshold is missed.

    found = sweep(task, play, trained, threshold=0.9)
    found.sweeps[0].holds_to      # the largest amount up to which the threshold holds

A sweep is a `Shift` with several amounts in place of one. The region in which a threshold holds is found from the
trained range outwards, and ends before the first amount whose lower end of the 95 % interval is below it: tests in a
fixed order that stop at the first failure need no correction for their number (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robolearn.env.task import Task
from robolearn.errors import ConfigError, unknown
from robolearn.learn import folder
from robolearn.learn.evaluation import Rate
from robolearn.learn.shifts import Shift, shifted
from robolearn.recorder.hash_chain import plain

SWEEP_FILE = "sweep.json"
BEYOND = 1  # amounts that are still played once the threshold no longer holds, for the picture

Play = Callable[[Mapping[str, Any]], Rate]  # changes of the task's config -> success under them


@dataclass(frozen=True)
class Sweep:
    """One quantity that is varied beyond its trained range. amounts: of the shift, in increasing severity.

    unit: of the amounts; `x` for a multiple of the trained range. trained: the amount that changes nothing.
    """

    title: str
    unit: str
    shift: Shift
    amounts: tuple[float, ...]

    @property
    def name(self) -> str:
        """Under which it is chosen and kept."""
        return self.shift.name

    @property
    def trained(self) -> float:
        """The amount that changes nothing."""
        return 1.0 if self.shift.change == "multiply" else 0.0


def _sweep(
    name: str, title: str, unit: str, term: str, change: Any, amounts: tuple[float, ...], of: Any = "all"
) -> Sweep:
    return Sweep(title, unit, Shift(name, title, term, change, amounts[0], of), amounts)


SWEEPS = (
    _sweep("noise", "sensor noise", "x", "sensor_noise", "multiply", (2, 4, 8, 16)),
    _sweep("observation_latency", "observation latency added", "ms", "observation_delay_ms", "add", (20, 40, 80, 160)),
    _sweep("action_latency", "action latency added", "ms", "action_delay_ms", "add", (20, 40, 80, 160)),
    _sweep("dropped", "share of messages lost", "", "observation_drop", "at_least", (0.1, 0.3, 0.5, 0.7)),
    _sweep("payload", "payload without compensation", "kg", "body_mass_scale", "add_kg",
           (0.25, 0.5, 1, 2), "tool"),
    _sweep("object_mass", "object mass", "x", "body_mass_scale", "multiply", (1.5, 2, 4, 8), "objects"),
    _sweep("friction", "friction of bodies", "x", "friction_scale", "multiply", (0.75, 0.5, 0.25, 0.1)),
    _sweep("damping", "damping of the joints", "x", "joint_damping_scale", "multiply", (1.5, 2, 4, 8)),
    _sweep("stiffness", "stiffness of the drives", "x", "actuator_gain_scale", "multiply", (0.75, 0.5, 0.25, 0.1)),
    _sweep("joint_calibration", "joint calibration error, up to", "rad", "sensor_bias", "at_least",
           (0.005, 0.01, 0.02, 0.05), "joints"),
    _sweep("pose_calibration", "object position error, up to", "m", "sensor_bias", "at_least",
           (0.0025, 0.005, 0.01, 0.02), "poses"),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Success at one amount. holds: whether the threshold does; None without one."""

    amount: float
    success: Rate
    holds: bool | None


@dataclass(frozen=True)
class Swept:
    """One sweep. points: from the trained range outwards, that of the trained range first.

    holds_to: the farthest amount up to which the threshold holds; None where it does not even as trained, or there is
    none. ends: the amount at which it no longer does; None where every amount that was played still holds.
    """

    name: str
    title: str
    unit: str
    points: tuple[Point, ...]
    holds_to: float | None
    ends: float | None


@dataclass(frozen=True)
class SweepReport:
    """All sweeps of one policy. threshold: of the lower end of the 95 % interval of success; None for none.

    stated: where the threshold comes from. not_played: sweeps of what the task does not have.
    """

    task: str
    seed: int
    episodes: int
    threshold: float | None
    stated: str
    sweeps: tuple[Swept, ...]
    not_played: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(self)


def amount_text(amount: float, unit: str) -> str:
    """An amount with its unit."""
    return f"{amount:g} {unit}".rstrip() if unit != "x" else f"{amount:g} times"


def region_text(one: Any, threshold: float | None) -> str:
    """The region of one sweep (`Swept`, or the same read from a file) in words."""
    if threshold is None:
        return f"no threshold stated; evaluated to {amount_text(one.points[-1].amount, one.unit)}"
    if one.holds_to is None:
        return "the threshold does not hold as trained"
    reach = (
        "as trained" if one.holds_to == one.points[0].amount else f"to {amount_text(one.holds_to, one.unit)}"
    )
    if one.ends is None:
        return f"holds {reach}, the furthest that was evaluated"
    return f"holds {reach}, no longer at {amount_text(one.ends, one.unit)}"


def chosen_sweeps(names: Iterable[str]) -> tuple[Sweep, ...]:
    """Those of these names, all without any. Raises ConfigError for an unknown name."""
    by_name = {one.name: one for one in SWEEPS}
    wanted = list(names)
    for name in wanted:
        if name not in by_name:
            raise ConfigError(unknown("sweep", name, by_name))
    return tuple(one for one in SWEEPS if not wanted or one.name in wanted)


def sweep(
    task: Task[Any],
    play: Play,
    trained: Rate,
    *,
    seed: int,
    threshold: float | None,
    stated: str = "",
    sweeps: Iterable[Sweep] = SWEEPS,
    progress: Callable[[str], None] | None = None,
) -> SweepReport:
    """Play each sweep from the trained range outwards, until one amount after the threshold no longer holds.

    trained: success as trained. play: success over the same episodes under changes of the task's config. progress:
    told what is played next.
    """
    found, left_out = [], []
    for one in sweeps:
        points = [_point(one.trained, trained, threshold)]
        for amount in one.amounts:
            changes = shifted(task, replace(one.shift, amount=amount))
            if changes is None or _past(points):
                break
            if progress is not None:
                progress(f"{one.title}: {amount_text(amount, one.unit)}")
            points.append(_point(amount, play(changes), threshold))
        if len(points) == 1 and not _past(points):
            left_out.append(one.name)
        else:
            found.append(_swept(one, points))
    return SweepReport(
        task.full_name, seed, trained.episodes, threshold, stated, tuple(found), tuple(left_out)
    )


def _point(amount: float, success: Rate, threshold: float | None) -> Point:
    return Point(amount, success, None if threshold is None else success.low >= threshold)


def _past(points: list[Point]) -> bool:
    """Whether enough has been played beyond the region."""
    failed = next((i for i, point in enumerate(points) if point.holds is False), None)
    return failed is not None and len(points) - failed > BEYOND


def _swept(one: Sweep, points: list[Point]) -> Swept:
    failed = next((i for i, point in enumerate(points) if point.holds is False), None)
    holds_to = None
    if points[0].holds is not None and failed != 0:
        holds_to = points[-1 if failed is None else failed - 1].amount
    ends = None if failed is None else points[failed].amount
    return Swept(one.name, one.title, one.unit, tuple(points), holds_to, ends)


def write_sweep(found: SweepReport, head: Mapping[str, Any], target: Path, prefix: str = "") -> Path:
    """Write sweep.json, head first, into a folder; returns its path."""
    file = target / f"{prefix}{SWEEP_FILE}"
    folder.write_whole(file, json.dumps({**head, **found.to_json()}, indent=2) + "\n")
    return file
