"""`robolearn robots draft`: a robot file from a model file, with what the file states and nothing else."""

import mujoco
import numpy as np
import pytest
import yaml
from published import HAND, LIMIT, mjcf, urdf
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.robots import check_robot, forward, load_robot
from robolearn.robots.home import home_posture


def drafted(folder, text, *words, model="arm.urdf", flange="tool0"):
    """The command's outcome, and the robot file that it wrote."""
    (folder / model).write_text(text)
    path = folder / "my_arm.yaml"
    said = CliRunner().invoke(
        app, ["robots", "draft", str(folder / model), "--flange", flange, "-o", str(path), *words]
    )
    return said, path


def test_a_draft_loads_and_holds_what_the_file_states(tmp_path):
    said, path = drafted(tmp_path, urdf())
    assert said.exit_code == 0, said.output
    robot = load_robot(path)
    assert robot.joint_names == ("turn", "lift", "bend")
    np.testing.assert_array_equal(robot.limits.position_max_rad, [2.5] * 3)
    np.testing.assert_array_equal(robot.limits.torque_nm, [80.0] * 3)
    assert robot.limits.trust("torque_nm") == "secondary"
    assert robot.moving_mass_kg == 6.0  # three links of 2 kg
    assert not [finding for finding in check_robot(path) if "wider" in finding]


def test_the_home_posture_is_in_front_of_the_base_within_the_limits(tmp_path):
    _, path = drafted(tmp_path, urdf())
    robot = load_robot(path)
    tcp, turn = forward(robot, robot.home_rad)
    assert tcp[0] > 0.1
    assert tcp[2] > 0.05
    assert abs(tcp[1]) < 0.05
    assert turn[2, 2] < 0.0  # three joints do not do both: rather down than up
    assert (robot.home_rad > robot.limits.position_min_rad + 0.1).all()


def test_what_other_joints_move_is_cut_and_said(tmp_path):
    said, path = drafted(tmp_path, urdf(extra=HAND))
    assert "Cut, since other joints move it: hand" in said.output
    assert yaml.safe_load(path.read_text())["model"]["cut"] == ["hand"]
    load_robot(path)


def test_a_joint_that_slides_is_held_within_its_range_and_said(tmp_path):
    limit = LIMIT.replace('lower="-2.5"', 'lower="0.1"')
    said, path = drafted(tmp_path, urdf(second="prismatic", limit=limit))
    assert "Held, since only hinges are driven: lift" in said.output
    assert yaml.safe_load(path.read_text())["model"]["hold"] == {"lift": 0.1}
    assert load_robot(path).joint_names == ("turn", "bend")


def test_figures_that_the_file_does_not_state_are_asked_for(tmp_path):
    said, path = drafted(tmp_path, mjcf(), model="arm.xml", flange="fore")
    assert "limits.velocity_rad_s is null" in said.output
    document = yaml.safe_load(path.read_text())
    assert document["limits"]["torque_nm"]["value"] is None
    assert "turn, lift, bend" in document["limits"]["torque_nm"]["note"]
    assert len(document["home_rad"]["value"]) == 3  # it needs neither
    assert any("limits.torque_nm is null" in finding for finding in check_robot(path))


def test_a_continuous_joint_gets_half_a_turn_as_a_choice(tmp_path):
    _, path = drafted(tmp_path, urdf(second="continuous"))
    robot = load_robot(path)
    assert robot.limits.position_max_rad[1] == pytest.approx(np.pi, abs=1e-5)
    assert robot.limits.trust("position_max_rad") == "model"
    assert "lift" in (robot.file.limits.position_max_rad.note or "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--flange-rpy", "0 1"], "--flange-rpy is '0 1', expected three numbers"),
        (["--xacro-arg", "dof"], "--xacro-arg takes NAME=VALUE, not 'dof'"),
        (["--cut", "hans"], "Unknown body 'hans'"),
        (["--base", "fore"], "model.base_body is 'fore', but the bodies that carry the first joint"),
    ],
)
def test_a_wrong_answer_is_named_and_nothing_is_written(words, message, tmp_path):
    said, path = drafted(tmp_path, urdf(), *words)
    assert said.exit_code != 0
    assert message in " ".join(str(said.exception or said.output).split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["arm.urdf"]
    assert not path.exists()


def test_a_robot_file_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "my_arm.yaml").write_text("mine")
    said, path = drafted(tmp_path, urdf())
    assert "is there already" in str(said.exception or said.output)
    assert path.read_text() == "mine"


def test_the_elbow_of_a_home_posture_is_up():
    """An arm with its elbow on the table reaches half of its goals."""
    robot = load_robot("ur5e")
    home = home_posture(robot)
    model = robot.spec(gripper=None).compile()
    data = mujoco.MjData(model)
    data.qpos[: robot.dof] = home
    mujoco.mj_kinematics(model, data)
    _, shoulder, elbow, *_ = data.xanchor[:, 2]
    assert elbow > shoulder + 0.1
