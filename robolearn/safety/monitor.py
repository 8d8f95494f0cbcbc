"""The safety monitor: a deterministic filter between a policy and an arm.

Every cycle `check` decides what goes out: the command bit-identical (PASS), a changed one (LIMIT), or a braking
motion or hold (STOP). It reads no clock, does no I/O, never learns and never tunes itself: the same calls give the
same decisions, which is what lets a recorded trace be replayed.

The invariant: a sample goes out only if it and the braking motion that would follow it are inside every limit, or if
it is itself the next sample of a braking motion found good before. All limits refer to the sequence that was sent.

Where nothing is known to have been sent, or a gap in the cycles broke the sequence, nothing is published until
readings in a row have shown where the arm rests, and that place was checked as a command is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ProfileError, unknown
from robolearn.robots import Robot
from robolearn.safety.braking import Braking
from robolearn.safety.cycle_clock import CycleClock, Tick
from robolearn.safety.envelope import build_envelope
from robolearn.safety.follow import CommandFilter
from robolearn.safety.foresight import Foresight
from robolearn.safety.held_position import HeldPosition, rests_outside
from robolearn.safety.inputs import Inputs, Reading, Selection
from robolearn.safety.mode_limits import Limits
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.recent_faults import RecentFaults
from robolearn.safety.rest import came_to_rest, plainly_moving
from robolearn.safety.rules import Stage, first_found
from robolearn.safety.stops import Stop
from robolearn.safety.stream import CommandTimeline
from robolearn.safety.types import (
    Answer,
    Command,
    Decision,
    Measured,
    Record,
    State,
    StopReport,
    Surroundings,
    Vector,
    Verdict,
)


class SafetyMonitor:
    """Filter for one robot under one profile. Not thread-safe: one caller, one `check` per period.

    Starts in HOLDING: it holds the position that the first readings agree on, and passes no commands until `start`.
    """

    def __init__(
        self,
        robot: Robot,
        profile: SafetyProfile,
        mode: str = "automatic",
        period_s: float = 0.002,
        gripper: str | None = "parallel",
    ):
        if not 0.0 < period_s <= 0.1:
            raise ProfileError(f"period_s is {period_s}, expected above 0 and at most 0.1 s.")
        profile.check_against(robot)
        self.robot, self.profile, self.period_s = robot, profile, period_s
        self._envelopes = {
            name: build_envelope(robot, limits, period_s, gripper) for name, limits in profile.modes.items()
        }
        self._clock = CycleClock(period_s)
        self._inputs = Inputs(robot.joint_names)
        self._timeline = CommandTimeline(period_s)
        self._held, self._faults = HeldPosition(period_s), RecentFaults()
        self._state = State.HOLDING
        self._started_s = 0.0
        self._stop: Stop | None = None
        self._around: Record | None = None  # what around the arm would stop it, in the last cycle
        self._early: list[Command] = []  # arrived in calls that decided nothing
        self._stop_asked = False  # in such a call
        profile.mode(mode)
        self._use_mode(mode)

    @property
    def state(self) -> State:
        """State of the monitor."""
        return self._state

    @property
    def mode(self) -> str:
        """The current mode."""
        return self._mode

    @property
    def limits(self) -> Limits:
        """The limits of the current mode."""
        return self._envelope.limits

    @property
    def _filter(self) -> CommandFilter | None:
        """The sequence that is sent; None while no position is known that could be held."""
        return self._held.filter

    @property
    def braking(self) -> tuple[Braking, int] | None:
        """The braking motion after the last sample, and how many of its samples were sent; None if none was."""
        return None if self._filter is None else self._filter.braking

    def foresee(self, sent_rad: Vector, followed: NDArray[np.bool_]) -> None:
        """For a replay: positions [m, n] rad that the next cycles send if they go as recorded, NaN where none is sent.

        followed: [m], where commands are followed. Changes no decision: see `foresight`.
        """
        envelope = self._envelope
        if envelope.foresight is None:
            envelope.foresight = Foresight(envelope)
        envelope.foresight.take(sent_rad, followed)

    # -- calls by a person --

    def set_mode(self, mode: str, who: str) -> Answer:
        """Change the mode; only at rest, and a start is needed afterwards."""
        if mode not in self._envelopes:
            return Answer(False, unknown("mode", mode, self._envelopes))
        if not who:
            return Answer(False, "A change of mode must name the operator.")
        if self._state not in (State.HOLDING, State.STOPPED):
            return Answer(
                False, f"The mode changes only at rest, and the monitor is {self._state}. Stop first."
            )
        self._use_mode(mode)
        return Answer(True, f"Mode {mode}, chosen by {who}. A start is needed.")

    def reset(self, now_s: float, measured: Measured | None, who: str, why: str) -> Answer:
        """Clear a latched stop whose cause is gone. The arm keeps holding until a start.

        If the arm is further than `standstill_drift_max_rad` from the last sent position, its measured position is held
        from then on, if several readings in a row agree on it and it is inside the limits. robolearn_controller, which
        may have braked by itself, follows again a stream that rests within the same distance.
        """
        if not who or not why:
            return Answer(False, "A reset must name the operator and the reason.")
        if self._state is not State.STOPPED or self._stop is None:
            return Answer(False, f"Nothing to reset: the monitor is {self._state}.")
        cause = self._persisting(self._stop.cause)
        if cause:
            return Answer(False, f"No reset: its cause persists ({cause.rule}: {cause.text}).")
        reading, problem = self._at_rest(now_s, measured)
        if reading is None or self._filter is None:
            return Answer(False, f"No reset: {problem}.")
        text = f"Reset by {who}: {why}. A start is needed."
        if self._held.offset_rad(reading) > self.limits.mode.standstill_drift_max_rad.value:
            problem = self._held.take_measured(reading, self._envelope)
            if problem:
                return Answer(False, f"No reset: {problem}.")
            text += " The arm had been moved: its measured position is held now."
        self._held.at_rest(reading.position_rad)
        self._state, self._stop = State.HOLDING, None
        return Answer(True, text)

    def start(self, now_s: float, measured: Measured | None, who: str) -> Answer:
        """Let commands through from the next cycle on."""
        if not who:
            return Answer(False, "A start must name the operator.")
        if self._state is not State.HOLDING:
            need = " Reset first." if self._state is State.STOPPED else ""
            return Answer(False, f"No start: the monitor is {self._state}.{need}")
        reading, problem = self._at_rest(now_s, measured)
        if reading is None or self._filter is None:
            return Answer(False, f"No start: {problem}.")
        if self._around:
            return Answer(
                False, f"No start: it would stop at once ({self._around.rule}: {self._around.text})."
            )
        if self._held.offset_rad(reading) > self.limits.mode.tracking_error_max_rad.value:
            return Answer(
                False, "No start: the arm is not at its held position. Check that its controller is active."
            )
        outside = self._filter.settle()
        if outside:
            return Answer(False, f"No start: {rests_outside(outside)}.")
        self._timeline.clear()
        self._inputs.forget_commands()
        self._held.readings.forget()
        self._state, self._started_s = State.RUNNING, now_s
        return Answer(True, f"Started by {who}.")

    def _at_rest(self, now_s: float, measured: Measured | None) -> tuple[Reading | None, str]:
        """A fresh reading of an arm at standstill, or why there is none. Nothing of it is kept."""
        if self._filter is None:
            unknown = self._held.unknown
            why = f" ({unknown.rule}: {unknown.text})" if unknown else " yet"
            return None, f"no position of the arm is known that could be held{why}"
        problem, reading = self._clock.current(now_s, self.limits), None
        if problem is None:
            reading, problem = self._inputs.reading(measured, self.limits, now_s, keep=False)
        if problem or reading is None:
            return None, problem.text if problem else "no joint state was received"
        if plainly_moving(reading, self.limits):
            return None, f"the arm moves at {np.abs(reading.velocity_rad_s).max():.3f} rad/s"
        unclear = self._held.readings.unclear(self.limits, reading)
        return (None, unclear.text) if unclear else (reading, "")

    def _persisting(self, cause: Record) -> Record | None:
        """What still breaks the rule of a stop: around the arm in the last cycle, or in what arrived lately."""
        if self._around and self._around.rule == cause.rule:
            return self._around
        return self._faults.find(cause.rule, self._inputs.now_s)

    # -- the cycle --

    def check(
        self,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        now_s: float,
    ) -> Decision:
        """Decide what is sent in this cycle.

        commands: all that arrived since the last cycle, in order of arrival, possibly none; each of them is checked,
        and the newest is followed; one that came already is recognised by its stamp.
        measured: the newest reading.  now_s: seconds on the clock of all stamps, never decreasing. A call that comes
        too early for its period decides nothing; its commands are used in the next cycle.
        An error inside is a stop by the rule `internal_error`; only one in the braking itself is raised.
        """
        try:
            tick = self._clock.tick(now_s, self.limits)
            if tick.early:
                self._early = [*self._early, *commands][
                    : 1 + int(self.limits.mode.commands_per_cycle_max.value)
                ]
                self._stop_asked |= surroundings.stop_requested
                return self._nothing(tick.early)
            return self._check(tick, commands, measured, surroundings)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return self._brake(Record("internal_error", 1.0, 0.0, -1.0, "1", "robolearn", text), None)

    def _check(
        self,
        tick: Tick,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
    ) -> Decision:
        early, self._early = self._early, []
        if self._stop_asked:
            surroundings, self._stop_asked = replace(surroundings, stop_requested=True), False
        self._inputs.now_s = tick.now_s
        reading, unread = self._inputs.reading(measured, self.limits, tick.now_s, keep=tick.believed)
        gap = self._gap_in_cycles(tick, reading)
        if gap:
            self._lose_position(gap, reading)
        self._around = self._inputs.surroundings(surroundings, self.limits)
        self._faults.note(unread, tick.now_s + self.limits.mode.state_age_max_s.value)
        if self._state is not State.RUNNING:
            usable = reading if tick.believed and not unread else None
            self._faults.commands([*early, *commands], self._inputs, self.limits)
            problem = tick.problem or gap or unread
            return self._not_running(problem, reading, usable, surroundings.person_distance_m)
        selection = self._inputs.commands([*early, *commands], self.limits, self._started_s)
        index = None if selection.index is None else selection.index - len(early)
        index = index if index is not None and index >= 0 else None
        problem = first_found(
            {
                Stage.CYCLE: tick.problem or gap,
                Stage.STATE: unread,
                Stage.SURROUNDINGS: self._around,
                Stage.COMMANDS: selection.problem,
            }
        )
        return self._running(problem, reading, selection, surroundings.person_distance_m, index)

    def _running(
        self,
        problem: Record | None,
        reading: Reading | None,
        selection: Selection,
        person_m: float | None,
        index: int | None,
    ) -> Decision:
        """RUNNING: the newest command is followed, unless something is wrong. index: of the command in this cycle."""
        follower = self._filter
        assert follower is not None
        self._faults.note(selection.problem, self._inputs.now_s + self.limits.mode.command_age_max_s.value)
        if problem:
            return self._brake(problem, reading, index)
        for command in selection.commands:
            self._timeline.push(command.position_rad, command.velocity_rad_s, command.stamp_s)
        target = self._timeline.play()
        problem = follower.following(None if reading is None else reading.position_rad, target, person_m)
        if problem:
            self._around = follower.person(person_m)
            return self._brake(problem, reading, index)
        verdict, records = follower.follow(target, person_m)
        return self._decision(verdict, records, index=index)

    def _not_running(
        self,
        problem: Record | None,
        reading: Reading | None,
        usable: Reading | None,
        person_m: float | None,
    ) -> Decision:
        """HOLDING, STOPPING, STOPPED: nothing is followed. usable: the reading, if nothing is wrong with it."""
        self._held.readings.add(usable, self.limits)
        if self._filter is None:
            self._held.unknown = problem or self._held.establish(self._envelope)
            if self._filter is None:
                return self._unknown_position(self._held.unknown, usable)
        self._around = self._around or self._filter.person(person_m)
        if self._state is State.HOLDING:
            return self._hold(reading)
        return self._brake(None, reading)

    def _gap_in_cycles(self, tick: Tick, reading: Reading | None) -> Record | None:
        """The cycles paused for so long that the arm came to rest meanwhile, or it is seen to have done so."""
        if tick.problem and tick.problem.rule == "cycle_gap":
            return tick.problem
        if self._filter is None or reading is None:
            return None
        return came_to_rest(tick.elapsed_s, self.period_s, self._filter.velocity_rad_s, reading, self.limits)

    # -- where the arm is --

    def _lose_position(self, gap: Record, reading: Reading | None) -> None:
        """What the arm did in a gap is not known: the sent sequence ends, and one from rest begins later."""
        if self._filter is not None and self._state is State.RUNNING:
            self._begin_stop(gap, reading)
        self._held.lose()

    def _unknown_position(self, record: Record | None, usable: Reading | None) -> Decision:
        """Nothing is published; a stop ends all the same once the arm is seen at standstill, or after a while."""
        report, stop = None, self._stop
        if self._state is State.STOPPING and stop is not None:
            report = stop.standstill(usable, self._held.readings, self._inputs.now_s, self.limits)
            if report is not None:
                self._state = State.STOPPED
        return self._nothing(record, report)

    def _use_mode(self, mode: str) -> None:
        self._mode, self._envelope = mode, self._envelopes[mode]
        self._held.change_limits(self._envelope)

    # -- holding and stopping --

    def _hold(self, reading: Reading | None) -> Decision:
        """HOLDING: the held position goes out again; an arm that drifts away from it is a stop."""
        assert self._filter is not None
        record = self._held.drift(reading, self.limits)
        if record:
            return self._brake(record, reading)
        self._filter.brake()
        return self._decision(Verdict.STOP, (_WAITING,))

    def _begin_stop(self, record: Record, reading: Reading | None) -> None:
        """From now on the braking motion goes out that was kept ready."""
        follower = self._filter
        assert follower is not None
        predicted_s = follower.stopping_time_s + self.period_s
        self._stop = Stop(record, self._inputs.now_s, predicted_s, follower.remaining_travel(), reading)
        self._state = State.STOPPING

    def _brake(self, record: Record | None, reading: Reading | None, index: int | None = None) -> Decision:
        """Begin a stop because of record, or go on with the running one. index: of the command that was judged."""
        follower = self._filter
        if follower is None:
            return self._nothing(record)
        if self._stop is None and record is not None:
            self._begin_stop(record, reading)
        report = None
        moving_on = follower.brake()
        if self._state is State.STOPPING and self._stop is not None and not moving_on:
            report = self._stop.standstill(reading, self._held.readings, self._inputs.now_s, self.limits)
            if report is not None:
                self._state = State.STOPPED
                self._held.at_rest(follower.position_rad if reading is None else reading.position_rad)
                self._held.readings.forget()  # those before it still show the end of the braking motion
        records = () if self._stop is None else (record or self._stop.cause,)
        drift = self._held.drift(reading, self.limits) if self._state is State.STOPPED else None
        return self._decision(Verdict.STOP, (*records, drift) if drift else records, report, index)

    # -- decisions --

    def _decision(
        self,
        verdict: Verdict,
        records: tuple[Record, ...],
        report: StopReport | None = None,
        index: int | None = None,
    ) -> Decision:
        follower = self._filter
        assert follower is not None
        return Decision(
            verdict=verdict,
            command_rad=follower.position_rad.copy(),
            velocity_rad_s=follower.velocity_rad_s.copy(),
            latched=self._state in (State.STOPPING, State.STOPPED),
            state=self._state,
            records=records,
            stopping_time_s=follower.stopping_time_s,
            stop_report=report,
            command_index=index,
        )

    def _nothing(self, record: Record | None, report: StopReport | None = None) -> Decision:
        """Nothing may be published: no position is known that could be held, or it is not time yet."""
        nothing = np.zeros(0)
        cause = self._stop.cause if self._stop is not None else None
        return Decision(
            verdict=Verdict.STOP,
            command_rad=nothing,
            velocity_rad_s=nothing,
            latched=self._state in (State.STOPPING, State.STOPPED),
            state=self._state,
            records=tuple(dict.fromkeys(found for found in (cause, record) if found is not None)),
            stop_report=report,
            publish=False,
        )


_WAITING = Record("start", 0.0, 1.0, -1.0, "1", "robolearn", "no start was given")
