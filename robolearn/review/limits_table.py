"""The table of limits: every number of the modes that held, the nearest approach to it, or why none is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robolearn.recorder.hash_chain import plain
from robolearn.review.margins import Again
from robolearn.review.statistics import Statistics, Worst, limit_rows
from robolearn.robots import Robot
from robolearn.safety.contact import MODELS
from robolearn.safety.profile import Contact, SafetyProfile
from robolearn.safety.rules import RULES

_WHOLE = {"separation.edition": "separation", "contact.edition": "contact"}
BY_MODEL = ("contact.kinetic_energy", "contact.iso_ts_15066")
_ACTED = " Stops and spells of limiting by the rule {rule}: {count}."
# What stands in the place of a margin where the trace cannot give one: the rule to count, and why there is no margin.
_INSTEAD = {
    key: (rule.name, why)
    for rule in RULES
    for key, why in ((rule.limit, rule.no_margin), *rule.parts)
    if key is not None and why
}


def look_again(statistics: Statistics, again: Again, check_time: Callable[[], None]) -> None:
    """Adds the margins that take the monitor's own code, of the cycles that were chosen for it."""
    for mode, three in statistics.looks:
        check_time()
        cycle = int(three["cycle"][-1])
        for found in again.look(mode, three):
            statistics.keep(mode, Worst(**vars(found), cycle=cycle, every=statistics.looks_every))


def limit_tables(
    profile: SafetyProfile, robot: Robot, statistics: Statistics, rules: dict[str, int], not_again: str
) -> list[dict[str, Any]]:
    """Per mode that held: every limit with its worst margin or, under `instead`, what there is in its place.

    rules: events by rule.  not_again: why nothing could be computed again; empty where it could.
    """
    modes = []
    for mode in statistics.modes or {next(iter(profile.modes)): 0}:
        worst = statistics.worst.get(mode, {})
        limits = profile.mode(mode)
        rows = limit_rows(limits, robot.joint_names)
        if isinstance(limits.contact, Contact):
            rows += _by_model(limits.contact, robot)
        for row in rows:
            key = _WHOLE.get(row["key"], row["key"])
            if key in worst:
                row["worst"] = plain(worst[key])
            else:
                row["instead"] = _instead(row, rules, not_again)
        modes.append({"mode": mode, "cycles": statistics.modes.get(mode, 0), "rows": rows})
    return modes


def _by_model(contact: Contact, robot: Robot) -> list[dict[str, Any]]:
    """A row for each model of contact, whichever holds: its formula and speed, and whether it holds."""
    limit = contact.speed(robot)
    speeds = {"kinetic_energy": limit.energy_floor_m_s, "iso_ts_15066": limit.two_mass_m_s}
    rows = []
    for model, speed in speeds.items():
        holds = "holds" if contact.model in (model, "stricter") else "does not hold, shown for comparison"
        least = "at least " if model == "kinetic_energy" else ""
        known = "unknown: the robot states no moving_mass_kg" if speed is None else f"{least}{speed:.4g} m/s"
        rows.append(
            {
                "key": f"contact.{model}",
                "value": f"{known} ({MODELS[model]}; {holds})",
                "source": contact.edition,
                "trust": "computed",
                "ref": contact.risk_assessment_ref,
            }
        )
    return rows


def _instead(row: dict[str, Any], rules: dict[str, int], not_again: str) -> str:
    key = row["key"]
    if row.get("open"):
        return "Not checked, so there is no margin."
    if key in _INSTEAD:
        rule, why = _INSTEAD[key]
        return why + _ACTED.format(rule=rule, count=rules.get(rule, 0))
    group, _, part = key.partition(".")
    if (
        key not in BY_MODEL
        and group in ("separation", "contact")
        and part not in ("edition", "person_age_max_s")
    ):
        return f"Part of the {group} limit, see its edition."
    if not_again:
        return f"Not computed: {not_again}"
    if group == "separation":
        return "No distance to a person was received while this limit held."
    return "No cycle in this mode gives a margin."
