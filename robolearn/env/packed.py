"""A pytree as one flat array for each type of number.

A program that calls the host pays for each of its arguments and results, about 10 us apiece: for one environment, whose
state has some fifty arrays, several times what its physics takes.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Packed = dict[str, Array]


class Packing:
    """Packs trees of one structure; both ways keep every bit, inside of a program or outside."""

    def __init__(self, tree: Any):
        """For trees like this one, of arrays or, within a program, of what stands for them."""
        leaves, self._structure = jax.tree.flatten(tree)
        self._impls = [jax.random.key_impl(leaf) if _is_key(leaf) else None for leaf in leaves]
        raw = [_raw(leaf) for leaf in leaves]
        self._raw_shapes = [tuple(leaf.shape) for leaf in raw]
        self._types = [str(leaf.dtype) for leaf in raw]
        self.bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in raw)

    def pack(self, tree: Any) -> Packed:
        """By type of number, each [n]."""
        parts: dict[str, list[Array]] = {kind: [] for kind in dict.fromkeys(self._types)}
        for leaf, kind in zip(self._structure.flatten_up_to(tree), self._types, strict=True):
            parts[kind].append(jnp.ravel(_raw(leaf)))
        return {kind: jnp.concatenate(found) for kind, found in parts.items()}

    def unpack(self, packed: Packed) -> Any:
        """The tree."""
        at = dict.fromkeys(packed, 0)
        leaves = []
        for shape, kind, impl in zip(self._raw_shapes, self._types, self._impls, strict=True):
            first = at[kind]
            at[kind] = last = first + math.prod(shape)
            leaf = packed[kind][first:last].reshape(shape)
            leaves.append(leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl))
        return self._structure.unflatten(leaves)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
