"""Figures of a training, in one style. A figure belongs to no window: a notebook shows it, `savefig` writes it.

Importing this module needs matplotlib; without it, it raises MissingDependency.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robolearn.errors import ConfigError, MissingDependency
from robolearn.files.writing import replace_file

try:
    from matplotlib import style
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError:
    raise MissingDependency("Figures need matplotlib: pip install 'robolearn[train]'.") from None

if TYPE_CHECKING:
    from robolearn.learn.evaluation import Evaluation, Rate

_ENDINGS = (".png", ".svg", ".pdf")
INK, BLUE, GREEN, ORANGE, RED = "#2b2f36", "#2f6db3", "#2e8b57", "#d98324", "#c0392b"
STYLE = "robolearn.show.plots"  # plots.mplstyle beside this file


class Picture(Figure):
    """A figure that a notebook shows even where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=100)
        return data.getvalue()

    def write(self, path: str | Path) -> Path:
        """Write the figure, of the kind that the path ends in; the path. Raises ConfigError where it cannot."""
        path, data = Path(path), io.BytesIO()
        if path.suffix.lower() not in _ENDINGS:
            raise ConfigError(f"Cannot write '{path}': a picture's name ends in {', '.join(_ENDINGS)}.")
        self.savefig(data, format=path.suffix[1:].lower(), dpi=150)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return replace_file(path, data.getvalue())
        except OSError as error:
            raise ConfigError(f"Cannot write '{path}': {error.strerror}.") from None


def figure(columns: int = 1, width: float = 4.6, height: float = 2.9) -> tuple[Picture, list[Axes]]:
    """An empty figure of so many axes side by side, each width by height inches."""
    with style.context(STYLE):
        made = Picture(figsize=(width * columns, height), layout="constrained")
        axes = [made.add_subplot(1, columns, i + 1) for i in range(columns)]
    return made, axes


UNITS = ("kg", "m", "ms", "rad")  # that may stand in the name of a stratum
STRATA_SHOWN = 12  # the lowest; a figure of all would say less


def evaluation_figure(evaluation: Evaluation) -> Picture:
    """Success with its 95 % interval in the strata where it is lowest, and the distribution of time to success."""
    shown, whole = evaluation.lowest(STRATA_SHOWN), evaluation.success
    with style.context(STYLE):
        made = Picture(figsize=(11.0, 1.5 + 0.27 * max(len(shown), 7)), layout="constrained")
        left, right = made.subplots(1, 2, width_ratios=(1.3, 1.0))
        _strata(left, shown, whole, len(evaluation.strata))
        _times(right, evaluation)
        made.suptitle(
            f"{evaluation.task}   success {whole.rate:.1%} of {whole.episodes:,} fresh episodes "
            f"(95 % interval {whole.low:.1%} to {whole.high:.1%}), seed {evaluation.seed}",
            x=0.01, ha="left", fontsize=10, color=INK,
        )  # fmt: skip
    return made


def _strata(axes: Axes, shown: Sequence[Rate], whole: Rate, number: int) -> None:
    """One line for each stratum, worst on top, beside the rate of all episodes."""
    title = f"lowest success rates: {len(shown)} of {number} strata" if shown else "success by stratum"
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.axvspan(whole.low, whole.high, color=GREEN, alpha=0.15, linewidth=0)
    axes.axvline(whole.rate, color=GREEN, linewidth=1.2)
    beside = axes.get_yaxis_transform()
    for row, rate in enumerate(shown):
        colour = _stratum_colour(row, rate)
        axes.plot([rate.low, rate.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(rate.rate, row, "o", color=colour, markersize=5, clip_on=False)
        count = f"{rate.successes:,} of {rate.episodes:,}"
        axes.text(1.03, row, count, transform=beside, va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(shown)), [_readable(rate.name) for rate in shown])
    for row, (label, rate) in enumerate(zip(axes.get_yticklabels(), shown, strict=True)):
        if _stratum_colour(row, rate) == RED:
            label.set(color=RED, fontweight="bold")
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    lowest = min(rate.low for rate in (whole, *shown))
    axes.set_xlim(max(0.0, lowest - 0.1 * (1.0 - lowest) - 0.002), 1.0)
    digits = 0 if lowest < 0.92 else 1
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.{digits}%}")
    axes.set_xlabel("success rate, 95 % interval; green: all episodes")
    if not shown:
        text = "no strata: too few episodes, or no variation between them"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=INK)


def _stratum_colour(row: int, rate: Rate) -> str:
    """Red for the worst, unless even that one has no failure."""
    return RED if row == 0 and rate.rate < 1.0 else BLUE


def _times(axes: Axes, evaluation: Evaluation) -> None:
    """How many successes took how long, with median and 95th percentile."""
    axes.set_title("time to success", loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel("s until the goal had been held")
    axes.set_ylabel("episodes")
    axes.grid(axis="x", visible=False)
    if not evaluation.times_s or evaluation.time_to_success_s is None:
        axes.text(0.5, 0.5, "no success", transform=axes.transAxes, ha="center", color=INK)
        return
    times = np.asarray(evaluation.times_s)
    counts, *_ = axes.hist(times, bins=min(30, max(5, round(len(times) ** 0.5))), color=BLUE, alpha=0.85)
    for name, style in (("median", "-"), ("p95", "--")):
        value = evaluation.time_to_success_s[name]
        text = {"median": "median", "p95": "95th percentile"}[name]
        axes.axvline(value, color=ORANGE, linestyle=style, label=f"{text} {value:.2f} s")
    axes.set_xlim(left=0.0)
    axes.set_ylim(top=1.25 * np.max(counts))  # room for the legend
    axes.legend(loc="upper left", fontsize=8, frameon=True, framealpha=1.0, edgecolor="none")


def _readable(name: str) -> str:
    """`goal_position.x m 0.1..0.3` as `goal position x  0.1 to 0.3 m`."""
    *what, span = name.split(" ")
    unit = what.pop() if what[-1] in UNITS else ""
    quantity = " ".join(what).replace("_", " ").replace(".", " ")
    return f"{quantity}  {span.replace('..', ' to ')} {unit}".rstrip()


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
