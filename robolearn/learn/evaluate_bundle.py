"""Evaluates a bundle as it will be served.

A bundle is played by its own ONNX graph, one arm after the other, with what each arm's sensors measure: noise, bias,
latency and lost messages included. Only physics, success and figures come from the batched simulation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.config import merged
from robolearn.env.naming import split_task
from robolearn.env.slot_observation import observing_slots, split_slots
from robolearn.env.task import Task, load_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import BundleError
from robolearn.learn.clips import EpisodeClips
from robolearn.learn.evaluate import (
    Carry,
    Emitted,
    chunk_steps,
    control_period,
    play_episodes,
    summarise,
)
from robolearn.learn.evaluation import Evaluation, Progress
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.runtime import PolicyRuntime
from robolearn.policy.slots import Slot
from robolearn.robots import is_robot_path
from robolearn.sim.jit import jit
from robolearn.sim.plant import Plant, conditions

Values = dict[str, np.ndarray]


def bundle_env(
    bundle: PolicyBundle,
    num_envs: int,
    engine: str = "auto",
    *,
    robot: str | None = None,
    plant: Plant | None = None,
    changes: Mapping[str, Any] | None = None,
) -> VecEnv:
    """The task that a bundle was trained on, its observation the bundle's inputs, one after the other.

    robot: the arm's robot file, or a calibration of it; default the packaged arm, or the file that the bundle was
    trained with. plant: another arm than the model in its place. changes: of the task's config.
    Raises BundleError where robot or task here are not those that the bundle was made for.
    """
    m = bundle.manifest
    config = m.training.get("config")
    config = config if isinstance(config, dict) else {}
    conditioned = merged(config.get("env") or {}, {} if plant is None else conditions(plant))
    task = load_task(_task_of(bundle, config.get("task"), robot), merged(conditioned, changes or {}))
    _check_same(bundle, task)
    # The graph observes by itself.
    plain = observing_slots(task, (*m.slots, *m.goal_slots), m.memory_slots)
    return VecEnv(plain, num_envs, engine, plant)


def evaluate_bundle(
    bundle: PolicyBundle,
    env: VecEnv,
    episodes: int = 1000,
    seed: int = 1_000_000,
    *,
    progress: Progress | None = None,
    clips: EpisodeClips | None = None,
) -> Evaluation:
    """Like `evaluate`, under the bundle's own graph; env: from `bundle_env`."""
    chunk = bundle_chunk(bundle, env, filmed=clips is not None)
    rows = play_episodes(env, chunk, episodes, seed, progress=progress, clips=clips)
    return dataclasses.replace(summarise(env, rows, seed), episode_return=None)


def bundle_chunk(
    bundle: PolicyBundle, env: VecEnv, *, filmed: bool = False
) -> Callable[[Carry], tuple[Carry, Emitted]]:
    """Some control periods under a bundle, for `play_episodes`. Reward terms see an action of zero."""
    policies = _Policies(bundle)
    still = jnp.zeros((env.num_envs, env.action_size))

    @jit
    def advance(carry: Carry, targets: Any, memory: Any) -> tuple[Carry, Emitted]:
        kept = type(carry[0].memory)(**memory)
        return control_period(
            env, carry, lambda state: env.step_targets(state, targets, kept, still), filmed=filmed
        )

    def chunk(carry: Carry) -> tuple[Carry, Emitted]:
        emitted = []
        for _ in range(chunk_steps(env)):
            carry, one = advance(carry, *policies.step(np.asarray(carry[0].obs)))
            emitted.append(one)
        return carry, jax.tree.map(lambda *values: np.stack(values), *emitted)

    return chunk


class _Policies:
    """The one graph of a bundle, asked for each of N arms in turn."""

    def __init__(self, bundle: PolicyBundle):
        m = bundle.manifest
        self._runtime = PolicyRuntime(bundle)
        self._inputs, self._memory, self._outputs = (*m.slots, *m.goal_slots), m.memory_slots, m.outputs

    def step(self, inputs: np.ndarray) -> tuple[Values, Values]:
        """Inputs [N, D], see `bundle_env`, to targets and next memory by name, [N, ...] each."""
        n, values = len(inputs), split_slots(inputs, (*self._inputs, *self._memory))
        targets, memory = (
            {slot.name: np.empty((n, *slot.shape), np.float32) for slot in slots}
            for slots in (self._outputs, self._memory)
        )
        for i in range(n):
            self._runtime.restore({slot.name: values[slot.name][i] for slot in self._memory})
            found = self._runtime.step({slot.name: values[slot.name][i] for slot in self._inputs})
            for rows, answers in ((targets, found), (memory, self._runtime.memory)):
                for name in rows:
                    rows[name][i] = answers[name]
        return targets, memory


def _task_of(bundle: PolicyBundle, trained: Any, robot: str | None) -> str:
    """The bundle's task, on the robot given, or else on the robot file it was trained with.

    Raises BundleError where that file is not here.
    """
    m = bundle.manifest
    if robot is not None:
        return f"{robot}/{split_task(m.task)[1]}"
    file = split_task(trained)[0] if isinstance(trained, str) else ""
    if not is_robot_path(file):
        return m.task
    if not Path(file).is_file():
        raise BundleError(
            f"{m.name} was made for your own arm '{m.robot}', but its file '{file}' "
            "was not found: give it with --robot my_arm.yaml."
        )
    return str(trained)


def _check_same(bundle: PolicyBundle, task: Task[Any]) -> None:
    """Raise BundleError where the bundle's contract with the arm is not the one of this task."""
    m, robot = bundle.manifest, task.robot

    def shapes(*groups: tuple[Slot, ...]) -> dict[str, tuple[int, ...]]:
        return {slot.name: tuple(slot.shape) for slots in groups for slot in slots}

    for what, theirs, ours in (
        ("robot file", m.robot_digest[:12], robot.digest[:12]),
        ("joints", list(m.joint_names), list(robot.joint_names)),
        ("control rate in Hz", m.control_hz, task.config.control_hz),
        ("inputs", shapes(m.slots, m.goal_slots), shapes(task.slots, task.goal_slots)),
        ("memory", shapes(m.memory_slots), shapes(task.memory_slots)),
    ):
        if theirs != ours:
            raise BundleError(
                f"{m.name} was made for another {m.task}: its {what}: {theirs}, here {ours}. "
                "Evaluate it with the robolearn version and robot file that it was made with, or train again."
            )
