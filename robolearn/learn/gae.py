"""Generalized advantage estimation, with termination and truncation apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def gae(
    reward: Array,
    value: Array,
    next_value: Array,
    terminated: Array,
    truncated: Array,
    *,
    discount: float,
    gae_lambda: float,
) -> tuple[Array, Array]:
    """Advantage and value target of every step (arXiv:1506.02438).

    reward, value: [T, B]. next_value: [T, B], the value of the state that each step led to, *before* any reset.
    terminated: [T, B] bool, the episode ended by the task's own rule, so nothing follows: no bootstrap.
    truncated: [T, B] bool, the clock cut the episode: bootstrap from next_value. Either one ends the trace.
    Returns advantage and value_target, each [T, B].
    """
    not_terminated = 1.0 - terminated.astype(value.dtype)
    not_done = 1.0 - (terminated | truncated).astype(value.dtype)
    delta = reward + discount * not_terminated * next_value - value

    def backward(following: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        step_delta, step_not_done = step
        advantage = step_delta + discount * gae_lambda * step_not_done * following
        return advantage, advantage

    _, advantage = jax.lax.scan(backward, jnp.zeros_like(reward[0]), (delta, not_done), reverse=True)
    return advantage, advantage + value
