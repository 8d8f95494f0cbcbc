import numpy as np
import pytest
from safety_rig import DT, Rig, profile_with

from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety.envelope import build_envelope
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import Box, SafetyProfile
from robolearn.safety.types import State, Surroundings, Verdict


def rules_of(decision):
    return [record.rule for record in decision.records]


def assert_stops(rig, rule, decision):
    assert decision.verdict is Verdict.STOP
    assert rules_of(decision) == [rule]
    assert decision.latched
    assert decision.state in (State.STOPPING, State.STOPPED)
    if decision.state is State.STOPPING:
        rig.coast()
    assert rig.monitor.state is State.STOPPED


# ---- boot, start, reset, modes


def test_before_the_first_measurement_there_is_nothing_to_publish():
    monitor = SafetyMonitor(load_robot("fr3"), SafetyProfile.load("fr3"))
    decision = monitor.check((), None, Surroundings(), 1.0)
    assert not decision.publish
    assert decision.command_rad.size == 0
    assert monitor.state is State.HOLDING
    refused = monitor.start(1.0, None, "tester")
    assert not refused.accepted
    assert "no position" in refused.text


def test_boot_holds_the_measured_position_and_passes_nothing():
    rig = Rig(start=False)
    home = rig.position.copy()
    for _ in range(20):
        decision = rig.cycle(home + 0.001)
        assert decision.verdict is Verdict.STOP
        assert rules_of(decision) == ["start"]
        assert not decision.latched
        np.testing.assert_array_equal(decision.command_rad, home)


def test_start_lets_commands_through_bit_identical():
    rig = Rig()
    for k in range(50):
        position = rig.robot.home_rad + 1e-5 * k * k / 50
        decision = rig.cycle((position, np.zeros(7)))
        assert decision.verdict is Verdict.PASS, decision.records
        assert decision.command_rad.tobytes() == position.tobytes()
        assert decision.records == ()


def test_a_start_before_any_command_waits_and_then_stops():
    rig = Rig()
    for _ in range(900):
        assert rig.cycle(None).state is State.RUNNING
        assert rules_of(rig.decision) == ["waiting"]
    for _ in range(200):
        decision = rig.cycle(None)
        if decision.state is not State.RUNNING:
            break
    assert rules_of(decision) == ["command_age"]


def test_commands_from_before_the_start_are_not_meant_for_it():
    rig = Rig(start=False)
    early = rig.command(rig.position + 0.05)
    rig.cycle(early)
    assert rig.start().accepted
    decision = rig.cycle(early)
    np.testing.assert_array_equal(decision.command_rad, rig.robot.home_rad)


def test_stop_is_latched_reset_is_no_start_and_both_name_who():
    rig = Rig()
    rig.move(0.3, 0.2)
    assert_stops(rig, "stop_request", rig.cycle(rig.position, around=rig.around(stop_requested=True)))
    assert not rig.start().accepted
    assert "Reset first" in rig.start().text
    assert "must name" in rig.monitor.reset(rig.now, rig.measured(), "", "x").text
    assert "reason" in rig.monitor.reset(rig.now, rig.measured(), "x", "").text
    held = rig.position.copy()
    rig.rest()
    answer = rig.reset()
    assert answer.accepted
    assert "tester" in answer.text
    assert rig.monitor.state is State.HOLDING
    for _ in range(10):
        np.testing.assert_array_equal(rig.cycle(held + 0.001).command_rad, held)
    assert "must name" in rig.monitor.start(rig.now, rig.measured(), "").text
    assert rig.start().accepted
    assert rig.cycle(held).verdict is Verdict.PASS


def test_a_reset_with_nothing_to_reset_is_refused():
    assert "Nothing to reset" in Rig().reset().text


