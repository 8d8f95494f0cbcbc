"""The training loop: iterate, record, checkpoint, stop cleanly, resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from robolearn.errors import ConfigError
from robolearn.learn import folder
from robolearn.learn.audit import RunAudit
from robolearn.learn.checkpoint import Checkpoints
from robolearn.learn.distributed import data_mesh, envs_per_device, first_state, is_first, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.learner import Env, Policy, TrainState, policy_of
from robolearn.learn.run import Run
from robolearn.learn.selection import Selected, Selection, imitation_ends
from robolearn.learn.stopwatch import Stopwatch
from robolearn.learn.trackers import Tracker, open_trackers
from robolearn.learn.train_config import TrainConfig
from robolearn.sim.compiled import compiled
from robolearn.sim.jax_ready import require_jax

_OVERFLOW = (
    "In iteration {iteration} the engine ran out of room for contacts or rows of constraints: episodes where it did "
    "ended as failed (env/overflow in metrics.jsonl). Give the task more room for this robot (`rooms` of its class) or "
    "use engine=native."
)
_EPISODE_METRICS = ("success", "terminated", "episode_return", "episode_steps")


class Progress(Protocol):
    """Who watches a training; see `console.py` for one on a terminal."""

    def stage(self, text: str) -> None:
        """What is being done before the first iteration."""
        ...

    def row(self, row: dict[str, Any]) -> None:
        """One iteration's metrics."""
        ...

    def warn(self, text: str) -> None:
        """Something the user should know."""
        ...


