"""What training and evaluation look like on a terminal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from robolearn.env.naming import short_name
from robolearn.learn import folder
from robolearn.learn.evaluation import Evaluation
from robolearn.learn.robustness import Robustness
from robolearn.learn.train_config import TrainConfig

if TYPE_CHECKING:
    from robolearn.learn.run import Run

LOWEST = 4  # strata in the table
PLAIN_EVERY_S = 30.0  # a log file has no moving bar: one line this often


class _Bar:
    """Shows its progress bar while it is entered."""

    _bar: Progress

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class TrainingBar(_Bar):
    """A progress bar with the rate, success so far and the time left. Use as `with TrainingBar(..) as progress`."""

    def __init__(self, console: Console, config: TrainConfig):
        self._console, self._config = console, config
        self._said_s = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[success]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(
            short_name(config.task), total=config.iterations * config.steps_per_iteration, rate="", success=""
        )

    def stage(self, text: str) -> None:
        """What is being done before the first iteration."""
        self._bar.update(self._task, rate=text)

    def row(self, row: dict[str, Any]) -> None:
        """One iteration's metrics."""
        fields: dict[str, Any] = {"rate": f"{row['time/steps_per_s']:>8,.0f} steps/s"}
        if "success" in row:
            fields["success"] = f"success {row['success']:5.1%}"
        self._bar.update(self._task, completed=row["steps"], **fields)
        if not self._console.is_terminal and time.monotonic() > self._said_s + PLAIN_EVERY_S:
            self._said_s = time.monotonic()
            said = (f"{row['steps']:,} steps", fields["rate"].strip(), fields.get("success"))
            self._console.print(", ".join(filter(None, said)))

    def warn(self, text: str) -> None:
        """Something the user should know, above the bar."""
        self._bar.console.print(f"[yellow]{text}[/]")


class EvaluationBar(_Bar):
    """A progress bar of an evaluation or a video, with rate and time left; gone at the end. A `Progress` to call."""

    def __init__(self, console: Console):
        self._console, self._said_s, self._stage_s = console, time.monotonic(), time.monotonic()
        self._what, self._first = "", 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=None, rate="")

    def __call__(self, what: str, done: int, total: int) -> None:
        """So many of what is counted, `steps` or the pictures of a video, are done."""
        now_s = time.monotonic()
        if what != self._what:  # the first of them began before we heard of it, so it counts for no rate
            self._what, self._stage_s, self._first = what, now_s, done
            self._bar.reset(self._task, total=total, description=what, rate="")
        seconds = now_s - self._stage_s
        per_s = (done - self._first) / seconds if seconds > 0 else 0.0
        rate = f"{per_s:>8,.{0 if per_s >= 10 else 1}f} /s" if per_s else ""
        self._bar.update(self._task, completed=done, rate=rate)
        if not self._console.is_terminal and now_s > self._said_s + PLAIN_EVERY_S:
            self._said_s = now_s
            self._console.print(", ".join(filter(None, (f"{what}: {done:,} of {total:,}", rate.strip()))))


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a clean end after the iteration that is running; a second one ends at once.

    Yields the function that tells whether one has come. Only the main thread can catch signals.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_table(run: Run) -> Table:
    """Where a run is, how far it came, and what was measured of it."""
    last = run.metrics[-1] if run.metrics else {}
    table = Table(
        title=f"{short_name(run.config.task)}: {run.run_dir}", title_justify="left", show_header=False
    )
    table.add_row(
        "trained", f"{last.get('steps', 0):,} control steps in {last.get('time/wall_s', 0.0):.1f} s"
    )
    table.add_row("outcome", run.outcome or "opened from disk")
    if last.get("success") is not None:
        table.add_row("success while training", f"{last['success']:.1%}, with exploration noise")
    evaluated = folder.read_evaluation(run.run_dir)
    if evaluated.get("iteration") == run.iteration:
        rate = evaluated["success"]
        text = f"{rate['rate']:.1%} of {rate['episodes']:,} (95 % interval {rate['low']:.1%} to {rate['high']:.1%})"
        table.add_row("success on fresh episodes", text)
    return table


def evaluation_table(evaluation: Evaluation) -> Table:
    """Success with its interval, times, peaks, limit hits and the worst strata."""
    success = evaluation.success
    table = Table(
        title=f"{evaluation.task}: {success.rate:.1%} of {success.episodes:,} episodes "
        f"(95 % interval {success.low:.1%} to {success.high:.1%})",
        title_justify="left",
        show_header=False,
    )
    if evaluation.time_to_success_s:
        times = evaluation.time_to_success_s
        table.add_row(
            "time to success", f"median {times['median']:.2f} s, 95th percentile {times['p95']:.2f} s"
        )
    table.add_row(
        "ended early", f"{evaluation.terminated} (of these, physics failed: {evaluation.physics_failures})"
    )
    for name, values in evaluation.peaks.items():
        table.add_row(
            name.replace("_", " "), ", ".join(f"{kind} {value:.3g}" for kind, value in values.items())
        )
    for name, count in evaluation.limit_hits.items():
        table.add_row(name.replace("_", " "), f"{count} control periods")
    if evaluation.strata and success.rate == 1.0:
        table.add_row("worst stratum", f"none: 100.0% in each of {len(evaluation.strata)} strata")
    for i, rate in enumerate(evaluation.lowest(LOWEST)):
        if rate.rate < 1.0:
            label = ("worst stratum", f"next of {len(evaluation.strata)} strata")[i] if i < 2 else ""
            table.add_row(label, f"{rate.name}: {rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%})")
    return table


def robustness_table(found: Robustness) -> Table:
    """Success as trained and under each shift, of the policy and of the expert, over the same episodes."""
    table = Table(title=f"{found.task}: success beyond the trained ranges", title_justify="left")
    for heading in ("shift", "policy (95 % interval)", "expert", "policy - expert (95 % interval)"):
        table.add_column(heading)
    for row in found.rows:
        own, expert, gap = row.policy, row.expert, row.difference
        table.add_row(
            row.text,
            f"{own.rate:.1%} ({own.low:.1%} to {own.high:.1%})",
            "none" if expert is None else f"{expert.rate:.1%} ({expert.low:.1%} to {expert.high:.1%})",
            "" if gap is None else f"{gap.difference:+.1%} ({gap.low:+.1%} to {gap.high:+.1%})",
        )
    return table