def test_start_and_reset_need_a_fresh_reading_of_an_arm_at_rest():
    rig = Rig(start=False)
    moving = rig.measured(velocity_rad_s=np.full(7, 0.1))
    assert rig.monitor.start(rig.now, moving, "x").text == "No start: the arm moves at 0.100 rad/s."
    assert "no joint state" in rig.monitor.start(rig.now, None, "x").text
    assert "went back" in rig.monitor.start(rig.now, rig.measured(stamp_s=rig.now - 0.1), "x").text
    rig.monitor.check([], None, rig.around(), rig.now + 0.025)
    rig.monitor.check([], None, rig.around(), rig.now + 0.05)
    assert "old" in rig.monitor.start(rig.now + 0.0501, rig.measured(), "x").text


def test_no_start_while_the_arm_is_not_where_it_is_held():
    rig = Rig(profile=profile_with(standstill_drift_max_rad=1.0), start=False)
    moved = rig.position + 0.15
    rig.push(moved)
    rig.idle_at(moved, 10)
    text = "No start: the arm is not at its held position. Check that its controller is active."
    assert rig.start().text == text


def test_no_start_from_where_the_mode_does_not_allow_it():
    rig = Rig(start=False)
    origin = {"source": "x", "trust": "integrator", "risk_assessment_ref": "x"}
    box = Box(name="box", min_m=(0.2, -0.2, 0.2), max_m=(0.5, 0.2, 0.9), **origin)
    automatic = rig.monitor.profile.mode("automatic")
    workspace = automatic.workspace.model_copy(update={"keep_out": (box,)})
    tight = automatic.model_copy(update={"workspace": workspace})
    rig.monitor._envelopes["collaborative"] = build_envelope(rig.robot, tight, DT, "parallel")
    assert rig.monitor.set_mode("collaborative", "x").accepted
    assert rig.start().text.startswith("No start: the arm rests outside its limits (keep_out: ")


def test_a_held_arm_that_drifts_is_a_stop():
    rig = Rig(start=False)
    rig.push(rig.position + 0.0499)
    assert rig.monitor.state is State.HOLDING
    rig.push(rig.position + 0.001)
    assert rules_of(rig.decision) == ["drift"]
    assert rig.decision.latched


def test_modes_change_only_at_rest():
    rig = Rig()
    assert "only at rest" in rig.monitor.set_mode("collaborative", "x").text
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    assert "must name" in rig.monitor.set_mode("collaborative", "").text
    assert "Did you mean 'automatic'" in rig.monitor.set_mode("automatik", "x").text
    assert rig.monitor.set_mode("collaborative", "x").accepted
    assert rig.monitor.mode == "collaborative"
    assert rig.monitor.limits.mode.tcp_speed_max_m_s.value == 0.5
    assert rig.monitor.state is State.STOPPED


def test_a_mode_chosen_before_any_measurement_holds_from_the_first():
    monitor = SafetyMonitor(load_robot("fr3"), SafetyProfile.load("fr3"))
    assert monitor.set_mode("manual_reduced", "x").accepted
    assert monitor.mode == "manual_reduced"


@pytest.mark.parametrize("period", [0.0, -0.002, 0.2, float("nan")])
def test_an_impossible_period_is_refused(period):
    with pytest.raises(ProfileError, match="period_s"):
        SafetyMonitor(load_robot("fr3"), SafetyProfile.load("fr3"), period_s=period)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ProfileError, match="Did you mean 'automatic'"):
        SafetyMonitor(load_robot("fr3"), SafetyProfile.load("fr3"), mode="automatc")


# ---- every reason to stop


BAD = [np.nan, np.inf, -np.inf]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("joint", [0, 6])
def test_a_command_that_is_not_finite_is_a_stop_and_never_goes_out(bad, joint):
    rig = Rig()
    rig.move(0.2, 0.2)
    position = rig.position.copy()
    position[joint] = bad
    decision = rig.cycle(position)
    assert np.isfinite(decision.command_rad).all()
    assert_stops(rig, "finite", decision)


