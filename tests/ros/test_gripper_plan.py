"""From a stream of openings to single commands, and a simulated hand that carries them out. No ROS processes."""

import math

import numpy as np
import pytest
from robolearn_ros.frames import FrameTree
from robolearn_ros.goals import Goals, Reach
from robolearn_ros.gripper_plan import FingerWidth, Grasp, GripperPlan, Move
from robolearn_ros.simulated_hand import SimulatedHand

from robolearn.errors import ConfigError


def plan(*, grasps=True, sent=None, at_s=0.0):
    made = GripperPlan(0.08, grasps=grasps)
    if sent is not None:
        made.sent(sent, at_s)
    return made


def test_a_target_is_commanded_once_and_small_changes_are_not():
    p = plan()
    assert p.next(0.05, 0.05, 0.0) == Move(0.05)
    p.sent(Move(0.05), 0.0)
    assert p.next(0.0515, 0.05, 1.0) is None
    assert p.next(0.054, 0.05, 2.0) == Move(0.054)
    assert p.next(0.0795, 0.079, 3.0) == Move(0.0795)
    p.sent(Move(0.0795), 3.0)
    assert p.next(0.08, 0.079, 4.0) == Move(0.08)  # the very end counts, however small the change


def test_fingers_that_stand_still_outside_the_target_have_met_something_and_grasp_it():
    p = plan(sent=Move(0.06))
    assert p.next(0.03, 0.06, 0.02) == Move(0.03)  # they have hardly been told
    p.sent(Move(0.03), 0.02)
    for k in range(1, 6):
        assert p.next(0.03, 0.06 - 0.004 * k, 0.02 + 0.04 * k) is None  # they are on their way
    assert p.next(0.03, 0.04, 0.3) is None
    assert p.next(0.03, 0.04, 0.39) == Grasp()
    p.sent(Grasp(), 0.39)
    assert p.next(0.0, 0.04, 0.4) is None
    assert p.next(0.037, 0.04, 0.5) is None
    assert p.next(0.0385, 0.04, 0.6) == Move(0.0385)  # let go


def test_a_target_that_goes_on_closing_inside_the_fingers_is_a_grasp_at_once():
    """Fingers of moves that end one by one meet an object without force, and drop it when the arm leaves."""
    p, found = plan(sent=Move(0.08)), []
    for k in range(20):  # 0.1 m/s at 50 Hz; the fingers are 10 mm behind
        motion = p.next(0.08 - 0.002 * k, min(0.09 - 0.002 * k, 0.08), 0.02 * k)
        if motion is not None:
            p.sent(motion, 0.02 * k)
            found.append(motion)
    assert found[-1] == Grasp()
    assert all(isinstance(motion, Move) for motion in found[:-1])
    assert p.next(0.042, 0.0435, 0.5) == Move(
        0.042
    )  # it was only to close in part: the fingers go back there


@pytest.mark.parametrize("targets", [(0.03,) * 4, (0.05, 0.03, 0.03, 0.03), (0.03, 0.05, 0.04, 0.06)])
def test_a_target_that_is_set_and_rests_or_rises_is_a_move(targets):
    p = plan(sent=Move(0.08))
    for k, target in enumerate(targets):
        assert p.next(target, 0.08, 0.02 * k) in (None, Move(target))


def test_a_target_that_rests_between_its_steps_is_not_closing():
    p = plan(sent=Move(0.08))
    for k in range(8):
        motion = p.next(0.07 - 0.005 * k, 0.08 - 0.005 * k, 0.2 * k)
        assert isinstance(motion, Move)
        p.sent(motion, 0.2 * k)


def test_without_a_command_of_its_own_a_grasp_is_a_target():
    p = plan(grasps=False, sent=Move(0.06))
    assert p.next(0.01, 0.06, 0.0) == Move(0.01)
    assert p.next(0.01, 0.06, 9.0) == Move(0.01)


def test_a_grasp_that_came_to_nothing_is_commanded_anew_and_a_blocked_move_becomes_one():
    p = plan(sent=Grasp())
    assert p.next(0.0, 0.04, 0.0) is None
    p.failed()
    assert p.next(0.0, 0.04, 0.05) == Move(0.0)
    p = plan(sent=Move(0.03))
    p.next(0.03, 0.04, 0.0)
    p.failed()
    assert p.next(0.03, 0.04, 1.0) == Grasp()


@pytest.mark.parametrize("grasps", [True, False])
def test_a_move_that_came_to_nothing_is_commanded_again(grasps):
    p = plan(grasps=grasps, sent=Move(0.08))
    assert p.next(0.08, 0.02, 0.05) is None
    p.failed()
    assert p.next(0.08, 0.02, 0.10) == Move(0.08)
    p.sent(Move(0.08), 0.10)
    assert p.next(0.08, 0.02, 0.15) is None


