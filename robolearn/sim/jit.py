"""`jax.jit` for programs that hold a simulation: large, compiled once in every run."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

_LEVEL = "xla_backend_optimization_level"


def jit(function: Callable[..., Any]) -> Any:
    """`jax.jit`, on a CPU with LLVM's first optimisation level in place of the third.

    A training iteration of `fr3/reach` then compiles in two thirds of the time and runs as fast: its loops are short,
    and its large products are library calls. A level in XLA_FLAGS holds instead.
    """
    if jax.default_backend() != "cpu" or _LEVEL in os.environ.get("XLA_FLAGS", ""):
        return jax.jit(function)
    return jax.jit(function, compiler_options={_LEVEL: 1})
