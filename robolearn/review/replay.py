"""The recorded inputs through the monitor again: the same decisions, or a finding; or through another profile.

Replay: the robot and the profile stored in the log build the monitor, every recorded input goes in, every decision
is compared with the recorded one. A disagreement means that the log, the monitor or its version is not what it says.

Another profile answers "what would that limit have done?". From its first other decision on the arm would have moved
differently, so the measurement is taken to follow what this monitor sends as it followed what was sent then. After a
stop that did not happen then, the cycles up to the next standstill in the recording are not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.errors import LogError
from robolearn.recorder.cycle_codec import STATES, VERDICTS, Cycle, Layout
from robolearn.review.recorded_log import Block, Columns, RecordedLog
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Answer, Decision, Measured, State, Vector, Verdict

ROUNDING = 1e-9  # rad, rad/s: another processor or library may round differently by this much
_KEPT = 1000
_RUNNING, _STOP = STATES.index(State.RUNNING), VERDICTS.index(Verdict.STOP)
_REST_RAD_S = 1e-9


@dataclass(frozen=True)
class Disagreement:
    """One decision that came out differently: in which cycle, in what, what was recorded and what comes out now."""

    cycle: int
    now_s: float
    what: str
    recorded: str
    replayed: str
    after_gap: bool = False  # cycles were lost before: the monitor could not be brought into the same state


@dataclass
class Replay:
    """The result. Iterates over its disagreements (the first thousand; `total` counts all)."""

    profile: str
    profile_digest: str
    other_profile: bool
    disagreements: list[Disagreement] = field(default_factory=list)
    total: int = 0
    cycles: int = 0
    skipped: int = 0
    rounded: int = 0
    stops: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    recorded_verdicts: Counter[str] = field(default_factory=Counter)
    note: str = ""

    @property
    def agrees(self) -> bool:
        """Every decision came out as recorded."""
        return self.total == 0

    def __iter__(self) -> Iterator[Disagreement]:
        return iter(self.disagreements)

    def __len__(self) -> int:
        return self.total

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.other_profile:
            counts = ", ".join(
                f"{verdict} {self.verdicts[verdict]} (recorded {self.recorded_verdicts[verdict]})"
                for verdict in Verdict
            )
            return (
                f"Under profile {self.profile} ({self.profile_digest[:12]}): {counts}; {self.total} decisions "
                f"differ, {self.stops} further stops, {self.skipped} cycles after them not evaluated."
            )
        if self.agrees:
            exactly = (
                f", {self.rounded} of them within rounding ({ROUNDING:g} rad)"
                if self.rounded
                else " bit-exactly"
            )
            return f"All {self.cycles} recorded decisions reproduced{exactly}."
        first = self.disagreements[0]
        return (
            f"{self.total} of {self.cycles} decisions differ, the first in cycle {first.cycle}: "
            f"{first.what} was {first.recorded}, now {first.replayed}."
        )


def cycles(directory: str | Path | RecordedLog, layout: Layout) -> Iterator[Cycle]:
    """Every readable cycle of a log, in order."""
    del layout  # the log knows
    for block in RecordedLog.of(directory).blocks():
        yield from (cycle for cycle in block.cycles if isinstance(cycle, Cycle))


def replay(
    log: str | Path | RecordedLog,
    profile: str | Path | SafetyProfile | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Replay:
    """Runs a log, a folder or one that is open, through the monitor again, or through it under another profile.

    progress: called with (cycles done, cycles in all) now and then. Raises LogError where the log cannot be replayed.
    """
    run = Replaying(RecordedLog.of(log), profile)
    for block in run.log.blocks():
        run.take(block)
        if progress is not None:
            progress(run.result.cycles, run.log.cycles_stated)
    if progress is not None:
        progress(run.result.cycles, max(run.log.cycles_stated, run.result.cycles))
    return run.result


class Replaying:
    """A replay that takes the cycles block by block, so that others can read the same blocks."""

    def __init__(self, log: RecordedLog, profile: str | Path | SafetyProfile | None = None) -> None:
        """profile: another one to run the log through. Raises LogError where the log cannot be replayed."""
        self.log = log
        start, made_with = log.start, log.made_with
        robot, chosen = made_with.robot, made_with.profile
        if profile is not None:
            chosen = profile if isinstance(profile, SafetyProfile) else SafetyProfile.load(profile)
        other = chosen.digest != made_with.profile.digest
        arguments = {"mode": start["mode"], "period_s": log.period_s}
        if "gripper" in start["session"]:
            arguments["gripper"] = start["session"]["gripper"]
        self.result = Replay(start["profile"]["name"] if not other else chosen.name, chosen.digest, other)
        self.result.note = made_with.note
        self._run = _Run(lambda: SafetyMonitor(robot, chosen, **arguments), self.result)
        self._calls = [event for event in log.events if event["kind"] in ("reset", "start", "mode")]
        self._at = 0

    def take(self, block: Block) -> None:
        """The next cycles, and the calls of operators between them. Raises LogError when the log's time is up."""
        calls = self._calls
        self._run.foresee(block.rows)
        for cycle in block.cycles:
            number = cycle if isinstance(cycle, int) else cycle.number
            while self._at < len(calls) and calls[self._at]["cycle"] <= number:
                self._run.call(calls[self._at])
                self._at += 1
            if isinstance(cycle, int):
                self._run.unreadable(number)
            else:
                self._run.cycle(cycle)
            self.log.budget.check()


