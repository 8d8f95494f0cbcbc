"""A session as three nodes make it, without ROS and faster than the clock: arm, policy stream, monitor, log writer.

A MuJoCo arm with sensor noise; a policy at 50 Hz whose float32 targets are interpolated as the policy node does; the
monitor; the log writer in this process, which is given the time. Loops are late by tens of microseconds, as measured
on two shared cores, and one command in two hundred comes a cycle late.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from robolearn_ros.driver import POSITION_STEP_RAD, VELOCITY_STEP_RAD_S
from robolearn_ros.simulation import Arm

from robolearn import keys
from robolearn.policy.interpolate import TargetStream
from robolearn.recorder import safety_log
from robolearn.recorder.cycle_codec import Layout, Wrench
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.recorder.hash_chain import plain
from robolearn.recorder.resolution import measured_on_grid, wrench_on_grid
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Measured, Surroundings

HZ, CONTROL_HZ = 500, 50
PERIOD_NS = 10**9 // HZ
BEGIN_NS, UTC_OFFSET_NS = 1_234_567_890_123_456, 1_790_000_000_123_456_789


@dataclass(frozen=True)
class Data:
    """What the sensors and the policy give. Noise: standard deviations; 0 for what does not come."""

    position_noise_rad: float = 1e-5
    velocity_noise_rad_s: float = 1e-3
    effort_noise_nm: float = 0.05
    force_noise_n: float = 0.0
    measured_on_grid: bool = True  # as the safety node records it
    commands_on_grid: bool = True  # as the policy node publishes them


class Session:
    """Gives (packed cycle, monotonic ns) one by one; `calls` are the events in between, by cycle."""

    def __init__(self, data: Data = Data(), seed: int = 0) -> None:
        self.data, self._rng = data, np.random.default_rng(seed)
        self.robot, self.profile = load_robot("fr3"), SafetyProfile.load("fr3")
        self.layout = Layout(self.robot.joint_names)
        self.monitor = SafetyMonitor(self.robot, self.profile, "automatic", 1.0 / HZ)
        self.calls: list[tuple[int, str, dict[str, Any]]] = []
        self.verdicts: dict[str, int] = {}
        self.check_s = 0.0
        self._arm = Arm(self.robot, 1.0 / HZ)
        self._n = self.robot.dof
        self._stream = TargetStream(1.0 / CONTROL_HZ, np.full(self._n, 1.0), np.full(self._n, 5.0))
        self._home = self._arm.position_rad.copy()
        self._position, self._velocity, self._goal = self._home.copy(), np.zeros(self._n), self._home.copy()
        self._person = (5.0, 0.0)

    def cycles(self, seconds: float) -> Iterator[tuple[bytes, int]]:
        """Cycle after cycle."""
        late: list[Command] = []
        for number in range(round(seconds * HZ)):
            tick_ns = BEGIN_NS + number * PERIOD_NS
            now_ns = tick_ns + 60_000 + int(self._rng.gamma(2.0, 25_000))
            self._arm.step()
            measured, wrench = self._sensed((tick_ns - 1_200_000) / 1e9)
            given = late + self._commands(number, (tick_ns - 600_000) / 1e9)
            late = given if self._rng.random() < 0.005 else []
            commands = [] if late else given
            around = Surroundings(*self._person)
            before = time.perf_counter()
            decision = self.monitor.check(commands, measured, around, now_ns / 1e9)
            self.check_s += time.perf_counter() - before
            self.verdicts[str(decision.verdict)] = self.verdicts.get(str(decision.verdict), 0) + 1
            if decision.publish:
                self._arm.command(decision.command_rad)
            if number == 60:
                answer = self.monitor.start(now_ns / 1e9, measured, "bench")
                fields = {"now_s": now_ns / 1e9, "measured": measured, "who": "bench", "answer": answer}
                self.calls.append((number + 1, "start", plain(fields)))
            stored_ns = now_ns + 280_000 + int(self._rng.gamma(2.0, 20_000))
            yield (
                self.layout.pack(
                    number, stored_ns, now_ns / 1e9, commands, measured, around, decision, wrench
                ),
                stored_ns,
            )

    def _sensed(self, stamp_s: float) -> tuple[Measured, Wrench | None]:
        data, rng, n = self.data, self._rng, self._n
        position = self._arm.position_rad + data.position_noise_rad * rng.standard_normal(n)
        velocity = self._arm.velocity_rad_s + data.velocity_noise_rad_s * rng.standard_normal(n)
        effort = wrench = None
        if data.effort_noise_nm:
            effort = self._arm.data.actuator_force[:n] + data.effort_noise_nm * rng.standard_normal(n)
        if data.force_noise_n:
            force = np.array([0.3, -0.2, -8.1]) + data.force_noise_n * rng.standard_normal(3)
            torque = np.array([0.01, 0.02, 0.0]) + 0.05 * data.force_noise_n * rng.standard_normal(3)
            wrench = Wrench(force, torque, stamp_s)
        measured = Measured(self.robot.joint_names, position, velocity, stamp_s, effort)
        if data.measured_on_grid:
            return measured_on_grid(measured), None if wrench is None else wrench_on_grid(wrench)
        return measured, wrench

    def _commands(self, number: int, stamp_s: float) -> list[Command]:
        """The policy node's command of one tick, none in the first tenth of a second."""
        if number % 25 == 0:  # 20 Hz, float32 as a Range message has it
            distance = float(np.float32(5.0 + 0.02 * self._rng.standard_normal()))
            self._person = (distance, stamp_s - 1e-3)
        index = number - 51
        if index < 0:
            return []
        period, phase = divmod(index, HZ // CONTROL_HZ)
        if index == 0:
            self._position = self._arm.target_rad.copy()
            self._stream.hold(self._position)
        elif phase == 0:
            self._next_target(period)
        position, velocity = self._stream.sample(phase / HZ)
        if self.data.commands_on_grid:
            velocity = np.rint(velocity / VELOCITY_STEP_RAD_S) * VELOCITY_STEP_RAD_S
            on_grid = np.rint(position / POSITION_STEP_RAD) * POSITION_STEP_RAD
            position = np.where(velocity == 0.0, position, on_grid)
        return [Command(self.robot.joint_names, position, stamp_s, velocity, "policy:" + "ab" * 32)]

    def _next_target(self, period: int) -> None:
        """A float32 target on the way to a goal that changes every second and a half."""
        if period % 75 == 0:
            self._goal = self._home + self._rng.uniform(-0.35, 0.35, self._n)
        wanted = np.clip(2.0 * (self._goal - self._position), -0.6, 0.6)
        change = np.clip(wanted - self._velocity, -4.0 / CONTROL_HZ, 4.0 / CONTROL_HZ)
        velocity = (self._velocity + change).astype(np.float32)
        position = (self._position + 0.5 * (self._velocity + velocity) / CONTROL_HZ).astype(np.float32)
        self._stream.push(position, velocity)
        self._position, self._velocity = position.astype(float), velocity.astype(float)


def record(directory: Path, seconds: float, data: Data = Data(), seed: int = 0) -> Session:
    """Writes the log of such a session, as the log writer does, but as fast as it can."""
    session = Session(data, seed)
    directory.mkdir(parents=True)
    genesis = plain(
        safety_log._genesis(session.robot, session.profile, {"mode": "automatic", "period_s": 1.0 / HZ})
    )
    sources = {
        safety_log.ROBOT_FILE: safety_log._source_of_robot(session.robot, None),
        safety_log.PROFILE_FILE: safety_log._source_of_profile(session.profile, None),
    }
    options = Options()
    genesis["files"] = {}
    for name, content in sources.items():
        (directory / name).write_bytes(content)
        genesis["files"][name] = {
            "bytes": len(content),
            "sha256": safety_log.hashlib.sha256(content).hexdigest(),
        }
    genesis["writer"] = json.loads(json.dumps(options.__dict__))
    genesis["chain"] = {"number": 1, "previous": None}
    writer = LogWriter(directory, genesis, keys.load_or_create_key(directory.parent / "log.pem"), options)
    writer.start(BEGIN_NS, BEGIN_NS + UTC_OFFSET_NS)
    now_ns = BEGIN_NS
    for number, (payload, now_ns) in enumerate(session.cycles(seconds)):
        for cycle, kind, fields in session.calls:
            if cycle == number:
                writer.event(kind, fields, now_ns)
        writer.cycle(payload)
        writer.tick(now_ns, now_ns + UTC_OFFSET_NS)
    writer.close(now_ns, "closed", {})
    return session
