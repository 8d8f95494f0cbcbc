"""What is sent at boot and after a reset, and when a reset or a start is refused."""

import numpy as np
import pytest
from safety_rig import DT, Rig

from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.types import State

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


# ---- boot


@pytest.mark.parametrize("robot", ROBOTS)
def test_at_boot_nothing_goes_out_until_readings_in_a_row_agree(robot):
    rig = bare(robot)
    for k in range(READINGS):
        decision = rig.cycle(None)
        assert not decision.publish
        assert decision.command_rad.size == decision.velocity_rad_s.size == 0
        assert rules_of(decision) == ["standstill"]
        assert f"only {k} of 10 readings" in decision.records[0].text
    decision = rig.cycle(None)
    assert decision.publish
    np.testing.assert_array_equal(decision.command_rad, rig.robot.home_rad)


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("far", [1e6, 25.0, -25.0])
def test_at_boot_a_position_that_no_arm_can_have_is_never_sent(robot, far):
    rig = bare(robot, load_robot(robot).home_rad + far)
    for _ in range(100):
        assert not rig.cycle(None).publish
    assert rules_of(rig.decision) == ["position"]
    assert "could be held (position:" in rig.start().text


def test_at_boot_a_place_outside_the_cell_is_not_held():
    rig = bare()
    rig.position[1] = 1.7  # far forward and down, through the floor
    rig.idle(30)
    assert rules_of(rig.decision) == ["workspace"]
    assert not rig.decision.publish
    assert not rig.start().accepted


@pytest.mark.parametrize(
    "broken", [{"velocity_rad_s": np.full(7, 0.1)}, {"position_rad": np.full(7, np.nan)}, {}]
)
def test_one_reading_that_does_not_fit_begins_the_row_again(broken):
    rig = bare()
    rig.idle(READINGS - 1)
    rig.cycle(None, measured=rig.measured(stamp_s=rig.now + DT, **broken) if broken else None)
    rig.idle(READINGS - 1)
    assert not rig.decision.publish
    assert rig.cycle(None).publish


def test_a_gap_in_the_cycles_begins_the_row_of_readings_again():
    rig = bare()
    rig.idle(READINGS - 1)
    rig.now += 1.0
    decision = rig.cycle(None)
    assert not decision.publish
    assert rules_of(decision) == ["cycle_gap"]
    assert not rig.idle(READINGS - 1).publish
    assert rig.idle(2).publish


def test_an_arm_that_moves_is_not_held():
    rig = bare()
    goal = rig.position + 0.2
    rig.push(goal)
    assert not rig.decision.publish
    rig.idle(READINGS)
    np.testing.assert_array_equal(rig.decision.command_rad, goal)


# ---- reset


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("far", [0.2, 0.8, 25.0, -25.0, 1e6])
def test_a_reset_with_a_joint_state_that_no_arm_can_have_got_to_is_refused(robot, far):
    rig = stopped(Rig(robot))
    held = rig.position.copy()
    lie = held.copy()
    lie[3] += far
    for _ in range(3):
        answer = rig.monitor.reset(
            rig.now + DT, rig.measured(position_rad=lie, stamp_s=rig.now + DT), "x", "y"
        )
        assert not answer.accepted
        assert "jumps by" in answer.text
        np.testing.assert_array_equal(rig.cycle(None).command_rad, held)
    assert rig.reset().accepted


@pytest.mark.parametrize("far", [0.2, 0.8, 25.0])
def test_a_forged_joint_state_is_not_believed_however_long_it_lasts(far):
    rig = stopped(Rig())
    held = rig.position.copy()
    lie = held + far * np.eye(7)[3]
    for _ in range(5000):  # ten seconds: time enough to get there
        rig.cycle(None, measured=rig.measured(position_rad=lie, stamp_s=rig.now + DT))
    answer = rig.monitor.reset(rig.now, rig.measured(position_rad=lie), "x", "y")
    assert not answer.accepted
    assert "jump" in answer.text
    np.testing.assert_array_equal(rig.decision.command_rad, held)
    rig.idle(READINGS + 30)  # the lie has ended
    assert rig.reset().accepted
    np.testing.assert_array_equal(rig.cycle(None).command_rad, held)


def test_after_joint_states_were_missing_a_place_within_reach_is_believed():
    """What the arm could have done in the time; a driver that was started again says where it is."""
    rig = stopped(Rig())
    moved = rig.position + 0.3 * np.eye(7)[3]
    for _ in range(200):
        rig.cycle(None, measured=None)
    rig.idle_at(moved, READINGS)
    assert rig.reset().accepted
    np.testing.assert_array_equal(rig.cycle(None).command_rad, moved)


def test_after_joint_states_were_missing_a_place_out_of_reach_is_not_believed():
    rig = stopped(Rig())
    for _ in range(50):  # 0.1 s at 2.62 rad/s
        rig.cycle(None, measured=None)
    rig.idle_at(rig.position + 0.5 * np.eye(7)[3], READINGS)
    assert not rig.reset().accepted


@pytest.mark.parametrize("robot", ROBOTS)
def test_an_arm_that_was_moved_is_held_where_it_is(robot):
    rig = stopped(Rig(robot))
    moved = rig.position + 0.15
    rig.push(moved)
    rig.idle_at(moved, READINGS)
    answer = rig.reset()
    assert answer.accepted
    assert "had been moved" in answer.text
    np.testing.assert_array_equal(rig.cycle(None).command_rad, moved)


