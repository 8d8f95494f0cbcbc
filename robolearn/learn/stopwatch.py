"""How long the rollouts of the shards took, read inside the compiled iteration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from robolearn.learn.groups import AXIS


class Stopwatch:
    """Seconds since `start`, read inside a jitted program once the array it is given has been computed."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def start(self) -> None:
        """Begin again from zero."""
        self._begun = time.monotonic()

    def when(self, computed: Array) -> Array:
        """The reading [] float32 after `computed` [] is known."""
        return jax.pure_callback(self._read, jax.ShapeDtypeStruct((), jnp.float32), computed)

    def _read(self, computed: Any) -> np.ndarray:
        del computed  # JAX calls this once it is known; its value does not matter
        return np.asarray(time.monotonic() - self._begun, np.float32)


def rollout_times(seconds: Array, steps: int, processes: Sequence[int]) -> dict[str, Array]:
    """The slowest shard, its time, the fastest's, and mean / slowest: what is not lost to waiting for a straggler.

    And the steps/s of every process, from the steps of each of its shards.
    """
    every = jax.lax.all_gather(seconds, AXIS)
    rates = [
        (process, sum(steps / every[shard] for shard, owner in enumerate(processes) if owner == process))
        for process in sorted(set(processes))
    ]
    return {f"time/rollout_steps_per_s_process_{process}": jnp.asarray(rate) for process, rate in rates} | {
        "time/rollout_s_slowest": every.max(),
        "time/rollout_s_fastest": every.min(),
        "time/slowest_device": every.argmax().astype(jnp.float32),
        "time/balance": every.mean() / every.max(),
    }
