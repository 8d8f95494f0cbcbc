"""Plants: what their files say is what is simulated, in sim_node's arm and in a task's scene."""

import mujoco
import numpy as np
import pytest

from robolearn.config import config_dir
from robolearn.errors import RobotError
from robolearn.robots import load_robot
from robolearn.sim.plant import PLAY, Plant, PlantArm, Wiring, change_spec, load_plant

ROBOT = load_robot("fr3")


def _plant(**values):
    return Plant(schema="robolearn.plant/1", title="test", robot="fr3", **values)


@pytest.mark.parametrize("path", sorted((config_dir() / "plants").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_packaged_plant_stands_at_home_and_holds(path):
    robot = load_robot(path.stem.partition("-")[0])
    arm = PlantArm(robot, load_plant(path.stem, robot).model_copy(update={"position_noise_rad": 0.0}), 0.002)
    for k in range(100):
        seen = arm.step(0.002 * k, robot.home_rad)
    assert np.abs(seen["position_rad"] - robot.home_rad).max() < 5e-3


def test_numbers_become_the_models():
    spec = ROBOT.spec()
    change_spec(
        spec, ROBOT, _plant(stiffness_scale=[0.5], friction_nm=[1, 2, 3, 4, 5, 6, 7], viscous_nms_rad=[2.0])
    )
    model = spec.compile()
    assert model.actuator_gainprm[:7, 0] == pytest.approx(0.5 * np.array(ROBOT.servo.kp_nm_rad))
    assert model.dof_frictionloss[:7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert model.dof_damping[:7].tolist() == [2.0] * 7


def test_friction_that_falls_is_that_of_the_file_at_the_speed_and_more_at_rest():
    spec = ROBOT.spec()
    change_spec(
        spec,
        ROBOT,
        _plant(friction_nm=[3.0], friction_falls_nm=[4.0], falls_by_rad_s=0.8, viscous_nms_rad=[0.0]),
    )
    model = spec.compile()
    linear, square, cube = model.dof_damping[0], *model.dof_dampingpoly[0]

    def friction(v):
        return model.dof_frictionloss[0] + linear * v + square * v**2 + cube * v**3

    assert friction(0.0) == pytest.approx(7.0)
    assert friction(0.8) == pytest.approx(3.0)
    assert friction(0.4) == pytest.approx(3.0 + 4.0 / 8)


def test_backlash_lets_the_link_play_behind_its_drive():
    spec = ROBOT.spec()
    change_spec(spec, ROBOT, _plant(backlash_rad=[0.0, 0.002] + [0.0] * 5))
    model = spec.compile()
    play = model.joint(f"fr3_joint2{PLAY}")
    assert play.range.tolist() == [-0.001, 0.001]
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    assert data.joint("fr3_joint3").qpos[0] == ROBOT.home_rad[2]
    assert data.joint(play.name).qpos[0] == 0.0


def test_commands_act_late_and_between_two_linearly():
    wiring = Wiring(ROBOT, _plant(command_delay_s=0.003))
    acted = [wiring.command(0.002 * k, np.full(7, float(k)))[0] for k in range(6)]
    assert acted == pytest.approx([0.0, 0.0, 0.5, 1.5, 2.5, 3.5])


def test_bias_is_in_what_is_measured_only():
    arm = PlantArm(ROBOT, _plant(position_bias_rad=[0.01] * 7), 0.002)
    seen = arm.step(0.0, ROBOT.home_rad)
    assert seen["position_rad"] == pytest.approx(ROBOT.home_rad + 0.01)


def test_a_plant_of_another_arm_or_length_is_refused():
    with pytest.raises(RobotError, match="is for robot 'ur5e', but this arm is 'fr3'"):
        load_plant("ur5e-soft", ROBOT)
    with pytest.raises(RobotError, match="friction_nm has 2 numbers, expected 1 or 7"):
        _plant(friction_nm=[1.0, 2.0]).of("friction_nm", ROBOT, 0.0)
