"""Explains the policy of a run over observations of its own task; kept as explanation.json, recorded in the trail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.dossier.attribution import STEPS, Explanation, Forward, explain
from robolearn.dossier.evidence import EXPLANATION
from robolearn.env.slot_observation import observing_slots, split_slots
from robolearn.env.vec_env import VecEnv
from robolearn.files.digests import file_sha256
from robolearn.files.writing import replace_file
from robolearn.learn.audit import trail_of
from robolearn.learn.learner import Policy
from robolearn.learn.networks import init_mlp
from robolearn.learn.run import Run
from robolearn.sim.jit import jit

ENVIRONMENTS = 32


def explain_run(
    run: Run, observations: int = 256, *, steps: int = STEPS, seed: int = 0
) -> tuple[Explanation, Path]:
    """Integrated gradients by slot over observations that the policy meets; the explanation and its file.

    observations: drawn evenly over some seconds of 32 environments under the policy.
    """
    task = run.env.task
    values = _observed(run, task, observations, seed)
    sizes = [
        run.policy.arrays[0][0].kernel.shape[0],
        *(layer.kernel.shape[1] for layer in run.policy.arrays[0]),
    ]
    fresh = init_mlp(jax.random.key(seed + 1), sizes, 1.0)
    untrained = run.policy._replace(arrays=(fresh, run.policy.arrays[1]))
    found = explain(_forward(task, run.policy), _forward(task, untrained), values, steps=steps, seed=seed)
    file = run.run_dir / EXPLANATION
    about = {"iteration": run.iteration, "seed": seed}
    replace_file(file, json.dumps(about | found.to_json(), indent=2) + "\n")
    trail = trail_of(run.run_dir)
    if trail is not None:
        fields = {"file": file.name, "sha256": file_sha256(file), **about}
        trail.record("explanation", fields, iteration=run.iteration)
    return found, file


def _forward(task: Any, policy: Policy) -> Forward:
    """From slots to the action before it is clipped, the task's own computations included."""
    measured, goals = [s.name for s in task.slots], [s.name for s in task.goal_slots]
    memory_type = type(task.action.start(jnp.zeros(task.robot.dof), jnp.zeros(1)))
    kept = [slot.name for slot in task.memory_slots]

    def forward(values: dict[str, jax.Array]) -> jax.Array:
        memory = memory_type(**{name: values[name] for name in kept})
        readings, goal = {name: values[name] for name in measured}, {name: values[name] for name in goals}
        return policy.mean(task.observe(readings, memory, goal))

    return forward


def _observed(run: Run, task: Any, count: int, seed: int) -> dict[str, np.ndarray]:
    """Slots as the policy meets them, {slot: [count, ...]}."""
    inputs = (*task.slots, *task.goal_slots)
    every = (*inputs, *task.memory_slots)
    env = VecEnv(observing_slots(task, inputs, task.memory_slots), ENVIRONMENTS, run.config.engine)
    forward = _forward(task, run.policy)

    def split(obs: jax.Array) -> dict[str, jax.Array]:
        return split_slots(obs, every)

    def step(state: Any, _: None) -> tuple[Any, jax.Array]:
        action = jnp.clip(jax.vmap(lambda obs: forward(split(obs)))(state.obs), -1.0, 1.0)
        return env.step(state, action), state.obs

    periods = max(1, -(-count // ENVIRONMENTS)) * 8
    play = jit(lambda key: jax.lax.scan(step, env.reset(key), length=min(periods, env.episode_steps))[1])
    rows = np.asarray(play(jax.random.key(seed))).reshape(-1, env.obs_size)
    chosen = np.random.default_rng(seed).choice(len(rows), min(count, len(rows)), replace=False)
    return {name: np.asarray(value) for name, value in jax.vmap(split)(jnp.asarray(rows[chosen])).items()}
