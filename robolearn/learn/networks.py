"""Actor and critic networks: plain multilayer perceptrons as pure functions over a parameter pytree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "swish": jax.nn.swish,
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
}


class Layer(NamedTuple):
    """One affine layer. kernel: [in, out]; bias: [out]."""

    kernel: Array
    bias: Array


class PolicyParams(NamedTuple):
    """Everything that gradients change.

    log_std: [A], the logarithm of the action noise's standard deviation, independent of the state.
    """

    actor: tuple[Layer, ...]
    critic: tuple[Layer, ...]
    log_std: Array


def init_mlp(key: Array, sizes: Sequence[int], output_scale: float) -> tuple[Layer, ...]:
    """Orthogonal kernels (gain sqrt 2, output_scale for the last) and zero biases; sizes = [in, hidden.., out]."""
    keys = jax.random.split(key, len(sizes) - 1)
    layers = []
    for index, (key, n_in, n_out) in enumerate(zip(keys, sizes[:-1], sizes[1:], strict=True)):
        scale = output_scale if index == len(sizes) - 2 else 2.0**0.5
        kernel = jax.nn.initializers.orthogonal(scale)(key, (n_in, n_out), jnp.float32)
        layers.append(Layer(kernel, jnp.zeros(n_out, jnp.float32)))
    return tuple(layers)


def apply_mlp(layers: tuple[Layer, ...], x: Array, activation: str) -> Array:
    """x: [..., in] -> [..., out]; no activation after the last layer."""
    nonlinear = ACTIVATIONS[activation]
    for layer in layers[:-1]:
        x = nonlinear(x @ layer.kernel + layer.bias)
    return x @ layers[-1].kernel + layers[-1].bias


def apply_actor(layers: tuple[Layer, ...], x: Array, activation: str, squash: str) -> Array:
    """The mean action [..., A] of normalised observations x [..., D]. squash: with `clip` the caller clips it."""
    mean = apply_mlp(layers, x, activation)
    return jnp.tanh(mean) if squash == "tanh" else mean


def init_policy(
    key: Array,
    obs_size: int,
    critic_obs_size: int,
    action_size: int,
    *,
    actor_hidden: Sequence[int],
    critic_hidden: Sequence[int],
    initial_log_std: float,
) -> PolicyParams:
    """Fresh parameters. The actor starts near zero mean, so the first actions are small."""
    actor_key, critic_key = jax.random.split(key)
    return PolicyParams(
        actor=init_mlp(actor_key, [obs_size, *actor_hidden, action_size], output_scale=0.01),
        critic=init_mlp(critic_key, [critic_obs_size, *critic_hidden, 1], output_scale=1.0),
        log_std=jnp.full(action_size, initial_log_std, jnp.float32),
    )
