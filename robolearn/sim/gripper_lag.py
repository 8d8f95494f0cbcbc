"""What stands between the command stream and the fingers of a gripper that is commanded through its own driver.

Such a gripper takes single commands over a network: its fingers begin late, and move no faster than they can. How late
and how fast comes from the gripper's file (`latency_s`, `speed_max_m_s`), drawn for each episode. A gripper whose file
has no latency follows the stream itself, and nothing of this is computed.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp

from robolearn.robots import Gripper
from robolearn.sim.sensing import SensingConfig, select_row

Array = jax.Array


class LagState(NamedTuple):
    """One environment's. latency [s], speed [m/s], set_point [1] m, widths [substeps kept, 1] m, oldest first."""

    latency: Array
    speed: Array
    set_point: Array
    widths: Array


class GripperLag:
    """Openings [substeps, 1] m in, what the drive of the fingers gets out."""

    def __init__(
        self, latency_s: tuple[float, float], speed_m_s: tuple[float, float], period_s: float, substeps: int
    ):
        self._latency_s, self._speed_m_s = latency_s, speed_m_s
        self._step_s, self._substeps = period_s / substeps, substeps
        self._kept = ceil(latency_s[1] / self._step_s - 1e-9)

    def start(self, key: Array, width: Array) -> LagState:
        """Fingers at rest at width [1] since ever."""
        key_latency, key_speed = jax.random.split(key)
        (low, high), (slow, fast) = self._latency_s, self._speed_m_s
        return LagState(
            latency=jax.random.uniform(key_latency, minval=low, maxval=high),
            speed=jax.random.uniform(key_speed, minval=slow, maxval=fast),
            set_point=width,
            widths=jnp.tile(width, (self._kept, 1)),
        )

    def send(self, state: LagState, widths: Array) -> tuple[LagState, Array]:
        """One control period: the openings [substeps, 1] sent in it, and the set points [substeps, 1] of the drive."""
        past = jnp.concatenate([state.widths, widths])
        back = jnp.round(state.latency / self._step_s).astype(jnp.int32)
        asked = select_row(past, self._kept + jnp.arange(self._substeps) - back)
        step, at, set_points = state.speed * self._step_s, state.set_point, []
        for i in range(self._substeps):
            at = at + jnp.clip(asked[i] - at, -step, step)
            set_points.append(at)
        kept = past[self._substeps :] if self._kept else state.widths
        return LagState(state.latency, state.speed, at, kept), jnp.stack(set_points)


def gripper_lag(gripper: Gripper, config: SensingConfig, period_s: float, substeps: int) -> GripperLag | None:
    """Of a gripper, or None where it follows the stream: its file has no latency, or the config takes it away."""
    latency = gripper.file.latency_s
    if config.gripper_delay_ms is not None:
        low, high = config.gripper_delay_ms
        latency = (low / 1000.0, high / 1000.0)
    if latency is None or (latency[1] == 0.0 and gripper.speed_max_m_s is None):
        return None
    slow, fast = config.gripper_speed_share
    top = gripper.speed_max_m_s if gripper.speed_max_m_s is not None else 1e3
    return GripperLag(latency, (slow * top, fast * top), period_s, substeps)