@pytest.mark.parametrize(("target", "expected"), [(-1.0, Move(0.0)), (5.0, Move(0.08))])
def test_targets_outside_the_range_are_bounded(target, expected):
    assert plan().next(target, 0.04, 0.0) == expected


def test_the_opening_comes_from_finger_joints():
    franka = FingerWidth(["a", "b"], 0.04, 0.0, 0.08)
    assert franka.width_m(["x", "b", "a"], [9.0, 0.01, 0.02]) == pytest.approx(0.03)
    assert franka.width_m(["a"], [0.02]) is None
    assert franka.position(0.08) == pytest.approx(0.04)
    robotiq = FingerWidth(["knuckle"], 0.0, 0.7929, 0.085)
    assert robotiq.width_m(["knuckle"], [0.7929]) == pytest.approx(0.0)
    assert robotiq.width_m(["knuckle"], [0.0]) == pytest.approx(0.085)
    assert robotiq.position(0.0425) == pytest.approx(0.7929 / 2)


def run(hand, blocked_at_m=0.0, seconds=1.5, dt=0.002):
    """Fingers that follow the set point at once, down to an object."""
    for _ in range(round(seconds / dt)):
        hand.step(dt, max(hand.set_point_m, blocked_at_m))
    return hand


def test_a_hand_moves_at_the_speed_asked_for():
    hand = SimulatedHand(0.08, 0.08, 2000.0)
    hand.begin(0.02, 0.1, 0.0, grasp=False)
    run(hand, seconds=0.3)
    assert hand.set_point_m == pytest.approx(0.05, abs=1e-3)
    assert run(hand).outcome == "reached"


def test_a_move_that_an_object_blocks_fails_and_a_grasp_holds_with_its_force():
    hand = SimulatedHand(0.08, 0.08, 2000.0)
    hand.begin(0.0, 0.1, 0.0, grasp=False)
    assert run(hand, blocked_at_m=0.04).outcome == "blocked"
    assert hand.set_point_m == pytest.approx(0.04)
    hand.begin(0.0, 0.1, 40.0, grasp=True)
    assert run(hand, blocked_at_m=0.04).outcome == "held"
    assert (0.04 - hand.set_point_m) * 2000.0 == pytest.approx(40.0)


def test_a_grasp_that_is_commanded_again_goes_on_pressing_and_never_with_more_than_its_force():
    hand = SimulatedHand(0.08, 0.08, 2000.0)
    forces = []
    for k in range(60):  # as a gripper action controller gets a goal every 0.1 s
        hand.begin(0.03 - 0.0001 * k, 0.1, 40.0, grasp=True)
        for _ in range(50):
            hand.step(0.002, max(hand.set_point_m, 0.04))
            forces.append((max(hand.set_point_m, 0.04) - hand.set_point_m) * 2000.0)
    assert max(forces) <= 40.0 + 1e-9
    assert min(forces[-2000:]) >= 19.0  # the set points do not go further than the target
    hand.begin(0.08, 0.1, 40.0, grasp=True)
    assert hand.set_point_m >= 0.04 - 0.0041  # and it lets go without a way back through its force


@pytest.mark.parametrize("target_m", [0.0, 0.03, 0.08])
def test_a_hand_that_reached_its_target_stays_there_with_or_without_a_grasp(target_m):
    for grasp in (True, False):
        hand = SimulatedHand(0.05, 0.08, 2000.0)
        hand.begin(target_m, 0.1, 40.0, grasp=grasp)
        assert run(hand).outcome == "reached"
        assert run(hand).set_point_m == pytest.approx(target_m)


def test_a_hand_that_is_stopped_while_it_opens_presses_outwards():
    hand = SimulatedHand(0.02, 0.08, 2000.0)
    hand.begin(0.08, 0.1, 40.0, grasp=True)
    for _ in range(750):
        hand.step(0.002, min(hand.set_point_m, 0.05))
    assert hand.outcome == "held"
    assert (hand.set_point_m - 0.05) * 2000.0 == pytest.approx(40.0)


def test_a_stopped_hand_stays_and_a_new_command_takes_over():
    hand = SimulatedHand(0.08, 0.08, 2000.0)
    first = hand.begin(0.0, 0.1, 0.0, grasp=False)
    run(hand, seconds=0.2)
    hand.stop()
    at = hand.set_point_m
    assert run(hand).set_point_m == at
    assert hand.begin(0.08, 0.1, 0.0, grasp=False) == first + 1
    assert run(hand).outcome == "reached"


