"""`rl.train`: one call from a task's name to a run, as the command line does it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from robolearn.env.naming import short_name
from robolearn.learn.train_config import train_config
from robolearn.learn.trainer import Progress
from robolearn.learn.trainer import train as train_from_config
from robolearn.show.console import stop_on_signals
from robolearn.show.notebook import LiveCurve, in_notebook
from robolearn.show.results import Run


def train(
    task: str,
    *,
    run_dir: str | Path | None = None,
    config: str | Path | None = None,
    progress: Progress | None = None,
    resume: bool = True,
    **overrides: Any,
) -> Run:
    """Train `robot/task`, or continue the run in run_dir. robot: a name, or the path of a robot file.

    run_dir: default `runs/ROBOT-TASK`. config: YAML of the run, default the task's own if there is one.
    overrides: keys of `TrainConfig`, groups as dicts: `total_steps=200_000, ppo={"discount": 0.97}, env={...}`.
    progress: callback for metrics (default in a notebook: a live plot). Ctrl-C, or the notebook's stop button,
    ends after the current iteration and saves a checkpoint.
    Raises ConfigError, TaskError, CheckpointError.
    """
    resolved = train_config(task, config, changes=overrides)
    curve = LiveCurve(short_name(task)) if progress is None and in_notebook() else None
    with ExitStack() as stack:
        on_main = threading.current_thread() is threading.main_thread()
        stop = stack.enter_context(stop_on_signals()) if on_main else None
        target = run_dir or resolved.default_folder
        run = Run.of(
            train_from_config(resolved, target, resume=resume, progress=progress or curve, stop=stop)
        )
    if curve is not None:
        curve.draw(run.metrics)
    return run
