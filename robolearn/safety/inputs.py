"""What comes in, checked before anything else looks at it: finite, named, fresh, in order, plausible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from robolearn.safety import rules
from robolearn.safety.command_source import brief, started_for
from robolearn.safety.mode_limits import Limits
from robolearn.safety.profile import Separation
from robolearn.safety.types import Command, Measured, Record, Surroundings, Vector


class Reading(NamedTuple):
    """A measurement in the robot's joint order: position [n] rad, velocity [n] rad/s."""

    position_rad: Vector
    velocity_rad_s: Vector
    stamp_s: float


class ValidatedCommand(NamedTuple):
    """A command in the robot's joint order: position [n] rad, velocity [n] rad/s or None."""

    position_rad: Vector
    velocity_rad_s: Vector | None
    stamp_s: float
    source: str


class Selection(NamedTuple):
    """What became of the commands of one cycle.

    commands: the new ones, in order; none where there is a problem.  problem: the first violation, or None.
    index: which of those that arrived was refused, else that of the newest; None where none arrived.
    """

    commands: list[ValidatedCommand]
    problem: Record | None
    index: int | None


class Inputs:
    """Checks inputs and brings them into the robot's joint order. Remembers the last stamps and the last command."""

    def __init__(self, joint_names: tuple[str, ...]):
        self._names = joint_names
        self._orders: dict[tuple[str, ...], list[int]] = {}
        self.now_s = -np.inf
        self._state_stamp_s = -np.inf
        self.forget_commands()

    def forget_commands(self) -> None:
        """A new source of commands may begin: after a start."""
        self._last: ValidatedCommand | None = None
        self._seen: Command | None = None

    def clock(self, now_s: float, gap_max_s: float, source: str) -> Record | None:
        """The caller's clock: finite, not backwards, no gap. Keeps the latest time in `now_s`."""
        before = self.now_s
        record = rules.finite_time(now_s, "the monitor's clock") or rules.forward(
            now_s, before, "the monitor's clock"
        )
        if record is None:
            self.now_s = now_s
            if np.isfinite(before):
                text = f"the monitor's last cycle was {(now_s - before) * 1e3:.1f} ms ago"
                record = rules.over("cycle_gap", now_s - before, gap_max_s, "s", source, text)
        return record

    def reading(
        self, measured: Measured | None, limits: Limits, now_s: float
    ) -> tuple[Reading | None, Record | None]:
        """The measurement in joint order, or what is wrong with it. Both are given where it is merely too old."""
        mode = limits.mode
        if measured is None:
            return None, _missing("state_age", "no joint state was received")
        position, velocity = measured.position_rad, measured.velocity_rad_s
        record = (
            rules.finite(position, "measured position")
            or rules.finite(velocity, "measured velocity")
            or rules.finite_time(measured.stamp_s, "joint state stamp")
            or rules.shape(measured.joint_names, position, velocity, self._names, "joint state")
            or rules.forward(measured.stamp_s, self._state_stamp_s, "the joint state's clock")
        )
        if record:
            return None, record
        self._state_stamp_s = measured.stamp_s
        order = self._order(measured.joint_names)
        reading = Reading(_ordered(position, order), _ordered(velocity, order), measured.stamp_s)
        return reading, rules.age(
            "state_age", now_s, measured.stamp_s, mode.state_age_max_s.value, mode.clock_ahead_max_s.value,
            limits.source("state_age_max_s"), "the joint state",
        )  # fmt: skip

    def commands(self, arrived: Sequence[Command], limits: Limits, started_s: float) -> Selection:
        """The new ones of the commands that arrived in a cycle, each checked against the one before it.

        Every one of them counts: a bad one stops also if a good one came after it. Those from before started_s are
        not meant for this start and are left out; one that came already is no new one.
        """
        most, count = limits.mode.commands_per_cycle_max.value, len(arrived)
        if count > most:
            text = f"{count} commands arrived in one cycle, at most {most:g} may"
            record = rules.over(
                "command_flood", count, most, "1", limits.source("commands_per_cycle_max"), text
            )
            return Selection([], record, count - 1)
        last, new = self._last, []
        for index, command in enumerate(arrived):
            if command is self._seen:
                continue
            checked, record = self._command(command, last, limits, started_s)
            if record:
                return Selection([], record, index)
            if checked is not None:
                last = checked
                new.append(checked)
        record = self._waiting(limits, started_s) if last is None else self._fresh(last.stamp_s, limits)
        if record:
            return Selection([], record, count - 1 if count else None)
        if new:
            self._last, self._seen = last, arrived[-1]
        return Selection(new, None, count - 1 if count else None)

    def _command(
        self, command: Command, last: ValidatedCommand | None, limits: Limits, started_s: float
    ) -> tuple[ValidatedCommand | None, Record | None]:
        """A command in joint order, None where it is no new one; and what is wrong with it, also after last."""
        velocity = command.velocity_rad_s
        record = (
            rules.finite(command.position_rad, "command position")
            or rules.finite(velocity, "command velocity")
            or rules.finite_time(command.stamp_s, "command stamp")
            or rules.shape(command.joint_names, command.position_rad, velocity, self._names, "command")
        )
        if record or command.stamp_s < started_s:
            return None, record
        record = rules.age(
            "command_age", self.now_s, command.stamp_s, np.inf, limits.mode.clock_ahead_max_s.value,
            limits.source("clock_ahead_max_s"), "a command",
        )  # fmt: skip
        if record:
            return None, record
        order = self._order(command.joint_names)
        checked = ValidatedCommand(
            _ordered(command.position_rad, order),
            None if velocity is None else _ordered(velocity, order),
            command.stamp_s,
            command.source,
        )
        if last is not None and checked.stamp_s == last.stamp_s:
            return None, _same(checked, last)
        record = self._consecutive(checked, last, limits)
        return (None, record) if record else (checked, None)

    def _waiting(self, limits: Limits, started_s: float) -> Record | None:
        """The first command after a start comes in time."""
        waited = self.now_s - started_s
        return rules.over(
            "command_age", waited, limits.mode.first_command_wait_max_s.value, "s",
            limits.source("first_command_wait_max_s"), f"no command for {waited:.2f} s after the start",
        )  # fmt: skip

    def _fresh(self, stamp_s: float, limits: Limits) -> Record | None:
        mode = limits.mode
        return rules.age(
            "command_age", self.now_s, stamp_s, mode.command_age_max_s.value, mode.clock_ahead_max_s.value,
            limits.source("command_age_max_s"), "the newest command",
        )  # fmt: skip

    def _consecutive(
        self, command: ValidatedCommand, last: ValidatedCommand | None, limits: Limits
    ) -> Record | None:
        """One source, stamps in order, no implausible jump from one command to the next."""
        if last is None:
            return None
        if started_for(command.source) != started_for(last.source):
            text = f"commands come from '{brief(command.source)}', the start was for '{brief(last.source)}'"
            return Record("source", 1.0, 0.0, -1.0, "1", "robolearn", text)
        return rules.forward(command.stamp_s, last.stamp_s, "the command's clock") or rules.magnitude(
            "command_jump",
            command.position_rad - last.position_rad,
            limits.mode.command_jump_max_rad.value,
            "rad",
            limits.source("command_jump_max_rad"),
            self._names,
        )

    def surroundings(self, given: Surroundings, limits: Limits) -> Record | None:
        """Somebody asks for a stop, the enabling device is not held, or the person sensor is silent."""
        mode = limits.mode
        if given.stop_requested:
            return Record("stop_request", 1.0, 0.0, -1.0, "1", "operator", "a stop was asked for")
        if mode.enabling_device.value == "required":
            record = self._enabled(given, limits)
            if record:
                return record
        if not isinstance(mode.separation, Separation):
            return None
        if given.person_distance_m is None or given.person_stamp_s is None:
            return _missing("person_age", "nothing was received from the person sensor")
        return rules.finite_time(given.person_distance_m + given.person_stamp_s, "person sensor") or rules.age(
            "person_age", self.now_s, given.person_stamp_s, mode.separation.person_age_max_s.value,
            mode.clock_ahead_max_s.value, mode.separation.person_age_max_s.source, "the person sensor",
        )  # fmt: skip

    def _enabled(self, given: Surroundings, limits: Limits) -> Record | None:
        """The enabling device is held, and was so a short while ago."""
        mode = limits.mode
        if given.enabling_device is not True:
            return Record(
                "enabling_device", 0.0, 1.0, -1.0, "1", "profile", "the enabling device is not held"
            )
        if given.enabling_stamp_s is None:
            return _missing("enabling_age", "the enabling device has no time of its last message")
        return rules.finite_time(given.enabling_stamp_s, "enabling device stamp") or rules.age(
            "enabling_age", self.now_s, given.enabling_stamp_s, mode.enabling_age_max_s.value,
            mode.clock_ahead_max_s.value, limits.source("enabling_age_max_s"), "the enabling device",
        )  # fmt: skip

    def _order(self, names: tuple[str, ...]) -> list[int] | None:
        """Where each of the robot's joints is in names; None where they are in the same order."""
        if names == self._names:
            return None
        if names not in self._orders:
            self._orders[names] = [names.index(name) for name in self._names]
        return self._orders[names]


def _same(command: ValidatedCommand, last: ValidatedCommand) -> Record | None:
    """A command with the stamp of the last one is that command again."""
    if command.source == last.source and np.array_equal(command.position_rad, last.position_rad):
        return None
    return Record("clock", 0.0, 0.0, -1.0, "s", "robolearn", "two different commands with one stamp")


def _ordered(values: Vector, order: list[int] | None) -> Vector:
    """A copy in the robot's order: what a caller does to its array later changes nothing here."""
    array = np.array(values, dtype=np.float64)
    return array if order is None else array[order]


def _missing(rule: str, text: str) -> Record:
    return Record(rule, -1.0, 0.0, -1.0, "s", "profile", text)
