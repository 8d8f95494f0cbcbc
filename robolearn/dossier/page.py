"""The dossier: one self-contained HTML page and the same as JSON, in the sections of Annex IV.

Each point is filled from evidence, or from what people stated in a file of theirs, or marked OPEN with what is missing.
Nothing is written that no record or person said. The page loads nothing and runs no script.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import robolearn
from robolearn.config import read_document
from robolearn.dossier.evidence import Evidence, collect
from robolearn.dossier.failures_page import failures_section
from robolearn.dossier.points import PROVIDERS
from robolearn.dossier.sbom import bill_of_materials
from robolearn.dossier.sweep_chart import CSS as SWEEP_CSS
from robolearn.dossier.sweep_chart import sweep_section
from robolearn.errors import ConfigError, RobolearnError, unknown
from robolearn.files.page import document
from robolearn.files.strict_yaml import parse_yaml
from robolearn.files.writing import replace_file
from robolearn.learn.disparity import Stratum

SCHEMA = "robolearn.dossier/1"
FILLED, STATED, OPEN = "evidence", "stated", "OPEN"
BASIS = (
    "Anticipatory for machinery. Since Regulation (EU) 2026/1744 the AI Act's chapter on high-risk systems does not "
    "apply directly to AI that is part of machinery; delegated acts to Annex III of Regulation (EU) 2023/1230 are to "
    "take its place by 2028-08-02 and were not adopted when this was written (2026-10-06). This page follows Annex IV "
    "because it is the best known shape of what will be asked. It is a collection of records, not legal advice, and it "
    "declares nothing. robolearn is a non-rated command filter and recorder, subordinate to the rated functions of the "
    "arm and the cell."
)
_CSS = """
body { display: block; } main { margin: 0 auto; }
td.what { width: 27%; color: var(--soft); } .point { margin-top: 18px; } .point h3 { margin: 0 0 6px; }
.point .miss { color: var(--warn); margin: 4px 0 0; } svg text { font: 11px var(--sans); fill: #5a6675; }
svg rect.rest { fill: #d7dee7; } svg .ci { stroke: #1b2430; stroke-width: 1.3; } svg circle { fill: #1f5fa8; }
svg circle.bad { fill: #b3261e; } svg .all { stroke: #9a6400; stroke-dasharray: 3 3; }
@media print { section { break-inside: auto; border: 0; padding: 10px 0; } .point { break-inside: avoid; } }
"""


def annex_iv() -> list[dict[str, Any]]:
    """The sections and points, as `annex_iv.yaml` has them."""
    text = (files("robolearn.dossier") / "annex_iv.yaml").read_bytes()
    return parse_yaml(text, "annex_iv.yaml").data["sections"]


def read_statements(path: str | Path) -> tuple[dict[str, str], str]:
    """What people state, by the id of a point (`1a: text`), and the file's digest.

    Raises ConfigError for a file that cannot be read, an unknown point, or a value that is not text.
    """
    document = read_document(path)
    known = {point["id"] for section in annex_iv() for point in section["points"] if point.get("stated")}
    for name, value in document.data.items():
        if name not in known:
            raise ConfigError(f"{path}, line {document.line(name)}: {unknown('point', name, known)}")
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{path}, line {document.line(name)}: point '{name}' needs a text.")
    return document.data, document.digest


def dossier_data(
    evidence: Evidence, path: str | Path, statements: str | Path | None = None
) -> dict[str, Any]:
    """Everything the page says, as plain JSON values. path: of the run folder or the bundle."""
    said, digest = read_statements(statements) if statements is not None else ({}, "")
    verdict = evidence.verdict
    sections = [
        {
            "number": section["number"],
            "title": section["title"],
            "points": [_point(evidence, point, said.get(point["id"], "")) for point in section["points"]],
        }
        for section in annex_iv()
    ]
    points = [point for section in sections for point in section["points"]]
    # Of what is drawn nothing may be malformed: then the point has its items.
    shown = {item["what"] for point in points for item in point["items"]}
    explained, swept = "attribution by slot" in shown, "beyond the trained ranges" in shown
    failures = "failures explained" in shown
    return {
        "schema": SCHEMA,
        "made_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "robolearn": robolearn.__version__,
        "of": str(path),
        "basis": BASIS,
        "statements": {"file": str(statements), "sha256": digest} if statements is not None else None,
        "bundle": None if evidence.bundle is None else {
            "name": evidence.bundle.manifest.name, "task": evidence.bundle.manifest.task,
            "robot": evidence.bundle.manifest.robot, "sha256": evidence.bundle.digest, "key_id": evidence.bundle.key_id,
        },
        "trail": None if verdict is None else verdict.to_json(),
        "acceptance": evidence.acceptance or None,
        "success": evidence.evaluation.get("success"),
        "disparity": None if evidence.disparity is None else evidence.disparity.to_json(),
        "explanation": evidence.explanation if explained else None,
        "failures": evidence.failures if failures else None,
        "sweep": evidence.sweep if swept else None,
        "sections": sections,
        "open": [point["id"] for point in points if point["status"] == OPEN],
        "partly_open": [point["id"] for point in points if point["status"] != OPEN and point["missing"]],
        "model_card": None if evidence.bundle is None else evidence.bundle.model_card,
        "problems": evidence.problems,
    }  # fmt: skip


def _point(evidence: Evidence, point: Mapping[str, Any], said: str) -> dict[str, Any]:
    items = []
    for name in point["evidence"]:
        try:
            items += [{"what": what, "value": value} for what, value in PROVIDERS[name](evidence)]
        except (RobolearnError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            evidence.problems.append(f"{point['id']}, {name}: the records cannot be read: {error}")
    status = FILLED if items else STATED if said else OPEN
    # What only people can say is missing until they do, whatever there is in evidence.
    lacking = [] if items or said else [point["missing"]]
    lacking += [point["stated"]] if point.get("stated") and not said else []
    return {
        "id": point["id"],
        "title": point["title"],
        "status": status,
        "items": items,
        "statement": said,
        "missing": "; ".join(text for text in lacking if text),
    }


def write_dossier(path: str | Path, output: str | Path, statements: str | Path | None = None) -> list[Path]:
    """Write the page, the same as JSON, and the bill of materials where there is one, beside it; their paths.

    Raises ConfigError where they cannot be written.
    """
    evidence, page = collect(path), Path(output)
    data = dossier_data(evidence, path, statements)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=2, allow_nan=False, default=str)
        written = [replace_file(page, _html(data)), replace_file(page.with_suffix(".json"), text + "\n")]
        parts = bill_of_materials(evidence)
        if parts is not None:
            written.append(replace_file(page.with_suffix(".cdx.json"), parts))
        return written
    except OSError as error:
        raise ConfigError(f"Cannot write the dossier {page}: {error.strerror}.") from error


def _html(data: Mapping[str, Any]) -> str:
    bundle = data["bundle"]
    title = f"{bundle['name']}: {bundle['task']}" if bundle else f"run {Path(data['of']).name}"
    body = [
        (
            f"<header><h1>Dossier of {escape(title)}</h1><p>Made {escape(data['made_utc'])} by robolearn "
            f"{escape(data['robolearn'])} from {escape(str(data['of']))}</p></header>"
        ),
        _cards(data),
        f'<p class="note">{escape(data["basis"])}</p>',
        *([_list("Could not be read", data["problems"])] if data["problems"] else []),
        *(_section(section) for section in data["sections"]),
        *([_strata(data["disparity"], data["success"])] if data["disparity"] else []),
        *([sweep_section(data["sweep"])] if data["sweep"] else []),
        *([_explanation(data["explanation"])] if data["explanation"] else []),
        *([failures_section(data["failures"], bars)] if data["failures"] else []),
        *([_trail(data["trail"])] if data["trail"] else []),
    ]
    if data["model_card"]:
        body.append(f"<section><h2>Model card</h2><pre>{escape(data['model_card'])}</pre></section>")
    css = f"{_CSS}{SWEEP_CSS} pre {{ white-space: pre-wrap; font-size: 12px; }}"
    return document(f"Dossier of {title}", "".join(body), css)


def _cards(data: Mapping[str, Any]) -> str:
    trail, success, found = data["trail"], data["success"], data["disparity"]
    kept = trail["status"] if trail else "none"
    doubt = "not verified: the audit trail is " + kept if trail and kept != "intact" else ""
    status = (data["acceptance"] or {}).get("status", "cannot be judged" if doubt else "not stated")
    rate, interval = "not evaluated", ""
    if isinstance(success, Mapping):
        rate, interval = (
            f"{success['rate']:.1%}",
            f"95 % interval {success['low']:.1%} to {success['high']:.1%}",
        )
    flagged, tone = "not evaluated", ""
    if found:
        flagged, tone = str(len(found["flagged"]) or "none"), _tone(not found["flagged"], True)
    total = sum(len(section["points"]) for section in data["sections"])
    more = f"{len(data['partly_open'])} more wait for a statement"
    cards = (
        (
            "Audit trail",
            kept,
            f"{trail['records']} records" if trail else "no run with one",
            _tone(kept == "intact"),
        ),
        (
            "Thresholds",
            status,
            doubt or ("" if status == "not stated" else "stated before the training"),
            _tone(status == "passed" and not doubt, status in ("not stated", "not evaluated")),
        ),
        ("Success, simulation", rate, doubt or interval, "warn" if doubt else ""),
        ("Strata flagged", flagged, doubt or "worse than the rest beyond chance", "warn" if doubt else tone),
        ("Open points", f"{len(data['open'])} of {total}", more, _tone(not data["open"], True)),
    )
    return f'<div class="cards">{"".join(_card(*card) for card in cards)}</div>'


def _card(label: str, value: str, more: str, tone: str) -> str:
    inner = f'<span class="label">{label}</span><b>{escape(value)}</b><span>{escape(more)}</span>'
    return f'<div class="card {tone}">{inner}</div>'


def _tone(good: bool, mild: bool = False) -> str:
    return "good" if good else "warn" if mild else "bad"


def _section(section: Mapping[str, Any]) -> str:
    points = "".join(_point_html(point) for point in section["points"])
    return f'<section><h2><span class="n">{section["number"]}</span>{escape(section["title"])}</h2>{points}</section>'


def _point_html(point: Mapping[str, Any]) -> str:
    tone = "warn" if point["status"] == OPEN or point["missing"] else "good"
    rows = "".join(
        f'<tr><td class="what">{escape(item["what"])}</td><td>{escape(item["value"])}</td></tr>'
        for item in point["items"]
    )
    if point["statement"]:
        rows += f'<tr><td class="what">stated by people</td><td>{escape(point["statement"])}</td></tr>'
    table = f"<table>{rows}</table>" if rows else ""
    status = (
        f"{point['status']}, OPEN in part"
        if point["status"] != OPEN and point["missing"]
        else point["status"]
    )
    missing = f'<p class="miss">Missing: {escape(point["missing"])}.</p>' if point["missing"] else ""
    return (
        f'<div class="point"><h3>{point["id"]} {escape(point["title"])} '
        f'<span class="chip {tone}">{escape(status)}</span></h3>{table}{missing}</div>'
    )


def _strata(found: Mapping[str, Any], success: Mapping[str, Any]) -> str:
    """Success by stratum with simultaneous intervals, drawn; the widest gap first."""
    strata = [Stratum(**values) for values in found["strata"]]
    low = min(0.98, min(s.low for s in strata))
    left, width, row = 300, 860, 19

    def x(rate: float) -> float:
        return left + (rate - low) / (1 - low) * (width - left - 70)

    drawn = []
    for i, s in enumerate(strata):
        y = 14 + row * i
        drawn.append(
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(s.name)}</text>'
            f'<path class="ci" d="M{x(s.low):.1f} {y} H{x(s.high):.1f}"/>'
            f'<circle class="{"bad" if s.flagged else ""}" cx="{x(s.rate):.1f}" cy="{y}" r="3.6"/>'
            f'<text x="{width - 62}" y="{y + 4}">{s.rate:.1%}</text>'
        )
    bottom = 14 + row * len(strata)
    overall = x(success["rate"])
    drawn.append(f'<path class="all" d="M{overall:.1f} 4 V{bottom}"/>')
    drawn += [
        f'<text x="{x(r):.1f}" y="{bottom + 12}" text-anchor="middle">{r:.1%}</text>'
        for r in (low, (1 + low) / 2, 1.0)
    ]
    picture = (
        f'<svg viewBox="0 0 {width} {bottom + 18}" role="img" aria-label="by stratum">{"".join(drawn)}</svg>'
    )
    names = ("stratum", "successes", "below the rest by", "p (Holm)", "gap it would find")
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        f'<tr><td class="key">{escape(s.name)}</td><td>{s.successes} of {s.episodes}</td><td>{s.gap:+.2%}</td>'
        f"<td>{s.p:.2g}{' flagged' if s.flagged else ''}</td>"
        f"<td>{'none' if s.detectable is None else f'{s.detectable:.1%}'}</td></tr>"
        for s in strata
    )
    lead = (
        f"{found['test']}, at {found['alpha']:g}. Bars: {found['interval']}. Dashed: all episodes. Flagged strata are "
        "red. No flag does not show that there is no difference: the last column says which gap would have been found "
        "with 80 % power."
    )
    table = f"<table><tr>{head}</tr>{rows}</table>"
    return f'<section><h2>Success by stratum</h2><p class="lead">{escape(lead)}</p>{picture}{table}</section>'


def _explanation(found: Mapping[str, Any]) -> str:
    """Share of each slot over all decisions, and a picture of each of a few."""
    shares = {row["slot"]: row["share"] for row in found["slots"]}
    pictures = [("All decisions: share of absolute attribution", shares)]
    for number, decision in enumerate(found["decisions"], start=1):
        strongest = max(
            range(len(next(iter(decision.values())))), key=lambda a: sum(abs(v[a]) for v in decision.values())
        )
        values = {slot: value[strongest] for slot, value in decision.items()}
        pictures.append((f"Decision {number}: attribution to action entry {strongest}, signed", values))
    drawn = "".join(f"<h3>{escape(title)}</h3>{bars(values)}" for title, values in pictures)
    gap = found["completeness_gap"]
    lead = (
        f"{found['method']}, {found['steps']} steps, {found['observations']} decisions; completeness gap "
        f"{gap['median']:.1e} in the median, {gap['p99']:.1e} at the 99th percentile; rank correlation with an "
        f"untrained network's attributions {found['sanity_rank_correlation']:.2f} (1 would mean that nothing learned "
        f"shows). {found['not_shown']}"
    )
    return f'<section><h2>What decisions come from</h2><p class="lead">{escape(lead)}</p>{drawn}</section>'


def bars(values: Mapping[str, float]) -> str:
    """Horizontal bars by slot, as SVG."""
    width, left, row = 860, 220, 20
    most = max((abs(value) for value in values.values()), default=0.0) or 1.0
    signed = min(values.values(), default=0.0) < 0
    zero = left + (width - left - 80) / 2 if signed else left
    scale = (width - left - 80) / (2 * most if signed else most)
    rows = []
    for i, (name, value) in enumerate(values.items()):
        y, length = 4 + row * i, abs(value) * scale
        start = zero - length if value < 0 else zero
        rows.append(
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect fill="#1f5fa8" x="{start:.1f}" y="{y + 2}" width="{length:.1f}" height="12"/>'
            f'<text x="{width - 72}" y="{y + 12}">{value:+.3f}</text>'
        )
    height = 8 + row * len(values)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="attribution by slot">{"".join(rows)}</svg>'


def _trail(trail: Mapping[str, Any]) -> str:
    findings = [f"{f['weight']}: {f['where']}: {f['text']}" for f in trail["findings"]]
    signers = ", ".join(f"key {name} ({count} segments)" for name, count in trail["signed_by"].items())
    lead = f"{trail['status']}: {trail['records']} records of run {trail['run_id']}, signed by {signers}; the last has "
    lead += f"seq {trail['head'].get('seq')}, hash {trail['head'].get('hash')}"
    open_ends = f"<h3>What this check does not show</h3>{_items(trail['not_shown'])}"
    return f'<section><h2>Audit trail</h2><p class="lead">{escape(lead)}</p>{_items(findings)}{open_ends}</section>'


def _list(title: str, texts: Iterable[str]) -> str:
    return f"<section><h2>{escape(title)}</h2>{_items(texts)}</section>"


def _items(texts: Iterable[str]) -> str:
    found = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{found}</ul>" if found else ""
