import numpy as np
import pytest
from robolearn_ros.simulation import Arm, Trajectory

from robolearn.robots import load_robot

FR3 = load_robot("fr3")


@pytest.fixture
def arm():
    return Arm(FR3, 0.002)


def settle(arm, seconds=1.0):
    for _ in range(round(seconds / 0.002)):
        arm.step()


def test_it_stays_at_home_until_it_is_commanded_and_holds_the_last_command(arm):
    settle(arm)
    np.testing.assert_allclose(arm.position_rad, FR3.home_rad, atol=2e-3)
    target = FR3.home_rad + 0.1
    assert arm.command(target)
    settle(arm, 2.0)
    np.testing.assert_allclose(arm.position_rad, target, atol=2e-3)
    assert np.abs(arm.velocity_rad_s).max() < 1e-2


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.zeros(6), np.append(FR3.home_rad[:6], np.inf)])
def test_what_is_no_target_is_not_taken(arm, bad):
    before = arm.target_rad.copy()
    assert not arm.command(bad)
    assert not arm.command_gripper(np.nan)
    np.testing.assert_array_equal(arm.target_rad, before)


def test_the_gripper_opens(arm):
    assert arm.command_gripper(0.06)
    settle(arm)
    assert arm.gripper_width_m == pytest.approx(0.06, abs=0.005)


def test_another_plant_behaves_otherwise():
    arms = [Arm(FR3, 0.002), Arm(FR3, 0.002)]
    arms[1].change_plant(friction_share=1.0, gain_share=0.25)
    for arm in arms:
        arm.command(FR3.home_rad + 0.1)
        settle(arm, 0.05)
    assert np.abs(arms[0].position_rad - arms[1].position_rad).max() > 1e-3


def test_a_task_brings_its_objects():
    arm = Arm(FR3, 0.002, task="pick_cube", seed=3)
    position, turn = arm.objects()["cube"]
    assert position.shape == (3,)
    assert np.linalg.norm(turn) == pytest.approx(1.0)
    again = Arm(FR3, 0.002, task="pick_cube", seed=3).objects()["cube"][0]
    np.testing.assert_array_equal(position, again)
    other = Arm(FR3, 0.002, task="pick_cube", seed=4).objects()["cube"][0]
    assert np.abs(position - other).max() > 1e-3


def test_a_trajectory_passes_through_its_points_and_stays_at_the_last():
    start, points = np.zeros(2), np.array([[1.0, -1.0], [2.0, 0.0]])
    for velocities in (None, np.array([[1.0, 0.0], [0.0, 0.0]])):
        played = Trajectory(start, np.array([1.0, 2.0]), points, velocities)
        np.testing.assert_allclose(played.sample(0.0), start)
        np.testing.assert_allclose(played.sample(1.0), points[0])
        np.testing.assert_allclose(played.sample(2.0), points[1])
        np.testing.assert_allclose(played.sample(9.0), points[1])
        assert played.duration_s == 2.0
    np.testing.assert_allclose(
        Trajectory(start, np.array([1.0]), points[:1], None).sample(0.25), [0.25, -0.25]
    )
    eased = Trajectory(start, np.array([1.0]), points[:1], np.zeros((1, 2)))
    np.testing.assert_allclose(eased.sample(0.25), [0.15625, -0.15625])


def test_a_task_whose_policy_feels_brings_a_wrench_at_the_tcp():
    assert Arm(FR3, 0.002, task="pick_cube").wrench is None
    arm = Arm(FR3, 0.002, task="connector_insert")
    settle(arm)
    force, torque = arm.wrench
    np.testing.assert_allclose(force, 0.0, atol=0.05)  # the tool's weight is taken out
    np.testing.assert_allclose(torque, 0.0, atol=0.01)
    palm = arm.model.body("gripper_palm").id
    arm.data.xfrc_applied[palm, :3] = [0.0, 0.0, 20.0]  # pushed up while it points down: along its -z
    settle(arm)
    force, _ = arm.wrench
    np.testing.assert_allclose(force, [0.0, 0.0, -20.0], atol=1.5)
    assert force[2] == pytest.approx(-20.0, abs=0.1)
