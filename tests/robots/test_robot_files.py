"""Robot files: what is refused, and with which message; arms of a user's own."""

import copy

import mujoco
import numpy as np
import pytest
import yaml

from robolearn.errors import RobotError
from robolearn.robots import check_robot, forward, load_robot, robot_names

MJCF = """
<mujoco model="two">
  <compiler angle="degree"/>
  <worldbody>
    <body name="stand" pos="0 0 0.1">
      <geom type="box" size="0.05 0.05 0.1"/>
      <body name="upper" pos="0 0 0.2" euler="0 30 0">
        <joint name="lift" axis="0 1 0" pos="0 0.02 0.01" range="-90 90"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.04"/>
        <body name="fore" pos="0.3 0 0">
          <joint name="bend" axis="0 1 1" range="-120 120"/>
          <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.03"/>
          <site name="tcp" pos="9 9 9"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="lift"/></actuator>
</mujoco>
"""
URDF = """
<robot name="two">
  <link name="stand"/>
  <link name="upper"><inertial><origin xyz="0.15 0 0"/><mass value="2"/>
    <inertia ixx="0.01" iyy="0.02" izz="0.02" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <link name="fore"><inertial><origin xyz="0.12 0 0"/><mass value="1"/>
    <inertia ixx="0.005" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial></link>
  <joint name="lift" type="revolute"><parent link="stand"/><child link="upper"/><origin xyz="0 0 0.3"/>
    <axis xyz="0 1 0"/><limit lower="-1" upper="1" effort="50" velocity="2"/></joint>
  <joint name="bend" type="revolute"><parent link="upper"/><child link="fore"/><origin xyz="0.3 0 0"/>
    <axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="20" velocity="2"/></joint>
</robot>
"""


def own_arm():
    given = {"source": "nameplate", "trust": "primary"}
    return {
        "schema": "robolearn.robot/1",
        "name": "two",
        "label": "An arm of two joints",
        "joint_names": ["lift", "bend"],
        "model": {"mjcf": "two.xml", "flange_body": "fore", "flange_xyz_m": [0.28, 0, 0],
                  "flange_rpy_rad": [0, 1.5, 0.3]},
        "limits": {
            "position_min_rad": {"value": [-1.0, -2.0], **given},
            "position_max_rad": {"value": [1.0, 2.0], **given},
            "velocity_rad_s": {"value": [2.0, 2.0], **given},
            "torque_nm": {"value": [50.0, 20.0], **given},
        },
    }  # fmt: skip


def written(tmp_path, data):
    (tmp_path / "two.xml").write_text(MJCF)
    (tmp_path / "two.urdf").write_text(URDF)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture
def fr3():
    return yaml.safe_load(load_robot("fr3").path.read_text())


def test_an_unknown_robot_is_refused_with_the_nearest_name():
    with pytest.raises(
        RobotError, match="Unknown robot 'fr33'. Available: fr3, iiwa14, ur5e. Did you mean 'fr3'"
    ):
        load_robot("fr33")


def test_a_missing_file_is_refused():
    with pytest.raises(RobotError, match="No file 'nowhere.yaml'"):
        load_robot("nowhere.yaml")


def test_unknown_keys_are_refused_with_the_nearest_name(tmp_path, fr3):
    fr3["payload"] = fr3.pop("payload_kg")
    fr3["limits"]["torques_nm"] = fr3["limits"].pop("torque_nm")
    fr3["links"]["bodies"][1]["mas_kg"] = 1.0
    with pytest.raises(RobotError) as error:
        load_robot(written(tmp_path, fr3))
    message = str(error.value)
    assert "Unknown key 'payload'" in message
    assert "Did you mean 'payload_kg'?" in message
    assert "key 'limits.torque_nm' is missing" in message
    assert "Did you mean 'limits.torque_nm'?" in message
    assert "Did you mean 'links.bodies.1.mass_kg'?" in message


