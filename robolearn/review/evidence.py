"""What a log offers as evidence, one sentence per kind, from counts and digests only: nothing is judged here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from robolearn.recorder.hash_chain import RETENTION_DAYS
from robolearn.review.limits_table import BY_MODEL
from robolearn.review.statistics import Statistics
from robolearn.review.verify import Verdict
from robolearn.safety.profile import ModeLimits, NotChecked, SafetyProfile

NONE = "No record of this kind is in the log."
_CALLS = ("reset", "start", "mode")


@dataclass(frozen=True)
class Findings:
    """Everything the sentences draw on. tables: of limits (`limits_table`). rules: events by rule."""

    start: dict[str, Any]
    events: list[dict[str, Any]]
    rules: Counter[str]
    profile: SafetyProfile
    tables: list[dict[str, Any]]
    verdict: Verdict
    statistics: Statistics

    @cached_property
    def kinds(self) -> Counter[str]:
        """Events by kind."""
        return Counter(event["kind"] for event in self.events)

    @cached_property
    def modes(self) -> dict[str, ModeLimits]:
        """Every mode that held in some cycle of the trace; the first one where there is no cycle."""
        return {mode: self.profile.mode(mode) for mode in self.statistics.modes or [self.start["mode"]]}

    def calls(self, kind: str) -> tuple[int, int, int]:
        """Calls of one kind: accepted, refused, and recorded without an answer."""
        answers = [event["fields"].get("answer") for event in self.events if event["kind"] == kind]
        accepted = [answer.get("accepted") for answer in answers if isinstance(answer, dict)]
        refused = len(accepted) - sum(map(bool, accepted))
        if kind in ("start", "reset"):  # refused before the monitor was asked
            refused += sum(e["kind"] == "finding" and e["fields"].get("about") == kind for e in self.events)
        return sum(map(bool, accepted)), refused, len(answers) - len(accepted)

    def counted_calls(self, kind: str) -> str:
        """`calls` in words."""
        accepted, refused, silent = self.calls(kind)
        return f"{accepted} accepted, {refused} refused" + (f", {silent} without an answer" if silent else "")


def sentences(found: Findings) -> dict[str, str]:
    """Each kind of evidence as a sentence. The keys are those of `clauses.yaml`."""
    return {
        **_about_changes(found),
        **_about_operators(found),
        **_about_decisions(found),
        **_about_stops(found),
        **_about_limits(found),
        **_about_motion(found),
        **_about_time(found),
    }


def _about_changes(found: Findings) -> dict[str, str]:
    kinds, start = found.kinds, found.start
    version = start["software"].get("robolearn", "?")
    years = RETENTION_DAYS["intervention_and_version_log"] / 365.25
    without = sum("retention" not in event for event in found.events)
    return {
        "inventory": (
            f"The first event names robot {_short(start['robot']['digest'])}, profile "
            f"{_short(start['profile']['digest'])}, robolearn {version}, its libraries. {_policies(found)}"
        ),
        "integrity": f"Hash chain and signatures: {found.verdict.status}.",
        "changes": (
            f"Events of changed configuration: {kinds['config']}, of files swapped or attached: "
            f"{kinds['swap'] + kinds['attach']}, of a first or new source of commands: {kinds['command_source']}. "
            f"Changes of mode: {found.counted_calls('mode')}."
        ),
        "retention": (
            f"{len(found.events) - without} of {len(found.events)} events carry their retention class: {years:.0f} "
            f"years for interventions and versions, {RETENTION_DAYS['safety_decision_data']} days for decisions. "
            "The chain needs all events: keep the whole file for the longer one."
        ),
        "tests": f"Functional tests recorded: {kinds['test']}." if kinds["test"] else NONE,
        "not_provided": "None: robolearn provides no such function and claims none.",
    }


def _policies(found: Findings) -> str:
    """Which policies the arm followed, by the trace."""
    ran = [source for source in found.statistics.sources.sources if source.followed]
    digests = list(dict.fromkeys(source.policy_digest for source in ran if source.policy_digest))
    others = sum(source.policy_digest is None for source in ran)
    text = f"Policies that ran: {', '.join(map(_short, digests)) or 'none'}."
    return text + (f" Other sources that were followed and name no policy: {others}." if others else "")


def _about_operators(found: Findings) -> dict[str, str]:
    who = {e["fields"].get("who") for e in found.events if e["kind"] in _CALLS} - {None, ""}
    unnamed = sum(not e["fields"].get("who") for e in found.events if e["kind"] in _CALLS)
    signed = sum(bool(e["fields"].get("key")) for e in found.events if e["kind"] in _CALLS)
    sources = found.statistics.sources
    held = ", ".join(f"{mode} ({n} cycles)" for mode, n in found.statistics.modes.items())
    return {
        "operator": (
            f"Calls of operators: resets {found.counted_calls('reset')}; starts {found.counted_calls('start')}; "
            f"changes of mode {found.counted_calls('mode')}."
        ),
        "modes": (
            f"Began in mode {found.start['mode']}. Changes of mode: {found.counted_calls('mode')}. Modes that held: "
            f"{held or 'none recorded'}; each has its own limits."
        ),
        "sources": (
            f"Pseudonyms that made an operator's call: {len(who)}; calls without one: {unnamed}; signed with an "
            f"operator's key: {signed}. Sources of commands: {sources.total}; stops because a second one spoke: "
            f"{found.rules['source']}."
        ),
    }


def _about_decisions(found: Findings) -> dict[str, str]:
    kinds, counts, statistics = found.kinds, found.statistics.verdicts, found.statistics
    faults = {r: n for r, n in found.rules.items() if r in ("finite", "shape", "clock", "internal_error")}
    ages = {r: n for r, n in found.rules.items() if r.endswith("_age") or r == "cycle_gap"}
    explained = sum(e["kind"] in ("stop", "limit") and bool(e["fields"].get("records")) for e in found.events)
    missing = statistics.last_cycle + 1 - statistics.first_cycle - statistics.cycles
    return {
        "decisions": (
            f"{statistics.cycles} decisions with all inputs (PASS {counts['PASS']}, LIMIT {counts['LIMIT']}, "
            f"STOP {counts['STOP']})."
        ),
        "reasons": (
            f"Stops: {kinds['stop']}, spells of limiting: {kinds['limit']}; {explained} of these "
            f"{kinds['stop'] + kinds['limit']} with rule, value, limit and source."
        ),
        "faults": "Events caused by faulty input: " + (_counted(faults) or "none") + ".",
        "ages": "Events caused by late or missing messages: " + (_counted(ages) or "none") + ".",
        "losses": (
            f"Readable cycles: {statistics.cycles}, from {statistics.first_cycle} to {statistics.last_cycle}; "
            f"missing between them: {missing}. Cycles that loss records admit: {found.verdict.losses}."
            if statistics.cycles
            else "No cycle is readable."
        ),
        "preflight": (
            "Joint names are compared with the robot file: of measurements in every cycle, of commands after a "
            f"start. Events because names or lengths did not fit: {found.rules['shape']}."
        ),
        "person_sensor": _person(found),
    }


def _about_stops(found: Findings) -> dict[str, str]:
    """Stops, and what came between one and the next motion."""
    stops = [event for event in found.events if event["kind"] == "stop"]
    reports = [event["fields"]["report"] for event in found.events if event["kind"] == "stop_report"]
    times = [
        (report["measured_time_s"], report["predicted_time_s"])
        for report in reports
        if isinstance(report.get("measured_time_s"), (int, float))
    ]
    late = sum(measured > predicted for measured, predicted in times)
    begins = found.statistics.begins
    started = _begins_after_a_start(found)
    return {
        "starts": (
            f"Starts: {found.counted_calls('start')}. Resets: {found.counted_calls('reset')}. Commands began to be "
            f"followed {len(begins)} times, {started} of them right after an accepted start."
        ),
        "stops": (
            f"Stops: {len(stops)}, latched: {sum(bool(e['fields'].get('latched')) for e in stops)}. Accepted resets, "
            f"which alone end a latched stop: {found.calls('reset')[0]}."
        ),
        "performance": (
            f"Stops that came to rest: {len(reports)}; measured to standstill: {len(times)}, {late} of them later "
            "than predicted."
        ),
    }


def _begins_after_a_start(found: Findings) -> int:
    """How many of the cycles in which commands began to be followed came right after an accepted start.

    A start is recorded before the next cycle, so its event names that cycle.
    """
    starts = [
        int(event["cycle"])
        for event in found.events
        if event["kind"] == "start" and (event["fields"].get("answer") or {}).get("accepted")
    ]
    return sum(cycle in starts for cycle in found.statistics.begins)


def _about_limits(found: Findings) -> dict[str, str]:
    rows = [row for table in found.tables for row in table["rows"]]
    sourced = sum(bool(row.get("source") and row.get("trust") and row.get("ref")) for row in rows)
    unchecked = sum(bool(row.get("open")) for row in rows)
    spatial = sum(found.rules[rule] for rule in ("workspace", "keep_out"))
    walls = []
    for mode, limits in found.modes.items():
        space = limits.workspace
        walls.append(
            f"{mode}: 1 box to stay in, {len(space.planes)} planes, {len(space.keep_out)} boxes to keep out"
        )
    return {
        "limits": (
            f"The table of limits has {len(rows)} lines, modes: {len(found.tables)}. With source, trust and "
            f"risk-assessment reference: {sourced}; checks that the profile leaves out, saying why: {unchecked}."
        ),
        "envelope": (
            f"Workspace ({'; '.join(walls)}), checked for every link's hull at each sample sent while commands are "
            f"followed, and of the braking motion behind it. Events: {spatial}. {_least(found, 'workspace')}"
        ),
        "separation": _checked(found, "separation", "Separation from persons"),
        "contact": _checked(found, "contact", "Contact with persons"),
    }


def _about_motion(found: Findings) -> dict[str, str]:
    rates = [f"{rule} {found.rules[rule]}" for rule in ("acceleration", "jerk")]
    return {
        "smooth": (
            "Acceleration and jerk are bounded per joint; braking uses all of them. Of what was sent: "
            f"{_least(found, 'acceleration_max_rad_s2')} {_least(found, 'jerk_max_rad_s3')} Events: "
            f"{', '.join(rates)}."
        ),
        "drift": (
            f"Events of drift while the arm is held: {found.rules['drift']}. Allowed is "
            + "; ".join(f"{m}: {one.standstill_drift_max_rad.value:g} rad" for m, one in found.modes.items())
            + "."
        ),
    }


def _about_time(found: Findings) -> dict[str, str]:
    statistics = found.statistics
    return {
        "gaps": (
            f"Cycles later than two periods: {statistics.late_total}. Clock set back: {statistics.backwards}."
        ),
    }


def _person(found: Findings) -> str:
    distances = [value for value in found.statistics.overview.get("person", []) if value is not None]
    if not distances:
        return "Distances to persons received: none."
    old = found.rules["person_age"]
    return f"Distances to persons received: yes, the smallest {min(distances):.2f} m. Stops for want of one: {old}."


def _checked(found: Findings, name: str, what: str) -> str:
    """Whether a check is made, in every mode that held, and how near it came."""
    texts = []
    for mode, limits in found.modes.items():
        item = getattr(limits, name)
        if isinstance(item, NotChecked):
            texts.append(f"not checked in mode {mode} ({item.not_checked.rstrip('.')})")
        else:
            texts.append(f"checked in mode {mode} ({item.edition.rstrip('.')})")
    return f"{what}: {'; '.join(texts)}. Events: {found.rules[name]}. {_least(found, name)}".rstrip()


def _least(found: Findings, key: str) -> str:
    """The least margin of all limits whose key begins so, in every mode; empty where none is known."""
    known = [
        (worst.margin, worst, mode)
        for mode, margins in found.statistics.worst.items()
        for name, worst in margins.items()
        if name.partition(".")[0].partition(":")[0] == key
        and not name.endswith(("person_age_max_s", *BY_MODEL))
    ]
    if not known:
        return ""
    margin, worst, mode = min(known, key=lambda item: item[0])
    every = f", 1 cycle in {worst.every} looked at" if worst.every > 1 else ""
    name = key.partition("_max_")[0]
    return f"Least margin of {name}: {margin:.4g} {worst.unit} in cycle {worst.cycle}, mode {mode}{every}."


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in sorted(counts.items()))


def _short(text: str) -> str:
    return text[:12]
