"""Small drawings of the gap report, as SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CSS = """
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; }
@media (max-width: 900px) {
  .pair { grid-template-columns: 1fr; } body { grid-template-columns: 1fr; } nav { display: none; }
}
.num { white-space: nowrap; }
svg .m { stroke: #1b2430; stroke-width: 2.2; stroke-opacity: .45; }
svg .n { stroke: #d99a1c; } svg .f { stroke: #1f5fa8; }
svg path { fill: none; stroke-width: 1.3; stroke-linejoin: round; }
svg text { font: 11px var(--sans); fill: #5a6675; }
.legend svg path { stroke-width: 2.4; } svg .base { stroke: #c9d1da; } svg rect.acf { fill: #1f5fa8; }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 520, 150, 52, 20, 18


def lines(time_s: Array, series: Sequence[tuple[str, Array]], title: str) -> str:
    """A chart of several series over time, each with its CSS class."""
    values = np.concatenate([values for _, values in series])
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1e-9) * 0.05
    low, high = low - room, high + room

    def x(t: Array) -> Array:
        return _LEFT + (t - time_s[0]) / max(time_s[-1] - time_s[0], 1e-9) * (_WIDTH - _LEFT - 8)

    def y(v: Array) -> Array:
        return _TOP + (high - v) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    step = max(1, len(time_s) // 500)
    paths = []
    for name, data in series:
        points = " L".join(
            f"{a:.1f} {b:.1f}" for a, b in zip(x(time_s[::step]), y(data[::step]), strict=True)
        )
        paths.append(f'<path class="{name}" d="M{points}"/>')
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{float(y(np.array(v))) + 4:.0f}" text-anchor="end">{_tick(v, high - low)}</text>'
        for v in (low + room, (low + high) / 2, high - room)
    )
    ends = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 5}">{time_s[0]:.1f} s</text>'
        f'<text x="{_WIDTH - 8}" y="{_HEIGHT - 5}" text-anchor="end">{time_s[-1]:.1f} s</text>'
    )
    base = f'<path class="base" d="M{_LEFT} {_HEIGHT - _BOTTOM} H{_WIDTH - 8}"/>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">'
        f'<text x="{_LEFT}" y="12" font-weight="600">{title}</text>{base}{ticks}{ends}{"".join(paths)}</svg>'
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """What the colours mean: (text, CSS class)."""
    return (
        '<div class="legend">'
        + "".join(
            f'<span><svg viewBox="0 0 26 8"><path class="{name}" d="M0 4 H26"/></svg>{text}</span>'
            for text, name in entries
        )
        + "</div>"
    )


def bar(share: float, kind: str) -> str:
    """A bar that is full at 1."""
    return f'<div class="bar {kind}"><i style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></i></div>'


def interval(nominal: float | None, estimate: float, low: float, high: float) -> str:
    """Nominal value and estimate with its interval, on a line from the least to the largest of them and 0."""
    values = [0.0, estimate, low, high] + ([] if nominal is None else [nominal])
    least, most = min(values), max(values)
    width = 150

    def x(value: float) -> float:
        return 6 + (value - least) / max(most - least, 1e-300) * (width - 12)

    mark = (
        ""
        if nominal is None
        else f'<rect x="{x(nominal) - 1.5:.1f}" y="3" width="3" height="14" fill="#8a95a3"/>'
    )
    span = max(x(high) - x(low), 2.0)
    return (
        f'<svg viewBox="0 0 {width} 20" width="{width}" height="20" role="img" aria-label="nominal and fitted">'
        f'<path class="base" d="M6 10 H{width - 6}"/>{mark}'
        f'<rect x="{x(low):.1f}" y="7" width="{span:.1f}" height="6" fill="#1f5fa8" fill-opacity=".35"/>'
        f'<circle cx="{x(estimate):.1f}" cy="10" r="3.4" fill="#1f5fa8"/></svg>'
    )


def autocorrelation(values: Sequence[float]) -> str:
    """Bars of an autocorrelation, lag 0 first, between -1 and 1."""
    bars = []
    for k, value in enumerate(values):
        height = min(abs(value), 1.0) * 20
        top = 22 - height if value > 0 else 22
        bars.append(f'<rect class="acf" x="{4 + 7 * k}" y="{top:.1f}" width="5" height="{height:.1f}"/>')
    width = 8 + 7 * len(values)
    return (
        f'<svg viewBox="0 0 {width} 44" width="{width}" height="44" role="img" aria-label="autocorrelation">'
        f'<path class="base" d="M2 22 H{width - 2}"/>{"".join(bars)}</svg>'
    )


def _tick(value: float, span: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(max(span, 1e-9))))
    return f"{value:.{min(digits, 6)}f}"
