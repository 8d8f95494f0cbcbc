"""`robolearn demo`: the whole path once. Train, evaluate, export, serve over ROS 2, disturb, review."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from robolearn.deploy.exercise import Event, exercise
from robolearn.deploy.serving import Serving, free_domain, require_ros
from robolearn.errors import RobolearnError
from robolearn.files.writing import replace_file
from robolearn.policy.bundle import PolicyBundle
from robolearn.review.review import Review, review_log

TASK = "fr3/reach"
SUMMARY = "summary.json"
RATE_HZ = 250.0  # leaves the monitor time for its longest checks on two cores that also simulate the arm


@dataclass
class DemoSummary:
    """What each stage brought, for the last screen and for summary.json."""

    run: Path
    seconds: dict[str, float] = field(default_factory=dict)
    success: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    bundle: Path = Path()
    digest: str = ""
    driven: dict[str, Any] = field(default_factory=dict)
    review: Review | None = None
    video: Path | None = None

    @property
    def passed(self) -> bool:
        """Every goal reached, every fault ended in a latched stop, the log intact and its replay in agreement."""
        return bool(self.driven.get("passed")) and self.review is not None and self.review.passed

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "steps": self.steps,
            "success": self.success,
            "bundle": str(self.bundle),
            "bundle_digest": self.digest,
            "driven": self.driven,
            "review": None if self.review is None else self.review.to_json(),
        }

    def __rich__(self) -> Table:
        goals = self.driven.get("goals", [])
        reached = [goal for goal in goals if goal["reached"]]
        rows = [
            ("Training", f"{self.steps:,} control steps in {self.seconds['train']:.0f} s"),
            ("Success", _success(self.success)),
            ("Bundle", f"{self.bundle} (digest {self.digest[:12]}, signed)"),
            ("Goals over ROS 2", f"{len(reached)} of {len(goals)} reached{_mean_time(reached)}"),
        ]
        rows += [(f"Fault: {fault['name']}", _fault(fault)) for fault in self.driven.get("faults", [])]
        unexpected = self.driven.get("unexpected_stops", [])
        rows += [("Unexpected stop", _stop(stop)) for stop in unexpected]
        if "error" in self.driven:
            rows.append(("Error", f"[red]{self.driven['error']}[/]"))
        if self.review is not None:
            rows.append(("Log", self.review.verdict.summary))
            replayed = self.review.replayed
            rows.append(("Replay", replayed.summary if replayed is not None else "not made"))
            rows.append(("Report", f"{self.review.report} (open it in a browser)"))
        if self.video is not None:
            rows.append(("Video", str(self.video)))
        rows.append(("Time", "  ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())))
        verdict = "[green]passed[/]" if self.passed else "[red]FAILED[/]"
        table = Table(title=f"robolearn demo: {verdict}", title_justify="left", box=None, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table


def run_demo(
    run: Path, *, seed: int, goals: int, episodes: int, total_steps: int | None, console: Console
) -> DemoSummary:
    """The demo in a folder of its own. An interrupted training is continued; a finished demo is kept beside."""
    require_ros()
    from robolearn.learn.train_config import train_config
    from robolearn.learn.trainer import train
    from robolearn.show.console import TrainingBar, stop_on_signals
    from robolearn.show.results import Run

    _keep_finished(run, console)
    overrides = [f"seed={seed}"] + ([] if total_steps is None else [f"total_steps={total_steps}"])
    config = train_config(TASK, None, overrides)
    summary = DemoSummary(run)
    console.print(f"[bold]1/5 Train[/] {TASK} with PPO, {config.num_envs} simulated arms at a time")
    with _timed(summary, "train"), stop_on_signals() as stop, TrainingBar(console, config) as bar:
        trained = Run.of(train(config, run / "train", resume=True, progress=bar, stop=stop))
    if trained.outcome == "stopped":
        raise RobolearnError("Stopped during training. To continue: robolearn demo")
    summary.steps = trained.metrics[-1]["steps"]

    console.print(f"[bold]2/5 Evaluate[/] {episodes:,} fresh episodes")
    with _timed(summary, "evaluate"), console.status("Playing episodes ..."):
        summary.success = trained.evaluate(episodes=episodes).to_json()["success"]
    console.print(f"    success {_success(summary.success)}")

    console.print("[bold]3/5 Export[/] observation, network and action scaling as one signed file")
    with _timed(summary, "export"), console.status("Exporting, and comparing with JAX on 1,000 inputs ..."):
        summary.bundle = run / "fr3-reach.robolearn"
        bundle = trained.export(summary.bundle)
        summary.digest = bundle.digest
        points = _draw_goals(trained.env.task, goals, seed)
    console.print(f"    {summary.bundle}, digest {bundle.digest[:12]}")

    console.print("[bold]4/5 Serve[/] sim_node, policy_node and safety_node, three ROS 2 processes")
    with _timed(summary, "serve"):
        summary.driven = _drive(run, summary.bundle, points, console)

    console.print("[bold]5/5 Review[/] verify the log, replay it, write the report")
    with _timed(summary, "review"), _cycles(console) as progress:
        summary.review = review_log(run / "safety", run / "report.html", progress=progress)
    replace_file(run / SUMMARY, json.dumps(summary.to_json(), indent=2) + "\n")
    console.print()
    console.print(summary)
    return summary


def _drive(run: Path, bundle: Path, goals: list[list[float]], console: Console) -> dict[str, Any]:
    """Serve the bundle on a simulated arm; goals, then faults."""
    PolicyBundle.load(bundle)  # a damaged file is better refused here than by a node
    with (
        Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn(),
            console=console, transient=True,
        ) as bar,
        Serving(run / "nodes", robot="fr3", rate_hz=RATE_HZ, domain_id=_domain()) as serving,
    ):  # fmt: skip
        task = bar.add_task("Starting the nodes", total=len(goals) + 4)

        def show(event: Event) -> None:
            line = _line(event)
            if line:
                bar.console.print(f"    {line}")
            if event["event"] in ("started", "goal", "recovered"):
                bar.update(task, description="Driving the arm", advance=float(event["event"] != "started"))

        serving.start_sim(person_sensor=False)
        serving.start_safety(log_dir=run / "safety", deployment_id="robolearn demo")
        serving.start_policy(bundle)
        return exercise(serving, goals, on_event=show)


def _line(event: Event) -> str:
    """One line about something that happened."""
    kind = event["event"]
    if kind == "goal":
        mark = "reached" if event["reached"] else "[red]not reached[/]"
        return f"goal {event['index']:>2} of {event['count']}: {mark} in {event['seconds']:.1f} s"
    if kind == "fault":
        return f"[yellow]fault[/]: {event['what']}"
    if kind == "recovered":
        return _fault(event)
    if kind == "unexpected_stop":
        return f"[red]unexpected stop[/] {_stop(event)}"
    if kind == "error":
        return f"[red]error[/]: {event['text']}"
    return ""


def _stop(stop: dict[str, Any]) -> str:
    return f"by rule '{stop['rule']}': {stop['text']}"


def _fault(fault: dict[str, Any]) -> str:
    latched = "latched" if fault["latched"] else "[red]not latched[/]"
    again = "goal reached again" if fault["again"]["reached"] else "[red]no goal reached afterwards[/]"
    return (
        f"stop by rule '{fault['rule']}' after {1000 * fault['stop_after_s']:.0f} ms, standstill "
        f"{1000 * fault['standstill_after_stop_s']:.0f} ms later, {latched}; after reset and start {again}"
    )


def _draw_goals(task: Any, count: int, seed: int) -> list[list[float]]:
    """Goals [3] m from the task's own distribution."""
    import jax
    import numpy as np

    keys = jax.random.split(jax.random.key(seed + 1), count)
    return np.asarray(jax.vmap(task.draw_goal)(keys), float).round(4).tolist()