@pytest.mark.parametrize("bad", BAD)
def test_velocity_stamp_and_measurements_must_be_finite(bad):
    for make in (
        lambda rig: rig.cycle(rig.command(rig.position, np.full(7, bad))),
        lambda rig: rig.cycle(rig.command(rig.position, stamp_s=bad)),
        lambda rig: rig.cycle(rig.position, measured=rig.measured(position_rad=np.full(7, bad))),
        lambda rig: rig.cycle(rig.position, measured=rig.measured(velocity_rad_s=np.full(7, bad))),
        lambda rig: rig.cycle(rig.position, measured=rig.measured(stamp_s=bad)),
        lambda rig: rig.cycle(rig.position, around=rig.around(person_distance_m=bad)),
        lambda rig: rig.cycle(rig.position, around=rig.around(person_stamp_s=bad)),
    ):
        rig = Rig()
        assert_stops(rig, "finite", make(rig))


def test_the_monitors_own_clock_must_be_finite_and_not_go_back():
    rig = Rig()
    assert_stops(
        rig, "finite", rig.monitor.check([rig.command(rig.position)], rig.measured(), rig.around(), np.nan)
    )
    rig = Rig()
    decision = rig.monitor.check([rig.command(rig.position)], rig.measured(), rig.around(), rig.now - 1e-6)
    assert_stops(rig, "clock", decision)


def test_a_monitor_that_was_away_stops():
    rig = Rig()
    rig.cycle(rig.position)
    rig.now += 0.2
    assert_stops(rig, "cycle_gap", rig.cycle(rig.position))


@pytest.mark.parametrize(
    "change",
    [
        {"position_rad": np.zeros(6)},
        {"velocity_rad_s": np.zeros(8)},
        {"joint_names": ("a",) * 7},
        {"joint_names": tuple(f"fr3_joint{k}" for k in range(2, 9))},
        {"joint_names": tuple(f"fr3_joint{k}" for k in range(1, 7)), "position_rad": np.zeros(6)},
    ],
)
def test_joints_that_do_not_fit_are_a_stop(change):
    rig = Rig()
    values = {"position_rad": rig.position, "velocity_rad_s": np.zeros(7)} | change
    assert_stops(
        rig,
        "shape",
        rig.cycle(rig.command(values.pop("position_rad"), values.pop("velocity_rad_s"), **values)),
    )
    rig = Rig()
    assert_stops(rig, "shape", rig.cycle(rig.position, measured=rig.measured(**change)))


def test_joints_in_another_order_are_mapped_by_name():
    rig = Rig()
    order = [3, 1, 0, 2, 6, 5, 4]
    names = tuple(rig.names[k] for k in order)
    target = rig.position + 1e-6 * np.arange(7)
    command = rig.command(target[order], np.zeros(7), joint_names=names)
    measured = rig.measured(joint_names=names, position_rad=rig.position[order], velocity_rad_s=np.zeros(7))
    decision = rig.cycle(command, measured=measured)
    assert decision.verdict is Verdict.PASS
    np.testing.assert_array_equal(decision.command_rad, target)


def test_a_silent_policy_is_a_stop():
    rig = Rig()
    rig.move(0.4, 0.3)
    began = rig.now
    while rig.cycle(None).state is State.RUNNING:
        pass
    assert rules_of(rig.decision) == ["command_age"]
    assert rig.now - began == pytest.approx(0.05, abs=2 * DT)
    rig.coast()


@pytest.mark.parametrize(("stamp", "rule"), [(-0.051, "command_age"), (0.011, "clock")])
def test_commands_too_old_or_from_the_future_are_a_stop(stamp, rule):
    rig = Rig()
    rig.monitor._started_s -= 1.0  # so that an old command is not taken for one from before the start
    assert_stops(rig, rule, rig.cycle(rig.command(rig.position, stamp_s=rig.now + DT + stamp)))


@pytest.mark.parametrize("stamp", [-0.049, 0.009])
def test_commands_just_fresh_enough_pass(stamp):
    rig = Rig()
    rig.monitor._started_s -= 1.0
    assert rig.cycle(rig.command(rig.position, stamp_s=rig.now + DT + stamp)).verdict is Verdict.PASS


