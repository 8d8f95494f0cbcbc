"""Learning curves of several runs: runs that differ in nothing but the seed are one line with a band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robolearn.env.naming import short_name
from robolearn.errors import ConfigError, unknown
from robolearn.learn import folder
from robolearn.learn.trackers import read_metrics
from robolearn.learn.train_config import TrainConfig
from robolearn.show.plots import BLUE, GREEN, INK, ORANGE, RED, STYLE, Picture, style

METRICS = ("success", "episode_return")
COLOURS = (BLUE, ORANGE, GREEN, RED, "#7b5ea7", "#5f6b7a", "#1f9e9e", "#b07aa1")
POINTS = 400  # of the common axis on which a group's runs are compared
_NOT_COMPARED = {
    "seed",
    "wandb",
    "checkpoint_every",
    "checkpoints_kept",
    "time_budget_s",
    "distributed",
    "gates",
}
Over = Literal["steps", "wall"]
_AXES: dict[str, tuple[str, str, float]] = {
    "steps": ("steps", "million control steps", 1e-6),
    "wall": ("time/wall_s", "wall time, s", 1.0),
}


@dataclass(frozen=True)
class Curve:
    """One run. config: flat, `ppo.discount`: value. rows: metrics by iteration."""

    run_dir: Path
    task: str
    seed: int
    config: dict[str, Any]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Group:
    """Runs of one config, seeds aside. label: what sets it apart from the other groups."""

    label: str
    curves: tuple[Curve, ...]


def read_curve(run_dir: Path) -> Curve:
    """A run's curve. Raises ConfigError where there is no run, it has no metrics yet, or they are damaged."""
    config = folder.read_run_config(run_dir)
    path = run_dir / folder.METRICS
    rows = read_metrics(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    if len(rows) < len(lines) - 1:  # a last line may be under way
        raise ConfigError(
            f"{path}, line {len(rows) + 1}, is not JSON: the file is damaged. Restore it from a copy."
        )
    if not rows:
        raise ConfigError(f"'{run_dir}' has no whole line of metrics yet: let its first iteration end.")
    for number, row in enumerate(rows, 1):
        _check_row(f"{path}, line {number}", row)
    return Curve(run_dir, config.task, config.seed, _flat(_compared(config)), rows)


def _check_row(where: str, row: Any) -> None:
    if not isinstance(row, dict):
        raise ConfigError(
            f"{where}, is not an object with metrics: the file is damaged. Restore it from a copy."
        )
    for name, value in row.items():
        if value is not None and not (isinstance(value, int | float) and np.isfinite(value)):
            raise ConfigError(f"{where}: '{name}' is {value!r}, expected a finite number or null.")


def group_curves(curves: Sequence[Curve]) -> list[Group]:
    """Groups in the order of their first run. The label names the folders, and up to three keys that differ."""
    groups: list[list[Curve]] = []
    for curve in curves:
        same = next((g for g in groups if g[0].config == curve.config), None)
        groups.append([curve]) if same is None else same.append(curve)
    keys = sorted({key for group in groups for key in group[0].config})
    differing = [key for key in keys if len({str(group[0].config.get(key)) for group in groups}) > 1]
    return [Group(_label(group, differing), tuple(group)) for group in groups]


def curves_figure(
    curves: Sequence[Curve], metrics: Sequence[str] = METRICS, over: Over = "steps", smooth: int = 1
) -> Picture:
    """One axes for each metric. Of a group with several runs: the median, and a band from the lowest to the highest.

    over: control steps or wall time. smooth: iterations of a running mean. Raises ConfigError for a metric that no
    run has.
    """
    _check(curves, metrics, smooth)
    groups = group_curves(curves)
    _, label, _ = _AXES[over]
    with style.context(STYLE):
        made = Picture(figsize=(4.8 * len(metrics), 3.2 + 0.22 * len(groups)), layout="constrained")
        for column, metric in enumerate(metrics):
            axes = made.add_subplot(1, len(metrics), column + 1)
            for index, group in enumerate(groups):
                _draw(axes, group, metric, over, smooth, COLOURS[index % len(COLOURS)])
            axes.set_title(metric.replace("_", " "), loc="left", fontsize=10, fontweight="bold", color=INK)
            axes.set_xlabel(label)
            axes.set_xlim(left=0)
            if metric == "success":
                axes.set_ylim(-0.02, 1.02)
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        made.legend(*made.axes[0].get_legend_handles_labels(), loc="outside lower left", fontsize=8)
        tasks = ", ".join(dict.fromkeys(short_name(curve.task) for curve in curves))
        several = any(len(group.curves) > 1 for group in groups)
        how = "   line: median of the runs, band: lowest to highest" if several else ""
        made.suptitle(f"{tasks}{how}", x=0.01, ha="left", fontsize=10, color=INK)
    return made


def band(
    curves: Sequence[Curve], metric: str, over: Over, smooth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Axis, median, lowest and highest [P] of a metric over the runs that have it, as far as all of them went."""
    lines = [_line(curve, metric, over, smooth) for curve in curves]
    lines = [(x, y) for x, y in lines if x.size]
    if not lines:
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0)
    if len(lines) == 1:
        x, y = lines[0]
        return x, y, y, y
    axis = np.linspace(max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines), POINTS)
    values = np.stack([np.interp(axis, x, y) for x, y in lines])
    return axis, np.median(values, axis=0), values.min(axis=0), values.max(axis=0)


def _draw(axes: Any, group: Group, metric: str, over: Over, smooth: int, colour: str) -> None:
    axis, middle, low, high = band(group.curves, metric, over, smooth)
    axes.plot(axis, middle, color=colour, label=group.label)
    if len(group.curves) > 1:
        axes.fill_between(axis, low, high, color=colour, alpha=0.18, linewidth=0)


def _line(curve: Curve, metric: str, over: Over, smooth: int) -> tuple[np.ndarray, np.ndarray]:
    key, _, scale = _AXES[over]
    points = [(row[key] * scale, row[metric]) for row in curve.rows if row.get(metric) is not None]
    if not points:
        return np.empty(0), np.empty(0)
    x, y = np.array(points, float).T
    sums = np.cumsum(np.concatenate([[0.0], y]))
    ends = np.arange(1, len(y) + 1)
    begins = np.maximum(ends - smooth, 0)
    return x, (sums[ends] - sums[begins]) / (ends - begins)


def _check(curves: Sequence[Curve], metrics: Sequence[str], smooth: int) -> None:
    if smooth < 1:
        raise ConfigError(f"smooth is {smooth}, but at least 1 iteration is needed.")
    known = sorted({key for curve in curves for row in curve.rows for key in row})
    for metric in metrics:
        if metric not in known:
            raise ConfigError(unknown("metric", metric, known))


def _compared(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in _NOT_COMPARED}


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = (
            _flat(value, f"{before}{key}.")
            if isinstance(value, Mapping) and value
            else {f"{before}{key}": value}
        )
        found |= inner
    return found


def _label(group: Sequence[Curve], differing: Sequence[str]) -> str:
    config = group[0].config
    named = [f"{key}={config[key]}" for key in differing if key in config]
    name = ", ".join(curve.run_dir.name for curve in group[:3]) + (", ..." if len(group) > 3 else "")
    seeds = f" ({len(group)} runs)" if len(group) > 1 else ""
    return name + seeds + (f": {', '.join(named)}" if 0 < len(named) <= 3 else "")
