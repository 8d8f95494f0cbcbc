"""Calls from a jitted program to Python, with arrays in place."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import numpy as np
from jax.experimental.buffer_callback import buffer_callback


@atexit.register
def _finish() -> None:
    """Wait at exit for programs under way: a callback into an interpreter that is gone is a segmentation fault."""
    for array in jax.live_arrays():
        with suppress(Exception):  # a program that failed has ended, too
            array.block_until_ready()


def host_call(function: Callable[..., None], results: Any, *args: Any) -> Any:
    """Call function(out, *args) on the host; it fills out, a pytree of numpy arrays shaped like results.

    args: pytrees of arrays, read-only and valid during the call. On a CPU both are the program's own buffers;
    elsewhere they are copied. `jax.pure_callback` would copy every argument on a CPU too: a millisecond for a
    randomised model. The function must be pure, as for `jax.pure_callback`.
    """
    if jax.default_backend() != "cpu":
        return jax.pure_callback(_copied(function, results), results, *args)

    def in_place(context: Any, out: Any, *args: Any) -> None:
        del context
        function(*jax.tree.map(np.asarray, (out, *args)))

    return buffer_callback(in_place, results)(*args)


def _copied(function: Callable[..., None], results: Any) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        out = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), results)
        function(out, *jax.tree.map(np.asarray, args))
        return out

    return call
