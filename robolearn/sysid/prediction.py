"""What a model predicts of a recording: the logged commands played through MuJoCo, stretch by stretch.

Each stretch begins from the measured position and velocity; what is predicted in its first moments is not compared,
because the drives forget where they started within a few of their time constants.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from robolearn.data.motion import Motion, Stream
from robolearn.sysid.parameters import Model

Array = NDArray[np.float64]

STRETCH_S = 2.5
STRETCH_MIN_S = 1.2
MOVES_RAD = 5e-3  # a stretch in which every joint moves less is left out
SETTLE_S = 0.25  # of each stretch, not compared
CHANNELS = ("position_rad", "velocity_rad_s", "effort")
_MOST_STEPS = 400_000  # of all rollouts held in memory at a time
_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS


@dataclass(frozen=True)
class Stretch:
    """A stretch of a recording: grid times [K], commands' window, and the measurements that are compared.

    rows: of the measured stream.  number: its place in the recording.  held_out: never fitted.
    """

    begin_s: float
    steps: int
    rows: NDArray[np.int64]
    number: int
    held_out: bool


@dataclass(frozen=True)
class Prediction:
    """Predicted minus nothing: {channel: [M, n]} of the compared rows of some stretches, stretch after stretch."""

    values: dict[str, Array]


def stretches(
    motion: Motion, timestep_s: float, delay_max_s: float, every_held_out: int = 4
) -> list[Stretch]:
    """The whole recording in stretches without a gap; every fourth is held out.

    delay_max_s: how much earlier than a stretch the commands must begin.
    """
    found: list[Stretch] = []
    for begin, end in _whole(motion.command, motion.measured):
        begin += delay_max_s if begin > motion.command.time_s[0] + 1e-9 else 0.0
        whole = end - begin  # a short recording in four shorter stretches, so that one can be held out
        count = max(
            1, round(whole / STRETCH_S), every_held_out if whole >= every_held_out * STRETCH_MIN_S else 1
        )
        length = (end - begin) / count
        if length < 2 * SETTLE_S:
            continue
        for k in range(count):
            time = (
                motion.measured.time_s
            )  # stretches begin at a measurement: its grid is then the recording's own
            start = time[min(np.searchsorted(time, begin + k * length - 1e-9), len(time) - 1)]
            low = np.searchsorted(time, start + SETTLE_S)
            high = np.searchsorted(time, start + length - timestep_s)
            steps = int(np.ceil(length / timestep_s)) + 1
            number = len(found)
            held = number % every_held_out == every_held_out - 1
            if _moves(motion.command, float(start), length):  # at rest there is nothing to see
                found.append(Stretch(float(start), steps, np.arange(low, high), number, held))
    return found


def _moves(command: Stream, begin_s: float, length_s: float) -> bool:
    """Whether any joint is commanded to move in a stretch."""
    low, high = np.searchsorted(command.time_s, [begin_s, begin_s + length_s])
    positions = command.values["position_rad"][low:high]
    return len(positions) > 1 and float(np.ptp(positions, axis=0).max()) > MOVES_RAD


def _whole(command: Stream, measured: Stream) -> list[tuple[float, float]]:
    """The intervals in which neither stream has a break."""
    begin = max(command.time_s[0], measured.time_s[0])
    end = min(command.time_s[-1], measured.time_s[-1])
    cuts = sorted({*command.breaks_s, *measured.breaks_s})
    pieces, at = [], begin
    for stop, again in cuts:
        if at < stop:
            pieces.append((at, min(stop, end)))
        at = max(at, again)
    if at < end:
        pieces.append((at, end))
    return [(a, b) for a, b in pieces if b > a]


class Predictor:
    """Plays the stretches of one recording under many parameter vectors at once, on all processors."""

    def __init__(self, model: Model, motion: Motion, chosen: list[Stretch], channels: tuple[str, ...]):
        self.model, self.motion, self.stretches, self.channels = model, motion, chosen, channels
        self.timestep_s = float(model.base.opt.timestep)
        threads = max(1, min(8, len(os.sched_getaffinity(0))))
        self._pool = rollout.Rollout(nthread=threads)
        self._datas = [mujoco.MjData(model.base) for _ in range(threads)]
        self._steps = max(stretch.steps for stretch in chosen)
        self._starts = [self._start(stretch) for stretch in chosen]

    def measured(self) -> Array:
        """What was measured, [channels, M, n], of the compared rows."""
        rows = np.concatenate([stretch.rows for stretch in self.stretches])
        return np.stack([self.motion.measured.values[channel][rows] for channel in self.channels])

    def predict(self, xs: Array) -> Array:
        """Predictions [P, channels, M, n] for parameters xs [P, size]."""
        at_once = max(1, _MOST_STEPS // (self._steps * len(self.stretches)))
        parts = [self._predict(xs[i : i + at_once]) for i in range(0, len(xs), at_once)]
        return np.concatenate(parts)

    def _predict(self, xs: Array) -> Array:
        models = [self.model.at(x) for x in xs]
        layout, count = self.model.layout, len(self.stretches)
        delays = np.array([layout.shared_value("delay", x) for x in xs])
        bias = np.array([layout.joint_values("bias", x) for x in xs])
        control = np.stack([self._control(delay) for delay in delays])  # [P, S, K, n]
        shape = (len(xs) * count, self._steps, self.model.base.nu)
        ctrl = np.broadcast_to(self._idle(), shape).copy()
        ctrl[:, :, self.model.ctrl] = control.reshape(shape[0], self._steps, -1)
        start = np.stack([self._state(s, b) for b in bias for s in self._starts])
        batch = [model for model in models for _ in range(count)]
        played = np.asarray(self._pool.rollout(batch, self._datas, start, ctrl)[0])
        state = np.concatenate([start[:, None], played], axis=1)  # before each command, and after the last
        nq = self.model.base.nq
        position = state[:, :, 1 + self.model.qpos].reshape(len(xs), count, self._steps + 1, -1)
        velocity = state[:, :, 1 + nq + self.model.qvel].reshape(position.shape)
        return np.stack(
            [
                self._compared(models[p], xs[p], position[p], velocity[p], control[p], bias[p])
                for p in range(len(xs))
            ]
        )

    def _compared(
        self, model: mujoco.MjModel, x: Array, position: Array, velocity: Array, control: Array, bias: Array
    ) -> Array:
        """The channels at the compared measurements' stamps, [channels, M, n]."""
        dt, columns = self.timestep_s, []
        late = self.model.layout.shared_value("effort_delay", x)
        effort = np.zeros(0)
        if "effort" in self.channels:
            effort = self._effort(model, position, velocity, control)
        for k, stretch in enumerate(self.stretches):
            at = (self.motion.measured.time_s[stretch.rows] - stretch.begin_s) / dt
            q = _hermite(position[k], velocity[k] * dt, at)
            column = [q + bias, _linear(velocity[k], at)]
            if "effort" in self.channels:
                column.append(_linear(effort[k], at - late / dt))
            columns.append(np.stack(column[: len(self.channels)]))
        return np.concatenate(columns, axis=1)

    def _effort(
        self, model: mujoco.MjModel, position: Array, velocity: Array, control: Array
    ) -> Array:  # [S, K, n]
        gain, bias = (
            model.actuator_gainprm[self.model.ctrl, 0],
            model.actuator_biasprm[self.model.ctrl],
        )
        force = gain * control + bias[:, 1] * position[:, :-1] + bias[:, 2] * velocity[:, :-1]
        limit = model.actuator_forcerange[self.model.ctrl]
        return np.clip(force, limit[:, 0], limit[:, 1])

    def _control(self, delay_s: float) -> Array:
        """Commands that act in each step of each stretch, [S, K, n]."""
        stream = self.motion.command
        out = np.empty(
            (len(self.stretches), self._steps, self.motion.command.values["position_rad"].shape[1])
        )
        for k, stretch in enumerate(self.stretches):
            at = stretch.begin_s + self.timestep_s * np.arange(self._steps) - delay_s
            for j in range(out.shape[2]):
                out[k, :, j] = np.interp(at, stream.time_s, stream.values["position_rad"][:, j])
        return out

    def _start(self, stretch: Stretch) -> tuple[Array, Array]:
        """Position and velocity [n] at a stretch's begin, from a straight line through the measurements around."""
        time, values = self.motion.measured.time_s, self.motion.measured.values["position_rad"]
        near = np.abs(time - stretch.begin_s) <= 0.012
        if near.sum() < 3:
            near = np.zeros_like(near)
            near[np.argsort(np.abs(time - stretch.begin_s))[:3]] = True
        slope, level = np.polyfit(time[near] - stretch.begin_s, values[near], 1)
        return level, slope

    def _state(self, start: tuple[Array, Array], bias: Array) -> Array:
        base = self.model.base
        state = np.zeros(mujoco.mj_stateSize(base, _STATE))
        qpos, qvel = self.model.rest.copy(), np.zeros(base.nv)
        qpos[self.model.qpos], qvel[self.model.qvel] = start[0] - bias, start[1]
        state[1 : 1 + base.nq], state[1 + base.nq : 1 + base.nq + base.nv] = qpos, qvel
        return state

    def _idle(self) -> Array:
        """Controls of what is not the arm: the gripper stays open."""
        idle = np.zeros(self.model.base.nu)
        names = [self.model.base.actuator(i).name for i in range(self.model.base.nu)]
        if "gripper" in names:
            idle[names.index("gripper")] = self.model.robot.gripper.width_max_m
        return idle


def _hermite(position: Array, step: Array, at: Array) -> Array:
    """Positions [M, n] at `at` [M] between grid samples [K, n] whose velocity per step is `step`."""
    i = np.clip(np.floor(at + 1e-9).astype(int), 0, len(position) - 2)
    s = (at - i)[:, None]
    p0, p1, v0, v1 = position[i], position[i + 1], step[i], step[i + 1]
    return p0 + s * (v0 + s * ((3 * (p1 - p0) - 2 * v0 - v1) + s * (v0 + v1 - 2 * (p1 - p0))))


def _linear(values: Array, at: Array) -> Array:
    i = np.clip(np.floor(at + 1e-9).astype(int), 0, len(values) - 2)
    s = (at - i)[:, None]
    return values[i] * (1 - s) + values[i + 1] * s
