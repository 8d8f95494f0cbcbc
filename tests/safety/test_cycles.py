"""What is sent after a gap in the cycles and in calls that come too soon; joint states that jump or lie ahead."""

import numpy as np
import pytest
from safety_rig import DT, Rig, profile_with

from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import State, Verdict

ROBOTS = ["fr3", "ur5e", "iiwa14"]
READINGS = 10  # that the shipped profiles ask for


def rules_of(decision):
    return [record.rule for record in decision.records]


def bare(robot="fr3", position=None):
    """A monitor that has seen nothing yet, before an arm at rest."""
    rig = Rig(robot, start=False)
    rig.monitor = SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT)
    rig.position = rig.robot.home_rad.copy() if position is None else position
    rig.velocity = np.zeros(rig.robot.dof)
    return rig


def stopped(rig, idle=READINGS):
    """The rig, stopped on request, with readings enough of the resting arm."""
    rig.cycle(None, around=rig.around(stop_requested=True))
    rig.coast()
    rig.idle(idle)
    assert rig.monitor.state is State.STOPPED
    return rig


# ---- a gap in the cycles


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("away_s", [0.06, 0.5, 30.0])
@pytest.mark.parametrize("braking", [False, True])
def test_after_a_gap_the_arm_is_held_where_it_rests_and_nothing_moves(robot, away_s, braking):
    rig = Rig(robot)
    rig.move(0.6, 0.5, joints=[0])
    if braking:
        for _ in range(5):
            rig.cycle(None, around=rig.around(stop_requested=True))
    last = rig.position.copy()
    assert abs(rig.velocity[0]) > 0.2
    rig.now, rig.velocity = (
        rig.now + away_s,
        np.zeros(rig.robot.dof),
    )  # its controller holds what was sent last
    decision = rig.cycle(None)
    assert not decision.publish
    assert rules_of(decision) == (["stop_request", "cycle_gap"] if braking else ["cycle_gap"])
    assert decision.latched
    decisions = [rig.cycle(None) for _ in range(50)]
    assert [one.publish for one in decisions] == [False] * (READINGS - 1) + [True] * (51 - READINGS)
    for one in decisions[READINGS:]:
        np.testing.assert_array_equal(one.command_rad, last)
        assert not one.velocity_rad_s.any()
    reports = [one.stop_report for one in decisions if one.stop_report is not None]
    assert len(reports) == 1
    assert reports[0].cause == ("stop_request" if braking else "cycle_gap")
    assert rig.monitor.state is State.STOPPED
    assert rig.reset().accepted
    assert rig.start().accepted
    assert rig.cycle(last).verdict is Verdict.PASS


def test_after_a_gap_an_arm_whose_controller_braked_is_held_where_that_ended():
    rig = Rig()
    rig.move(0.6, 0.9, joints=[0])
    path, _ = rig.monitor._filter._braking.trajectory
    assert path[-1][0] - rig.position[0] > 0.01
    far = rig.position + 0.15 * np.eye(7)[0]
    rig.now += 1.0
    rig.idle_at(far, READINGS + 1)
    assert rig.decision.publish
    np.testing.assert_array_equal(rig.decision.command_rad, far)
    assert not rig.decision.velocity_rad_s.any()


def test_after_a_gap_an_arm_that_still_moves_gets_nothing():
    rig = Rig()
    rig.move(0.6, 0.5, joints=[0])
    rig.now += 0.2
    goal = rig.position + 0.1 * np.eye(7)[0]
    rig.push(goal, speed=0.5)
    assert not rig.decision.publish
    assert rig.monitor.state is State.STOPPING
    rig.idle_at(goal, READINGS + 1)
    assert rig.decision.publish


def test_after_a_gap_without_joint_states_the_stop_ends_all_the_same():
    rig = Rig()
    rig.move(0.3, 0.5, joints=[0])
    rig.now, rig.velocity = rig.now + 0.2, np.zeros(7)
    for _ in range(1000):
        decision = rig.cycle(None, measured=None)
        assert not decision.publish
        if decision.stop_report:
            break
    assert rig.monitor.state is State.STOPPED
    assert decision.stop_report.measured_time_s is None
    assert "no position of the arm is known" in rig.reset().text
    rig.idle(READINGS)
    assert rig.reset().accepted


