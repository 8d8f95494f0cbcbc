"""The monitor by itself: what it asks of its parts, in which order, and what it makes of each answer, in full."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety import monitor
from robolearn.safety.inputs import Reading, Selection, ValidatedCommand
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import (
    Answer,
    Command,
    Decision,
    Measured,
    Record,
    State,
    StopReport,
    Surroundings,
    Verdict,
)

ROBOT, PROFILE = load_robot("fr3"), SafetyProfile.load("fr3")
DT = 0.0625
NUMBERS = {
    "cycle_gap_max_s": 0.5, "tracking_error_max_rad": 0.125, "standstill_velocity_max_rad_s": 0.25,
    "standstill_drift_max_rad": 0.0625,
}  # fmt: skip
# The parts are fakes, so what comes in need not be anything. Arrays in lists of calls compare by identity.
COMMANDS, MEASURED, AROUND = ["some", "commands"], "the measurement", Surroundings(2.5)
FIRST_COMMAND = ValidatedCommand(np.array([3.0, 4.0]), np.array([0.3, 0.4]), 9.5, "policy")
SECOND_COMMAND = ValidatedCommand(np.array([3.5, 4.5]), None, 9.75, "policy")
BOTH, NONE_NEW = Selection([FIRST_COMMAND, SECOND_COMMAND], None, 1), Selection([], None, 1)
PLACE, VELOCITY, TRAVEL = np.array([1.0, 2.0]), np.array([0.1, 0.2]), np.array([0.01, 0.02])
NEXT_S, NOW_S, STARTED_S = 11.0, 10.0, 7.0
WAITING = Record("start", 0.0, 1.0, -1.0, "1", "robolearn", "no start was given")
BUG = Record("internal_error", 1.0, 0.0, -1.0, "1", "robolearn", "RuntimeError: a bug")


def found(rule):
    return Record(rule, 3.0, 2.0, -1.0, "m", "test", f"{rule} is wrong")


def reading(offset=(0.0, 0.0), velocity=(0.0, 0.0)):
    return Reading(PLACE + offset, np.array(velocity), NOW_S)


class Fake:
    """One of the monitor's parts: notes in `calls` what it is asked; answers, raises or does what it is told to."""

    def __init__(self, name, calls, **answers):
        self.name, self.calls, self.answers = name, calls, answers

    def __getattr__(self, method):
        answer = self.answers[method]

        def asked(*arguments):
            self.calls.append((f"{self.name}.{method}", *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer() if callable(answer) else answer

        return asked


class Bench:
    """A monitor among fakes, of which `arm` is the follower it made last."""

    def __init__(self, patch, **given):
        self.calls, self.arms = [], []
        self.inputs = Fake(
            "inputs", self.calls, clock=None, reading=(None, None), surroundings=None, commands=NONE_NEW,
            forget_commands=None,
        )  # fmt: skip
        self.inputs.now_s = NOW_S
        self.stream = Fake("stream", self.calls, clear=None, push=None, play=None)
        patch.setattr(monitor, "Inputs", self.made("Inputs", self.inputs))
        patch.setattr(monitor, "CommandStream", self.made("CommandStream", self.stream))
        patch.setattr(monitor, "Follower", self.follower)
        patch.setattr(monitor, "_envelope", self.envelope)
        self.monitor = monitor.SafetyMonitor(ROBOT, PROFILE, **({"period_s": DT} | given))

    def made(self, name, part):
        def make(*arguments):
            self.calls.append((name, *arguments))
            return part

        return make

    def envelope(self, *arguments):
        self.calls.append(("envelope", *arguments))
        mode = SimpleNamespace(**{name: SimpleNamespace(value=value) for name, value in NUMBERS.items()})
        limits = SimpleNamespace(mode=mode, source=lambda field: f"source of {field}", of=arguments[1])
        return SimpleNamespace(limits=limits)

    def follower(self, position_rad, envelope, period_s):
        self.calls.append(("Follower", position_rad, envelope, period_s))
        arm = Fake(
            "arm", self.calls, brake=False, settle=None, tracking=None, person=None, lag=None,
            follow=(Verdict.PASS, ()), remaining_travel=TRAVEL,
        )  # fmt: skip
        arm.position_rad, arm.velocity_rad_s, arm.stopping_time_s = position_rad, VELOCITY, 0.75
        self.arms.append(arm)
        return arm

    @property
    def arm(self):
        return self.arms[-1]

    @property
    def limits(self):
        return self.monitor.limits

    def reads(self, now, problem=None):
        self.inputs.answers["reading"] = now, problem
        return self

    def check(self, around=AROUND):
        """What one cycle decides; `calls` are those of this cycle."""
        self.calls.clear()
        return self.monitor.check(COMMANDS, MEASURED, around, NEXT_S)

    def hold(self):
        """HOLDING, at PLACE."""
        self.reads(Reading(PLACE, np.zeros(2), NOW_S)).check()
        return self

    def run(self):
        assert self.hold().start().accepted
        return self

    def start(self, who="tester"):
        self.calls.clear()
        return self.monitor.start(STARTED_S, MEASURED, who)

    def reset(self, who="tester", why="a test"):
        self.calls.clear()
        return self.monitor.reset(STARTED_S, MEASURED, who, why)

    def stop(self, rule="stop_request", moving=True):
        """STOPPING where the arm still moves, STOPPED where not, because of one finding."""
        self.inputs.answers["surroundings"], self.arm.answers["brake"] = found(rule), moving
        self.check()
        self.inputs.answers["surroundings"] = None
        return self

    def into(self, state):
        self.hold() if state is State.HOLDING else self.run()
        if state in {State.STOPPING, State.STOPPED}:
            self.stop(moving=state is State.STOPPING)
        assert self.monitor.state is state
        return self


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def plain(value):
    """A value with everything in it as tuples and lists, so that whole decisions compare."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, (Decision, StopReport)):
        return tuple(plain(getattr(value, field.name)) for field in fields(value))
    return value


def decided(state, records, verdict=Verdict.STOP, report=None, place=PLACE, index=None):
    latched = state in {State.STOPPING, State.STOPPED}
    return plain(Decision(verdict, place, VELOCITY, latched, state, records, 0.75, report, True, index))


def names(calls):
    return [name for name, *_ in calls]


# ---- construction


def test_a_monitor_makes_its_parts_from_what_it_is_given(monkeypatch):
    bench = Bench(monkeypatch, mode="collaborative", gripper=None)
    made = bench.monitor
    assert bench.calls == [
        *(("envelope", ROBOT, limits, DT, None) for limits in PROFILE.modes.values()),
        ("Inputs", ROBOT.joint_names),
        ("CommandStream", DT),
    ]
    assert (made.robot, made.profile, made.period_s) == (ROBOT, PROFILE, DT)
    assert (made.mode, made.state) == ("collaborative", State.HOLDING)
    assert made.limits.of is PROFILE.modes["collaborative"]


def test_without_more_it_is_of_automatic_mode_two_milliseconds_and_the_parallel_gripper(monkeypatch):
    bench = Bench(monkeypatch)
    bench.calls.clear()
    made = monitor.SafetyMonitor(ROBOT, PROFILE)
    assert bench.calls[:3] == [
        ("envelope", ROBOT, limits, 0.002, "parallel") for limits in PROFILE.modes.values()
    ]
    assert (made.mode, made.period_s) == ("automatic", 0.002)
    assert made.limits.of is PROFILE.modes["automatic"]


@pytest.mark.parametrize("period_s", [-0.002, 0.0, np.nextafter(0.1, 1.0), 1.0, float("nan")])
def test_periods_out_of_bounds_are_refused(monkeypatch, period_s):
    with pytest.raises(ProfileError) as refused:
        Bench(monkeypatch, period_s=period_s)
    assert str(refused.value) == f"period_s is {period_s}, expected above 0 and at most 0.1 s."


@pytest.mark.parametrize("period_s", [1e-9, 0.1])
def test_periods_within_bounds_are_taken(monkeypatch, period_s):
    assert Bench(monkeypatch, period_s=period_s).monitor.period_s == period_s


def test_a_profile_of_another_robot_is_refused():
    with pytest.raises(ProfileError, match="^Profile 'fr3' is for robot 'fr3', not for 'ur5e'"):
        monitor.SafetyMonitor(load_robot("ur5e"), PROFILE)


def test_a_mode_that_there_is_not_is_refused(monkeypatch):
    with pytest.raises(ProfileError, match="^Unknown mode 'automatc'"):
        Bench(monkeypatch, mode="automatc")


def test_an_envelope_is_of_the_modes_limits_and_of_the_arm_among_its_boxes(monkeypatch):
    monkeypatch.setattr(monitor, "compile_limits", lambda *given: ("limits", *given))
    monkeypatch.setattr(monitor, "ArmModel", lambda *given: ("arm", *given))
    monkeypatch.setattr(monitor, "Envelope", lambda *given: given)
    boxes = [
        SimpleNamespace(name="table", min_m=(0.0, 1.0, 2.0), max_m=(3.0, 4.0, 5.0)),
        SimpleNamespace(name="shelf", min_m=(6.0, 7.0, 8.0), max_m=(9.0, 10.0, 11.0)),
    ]
    mode = SimpleNamespace(workspace=SimpleNamespace(keep_out=boxes))
    limits, (arm, robot, corners, gripper), period_s = monitor._envelope("robot", mode, DT, "parallel")
    assert limits == ("limits", mode, "robot")
    assert (arm, robot, gripper, period_s) == ("arm", "robot", "parallel", DT)
    assert {name: (plain(low), plain(high)) for name, (low, high) in corners.items()} == {
        "table": ((np.float64, [0.0, 1.0, 2.0]), (np.float64, [3.0, 4.0, 5.0])),
        "shelf": ((np.float64, [6.0, 7.0, 8.0]), (np.float64, [9.0, 10.0, 11.0])),
    }


# ---- before the first measurement


@pytest.mark.parametrize(
    ("now", "clock", "unread", "records"),
    [
        (None, None, None, ()),
        (None, None, "shape", ("shape",)),
        (None, "clock", None, ("clock",)),
        (None, "clock", "shape", ("clock",)),
        (reading(), None, "state_age", ("state_age",)),
        (reading(), "clock", None, ("clock",)),
    ],
)
def test_before_the_first_valid_measurement_nothing_is_published(bench, now, clock, unread, records):
    bench.inputs.answers["clock"] = clock and found(clock)
    decision = bench.reads(now, unread and found(unread)).check()
    nothing = np.zeros(0)
    expected = Decision(
        Verdict.STOP, nothing, nothing, False, State.HOLDING, tuple(map(found, records)), 0.0, None, False
    )
    assert plain(decision) == plain(expected)
    assert names(bench.calls) == ["inputs.clock", "inputs.reading"]
    assert bench.monitor.state is State.HOLDING


def test_an_error_before_the_first_measurement_publishes_nothing(bench):
    bench.inputs.answers["reading"] = RuntimeError("a bug")
    decision, nothing = bench.check(), np.zeros(0)
    expected = Decision(Verdict.STOP, nothing, nothing, False, State.HOLDING, (BUG,), 0.0, None, False)
    assert plain(decision) == plain(expected)


def rested(bench):
    """The cause of the running stop, and the travel measured from its beginning to (0.5, 0.25) off PLACE."""
    bench.inputs.answers["clock"], bench.arm.answers["brake"] = None, False
    report = bench.reads(reading((0.5, 0.25))).check().stop_report
    return report.cause, report.measured_travel_rad.tolist()


# ---- holding


def test_the_first_measured_position_is_held(bench):
    first = reading()
    decision = bench.reads(first).check()
    assert plain(decision) == decided(State.HOLDING, (WAITING,))
    assert bench.calls == [
        ("inputs.clock", NEXT_S, 0.5, "source of cycle_gap_max_s"),
        ("inputs.reading", MEASURED, bench.limits, NOW_S),
        ("Follower", first.position_rad, bench.monitor._envelopes["automatic"], DT),
        ("arm.brake",),
    ]


@pytest.mark.parametrize("now", [None, reading((0.0625, -0.0625)), reading(velocity=(9.0, 9.0))])
def test_holding_goes_on_whatever_comes_in_and_passes_nothing(bench, now):
    bench.hold().inputs.answers["clock"] = found("clock")
    decision = bench.reads(now, found("state_age")).check()
    assert plain(decision) == decided(State.HOLDING, (WAITING,))
    assert names(bench.calls) == ["inputs.clock", "inputs.reading", "arm.brake"]
    assert len(bench.arms) == 1


def drift(value):
    text = f"{value} rad is above 0.0625 rad"
    source = "source of standstill_drift_max_rad"
    return Record("drift", value, 0.0625, 0.0625 - value, "rad", source, text)


@pytest.mark.parametrize(("offset", "value"), [((0.0, 0.125), 0.125), ((-0.25, 0.125), 0.25)])
def test_an_arm_that_drifts_from_where_it_is_held_is_a_stop(bench, offset, value):
    bench.hold().arm.answers["brake"] = True
    decision = bench.reads(reading(offset)).check()
    assert plain(decision) == decided(State.STOPPING, (drift(value),))
    assert names(bench.calls) == ["inputs.clock", "inputs.reading", "arm.remaining_travel", "arm.brake"]
    assert rested(bench) == ("drift", [0.5 - offset[0], 0.25 - offset[1]])


# ---- running


def test_a_cycle_asks_every_part_once_and_sends_what_the_follower_made_of_it(bench):
    bench.run()
    target, limited = object(), (found("jerk"), found("torque"))
    bench.inputs.answers["commands"] = BOTH
    bench.stream.answers["play"] = target
    bench.arm.answers["follow"] = Verdict.LIMIT, limited
    decision, now = bench.check(), bench.inputs.answers["reading"][0]
    assert plain(decision) == decided(State.RUNNING, limited, Verdict.LIMIT, index=1)
    assert bench.calls == [
        ("inputs.clock", NEXT_S, 0.5, "source of cycle_gap_max_s"),
        ("inputs.reading", MEASURED, bench.limits, NOW_S),
        ("inputs.surroundings", AROUND, bench.limits),
        ("inputs.commands", COMMANDS, bench.limits, STARTED_S),
        ("arm.tracking", now.position_rad),
        ("stream.push", FIRST_COMMAND.position_rad, FIRST_COMMAND.velocity_rad_s, 9.5),
        ("stream.push", SECOND_COMMAND.position_rad, None, 9.75),
        ("arm.person", 2.5),
        ("stream.play",),
        ("arm.lag", target),
        ("arm.follow", target, 2.5),
    ]


def test_without_a_new_command_or_a_target_the_follower_is_asked_all_the_same(bench):
    decision = bench.run().check()
    assert plain(decision) == decided(State.RUNNING, (), Verdict.PASS, index=1)
    assert names(bench.calls)[4:] == ["arm.tracking", "arm.person", "stream.play", "arm.follow"]
    assert bench.calls[-1] == ("arm.follow", None, 2.5)


def test_without_a_reading_tracking_is_not_asked(bench):
    bench.run().reads(None)
    assert plain(bench.check()) == decided(State.RUNNING, (), Verdict.PASS, index=1)
    assert "arm.tracking" not in names(bench.calls)


def test_what_a_caller_does_to_a_decision_changes_nothing(bench):
    decision = bench.run().check()
    decision.command_rad[:] = 9.0
    decision.velocity_rad_s[:] = 9.0
    assert plain(bench.check()) == plain(bench.monitor.check(COMMANDS, MEASURED, AROUND, NEXT_S))
    assert (bench.arm.position_rad.tolist(), VELOCITY.tolist()) == ([1.0, 2.0], [0.1, 0.2])


# What is asked in a cycle, in order, and after which findings it is not asked any more.
FIRST = ["inputs.clock", "inputs.reading"]
INPUTS = [*FIRST, "inputs.surroundings", "inputs.commands"]
CHECKED = [*INPUTS, "arm.tracking"]
UNLESS = {
    "inputs.clock": [], "inputs.reading": [], "inputs.surroundings": FIRST, "inputs.commands": [],
    "arm.tracking": INPUTS, "stream.push": CHECKED, "arm.person": CHECKED, "stream.play": CHECKED,
    "arm.lag": [*CHECKED, "arm.person"],
}  # fmt: skip
FINDERS = [*CHECKED, "arm.person", "arm.lag"]


def let_find(bench, part):
    owner, method = part.split(".")
    answer = found(part)
    if method == "reading":
        answer = bench.inputs.answers["reading"][0], answer
    elif method == "commands":
        answer = Selection([], answer, 0)
    getattr(bench, owner).answers[method] = answer


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("finder", FINDERS)
def test_the_first_finding_is_a_stop(bench, finder, alone):
    bench.run().arm.answers["brake"] = True
    bench.inputs.answers["commands"] = Selection([FIRST_COMMAND], None, 1)
    bench.stream.answers["play"] = object()
    finders = [finder] if alone else FINDERS[FINDERS.index(finder) :]
    for part in finders:
        let_find(bench, part)
    index = 0 if "inputs.commands" in finders else 1
    assert plain(bench.check()) == decided(State.STOPPING, (found(finder),), index=index)
    asked = [part for part, unless in UNLESS.items() if finder not in unless]
    assert names(bench.calls) == [*asked, "arm.remaining_travel", "arm.brake"]
    assert rested(bench) == (finder, [0.5, 0.25])


def test_without_a_reading_the_finding_is_a_stop_all_the_same(bench):
    bench.run().reads(None, found("state_age"))
    bench.arm.answers |= {"brake": True, "tracking": found("tracking")}
    assert plain(bench.check()) == decided(State.STOPPING, (found("state_age"),), index=1)
    assert "arm.tracking" not in names(bench.calls)


@pytest.mark.parametrize("part", ["inputs.clock", "inputs.commands", "arm.follow"])
def test_an_error_inside_is_a_stop(bench, part):
    owner, method = part.split(".")
    bench.run().arm.answers["brake"] = True
    getattr(bench, owner).answers[method] = RuntimeError("a bug")
    assert plain(bench.check()) == decided(State.STOPPING, (BUG,))
    assert names(bench.calls)[-2:] == ["arm.remaining_travel", "arm.brake"]
    assert rested(bench) == ("internal_error", [0.0, 0.0])  # without a reading when it began


# ---- stopping


def test_a_stop_is_reported_in_full_once_at_standstill(bench):
    bench.run().stop()
    bench.inputs.now_s = 12.5
    cause = (found("stop_request"),)
    still, moving = reading((0.5, 0.25), (0.25, -0.25)), reading((0.5, 0.25), (0.0, 0.5))
    assert plain(bench.reads(still).check()) == decided(State.STOPPING, cause)  # it is still sent to move
    bench.arm.answers["brake"] = False
    assert plain(bench.reads(moving).check()) == decided(State.STOPPING, cause)
    report = StopReport("stop_request", NOW_S, 0.8125, 2.5, TRAVEL, np.array([0.5, 0.25]))
    assert plain(bench.reads(still).check()) == decided(State.STOPPED, cause, report=report)
    assert names(bench.calls) == ["inputs.clock", "inputs.reading", "arm.brake"]
    assert plain(bench.check()) == decided(State.STOPPED, cause)
    assert names(bench.calls) == ["inputs.clock", "inputs.reading", "arm.brake"]


def test_a_stop_is_predicted_as_it_begins(bench):
    def brake():
        bench.arm.stopping_time_s -= 0.5
        return bench.arm.stopping_time_s > 0.0

    decision = bench.run().stop(moving=brake).check()
    assert (decision.stopping_time_s, decision.stop_report.predicted_time_s) == (-0.25, 0.8125)


def test_an_arm_of_which_nothing_is_read_is_taken_to_rest_after_a_second(bench):
    bench.run().stop(moving=True).arm.answers["brake"] = False
    cause = (found("stop_request"),)
    bench.reads(None)
    for now_s in (NOW_S, 10.9375):
        bench.inputs.now_s = now_s
        assert plain(bench.check()) == decided(State.STOPPING, cause)
    bench.inputs.now_s = 11.0
    report = StopReport("stop_request", NOW_S, 0.8125, None, TRAVEL, np.zeros(2))
    assert plain(bench.check()) == decided(State.STOPPED, cause, report=report)
    # it is where it was sent, so far as is known
    assert plain(bench.reads(reading((0.0625, 0.0))).check()) == decided(State.STOPPED, cause)
    records = (*cause, drift(0.125))
    assert plain(bench.reads(reading((0.125, 0.0))).check()) == decided(State.STOPPED, records)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_drift_is_told_from_where_the_arm_came_to_rest_and_only_there(bench, sign):
    bench.run().stop()
    cause = (found("stop_request"),)
    assert plain(bench.reads(reading((0.5, 0.0))).check()) == decided(State.STOPPING, cause)
    bench.arm.answers["brake"] = False
    assert bench.check().state is State.STOPPED
    near, off = reading((0.5 + sign * 0.0625, 0.0)), reading((0.5, sign * 0.125))
    assert plain(bench.reads(near).check()) == decided(State.STOPPED, cause)
    assert plain(bench.reads(off).check()) == decided(State.STOPPED, (*cause, drift(0.125)))
    assert plain(bench.reads(None).check()) == decided(State.STOPPED, cause)


@pytest.mark.parametrize("state", [State.STOPPING, State.STOPPED])
def test_a_running_stop_has_one_cause_and_asks_for_no_other(bench, state):
    bench.into(state)
    for part in FINDERS:
        let_find(bench, part)
    assert plain(bench.check()) == decided(state, (found("stop_request"),))
    assert names(bench.calls) == ["inputs.clock", "inputs.reading", "arm.brake"]


def test_an_error_during_a_stop_is_told_and_the_stop_goes_on(bench):
    bench.into(State.STOPPING).inputs.answers["clock"] = RuntimeError("a bug")
    assert plain(bench.check()) == decided(State.STOPPING, (BUG,))
    assert names(bench.calls) == ["inputs.clock", "arm.brake"]
    assert rested(bench) == ("stop_request", [0.5, 0.25])
    assert bench.check().records == (found("stop_request"),)


# ---- changes of mode


def test_a_mode_that_there_is_not_is_no_choice(bench):
    answer = bench.monitor.set_mode("automatik", "")
    assert answer == Answer(
        False,
        "Unknown mode 'automatik'. Available: automatic, collaborative, manual_reduced. "
        "Did you mean 'automatic'?",
    )
    assert bench.monitor.mode == "automatic"


@pytest.mark.parametrize("state", list(State))
def test_a_change_of_mode_names_who_asks(bench, state):
    answer = bench.into(state).monitor.set_mode("collaborative", "")
    assert answer == Answer(False, "A change of mode names who asks for it.")
    assert bench.monitor.mode == "automatic"


@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPING])
def test_the_mode_does_not_change_in_motion(bench, state):
    answer = bench.into(state).monitor.set_mode("collaborative", "tester")
    text = f"The mode changes only at rest, and the monitor is {state.value}. Stop first."
    assert answer == Answer(False, text)
    assert bench.limits.of is PROFILE.modes["automatic"]
    assert (bench.monitor.mode, bench.monitor.state, len(bench.arms)) == ("automatic", state, 1)


@pytest.mark.parametrize("state", [State.HOLDING, State.STOPPED])
def test_at_rest_the_mode_changes_and_what_was_sent_is_held(bench, state):
    bench.into(state).arm.position_rad = sent = PLACE + 0.5
    bench.calls.clear()
    answer = bench.monitor.set_mode("collaborative", "tester")
    assert answer == Answer(True, "Mode collaborative, chosen by tester. A start is needed.")
    assert bench.calls == [("Follower", sent, bench.monitor._envelopes["collaborative"], DT)]
    assert bench.limits.of is PROFILE.modes["collaborative"]
    assert (bench.monitor.mode, bench.monitor.state) == ("collaborative", state)
    stopped = (found("stop_request"),) if state is State.STOPPED else (WAITING,)
    at_rest = bench.reads(reading()).check()  # drift is measured from where the arm came to rest before
    assert plain(at_rest) == decided(state, stopped, place=sent)


def test_before_the_first_measurement_the_mode_changes_and_nothing_is_held(bench):
    bench.calls.clear()
    assert bench.monitor.set_mode("manual_reduced", "tester").accepted
    assert bench.calls == []
    bench.hold()
    assert bench.calls[2][2] is bench.monitor._envelopes["manual_reduced"]


# ---- start


def test_a_start_lets_commands_through(bench):
    answer = bench.hold().start()
    assert answer == Answer(True, "Started by tester.")
    assert bench.calls == [
        ("inputs.reading", MEASURED, bench.limits, STARTED_S),
        ("arm.settle",),
        ("stream.clear",),
        ("inputs.forget_commands",),
    ]
    assert bench.monitor.state is State.RUNNING
    assert len(bench.arms) == 1


def refused_start(bench, text, who="tester"):
    state = bench.monitor.state
    assert bench.start(who) == Answer(False, text)
    assert bench.monitor.state is state
    assert "stream.clear" not in names(bench.calls)


@pytest.mark.parametrize("state", list(State))
def test_a_start_names_who_asks(bench, state):
    refused_start(bench.into(state), "A start names who asks for it.", "")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.RUNNING, "No start: the monitor is running."),
        (State.STOPPING, "No start: the monitor is stopping."),
        (State.STOPPED, "No start: the monitor is stopped. Reset first."),
    ],
)
def test_a_start_is_out_of_holding_only(bench, state, text):
    refused_start(bench.into(state), text)


def test_no_start_of_an_arm_that_rests_outside_its_limits(bench):
    bench.hold().arm.answers["settle"] = found("workspace")
    refused_start(bench, "No start: the arm rests outside its limits (workspace: workspace is wrong).")


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_no_start_of_an_arm_that_is_not_where_it_is_held(bench, sign):
    bench.hold().reads(reading((0.0, sign * 0.1875)))
    text = "No start: the arm is not where it is held. Check that its controller is active."
    refused_start(bench, text)
    assert "arm.settle" not in names(bench.calls)
    assert bench.reads(reading((-sign * 0.0625, sign * 0.125))).start().accepted


# ---- reset


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_reset_ends_the_stop_and_the_arm_goes_on_holding(bench, sign):
    rest = bench.into(State.STOPPED).reads(reading((-sign * 0.0625, sign * 0.125)))
    assert rest.reset() == Answer(True, "Reset by tester: a test. A start is needed.")
    assert bench.calls == [("inputs.reading", MEASURED, bench.limits, STARTED_S)]
    assert len(bench.arms) == 1
    # 0.125 is beyond the allowed drift of 0.0625: it is measured from where the arm rested at the reset
    assert plain(bench.check()) == decided(State.HOLDING, (WAITING,))


def test_an_arm_that_was_moved_is_held_where_it_is(bench):
    moved = reading((0.0, -0.1875))
    answer = bench.into(State.STOPPED).reads(moved).reset()
    text = (
        "Reset by tester: a test. A start is needed. "
        "The arm had been moved: its measured position is held now."
    )
    assert answer == Answer(True, text)
    assert bench.calls[1:] == [("Follower", moved.position_rad, bench.monitor._envelopes["automatic"], DT)]
    assert plain(bench.check()) == decided(State.HOLDING, (WAITING,), place=moved.position_rad)


def test_after_a_reset_another_stop_has_a_cause_of_its_own(bench):
    assert bench.into(State.STOPPED).reset().accepted
    bench.inputs.now_s = 20.0
    assert bench.start().accepted
    bench.stop("person", moving=True)
    bench.arm.answers["brake"] = False
    report = bench.check().stop_report
    assert (report.cause, report.began_s) == ("person", 20.0)


def refused_reset(bench, text, who="tester", why="a test"):
    state = bench.monitor.state
    assert bench.reset(who, why) == Answer(False, text)
    assert bench.monitor.state is state
    assert len(bench.arms) <= 1


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(("who", "why"), [("", "a test"), ("tester", ""), ("", "")])
def test_a_reset_names_who_asks_and_why(bench, state, who, why):
    refused_reset(bench.into(state), "A reset names who asks for it and why.", who, why)


@pytest.mark.parametrize("state", [State.HOLDING, State.RUNNING, State.STOPPING])
def test_only_what_is_stopped_can_be_reset(bench, state):
    refused_reset(bench.into(state), f"Nothing to reset: the monitor is {state.value}.")


# ---- at rest


def test_before_the_first_measurement_there_is_no_start(bench):
    refused_start(bench, "No start: no position of the arm is known yet.")
    assert bench.calls == []


@pytest.mark.parametrize(
    ("now", "problem", "text"),
    [
        (None, found("finite"), "finite is wrong"),
        (reading(), found("state_age"), "state_age is wrong"),
        (None, None, "no joint state was received"),
        (reading(velocity=(0.25, -0.5)), None, "the arm moves at 0.500 rad/s"),
        (reading(velocity=(0.2501, 0.0)), None, "the arm moves at 0.250 rad/s"),
    ],
)
def test_a_start_and_a_reset_need_a_fresh_reading_of_an_arm_at_standstill(bench, now, problem, text):
    refused_start(bench.hold().reads(now, problem), f"No start: {text}.")
    refused_reset(bench.into(State.STOPPED).reads(now, problem), f"No reset: {text}.")


@pytest.mark.parametrize("speed", [-0.25, 0.25])
def test_standstill_includes_its_bound(bench, speed):
    assert bench.hold().reads(reading(velocity=(0.0, speed))).start().accepted


@pytest.mark.parametrize("now_s", [np.nan, np.inf])
def test_the_callers_clock_must_be_finite(bench, now_s):
    bench.hold().calls.clear()
    answer = bench.monitor.start(now_s, MEASURED, "tester")
    assert answer == Answer(False, f"No start: the caller's clock is {now_s}.")
    assert bench.calls == []


# ---- with its own parts


def test_the_real_parts_take_what_they_are_asked():
    real, home, still = monitor.SafetyMonitor(ROBOT, PROFILE), ROBOT.home_rad, np.zeros(ROBOT.dof)

    def cycle(now_s, **around):
        command = Command(ROBOT.joint_names, home, now_s, still)
        measured = Measured(ROBOT.joint_names, home, still, now_s)
        return real.check([command], measured, Surroundings(6.0, now_s, **around), now_s)

    assert cycle(100.0).records == (WAITING,)
    assert real.start(100.0, Measured(ROBOT.joint_names, home, still, 100.0), "tester").accepted
    passed = cycle(100.002)
    assert (passed.verdict, passed.command_rad.tolist()) == (Verdict.PASS, home.tolist())
    stopped = cycle(100.004, stop_requested=True)
    assert (stopped.state, stopped.stop_report.cause) == (State.STOPPED, "stop_request")
