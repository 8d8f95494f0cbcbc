"""Sweeps as a picture for the dossier's page: success with its interval, and the region in which a threshold holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robolearn.config import first_fault
from robolearn.errors import DataError
from robolearn.learn.sweep import region_text

CSS = (
    "svg .region { fill: #dcefe3; } svg .asked { stroke: #9a6400; stroke-dasharray: 3 3; } "
    "svg polyline { fill: none; stroke: #1f5fa8; stroke-width: 1.3; }"
)
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 420, 170, 46, 12, 34


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Success(_Open):
    episodes: int = Field(gt=0)
    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class _Point(_Open):
    amount: float
    success: _Success
    holds: bool | None


class _Swept(_Open):
    name: str = Field(max_length=200)
    title: str = Field(max_length=200)
    unit: str = Field(max_length=20)
    points: list[_Point] = Field(min_length=1, max_length=100)
    holds_to: float | None
    ends: float | None


class SweepData(_Open):
    """What is read of sweep.json."""

    task: str
    seed: int
    episodes: int = Field(gt=0)
    threshold: float | None = Field(ge=0, le=1)
    stated: str
    sweeps: list[_Swept] = Field(max_length=100)
    not_played: list[str] = []


def read_sweep(data: Mapping[str, Any]) -> SweepData:
    """Validated: the file is untrusted. Raises DataError."""
    try:
        return SweepData.model_validate(data)
    except ValidationError as error:
        place, fault = first_fault(error)
        raise DataError(f"sweep.json: {place}: {fault}.") from None


def sweep_items(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The region of each sweep, for a point of Annex IV; none where nothing was swept."""
    if not data:
        return []
    found = read_sweep(data)
    head = f"{found.episodes:,} episodes each, seed {found.seed}, each alone, in simulation"
    regions = [(one.title, region_text(one, found.threshold)) for one in found.sweeps]
    return [("beyond the trained ranges", head), *regions]


def sweep_section(data: Mapping[str, Any]) -> str:
    """The section of the page."""
    found = read_sweep(data)
    asked = (
        "No threshold was stated"
        if found.threshold is None
        else f"Threshold {found.threshold:.1%} ({found.stated})"
    )
    lead = (
        f"{asked}, of the lower end of the 95 % interval of success over {found.episodes:,} episodes, seed "
        f"{found.seed}. One quantity is varied at a time, from the trained range outwards; the region in which the "
        "threshold holds is shaded and ends before the first amount that does not hold. Combinations "
        "were not evaluated, and nothing is known beyond the last point. In simulation."
    )
    left_out = (
        f'<p class="note">Not part of this task: {escape(", ".join(found.not_played))}.</p>'
        if found.not_played
        else ""
    )
    charts = "".join(
        f'<figure style="display:inline-block;margin:6px 10px 6px 0;width:{_WIDTH}px"><figcaption>'
        f"<b>{escape(one.title)}</b><br>{escape(region_text(one, found.threshold))}</figcaption>"
        f"{_chart(one, found.threshold)}</figure>"
        for one in found.sweeps
    )
    return f'<section><h2>Robustness</h2><p class="lead">{escape(lead)}</p>{charts}{left_out}</section>'


def _chart(one: _Swept, threshold: float | None) -> str:
    """One sweep; amounts at even distances, since they grow by multiples."""
    points, count = one.points, max(1, len(one.points) - 1)

    def x(i: float) -> float:
        return _LEFT + 14 + i / count * (_WIDTH - _LEFT - 40)

    def y(rate: float) -> float:
        return _TOP + (1 - rate) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    if one.holds_to is not None:
        last = max(i for i, point in enumerate(points) if point.amount == one.holds_to)
        size = f'width="{x(last) + 7 - _LEFT:.1f}" height="{y(0) - _TOP:.1f}"'
        parts.append(f'<rect class="region" x="{_LEFT}" y="{_TOP}" {size}/>')
    for rate in (0.0, 0.5, 1.0):
        parts.append(f'<text x="{_LEFT - 6}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:.0%}</text>')
    if threshold is not None:
        parts.append(f'<path class="asked" d="M{_LEFT} {y(threshold):.1f} H{_WIDTH - 12}"/>')
    parts.append(f'<polyline points="{_line(points, x, y)}"/>')
    for i, point in enumerate(points):
        s, tone = point.success, "bad" if point.holds is False else ""
        label = "trained" if i == 0 else f"{point.amount:g}{' x' if one.unit == 'x' else ''}"
        parts.append(
            f'<path class="ci" d="M{x(i):.1f} {y(s.low):.1f} V{y(s.high):.1f}"/>'
            f'<circle class="{tone}" cx="{x(i):.1f}" cy="{y(s.rate):.1f}" r="3.6"/>'
            f'<text x="{x(i):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{label}</text>'
        )
    unit = {"x": "times the trained range", "": "share"}.get(one.unit, one.unit)
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(unit)}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="success over {escape(one.title)}">'
        f"{''.join(parts)}</svg>"
    )


def _line(points: Sequence[_Point], x: Any, y: Any) -> str:
    return " ".join(f"{x(i):.1f},{y(point.success.rate):.1f}" for i, point in enumerate(points))
