"""One self-contained HTML page about one log, made for a safety engineer: no network, no other file.

The page holds the findings as JSON and draws itself from them; timelines are packed as 32-bit numbers and thinned
out, so that a log of a million cycles opens at once. Text from the log is never read as HTML.
"""

from __future__ import annotations

import base64
import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import robolearn
from robolearn.errors import LogError
from robolearn.files.strict_yaml import parse_yaml
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.hash_chain import plain
from robolearn.review.command_sources import listed
from robolearn.review.evidence import NONE, Findings, sentences
from robolearn.review.limits_table import limit_tables, look_again
from robolearn.review.margins import Again
from robolearn.review.replay import Replay
from robolearn.review.statistics import Pass, Statistics, Window, blocks, mode_spans, tcp_speeds
from robolearn.review.stop_margins import LOOKS, LOOKS_ALL, nearness
from robolearn.review.stored import session_start, stored
from robolearn.review.verify import Verdict, read_events, verify
from robolearn.robots import Robot
from robolearn.safety.profile import ModeLimits, SafetyProfile

_BEFORE_S, _AFTER_S, _AFTER_MOST_S = 1.0, 0.5, 3.0
_SAMPLES, _SAMPLES_ALL = 600, 120_000
# Braking uses all of the first two by design; a person may come as near as they like, and the arm then stops.
_USED_UP = ("acceleration_max_rad_s2", "jerk_max_rad_s3", "separation")
_SERIES = (
    "command_position_rad",
    "sent_position_rad",
    "measured_position_rad",
    "sent_velocity_rad_s",
    "measured_velocity_rad_s",
)


