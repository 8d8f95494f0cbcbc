"""`robolearn train`: find the config, train or resume with a progress bar, say how to go on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from robolearn.config import apply_overrides, build, config_dir, config_path, read_yaml
from robolearn.learn import folder
from robolearn.learn.config import TrainConfig
from robolearn.learn.console import TrainingBar, stop_on_signals
from robolearn.learn.distributed import connect, is_first
from robolearn.learn.run import Run
from robolearn.learn.trainer import train


def train_config(task: str, config: str | Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The config of a training: a file, else the packaged `train/ROBOT-TASK.yaml` or `train/TASK.yaml`, else the
    defaults; then overrides.
    """
    packaged = [f"train/{name}.yaml" for name in (task.replace("/", "-"), task.rpartition("/")[2])]
    chosen = config or next((name for name in packaged if (config_dir() / name).is_file()), None)
    data = read_yaml(config_path(chosen)) if chosen else {}
    return build(TrainConfig, apply_overrides({**data, "task": task}, overrides), str(chosen or task))


def train_command(
    task: str, config: str | Path | None, overrides: Iterable[str], run_dir: Path | None, console: Console
) -> Run:
    """Train, or continue what is in run_dir; print where things are and how to go on."""
    resolved = train_config(task, config, overrides)
    target = run_dir or Path("runs") / task.replace("/", "-")
    if resolved.distributed:
        connect()
        console = console if is_first() else Console(quiet=True)
    if folder.is_run(target):
        console.print(f"Continuing the run in {target}.")
    with stop_on_signals() as stop, TrainingBar(console, resolved) as progress:
        run = train(resolved, target, resume=True, progress=progress, stop=stop)
    last = run.metrics[-1]
    how = (run.outcome or "").capitalize()
    console.print(f"{how} after {last['steps']:,} steps in {last['time/wall_s']:.1f} s. Run folder: {target}")
    if run.outcome == "stopped":
        console.print(f"Continue with: {run.resume_command}", soft_wrap=True)
    return run
