"""What a log offers as evidence, one sentence per kind, from counts and digests only: nothing is judged here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from robolearn.review.statistics import Statistics
from robolearn.review.verify import Verdict
from robolearn.safety.chain import RETENTION_DAYS
from robolearn.safety.profile import ModeLimits

NONE = "No record of this kind is in the log."


@dataclass(frozen=True)
class Findings:
    """Everything the sentences draw on."""

    start: dict[str, Any]
    events: list[dict[str, Any]]
    kinds: Counter[str]
    rules: Counter[str]
    limits: ModeLimits
    verdict: Verdict
    statistics: Statistics


def sentences(found: Findings) -> dict[str, str]:
    """Each kind of evidence as a sentence. The keys are those of `clauses.yaml`."""
    return {**_about_changes(found), **_about_decisions(found), **_about_motion(found), **_about_time(found)}


def _about_changes(found: Findings) -> dict[str, str]:
    kinds, start = found.kinds, found.start
    version = start["software"].get("robolearn", "?")
    changes = sum(kinds[kind] for kind in ("config", "swap", "attach"))
    years = RETENTION_DAYS["intervention_and_version_log"] / 365.25
    return {
        "inventory": (
            f"The first event names robot {_short(start['robot']['digest'])}, profile "
            f"{_short(start['profile']['digest'])}, robolearn {version}, its libraries."
        ),
        "integrity": f"Hash chain and signatures: {found.verdict.status}.",
        "changes": f"Changes of configuration, policy or attachments: {changes}. Changes of mode: {kinds['mode']}.",
        "retention": (
            f"Each event carries its retention class: {years:.0f} years for interventions and "
            f"versions, {RETENTION_DAYS['safety_decision_data']} days for decisions. The chain needs all "
            "events: keep the whole file for the longer one."
        ),
        "operator": (
            f"By named persons: resets {kinds['reset']}, starts {kinds['start']}, changes of mode {kinds['mode']}."
        ),
        "modes": f"Began in mode {start['mode']}. Changes of mode: {kinds['mode']}; each mode has its own limits.",
        "preflight": "The joint names of every message were checked against the robot file by name, each cycle.",
        "tests": f"Functional tests recorded: {kinds['test']}." if kinds["test"] else NONE,
        "not_provided": "None: robolearn provides no such function and claims none.",
    }


def _about_decisions(found: Findings) -> dict[str, str]:
    kinds, verdict, counts = found.kinds, found.verdict, found.statistics.verdicts
    faults = {r: n for r, n in found.rules.items() if r in ("finite", "shape", "clock", "internal_error")}
    ages = {r: n for r, n in found.rules.items() if r.endswith("_age") or r in ("first_command", "cycle_gap")}
    sources = {r["fields"].get("who") for r in found.events if r["kind"] in ("reset", "start", "mode")} - {
        None
    }
    return {
        "decisions": (
            f"{found.statistics.cycles} decisions with all inputs (PASS {counts['PASS']}, LIMIT {counts['LIMIT']}, "
            f"STOP {counts['STOP']})."
        ),
        "reasons": (
            f"Stops: {kinds['stop']}, spells of limiting: {kinds['limit']}; each with rule, value, limit and source."
        ),
        "faults": "Events caused by faulty input: " + (_counted(faults) or "none") + ".",
        "ages": "Events caused by late or missing messages: " + (_counted(ages) or "none") + ".",
        "losses": f"{verdict.losses} cycles without a record, all admitted by loss records."
        if verdict.losses
        else "No cycle is missing between the first and the last.",
        "sources": f"Pseudonyms that made an operator's call: {len(sources)}.",
        "starts": (
            f"Starts: {kinds['start']}, resets: {kinds['reset']}, each with who, resets with why; no reset starts."
        ),
        "stops": f"Stops: {kinds['stop']}, each latched until a reset.",
        "performance": f"Stops measured to standstill, against their prediction: {kinds['stop_report']}.",
    }


def _about_motion(found: Findings) -> dict[str, str]:
    limits, rules = found.limits, found.rules
    walls = 1 + len(limits.workspace.planes) + len(limits.workspace.keep_out)
    space = sum(rules[rule] for rule in rules if "workspace" in rule or "keep_out" in rule or "plane" in rule)
    person = found.statistics.overview.get("person", [])
    nearest = min((value for value in person if value is not None), default=None)
    return {
        "limits": "Every limit in force is listed above with source, trust level and risk-assessment reference.",
        "envelope": (
            f"Workspace regions: {walls}, checked for every capsule of the arm in each cycle. Events: {space}."
        ),
        "separation": _checked(limits.separation, "Separation from persons")
        + (f" Smallest distance reported: {nearest:.2f} m." if nearest is not None else ""),
        "contact": _checked(limits.contact, "Contact with persons"),
        "smooth": "Acceleration and jerk are bounded per joint; see the worst margins.",
        "drift": f"Events of drift while holding: {rules['standstill_drift']}.",
        "person_sensor": f"Distances to persons received: {'none' if nearest is None else 'yes'}.",
    }


def _about_time(found: Findings) -> dict[str, str]:
    statistics = found.statistics
    return {
        "gaps": (
            f"Cycles later than two periods: {statistics.late_total}. Clock set back: {statistics.backwards}."
        ),
    }


def _checked(item: Any, what: str) -> str:
    if hasattr(item, "not_checked"):
        return f"{what} is not checked in this mode: {item.not_checked}."
    return f"{what} is checked in this mode ({item.edition.rstrip('.')})."


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items()))


def _short(text: str) -> str:
    return text[:12]