class _Run:
    """One pass: the monitor, what it sent last, what was sent then."""

    def __init__(self, build: Callable[[], SafetyMonitor], result: Replay) -> None:
        self._build = build
        self._result = result
        self._monitor = build()
        self._other = result.other_profile
        self._expected = 0
        self._gap = False
        self._offset: tuple[Vector, Vector] | None = None
        self._waiting = False
        self._mode: tuple[str, str] | None = None

    def call(self, event: dict[str, Any]) -> None:
        """An operator's call, given to the monitor as it was given then."""
        fields = event["fields"]
        if "who" not in fields or self._waiting:
            return
        kind, who = event["kind"], str(fields["who"])
        if kind == "mode":
            self._mode = (str(fields["mode"]), who)
            answer = self._monitor.set_mode(*self._mode)
        else:
            measured = _measured(fields.get("measured"))
            if kind == "reset":
                answer = self._monitor.reset(float(fields["now_s"]), measured, who, str(fields.get("why")))
            else:
                answer = self._monitor.start(float(fields["now_s"]), measured, who)
        self._compare_answer(event, answer)

    def _compare_answer(self, event: dict[str, Any], answer: Answer) -> None:
        recorded = event["fields"].get("answer")
        if isinstance(recorded, dict) and bool(recorded.get("accepted")) != answer.accepted:
            was = f"{'accepted' if recorded.get('accepted') else 'refused'} ({recorded.get('text')})"
            now = f"{'accepted' if answer.accepted else 'refused'} ({answer.text})"
            now_s = float(event["fields"].get("now_s", 0.0))
            self._add(Disagreement(event["cycle"], now_s, f"answer to {event['kind']}", was, now, self._gap))

    def foresee(self, rows: Columns) -> None:
        """What the next cycles sent, which saves the monitor most of its time."""
        followed = (rows["state"] == _RUNNING) & (rows["verdict"] != _STOP)
        self._monitor.foresee(rows["sent_position_rad"], followed)

    def cycle(self, cycle: Cycle) -> None:
        """One recorded cycle."""
        result = self._result
        result.cycles += 1
        result.recorded_verdicts[cycle.decision.verdict] += 1
        self._gap = self._gap or cycle.number != self._expected
        self._expected = cycle.number + 1
        if self._waiting and not self._resume(cycle):
            result.skipped += 1
            return
        measured = self._follow(cycle.measured) if self._other else cycle.measured
        decision = self._monitor.check(cycle.commands, measured, cycle.surroundings, cycle.now_s)
        result.verdicts[decision.verdict] += 1
        if not _same(cycle.decision, decision):
            found = next(_differences(cycle.decision, decision, result), None)  # the first says it
            if found is not None:
                self._add(Disagreement(cycle.number, cycle.now_s, *found, self._gap))
        if self._other:
            self._note_other(cycle, decision)

    def unreadable(self, number: int) -> None:
        """A recorded cycle whose bytes are none: there is nothing to compare, so it does not agree."""
        self._result.cycles += 1
        self._gap, self._expected = True, number + 1
        self._add(Disagreement(number, float("nan"), "bytes", "a cycle", "bytes that are no cycle"))

    def _note_other(self, cycle: Cycle, decision: Decision) -> None:
        then = cycle.decision
        if decision.latched and not then.latched:
            self._result.stops += 1
            self._waiting = True
            self._offset = None
        elif decision.publish and then.publish:
            self._offset = (
                decision.command_rad - then.command_rad,
                decision.velocity_rad_s - then.velocity_rad_s,
            )

    def _resume(self, cycle: Cycle) -> bool:
        """A fresh monitor at the next standstill of the recording, started if the recording is running there."""
        then = cycle.decision
        if not then.publish or np.abs(then.velocity_rad_s).max() > _REST_RAD_S or cycle.measured is None:
            return False
        self._monitor = self._build()
        if self._mode is not None:
            self._monitor.set_mode(*self._mode)
        if then.state is State.RUNNING:
            self._rest_before(cycle, cycle.measured)
            if not self._monitor.start(cycle.now_s, cycle.measured, "replay").accepted:
                return False
        self._waiting = False
        return True

    def _rest_before(self, cycle: Cycle, measured: Measured) -> None:
        """Cycles before this one in which the arm rests where it is now: a monitor asks for several readings."""
        period_s = self._monitor.period_s
        readings = round(self._monitor.limits.mode.rest_readings_min.value)
        for k in range(readings, -1, -1):
            earlier = replace(measured, stamp_s=measured.stamp_s - k * period_s)
            self._monitor.check((), earlier, cycle.surroundings, cycle.now_s - k * period_s)

    def _follow(self, measured: Measured | None) -> Measured | None:
        """The measurement, moved by as much as what this monitor sent lies beside what was sent then."""
        if measured is None or self._offset is None or measured.position_rad.shape != self._offset[0].shape:
            return measured
        position, velocity = self._offset
        return replace(
            measured,
            position_rad=measured.position_rad + position,
            velocity_rad_s=measured.velocity_rad_s + velocity,
        )

    def _add(self, disagreement: Disagreement) -> None:
        self._result.total += 1
        if len(self._result.disagreements) < _KEPT:
            self._result.disagreements.append(disagreement)


