"""The parallel gripper: opens, closes, holds a cube."""

import mujoco
import numpy as np
import pytest

from robolearn.robots import forward, load_robot, robot_names


def settle(model, data, seconds):
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)


@pytest.mark.parametrize("arm", robot_names())
def test_the_gripper_opens_and_closes(arm):
    robot = load_robot(arm)
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    gripper = model.actuator("gripper").id
    for width in (0.08, 0.0, 0.045, 0.08):
        data.ctrl[gripper] = width
        settle(model, data, 1.0)
        assert data.sensor("gripper_width").data[0] == pytest.approx(width, abs=5e-4)
        left, right = data.joint("gripper_left").qpos[0], data.joint("gripper_right").qpos[0]
        assert left == pytest.approx(right, abs=2e-4)
    np.testing.assert_allclose(data.qpos[: robot.dof], robot.home_rad, atol=1e-4)


def test_the_tcp_lies_between_the_pads():
    robot = load_robot("fr3")
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    pads = [data.geom(f"gripper_{side}_pad").xpos for side in ("left", "right")]
    assert np.linalg.norm(np.mean(pads, axis=0) - data.site("tcp").xpos) < 2e-3
    inner = np.linalg.norm(pads[0] - pads[1]) - 2 * robot.gripper.file.pad_half_size_m[1]
    assert inner == pytest.approx(robot.gripper.width_max_m, abs=1e-9)


@pytest.mark.parametrize("arm", robot_names())
@pytest.mark.parametrize("size_m", [0.04, 0.05])
def test_the_gripper_holds_a_cube_while_the_arm_swings(arm, size_m):
    robot = load_robot(arm)
    spec = robot.spec()
    spec.delete(spec.key("home"))
    position, rotation = forward(robot, robot.home_rad)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    cube = spec.worldbody.add_body(name="cube", pos=position, quat=quaternion)
    cube.add_freejoint()
    cube.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[size_m / 2] * 3, density=800)
    model = spec.compile()
    data = mujoco.MjData(model)
    n = robot.dof
    data.qpos[:n] = data.ctrl[:n] = robot.home_rad
    data.qpos[n : n + 2] = robot.gripper.width_max_m / 2
    mujoco.mj_forward(model, data)
    assert data.ncon == 0  # there is room around the cube before the fingers close
    model.opt.gravity[2] = 0.0
    settle(model, data, 0.4)
    model.opt.gravity[2] = -9.81
    for step in range(400):
        data.ctrl[0] = robot.home_rad[0] + 0.2 * np.sin(2 * np.pi * step * model.opt.timestep)
        mujoco.mj_step(model, data)
    assert np.linalg.norm(data.body("cube").xpos - data.site("tcp").xpos) < 0.008
    assert data.sensor("gripper_width").data[0] == pytest.approx(size_m, abs=2e-3)
    data.ctrl[n] = robot.gripper.width_max_m
    settle(model, data, 0.6)
    assert data.body("cube").xpos[2] < data.site("tcp").xpos[2] - 0.1  # and lets it go
