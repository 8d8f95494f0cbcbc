"""Environments whose observation is named slots, one after the other: what a policy that observes by itself is fed."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from robolearn.env.task import Array, Task
from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot


def observing_slots(task: Task[Any], inputs: Sequence[Slot], memory: Sequence[Slot]) -> Task[Any]:
    """The task with another observation: what is measured and asked for (inputs), then what is remembered."""

    def observe(readings: dict[str, Any], kept: Any, goal: dict[str, Any]) -> Any:
        values = [(readings | goal)[slot.name] for slot in inputs]
        values += [getattr(kept, slot.name) for slot in memory]
        return jnp.concatenate([value.ravel() for value in values])

    plain = copy.copy(task)
    plain.observe = observe
    return plain


def split_slots(observation: Any, slots: Sequence[Slot]) -> dict[str, Any]:
    """Observations [..., D] of such a task by slot, [..., *shape] each; numpy or JAX."""
    values, at = {}, 0
    for slot in slots:
        size = math.prod(slot.shape)
        part = observation[..., at : at + size]
        values[slot.name], at = part.reshape(*observation.shape[:-1], *slot.shape), at + size
    return values


def measured_and_goal(task: Task[Any], observation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measured slots and goal slots, by name, of observations that begin with the task's slots and goal slots."""
    values = split_slots(observation, (*task.slots, *task.goal_slots))
    goal = {slot.name: values.pop(slot.name) for slot in task.goal_slots}
    return values, goal


def measured_expert(env: VecEnv) -> Callable[[EnvState], Array]:
    """The task's expert on what a robot can measure: a state -> action [N, A].

    env: of a task that observes its slots and goal slots, see `observing_measurements`. Noise, bias, latency and lost
    messages are in what it sees; privileged slots it sees as the task's `estimate` makes them of measured ones.
    Raises TaskError where the task has no expert.
    """
    task = env.task

    def act(state: EnvState) -> Array:
        measured, goal = measured_and_goal(task, state.obs)
        advice = jax.vmap(lambda *seen: task.expert(task.estimate(seen[0]), *seen[1:]))(
            measured, state.memory, goal
        )
        if advice is None:
            raise TaskError(f"Task '{task.name}' has no expert to play.")
        return advice

    return act


def observing_measurements(task: Task[Any]) -> Task[Any]:
    """The task with its slots and goal slots, as they are measured, for an observation."""
    return observing_slots(task, (*task.slots, *task.goal_slots), ())
