"""`robolearn train`: find the config, train or resume with a progress bar, say how to go on, export the policy."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from robolearn.errors import BundleError
from robolearn.learn import folder
from robolearn.learn.distributed import connect, is_first
from robolearn.learn.train_config import train_config
from robolearn.learn.trainer import train
from robolearn.policy.bundle import PolicyBundle
from robolearn.show.console import TrainingBar, stop_on_signals
from robolearn.show.results import Run


def train_command(
    task: str,
    config: str | Path | None,
    overrides: Iterable[str],
    run_dir: Path | None,
    console: Console,
    *,
    bundle: bool = True,
) -> Run:
    """Train, or continue what is in run_dir; print where things are and how to go on.

    bundle: when the run is complete, also evaluate the policy and export it into the run folder.
    """
    resolved = train_config(task, config, overrides)
    target = run_dir or resolved.default_folder
    if resolved.distributed:
        connect()
        console = console if is_first() else Console(quiet=True)
    if folder.is_run(target):
        console.print(f"Continuing the run in {target}.")
    with stop_on_signals() as stop, TrainingBar(console, resolved) as progress:
        run = Run.of(train(resolved, target, resume=True, progress=progress, stop=stop))
    last = run.metrics[-1]
    how = (run.outcome or "").capitalize()
    console.print(f"{how} after {last['steps']:,} steps in {last['time/wall_s']:.1f} s. Run folder: {target}")
    if run.outcome == "stopped":
        console.print(f"Continue with: {run.resume_command}", soft_wrap=True)
    elif (
        bundle and resolved.distributed
    ):  # the other processes have ended: nothing waits for them to end together
        console.print(f"Make its bundle with: {_export_command(run)}", soft_wrap=True)
    elif bundle:
        _make_bundle(run, console)
    return run


def _make_bundle(run: Run, console: Console) -> None:
    """Evaluate and export the policy of a complete run. Whatever happens here, the run is kept and was a success."""
    try:
        with _sigterm_interrupts(), console.status("Evaluating and exporting the policy ..."):
            if not _has_bundle(run):
                run.export()
    except KeyboardInterrupt:
        console.print(f"No bundle yet. Make it with: {_export_command(run)}", soft_wrap=True)
        return
    except Exception as error:  # of the exporter, of the engine, of the disk: none may undo the training
        why = " ".join(str(error).split()).rstrip(".")
        console.print(f"No bundle: {why}. Make it with: {_export_command(run)}", markup=False, soft_wrap=True)
        return
    rate = folder.read_evaluation(run.run_dir)["success"]
    console.print(
        f"Bundle: {run.bundle_path}, success {rate['rate']:.1%} of {rate['episodes']:,} fresh episodes "
        f"(95 % interval {rate['low']:.1%} to {rate['high']:.1%}).",
        soft_wrap=True,
    )


def _has_bundle(run: Run) -> bool:
    """Whether the run folder has a bundle of this very policy."""
    if not run.bundle_path.is_file():
        return False
    try:
        return PolicyBundle.load(run.bundle_path).manifest.evaluation.get("iteration") == run.iteration
    except BundleError:
        return False


def _export_command(run: Run) -> str:
    return shlex.join(["robolearn", "export", str(run.run_dir)])


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM as Ctrl-C: the training is on disk, so there is nothing to finish."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
