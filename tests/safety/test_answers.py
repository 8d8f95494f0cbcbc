"""What the monitor answers to a person, in full, and what becomes of errors inside it."""

from types import SimpleNamespace

import numpy as np
import pytest
from safety_rig import DT, Rig, profile_with

from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety import arm_model, envelope
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Answer, Record, State, Surroundings, Verdict

ROBOT, PROFILE = load_robot("fr3"), SafetyProfile.load("fr3")


def into(state, **given):
    """A rig whose monitor is in a state."""
    rig = Rig(start=state is not State.HOLDING, **given)
    if state in (State.STOPPING, State.STOPPED):
        rig.move(0.3, 0.3)
        rig.cycle(None, around=rig.around(stop_requested=True))
        if state is State.STOPPED:
            rig.coast()
    assert rig.monitor.state is state
    return rig


# ---- construction


@pytest.mark.parametrize("period_s", [-0.002, 0.0, np.nextafter(0.1, 1.0), 1.0, float("nan")])
def test_periods_out_of_bounds_are_refused(period_s):
    with pytest.raises(ProfileError) as refused:
        SafetyMonitor(ROBOT, PROFILE, period_s=period_s)
    assert str(refused.value) == f"period_s is {period_s}, expected above 0 and at most 0.1 s."


@pytest.mark.parametrize("period_s", [1e-9, 0.1])
def test_periods_within_bounds_are_taken(period_s):
    assert SafetyMonitor(ROBOT, PROFILE, period_s=period_s).period_s == period_s


def test_a_profile_of_another_robot_is_refused():
    with pytest.raises(ProfileError, match="^Profile 'fr3' is for robot 'fr3', not for 'ur5e'"):
        SafetyMonitor(load_robot("ur5e"), PROFILE)


def test_a_mode_that_there_is_not_is_refused():
    with pytest.raises(ProfileError, match="^Unknown mode 'automatc'"):
        SafetyMonitor(ROBOT, PROFILE, mode="automatc")


def test_without_more_it_is_of_automatic_mode_two_milliseconds_and_the_parallel_gripper():
    made = SafetyMonitor(ROBOT, PROFILE)
    assert (made.robot, made.profile, made.period_s) == (ROBOT, PROFILE, 0.002)
    assert (made.mode, made.state) == ("automatic", State.HOLDING)
    assert made.limits.mode is PROFILE.mode("automatic")
    with_gripper = {name for name in made._envelope.arm.names if "gripper" in name}
    assert with_gripper
    without = SafetyMonitor(ROBOT, PROFILE, gripper=None)._envelope.arm.names
    assert not with_gripper & set(without)


def test_an_envelope_is_of_the_modes_limits_and_of_the_arm_among_its_boxes(monkeypatch):
    monkeypatch.setattr(envelope, "compile_limits", lambda *given: ("limits", *given))
    monkeypatch.setattr(
        arm_model, "ArmModel", lambda *given: SimpleNamespace(another=lambda: ("arm", *given))
    )
    monkeypatch.setattr(envelope, "Envelope", lambda *given: given)
    boxes = [
        SimpleNamespace(name="table", min_m=(0.0, 1.0, 2.0), max_m=(3.0, 4.0, 5.0)),
        SimpleNamespace(name="shelf", min_m=(6.0, 7.0, 8.0), max_m=(9.0, 10.0, 11.0)),
    ]
    mode = SimpleNamespace(workspace=SimpleNamespace(keep_out=boxes))
    given = type("Robot", (), {})()  # arms are kept by the robot that they are of
    limits, (arm, robot, corners, gripper), period_s = envelope.build_envelope(given, mode, DT, "parallel")
    assert limits == ("limits", mode, given)
    assert (arm, robot, gripper, period_s) == ("arm", given, "parallel", DT)
    assert {name: (low.tolist(), high.tolist()) for name, (low, high) in corners.items()} == {
        "table": ([0.0, 1.0, 2.0], [3.0, 4.0, 5.0]),
        "shelf": ([6.0, 7.0, 8.0], [9.0, 10.0, 11.0]),
    }


# ---- changes of mode


def test_a_mode_that_there_is_not_is_no_choice():
    rig = Rig(start=False)
    assert rig.monitor.set_mode("automatik", "") == Answer(
        False,
        "Unknown mode 'automatik'. Available: automatic, collaborative, manual_reduced. "
        "Did you mean 'automatic'?",
    )
    assert rig.monitor.mode == "automatic"


@pytest.mark.parametrize("state", list(State))
def test_a_change_of_mode_names_who_asks(state):
    rig = into(state)
    assert rig.monitor.set_mode("collaborative", "") == Answer(
        False, "A change of mode must name the operator."
    )
    assert rig.monitor.mode == "automatic"


