"""One self-contained HTML page about one log, made for a safety engineer: no network, no other file.

The page holds the findings as JSON and draws itself from them; timelines are packed as 32-bit numbers and thinned
out, so that a log of a million cycles opens at once. Text from the log is never read as HTML.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

import robolearn
from robolearn.errors import LogError
from robolearn.files.printable import spreadsheet_cell
from robolearn.files.strict_yaml import parse_yaml
from robolearn.files.writing import replace_file
from robolearn.recorder.hash_chain import plain
from robolearn.review.command_sources import listed
from robolearn.review.evidence import NONE, Findings, sentences
from robolearn.review.limits_table import BY_MODEL, limit_tables, look_again
from robolearn.review.margins import Again
from robolearn.review.ood_scores import ood_summary
from robolearn.review.recorded_log import Block, RecordedLog
from robolearn.review.replay import Replay
from robolearn.review.statistics import Pass, Statistics, Window, mode_spans, tcp_speeds
from robolearn.review.stop_margins import LOOKS, LOOKS_ALL, nearness
from robolearn.review.verify import Verdict, verify
from robolearn.robots import Robot
from robolearn.safety.profile import ModeLimits, SafetyProfile

SIMULATED = "simulated"  # `clock` of a session whose times are a simulator's, by /clock
_BEFORE_S, _AFTER_S, _AFTER_MOST_S = 1.0, 0.5, 3.0
_SAMPLES, _SAMPLES_ALL = 600, 120_000
_LEFT_OUT = {"ood_score": ("cycles", "scores"), "policy_inputs": ("cycles", "values")}  # long, per decision
_WINDOWS_MAX = 2000  # stops with a timeline; a log full of stops does not flood the page
_CSV_COLUMNS = (
    "seq",
    "utc",
    "monotonic_us",
    "cycle",
    "kind",
    "retention",
    "retention_days",
    "fields",
    "hash",
)
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
    log: str | Path | RecordedLog,
    out_html: str | Path,
    *,
    verdict: Verdict | None = None,
    replayed: Replay | None = None,
    others: tuple[Replay, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes the page about a log, a folder or one that is open, to `out_html`; its path.

    verdict: of `verify`, made here if not given.  replayed: of `replay`, shown as not made if not given.
    others: replays through other profiles.  progress: called with (cycles done, cycles in all) now and then.
    Raises LogError where there is nothing to report on or the page cannot be written.
    """
    return write_page(report_data(log, verdict, replayed, others, progress), out_html)


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
        replace_file(out, html.replace('"__DATA__"', text))
    except OSError as error:
        raise LogError(f"Cannot write the report {out}: {error.strerror}.") from error
    return out