def write_report(
    directory: str | Path,
    out_html: str | Path,
    *,
    verdict: Verdict | None = None,
    replayed: Replay | None = None,
    others: tuple[Replay, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the page about the log in `directory` to `out_html`; its path.

    verdict: of `verify`, made here if not given.  replayed: of `replay`, shown as not made if not given.
    others: replays through other profiles.  progress: called with (cycles done, cycles in all) now and then.
    Raises LogError where there is nothing to report on or the page cannot be written.
    """
    return write_page(report_data(Path(directory), verdict, replayed, others, progress), out_html)


def write_page(data: dict[str, Any], out_html: str | Path) -> Path:
    """Writes what `report_data` found as a page; its path. Raises LogError where it cannot be written."""
    out = Path(out_html)
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = files("robolearn.review") / "page"
    html = page.joinpath("page.html").read_text("utf-8")
    for name in ("page.css", "charts.js", "page.js"):
        html = html.replace(f"/*{name}*/", page.joinpath(name).read_text("utf-8"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(html.replace('"__DATA__"', text), "utf-8")
    except OSError as error:
        raise LogError(f"Cannot write the report {out}: {error.strerror}.") from error
    return out


def write_events_csv(directory: str | Path, out_csv: str | Path) -> Path:
    """The events as CSV, one line each, fields as JSON; for a spreadsheet."""
    out = Path(out_csv)
    events = read_events(directory)
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ("seq", "utc", "monotonic_us", "cycle", "kind", "retention", "retention_days", "fields", "hash")
        )
        for event in events:
            keep = event.get("retention", {})
            row = [event.get(key) for key in ("seq", "utc", "monotonic_us", "cycle", "kind")]
            fields = json.dumps(event["fields"], sort_keys=True)
            writer.writerow([*row, keep.get("class"), keep.get("days"), fields, event.get("hash")])
    return out


def report_data(
    directory: Path,
    verdict: Verdict | None = None,
    replayed: Replay | None = None,
    others: tuple[Replay, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Everything the page shows, as JSON."""
    verdict = verdict or verify(directory)
    events = read_events(directory)
    start = session_start(directory, events)
    made_with = stored(directory, start)
    robot, profile = made_with.robot, made_with.profile
    statistics = _statistics(directory, events, robot, profile, progress)
    again = None if made_with.note else Again(robot, profile, float(start["period_s"]), _gripper(start))
    if again is not None:
        look_again(statistics, again)
    rules = _rules(events)
    tables = limit_tables(profile, robot, statistics, rules, made_with.note)
    found = Findings(start, events, Counter(rules), profile, tables, verdict, statistics)
    return _clean(
        {
            "made": {
                "utc": datetime.now(UTC).isoformat(timespec="seconds"),
                "robolearn": robolearn.__version__,
            },
            "directory": str(directory),
            "robot": {"label": robot.label, "joints": list(robot.joint_names), "note": made_with.note},
            "profile": {"title": profile.title, "ref": profile.risk_assessment_ref},
            "start": start,
            "verdict": _verdict(verdict),
            "sources": {"listed": listed(statistics.sources, events), "total": statistics.sources.total},
            "replay": None if replayed is None else _replay(replayed),
            "others": [_replay(other) for other in others],
            "limits": tables,
            "statistics": _summary(statistics, rules),
            "overview": statistics.overview,
            "stops": _stops(events, statistics, robot, profile, start, again),
            "not_again": made_with.note,
            "clauses": _clauses(found),
            "events": [_event(event) for event in events],
        }
    )


def _statistics(
    directory: Path,
    events: list[dict[str, Any]],
    robot: Robot,
    profile: SafetyProfile,
    progress: Callable[[int, int], None] | None,
) -> Statistics:
    start = events[0]["fields"]
    period_s = float(start["period_s"])
    total = max((int(event["cycle"]) for event in events), default=1)
    layout = Layout(tuple(start["joint_names"]))
    windows = _windows(events, period_s)
    run = Pass(robot, profile, period_s, mode_spans(start["mode"], events), windows, total, _gripper(start))
    for rows, names in blocks(directory, layout):
        run.take(rows, names)
        if progress is not None:
            progress(run.result.cycles, total)
    return run.done()


def _gripper(start: dict[str, Any]) -> str | None:
    return start["session"].get("gripper", "parallel")


def _windows(events: list[dict[str, Any]], period_s: float) -> list[Window]:
    """One second before each stop until half a second after standstill, where it was measured."""
    rest = {}
    for event in events:
        if event["kind"] == "stop_report":
            rest.setdefault(_stop_before(events, event), int(event["fields"]["at_cycle"]))
    windows = []
    for event in events:
        if event["kind"] == "stop":
            number, at = int(event["fields"]["stop"]), int(event["fields"]["at_cycle"])
            last = rest.get(number, at + round(1.0 / period_s)) + round(_AFTER_S / period_s)
            last = min(last, at + round(_AFTER_MOST_S / period_s))
            windows.append(Window(number, at, at - round(_BEFORE_S / period_s), last))
    return windows


def _stop_before(events: list[dict[str, Any]], report: dict[str, Any]) -> int:
    """The number of the stop that a stop report belongs to: the last one that began before it."""
    at = int(report["fields"]["at_cycle"])
    return max(
        (
            int(e["fields"]["stop"])
            for e in events
            if e["kind"] == "stop" and int(e["fields"]["at_cycle"]) <= at
        ),
        default=0,
    )


def _rules(events: list[dict[str, Any]]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for event in events:
        if event["kind"] in ("stop", "limit", "stop_cause"):
            counts.update({record["rule"] for record in event["fields"].get("records", [])})
    return dict(counts)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    found = plain(verdict)
    found.pop("directory")
    return {**found, "status": verdict.status, "summary": verdict.summary}


def _replay(replayed: Replay) -> dict[str, Any]:
    return {
        "summary": replayed.summary,
        "agrees": replayed.agrees,
        "total": replayed.total,
        "cycles": replayed.cycles,
        "profile": replayed.profile,
        "digest": replayed.profile_digest,
        "disagreements": [plain(one) for one in replayed.disagreements[:100]],
    }


def _summary(statistics: Statistics, rules: dict[str, int]) -> dict[str, Any]:
    return {
        "cycles": statistics.cycles,
        "duration_s": statistics.last_s - statistics.first_s,
        "verdicts": dict(statistics.verdicts),
        "states": dict(statistics.states),
        "period": statistics.period,
        "late": statistics.late,
        "late_total": statistics.late_total,
        "backwards": statistics.backwards,
        "rules": rules,
        "nearest": _nearest(statistics),
    }


def _nearest(statistics: Statistics) -> dict[str, Any] | None:
    """The limit that was approached most, as a share of itself."""
    shares = [
        (worst.margin / abs(worst.limit), mode, worst)
        for mode, found in statistics.worst.items()
        for worst in found.values()
        if worst.limit and worst.key not in _USED_UP
    ]
    if not shares:
        return None
    share, mode, worst = min(shares, key=lambda item: item[0])
    return {"share": share, "mode": mode, **plain(worst)}


def _stops(
    events: list[dict[str, Any]],
    statistics: Statistics,
    robot: Robot,
    profile: SafetyProfile,
    start: dict[str, Any],
    again: Again | None,
) -> list[dict[str, Any]]:
    windows = {window.stop: window for window in statistics.windows}
    reports = {
        _stop_before(events, event): event["fields"]["report"]
        for event in events
        if event["kind"] == "stop_report"
    }
    spans = mode_spans(start["mode"], events)
    most = max(60, min(_SAMPLES, _SAMPLES_ALL // max(1, len(windows))))
    stops = []
    for event in events:
        if event["kind"] != "stop":
            continue
        number, at = int(event["fields"]["stop"]), int(event["fields"]["at_cycle"])
        mode = next(name for first, name in reversed(spans) if first <= at)
        causes = [
            e["fields"]["records"]
            for e in events
            if e["kind"] == "stop_cause" and e["fields"]["stop"] == number
        ]
        window = windows[number]
        timeline = None
        if window.parts:
            timeline = _timeline(window, robot, profile.mode(mode), most, _gripper(start))
            if again is not None:
                rows, _ = window.rows(most)
                looks = max(10, min(LOOKS, LOOKS_ALL // len(windows)))
                timeline["near"] = _near(nearness(window, rows, mode, again, looks))
        stops.append(
            {
                "number": number,
                "utc": event["utc"],
                "seq": event["seq"],
                "mode": mode,
                "fields": event["fields"],
                "further": [record for records in causes for record in records],
                "report": reports.get(number),
                "timeline": timeline,
            }
        )
    return stops


def _timeline(
    window: Window, robot: Robot, limits: ModeLimits, most: int, gripper: str | None
) -> dict[str, Any]:
    """The columns around one stop: t = 0 at the stop; 32-bit floats, base64; joints beside each other."""
    rows, stride = window.rows(most)
    at = int(np.searchsorted(rows["cycle"], window.at_cycle))
    zero_s = float(rows["now_s"][min(at, len(rows) - 1)])
    series = {name: _packed(rows[name]) for name in _SERIES}
    tcp = tcp_speeds(robot, rows["sent_position_rad"], rows["sent_velocity_rad_s"], gripper)
    return {
        "n": len(rows),
        "stride": stride,
        "first_cycle": int(rows["cycle"][0]),
        "t": _packed(rows["now_s"] - zero_s),
        "verdict": base64.b64encode(rows["verdict"].tobytes()).decode(),
        "tcp": _packed(tcp),
        "person": _packed(rows["person_distance_m"])
        if np.isfinite(rows["person_distance_m"]).any()
        else None,
        **series,
        "time_to_rest": _packed(rows["stopping_time_s"]),
        "limits": {
            "stopping_time": limits.stopping_time_max_s.value,
            "position_min": limits.position_min_rad.array.tolist(),
            "position_max": limits.position_max_rad.array.tolist(),
            "velocity": limits.velocity_max_rad_s.array.tolist(),
            "tcp": limits.tcp_speed_max_m_s.value,
        },
    }


def _near(found: dict[str, Any]) -> dict[str, Any]:
    """`nearness` with its columns packed."""
    series = {
        kind: {**one, "value": _packed(one["value"]), "limit": _packed(one["limit"])}
        for kind, one in found["series"].items()
    }
    return {**found, "series": series}


def _packed(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _clauses(found: Findings) -> list[dict[str, Any]]:
    text = files("robolearn.review").joinpath("clauses.yaml").read_text("utf-8")
    known = sentences(found)
    return [
        {**clause, "evidence": [known[key] for key in clause["evidence"]] or [NONE]}
        for clause in parse_yaml(text, "clauses.yaml").data["clauses"]
    ]


def _event(event: dict[str, Any]) -> list[Any]:
    """Short: a log of a day has a hundred thousand of them."""
    fields = {k: v for k, v in event["fields"].items() if k not in ("signature", "public_key")}
    return [event.get("seq"), event.get("utc"), event.get("cycle"), event["kind"], fields]


def _clean(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value
