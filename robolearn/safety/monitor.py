"""The safety monitor: a deterministic filter between a policy and an arm.

Every cycle `check` decides what goes out: the command bit-identical (PASS), a changed one (LIMIT), or a braking
motion or hold (STOP). It reads no clock, does no I/O, never learns and never tunes itself: the same calls give the
same decisions, which is what lets a recorded trace be replayed.

The invariant: a sample goes out only if it and the braking motion that would follow it are inside every limit, or if
it is itself the next sample of a braking motion found good before. All limits refer to the sequence that was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robolearn.errors import ProfileError, unknown
from robolearn.robots import Robot
from robolearn.safety import rules
from robolearn.safety.arm_model import ArmModel
from robolearn.safety.braking import Braking
from robolearn.safety.envelope import Envelope
from robolearn.safety.follow import Follower
from robolearn.safety.inputs import Inputs, Reading
from robolearn.safety.mode_limits import Limits, compile_limits
from robolearn.safety.profile import ModeLimits, SafetyProfile
from robolearn.safety.stops import Stop
from robolearn.safety.stream import CommandStream
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

    Begins in HOLDING: it holds the first measured position and passes nothing until `start`.
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
            name: _envelope(robot, limits, period_s, gripper) for name, limits in profile.modes.items()
        }
        self._inputs = Inputs(robot.joint_names)
        self._stream = CommandStream(period_s)
        self._follower: Follower | None = None  # None until a position is known
        self._state = State.HOLDING
        self._started_s = 0.0
        self._stop: Stop | None = None
        profile.mode(mode)
        self._use_mode(mode)

    @property
    def state(self) -> State:
        """Where the monitor stands."""
        return self._state

    @property
    def mode(self) -> str:
        """The mode whose limits hold."""
        return self._mode

    @property
    def limits(self) -> Limits:
        """The limits of the current mode."""
        return self._envelope.limits

    @property
    def braking(self) -> tuple[Braking, int] | None:
        """The braking motion behind the last sample, and how many of its samples were sent; None where none was."""
        return None if self._follower is None else self._follower.braking

    def set_mode(self, mode: str, who: str) -> Answer:
        """Change the mode; only at rest, and a start is needed afterwards."""
        if mode not in self._envelopes:
            return Answer(False, unknown("mode", mode, self._envelopes))
        if not who:
            return Answer(False, "A change of mode names who asks for it.")
        if self._state not in (State.HOLDING, State.STOPPED):
            return Answer(
                False, f"The mode changes only at rest, and the monitor is {self._state}. Stop first."
            )
        self._use_mode(mode)
        return Answer(True, f"Mode {mode}, chosen by {who}. A start is needed.")

    def reset(self, now_s: float, measured: Measured | None, who: str, why: str) -> Answer:
        """End a latched stop. This is no start: the arm goes on holding."""
        if not who or not why:
            return Answer(False, "A reset names who asks for it and why.")
        if self._state is not State.STOPPED:
            return Answer(False, f"Nothing to reset: the monitor is {self._state}.")
        reading, problem = self._at_rest(now_s, measured)
        if reading is None or self._follower is None:
            return Answer(False, f"No reset: {problem}.")
        text = f"Reset by {who}: {why}. A start is needed."
        if self._gap(reading) > self.limits.mode.tracking_error_max_rad.value:
            self._follower = self._holding(reading.position_rad)
            text += " The arm had been moved: its measured position is held now."
        self._rest_rad = reading.position_rad
        self._state, self._stop = State.HOLDING, None
        return Answer(True, text)

    def start(self, now_s: float, measured: Measured | None, who: str) -> Answer:
        """Let commands through from the next cycle on."""
        if not who:
            return Answer(False, "A start names who asks for it.")
        if self._state is not State.HOLDING:
            need = " Reset first." if self._state is State.STOPPED else ""
            return Answer(False, f"No start: the monitor is {self._state}.{need}")
        reading, problem = self._at_rest(now_s, measured)
        if reading is None or self._follower is None:
            return Answer(False, f"No start: {problem}.")
        if self._gap(reading) > self.limits.mode.tracking_error_max_rad.value:
            return Answer(
                False, "No start: the arm is not where it is held. Check that its controller is active."
            )
        outside = self._follower.settle()
        if outside:
            return Answer(
                False, f"No start: the arm rests outside its limits ({outside.rule}: {outside.text})."
            )
        self._stream.clear()
        self._inputs.forget_commands()
        self._state, self._started_s = State.RUNNING, now_s
        return Answer(True, f"Started by {who}.")

    def check(
        self,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        now_s: float,
    ) -> Decision:
        """Decide what goes out in this cycle.

        commands: all that arrived since the last cycle, in order of arrival, possibly none; each of them is checked,
        and the newest is followed; one that came already is recognised by its stamp.
        measured: the newest reading.  now_s: seconds on the clock of all stamps, never decreasing.
        An error inside is a stop by the rule `internal_error`; only one in the braking itself is raised.
        """
        try:
            return self._check(commands, measured, surroundings, now_s)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return self._brake(Record("internal_error", 1.0, 0.0, -1.0, "1", "robolearn", text), None)

    def _check(
        self,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        now_s: float,
    ) -> Decision:
        mode = self.limits.mode
        problem = self._inputs.clock(now_s, mode.cycle_gap_max_s.value, self.limits.source("cycle_gap_max_s"))
        reading, unread = self._inputs.reading(measured, self.limits, self._inputs.now_s)
        problem = problem or unread
        if self._follower is None:
            if reading is None or problem:  # an arm may have left the place that an old reading names
                return _nothing(problem)
            self._follower = self._holding(reading.position_rad)
        if self._state is State.HOLDING:
            return self._hold(reading)
        if self._state is not State.RUNNING:
            return self._brake(None, reading)
        problem = problem or self._inputs.surroundings(surroundings, self.limits)
        selection = self._inputs.commands(commands, self.limits, self._started_s)
        problem, index = problem or selection.problem, selection.index
        if problem is None and reading is not None:
            problem = self._follower.tracking(reading.position_rad)
        if problem:
            return self._brake(problem, reading, index)
        for command in selection.commands:
            self._stream.push(command.position_rad, command.velocity_rad_s, command.stamp_s)
        person = surroundings.person_distance_m
        problem = self._follower.person(person)
        target = self._stream.play()
        if problem is None and target is not None:
            problem = self._follower.lag(target)
        if problem:
            return self._brake(problem, reading, index)
        verdict, records = self._follower.follow(target, person)
        return self._decision(verdict, records, index=index)

    def _hold(self, reading: Reading | None) -> Decision:
        """HOLDING: the held position goes out again; an arm that drifts away from it is a stop."""
        assert self._follower is not None
        record = self._drift(reading)
        if record:
            return self._brake(record, reading)
        self._follower.brake()
        return self._decision(Verdict.STOP, (_WAITING,))

    def _drift(self, reading: Reading | None) -> Record | None:
        """A resting arm stays where it came to rest."""
        if reading is None:
            return None
        return rules.over(
            "drift", float(np.abs(reading.position_rad - self._rest_rad).max()),
            self.limits.mode.standstill_drift_max_rad.value, "rad",
            self.limits.source("standstill_drift_max_rad"),
        )  # fmt: skip

    def _brake(self, record: Record | None, reading: Reading | None, index: int | None = None) -> Decision:
        """Begin a stop because of record, or go on with the running one. index: of the command that was judged."""
        follower = self._follower
        if follower is None:
            return _nothing(record)
        if self._stop is None and record is not None:
            began = self._inputs.now_s
            predicted_s, travel = follower.stopping_time_s + self.period_s, follower.remaining_travel()
            self._stop = Stop(record, began, predicted_s, travel, reading)
            self._state = State.STOPPING
        report = None
        moving = follower.brake()
        if self._state is State.STOPPING and self._stop is not None and not moving:
            report = self._stop.standstill(reading, self._inputs.now_s, self.limits)
            if report is not None:
                self._state = State.STOPPED
                self._rest_rad = follower.position_rad if reading is None else reading.position_rad
        records = () if self._stop is None else (record or self._stop.cause,)
        drift = self._drift(reading) if self._state is State.STOPPED else None
        return self._decision(Verdict.STOP, (*records, drift) if drift else records, report, index)

    def _decision(
        self,
        verdict: Verdict,
        records: tuple[Record, ...],
        report: StopReport | None = None,
        index: int | None = None,
    ) -> Decision:
        follower = self._follower
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

    def _use_mode(self, mode: str) -> None:
        self._mode, self._envelope = mode, self._envelopes[mode]
        if self._follower is not None:
            self._follower = Follower(self._follower.position_rad, self._envelope, self.period_s)

    def _holding(self, position_rad: Vector) -> Follower:
        """A follower at rest at position_rad [n], of which later drift is measured."""
        self._rest_rad = position_rad
        return Follower(position_rad, self._envelope, self.period_s)

    def _gap(self, reading: Reading) -> float:
        """How far the arm is from what was sent, rad."""
        assert self._follower is not None
        return float(np.abs(reading.position_rad - self._follower.position_rad).max())

    def _at_rest(self, now_s: float, measured: Measured | None) -> tuple[Reading | None, str]:
        """A fresh reading of an arm at standstill, or why there is none."""
        if self._follower is None:
            return None, "no position of the arm is known yet"
        problem = rules.finite_time(now_s, "the caller's clock")
        if problem is None:
            reading, problem = self._inputs.reading(measured, self.limits, now_s)
        else:
            reading = None
        if problem or reading is None:
            return None, problem.text if problem else "no joint state was received"
        speed = float(np.abs(reading.velocity_rad_s).max())
        if speed > self.limits.mode.standstill_velocity_max_rad_s.value:
            return None, f"the arm moves at {speed:.3f} rad/s"
        return reading, ""


def _envelope(robot: Robot, mode: ModeLimits, period_s: float, gripper: str | None) -> Envelope:
    boxes = {box.name: (np.array(box.min_m), np.array(box.max_m)) for box in mode.workspace.keep_out}
    return Envelope(compile_limits(mode, robot), ArmModel(robot, boxes, gripper), period_s)


def _nothing(record: Record | None) -> Decision:
    """Before the first valid measurement: there is nothing to hold, so nothing may be published."""
    nothing = np.zeros(0)
    records = () if record is None else (record,)
    return Decision(Verdict.STOP, nothing, nothing, False, State.HOLDING, records, publish=False)


_WAITING = Record("start", 0.0, 1.0, -1.0, "1", "robolearn", "no start was given")