def test_an_arm_that_was_moved_and_just_rests_is_not_held_yet():
    rig = stopped(Rig())
    moved = rig.position + 0.15
    rig.push(moved)
    rig.idle_at(moved, 3)
    assert rig.reset().text.startswith("No reset: only ")
    rig.idle_at(moved, READINGS)
    assert rig.reset().accepted


def test_an_arm_that_was_moved_out_of_its_cell_is_not_held():
    rig = stopped(Rig())
    moved = rig.position.copy()
    moved[1] = 1.7
    rig.push(moved)
    rig.idle_at(moved, READINGS)
    answer = rig.reset()
    assert not answer.accepted
    assert answer.text.startswith("No reset: the arm rests outside its limits (workspace: ")


def test_a_reset_with_another_joint_state_than_those_before_is_refused():
    rig = stopped(Rig())
    moved = rig.position + 0.15
    rig.push(moved)
    rig.idle_at(moved, READINGS)
    answer = rig.monitor.reset(rig.now, rig.measured(position_rad=moved + 0.01), "x", "y")
    assert (
        answer.text
        == "No reset: the arm was moved, and this joint state is 0.01 rad from the ones before it."
    )


CAUSES = {
    "stop_request": {"around": {"stop_requested": True}},
    "separation": {"around": {"person_distance_m": 0.3}},
    "person_age": {"around": {"person_distance_m": None}},
    "finite": {"command": {"position_rad": np.full(7, np.nan)}},
    "shape": {"command": {"position_rad": np.zeros(6)}},
    "clock": {"command": {"ahead_s": 1.0}},
    "state_age": {"measured": None},
}


def broken_cycle(rig, cause):
    values = CAUSES[cause]
    command = {"position": rig.position, **values.get("command", {})}
    ahead = command.pop("ahead_s", 0.0)
    position = command.pop("position_rad", command.pop("position"))
    given = rig.command(position, stamp_s=rig.now + DT + ahead)
    measured = ... if values.get("measured", ...) is ... else None
    return rig.cycle(
        given, measured=measured, around=rig.around(person_stamp_s=rig.now + DT, **values.get("around", {}))
    )


@pytest.mark.parametrize("cause", list(CAUSES))
def test_a_reset_is_refused_while_its_cause_persists(cause):
    rig = Rig()
    rig.cycle(rig.position)
    assert rules_of(broken_cycle(rig, cause)) == [cause]
    assert not rig.reset().accepted  # also at once, before another cycle
    for _ in range(1500):
        broken_cycle(rig, cause)
        answer = rig.reset()
        assert not answer.accepted
    assert rig.monitor.state is State.STOPPED
    if cause != "state_age":
        assert answer.text.startswith(f"No reset: its cause persists ({cause}: ")
    rig.idle(30)
    assert rig.reset().accepted


def test_a_reset_is_refused_while_two_sources_send_commands():
    rig = Rig()
    rig.cycle(rig.position)

    def both():
        own, other = rig.command(rig.position, stamp_s=rig.now + 0.5 * DT), rig.now + DT
        return rig.cycle([own, rig.command(rig.position, stamp_s=other, source="rogue")])

    assert rules_of(both()) == ["source"]
    for _ in range(100):
        both()
        answer = rig.reset()
        assert not answer.accepted
    assert "its cause persists (source: commands come from policy, rogue)" in answer.text
    for _ in range(60):  # one of them goes on
        rig.cycle(rig.command(rig.position, stamp_s=rig.now + DT, source="rogue"))
    assert rig.reset().accepted


def test_a_reset_is_refused_while_commands_jump_and_not_after_one_jump():
    rig = Rig()
    rig.cycle(rig.position)
    far = rig.position + 0.15
    assert rules_of(rig.cycle(far)) == ["command_jump"]
    for k in range(100):
        rig.cycle(rig.robot.home_rad if k % 2 else far)
        assert not rig.reset().accepted
    for _ in range(40):
        rig.cycle(far)
    assert rig.reset().accepted


def test_a_reset_is_refused_while_commands_flood():
    rig = Rig()
    rig.cycle(rig.position)

    def flood():
        return rig.cycle([rig.command(rig.position, stamp_s=rig.now + DT)] * 21)

    assert rules_of(flood()) == ["command_flood"]
    for _ in range(10):
        flood()
        assert not rig.reset().accepted
    rig.idle(30)
    assert rig.reset().accepted


def test_many_sources_of_commands_are_not_kept():
    rig = stopped(Rig())
    for k in range(1000):
        rig.cycle(rig.command(rig.position, stamp_s=rig.now + DT, source=f"rogue {k}"))
    assert len(rig.monitor._faults._heard) <= 8


# ---- start


@pytest.mark.parametrize("cause", ["stop_request", "separation", "person_age"])
def test_a_start_that_would_stop_at_once_is_refused(cause):
    rig = Rig(start=False)
    broken_cycle(rig, cause)
    answer = rig.start()
    assert answer.text.startswith(f"No start: it would stop at once ({cause}: ")
    rig.cycle(None)
    assert rig.start().accepted


def test_a_start_without_the_enabling_device_is_refused():
    rig = Rig(mode="manual_reduced", start=False)
    rig.cycle(None, around=rig.around(enabling_device=False))
    assert "the enabling device is not held" in rig.start().text
    rig.cycle(None)
    assert rig.start().accepted


def test_a_start_long_after_the_last_cycle_is_refused():
    rig = Rig(start=False)
    rig.now += 1.0
    assert rig.start().text == "No start: the monitor's last cycle was 1000.0 ms ago."
    rig.now -= 2.0
    assert "went back" in rig.start().text
