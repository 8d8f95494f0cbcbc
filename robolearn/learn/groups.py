"""Groups of environments: what is drawn for one does not depend on the device or process that it lives on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from robolearn.learn.learner import Env
from robolearn.learn.train_config import PpoConfig, TrainConfig

AXIS = "data"  # the mesh axis over which environments are spread


def local_groups(config: TrainConfig, env: Env) -> Array:
    """Indices of this shard's groups among all groups, [G]."""
    count = config.groups * env.num_envs // config.num_envs
    return jax.lax.axis_index(AXIS) * count + jnp.arange(count)


def noise(key: Array, groups: Array, steps: int, env: Env) -> Array:
    """Standard normal action noise [T, B, A]; a group's draw does not depend on where the group lives."""
    size = env.num_envs // len(groups)
    draw = jax.vmap(lambda g: jax.random.normal(jax.random.fold_in(key, g), (steps, size, env.action_size)))
    return jnp.moveaxis(draw(groups), 0, 1).reshape(steps, env.num_envs, env.action_size)


def member(env: Env, groups: Array) -> Array:
    """Each environment's number within its group [B], which does not depend on where the group lives."""
    return jnp.arange(env.num_envs) % (env.num_envs // len(groups))


def minibatch_rows(key: Array, groups: Array, env: Env, ppo: PpoConfig) -> Array:
    """Row indices into the flattened [T * B] samples, [epochs * minibatches, rows].

    Each minibatch takes the same number of rows from every group, shuffled within it.
    """
    size = env.num_envs // len(groups)
    per_group = ppo.rollout_steps * size

    def shuffle(epoch_key: Array) -> Array:
        order = jax.vmap(lambda g: jax.random.permutation(jax.random.fold_in(epoch_key, g), per_group))(
            groups
        )
        step, member = order // size, order % size
        rows = step * env.num_envs + jnp.arange(len(groups))[:, None] * size + member  # [G, per_group]
        return rows.reshape(len(groups), ppo.minibatches, -1).swapaxes(0, 1).reshape(ppo.minibatches, -1)

    epochs = jax.vmap(shuffle)(jax.random.split(key, ppo.epochs))
    return epochs.reshape(ppo.epochs * ppo.minibatches, -1)
