"""The explained stops of a safety log as one self-contained page, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from robolearn.dossier.explain_stops import STOPS_NOT_SHOWN, ExplainedStop, ExplainedStops
from robolearn.dossier.page import bars
from robolearn.errors import ConfigError
from robolearn.files.page import document
from robolearn.files.writing import replace_file

_CSS = "body { display: block; } main { margin: 0 auto; } svg text { font: 11px var(--sans); fill: #5a6675; }"
DRAWN = 20  # stops with a picture; the table has all


def write_stops(found: ExplainedStops, page: str | Path) -> list[Path]:
    """Write page and JSON side by side; their paths. Raises ConfigError where they cannot be written."""
    page = Path(page)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        return [
            replace_file(page, _html(found)),
            replace_file(page.with_suffix(".json"), json.dumps(found.to_json(), indent=2) + "\n"),
        ]
    except OSError as error:
        raise ConfigError(f"Cannot write {page}: {error.strerror}.") from error


def stop_line(stop: ExplainedStop) -> str:
    """One stop in words."""
    head = f"Stop {stop.stop} ({', '.join(stop.rules) or 'no rule'}, {stop.utc})"
    if stop.shares is None:
        return f"{head}: not explained: {stop.why_not}"
    return f"{head}: {stop.decisions} decisions before it, from {ranked(stop.shares)}"


def ranked(shares: Mapping[str, float]) -> str:
    """Slots with their share, the largest first; those below 0.5 % are left out."""
    shown = [f"{slot} {share:.0%}" for slot, share in shares.items() if share >= 0.005]
    return ", ".join(shown) or "no input that changed"


def _html(found: ExplainedStops) -> str:
    name = f"{found.bundle} ({found.digest[:12]})"
    lead = (
        f"Log {found.log}: {found.integrity} Integrated gradients of the commanded step, {found.steps} steps, relative "
        f"to the mean of the {found.baseline_decisions} decisions of this policy that the log holds; completeness gap "
        f"{found.gap_rad[0]:.1e} rad in the median, {found.gap_rad[1]:.1e} rad at the 99th percentile."
    )
    rows = "".join(
        f"<tr><td>{stop.stop}</td><td>{escape(stop.utc)}</td><td>{escape(', '.join(stop.rules))}</td>"
        f"<td>{escape(stop.text)}</td><td>{escape(ranked(stop.shares) if stop.shares else stop.why_not)}</td></tr>"
        for stop in found.stops
    )
    more = f"<p>{found.left_out} more stops are not explained here.</p>" if found.left_out else ""
    drawn = "".join(_picture(found, stop) for stop in found.explained[:DRAWN])
    main = (
        f'<header><h1>The seconds before each stop: {escape(name)}</h1></header><p class="lead">{escape(lead)}</p>'
        f"<section><h2>What this does not show</h2>{_items(STOPS_NOT_SHOWN)}</section>"
        f"<section><h2>Stops</h2><table><tr><th>stop</th><th>time</th><th>rules</th><th>what they said</th>"
        f"<th>commands before it came from</th></tr>{rows}</table>{more}</section>"
        f"<section><h2>Stop by stop</h2>{drawn}</section>"
    )
    return document(f"Stops of {name}", main, _CSS)


def _picture(found: ExplainedStops, stop: ExplainedStop) -> str:
    """Shares, what a replaced slot changes, and the last decision to the joint that it moved most, in mrad."""
    assert stop.shares is not None
    assert stop.replaced_rad is not None
    last = stop.signed[-1]
    joint = max(range(len(found.joint_names)), key=lambda j: sum(abs(values[j]) for values in last.values()))
    changed = {slot: 1e3 * stop.replaced_rad[slot] for slot in stop.shares}
    signed = {slot: 1e3 * values[joint] for slot, values in last.items()}
    span = f"{stop.before_s[0]:.2f} to {stop.before_s[-1]:.2f} s before it"
    return (
        f"<h3>Stop {stop.stop}: share of attribution, {len(stop.before_s)} of {stop.decisions} decisions, {span}</h3>"
        f"{bars(stop.shares)}<h3>Change of the step where a slot has its mean instead, mrad</h3>{bars(changed)}"
        f"<h3>The last decision, to {escape(found.joint_names[joint])}, signed, mrad</h3>{bars(signed)}"
    )


def _items(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
