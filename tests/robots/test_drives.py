"""Default drives fit the inertia of the whole workspace; torque limits that cannot be right are questioned."""

import re

import mujoco
import numpy as np
import pytest
from published import arm, mjcf, write

from robolearn.robots import check_robot, load_robot
from robolearn.robots.drives import STEP_S

MJCF = {"mjcf": "arm.xml", "flange_body": "fore", "flange_xyz_m": [0.25, 0, 0]}
UPRIGHT = """<mujoco><compiler angle="radian"/><worldbody><body name="base"><body name="shoulder" pos="0 0 .2">
  <joint name="turn" axis="0 0 1" range="-3 3"/><geom type="capsule" fromto="0 0 0 0 0 .2" size=".05" mass="4"/>
  <body name="upper" pos="0 0 .2"><joint name="lift" axis="0 1 0" range="-2.5 2.5"/>
   <geom type="capsule" fromto="0 0 0 0 0 .4" size=".05" mass="4"/>
   <body name="fore" pos="0 0 .4"><joint name="bend" axis="0 1 0" range="-2.5 2.5"/>
    <geom type="capsule" fromto="0 0 0 0 0 .4" size=".05" mass="4"/></body></body></body></body></worldbody></mujoco>"""

# With `lean` at 0, `turn` and `twist` turn the long link about the same line: one against the other, they move little.
REDUNDANT = """<mujoco><compiler angle="radian"/><worldbody><body name="base"><body name="one" pos="0 0 .2">
  <joint name="turn" axis="0 0 1" range="-3 3"/><geom type="capsule" fromto="0 0 0 0 0 .1" size=".05" mass="2"/>
  <body name="two" pos="0 0 .1"><joint name="lean" axis="0 1 0" range="-1 1"/>
   <geom type="capsule" fromto="0 0 0 0 0 .1" size=".05" mass="1"/>
   <body name="fore" pos="0 0 .1"><joint name="twist" axis="0 0 1" range="-2.5 2.5"/>
    <geom type="capsule" fromto="0 0 0 .5 0 0" size=".05" mass="6"/></body></body></body></body></worldbody></mujoco>"""


def largest_inertia(robot):
    """Of each joint, rotors included, with the gripper on, at random postures."""
    model = robot.spec().compile()
    data, largest = mujoco.MjData(model), np.zeros(robot.dof)
    full = np.zeros((model.nv, model.nv))
    for q in np.random.default_rng(7).uniform(
        robot.limits.position_min_rad, robot.limits.position_max_rad, (300, robot.dof)
    ):
        data.qpos[: robot.dof] = q
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, full)
        largest = np.maximum(largest, np.diag(full)[: robot.dof])
    return largest


def test_an_arm_that_stands_upright_at_mid_range_gets_drives_for_the_stretched_out_arm(tmp_path):
    robot = load_robot(write(tmp_path, UPRIGHT, arm(MJCF)))
    frequency_hz = np.sqrt(np.array(robot.servo.kp_nm_rad) / largest_inertia(robot)) / (2 * np.pi)
    assert (frequency_hz > 15).all()
    assert (frequency_hz < 21).all()
    np.testing.assert_allclose(np.array(robot.servo.kv_nms_rad) / robot.servo.kp_nm_rad, 0.009)


def test_natural_frequency_and_damping_are_stated(tmp_path):
    robot = load_robot(write(tmp_path, UPRIGHT, arm(MJCF)))
    assert "largest inertia in the whole workspace" in robot.servo.source
    assert "turn 17.3 to " in robot.servo.note
    assert "damping ratio 0.49 to " in robot.servo.note


@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("arm_xml", [UPRIGHT, REDUNDANT])
def test_default_drives_come_to_rest_after_a_kick_that_takes_them_to_their_torque_limits(
    arm_xml, joint, tmp_path
):
    robot = load_robot(write(tmp_path, arm_xml, arm(MJCF, re.findall(r'joint name="(\w+)"', arm_xml))))
    model = robot.spec().compile()
    model.opt.timestep = STEP_S
    data, tail = mujoco.MjData(model), []
    data.qpos[:3] = data.ctrl[:3] = 0.0
    data.qvel[joint] = 4.0
    for k in range(400):
        mujoco.mj_step(model, data)
        tail += [data.qpos[:3].copy()] if k >= 300 else []
    assert np.ptp(tail, axis=0).max() < 1e-3


def test_default_drives_follow_a_stream_and_hold_the_stretched_out_arm(tmp_path):
    robot = load_robot(write(tmp_path, UPRIGHT, arm(MJCF)))
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    for k in range(400):
        data.ctrl[:3] = [0.5 * np.sin(k * 0.005), 1.5 * np.sin(k * 0.005), 0.0]
        mujoco.mj_step(model, data)
        assert (
            np.abs(data.ctrl[:3] - data.qpos[:3]).max() < 0.035
        )  # most at the begin: from rest to 1.5 rad/s at once
    assert np.isfinite(data.qacc).all()


def torques(values, **changes):
    data = arm(MJCF)
    data["limits"]["torque_nm"] = {"value": values, "source": "the URDF", "trust": "secondary"} | changes
    return data


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torques([30.0] * 3), "limits.torque_nm is 30 Nm for every joint, which looks like a placeholder"),
        (
            torques([80.0, 2.0, 40.0]),
            "joint 'lift' is 2 Nm, but holding the arm with its gripper .* takes .* Nm against gravity",
        ),
    ],
)
def test_torque_limits_that_cannot_be_right_are_questioned(tmp_path, given, message):
    found = [line for line in check_robot(write(tmp_path, mjcf(), given)) if "torque_nm" in line]
    assert any(re.search(message, line) for line in found), found


@pytest.mark.parametrize(
    "given",
    [
        torques([80.0, 80.0, 40.0]),
        torques([80.0] * 3, note="nameplate of all three"),
        torques([80.0] * 3, trust="primary"),
    ],
)
def test_torque_limits_that_hold_the_arm_and_are_confirmed_are_not(tmp_path, given):
    assert not [line for line in check_robot(write(tmp_path, mjcf(), given)) if "limits.torque_nm" in line]
