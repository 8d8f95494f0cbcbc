"""Explains the failures of a run's evaluation: the decisions of each failed episode's last seconds, slot by slot.

The episodes of evaluation.json are played again from its seed. Attributions are measured from what the policy observes
on average in episodes that succeed, so they say in what the failed ones differed for the network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.dossier.attribution import STEPS, integrated_gradients
from robolearn.dossier.evidence import FAILURES
from robolearn.dossier.explain_run import _forward
from robolearn.env.slot_observation import observing_slots, split_slots
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError
from robolearn.files.writing import replace_file
from robolearn.learn import folder
from robolearn.learn.audit import record_result
from robolearn.learn.run import EVALUATED_AT_ONCE, Run
from robolearn.recorder.hash_chain import plain
from robolearn.sim.jit import jit

LAST_S, DECISIONS = 2.0, 5
EXPLAINED_MAX = 200  # failed episodes; the rest is counted


@dataclass(frozen=True)
class FailedEpisode:
    """episode: its number in the evaluation. length_s: until it ended. times_s: of the decisions that are explained.

    shares: {slot: share of absolute attribution} over these decisions. decisions: {slot: [A]} of each, signed.
    """

    episode: int
    length_s: float
    times_s: tuple[float, ...]
    shares: dict[str, float]
    decisions: tuple[dict[str, list[float]], ...]


@dataclass(frozen=True)
class Failures:
    """played: episodes, the first of each environment. failed: of them. counted: failures in evaluation.json.

    shares: {slot: share} over all explained decisions. succeeded: the same of as many decisions of episodes that
    succeeded, to compare with.
    """

    played: int
    failed: int
    counted: int
    seed: int
    episodes: tuple[FailedEpisode, ...]
    shares: dict[str, float]
    succeeded: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(self)


def explain_failures(run: Run, *, steps: int = STEPS) -> tuple[Failures, Path]:
    """Explain every failure of the run's newest evaluation; kept as failures.json, recorded in the trail.

    Raises ConfigError where the newest policy has not been evaluated.
    """
    found = folder.read_evaluation(run.run_dir)
    if found.get("iteration") != run.iteration or not isinstance(found.get("success"), dict):
        raise ConfigError(
            f"'{run.run_dir}' has no evaluation of its newest policy. Run: robolearn eval {run.run_dir}"
        )
    count = min(int(found["success"]["episodes"]), EVALUATED_AT_ONCE)
    counted = int(found["success"]["episodes"]) - int(found["success"]["successes"])
    seed = int(found["seed"])
    task = run.env.task
    every = (*task.slots, *task.goal_slots, *task.memory_slots)
    rows, length, success = _played(run, task, count, seed)
    failed = np.flatnonzero(~success)
    hz = run.env.control_hz
    well = np.flatnonzero(success)
    usual = (
        rows[0] if not len(well) else _decisions_of(rows, length, well, hz)
    )  # where none succeeds: the starts
    baseline = split_slots(usual.mean(0), every)
    forward = _forward(task, run.policy)

    def attributed(which: np.ndarray) -> dict[str, np.ndarray]:
        values = split_slots(_decisions_of(rows, length, which, hz), every)
        found = integrated_gradients(forward, values, baseline, steps)[0]
        return {name: value.reshape(*value.shape[:2], -1).sum(2) for name, value in found.items()}

    shown = failed[:EXPLAINED_MAX]
    episodes: list[FailedEpisode] = []
    shares, others = {}, {}
    if len(shown):
        signed = attributed(shown)
        shares = _shares(signed)
        for k, episode in enumerate(shown):
            own = {name: value[k * DECISIONS : (k + 1) * DECISIONS] for name, value in signed.items()}
            at = _times(int(length[episode]), hz)
            single = tuple({n: v[i].astype(float).tolist() for n, v in own.items()} for i in range(DECISIONS))
            ended_s = float(length[episode] / hz)
            episodes.append(
                FailedEpisode(int(episode), ended_s, tuple((at / hz).tolist()), _shares(own), single)
            )
        others = _shares(attributed(well[: len(shown)])) if len(well) else {}
    result = Failures(count, len(failed), counted, seed, tuple(episodes), shares, others)
    file = run.run_dir / FAILURES
    replace_file(file, json.dumps({"iteration": run.iteration, **result.to_json()}, indent=2) + "\n")
    record_result("explanation", file, run.run_dir)
    return result, file


def _played(run: Run, task: Any, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slots [T, N, D] before each control period of every environment's first episode, its length, its success [N]."""
    inputs = (*task.slots, *task.goal_slots)
    env = VecEnv(observing_slots(task, inputs, task.memory_slots), count, run.config.engine)
    every = (*inputs, *task.memory_slots)

    def observe(obs: jax.Array) -> jax.Array:
        values = split_slots(obs, every)
        goal = {slot.name: values[slot.name] for slot in task.goal_slots}
        memory_type = type(task.action.start(jnp.zeros(task.robot.dof), jnp.zeros(1)))
        memory = memory_type(**{slot.name: values[slot.name] for slot in task.memory_slots})
        return task.observe({slot.name: values[slot.name] for slot in task.slots}, memory, goal)

    def step(state: Any, _: None) -> tuple[Any, tuple[jax.Array, ...]]:
        after = env.step(state, run.policy.act(jax.vmap(observe)(state.obs)))
        return after, (state.obs, after.done, after.success)

    play = jit(lambda key: jax.lax.scan(step, env.reset(key), length=env.episode_steps)[1])
    rows, done, success = map(np.asarray, play(jax.random.key(seed)))
    last = np.where(done.any(0), done.argmax(0), len(done) - 1)
    return rows, last + 1, success[last, np.arange(count)].astype(bool)


def _times(length: int, hz: float) -> np.ndarray:
    """Control periods that are explained: even over the last seconds of an episode."""
    first = max(0, length - 1 - round(LAST_S * hz))
    return np.linspace(first, length - 1, DECISIONS).round().astype(int)


def _decisions_of(rows: np.ndarray, length: np.ndarray, episodes: np.ndarray, hz: float) -> np.ndarray:
    """Slots of the decisions that are explained, [len(episodes) * DECISIONS, D]."""
    return np.concatenate([rows[_times(int(length[i]), hz), i] for i in episodes])


def _shares(signed: dict[str, np.ndarray]) -> dict[str, float]:
    """{slot: [E, A]} to each slot's share of all absolute attribution, the largest first."""
    sizes = {name: float(np.abs(value).sum()) for name, value in signed.items()}
    total = sum(sizes.values()) or 1.0
    return {name: sizes[name] / total for name in sorted(sizes, key=lambda name: -sizes[name])}