def test_command_stamps_that_go_back_are_a_stop():
    rig = Rig()
    rig.cycle(rig.position)
    assert_stops(rig, "clock", rig.cycle(rig.command(rig.position, stamp_s=rig.now - DT)))


def test_a_joint_state_that_stays_the_same_grows_old():
    rig = Rig()
    old = rig.measured()
    while rig.cycle(rig.position, measured=old).verdict is Verdict.PASS:
        pass
    assert rules_of(rig.decision) == ["state_age"]
    assert rig.now - old.stamp_s == pytest.approx(0.05, abs=2 * DT)


@pytest.mark.parametrize(("ahead", "rules"), [(0.009, []), (0.011, ["clock"])])
def test_a_joint_state_from_the_future(ahead, rules):
    rig = Rig()
    assert rules_of(rig.cycle(rig.position, measured=rig.measured(stamp_s=rig.now + DT + ahead))) == rules


def test_no_joint_state_and_one_that_goes_back_are_stops():
    rig = Rig()
    assert_stops(rig, "state_age", rig.cycle(rig.position, measured=None))
    rig = Rig()
    rig.cycle(rig.position)
    decision = rig.cycle(rig.position, measured=rig.measured(stamp_s=rig.now - DT))
    assert_stops(rig, "clock", decision)


def test_a_second_source_of_commands_is_a_stop():
    rig = Rig()
    rig.cycle(rig.position)
    assert_stops(rig, "source", rig.cycle(rig.command(rig.position, source="rogue", stamp_s=rig.now + DT)))


def test_a_repeated_command_is_recognised_and_another_with_its_stamp_is_a_stop():
    rig = Rig()
    first = rig.command(rig.position, stamp_s=rig.now + DT)
    assert rig.cycle(first).verdict is Verdict.PASS
    assert rig.cycle(rig.command(rig.position, stamp_s=first.stamp_s)).state is State.RUNNING
    assert_stops(rig, "clock", rig.cycle(rig.command(rig.position + 1e-9, stamp_s=first.stamp_s)))
    rig = Rig()
    first = rig.command(rig.position, stamp_s=rig.now + DT)
    rig.cycle(first)
    assert_stops(rig, "finite", rig.cycle(rig.command(rig.position * np.nan, stamp_s=first.stamp_s)))


@pytest.mark.parametrize(
    ("jump", "rule"), [(1.0, "command_jump"), (0.11, "command_jump"), (-0.11, "command_jump")]
)
def test_an_implausible_jump_is_a_stop(jump, rule):
    rig = Rig()
    rig.cycle(rig.position)
    assert_stops(rig, rule, rig.cycle(rig.position + jump))


def test_a_first_command_far_away_is_a_stop():
    rig = Rig()
    assert_stops(rig, "command_lag", rig.cycle(rig.position + 0.21))


def test_a_policy_that_runs_away_from_a_limited_arm_is_a_stop():
    rig = Rig(profile=profile_with(tcp_speed_max_m_s=0.05, elbow_speed_max_m_s=0.05, link_speed_max_m_s=0.05))
    decisions = rig.move(3.0, 0.5)
    assert "command_lag" in {rule for decision in decisions for rule in rules_of(decision)}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_an_arm_that_does_not_follow_is_a_stop(sign):
    rig = Rig()
    for k in range(1, 60):
        off = sign * 0.002 * k
        decision = rig.cycle(
            rig.robot.home_rad,
            measured=rig.measured(position_rad=rig.robot.home_rad + off, stamp_s=rig.now + DT),
        )
        if decision.verdict is not Verdict.PASS:
            break
    assert k == 51
    assert_stops(rig, "tracking", decision)


def test_an_arm_that_follows_late_is_no_tracking_error():
    rig, history = Rig(), []
    position, velocity = rig.position.copy(), rig.velocity.copy()
    for _ in range(200):
        velocity = np.minimum(velocity + 0.004, 0.8)
        position = position + velocity * DT
        history.append(position)
        late = rig.measured(position_rad=history[max(0, len(history) - 90)])
        assert rig.cycle((position, velocity), measured=late).verdict is Verdict.PASS, rig.decision.records


