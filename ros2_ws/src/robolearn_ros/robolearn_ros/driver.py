"""What the policy node does each tick, without ROS: hold, run or brake, and one smooth command stream throughout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import BundleError
from robolearn.policy.interpolate import TargetStream, ticks_per_period
from robolearn.policy.runtime import PolicyRuntime
from robolearn_ros.loop import Samples

Vector = NDArray[np.float64]

CATCH_UP_PERIODS = 3
# The grid of commands in motion, 2.3e-10 rad: finer bits would be noise that the log must keep. It adds at most
# 8 * half a step / dt^3 to the jerk: 0.12 rad/s^3 at 500 Hz.
POSITION_STEP_RAD, VELOCITY_STEP_RAD_S = 2.0**-32, 2.0**-24


class Go(Enum):
    """What the circumstances allow in a control period."""

    HOLD = "hold"  # the monitor sends something of its own: stay where it holds the arm
    BRAKE = "brake"  # the monitor follows, but there is nothing to do, or something is wrong here
    RUN = "run"


class PolicyDriver:
    """Runs a policy every `ratio` ticks and samples its command stream at every tick.

    It starts at rest where the arm is held, so that it never lurches: after a stop, a reset and a start the policy's
    memory begins anew from there. An error of the policy brakes it and stays until the monitor's next hold.
    """

    def __init__(self, runtime: PolicyRuntime, command_rate_hz: float, aside: Executor | None = None):
        """aside: one thread, in which the policy runs between two ticks; without it, within `advance`."""
        manifest = runtime.manifest
        self.ratio = ticks_per_period(command_rate_hz, manifest.control_hz)
        self.runtime = runtime
        self._aside = aside
        self._pending: Future[None] | None = None
        self.inference = Samples()
        self.slow = 0  # times that the policy took longer than its period
        self.problem = ""
        self.running = False
        self.computed = False  # whether the newest segment of the stream is one that this policy computed
        self.gripper_width_m: float | None = None
        self._ood_scores: list[float] = []  # since they were taken
        self._inputs: list[NDArray[np.float32]] = []  # likewise
        self._tick_s = 1.0 / command_rate_hz
        self._period = 0  # number of the control period that the newest segment covers
        limits = manifest.limits_assumed
        self._stream = TargetStream(
            1.0 / manifest.control_hz,
            limits["target_velocity_max_rad_s"],
            limits["target_acceleration_max_rad_s2"],
        )

    def command(
        self, index: int, go: Go, hold_rad: Vector, sources: Mapping[str, Any]
    ) -> tuple[Vector, Vector]:
        """Command position and velocity [n] of tick number index; call `advance` once it is on its way.

        hold_rad: [n], where the arm is held, used with HOLD.  sources: measured values and goals by slot source.
        """
        self.settle()
        period, phase = divmod(index, self.ratio)
        if go is Go.HOLD:
            self.running, self.computed, self.problem = False, False, ""
            self._stream.hold(hold_rad)
            self._period = period
        # At a boundary the old segment's end is the new one's start, so the policy itself can wait for `advance`;
        # periods that passed while this process was held up cannot.
        behind = period - self._period - (phase == 0)
        if behind > CATCH_UP_PERIODS:
            self.problem = f"the policy node was held up for {behind} control periods"
            self._period = period - 1
        while self._period < period - (phase == 0):
            self._next_period(go, sources)
        at_end = self._period < period
        position, velocity = self._stream.sample(self._stream.period_s if at_end else phase * self._tick_s)
        # A joint at rest stays exactly where it is held.
        on_grid = np.rint(position / POSITION_STEP_RAD) * POSITION_STEP_RAD
        velocity = np.rint(velocity / VELOCITY_STEP_RAD_S) * VELOCITY_STEP_RAD_S
        return np.where(velocity == 0.0, position, on_grid), velocity

    @property
    def at_rest(self) -> bool:
        """Whether the command stream stands still."""
        return self._stream.at_rest

    def take_ood_scores(self) -> list[float]:
        """The out-of-distribution scores of the newest decisions, of a bundle that has them. After `settle`."""
        scores, self._ood_scores = self._ood_scores, []
        return scores

    def take_inputs(self) -> list[NDArray[np.float32]]:
        """What the newest decisions read, as `PolicyRuntime.inputs`. After `settle`."""
        inputs, self._inputs = self._inputs, []
        return inputs

    def take_over(self, other: PolicyDriver, sources: Mapping[str, Any]) -> None:
        """Go on where another driver is, moving or not: same stream, memory begun from its end.

        Raises BundleError where the control rates differ, or the new memory cannot be begun.
        """
        other.settle()
        if self.ratio != other.ratio:
            raise BundleError("A policy of another control rate can only be swapped in at rest.")
        end = {"joint_state.position": other._stream.end_position_rad}
        self.runtime.reset({**sources, **end})
        memory = self.runtime.memory
        if "command_velocity" in memory:
            self.runtime.restore({**memory, "command_velocity": other._stream.end_velocity_rad_s})
        limits = self._stream
        self._stream, self._period, self.running = other._stream, other._period, other.running
        self._stream.velocity_max_rad_s = limits.velocity_max_rad_s
        self._stream.acceleration_max_rad_s2 = limits.acceleration_max_rad_s2

    def advance(self, index: int, go: Go, sources: Mapping[str, Any]) -> None:
        """Run the policy, or brake, if a control period begins with tick number index."""
        if index // self.ratio > self._period:
            self._begin(partial(self._next_period, go, dict(sources)))
        elif self.running and self.ratio > 1 and (index + 1) % self.ratio == 0:
            self._begin(self.runtime.rehearse)

    def settle(self) -> None:
        """Wait for what `advance` began; before that, nothing else here may be looked at."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _begin(self, work: Callable[[], None]) -> None:
        if self._aside is None:
            work()
        else:
            self._pending = self._aside.submit(work)

    def _next_period(self, go: Go, sources: Mapping[str, Any]) -> None:
        self._period += 1
        if go is Go.RUN and not self.problem:
            try:
                if self._run(sources):
                    return
            except BundleError as error:
                self.problem = str(error)
        self.running = self.computed = False
        self._stream.brake()

    def _run(self, sources: Mapping[str, Any]) -> bool:
        """One period of the policy; False while the stream still comes to rest before a fresh start."""
        if not self.running:
            if not self._stream.at_rest:
                return False
            self.runtime.reset({**sources, "joint_state.position": self._stream.end_position_rad})
            self.running = True
        manifest = self.runtime.manifest
        slots = (*manifest.slots, *manifest.goal_slots)
        readings = {slot.name: sources[slot.source] for slot in slots if slot.source in sources}
        before = time.monotonic_ns()
        targets = self.runtime.step(readings)
        took_ns = time.monotonic_ns() - before
        self.inference.add(took_ns)
        self.slow += took_ns > 1e9 / manifest.control_hz
        self._stream.push(targets["joint_position_target"], targets["joint_velocity_target"])
        self.computed = True
        self._inputs.append(self.runtime.inputs)
        if self.runtime.ood_score is not None:
            self._ood_scores.append(self.runtime.ood_score)
        if "gripper_width_target" in targets:
            self.gripper_width_m = float(targets["gripper_width_target"][0])
        return True
