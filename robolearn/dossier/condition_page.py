"""The condition of an arm as one page, as JSON, and as metrics for a Prometheus text-file collector."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path

from robolearn.dossier.condition import Condition, JointCondition
from robolearn.errors import ConfigError
from robolearn.files.page import document
from robolearn.files.writing import replace_file

_CSS = """
body { display: block; } main { margin: 0 auto; } svg text { font: 11px var(--sans); fill: #5a6675; }
svg path { fill: none; stroke: #1f5fa8; stroke-width: 1.4; } svg path.zero { stroke: #c9d1da; }
svg path.alarm { stroke: #b3261e; stroke-dasharray: 3 3; } svg rect { fill: #eef1f4; }
"""
NOT_SHOWN = (
    "A joint that wears together with most others looks like a colder day. Backlash, a bent link and a sensor that "
    "drifts are not looked for. A load that changed between logs moves the friction of gears as well: read the alarms "
    "after it with that in mind. No alarm is no statement that an arm is fit for use."
)


def write_condition(found: Condition, page: str | Path) -> list[Path]:
    """Write page, JSON and metrics side by side; their paths. Raises ConfigError where they cannot be written."""
    page = Path(page)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        return [
            replace_file(page, _html(found)),
            replace_file(page.with_suffix(".json"), json.dumps(found.to_json(), indent=2) + "\n"),
            replace_file(page.with_suffix(".prom"), metrics(found)),
        ]
    except OSError as error:
        raise ConfigError(f"Cannot write {page}: {error.strerror}.") from error


def metrics(found: Condition) -> str:
    """Prometheus text format: the newest score and change of each joint."""
    lines = [
        "# HELP robolearn_joint_friction_score Cumulative sum of friction growth relative to the other joints.",
        "# TYPE robolearn_joint_friction_score gauge",
    ]
    lines += [_sample("score", found, j, j.score[-1]) for j in found.joints if j.score[-1] is not None]
    lines += ["# HELP robolearn_joint_friction_alarm 1 once the score has passed its limit.",
              "# TYPE robolearn_joint_friction_alarm gauge"]  # fmt: skip
    lines += [_sample("alarm", found, j, float(j.alarm is not None)) for j in found.joints]
    return "\n".join(lines) + "\n"


def _sample(what: str, found: Condition, joint: JointCondition, value: float | None) -> str:
    return f'robolearn_joint_friction_{what}{{robot="{found.robot}",joint="{joint.joint}"}} {value:.6g}'


def joint_line(found: Condition, joint: JointCondition) -> str:
    """One joint in words."""
    if joint.alarm is None:
        return f"{joint.joint}: no growth of friction"
    began = 0 if joint.began is None else joint.began
    change = (
        "" if joint.change is None else f", now {joint.change:+.3g} {joint.unit} relative to the other joints"
    )
    return f"{joint.joint}: friction grows from log {began + 1}, found at log {joint.alarm + 1}{change}"


def _html(found: Condition) -> str:
    grown = len(found.alarms)
    cards = (
        ("Logs", str(len(found.logs)), f"the first {found.baseline} are the baseline", ""),
        (
            "Joints with growing friction",
            str(grown or "none"),
            "friction relative to the other joints",
            "bad" if grown else "good",
        ),
        (
            "Load",
            "changed" if found.load is not None else "no change seen",
            "",
            "warn" if found.load is not None else "",
        ),
    )
    body = "".join(
        f'<div class="card {tone}"><span class="label">{label}</span><b>{value}</b><span>{more}</span></div>'
        for label, value, more, tone in cards
    )
    joints = "".join(
        f"<h3>{escape(joint_line(found, j))}</h3>"
        f'<p class="note">from the {escape(j.source)}</p>{_chart(j, found.baseline)}'
        for j in found.joints
    )
    main = (
        f"<header><h1>Condition of {escape(found.robot)}</h1></header><div class='cards'>{body}</div>"
        f"<section><h2>Friction relative to the other joints, log by log</h2>{joints}</section>"
        f"<section><h2>Notes</h2>{_items([*found.notes, NOT_SHOWN])}</section>"
    )
    return document(f"Condition of {found.robot}", main, _CSS)


def _chart(joint: JointCondition, baseline: int) -> str:
    """The relative friction over the logs; the baseline is shaded, an alarm dashed."""
    values = [value for value in joint.relative if value is not None]
    if not values:
        return '<p class="note">not followed</p>'
    width, height, left = 860, 110, 60
    low, high = min(-0.1, *values), max(0.1, *values)
    count = max(1, len(joint.relative) - 1)

    def x(i: float) -> float:
        return left + i / count * (width - left - 10)

    def y(value: float) -> float:
        return 8 + (high - value) / (high - low) * (height - 24)

    points = " L".join(f"{x(i):.1f} {y(v):.1f}" for i, v in enumerate(joint.relative) if v is not None)
    alarm = "" if joint.alarm is None else f'<path class="alarm" d="M{x(joint.alarm):.1f} 4 V{height - 16}"/>'
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(joint.joint)}">'
        f'<rect x="{left}" y="4" width="{x(baseline - 1) - left:.1f}" height="{height - 20}"/>'
        f'<path class="zero" d="M{left} {y(0):.1f} H{width - 10}"/><path d="M{points}"/>{alarm}'
        f'<text x="{left - 6}" y="{y(high) + 8:.0f}" text-anchor="end">{high:+.0%}</text>'
        f'<text x="{left - 6}" y="{y(low):.0f}" text-anchor="end">{low:+.0%}</text>'
        f'<text x="{left}" y="{height - 4}">log 1</text>'
        f'<text x="{width - 10}" y="{height - 4}" text-anchor="end">log {len(joint.relative)}</text></svg>'
    )


def _items(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