# ---- people


def test_a_person_who_walks_up_is_a_stop():
    rig = Rig()
    rig.move(0.5, 0.2, joints=[0])
    rig.person = 0.3
    decision = rig.cycle(rig.position)
    record = decision.records[0]
    assert record.value == 0.3
    assert record.limit > 0.8
    assert record.unit == "m"
    assert "TS 15066" in record.source
    assert_stops(rig, "separation", decision)


def test_no_news_from_the_person_sensor_is_a_stop():
    rig = Rig()
    assert_stops(rig, "person_age", rig.cycle(rig.position, around=Surroundings()))
    rig = Rig()
    assert_stops(rig, "person_age", rig.cycle(rig.position, around=Surroundings(6.0, rig.now - 0.31)))


def test_a_command_that_would_come_too_near_to_a_person_is_limited():
    rig = Rig()
    rig.move(0.5, 0.1, joints=[0])
    rig.person = rig.monitor._filter._person_min_m + 0.02
    decisions = rig.move(0.5, 1.0, joints=[0])
    acted = [decision for decision in decisions if "separation" in rules_of(decision)]
    assert acted
    assert acted[0].verdict is Verdict.LIMIT


def test_manual_mode_needs_the_enabling_device_and_no_person_sensor():
    rig = Rig(mode="manual_reduced")
    assert (
        rig.cycle(rig.position, around=Surroundings(enabling_device=True, enabling_stamp_s=rig.now)).verdict
        is Verdict.PASS
    )
    assert_stops(rig, "enabling_device", rig.cycle(rig.position, around=Surroundings(enabling_device=False)))
    rig = Rig(mode="manual_reduced")
    assert_stops(rig, "enabling_device", rig.cycle(rig.position, around=Surroundings()))


# ---- stops


def test_a_stop_is_reported_against_its_prediction():
    rig = Rig()
    rig.move(0.6, 0.5)
    before = rig.position.copy()
    rig.cycle(None, around=rig.around(stop_requested=True))
    report = rig.coast().stop_report
    assert report is not None
    assert report.cause == "stop_request"
    assert report.measured_time_s == pytest.approx(report.predicted_time_s, abs=2 * DT)
    np.testing.assert_allclose(report.measured_travel_rad, report.predicted_travel_rad, atol=1e-9)
    np.testing.assert_allclose(rig.position - before, report.predicted_travel_rad, atol=1e-9)
    assert rig.cycle(None).stop_report is None


def test_a_stop_without_measurements_ends_all_the_same_and_says_so():
    rig = Rig()
    rig.move(0.2, 0.2)
    decision = rig.cycle(rig.position, measured=None)
    while decision.state is State.STOPPING:
        decision = rig.cycle(None, measured=None)
    assert decision.stop_report is not None
    assert decision.stop_report.measured_time_s is None
    assert (decision.stop_report.measured_travel_rad == 0.0).all()


def test_a_second_reason_during_a_stop_changes_nothing():
    rig = Rig()
    rig.move(0.4, 0.4)
    rig.cycle(None, around=rig.around(stop_requested=True))
    decision = rig.cycle(np.full(7, np.nan))
    assert rules_of(decision) == ["stop_request"]


def test_an_error_inside_is_a_stop_on_the_braking_motion(monkeypatch):
    rig = Rig()
    rig.move(0.4, 0.4)
    promised, _ = rig.monitor._filter._braking.trajectory

    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.monitor._inputs, "commands", broken)
    decision = rig.cycle(rig.position)
    assert "RuntimeError: a bug" in decision.records[0].text
    for sample in promised:
        np.testing.assert_allclose(rig.position, sample, atol=1e-12)
        rig.cycle(None)
    assert rig.monitor.state in (State.STOPPED, State.STOPPING)


