"""One pass over the trace: how often, how near to each limit, how regular in time, what happened around each stop.

Works on blocks of columns, so that a million cycles take seconds and constant memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.recorder.cycle_codec import HAS_COMMAND, STATES, VERDICTS, Layout
from robolearn.review.command_sources import Tally
from robolearn.review.recorded_log import RecordedLog
from robolearn.robots import Robot
from robolearn.robots.kinematics import rotation_from_rpy
from robolearn.safety.profile import MODES, SafetyProfile, Separation
from robolearn.safety.types import State

Columns = NDArray[np.void]
Array = NDArray[np.float64]
BUCKETS = 1200
_LOOKS = 4000
_RUNNING = STATES.index(State.RUNNING)
_BINS = 2000


@dataclass
class Worst:
    """The nearest approach to one limit: margin is the room left, in `unit`; negative is beyond it."""

    key: str
    unit: str
    value: float
    limit: float
    margin: float
    where: str
    cycle: int
    every: int = 1  # one cycle in so many was looked at


@dataclass
class Window:
    """Around one stop: the cycles from `first` to `last`, every `stride`-th kept."""

    stop: int
    at_cycle: int
    first: int
    last: int
    parts: list[Columns] = field(default_factory=list)

    def rows(self, most: int) -> tuple[Columns, int]:
        """At most about `most` rows, and the stride; the row of the stop itself is always among them."""
        rows = np.concatenate(self.parts)
        stride = max(1, -(-len(rows) // most))
        at = int(np.searchsorted(rows["cycle"], self.at_cycle))
        return rows[at % stride :: stride], stride


@dataclass
class Statistics:
    """What one pass found. Times in seconds."""

    cycles: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    worst: dict[str, dict[str, Worst]] = field(default_factory=dict)
    period: dict[str, float] = field(default_factory=dict)
    late: list[dict[str, float]] = field(default_factory=list)
    late_total: int = 0
    backwards: int = 0
    overview: dict[str, list[float | None]] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    sources: Tally = field(default_factory=Tally)
    modes: Counter[str] = field(default_factory=Counter)
    begins: list[int] = field(default_factory=list)
    first_cycle: int = 0
    last_cycle: int = -1
    looks: list[tuple[str, Columns]] = field(default_factory=list)
    looks_every: int = 1

    def keep(self, mode: str, worst: Worst) -> None:
        """Notes a margin if it is the least of its limit."""
        known = self.worst.setdefault(mode, {})
        if worst.key not in known or worst.margin < known[worst.key].margin:
            known[worst.key] = worst


def blocks(
    directory: str | Path | RecordedLog, layout: Layout
) -> Iterator[tuple[Columns, list[bytes | None]]]:
    """The fixed columns of every readable cycle and the source of its command, some thousand cycles at a time."""
    del layout  # the log knows
    for block in RecordedLog.of(directory).blocks():
        yield block.rows, block.sources


def tcp_speeds(robot: Robot, q: Array, qd: Array, gripper: str | None = "parallel") -> Array:
    """TCP speeds [T] m/s for joint positions and velocities [T, n] rad, rad/s; NaN where those are.

    One pass along the chain of `robolearn.robots.forward`, for many postures at once: the speed is the sum over the
    joints of velocity times axis x (TCP - joint).
    """
    position, rotation = np.zeros((len(q), 3)), np.broadcast_to(np.eye(3), (len(q), 3, 3))
    axes, origins = [], []
    for step in (*robot.chain, *robot.tool_steps(gripper)):
        position = position + rotation @ np.asarray(step.xyz, float)
        rotation = rotation @ rotation_from_rpy(step.rpy)
        if step.type == "revolute":
            axis = np.asarray(step.axis, float) / np.linalg.norm(step.axis)
            x, y, z = axis
            cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
            angle = q[:, len(axes), None, None]
            axes.append(rotation @ axis)
            origins.append(position)
            rotation = rotation @ (
                np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
            )
    velocity = np.zeros((len(q), 3))
    for joint, (axis, origin) in enumerate(zip(axes, origins, strict=True)):
        velocity += qd[:, joint, None] * np.cross(axis, position - origin)
    return np.linalg.norm(velocity, axis=1)


class Pass:
    """Accumulates over blocks; `done` gives the result.

    modes: (first cycle, mode name) in order.  windows: around the stops.  total: cycles expected, for the overview.
    """

    def __init__(
        self,
        robot: Robot,
        profile: SafetyProfile,
        period_s: float,
        modes: list[tuple[int, str]],
        windows: list[Window],
        total: int,
        gripper: str | None = "parallel",
    ) -> None:
        self.result = Statistics(windows=windows)
        self._robot, self._profile, self._period_s, self._gripper = robot, profile, period_s, gripper
        self._modes = modes
        self._total = max(1, total)
        self._count = min(BUCKETS, self._total)
        self._histogram = np.zeros(_BINS + 1, np.int64)
        self._last: Columns | None = None
        self._tail: Columns | None = None  # the last two rows, for differences across blocks
        self._longest_s = 0.0
        shape = (self._count,)
        self._over: dict[str, Array] = {
            "t": np.full(shape, np.nan),
            "cycles": np.zeros(shape),
            "limit": np.zeros(shape),
            "stop": np.zeros(shape),
            "speed": np.zeros(shape),
            "tcp": np.zeros(shape),
            "person": np.full(shape, np.inf),
            "period": np.zeros(shape),
        }

    def take(self, rows: Columns, names: list[bytes | None]) -> None:
        """One block, in order; names: the source of each cycle's command."""
        result = self.result
        result.sources.take(rows, names)
        rows = self._with_command_at_hand(rows)
        if not result.cycles:
            result.first_s = float(rows["now_s"][0])
            result.first_cycle = int(rows["cycle"][0])
        result.last_cycle = int(rows["cycle"][-1])
        result.cycles += len(rows)
        result.last_s = float(rows["now_s"][-1])
        for code, count in zip(*np.unique(rows["verdict"], return_counts=True), strict=True):
            result.verdicts[VERDICTS[code]] += int(count)
        for code, count in zip(*np.unique(rows["state"], return_counts=True), strict=True):
            result.states[STATES[code]] += int(count)
        for window in result.windows:
            inside = (rows["cycle"] >= window.first) & (rows["cycle"] <= window.last)
            if inside.any():
                window.parts.append(rows[inside].copy())
        tcp = tcp_speeds(self._robot, rows["sent_position_rad"], rows["sent_velocity_rad_s"], self._gripper)
        before = rows[:1] if self._last is None else self._last
        self._time(np.concatenate([before, rows]))
        self._begins(rows)
        for mode, inside in self._by_mode(rows):
            result.modes[mode] += int(inside.sum())
            self._margins(mode, rows[inside], tcp[inside])
        joined = np.concatenate([self._tail, rows]) if self._tail is not None else rows
        for mode, inside in self._by_mode(joined):
            self._rates(mode, joined[inside])
            self._choose(mode, joined[inside])
        self._tail = joined[-2:].copy()
        self._overview(rows, tcp)
        self._last = rows[-1:].copy()

    def _with_command_at_hand(self, rows: Columns) -> Columns:
        """The rows; where no command arrived, with the last one that had arrived, but none from before a start."""
        before = rows[:1] if self._last is None else self._last
        joined = np.concatenate([before, rows])
        running, at = joined["state"] == _RUNNING, np.arange(len(joined))
        began = np.maximum.accumulate(np.where(running & ~np.roll(running, 1), at, 0))
        arrived = (joined["present"] & HAS_COMMAND) > 0
        arrived[0] = True  # carried over from the rows before, or not there
        newest = np.maximum.accumulate(np.where(arrived, at, 0))
        fill = ~arrived & (newest >= began)
        for name in ("command_stamp_s", "command_position_rad", "command_velocity_rad_s"):
            joined[name][fill] = joined[name][newest[fill]]
        return joined[1:]

    def _by_mode(self, rows: Columns) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Each mode that held somewhere in these rows, and in which of them."""
        starts = [*(first for first, _ in self._modes), np.iinfo(np.int64).max]
        low, high = int(rows["cycle"].min()), int(rows["cycle"].max())
        begin, end = max(0, bisect_right(starts, low) - 1), bisect_right(starts, high)
        for k in range(begin, min(end, len(self._modes))):
            (first, mode), until = self._modes[k], starts[k + 1]
            inside = (rows["cycle"] >= first) & (rows["cycle"] < until)
            if inside.any():
                yield mode, inside

    def _begins(self, rows: Columns) -> None:
        """The cycles in which commands began to be followed."""
        state = rows["state"] == _RUNNING
        before = self._last is not None and bool(self._last["state"][0] == _RUNNING)
        at = np.flatnonzero(state & ~np.concatenate([[before], state[:-1]]))
        self.result.begins += rows["cycle"][at].tolist()

    def _choose(self, mode: str, rows: Columns) -> None:
        """Three cycles in a row, now and then, for `again`."""
        result = self.result
        result.looks_every = max(1, -(-self._total // _LOOKS))
        for at in np.flatnonzero(rows["cycle"] % result.looks_every == 0):
            if at >= 2:
                result.looks.append((mode, rows[at - 2 : at + 1].copy()))

    def _time(self, rows: Columns) -> None:
        steps = np.diff(rows["now_s"])
        result = self.result
        result.backwards += int((steps < 0).sum())
        near = np.clip(steps / self._period_s * (_BINS / 10.0), 0, _BINS).astype(np.int64)
        first = self._last is None
        self._histogram += np.bincount(near[1:] if first else near, minlength=_BINS + 1)
        self._longest_s = max(self._longest_s, float(steps.max(initial=0.0)))
        for at in np.flatnonzero(steps > 2.0 * self._period_s):
            result.late_total += 1
            if len(result.late) < 200:
                row = rows[at + 1]
                step = {"cycle": int(row["cycle"]), "now_s": float(row["now_s"]), "step_s": float(steps[at])}
                result.late.append(step)

    def _margins(self, mode: str, rows: Columns, tcp: Array) -> None:
        limits = self._profile.mode(mode)
        names = self._robot.joint_names
        cycle = rows["cycle"]
        sent, speed = rows["sent_position_rad"], rows["sent_velocity_rad_s"]
        low, high = limits.position_min_rad.array, limits.position_max_rad.array
        self._joint(mode, "position_min_rad", "rad", sent, low, sent - low, names, cycle)
        self._joint(mode, "position_max_rad", "rad", sent, high, high - sent, names, cycle)
        fast = limits.velocity_max_rad_s.array
        self._joint(
            mode, "velocity_max_rad_s", "rad/s", np.abs(speed), fast, fast - np.abs(speed), names, cycle
        )
        self._rates(mode, rows)
        self._one(mode, "tcp_speed_max_m_s", "m/s", tcp, limits.tcp_speed_max_m_s.value, cycle)
        lag = np.abs(rows["measured_position_rad"] - sent)
        error = limits.tracking_error_max_rad.value
        self._joint(
            mode, "tracking_error_max_rad", "rad", lag, np.full(len(names), error), error - lag, names, cycle
        )
        running = rows["state"] == _RUNNING
        for key, stamp in (("command_age_max_s", "command_stamp_s"), ("state_age_max_s", "measured_stamp_s")):
            age = np.where(running, rows["now_s"] - rows[stamp], np.nan)
            self._one(mode, key, "s", age, getattr(limits, key).value, cycle)
            self._one(mode, "clock_ahead_max_s", "s", -age, limits.clock_ahead_max_s.value, cycle)
        if limits.enabling_device.value == "required":
            age = np.where(running, rows["now_s"] - rows["enabling_stamp_s"], np.nan)
            self._one(mode, "enabling_age_max_s", "s", age, limits.enabling_age_max_s.value, cycle)
        if isinstance(limits.separation, Separation):
            age = np.where(running, rows["now_s"] - rows["person_stamp_s"], np.nan)
            most = limits.separation.person_age_max_s.value
            self._one(mode, "separation.person_age_max_s", "s", age, most, cycle)
        self._one(
            mode, "stopping_time_max_s", "s", rows["stopping_time_s"], limits.stopping_time_max_s.value, cycle
        )

    def _rates(self, mode: str, rows: Columns) -> None:
        """Acceleration and jerk of what was sent, jumps between commands, the cycle's own period."""
        limits, names, cycle = self._profile.mode(mode), self._robot.joint_names, rows["cycle"]
        whole = np.diff(cycle.astype(np.int64)) == 1
        change = (
            np.where(whole[:, None], np.diff(rows["sent_velocity_rad_s"], axis=0), np.nan) / self._period_s
        )
        jerk = np.abs(np.diff(change, axis=0)) / self._period_s
        running = rows["state"] == _RUNNING
        jump = np.abs(np.diff(rows["command_position_rad"], axis=0))
        jump = np.where((whole & running[1:] & running[:-1])[:, None], jump, np.nan)
        far = np.full(len(names), limits.command_jump_max_rad.value)
        for key, unit, found, most, at in (
            (
                "acceleration_max_rad_s2",
                "rad/s2",
                np.abs(change),
                limits.acceleration_max_rad_s2.array,
                cycle[1:],
            ),
            ("jerk_max_rad_s3", "rad/s3", jerk, limits.jerk_max_rad_s3.array, cycle[2:]),
            ("command_jump_max_rad", "rad", jump, far, cycle[1:]),
        ):
            if len(found):
                self._joint(mode, key, unit, found, most, most - found, names, at)
        if len(rows) > 1:
            gap = np.where(whole, np.diff(rows["now_s"]), np.nan)
            self._one(mode, "cycle_gap_max_s", "s", gap, limits.cycle_gap_max_s.value, cycle[1:])

    def _joint(
        self,
        mode: str,
        key: str,
        unit: str,
        value: Array,
        limit: Array,
        margin: Array,
        names: tuple[str, ...],
        cycle: Any,
    ) -> None:
        margin = np.where(np.isfinite(margin), margin, np.inf)
        at, joint = np.unravel_index(int(np.argmin(margin)), margin.shape)
        if np.isfinite(margin[at, joint]):
            found = (float(value[at, joint]), float(limit[joint]), float(margin[at, joint]))
            self._keep(mode, Worst(key, unit, *found, names[int(joint)], int(cycle[at])))

    def _one(self, mode: str, key: str, unit: str, value: Array, limit: float, cycle: Any) -> None:
        usable = np.where(np.isfinite(value), value, -np.inf)
        at = int(np.argmax(usable))
        if np.isfinite(usable[at]):
            self._keep(
                mode, Worst(key, unit, float(value[at]), limit, limit - float(value[at]), "", int(cycle[at]))
            )

    def _keep(self, mode: str, worst: Worst) -> None:
        self.result.keep(mode, worst)

    def _overview(self, rows: Columns, tcp: Array) -> None:
        place = np.minimum(rows["cycle"] * self._count // self._total, self._count - 1).astype(np.int64)
        over = self._over
        first = np.unique(place, return_index=True)
        fresh = np.isnan(over["t"][first[0]])
        over["t"][first[0][fresh]] = rows["now_s"][first[1][fresh]]
        np.add.at(over["cycles"], place, 1)
        np.add.at(over["limit"], place, rows["verdict"] == 1)
        np.add.at(over["stop"], place, rows["verdict"] == 2)
        share = np.zeros(len(rows))
        for mode, inside in self._by_mode(rows):
            limit = self._profile.mode(mode).velocity_max_rad_s.array
            share[inside] = np.nan_to_num(np.abs(rows["sent_velocity_rad_s"][inside]) / limit).max(axis=1)
        np.maximum.at(over["speed"], place, share)
        np.maximum.at(over["tcp"], place, np.nan_to_num(tcp))
        person = np.where(np.isfinite(rows["person_distance_m"]), rows["person_distance_m"], np.inf)
        np.minimum.at(over["person"], place, person)
        before = rows["now_s"][:1] - self._period_s if self._last is None else self._last["now_s"]
        np.maximum.at(over["period"], place, np.diff(np.concatenate([before, rows["now_s"]])))

    def done(self) -> Statistics:
        """The result."""
        result = self.result
        counted = int(self._histogram.sum())
        if counted:
            cumulative = np.cumsum(self._histogram) / counted
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
                edge = int(np.searchsorted(cumulative, share))
                result.period[name] = edge * 10.0 / _BINS * self._period_s
            result.period["max"] = self._longest_s
        counts = self._over.pop("cycles")
        for name in ("limit", "stop"):
            self._over[name] /= np.maximum(counts, 1)
        for name, values in self._over.items():
            result.overview[name] = [
                None if not np.isfinite(value) else float(f"{value:.5g}") for value in values
            ]
        return result


def mode_spans(start_mode: str, events: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """From which cycle on which mode held, by the accepted mode events."""
    spans = [(0, start_mode)]
    for event in events:
        fields = event["fields"]
        if event["kind"] != "mode" or not (fields.get("answer") or {}).get("accepted", True):
            continue
        mode, cycle = fields["mode"], event["cycle"]
        if mode in MODES and cycle >= spans[-1][0]:
            if cycle == spans[-1][0]:
                spans.pop()  # no cycle came in between
            spans.append((cycle, mode))
    return spans
