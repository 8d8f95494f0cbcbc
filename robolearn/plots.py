"""Figures of a training, in one style. A figure belongs to no window: a notebook shows it, `savefig` writes it.

Importing this module needs matplotlib; without it, it raises MissingDependency.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from robolearn.errors import MissingDependency

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise MissingDependency("Figures need matplotlib: pip install 'robolearn[train]'.") from None

INK, BLUE, GREEN, ORANGE, RED = "#2b2f36", "#2f6db3", "#2e8b57", "#d98324", "#c0392b"
_STYLE: Any = {
    "axes.edgecolor": "#9aa0a8",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#e3e6ea",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "xtick.color": INK,
    "ytick.color": INK,
}


class Picture(Figure):
    """A figure that a notebook shows even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=100)
        return data.getvalue()


def figure(columns: int = 1, width: float = 4.6, height: float = 2.9) -> tuple[Picture, list[Axes]]:
    """An empty figure of so many axes side by side, each width by height inches."""
    with mpl.rc_context(_STYLE):
        made = Picture(figsize=(width * columns, height), layout="constrained")
        axes = [made.add_subplot(1, columns, i + 1) for i in range(columns)]
    return made, axes


def training_figure(rows: Sequence[dict[str, Any]], title: str = "") -> Picture:
    """Success and return of finished episodes against control steps. rows: one dict of metrics per iteration."""
    made, (success, returns) = figure(2)
    for axes, key, colour, name in (
        (success, "success", GREEN, "success rate of training episodes"),
        (returns, "episode_return", BLUE, "return of training episodes"),
    ):
        points = [(row["steps"] / 1e6, row[key]) for row in rows if row.get(key) is not None]
        axes.plot(*zip(*points, strict=True), color=colour) if points else axes.plot([], [])
        axes.set_title(name, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.set_xlabel("million control steps")
        axes.set_xlim(left=0)
    success.set_ylim(-0.02, 1.02)
    success.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if rows:
        last = rows[-1]
        when = f"{last['steps']:,} steps in {last.get('time/wall_s', 0.0):.0f} s"
        made.suptitle(f"{title}   {when}".strip(), x=0.01, ha="left", fontsize=10, color=INK)
    return made