def _same(then: Decision, now: Decision) -> bool:
    """Whether two decisions are the same, bit for bit: at once, because nearly all are."""
    return (
        then.verdict is now.verdict
        and then.state is now.state
        and then.latched == now.latched
        and then.publish == now.publish
        and then.command_index == now.command_index
        and then.command_rad.tobytes() == now.command_rad.tobytes()
        and then.velocity_rad_s.tobytes() == now.velocity_rad_s.tobytes()
        and len(then.records) == len(now.records)
        and all(was.rule == is_now.rule for was, is_now in zip(then.records, now.records, strict=True))
    )


def _differences(then: Decision, now: Decision, result: Replay) -> Iterator[tuple[str, str, str]]:
    for what in ("verdict", "state", "latched", "publish"):
        if getattr(then, what) != getattr(now, what):
            yield what, _with_rules(getattr(then, what), then), _with_rules(getattr(now, what), now)
    if then.publish and now.publish:
        rounded = False
        for what in ("command_rad", "velocity_rad_s"):
            was, is_now = getattr(then, what), getattr(now, what)
            if was.tobytes() != is_now.tobytes() and not np.array_equal(was, is_now):
                rounded = True
                if not (np.abs(was - is_now) <= ROUNDING).all():
                    joint = int(np.argmax(np.abs(was - is_now)))
                    yield f"{what} of joint {joint + 1}", f"{was[joint]!r}", f"{is_now[joint]!r}"
        result.rounded += rounded
    if then.command_index != now.command_index:
        yield "command_index", str(then.command_index), str(now.command_index)
    rules = [[record.rule for record in decision.records] for decision in (then, now)]
    if rules[0] != rules[1]:
        yield "rules", ", ".join(rules[0]) or "none", ", ".join(rules[1]) or "none"


def _with_rules(value: Any, decision: Decision) -> str:
    rules = ", ".join(dict.fromkeys(record.rule for record in decision.records))
    return f"{value} ({rules})" if rules else str(value)


def _measured(data: dict[str, Any] | None) -> Measured | None:
    if data is None:
        return None
    try:
        return Measured(
            tuple(data["joint_names"]),
            np.array(data["position_rad"], np.float64),
            np.array(data["velocity_rad_s"], np.float64),
            float(data["stamp_s"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LogError(f"A recorded call names no measurement that can be replayed: {error}.") from error
