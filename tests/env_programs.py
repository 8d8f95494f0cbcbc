"""The compiled programs of an environment, kept as those of the library are.

`jax.jit` compiles an environment on the native engine anew in every process and for every test that asks: JAX's own
cache takes no program that calls back into Python. Tests that step the same environment, by task, number and config,
share its programs here, and so do the two processes of `make test`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from robolearn.env.vec_env import VecEnv
from robolearn.sim.compiled import compiled


def reset_program(env: VecEnv) -> Callable[..., Any]:
    """`env.reset` of one key, compiled."""
    return compiled(jax.jit(env.reset).lower(jax.random.key(0)))


def programs(env: VecEnv) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`env.reset` of one key and `env.step`, compiled."""
    key, action = jax.random.key(0), jnp.zeros((env.num_envs, env.action_size))
    step = jax.jit(env.step).lower(jax.eval_shape(env.reset, key), action)
    return reset_program(env), compiled(step)
