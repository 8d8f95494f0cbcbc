"""Running mean and variance of observations, merged batch by batch and shard by shard."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from robolearn.learn.networks import Layer

_VARIANCE_MIN = 1e-6  # a slot that never varies is not blown up
_CLIP = 10.0  # standard deviations; an outlier on the arm cannot drive the network arbitrarily far


class Normalizer(NamedTuple):
    """count: [] samples seen; mean, variance: [D]."""

    count: Array
    mean: Array
    variance: Array


def init_normalizer(size: int) -> Normalizer:
    """Nothing seen yet: mean 0, variance 1."""
    return Normalizer(jnp.zeros((), jnp.float32), jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32))


def update_normalizer(normalizer: Normalizer, batch: Array, axis_name: str | None = None) -> Normalizer:
    """Merge a batch (Chan et al. 1979). batch: [..., D]; axis_name: over all shards of that mesh axis."""
    rows = batch.reshape(-1, batch.shape[-1]).astype(jnp.float32)
    batch_count = jnp.asarray(rows.shape[0], jnp.float32)
    batch_mean = rows.mean(0)
    if axis_name is not None:
        batch_count = jax.lax.psum(batch_count, axis_name)
        batch_mean = jax.lax.pmean(batch_mean, axis_name)
    batch_variance = jnp.square(rows - batch_mean).mean(0)
    if axis_name is not None:
        batch_variance = jax.lax.pmean(batch_variance, axis_name)

    count = normalizer.count + batch_count
    delta = batch_mean - normalizer.mean
    weight = batch_count / count
    old_variance = jnp.where(normalizer.count > 0, normalizer.variance, 0.0)
    variance = (1 - weight) * old_variance + weight * batch_variance + weight * (1 - weight) * delta**2
    return Normalizer(count, normalizer.mean + weight * delta, variance)


def compensated(layers: tuple[Layer, ...], old: Normalizer, new: Normalizer) -> tuple[Layer, ...]:
    """The network that computes from observations normalised by `new` what layers computes from those by `old`.

    Exact but for the clipping of outliers. Without it new statistics change the policy unseen: neither its KL nor its
    gradient counts that.
    """
    old_scale, new_scale = _scale(old), _scale(new)
    first = layers[0]
    kernel = first.kernel * (new_scale / old_scale)[:, None]
    bias = first.bias + ((new.mean - old.mean) / old_scale) @ first.kernel
    return (first._replace(kernel=kernel, bias=bias), *layers[1:])


def _scale(normalizer: Normalizer) -> Array:
    return jnp.sqrt(jnp.maximum(normalizer.variance, _VARIANCE_MIN))


def normalize(normalizer: Normalizer, obs: Array) -> Array:
    """obs: [..., D] -> zero mean and unit variance, clipped to 10 standard deviations."""
    return jnp.clip((obs - normalizer.mean) / _scale(normalizer), -_CLIP, _CLIP)