@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPING])
def test_the_mode_does_not_change_in_motion(state):
    rig = into(state)
    text = f"The mode changes only at rest, and the monitor is {state.value}. Stop first."
    assert rig.monitor.set_mode("collaborative", "tester") == Answer(False, text)
    assert (rig.monitor.mode, rig.monitor.state) == ("automatic", state)


@pytest.mark.parametrize("state", [State.HOLDING, State.STOPPED])
def test_at_rest_the_mode_changes_and_what_was_sent_is_held(state):
    rig = into(state)
    held = rig.position.copy()
    answer = rig.monitor.set_mode("collaborative", "tester")
    assert answer == Answer(True, "Mode collaborative, chosen by tester. A start is needed.")
    assert rig.monitor.limits.mode == PROFILE.mode("collaborative")
    np.testing.assert_array_equal(rig.cycle(None).command_rad, held)
    assert rig.monitor.state is state


def test_before_the_first_measurement_the_mode_changes_and_nothing_is_held():
    made = SafetyMonitor(ROBOT, PROFILE)
    assert made.set_mode("manual_reduced", "tester").accepted
    assert made.mode == "manual_reduced"
    assert not made.check([], None, Surroundings(), 1.0).publish


# ---- start and reset


def test_the_answers_to_a_start_and_a_reset():
    rig = Rig(start=False)
    assert rig.start() == Answer(True, "Started by tester.")
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.idle(3)
    rig.rest()
    assert rig.reset() == Answer(True, "Reset by tester: test goes on. A start is needed.")
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.cycle(None)
    assert rig.start().accepted


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize(("who", "why"), [("", "a test"), ("tester", ""), ("", "")])
def test_a_reset_names_who_asks_and_why(state, who, why):
    rig = into(state)
    answer = rig.monitor.reset(rig.now, rig.measured(), who, why)
    assert answer == Answer(False, "A reset must name the operator and the reason.")
    assert rig.monitor.state is state


@pytest.mark.parametrize("state", [State.HOLDING, State.RUNNING, State.STOPPING])
def test_only_what_is_stopped_can_be_reset(state):
    rig = into(state)
    assert rig.reset() == Answer(False, f"Nothing to reset: the monitor is {state.value}.")


@pytest.mark.parametrize("state", list(State))
def test_a_start_names_who_asks(state):
    rig = into(state)
    answer = rig.monitor.start(rig.now, rig.measured(), "")
    assert answer == Answer(False, "A start must name the operator.")
    assert rig.monitor.state is state


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.RUNNING, "No start: the monitor is running."),
        (State.STOPPING, "No start: the monitor is stopping."),
        (State.STOPPED, "No start: the monitor is stopped. Reset first."),
    ],
)
def test_a_start_is_out_of_holding_only(state, text):
    rig = into(state)
    assert rig.start() == Answer(False, text)
    assert rig.monitor.state is state


def test_before_the_first_measurement_there_is_no_start():
    made = SafetyMonitor(ROBOT, PROFILE)
    text = "No start: no position of the arm is known that could be held yet."
    assert made.start(1.0, None, "tester") == Answer(False, text)
    made.check([], None, Surroundings(), 1.0)
    assert made.start(1.0, None, "tester").text == (
        "No start: no position of the arm is known that could be held (state_age: no joint state was received)."
    )


@pytest.mark.parametrize(
    ("speed", "accepted"), [(0.01999, True), (-0.01999, True), (0.0201, False), (-0.0201, False)]
)
@pytest.mark.parametrize("state", [State.HOLDING, State.STOPPED])
def test_standstill_goes_up_to_its_bound(state, speed, accepted):
    rig = into(state)
    for _ in range(round(rig.monitor.limits.mode.rest_readings_min.value)):
        rig.velocity = speed * np.eye(7)[6]
        rig.cycle(None)
    measured = rig.measured(velocity_rad_s=speed * np.eye(7)[6])
    if state is State.HOLDING:
        answer = rig.monitor.start(rig.now, measured, "tester")
    else:
        answer = rig.monitor.reset(rig.now, measured, "tester", "x")
    assert answer.accepted is accepted
    if not accepted:
        assert answer.text.endswith(
            ": the arm moves: fr3_joint7: mean velocity 0.0201 rad/s over 10 readings."
        )


@pytest.mark.parametrize("now_s", [np.nan, np.inf])
def test_the_callers_clock_must_be_finite(now_s):
    rig = Rig(start=False)
    answer = rig.monitor.start(now_s, rig.measured(), "tester")
    assert answer == Answer(False, f"No start: the monitor's clock is {now_s}.")