def _success(rate: dict[str, Any]) -> str:
    return (
        f"{rate['rate']:.1%} of {rate['episodes']:,} episodes (95 % Wilson interval {rate['low']:.1%} to "
        f"{rate['high']:.1%}); TCP within 2 cm for the last 0.5 s"
    )


def _mean_time(reached: list[dict[str, Any]]) -> str:
    return f", {sum(goal['seconds'] for goal in reached) / len(reached):.1f} s on average" if reached else ""


def _domain() -> int | None:
    """A ROS 2 domain of the demo's own, so that it meets no other robot; the user's, if one is set."""
    return None if "ROS_DOMAIN_ID" in os.environ else free_domain()


def _keep_finished(run: Path, console: Console) -> None:
    """Move a demo that served before out of the way; a training that was interrupted stays, to be continued."""
    if not (run / "safety").exists() and not (run / SUMMARY).exists():
        return
    kept = run.with_name(f"{run.name}-{datetime.now():%Y%m%d-%H%M%S}")
    run.rename(kept)
    console.print(f"The previous demo in {run} was moved to {kept}.")


@contextmanager
def _timed(summary: DemoSummary, stage: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        summary.seconds[stage] = time.monotonic() - started


@contextmanager
def _cycles(console: Console) -> Iterator[Any]:
    """A progress bar over the log's cycles."""
    with Progress(
        TextColumn("    Replaying"), BarColumn(bar_width=30), TextColumn("{task.completed:,} cycles"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
