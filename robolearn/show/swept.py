"""Sweeps the policy that a path leads to, a run folder or a bundle, and writes what was found beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from robolearn.config import merged
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError
from robolearn.learn.audit import record_result, stated_thresholds
from robolearn.learn.evaluate import evaluate
from robolearn.learn.evaluate_bundle import bundle_env, evaluate_bundle
from robolearn.learn.evaluation import Rate
from robolearn.learn.run import EVALUATED_AT_ONCE, open_run
from robolearn.learn.sweep import (
    Play,
    SweepReport,
    amount_text,
    chosen_sweeps,
    region_text,
    sweep,
    write_sweep,
)
from robolearn.policy.bundle import SUFFIX, PolicyBundle

GIVEN = "given by hand"
IN_TRAIL = "success_min, stated before the training"


def sweep_path(
    path: Path,
    episodes: int = 500,
    seed: int = 1_000_000,
    *,
    names: Iterable[str] = (),
    threshold: float | None = None,
    robot: str | None = None,
    output: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[SweepReport, Path]:
    """Play a run's policy or a bundle beyond its trained ranges; what was found, and its file.

    names: of sweeps; all without any. threshold: of the lower end of the 95 % interval; default the one that was stated
    before the training. robot: as for `evaluate_path`. output: another folder than the run's, or the bundle's.
    Raises ConfigError, BundleError, CheckpointError, RobotError, TaskError.
    """
    chosen = chosen_sweeps(names)
    if not 1 <= episodes <= EVALUATED_AT_ONCE:
        raise ConfigError(f"episodes is {episodes}, expected 1 to {EVALUATED_AT_ONCE:,}.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold:g}, expected a share between 0 and 1.")
    of_bundle = path.suffix == SUFFIX or path.is_file()
    if of_bundle:
        bundle = PolicyBundle.load(path)
        play, task = _bundle_player(bundle, episodes, seed, robot)
        head: dict[str, Any] = {"bundle": bundle.manifest.name, "digest": bundle.digest}
        asked, prefix = _asked_of_bundle(bundle), f"{path.stem}-"
    else:
        if robot is not None:
            raise ConfigError(
                "--robot is for a bundle: a run folder knows its robot, see `task` in its config.yaml."
            )
        run = open_run(path)
        play, task = _run_player(run, episodes, seed), run.env.task
        head = {"iteration": run.iteration}
        stated = stated_thresholds(path)[0]
        asked, prefix = None if stated is None else stated.success_min, ""
    used = asked if threshold is None else threshold
    source = "" if used is None else IN_TRAIL if threshold is None else GIVEN
    if progress is not None:
        progress("as trained")
    trained = replace(play({}), name="as trained")
    found = sweep(
        task, play, trained, seed=seed, threshold=used, stated=source, sweeps=chosen, progress=progress
    )
    target = output or (path.parent if of_bundle else path)
    target.mkdir(parents=True, exist_ok=True)
    file = write_sweep(found, head, target, prefix)
    record_result("sweep", file, path.parent if of_bundle else path)
    return found, file


def _run_player(run: Any, episodes: int, seed: int) -> Play:
    config = run.config

    def play(changes: Mapping[str, Any]) -> Rate:
        task = load_task(config.task, merged(config.env, changes))
        return evaluate(VecEnv(task, episodes, config.engine), run.actor(), episodes, seed).success

    return play


def _bundle_player(bundle: PolicyBundle, episodes: int, seed: int, robot: str | None) -> tuple[Play, Any]:
    def play(changes: Mapping[str, Any]) -> Rate:
        env = bundle_env(bundle, episodes, robot=robot, changes=changes)
        return evaluate_bundle(bundle, env, episodes, seed).success

    return play, bundle_env(bundle, 1, robot=robot).task


def _asked_of_bundle(bundle: PolicyBundle) -> float | None:
    """The threshold of success that the export judged the policy by."""
    acceptance = bundle.manifest.evaluation.get("acceptance")
    rows = acceptance.get("rows") if isinstance(acceptance, dict) else None
    for row in rows if isinstance(rows, list | tuple) else ():
        if isinstance(row, dict) and str(row.get("name", "")).startswith("success, lower end"):
            value = row.get("threshold")
            return float(value) if isinstance(value, int | float) else None
    return None


def sweep_table(found: SweepReport) -> Table:
    """Every amount with its interval, and the region in which the threshold holds."""
    asked = "no threshold" if found.threshold is None else f"threshold {found.threshold:.1%}, {found.stated}"
    table = Table(title=f"{found.task}: success beyond the trained ranges ({asked})", title_justify="left")
    for heading in ("changed", "success (95 % interval)", "threshold"):
        table.add_column(heading)
    for one in found.sweeps:
        table.add_row(f"[bold]{one.title}[/bold]", "", region_text(one, found.threshold))
        for number, point in enumerate(one.points):
            rate = point.success
            amount = "as trained" if number == 0 else amount_text(point.amount, one.unit)
            status = "" if point.holds is None else "holds" if point.holds else "does not hold"
            table.add_row(f"  {amount}", f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%})", status)
    return table