def test_a_gap_in_holding_is_no_stop_and_holds_again():
    rig = Rig(start=False)
    held = rig.position.copy()
    rig.now += 1.0
    assert rules_of(rig.cycle(None)) == ["cycle_gap"]
    rig.idle(READINGS)
    assert rig.monitor.state is State.HOLDING
    np.testing.assert_array_equal(rig.decision.command_rad, held)
    assert rig.start().accepted


@pytest.mark.parametrize("periods", [7, 13])
def test_an_arm_that_came_to_rest_in_a_short_pause_is_not_set_off_again(periods):
    rig = Rig()
    rig.move(0.6, 0.5, joints=[0])
    last = rig.position.copy()
    rig.now, rig.velocity = rig.now + periods * DT, np.zeros(7)
    decision = rig.cycle(None)
    assert not decision.publish
    assert rules_of(decision) == ["cycle_gap"]
    text = f"the arm came to rest while the monitor was away for {(periods + 1) * DT * 1e3:.1f} ms"
    assert decision.records[0].text == text
    rig.idle(READINGS)
    np.testing.assert_array_equal(rig.decision.command_rad, last)


def test_an_arm_that_moves_on_in_a_short_pause_is_followed_on():
    rig = Rig()
    rig.move(0.6, 0.5, joints=[0])
    rig.now += 10 * DT
    assert rig.cycle((rig.position + rig.velocity * DT, rig.velocity)).publish
    assert rig.monitor.state is State.RUNNING


@pytest.mark.parametrize("ahead_s", [1.0, 1e9])
def test_one_call_at_a_time_from_the_future_is_a_stop_and_no_more(ahead_s):
    rig = Rig()
    rig.move(0.3, 0.3)
    decision = rig.monitor.check([], rig.measured(), rig.around(), rig.now + ahead_s)
    assert rules_of(decision) == ["cycle_gap"]
    rig.velocity = np.zeros(7)
    rig.idle(READINGS + 1)
    assert rig.monitor.state is State.STOPPED
    assert rig.decision.publish
    assert rig.reset().accepted
    assert rig.start().accepted


# ---- calls that come too soon


@pytest.mark.parametrize("factor", [2, 10, 1000])
def test_calls_faster_than_the_period_send_no_faster(factor):
    """The policy's commands are at 0.2 rad/s by its own clock, which runs as fast as the calls."""
    rig = Rig(mode="manual_reduced")
    speed, began, start, sent = 0.0, rig.now, rig.position.copy(), []
    position = rig.position.copy()
    for _ in range(300):
        speed = min(speed + 1.0 * DT, 0.2)
        position = position + speed * DT * np.eye(7)[0]
        rig.now += DT / factor
        decision = rig.monitor.check([rig.command(position)], rig.measured(), rig.around(), rig.now)
        if decision.publish:
            rig.position = decision.command_rad
            sent.append(decision.command_rad)
        else:
            assert rules_of(decision) in (["cycle_early"], ["command_lag", "cycle_early"])
    passed = rig.now - began
    assert len(sent) <= passed / DT + 2
    assert np.abs(sent[-1] - start).max() <= 2.62 * (passed + 2 * DT)


def test_a_call_that_comes_too_soon_changes_nothing_and_its_commands_count_in_the_next():
    rig = Rig()
    rig.cycle(rig.position)
    rig.monitor.check([], rig.measured(), rig.around(), rig.now)  # the second of two that may follow at once
    first = rig.command(rig.position + 1e-6, stamp_s=rig.now + 0.5 * DT)
    early = rig.monitor.check([first], rig.measured(), rig.around(), rig.now + 0.5 * DT)
    assert rules_of(early) == ["cycle_early"]
    assert (early.publish, early.state, early.latched, early.command_index) == (
        False,
        State.RUNNING,
        False,
        None,
    )
    rogue = rig.command(rig.position, stamp_s=rig.now + 0.6 * DT, source="rogue")
    assert rules_of(rig.monitor.check([rogue], rig.measured(), rig.around(), rig.now + 0.6 * DT)) == [
        "cycle_early"
    ]
    decision = rig.cycle([])
    assert rules_of(decision) == ["source"]
    assert decision.command_index is None  # it did not arrive in this cycle


