"""The mathematics of proximal policy optimisation (arXiv:1707.06347), over arrays alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

_LOG_2PI = math.log(2.0 * math.pi)
_LOG_RATIO_MAX = 20.0  # an action that the old policy would hardly have taken must not make the loss infinite


class PpoLosses(NamedTuple):
    """Scalars of one minibatch, lower is better except entropy; kl and clip_fraction are diagnostics."""

    policy: Array
    value: Array
    entropy: Array
    kl: Array
    clip_fraction: Array


def gaussian_log_prob(action: Array, mean: Array, log_std: Array) -> Array:
    """Log density of a diagonal Gaussian. action, mean: [..., A]; log_std: [A]. Returns [...]."""
    z = (action - mean) * jnp.exp(-log_std)
    return -0.5 * (jnp.square(z) + _LOG_2PI).sum(-1) - log_std.sum(-1)


def gaussian_entropy(log_std: Array) -> Array:
    """Entropy of a diagonal Gaussian, in nats. log_std: [A]. Returns []."""
    return (0.5 * (1.0 + _LOG_2PI) + log_std).sum(-1)


def ppo_losses(
    *,
    log_prob: Array,
    old_log_prob: Array,
    advantage: Array,
    value: Array,
    value_target: Array,
    entropy: Array,
    clip_ratio: float,
) -> PpoLosses:
    """The clipped surrogate, the value error and diagnostics of one minibatch.

    All arrays [B] but entropy []. Advantages come normalised. kl is the low-variance estimate
    mean((r - 1) - log r) of KL(old || new), http://joschu.net/blog/kl-approx.html.
    """
    log_ratio = jnp.clip(log_prob - old_log_prob, -_LOG_RATIO_MAX, _LOG_RATIO_MAX)
    ratio = jnp.exp(log_ratio)
    clipped = jnp.clip(ratio, 1.0 - clip_ratio, 1.0 + clip_ratio)
    return PpoLosses(
        policy=-jnp.minimum(ratio * advantage, clipped * advantage).mean(),
        value=0.5 * jnp.square(value - value_target).mean(),
        entropy=entropy,
        kl=(ratio - 1.0 - log_ratio).mean(),
        clip_fraction=(jnp.abs(ratio - 1.0) > clip_ratio).astype(jnp.float32).mean(),
    )


def adapt_learning_rate(
    learning_rate: Array, kl: Array, *, kl_target: float, lowest: float, highest: Array | float
) -> Array:
    """A step towards the rate at which one update moves the policy by kl_target nats; all arrays [].

    Above twice the target the rate shrinks by 1.5, below half of it it grows by 1.5 (as in rsl_rl), within
    [lowest, highest].
    """
    factor = jnp.where(kl > 2.0 * kl_target, 1.0 / 1.5, jnp.where(kl < 0.5 * kl_target, 1.5, 1.0))
    return jnp.clip(learning_rate * factor, lowest, highest)
