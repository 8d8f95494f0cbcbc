"""A cell around an arm of the user's own: a deployment file and a profile that `serve` takes as they are."""

import numpy as np
import pytest
import yaml

from robolearn.deploy.deployment import load_deployment, node_parameters
from robolearn.deploy.new_cell import Cell, write_cell
from robolearn.deploy.ros_policies import rights
from robolearn.errors import ConfigError, RobolearnError
from robolearn.robots import load_robot
from robolearn.robots import robot as robot_module
from robolearn.safety.profile import SafetyProfile

MJCF = """<mujoco><worldbody><body name="stand"><geom type="box" size=".05 .05 .1" pos="0 0 .1"/>
 <body name="upper" pos="0 0 .3"><joint name="turn" axis="0 0 1"/><joint name="lift" axis="0 1 0"/>
  <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".04"/>
  <body name="fore" pos=".3 0 .1"><joint name="bend" axis="0 1 0"/>
   <geom type="capsule" fromto="0 0 0 .25 0 0" size=".03"/></body></body></body></worldbody></mujoco>"""
ROS = {
    "source": "the driver's launch file",
    "trust": "primary",
    "state_topic": "/joint_states",
    "state_rate_hz": 200,
    "state_qos": {"reliability": "reliable"},
    "command_topic": "/forward_position_controller/commands",
    "command_type": "std_msgs/msg/Float64MultiArray",
    "command_rate_hz": 200,
    "command_qos": {"reliability": "reliable"},
    "controller": "forward_position_controller",
    "controller_type": "position_controllers/JointGroupPositionController",
}


def robot_file(folder, trust="primary", **changes):
    given = {"source": "nameplate", "trust": trust}
    limits = {
        "position_min_rad": [-2.5, -1.7, -2.6],
        "position_max_rad": [2.5, 1.7, 2.6],
        "velocity_rad_s": [2.0, 4.0, 2.0],
        "torque_nm": [80.0, 80.0, 40.0],
    }
    data = {
        "schema": "robolearn.robot/1",
        "name": "three",
        "label": "An arm of three joints",
        "joint_names": ["turn", "lift", "bend"],
        "moving_mass_kg": {"value": 4.0, **given},
        "model": {"mjcf": "three.xml", "flange_body": "fore", "flange_xyz_m": [0.28, 0, 0]},
        "limits": {key: {"value": value, **given} for key, value in limits.items()},
        "ros": ROS,
    }
    folder.mkdir(exist_ok=True)
    (folder / "three.xml").write_text(MJCF)
    path = folder / "my_arm.yaml"
    path.write_text(yaml.safe_dump(data | changes))
    return path


def count_readings(monkeypatch):
    """Paths of the robot files that are read, from now on."""
    found, read = [], robot_module.robot_from_file

    def counted(path, *more):
        found.append(path)
        return read(path, *more)

    monkeypatch.setattr(robot_module, "robot_from_file", counted)
    return found


def cell_of(path, folder):
    deployment, profile = write_cell(folder, Cell(robot=str(path), name="cell 7"))
    return load_deployment(deployment), SafetyProfile.load(profile)


def test_the_robot_file_is_read_once(tmp_path, monkeypatch):
    path = robot_file(tmp_path / "arm")
    read = count_readings(monkeypatch)
    deployment, _ = cell_of(path, tmp_path / "cell")
    assert read == [path, path]  # for what was answered, and by what was written, as `serve` reads it
    read.clear()
    for sim in (False, True):
        node_parameters(deployment, "b.robolearn", sim=sim)
    rights(deployment)
    assert read == [path] * 3  # each


def test_the_cell_has_the_arms_limits_and_its_rate(tmp_path):
    path = robot_file(tmp_path / "arm")
    deployment, profile = cell_of(path, tmp_path / "cell")
    robot, mode = load_robot(path), profile.mode("automatic")
    profile.check_against(load_robot(deployment.robot))
    assert (deployment.rate_hz, deployment.deployment_id, profile.robot) == (200.0, "cell 7", "three")
    np.testing.assert_array_equal(mode.velocity_max_rad_s.value, robot.limits.velocity_rad_s)
    np.testing.assert_array_equal(mode.torque_max_nm.value, robot.limits.torque_nm)
    assert mode.velocity_max_rad_s.source == "robot file my_arm.yaml: nameplate"
    assert node_parameters(deployment, "b.robolearn")["safety_node"]["profile"].endswith("profile.yaml")


def test_a_quick_arm_with_few_commands_may_lag_by_as_much_as_they_jump(tmp_path):
    slow = ROS | {"command_rate_hz": 50, "state_rate_hz": 50}
    _, profile = cell_of(robot_file(tmp_path / "arm", ros=slow), tmp_path / "cell")
    mode = profile.mode("automatic")
    assert mode.command_jump_max_rad.value == pytest.approx(4.0 * 5 / 50)
    assert mode.command_lag_max_rad.value == mode.command_jump_max_rad.value
    assert mode.command_lag_max_rad.trust == "integrator"


def test_a_very_quick_arm_with_few_commands_gets_a_profile_that_can_be_read(tmp_path):
    path = robot_file(tmp_path / "arm", ros=ROS | {"command_rate_hz": 50, "state_rate_hz": 50})
    text = path.read_text()
    assert "4.0" in text
    path.write_text(text.replace("    - 4.0\n    - 2.0\n", "    - 20.0\n    - 2.0\n"))
    assert load_robot(path).limits.velocity_rad_s[1] == 20.0
    _, profile = cell_of(path, tmp_path / "cell")
    assert profile.mode("automatic").command_jump_max_rad.value == 1.0


def test_what_the_robot_file_does_not_state_is_a_choice_of_the_cell(tmp_path):
    _, profile = cell_of(robot_file(tmp_path / "arm"), tmp_path / "cell")
    acceleration = profile.mode("automatic").acceleration_max_rad_s2
    np.testing.assert_allclose(acceleration.value, [10.0, 16.0, 10.0])  # a quarter of a second, at least 10
    assert (acceleration.trust, acceleration.source) == (
        "integrator",
        "chosen here: the robot file states none",
    )
    assert "RA-THREE/joints" in acceleration.risk_assessment_ref


def test_a_choice_of_the_robot_file_becomes_one_of_the_cell(tmp_path):
    _, profile = cell_of(robot_file(tmp_path / "arm", trust="model"), tmp_path / "cell")
    assert profile.mode("automatic").position_max_rad.trust == "integrator"


def test_the_arm_stays_in_a_box_around_its_reach(tmp_path):
    _, profile = cell_of(robot_file(tmp_path / "arm"), tmp_path / "cell")
    box = profile.mode("automatic").workspace.stay_in
    assert box.min_m[2] == 0.0
    assert 0.7 < box.max_m[0] < 1.1  # 0.30 + 0.28 m, the gripper, 0.1 m around it
    assert box.max_m[0] == -box.min_m[1]


def test_a_moving_mass_is_asked_for(tmp_path):
    path = robot_file(tmp_path / "arm", moving_mass_kg=None)
    with pytest.raises(RobolearnError, match="needs moving_mass_kg, which robot 'three' does not state"):
        write_cell(tmp_path / "cell", Cell(robot=str(path), name="x"))
    assert not (tmp_path / "cell").exists()


def test_an_arm_without_topics_is_refused_with_what_to_write(tmp_path):
    with pytest.raises(ConfigError, match="'three' has no `ros` block: write which topics"):
        write_cell(tmp_path / "cell", Cell(robot=str(robot_file(tmp_path / "arm", ros=None)), name="x"))
    assert not (tmp_path / "cell").exists()
