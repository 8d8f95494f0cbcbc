"""What comes in, checked before anything else looks at it: finite, named, fresh, in order, plausible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.command_source import brief, started_for
from robolearn.safety.mode_limits import Limits
from robolearn.safety.people import Separation
from robolearn.safety.rules import Stage, in_order
from robolearn.safety.types import Command, Measured, Record, Surroundings, Vector

_ANCHOR_S = 0.1  # between the readings from which jumps are judged: what is allowed beyond speed counts once


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
    """Checks inputs and brings them into the robot's joint order. Keeps the last ones that were good, nothing else.

    now_s: of this cycle, set by the caller; ages are judged by it.
    """

    def __init__(self, joint_names: tuple[str, ...]):
        self._names = joint_names
        self._orders: dict[tuple[str, ...], list[int]] = {}
        self.now_s = -np.inf
        self._state: Reading | None = None  # the last good one
        self._anchor: Reading | None = None  # a good one of a while ago: jumps are judged from it
        self._jumped: Reading | None = None  # the last one that no arm can have got to
        self._around = in_order(
            {
                "stop_request": self._not_asked,
                "enabling_device": self._enabled,
                "enabling_age": self._enabled,
                "person_age": self._person,
            },
            Stage.SURROUNDINGS,
        )
        self.forget_commands()

    def forget_commands(self) -> None:
        """A new source of commands may begin: after a start."""
        self._last: ValidatedCommand | None = None
        self._seen: Command | None = None

    def reading(
        self, measured: Measured | None, limits: Limits, now_s: float, keep: bool = True
    ) -> tuple[Reading | None, Record | None]:
        """The measurement in joint order, or what is wrong with it. Both are given where it is merely too old.

        keep: remember a good one, against which later ones are judged.
        """
        mode = limits.mode
        if measured is None:
            return None, _missing("state_age", "no joint state was received")
        position, velocity, stamp = measured.position_rad, measured.velocity_rad_s, measured.stamp_s
        record = (
            comparisons.finite(position, "measured position")
            or comparisons.finite(velocity, "measured velocity")
            or comparisons.finite_time(stamp, "joint state stamp")
            or comparisons.shape(measured.joint_names, position, velocity, self._names, "joint state")
            or comparisons.age(
                "state_age", now_s, stamp, np.inf, mode.clock_ahead_max_s.value,
                limits.source("clock_ahead_max_s"), "the joint state",
            )
            or (self._state and comparisons.forward(stamp, self._state.stamp_s, "the joint state's clock"))
        )  # fmt: skip
        if record:
            return None, record
        order = self._order(measured.joint_names)
        reading = Reading(_ordered(position, order), _ordered(velocity, order), stamp)
        record = comparisons.age(
            "state_age", now_s, stamp, mode.state_age_max_s.value, np.inf, limits.source("state_age_max_s"),
            "the joint state",
        )  # fmt: skip
        if record:
            return reading, record
        record = self._jump(reading, limits)
        if record:
            self._jumped = reading if keep else self._jumped
            return None, record
        if keep:
            self._keep(reading)
        return reading, None

    def _keep(self, reading: Reading) -> None:
        self._state, self._jumped = reading, None
        if self._anchor is None or reading.stamp_s - self._anchor.stamp_s >= _ANCHOR_S:
            self._anchor = reading

    def _jump(self, reading: Reading, limits: Limits) -> Record | None:
        """An arm gets no farther than its speed takes it in the time since it was seen before.

        What goes on without a break from a place that the arm cannot have got to is not believed later either, though
        by then there would have been time enough.
        """
        if self._state is None or self._anchor is None:
            return None
        record = _reach(reading, self._state, limits) or _reach(reading, self._anchor, limits)
        if record or self._jumped is None:
            return record
        passed = reading.stamp_s - self._jumped.stamp_s
        if passed > limits.mode.state_age_max_s.value or _reach(reading, self._jumped, limits):
            return None
        moved = np.abs(reading.position_rad - self._state.position_rad)
        joint = int(np.argmax(moved))
        far, name = float(moved[joint]), self._names[joint]
        text = f"{name}: the joint state stays at the position that it jumped to, {far:.3g} rad from where the arm was"
        return Record("state_jump", far, 0.0, -far, "rad", limits.source("state_jump_max_rad"), text, name)

    def commands(self, arrived: Sequence[Command], limits: Limits, started_s: float) -> Selection:
        """The new ones of the commands that arrived in a cycle, each checked against the one before it.

        Every one of them counts: a bad one stops also if a good one came after it. Those from before started_s are
        not meant for this start and are left out; one that came already is no new one.
        """
        count = len(arrived)
        record = self.flood(arrived, limits)
        if record:
            return Selection([], record, count - 1)
        last, new = self._last, []
        for index, command in enumerate(arrived):
            if command is self._seen:
                continue
            checked, record = self.judge(command, last, limits, started_s)
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

    def flood(self, arrived: Sequence[Command], limits: Limits) -> Record | None:
        """No more commands arrive in a cycle than may."""
        most, count = limits.mode.commands_per_cycle_max.value, len(arrived)
        if count <= most:
            return None
        text = f"{count} commands arrived in one cycle, at most {most:g} may"
        return comparisons.over(
            "command_flood", count, most, "1", limits.source("commands_per_cycle_max"), text
        )

    def judge(
        self, command: Command, last: ValidatedCommand | None, limits: Limits, started_s: float
    ) -> tuple[ValidatedCommand | None, Record | None]:
        """A command in joint order, None where it is no new one; and what is wrong with it, also after last."""
        velocity = command.velocity_rad_s
        record = (
            comparisons.finite(command.position_rad, "command position")
            or comparisons.finite(velocity, "command velocity")
            or comparisons.finite_time(command.stamp_s, "command stamp")
            or comparisons.shape(command.joint_names, command.position_rad, velocity, self._names, "command")
        )
        if record or command.stamp_s < started_s:
            return None, record
        record = comparisons.age(
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
        return comparisons.over(
            "command_age", waited, limits.mode.first_command_wait_max_s.value, "s",
            limits.source("first_command_wait_max_s"), f"no command for {waited:.2f} s after the start",
        )  # fmt: skip

    def _fresh(self, stamp_s: float, limits: Limits) -> Record | None:
        mode = limits.mode
        return comparisons.age(
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
        return comparisons.forward(
            command.stamp_s, last.stamp_s, "the command's clock"
        ) or comparisons.magnitude(
            "command_jump",
            command.position_rad - last.position_rad,
            limits.mode.command_jump_max_rad.value,
            "rad",
            limits.source("command_jump_max_rad"),
            self._names,
        )

    def surroundings(self, given: Surroundings, limits: Limits) -> Record | None:
        """The first violation around the arm."""
        for check in self._around:
            record = check(given, limits)
            if record is not None:
                return record
        return None

    def _not_asked(self, given: Surroundings, limits: Limits) -> Record | None:
        """No stop is requested."""
        del limits
        if not given.stop_requested:
            return None
        return Record("stop_request", 1.0, 0.0, -1.0, "1", "operator", "a stop was requested")

    def _enabled(self, given: Surroundings, limits: Limits) -> Record | None:
        """The enabling device is held, and was so a short while ago."""
        mode = limits.mode
        if mode.enabling_device.value != "required":
            return None
        if given.enabling_device is not True:
            return Record(
                "enabling_device", 0.0, 1.0, -1.0, "1", "profile", "the enabling device is not held"
            )
        if given.enabling_stamp_s is None:
            return _missing("enabling_age", "the enabling device has no time stamp")
        unclear = comparisons.finite_time(given.enabling_stamp_s, "enabling device stamp")
        return unclear or comparisons.age(
            "enabling_age", self.now_s, given.enabling_stamp_s, mode.enabling_age_max_s.value,
            mode.clock_ahead_max_s.value, limits.source("enabling_age_max_s"), "the enabling device",
        )  # fmt: skip

    def _person(self, given: Surroundings, limits: Limits) -> Record | None:
        """The person sensor tells a distance, and did so a short while ago."""
        mode = limits.mode
        if not isinstance(mode.separation, Separation):
            return None
        if given.person_distance_m is None or given.person_stamp_s is None:
            return _missing("person_age", "nothing was received from the person sensor")
        unclear = comparisons.finite_time(given.person_distance_m + given.person_stamp_s, "person sensor")
        return unclear or comparisons.age(
            "person_age", self.now_s, given.person_stamp_s, mode.separation.person_age_max_s.value,
            mode.clock_ahead_max_s.value, mode.separation.person_age_max_s.source, "the person sensor",
        )  # fmt: skip

    def _order(self, names: tuple[str, ...]) -> list[int] | None:
        """Where each of the robot's joints is in names; None where they are in the same order."""
        if names == self._names:
            return None
        if names not in self._orders:
            self._orders[names] = [names.index(name) for name in self._names]
        return self._orders[names]


def _reach(reading: Reading, before: Reading, limits: Limits) -> Record | None:
    """No joint is farther from where it was than it can have moved since."""
    elapsed, jump = reading.stamp_s - before.stamp_s, limits.mode.state_jump_max_rad.value
    far = reading.position_rad - before.position_rad
    if elapsed >= 0.0 and comparisons.largest(np.abs(far)) <= jump:  # whatever time passed
        return None
    most = limits.velocity_possible_rad_s * elapsed + jump
    if comparisons.every(np.abs(far) <= most):
        return None
    joint = int(np.argmax(np.abs(far) - most))
    value, limit, name = abs(float(far[joint])), float(most[joint]), limits.joint_names[joint]
    text = f"{name}: the joint state jumps by {value:.3g} rad in {elapsed * 1e3:.3g} ms, an arm by {limit:.3g} rad"
    return Record(
        "state_jump", value, limit, limit - value, "rad", limits.source("state_jump_max_rad"), text, name
    )


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
