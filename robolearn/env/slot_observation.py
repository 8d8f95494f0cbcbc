"""Environments whose observation is named slots, one after the other: what a policy that observes by itself is fed."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from robolearn.env.task import Task
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