class Silent:
    """Watches nothing."""

    def stage(self, text: str) -> None:
        """Ignore."""

    def row(self, row: dict[str, Any]) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Ignore."""


class _Loop(NamedTuple):
    """What the loop needs. elapsed_s: wall time of earlier starts of this run."""

    config: TrainConfig
    mesh: Mesh
    step: Callable[[TrainState, jax.Array], tuple[TrainState, dict[str, jax.Array]]]
    checkpoints: Checkpoints
    audit: RunAudit | None
    selection: Selection | None
    trackers: list[Tracker]
    progress: Progress
    stop: Callable[[], bool]
    stopwatch: Stopwatch | None
    started_s: float
    elapsed_s: float

    @property
    def wall_s(self) -> float:
        return self.elapsed_s + time.monotonic() - self.started_s


def train(
    config: TrainConfig,
    run_dir: str | Path,
    *,
    env: Env | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Run:
    """Train until total_steps, the time budget, or stop() is true after an iteration; always leaves a checkpoint.

    env: built from the config unless given; the run then keeps every key of its task's config (`pinned`).
    resume: continue the run in run_dir bit for bit, if there is one; without it, a folder that holds a run is
    refused.
    Run.outcome is `finished`, `time budget` or `stopped`.
    Raises ConfigError for a folder in use or a config that changed, CheckpointError where the disk is full.
    """
    started_s = time.monotonic()
    run_dir, progress = Path(run_dir), progress or Silent()
    require_jax()
    if env is None:
        config = pinned(config)
    if folder.is_run(run_dir):
        if not resume:
            raise ConfigError(f"'{run_dir}' already holds a run. Resume it, or choose another run folder.")
        folder.check_same_run(run_dir, config)
    progress.stage("building the environments")
    mesh = data_mesh()
    built = env is None
    env = env or _make_env(config)
    if env.num_envs != envs_per_device(config):
        raise ConfigError(
            f"env has {env.num_envs} environments, but each device steps {envs_per_device(config)}."
        )
    with ExitStack() as stack:
        if is_first():
            stack.enter_context(folder.locked(run_dir))
            folder.begin(run_dir, config, _sizes(env))
        checkpoints = Checkpoints(run_dir, config.checkpoints_kept, progress.warn)
        stack.callback(checkpoints.close)
        state, elapsed_s, best = _restored(
            config, first_state(config, env, mesh), checkpoints if resume else None
        )
        trackers: list[Tracker] = []
        audit = None
        if is_first():
            begun = RunAudit(run_dir, config, env, int(state.learner.iteration), checkpoints.wait)
            audit = stack.enter_context(begun)
            trackers = _opened(stack, run_dir, config, int(state.learner.iteration), progress)
        progress.stage("compiling")
        stopwatch = Stopwatch() if jax.process_count() > 1 else None
        step = compiled(make_iteration(config, env, mesh, stopwatch).lower(state, per_device(mesh, False)))
        loop = _Loop(
            config,
            mesh,
            step,
            checkpoints,
            audit,
            _selection(config, None if built else env, progress),
            trackers,
            progress,
            stop or _never,
            stopwatch,
            started_s,
            elapsed_s,
        )
        state, outcome, best = _iterate(loop, state, best)
        if audit is not None:
            audit.end(outcome, int(state.learner.iteration))
            folder.end(run_dir, outcome)
    policy = _kept(config, state, best)
    policy = policy._replace(arrays=jax.device_get(policy.arrays))
    selected = None if best is None else best.to_json()
    return Run(run_dir, config, policy, int(state.learner.iteration), outcome, selected)


def _opened(
    stack: ExitStack, run_dir: Path, config: TrainConfig, iteration: int, progress: Progress
) -> list[Tracker]:
    """The trackers of a run, closed with the stack."""
    trackers, missing = open_trackers(run_dir, config, iteration, progress.warn)
    for tracker in trackers:
        stack.callback(tracker.close)
    for text in missing:
        progress.warn(text)
    return trackers


def _iterate(
    loop: _Loop, state: TrainState, best: Selected | None
) -> tuple[TrainState, str, Selected | None]:
    """Iterate to the end; the last state is saved and on disk on return, and with it the policy that is kept."""
    config, outcome, overflow_told = loop.config, "finished", False
    iteration = int(state.learner.iteration)
    while iteration < config.iterations:
        late = config.time_budget_s is not None and loop.wall_s >= config.time_budget_s
        asked = loop.stop()
        begun_s = time.monotonic()
        if loop.stopwatch is not None:
            loop.stopwatch.start()
        state, metrics = loop.step(state, per_device(loop.mesh, late or asked))
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        iteration += 1
        ended = values.pop("stop") > 0
        if values.get("env/overflow", 0.0) > 0 and not overflow_told:
            loop.progress.warn(_OVERFLOW.format(iteration=iteration))
            overflow_told = True
        _record(loop, iteration, values, time.monotonic() - begun_s)
        due = iteration == config.iterations or iteration % config.checkpoint_every == 0
        if loop.selection is not None and (due or iteration == imitation_ends(config)):
            due = True
            if loop.selection.is_candidate(iteration):
                best = loop.selection.better(policy_of(config, state.learner), iteration, best)
        if ended or due:
            _save(loop, iteration, state, best)
        if ended:
            outcome = "time budget" if late and not asked else "stopped"
            break
    loop.checkpoints.wait()
    return state, outcome, best


def _record(loop: _Loop, iteration: int, values: dict[str, float], took_s: float) -> None:
    steps = loop.config.steps_per_iteration
    if values["episodes"] == 0:  # no episode ended: there is no success rate, rather than one of zero
        values = {name: value for name, value in values.items() if name not in _EPISODE_METRICS}
    if iteration > imitation_ends(loop.config):
        values.pop("loss/imitation", None)  # the expert was not asked
    row: dict[str, Any] = {"iteration": iteration, "steps": iteration * steps, **values}
    row |= {"time/wall_s": round(loop.wall_s, 4), "time/steps_per_s": round(steps / took_s, 1)}
    for tracker in loop.trackers:
        tracker.log(row)
    loop.progress.row(row)
    if not np.isfinite(values["gradient_norm"]):
        raise ConfigError(
            f"Training diverged in iteration {iteration}: the loss is not finite. Lower ppo.learning_rate, or look "
            "at the reward terms in metrics.jsonl. Earlier checkpoints are intact."
        )


def _save(loop: _Loop, iteration: int, state: TrainState, best: Selected | None) -> None:
    meta = {
        "iteration": iteration,
        "steps": iteration * loop.config.steps_per_iteration,
        "wall_s": loop.wall_s,
        "task": loop.config.task,
    }
    if best is not None:
        meta["selected"] = best.to_json()
    policy = _kept(loop.config, state, best)
    loop.checkpoints.wait()  # the one before is on disk: the trail has its digest
    if loop.audit is not None:
        loop.audit.checkpoint(iteration, policy.arrays)
    loop.checkpoints.save(iteration, policy.arrays, state, meta)


def _kept(config: TrainConfig, state: TrainState, best: Selected | None) -> Policy:
    """The policy that a checkpoint holds: the best candidate, or the newest where none was chosen."""
    policy = policy_of(config, state.learner)
    return policy if best is None else policy._replace(arrays=jax.device_put(best.arrays))


def _restored(
    config: TrainConfig, state: TrainState, checkpoints: Checkpoints | None
) -> tuple[TrainState, float, Selected | None]:
    """Where the run left off, the wall time [s] it had taken and the best candidate; `state`, 0 and None where there
    is no checkpoint.
    """
    restored = checkpoints.restore(state) if checkpoints is not None else None
    if restored is None or checkpoints is None:
        return state, 0.0, None
    state, meta = restored
    best = None
    if "selected" in meta:
        policy = checkpoints.restore(policy_of(config, state.learner).arrays, "policy")
        if policy is not None:
            best = Selected(jax.device_get(policy[0]), **meta["selected"])
    return state, float(meta["wall_s"]), best


def _selection(config: TrainConfig, env: Env | None, progress: Progress) -> Selection | None:
    """Who chooses the policy that is kept; None where the newest is. env: one that was given to the training."""
    if not config.selection_episodes:
        return None
    if jax.process_count() > 1:
        progress.warn("selection_episodes is for a training in one process: the newest policy is kept.")
        return None
    if env is None:
        from robolearn.env.vec_env import make

        env = make(config.task, config.selection_episodes, config.engine, config.env)
    return Selection(config, env)


def pinned(config: TrainConfig) -> TrainConfig:
    """The config with every key of its task, defaults included.

    A run keeps these values: later changes of the task's defaults in code do not reach it.
    Raises TaskError, ConfigError or RobotError.
    """
    from robolearn.env.task import load_task

    task = load_task(config.task, config.env)
    return config.model_copy(update={"env": task.config.model_dump(mode="json")})


def _make_env(config: TrainConfig) -> Env:
    from robolearn.env.vec_env import make

    return make(config.task, envs_per_device(config), config.engine, config.env)


def _sizes(env: Env) -> dict[str, int]:
    return {"obs": env.obs_size, "critic_obs": env.critic_obs_size, "action": env.action_size}


def _never() -> bool:
    return False