def test_a_reset_of_an_arm_that_was_moved_says_so():
    rig = into(State.STOPPED)
    moved = rig.position - 0.15
    rig.push(moved)
    rig.idle_at(moved, 10)
    assert rig.reset() == Answer(
        True,
        "Reset by tester: test goes on. A start is needed. "
        "The arm had been moved: its measured position is held now.",
    )


def test_an_arm_that_was_moved_a_little_is_held_where_it_was_sent():
    """As far as a held joint may move: its controller would see a step, were the measured position held."""
    rig = into(State.STOPPED)
    held = rig.position.copy()
    rig.push(held + 0.9 * rig.monitor.limits.mode.standstill_drift_max_rad.value)
    place = rig.position.copy()
    rig.idle_at(place, 10)
    assert rig.reset() == Answer(True, "Reset by tester: test goes on. A start is needed.")
    for _ in range(20):  # drift counts from where it rests now
        rig.position = place
        np.testing.assert_array_equal(rig.cycle(None).command_rad, held)
    assert rig.monitor.state is State.HOLDING


def test_an_arm_that_was_moved_further_than_a_held_joint_may_is_held_where_it_is():
    rig = into(State.STOPPED)
    moved = rig.position + 1.1 * rig.monitor.limits.mode.standstill_drift_max_rad.value
    rig.push(moved)
    rig.idle_at(moved, 10)
    assert "had been moved" in rig.reset().text
    np.testing.assert_array_equal(rig.cycle(None).command_rad, moved)


def test_after_a_reset_another_stop_has_a_cause_of_its_own():
    rig = into(State.STOPPED)
    rig.rest()
    assert rig.reset().accepted
    assert rig.start().accepted
    rig.move(0.2, 0.2)
    began = rig.now + DT
    decision = rig.cycle(None, around=rig.around(person_distance_m=0.1, person_stamp_s=rig.now + DT))
    assert decision.records[0].rule == "separation"
    report = rig.coast().stop_report
    assert (report.cause, report.began_s) == ("separation", began)


# ---- errors inside


def bug(*_, **__):
    raise RuntimeError("a bug")


BUG = Record("internal_error", 1.0, 0.0, -1.0, "1", "robolearn", "RuntimeError: a bug")


@pytest.mark.parametrize("part", ["_clock.tick", "_inputs.reading", "_inputs.commands", "_filter.follow"])
def test_an_error_inside_is_a_stop(monkeypatch, part):
    rig = Rig()
    rig.move(0.3, 0.3)
    owner, method = part.split(".")
    monkeypatch.setattr(getattr(rig.monitor, owner), method, bug)
    decision = rig.cycle(rig.position)
    assert (decision.state, decision.records) == (State.STOPPING, (BUG,))
    assert decision.publish
    monkeypatch.undo()
    assert rig.coast().stop_report.cause == "internal_error"


def test_an_error_before_the_first_measurement_publishes_nothing(monkeypatch):
    made = SafetyMonitor(ROBOT, PROFILE)
    monkeypatch.setattr(made._inputs, "reading", bug)
    decision = made.check([], None, Surroundings(), 1.0)
    assert (decision.publish, decision.records, decision.state) == (False, (BUG,), State.HOLDING)
    assert decision.command_rad.size == decision.velocity_rad_s.size == 0


def test_an_error_during_a_stop_is_told_and_the_stop_goes_on(monkeypatch):
    rig = into(State.STOPPING)
    monkeypatch.setattr(rig.monitor._inputs, "reading", bug)
    assert rig.cycle(None).records == (BUG,)
    monkeypatch.undo()
    assert rig.cycle(None).records[0].rule == "stop_request"
    assert rig.coast().stop_report.cause == "stop_request"


def test_holding_goes_on_whatever_comes_in_and_passes_nothing():
    rig = Rig(start=False)
    held = rig.position.copy()
    for measured, now in (
        (None, None),
        (rig.measured(position_rad=held + np.nan), None),
        (rig.measured(), rig.now - 1),
    ):
        decision = rig.cycle(held + 0.01, measured=measured, now=now)
        rig.now = max(rig.now, 100.0 + 11 * DT)
        np.testing.assert_array_equal(decision.command_rad, held)
        assert (decision.state, decision.verdict) == (State.HOLDING, Verdict.STOP)


def test_a_profile_may_ask_for_one_reading_only():
    rig = Rig(profile=profile_with(rest_readings_min=1), start=False)
    assert rig.decision.publish


def test_the_braking_motion_kept_ready_is_shown_from_the_first_sample_on():
    rig = Rig(start=False)
    assert SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT).braking is None
    assert rig.start().accepted
    rig.move(0.1, 0.3)
    motion, step = rig.monitor.braking
    assert motion.duration_s > 0.0
    assert step == 0
    assert rig.monitor._filter.tracking(None) is None  # nothing measured, nothing to compare
