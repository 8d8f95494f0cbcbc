"""Robustness: a policy and the task's expert over the same episodes, as trained and under each shift."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from robolearn.config import merged
from robolearn.env.slot_observation import measured_and_goal, measured_expert, observing_measurements
from robolearn.env.task import Task, has_expert, load_task
from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.learn import folder
from robolearn.learn.disparity import Paired, paired
from robolearn.learn.evaluate import Carry, Emitted, control_periods, play_episodes
from robolearn.learn.evaluation import Evaluation, Progress, Rate, wilson
from robolearn.learn.shifts import SHIFTS, Shift, shifted
from robolearn.recorder.hash_chain import plain
from robolearn.sim.jit import jit

ROBUSTNESS = "robustness.json"
TRAINED = "trained"  # the row without a shift
PAIRED_AT_MOST = (
    1000  # episodes: what is drawn for an environment's second depends on how long its first took
)

Chunk = Callable[[Carry], tuple[Carry, Emitted]]
Players = Callable[[VecEnv], tuple[Chunk, Chunk | None]]  # chunks of the policy, and of the expert


@dataclass(frozen=True)
class Row:
    """Success under one shift. expert, difference (policy less expert, paired): None where there is no expert."""

    name: str
    text: str
    policy: Rate
    expert: Rate | None
    difference: Paired | None


@dataclass(frozen=True)
class Robustness:
    """Rows: `trained`, then each shift that the task has something for. seed: of the episodes, the same in all."""

    task: str
    seed: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(self)


def robustness(
    task: Task[Any],
    changed_env: Callable[[Mapping[str, Any], int], VecEnv],
    players: Players,
    found: Evaluation,
    progress: Progress | None = None,
) -> Robustness:
    """Play what was evaluated, `found`, again under each shift, and the task's expert beside it.

    changed_env: (changes of the task's config, number of environments) -> VecEnv whose observation begins with the
    task's slots and goal slots. The expert sees what the policy sees: measured slots. As many episodes as were
    evaluated, at most 1,000.
    """
    n, rows = min(len(found.succeeded), PAIRED_AT_MOST), []
    for shift in (None, *SHIFTS):
        changes = {} if shift is None else shifted(task, shift)
        if changes is None:
            continue
        env = changed_env(changes, n)
        policy, expert = players(env)

        def succeeded(chunk: Chunk, env: VecEnv = env) -> np.ndarray:
            played = play_episodes(env, chunk, n, found.seed, progress=progress)
            return played["success"].astype(bool)

        own = np.array(found.succeeded[:n]) if shift is None else succeeded(policy)
        rows.append(_row(shift, own, None if expert is None else succeeded(expert)))
    return Robustness(found.task, found.seed, tuple(rows))


def run_robustness(
    task_name: str,
    config: Mapping[str, Any],
    engine: str,
    actor: Callable[[Array], Array],
    found: Evaluation,
    progress: Progress | None = None,
) -> Robustness:
    """`robustness` of a policy in JAX. config: of the task; actor: raw obs [N, D] -> action [N, A]."""
    task = load_task(task_name, dict(config))

    def changed_env(changes: Mapping[str, Any], n: int) -> VecEnv:
        return VecEnv(observing_measurements(load_task(task_name, merged(config, changes))), n, engine)

    return robustness(task, changed_env, lambda env: _players(env, task, actor), found, progress)


def expert_chunk(env: VecEnv) -> Chunk:
    """Some control periods under the expert on measured slots, for `play_episodes`. env: see `measured_expert`."""
    act = measured_expert(env)
    return jit(lambda carry: control_periods(env, carry, lambda s: env.step(s, act(s))))


def write_robustness(found: Robustness, target: Path, prefix: str = "") -> Path:
    """Write robustness.json into a folder; returns its path."""
    path = target / f"{prefix}{ROBUSTNESS}"
    folder.write_whole(path, json.dumps(found.to_json(), indent=2) + "\n")
    return path


def _players(env: VecEnv, task: Task[Any], actor: Callable[[Array], Array]) -> tuple[Chunk, Chunk | None]:
    """Policy and expert, one program for both: compiling takes longer than playing."""

    def policy(state: EnvState) -> Array:
        measured, goal = measured_and_goal(task, state.obs)
        return actor(jax.vmap(task.observe)(measured, state.memory, goal))

    if not has_expert(task):
        return jit(lambda carry: control_periods(env, carry, lambda s: env.step(s, policy(s)))), None
    expert = measured_expert(env)

    @jit
    def chunk(carry: Carry, guided: Array) -> tuple[Carry, Emitted]:
        return control_periods(env, carry, lambda s: env.step(s, jax.lax.cond(guided, expert, policy, s)))

    return lambda carry: chunk(carry, np.False_), lambda carry: chunk(carry, np.True_)


def _row(shift: Shift | None, own: np.ndarray, expert: np.ndarray | None) -> Row:
    name, text = (TRAINED, "as trained") if shift is None else (shift.name, shift.text)
    return Row(
        name,
        text,
        wilson(name, int(own.sum()), len(own)),
        None if expert is None else wilson(name, int(expert.sum()), len(expert)),
        None if expert is None else paired(own, expert),
    )
