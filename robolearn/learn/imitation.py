"""Imitation of the task's expert: where it acts, and where the policy acts without noise meanwhile."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from robolearn.learn.groups import member
from robolearn.learn.learner import Env
from robolearn.learn.rollout import Expert
from robolearn.learn.train_config import TrainConfig


def expert_of(config: TrainConfig, env: Env, groups: Array, progress: Array) -> Expert | None:
    """The task's expert; it acts in every environment at first, and in fewer and fewer until imitation ends."""
    if not config.imitation_fraction:
        return None
    place = (member(env, groups) + 0.5) * len(groups) / env.num_envs
    return Expert(
        env.expert, place > progress / config.imitation_fraction, progress < config.imitation_fraction
    )


def noise_scale(config: TrainConfig, env: Env, groups: Array, progress: Array) -> Array:
    """Factor [B] of the action noise: while it imitates, every second environment acts without.

    A policy without noise can get stuck in states that noise would leave; the expert has to be seen there too.
    """
    deterministic = (progress < config.imitation_fraction) & (member(env, groups) % 2 == 0)
    return jnp.where(deterministic, 0.0, 1.0)