# -- goals --


def test_a_goal_is_reached_once_the_subject_has_stayed_within_the_tolerance():
    reach = Reach(np.zeros(3), "tcp", 0.02, 0.5, 3.0, 10.0)
    assert not reach.update(10.0, None)
    assert math.isnan(reach.error_m)
    assert not reach.update(10.1, np.array([0.01, 0.0, 0.0]))
    assert not reach.update(10.3, np.array([0.03, 0.0, 0.0]))  # left it again
    assert not reach.update(10.4, np.array([0.01, 0.0, 0.0]))
    assert not reach.update(10.8, np.array([0.01, 0.0, 0.0]))
    assert reach.update(10.9, np.array([0.01, 0.0, 0.0]))
    assert not reach.timed_out(13.0)
    assert reach.timed_out(13.1)


def test_goals_by_topic_wait_while_one_by_action_is_carried_out():
    goals, topic = Goals(), {"goal.position": np.ones(3), "gripper.width": np.zeros(1)}
    assert goals.merge(dict(topic)) == topic
    goals.give({"goal.position": np.zeros(3)})
    merged = goals.merge(dict(topic))
    np.testing.assert_array_equal(merged["goal.position"], np.zeros(3))
    assert set(goals.merge(dict(topic))) == {"gripper.width"}
    goals.held, goals.paused = False, True
    assert set(goals.merge({"gripper.width": np.zeros(1)})) == {"gripper.width"}
    assert goals.paused
    goals.merge(dict(topic))
    assert not goals.paused


# -- frames --

UP = np.array([math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4)])  # a quarter turn about z
NONE = np.array([1.0, 0.0, 0.0, 0.0])


def tree():
    made = FrameTree()
    made.add("world", "base", np.array([1.0, 0.0, 0.0]), NONE, 0.0, static=True)
    made.add("/world", "camera", np.array([0.0, 2.0, 1.0]), UP, 0.0, static=True)
    return made


def test_a_pose_in_a_cameras_frame_is_found_in_the_base_frame():
    position, turn = tree().transform(np.array([1.0, 0.0, 0.0]), NONE, "camera", "base")
    np.testing.assert_allclose(position, [-1.0, 3.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(turn, UP, atol=1e-12)
    there, back = tree().transform(position, turn, "base", "camera")
    np.testing.assert_allclose(there, [1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(back, NONE, atol=1e-12)


def test_a_moving_frame_is_interpolated_at_the_time_of_the_pose():
    made = tree()
    for k in range(31):  # a tool that turns at 1 rad/s and moves at 0.5 m/s, told at 30 Hz
        t = k / 30
        q = np.array([math.cos(t / 2), 0.0, 0.0, math.sin(t / 2)])
        made.add("base", "tool", np.array([0.5 * t, 0.0, 0.0]), q, t)
    for stamp in (0.011, 0.5, 0.987):
        position, _ = made.transform(np.array([0.3, 0.0, 0.0]), NONE, "tool", "base", stamp)
        exact = [0.5 * stamp + 0.3 * math.cos(stamp), 0.3 * math.sin(stamp), 0.0]
        assert np.linalg.norm(position - exact) < 1e-3


@pytest.mark.parametrize(("frame", "stamp", "message"), [
    ("nowhere", None, "not connected"),
    ("tool", -1.0, "older than the oldest"),
    ("tool", 9.0, "younger than the newest"),
])  # fmt: skip
def test_what_is_not_known_is_refused(frame, stamp, message):
    made = tree()
    made.add("base", "tool", np.zeros(3), NONE, 0.0)
    made.add("base", "tool", np.zeros(3), NONE, 1.0)
    with pytest.raises(ConfigError, match=message):
        made.transform(np.zeros(3), NONE, frame, "base", stamp)


def test_what_is_no_transform_is_left_aside():
    made = tree()
    for parent, child, position, turn in (
        ("base", "base", np.zeros(3), NONE),
        ("base", "x", np.full(3, np.nan), NONE),
        ("base", "x", np.zeros(3), np.zeros(4)),
        ("", "x", np.zeros(3), NONE),
    ):
        made.add(parent, child, position, turn, 1.0)
    assert made.refused == 4
    with pytest.raises(ConfigError):
        made.transform(np.zeros(3), NONE, "x", "base")
    made.add("y", "x", np.zeros(3), NONE, 1.0)
    made.add("x", "y", np.zeros(3), NONE, 1.0)
    with pytest.raises(ConfigError, match="circle"):
        made.transform(np.zeros(3), NONE, "x", "base")