def test_an_error_before_anything_is_known_publishes_nothing(monkeypatch):
    monitor = SafetyMonitor(load_robot("fr3"), SafetyProfile.load("fr3"))
    monkeypatch.setattr(monitor, "_check", lambda *_: 1 / 0)
    assert not monitor.check((), None, Surroundings(), 0.0).publish


def test_what_goes_out_in_a_stop_is_what_was_promised():
    rig = Rig()
    rig.move(0.7, 0.6)
    promised, _ = rig.monitor._filter._braking.trajectory
    rig.cycle(None, around=rig.around(stop_requested=True))
    for sample in promised:
        np.testing.assert_allclose(rig.decision.command_rad, sample, atol=1e-12)
        rig.cycle(None)


def test_the_same_calls_give_the_same_decisions():
    outputs = []
    for _ in range(2):
        rig, rng = Rig(), np.random.default_rng(3)
        outputs.append([rig.cycle(rig.position + 1e-4 * rng.normal(size=7)).command_rad for _ in range(200)])
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_decisions_are_copies():
    rig = Rig()
    rig.cycle(rig.position).command_rad[:] = 99.0
    assert np.abs(rig.cycle(None).command_rad).max() < 4.0


def test_drift_while_stopped_is_told():
    rig = Rig()
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    place = rig.position
    rig.push(place + 0.06)
    assert rules_of(rig.decision) == ["stop_request", "drift"]
    rig.push(place)
    assert rules_of(rig.cycle(None)) == ["stop_request"]
    assert rules_of(rig.cycle(None, measured=None)) == ["stop_request"]


def test_no_reset_while_the_arm_still_moves():
    rig = Rig()
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    answer = rig.monitor.reset(rig.now, rig.measured(velocity_rad_s=np.full(7, 0.1)), "x", "y")
    assert not answer.accepted
    assert "No reset: the arm moves" in answer.text
    assert not rig.monitor.reset(np.nan, rig.measured(), "x", "y").accepted


def test_a_start_does_not_move_the_monitors_clock():
    rig = Rig(start=False)
    assert rig.monitor.start(rig.now + 0.0015, rig.measured(), "x").accepted
    assert rig.cycle(None, now=rig.now + 0.001).state is State.RUNNING


def test_what_a_caller_does_to_its_arrays_later_changes_nothing():
    rig = Rig()
    position = rig.position.copy()
    rig.cycle(rig.command(position, np.zeros(7), stamp_s=rig.now + DT))
    position += 0.05
    np.testing.assert_allclose(rig.cycle(None).command_rad, rig.robot.home_rad, atol=1e-12)


def test_a_hold_without_a_reading_goes_on_holding():
    rig = Rig(start=False)
    assert rig.cycle(None, measured=None).state is State.HOLDING


def test_a_stream_that_rides_on_the_acceleration_and_jerk_limits_passes_bit_identical():
    """Rounding of positions makes such a stream a few 1e-10 too quick; a limit that fine would alter all of it."""
    rig = Rig()
    limits = rig.monitor.limits
    top, jerk = limits.acceleration_max_rad_s2[6], limits.jerk_max_rad_s3[6]
    up = np.minimum(np.arange(1, 12) * jerk * DT, top)
    accelerations = np.concatenate([up, np.full(40, top), top - up, np.zeros(20), -up, np.full(40, -top)])
    position, velocity, seen = rig.position.copy(), 0.0, []
    for acceleration in accelerations:
        velocity += acceleration * DT
        position = position.copy()
        position[6] += velocity * DT
        decision = rig.cycle((position, np.eye(7)[6] * velocity))
        assert decision.verdict is Verdict.PASS, decision.records
        assert decision.command_rad.tobytes() == position.tobytes()
        seen.append(decision.command_rad)
    reached = np.abs(np.diff(seen, 2, axis=0)).max() / DT**2
    assert reached == pytest.approx(top, rel=1e-6)
    over = rig.position + (rig.velocity - 1.001 * top * np.eye(7)[6] * DT) * DT
    assert rig.cycle(over).verdict is not Verdict.PASS
