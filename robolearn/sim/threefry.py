"""JAX's own random numbers without its loops.

On a CPU JAX computes Threefry-2x32 in a loop of five rounds, to compile faster where there are many of them. A
restart of a few environments draws twenty times, and starting those loops takes longer than all the numbers. Written
out, XLA makes one pass of each draw. The numbers are the same, bit for bit (a test compares them).

Source of rotations and key schedule: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011, doi:10.1145/2063384.2063405.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

Array = jax.Array
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def written_out(keys: Array) -> Array:
    """The same keys, to draw from in a program that draws little but often."""
    return jax.random.wrap_key_data(jax.random.key_data(keys), impl=_IMPL)


def as_usual(keys: Array) -> Array:
    """Keys as `jax.random.key` makes them, from those of `written_out`."""
    return jax.random.wrap_key_data(jax.random.key_data(keys), impl="threefry2x32")


@jax.jit
def _block(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Two random words of a key [2] for every counter (high, low)."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    a, b = high + schedule[0], low + schedule[1]
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            a = a + b
            b = ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn))) ^ a
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def _counted(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    low = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _block(key, jnp.zeros(shape, jnp.uint32), low)


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.stack(_counted(key, shape), axis=-1)


def _fold_in(key: Array, data: int) -> Array:
    return jnp.stack(_block(key, jnp.uint32(0), jnp.asarray(data, jnp.uint32)))


def _bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    if width != 32:
        raise NotImplementedError("Draws of 32 bits only: use float32, int32 or uint32 numbers.")
    a, b = _counted(key, shape)
    return a ^ b


def _seed(seed: Array) -> Array:
    return jnp.stack([jnp.uint32(0), jnp.asarray(seed, jnp.uint32)])


_IMPL = define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_bits,
    fold_in=_fold_in,
    name="threefry2x32_written_out",
)
