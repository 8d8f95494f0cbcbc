"""`robolearn train`: find the config, train or resume with a progress bar, say how to go on, export the policy."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from robolearn.env.naming import split_task
from robolearn.env.task import load_task
from robolearn.env.vec_env import make
from robolearn.errors import BundleError, TaskError
from robolearn.learn import folder
from robolearn.learn.distributed import connect, is_first
from robolearn.learn.evaluate import evaluate_expert
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.learn.trainer import train
from robolearn.policy.bundle import PolicyBundle
from robolearn.robots import is_robot_path
from robolearn.show.console import TrainingBar, stop_on_signals
from robolearn.show.results import Run

EXPERT_EPISODES = 256
LOW = 0.5  # success below which a run is not what anybody wants
BELOW_EXPERT = 0.1  # how far a policy may stay behind the expert
COLLAPSE = 0.2  # success that a training had and lost
_EXPERT_FAILS = (
    "the task's own expert reaches few of its goals on this arm, so a policy cannot learn much. Likely causes: drives "
    "too soft or torque limits too low (servo, limits.torque_nm), reach_m larger than the arm's, position limits or "
    "home_rad that keep it from the goals. See `robolearn robots check`."
)


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
    load_task(resolved.task, resolved.env)  # a wrong name is refused before a progress bar is shown
    target = run_dir or resolved.default_folder
    if resolved.distributed:
        connect()
        console = console if is_first() else Console(quiet=True)
    share = None
    if folder.is_run(target):
        console.print(f"Continuing the run in {target}.")
    elif is_robot_path(split_task(resolved.task)[0]) and not resolved.distributed:
        share = _expert_share(resolved, console)
    with stop_on_signals() as stop, TrainingBar(console, resolved) as progress:
        run = Run.of(train(resolved, target, resume=True, progress=progress, stop=stop))
    last = run.metrics[-1]
    rate = last.get("success")
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
        rate = folder.read_evaluation(run.run_dir).get("success", {}).get("rate", rate)
    if run.outcome != "stopped" and rate is not None:
        history = _after_imitation(run)
        for line in low_success(float(rate), share, history):
            console.print(f"WARNING: {line}", style="bold red", markup=False, soft_wrap=True)
    return run


def _expert_share(config: TrainConfig, console: Console) -> float | None:
    """Print and return the share of goals that the task's expert reaches on an arm of the user's own."""
    try:
        with console.status("Trying the task's expert on this arm ..."):
            env = make(config.task, EXPERT_EPISODES, config.engine, config.env)
            share = evaluate_expert(env, EXPERT_EPISODES, seed=config.seed).success.rate
    except TaskError:  # it has none, or the arm is not for it, which training says
        return None
    console.print(f"The task's expert reaches {share:.0%} of {EXPERT_EPISODES} goals on this arm.")
    if share < LOW:
        console.print(f"WARNING: {_EXPERT_FAILS}", style="bold red", markup=False, soft_wrap=True)
    return share


def _after_imitation(run: Run) -> list[float]:
    """Success by iteration where the policy acted by itself: before that, the expert acted in part."""
    first = run.config.imitation_fraction * run.config.iterations
    return [r["success"] for r in run.metrics if r["iteration"] >= first and r.get("success") is not None]


def low_success(rate: float, share: float | None, history: list[float]) -> list[str]:
    """What is likely wrong with a run that ended at this success rate, one sentence each; none where it is well.

    share: of goals that the expert reaches, where it was tried. history: success of the training, by iteration.
    """
    expected = max(LOW, (share or 0.0) - BELOW_EXPERT)
    if rate >= expected:
        return []
    best = max(history, default=rate)
    found = [
        f"the policy reaches only {rate:.0%} of its goals."
        + ("" if share is None else f" The expert: {share:.0%}.")
    ]
    if share is not None and share < LOW:
        found.append(_EXPERT_FAILS)
    if best > rate + COLLAPSE:
        found.append(
            f"it had reached {best:.0%} and lost it: lower ppo.learning_rate, or choose another seed."
        )
    elif share is None or share >= LOW:
        found.append(
            "it has not learned enough yet: continue it with a larger total_steps, or try another seed."
        )
    return found


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
