"""A robot file of at most ten lines: what the model file states is taken from there, and nothing is invented."""

import numpy as np
import pytest
from published import HAND, INERTIAL, LIMIT, mjcf, urdf
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.env.vec_env import make
from robolearn.errors import RobotError
from robolearn.learn.evaluate import evaluate_expert
from robolearn.robots import check_robot, load_robot
from robolearn.robots.from_model_file import ROS2_CONTROL

SHORT = """\
schema: robolearn.robot/1
name: three
model:
  urdf: arm.urdf
  flange_body: tool0
"""
SOLID = '<collision><origin xyz="0.15 0 0"/><geometry><box size="0.3 0.08 0.08"/></geometry></collision>'


def short(folder, text, file=SHORT, model="arm.urdf"):
    (folder / model).write_text(text)
    path = folder / "three.yaml"
    path.write_text(file)
    return path


def test_five_lines_are_an_arm(tmp_path):
    robot = load_robot(short(tmp_path, urdf()))
    assert robot.label == "three"
    assert robot.joint_names == ("turn", "lift", "bend")
    np.testing.assert_array_equal(robot.limits.position_min_rad, [-2.5] * 3)
    np.testing.assert_array_equal(robot.limits.velocity_rad_s, [2.0] * 3)
    np.testing.assert_array_equal(robot.limits.torque_nm, [80.0] * 3)
    assert robot.limits.source("torque_nm") == "arm.urdf, limits of the joints"
    assert robot.spec().compile().nu == 4


def test_a_short_draft_is_the_arm_of_a_long_one(tmp_path):
    (tmp_path / "arm.urdf").write_text(urdf(upper=SOLID, fore=SOLID, extra=HAND))
    words = ["robots", "draft", str(tmp_path / "arm.urdf"), "--flange", "tool0", "-o"]
    for name, more in (("long", []), ("short", ["--short"])):
        (tmp_path / name).mkdir()
        said = CliRunner().invoke(app, [*words, str(tmp_path / name / "arm.yaml"), *more])
        assert said.exit_code == 0, said.output
    long, brief = (load_robot(tmp_path / name / "arm.yaml") for name in ("long", "short"))
    assert len(brief.path.read_text().splitlines()) <= 10
    assert brief.spec().to_xml() == long.spec().to_xml()
    assert brief.limits.torque_nm.tolist() == long.limits.torque_nm.tolist()
    assert brief.limits.velocity_rad_s.tolist() == long.limits.velocity_rad_s.tolist()
    assert brief.home_rad.tolist() == long.home_rad.tolist()
    assert brief.moving_mass_kg == long.moving_mass_kg  # the profile of a cell needs it
    assert brief.ros == long.ros
    assert brief.ros is not None
    assert brief.ros.state_topic == ROS2_CONTROL["state_topic"]


def test_a_base_away_from_the_origin_stays_in_a_short_draft(tmp_path):
    (tmp_path / "arm.xml").write_text(mjcf(where='pos="-0.5 0.2 0.8" euler="0 0 1.5708"'))
    said = CliRunner().invoke(
        app,
        [
            "robots",
            "draft",
            str(tmp_path / "arm.xml"),
            "--flange",
            "fore",
            "--short",
            "-o",
            str(tmp_path / "a.yaml"),
        ],
    )
    assert said.exit_code == 0, said.output
    assert "base_body: base" in (tmp_path / "a.yaml").read_text()


def test_what_the_model_file_does_not_state_is_asked_for(tmp_path):
    path = short(tmp_path, urdf(limit=LIMIT.replace('effort="80"', 'effort="0"')))
    with pytest.raises(RobotError, match="limits.torque_nm is null.*figures for turn, lift, bend"):
        load_robot(path)
    assert any("limits.torque_nm is null" in finding for finding in check_robot(path))


def test_a_limit_in_the_robot_file_is_the_one_that_holds(tmp_path):
    given = "limits:\n  torque_nm: {value: [60, 60, 40], source: data sheet, trust: primary}\n"
    robot = load_robot(short(tmp_path, urdf(limit=LIMIT.replace('effort="80"', 'effort="0"')), SHORT + given))
    np.testing.assert_array_equal(robot.limits.torque_nm, [60, 60, 40])
    np.testing.assert_array_equal(robot.limits.velocity_rad_s, [2.0] * 3)
    assert robot.limits.trust("torque_nm") == "primary"


def test_what_is_besides_the_arm_is_still_to_be_declared(tmp_path):
    with pytest.raises(RobotError, match=r"2 joints besides the 3 .*`cut: \[hand\]`"):
        load_robot(short(tmp_path, urdf(extra=HAND)))


def test_a_joint_that_slides_is_still_to_be_held(tmp_path):
    with pytest.raises(
        RobotError, match=r"or fix those that are not part of the arm: model.hold: \{lift: 0.0\}"
    ):
        load_robot(short(tmp_path, urdf(second="prismatic")))
    held = SHORT + "  hold: {lift: 0.1}\n"
    assert load_robot(short(tmp_path, urdf(second="prismatic"), held)).joint_names == ("turn", "bend")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tool0", "tool1"), "Unknown body 'tool1'"),
        (("urdf: arm.urdf", "urdf: leg.urdf"), "No model file"),
        (("flange_body: tool0", "flange: tool0"), "Unknown key 'flange'"),
        (("flange_body: tool0", "flange_body: base_link"), "No hinge moves body 'base_link'"),
        (("name: three", "title: three"), "name"),
    ],
)
def test_a_wrong_short_file_is_refused_in_words(change, message, tmp_path):
    path = short(tmp_path, urdf(), SHORT.replace(*change))
    with pytest.raises(RobotError, match=message):
        load_robot(path)
    assert message in " ".join(check_robot(path))


def test_the_arm_of_a_short_file_is_checked_and_reaches_the_goals_of_its_task(tmp_path):
    """Its expert goes to goals in simulation with drives, limits and task that all follow from the model file."""
    plain = f'<link name="shoulder">{INERTIAL}</link>'
    solid = plain.replace(
        "</link>", f"{SOLID.replace('0.3 0.08', '0.06 0.06').replace('0.15 0 0', '0 0 0')}</link>"
    )
    (tmp_path / "arm.urdf").write_text(urdf(upper=SOLID, fore=SOLID).replace(plain, solid))
    path = tmp_path / "arm.yaml"
    said = CliRunner().invoke(
        app, ["robots", "draft", str(tmp_path / "arm.urdf"), "--flange", "tool0", "--short", "-o", str(path)]
    )
    assert said.exit_code == 0, said.output
    assert not [finding for finding in check_robot(path) if "cannot" in finding or "refuses" in finding]
    env = make(f"{path}/reach", 32, "native")
    assert evaluate_expert(env, 32, seed=0).success.rate >= 0.9