def write_events_csv(log: str | Path | RecordedLog, out_csv: str | Path) -> Path:
    """The events as CSV, one line each, fields as JSON; for a spreadsheet. Raises LogError.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    out = Path(out_csv)
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(_CSV_COLUMNS)
    for event in RecordedLog.of(log).events:
        keep = event.get("retention") or {}
        row = [event.get(key) for key in ("seq", "utc", "monotonic_us", "cycle", "kind")]
        fields = json.dumps(event["fields"], sort_keys=True)
        cells = [*row, keep.get("class"), keep.get("days"), fields, event.get("hash")]
        writer.writerow([spreadsheet_cell(cell) for cell in cells])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return replace_file(out, table.getvalue())
    except OSError as error:
        raise LogError(f"Cannot write the table {out}: {error.strerror}.") from error


def report_data(
    log: str | Path | RecordedLog,
    verdict: Verdict | None = None,
    replayed: Replay | None = None,
    others: tuple[Replay, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    measuring: Measuring | None = None,
) -> dict[str, Any]:
    """Everything the page shows, as JSON. measuring: one that has taken every block of the log already."""
    log = RecordedLog.of(log)
    verdict = verdict or verify(log)
    events, start, made_with = log.events, log.start, log.made_with
    robot, profile = made_with.robot, made_with.profile
    if measuring is None:
        measuring = Measuring(log)
        for block in log.blocks():
            measuring.take(block)
            if progress is not None:
                progress(measuring.cycles, log.cycles_stated)
    statistics = measuring.done()
    again = None if made_with.note else Again(robot, profile, log.period_s, _gripper(start))
    if again is not None:
        look_again(statistics, again, log.budget.check)
    rules = _rules(events)
    tables = limit_tables(profile, robot, statistics, rules, made_with.note)
    found = Findings(start, events, Counter(rules), profile, tables, verdict, statistics)
    return _clean(
        {
            "made": {
                "utc": datetime.now(UTC).isoformat(timespec="seconds"),
                "robolearn": robolearn.__version__,
            },
            "directory": str(log.directory),
            "robot": {"label": robot.label, "joints": list(robot.joint_names), "note": made_with.note},
            "profile": {"title": profile.title, "ref": profile.risk_assessment_ref},
            "start": start,
            "simulated_time": start["session"].get("clock") == SIMULATED,
            "verdict": _verdict(verdict),
            "sources": {"listed": listed(statistics.sources, events), "total": statistics.sources.total},
            "replay": None if replayed is None else _replay(replayed),
            "others": [_replay(other) for other in others],
            "limits": tables,
            "statistics": _summary(statistics, rules),
            "overview": statistics.overview,
            "ood": ood_summary(events, log.period_s),
            "stops": _stops(events, statistics, robot, profile, start, again),
            "not_again": made_with.note,
            "clauses": _clauses(found),
            "events": [_event(event) for event in events],
        }
    )


class Measuring:
    """The statistics of a log, from its blocks in order."""

    def __init__(self, log: RecordedLog) -> None:
        events, start, made_with = log.events, log.start, log.made_with
        total = max(log.cycles_stated, 1)
        spans = mode_spans(start["mode"], events)
        windows = _windows(events, log.period_s)
        self._pass = Pass(
            made_with.robot, made_with.profile, log.period_s, spans, windows, total, _gripper(start)
        )

    @property
    def cycles(self) -> int:
        """How many cycles have been taken."""
        return self._pass.result.cycles

    def take(self, block: Block) -> None:
        """The next cycles."""
        with np.errstate(all="ignore"):  # a recorded input may be any number
            self._pass.take(block.rows, block.sources)

    def done(self) -> Statistics:
        """The result."""
        return self._pass.done()


def _gripper(start: dict[str, Any]) -> str | None:
    return start["session"].get("gripper", "parallel")


def _windows(events: list[dict[str, Any]], period_s: float) -> list[Window]:
    """One second before each stop until half a second after standstill, where it was measured."""
    rest: dict[int, int] = {}
    stop_at = _StopsByCycle(events)
    for event in events:
        if event["kind"] == "stop_report":
            at = event["fields"]["at_cycle"]
            rest.setdefault(stop_at.before(at), at)
    windows = []
    for event in events:
        if event["kind"] == "stop" and len(windows) < _WINDOWS_MAX:
            number, at = event["fields"]["stop"], event["fields"]["at_cycle"]
            still = rest[number] if number in rest else at + round(1.0 / period_s)
            last = still + round(_AFTER_S / period_s)
            last = min(last, at + round(_AFTER_MOST_S / period_s))
            windows.append(Window(number, at, at - round(_BEFORE_S / period_s), last))
    return windows


class _StopsByCycle:
    """Which stop something at a cycle belongs to: the last one that began before it."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        stops = [event["fields"] for event in events if event["kind"] == "stop"]
        began = sorted((fields["at_cycle"], fields["stop"]) for fields in stops)
        self._at = [at for at, _ in began]
        self._number = list(accumulate((number for _, number in began), max))

    def before(self, cycle: int) -> int:
        """Its number; 0 where none had begun."""
        k = bisect_right(self._at, cycle)
        return self._number[k - 1] if k else 0


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
        if worst.limit and worst.key not in (*_USED_UP, *BY_MODEL)
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
    stop_at = _StopsByCycle(events)
    reports: dict[int, Any] = {}
    causes: dict[int, list[Any]] = defaultdict(list)
    for event in events:
        if event["kind"] == "stop_report":
            reports[stop_at.before(event["fields"]["at_cycle"])] = event["fields"]["report"]
        elif event["kind"] == "stop_cause":
            causes[event["fields"]["stop"]] += event["fields"]["records"]
    spans = mode_spans(start["mode"], events)
    first_cycles = [first for first, _ in spans]
    most = max(60, min(_SAMPLES, _SAMPLES_ALL // max(1, len(windows))))
    stops = []
    for event in events:
        if event["kind"] != "stop":
            continue
        number, at = event["fields"]["stop"], event["fields"]["at_cycle"]
        mode = spans[bisect_right(first_cycles, at) - 1][1]
        window = windows.get(number)
        timeline = None
        if window is not None and window.parts:
            timeline = _timeline(window, robot, profile.mode(mode), most, _gripper(start))
            if again is not None:
                rows, _ = window.rows(most)
                looks = max(3, min(LOOKS, LOOKS_ALL // len(windows)))
                timeline["near"] = _near(nearness(window, rows, mode, again, looks))
        stops.append(
            {
                "number": number,
                "utc": event["utc"],
                "seq": event["seq"],
                "mode": mode,
                "fields": event["fields"],
                "further": causes[number],
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
    left_out = _LEFT_OUT.get(event["kind"], ("signature", "public_key"))
    fields = {k: v for k, v in event["fields"].items() if k not in left_out}
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