def test_a_request_to_stop_in_a_call_that_comes_too_soon_is_not_lost():
    rig = Rig()
    rig.cycle(rig.position)
    rig.monitor.check([], rig.measured(), rig.around(), rig.now)
    for k in range(1, 4):
        around = rig.around(stop_requested=k == 1)
        assert rules_of(rig.monitor.check([], rig.measured(), around, rig.now + 0.1 * k * DT)) == [
            "cycle_early"
        ]
    assert rules_of(rig.cycle(rig.position)) == ["stop_request"]


def test_commands_of_calls_that_come_too_soon_are_not_kept_without_end():
    rig = Rig()
    rig.cycle(rig.position)
    for k in range(1, 10_000):
        now = rig.now + 1e-7 * k
        rig.monitor.check([rig.command(rig.position, stamp_s=now)], rig.measured(), rig.around(), now)
    assert len(rig.monitor._early) == 21
    assert rules_of(rig.cycle(None)) == ["command_flood"]


# ---- joint states


def test_a_joint_state_that_jumps_is_a_stop():
    rig = Rig()
    rig.cycle(rig.position)
    jumped = rig.measured(position_rad=rig.position + 0.09 * np.eye(7)[2], stamp_s=rig.now + DT)
    decision = rig.cycle(rig.position, measured=jumped)
    record = decision.records[0]
    assert (record.rule, record.where, record.unit) == ("state_jump", rig.names[2], "rad")
    assert record.value == pytest.approx(0.09)
    assert record.limit == pytest.approx(0.02 + 2.62 * DT)


def test_the_allowance_beyond_speed_does_not_add_up():
    """Readings that each jump by a little more than the speed allows are found out within a tenth of a second."""
    rig = Rig(profile=profile_with(tracking_error_max_rad=10.0))
    rig.cycle(rig.position)
    place, steps = rig.position.copy(), 0
    while rig.monitor.state is State.RUNNING:
        place, steps = place + 0.015 * np.eye(7)[2], steps + 1  # 7.5 rad/s
        rig.cycle(rig.position, measured=rig.measured(position_rad=place, stamp_s=rig.now + DT))
    assert rules_of(rig.decision) == ["state_jump"]
    assert steps * 0.015 < 2.62 * (0.1 + steps * DT) + 0.02 + 0.015


@pytest.mark.parametrize("ahead_s", [0.011, 10.0, 1e9])
def test_one_joint_state_from_the_future_is_a_stop_and_no_more(ahead_s):
    rig = Rig()
    rig.cycle(rig.position)
    ahead = rig.measured(stamp_s=rig.now + DT + ahead_s)
    assert rules_of(rig.cycle(rig.position, measured=ahead)) == ["clock"]
    rig.coast()
    rig.idle(30)
    assert rig.reset().accepted
    assert rig.start().accepted
    assert rig.cycle(rig.position).verdict is Verdict.PASS


def test_a_reset_and_a_start_keep_nothing_of_what_they_were_given():
    """A joint state that is good for the caller's clock, but that clock is not the monitor's."""
    rig = stopped(Rig())
    later = rig.measured(stamp_s=rig.now + 1e6)
    assert not rig.monitor.reset(rig.now + 1e6, later, "x", "y").accepted
    assert rig.reset().accepted
    assert not rig.monitor.start(rig.now + 1e6, later, "x").accepted
    assert rig.start().accepted
    assert rig.cycle(rig.position).verdict is Verdict.PASS


def test_every_profile_has_its_numbers():
    for robot in ROBOTS:
        for mode in SafetyProfile.load(robot).modes.values():
            assert mode.rest_readings_min.value == READINGS
            assert 0.0 < mode.cycle_gap_max_s.value <= 0.05
