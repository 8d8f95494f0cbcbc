"""What stands between the world and the policy: noise, bias, latency and lost messages, drawn in JAX.

Rewards, success and the critic see the world as it is; the policy sees it through `Sensing`, and its targets reach
the drives through `CommandDelay`. Latencies are in milliseconds, not whole control periods. All state is in the
returned arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

from robolearn.config import Config
from robolearn.errors import TaskError, unknown
from robolearn.policy.slots import Slot
from robolearn.sim.threefry import as_usual, written_out

_LANES = 8  # XLA computes normal numbers on a CPU four times as fast where their count is a multiple of this
Array = jax.Array
Readings = dict[str, Array]


def _delay(value: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 <= value[0] <= value[1] <= 1000.0:
        raise ValueError("a delay is [shortest, longest] in ms, the shortest first, between 0 and 1000")
    return value


def _share(value: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 < value[0] <= value[1] <= 1.0:
        raise ValueError("a share is [lowest, highest], above 0 and at most 1")
    return value


Delay = Annotated[tuple[float, float], AfterValidator(_delay)]
Spread = Annotated[float, Field(ge=0.0)]


class SensingConfig(Config):
    """Sensor and latency effects; keys of the first three are slot names or units, a name winning over a unit.

    sensor_noise: standard deviation of white Gaussian noise on every sample. sensor_bias: an offset that lasts an
    episode, uniform between minus and plus this number. sensor_drift: how fast that offset moves, per second, uniform
    between minus and plus this number and constant over an episode. observation_delay_ms, action_delay_ms: uniform
    between two numbers, constant over an episode. pose_delay_ms: likewise, of measured poses of objects (sources
    `pose.*`), beyond observation_delay_ms: what a camera and its pose estimate take. observation_drop: chance in each
    control period that no message of a stream (joint_state, gripper, one object's pose, the wrench) arrives; the policy
    then sees the last one. gripper_delay_ms: from a command to the fingers' first motion, beyond action_delay_ms; null:
    `latency_s` of the gripper's file. gripper_speed_share: of the speed in that file, what the fingers reach; without a
    speed there they follow at once.
    """

    sensor_noise: dict[str, Spread] = {}
    sensor_bias: dict[str, Spread] = {}
    sensor_drift: dict[str, Spread] = {}
    observation_delay_ms: Delay = (0.0, 0.0)
    pose_delay_ms: Delay = (0.0, 0.0)
    observation_drop: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    action_delay_ms: Delay = (0.0, 0.0)
    gripper_delay_ms: Delay | None = None
    gripper_speed_share: Annotated[tuple[float, float], AfterValidator(_share)] = (0.8, 1.0)

    @model_serializer(mode="wrap")
    def _without_no_drift(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs and bundles without a drift have the config that they had before there was any."""
        data = dump(self)
        return data if self.sensor_drift else {k: v for k, v in data.items() if k != "sensor_drift"}


class SensingState(NamedTuple):
    """One environment's. bias, held: {slot: value}, drift: of the bias in a period. past: {slot: [periods, ...]},
    newest first. delay, pose_delay: periods; of all slots, and of measured poses beyond that.
    """

    key: Array
    bias: Readings
    drift: Readings
    past: Readings
    held: Readings
    delay: Array
    pose_delay: Array


class Sensing:
    """Turns true readings of one environment into what the policy measures. Raises TaskError for unknown slots."""

    def __init__(self, slots: tuple[Slot, ...], config: SensingConfig, period_s: float):
        self._slots, self._config = slots, config
        self._noise = _by_slot("sensor_noise", config.sensor_noise, slots)
        self._bias = _by_slot("sensor_bias", config.sensor_bias, slots)
        self._drift = _by_slot("sensor_drift", config.sensor_drift, slots)
        self._period_s = period_s
        self._delay, self._pose_delay = (
            tuple(ms / 1000.0 / period_s for ms in between)
            for between in (config.observation_delay_ms, config.pose_delay_ms)
        )
        longest = {s.name: self._delay[1] + self._pose_delay[1] * _is_pose(s) for s in slots}
        # of the slots that are late: how many periods of the past an episode may need
        self._depth = {name: ceil(most - 1e-9) + 1 for name, most in longest.items() if most > 0.0}
        self._streams = sorted({_stream(slot) for slot in slots})

    @property
    def active(self) -> bool:
        """Whether the policy sees anything but the truth."""
        return bool(self._noise or self._bias or self._drift or self._depth or self._config.observation_drop)

    def start(self, key: Array, readings: Readings) -> tuple[SensingState, Readings]:
        """The state of a new episode, and its first measurement: the arm has stood still, nothing is lost yet."""
        key, key_bias, key_delay, key_noise = jax.random.split(written_out(key), 4)
        bias, drift = {}, {}
        for i, slot in enumerate(self._slots):
            draw = jax.random.fold_in(key_bias, i)
            if slot.name in self._bias:
                bias[slot.name] = _between(draw, slot, self._bias[slot.name])
            if slot.name in self._drift:
                rate = self._drift[slot.name] * self._period_s
                drift[slot.name] = _between(jax.random.fold_in(draw, 1), slot, rate)
                bias.setdefault(slot.name, jnp.zeros(slot.shape))
        delay = jax.random.uniform(key_delay, minval=self._delay[0], maxval=self._delay[1])
        low, high = self._pose_delay
        pose_delay = jax.random.uniform(jax.random.fold_in(key_delay, 1), minval=low, maxval=high)
        past = {name: jnp.stack([readings[name]] * depth) for name, depth in self._depth.items()}
        measured = self._noisy({slot.name: readings[slot.name] for slot in self._slots}, bias, key_noise)
        held = measured if self._config.observation_drop else {}
        return SensingState(as_usual(key), bias, drift, past, held, delay, pose_delay), measured

    def measure(self, state: SensingState, readings: Readings) -> tuple[SensingState, Readings]:
        """One control period later: the next state, and what the policy measures."""
        key, key_noise, key_drop = jax.random.split(written_out(state.key), 3)
        past = {name: _push(values, readings[name]) for name, values in state.past.items()}
        seen = {slot.name: readings[slot.name] for slot in self._slots}
        for slot in self._slots:
            if slot.name in past:
                late = state.delay + state.pose_delay if _is_pose(slot) else state.delay
                seen[slot.name] = _interpolate(slot, past[slot.name], late)
        bias = state.bias | {name: state.bias[name] + rate for name, rate in state.drift.items()}
        measured = self._noisy(seen, bias, key_noise)
        held = state.held
        if self._config.observation_drop:
            lost = jax.random.bernoulli(key_drop, self._config.observation_drop, (len(self._streams),))
            by_stream = dict(zip(self._streams, lost, strict=True))
            held = {
                slot.name: jnp.where(by_stream[_stream(slot)], held[slot.name], measured[slot.name])
                for slot in self._slots
            }
            measured = held
        return state._replace(key=as_usual(key), bias=bias, past=past, held=held), measured

    def _noisy(self, readings: Readings, bias: Readings, key: Array) -> Readings:
        sizes = [int(np.prod(slot.shape)) for slot in self._slots if slot.name in self._noise]
        spread = np.repeat(
            [self._noise[slot.name] for slot in self._slots if slot.name in self._noise], sizes
        )
        spread = np.pad(spread, (0, -len(spread) % _LANES))
        # A product with a matrix, so that XLA computes the numbers once: it would repeat that for every slot.
        noise = jax.random.normal(key, spread.shape) @ jnp.asarray(np.diag(spread), jnp.float32)
        parts = iter(jnp.split(noise, np.cumsum(sizes)))
        noisy = {}
        for slot in self._slots:
            value = readings[slot.name]
            if slot.name in bias:
                value = value + bias[slot.name]
            if slot.name in self._noise:
                value = value + next(parts).reshape(slot.shape)
            changed = slot.name in bias or slot.name in self._noise
            noisy[slot.name] = value / jnp.linalg.norm(value) if changed and _is_turn(slot) else value
        return noisy


class CommandState(NamedTuple):
    """One environment's commands on their way: delay in s, and the ends of the last segments, oldest first.

    position, velocity: [segments + 1, n]. width: [segments, 1], of the gripper, or [0, 1].
    """

    delay: Array
    position: Array
    velocity: Array
    width: Array


class CommandDelay:
    """The command stream of one environment as the drives receive it: late, at any instant, still smooth.

    Each control period commands one segment of constant acceleration. A delay shifts the stream in time, so a
    substep may fall into an earlier segment.
    """

    def __init__(self, delay_ms: tuple[float, float], period_s: float, substeps: int, *, gripper: bool):
        self._delay_s = (delay_ms[0] / 1000.0, delay_ms[1] / 1000.0)
        self._period, self._gripper = period_s, gripper
        self._times = jnp.arange(1, substeps + 1) * (period_s / substeps)
        self._segments = ceil(self._delay_s[1] / period_s - 1e-9) + 1

    def start(self, key: Array, position: Array, width: Array) -> CommandState:
        """An arm at rest at position [n] since ever, gripper at width [1]."""
        low, high = self._delay_s
        n = self._segments
        return CommandState(
            delay=jax.random.uniform(key, minval=low, maxval=high),
            position=jnp.tile(position, (n + 1, 1)),
            velocity=jnp.zeros((n + 1, *position.shape)),
            width=jnp.tile(width, (n, 1)) if self._gripper else jnp.zeros((0, 1)),
        )

    def send(self, state: CommandState, targets: Mapping[str, Array]) -> tuple[CommandState, Array, Array]:
        """Add one period's targets; what the drives get: arm [substeps, n], gripper width [substeps, 1] or empty."""
        position = jnp.concatenate([state.position[1:], targets["joint_position_target"][None]])
        velocity = jnp.concatenate([state.velocity[1:], targets["joint_velocity_target"][None]])
        width = state.width
        if self._gripper:
            width = jnp.concatenate([width[1:], targets["gripper_width_target"][None]])
        late = self._times - state.delay  # since the start of the newest segment
        last = self._segments - 1
        segment = jnp.clip(last + jnp.floor(late / self._period).astype(jnp.int32), 0, last)
        t = (late - (segment - last) * self._period)[:, None]
        p0, v0, v1 = (select_row(rows, segment) for rows in (position[:-1], velocity[:-1], velocity[1:]))
        arm = p0 + v0 * t + 0.5 * ((v1 - v0) / self._period) * t * t
        grip = select_row(width, segment) if self._gripper else width
        return CommandState(state.delay, position, velocity, width), arm, grip


def select_row(values: Array, index: Array) -> Array:
    """values[index] by selection: a few rows cost XLA less than a gather."""
    chosen = values[-1:]
    for i in reversed(range(len(values) - 1)):
        chosen = jnp.where(index[:, None] == i, values[i], chosen)
    return jnp.broadcast_to(chosen, (len(index), *values.shape[1:]))


def _between(key: Array, slot: Slot, limit: float) -> Array:
    return jax.random.uniform(key, slot.shape, minval=-limit, maxval=limit)


def _push(values: Array, new: Array) -> Array:
    return jnp.concatenate([new[None], values[:-1]])


def _interpolate(slot: Slot, past: Array, delay: Array) -> Array:
    """The reading `delay` control periods ago, between the two samples around it. past: [periods, ...]."""
    newer = jnp.floor(delay).astype(jnp.int32)
    a, b = past[newer], past[jnp.minimum(newer + 1, past.shape[0] - 1)]
    share = delay - newer
    if not _is_turn(slot):
        return a + share * (b - a)
    b = jnp.where(jnp.sum(a * b) < 0.0, -b, b)  # the same rotation, on the nearer side
    mixed = a + share * (b - a)
    return mixed / jnp.linalg.norm(mixed)


def _is_pose(slot: Slot) -> bool:
    return slot.source.startswith("pose.")


def _is_turn(slot: Slot) -> bool:
    return slot.source.endswith(".orientation")


def _stream(slot: Slot) -> str:
    """The message that carries a slot: `joint_state`, `gripper`, `pose.cube`."""
    return slot.source.rpartition(".")[0]


def _by_slot(what: str, values: Mapping[str, float], slots: tuple[Slot, ...]) -> dict[str, float]:
    """The number of each slot that has one, by its name or else its unit."""
    names, units = {slot.name for slot in slots}, {slot.unit for slot in slots}
    for key in values:
        if key not in names | units:
            raise TaskError(f"randomization.{what}: " + unknown("slot or unit", key, names | units))
    found = {slot.name: values.get(slot.name, values.get(slot.unit, 0.0)) for slot in slots}
    return {name: value for name, value in found.items() if value > 0.0}