def change(data, path, value):
    *parents, leaf = path.split(".")
    for part in parents:
        data = data[int(part)] if part.isdigit() else data[part]
    data[leaf] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("limits.velocity_rad_s.value", [1.0] * 6, "limits.velocity_rad_s has 6 numbers, but joint_names has 7"),
        ("servo.kp_nm_rad", [1.0] * 8, "servo.kp_nm_rad has 8 numbers, but joint_names has 7 joints"),
        ("limits.sets.set_B_legacy.velocity_curve.offset_rad_s", [1.0], "velocity_curve|offset_rad_s has 1 numbers"),
        ("limits.position_min_rad.value", [0, 0, 0, 0, 0, 5, 0], "joint 6 has position_min_rad 5.0 not below"),
        ("limits.torque_nm.value", [87, 87, 87, 87, 12, 12, 0], "limits.torque_nm contains a zero"),
        ("limits.jerk_rad_s3.value", [-1] * 7, "limits.jerk_rad_s3 contains -1.0"),
        ("limits.velocity_rad_s.value", None, "a null value needs a note"),
        ("limits.velocity_curves", ["set_C_rectangular"], "no such set with a curve"),
        ("home_rad.value", [0.0] * 7, "home_rad: fr3_joint4 is 0.0, outside"),
        ("home_rad.value", [float("nan")] * 7, "line .* is not finite"),
        ("limits.torque_nm.trust", "gossip", "'primary', 'secondary'"),
        ("kinematics.steps.0.name", "elsewhere", "The revolute steps of kinematics are"),
        ("links.bodies.2.joint", "fr3_joint9", "links.bodies must be the base"),
        ("links.bodies.2.com_m", None, "needs com_m and inertia_kgm2"),
        ("links.bodies.1.geometry.0.color", "pink", "uses color 'pink'"),
        ("links.bodies.1.geometry.0.radius_m", 0.0, "greater than 0"),
        ("kinematics.steps.0.xyz_m", [0, 0], "at least 3 items"),
        ("joint_names", ["fr3_joint1"] * 7, "holds a name twice"),
        ("kinematics", None, "No arm is defined"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(tmp_path, fr3, path, value, message):
    change(fr3, path, value)
    with pytest.raises(RobotError, match=message):
        load_robot(written(tmp_path, fr3))


@pytest.mark.parametrize("arm", robot_names())
def test_the_packaged_files_lack_nothing(arm):
    assert check_robot(load_robot(arm).path) == []


@pytest.mark.parametrize("kind", ["mjcf", "urdf"])
def test_an_arm_of_ones_own(tmp_path, kind):
    data = own_arm()
    data["model"][kind] = data["model"].pop("mjcf").replace("xml", {"mjcf": "xml", "urdf": "urdf"}[kind])
    robot = load_robot(written(tmp_path, data))
    model = robot.spec().compile()
    sim = mujoco.MjData(model)
    np.testing.assert_allclose(model.jnt_range[:2], [[-1, 1], [-2, 2]])
    assert model.nu == 3
    for q in np.random.default_rng(0).uniform(-1, 1, (20, 2)):
        sim.qpos[:2] = q
        mujoco.mj_forward(model, sim)
        position, rotation = forward(robot, q)
        np.testing.assert_allclose(sim.site("tcp").xpos, position, atol=1e-12)
        np.testing.assert_allclose(sim.sensor("tcp_pos").data, position, atol=1e-12)
        np.testing.assert_allclose(sim.site("tcp").xmat, rotation.ravel(), atol=1e-12)
    sim.ctrl[:2] = [0.5, -0.5]
    mujoco.mj_step(model, sim, 400)
    np.testing.assert_allclose(sim.qpos[:2], [0.5, -0.5], atol=1e-3)


def test_check_says_what_an_own_arm_lacks(tmp_path):
    findings = check_robot(written(tmp_path, own_arm()))
    text = "\n".join(findings)
    for key in (
        "acceleration_rad_s2",
        "jerk_rad_s3",
        "torque_rate_nm_s",
        "payload_kg",
        "home_rad",
        "ros",
        "servo",
    ):
        assert key in text
    assert "value: null" in text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.mjcf", "gone.xml", "No model file"),
        ("model.flange_body", "hand", "has no body 'hand' for the flange. Bodies: world, stand, upper, fore"),
        ("joint_names", ["bend", "lift"], "joint_names are"),
        (
            "joint_names",
            ["lift", "bent"],
            "Unknown joint 'bent'. Available: bend, lift. Did you mean 'bend'?",
        ),
        ("model.urdf", "two.urdf", "give either mjcf or urdf"),
        ("limits.torque_nm.value", [1.0], "limits.torque_nm has 1 numbers"),
    ],
)
def test_check_finds_what_contradicts(tmp_path, path, value, message):
    data = copy.deepcopy(own_arm())
    change(data, path, value)
    file = written(tmp_path, data)
    findings = " ".join(check_robot(file))
    assert message in findings
    with pytest.raises(RobotError):
        load_robot(file)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("mjcf", "position_min_rad", [-3.0, -2.0],
         "limits.position_min_rad of joint 'lift' is -3 rad, but two.xml says -1.5708 rad (joint 'lift', range)"),
        ("mjcf", "position_max_rad", [1.0, 2.2],
         "limits.position_max_rad of joint 'bend' is 2.2 rad, but two.xml says 2.0944 rad (joint 'bend', range)"),
        ("mjcf", "torque_nm", [50.0, 90.0],
         "'bend' is 90 Nm, but two.xml says 80 Nm (joint 'bend', actuatorfrcrange)"),
        ("mjcf", "torque_nm", [130.0, 20.0],
         "'lift' is 130 Nm, but two.xml says 120 Nm (actuator 'push' of joint 'lift', forcerange times gear)"),
        ("mjcf", "torque_nm", [110.0, 20.0],
         "says 100 Nm (actuator '1' of joint 'lift', ctrlrange times gain and gear)"),
        ("urdf", "position_min_rad", [-3.0, -2.0],
         "limits.position_min_rad of joint 'lift' is -3 rad, but two.urdf says -1 rad (joint 'lift', limit lower)"),
        ("urdf", "torque_nm", [500.0, 20.0],
         "'lift' is 500 Nm, but two.urdf says 50 Nm (joint 'lift', limit effort)"),
        ("urdf", "velocity_rad_s", [2.0, 20.0],
         "'bend' is 20 rad/s, but two.urdf says 2 rad/s (joint 'bend', limit velocity)"),
    ],
)  # fmt: skip
def test_check_finds_limits_wider_than_the_model_files(tmp_path, kind, path, value, message):
    data = own_arm()
    data["model"].pop("mjcf")
    data["model"][kind] = {"mjcf": "two.xml", "urdf": "two.urdf"}[kind]
    file = written(tmp_path, data)
    limited = MJCF.replace('range="-120 120"', 'range="-120 120" actuatorfrcrange="-80 80"').replace(
        '<motor joint="lift"/>',
        '<general name="push" joint="lift" forcerange="-60 60" gear="2"/>'
        '<motor joint="lift" ctrlrange="-50 50" gear="2"/>',
    )
    (tmp_path / "two.xml").write_text(limited)
    assert "wider" not in " ".join(check_robot(file))
    change(data, f"limits.{path}.value", value)
    file.write_text(yaml.safe_dump(data))
    found = [finding for finding in check_robot(file) if "wider" in finding]
    assert message in " ".join(found)
    assert all(word in found[0] for word in (f"limits.{path}", kind.replace("mjcf", "xml")))


def test_joints_besides_the_arm_are_refused(tmp_path):
    path = written(tmp_path, own_arm())
    hand = '<body><joint type="slide"/><geom size="0.01"/></body><site name="tcp"'
    (tmp_path / "two.xml").write_text(MJCF.replace('<site name="tcp"', hand))
    found = " ".join(check_robot(path))
    assert "1 joints besides the 2 that are used: 'unnamed_joint_2'" in found
    assert "`cut: [unnamed_body_3]`" in found


def test_the_digest_changes_with_the_model_file(tmp_path):
    path = written(tmp_path, own_arm())
    before = load_robot(path).digest
    (tmp_path / "two.xml").write_text(MJCF.replace("0.25", "0.26"))
    assert load_robot(path).digest != before
