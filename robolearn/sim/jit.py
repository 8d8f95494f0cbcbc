"""`jax.jit` for programs that hold a simulation: large, compiled once in every run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax

_LEVEL = "xla_backend_optimization_level"
_OPTIONS = {_LEVEL: 1, "xla_cpu_experimental_ynn_fusion_type": ""}
_QUICKLY = {_LEVEL: 0, "xla_cpu_use_fusion_emitters": False}


def jit(function: Callable[..., Any], *, quick: bool = False, donate: tuple[int, ...] = ()) -> Any:
    """`jax.jit`, on a CPU with other options of XLA; those in XLA_FLAGS hold instead.

    donate: arguments whose memory the results may take; the caller must not use them again.
    quick: compile in less than half the time a program that runs few times, such as a reset. It runs slower: a
    training iteration takes a third longer.

    LLVM's first optimisation level in place of the third: a training iteration of `fr3/reach` then compiles in two
    thirds of the time and runs as fast, for its loops are short and its large products are library calls.
    No YNNPACK, whose sums over an axis of three to seven take a quarter of XLA's time in a step of `fr3/open_drawer`.
    """
    if jax.default_backend() != "cpu" or _LEVEL in os.environ.get("XLA_FLAGS", ""):
        return jax.jit(function, donate_argnums=donate)
    options = known_options(_QUICKLY if quick else _OPTIONS)
    return jax.jit(function, compiler_options=options, donate_argnums=donate)


def known_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that this version of XLA knows; each only makes a program compile or run faster."""
    return {name: value for name, value in options.items() if _knows(name, value)}


@cache
def _knows(name: str, value: Any) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" not in str(error):
            raise
        return False
    return True
