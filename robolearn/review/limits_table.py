"""The table of limits: every number of the modes that held, the nearest approach to it, or why none is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from robolearn.recorder.hash_chain import plain
from robolearn.review.margins import Again
from robolearn.review.statistics import Statistics, Worst
from robolearn.robots import Robot
from robolearn.safety.contact import MODELS
from robolearn.safety.profile import Assessed, Contact, ModeLimits, SafetyProfile
from robolearn.safety.rules import RULES

_AT_ONCE = 256  # cycles that are looked at together
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
    for mode in dict.fromkeys(mode for mode, _ in statistics.looks):
        chosen = [three for its, three in statistics.looks if its == mode and len(three) == 3]
        for first in range(0, len(chosen), _AT_ONCE):
            check_time()
            three = np.stack(chosen[first : first + _AT_ONCE])
            used, margins = again.look(mode, three, least_only=True)
            for found in margins:
                at = found.least()
                if at is not None:
                    value, limit, margin = (
                        float(numbers[at]) for numbers in (found.value, found.limit, found.margin)
                    )
                    cycle = int(three["cycle"][used[at], -1])
                    worst = Worst(found.key, found.unit, value, limit, margin, found.where(at), cycle)
                    worst.every = statistics.looks_every
                    statistics.keep(mode, worst)


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


def limit_rows(limits: ModeLimits, joint_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every number of a mode as a row: key, value in words, source, trust, risk assessment reference."""
    rows: list[dict[str, Any]] = []
    for key, item in limits:
        rows += _rows_of(key, item, joint_names)
    return rows


def _rows_of(key: str, item: Any, joint_names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if isinstance(item, str):
        yield {"key": key, "value": _words(item)}
    elif hasattr(item, "not_checked"):
        yield {
            "key": key,
            "value": f"not checked: {item.not_checked}",
            "ref": item.risk_assessment_ref,
            "open": True,
        }
    elif hasattr(item, "value"):
        many = isinstance(item.value, tuple)
        value = [_words(number) for number in item.value] if many else _words(item.value)
        where = {"joints": list(joint_names)} if many else {}
        yield {"key": key, "value": value, **where, **_origin(item)}
    elif hasattr(item, "normal"):
        normal = ", ".join(f"{x:g}" for x in item.normal)
        yield {
            "key": f"{key}: {item.name}",
            "value": f"({normal}) · x ≥ {item.offset_m:g} m",
            **_origin(item),
        }
    elif hasattr(item, "min_m"):
        corners = (", ".join(f"{x:g}" for x in corner) for corner in (item.min_m, item.max_m))
        yield {"key": f"{key}: {item.name}", "value": "({}) to ({}) m".format(*corners), **_origin(item)}
    elif isinstance(item, tuple):
        if item and isinstance(item[0], str):
            yield {"key": key, "value": ", ".join(map(_words, item))}
        else:
            for part in item:
                yield from _rows_of(key, part, joint_names)
    else:
        # a group may say for itself where what is not a number comes from
        origin = _origin(item) if isinstance(item, Assessed) else {}
        for name, part in item:
            if part is not None and name not in Assessed.model_fields:
                for row in _rows_of(f"{key}.{name}", part, joint_names):
                    yield {**origin, **row}


def _origin(item: Any) -> dict[str, str]:
    return {"source": item.source, "trust": item.trust, "ref": item.risk_assessment_ref}


def _words(value: Any) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"
