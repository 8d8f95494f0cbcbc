"""The table for arms of one's own: things lie where that arm reaches them, its gripper down."""

import jax
import mujoco
import numpy as np
import pytest
import yaml
from robolearn_envs.table import AREA_M, SCALES, table_scale

from robolearn.env.task import load_task
from robolearn.errors import TaskError
from robolearn.robots import forward, load_robot

JOINTS = ("waist", "shoulder", "elbow", "roll", "pitch", "spin")


def small_arm(folder, size=1.0, joints=JOINTS):
    """A robot file of six joints like a hobby arm: 0.5 m long at size 1, its flange along x."""
    link, wrist = 0.2 * size, 0.05 * size
    axes = {"waist": "0 0 1", "roll": "1 0 0", "spin": "1 0 0"}
    at = {"waist": 0.1, "shoulder": 0.0, "elbow": link, "roll": link, "pitch": 0.0, "spin": wrist}
    text = ""
    for name in reversed(joints):
        place = f"0 0 {at[name]}" if name == "waist" else f"{at[name]} 0 0"
        text = (
            f'<body name="{name}_link" pos="{place}"><joint name="{name}" axis="{axes.get(name, "0 1 0")}"/>'
            f'<geom type="capsule" fromto="0 0 0 {0.04 * size} 0 0" size=".02" mass=".2"/>{text}</body>'
        )
    (folder / "small.xml").write_text(f"<mujoco><worldbody>{text}</worldbody></mujoco>")

    def fact(value):
        return {"value": [value] * len(joints), "source": "nameplate", "trust": "primary"}

    data = {
        "schema": "robolearn.robot/1",
        "name": "small",
        "label": "A small arm",
        "joint_names": list(joints),
        "home_rad": {**fact(0.0), "value": [0.0, -0.9, 1.6, 0.0, 0.87, 0.0][: len(joints)]},
        "model": {
            "mjcf": "small.xml",
            "flange_body": f"{joints[-1]}_link",
            "flange_rpy_rad": [0, 1.5707963, 0],
        },
        "limits": {
            "position_min_rad": fact(-2.8),
            "position_max_rad": fact(2.8),
            "velocity_rad_s": fact(3.0),
            "torque_nm": fact(10.0),
        },
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_things_lie_nearer_for_a_small_arm_and_the_arm_reaches_them(tmp_path):
    path = small_arm(tmp_path)
    task = load_task(f"{path}/pick_cube")
    scale = table_scale(task.robot, type(task).ready_tcp_m)
    assert scale in SCALES
    assert scale < 0.8
    pose = task.config.randomization.pose
    np.testing.assert_allclose(pose["cube_x_m"], scale * np.array(AREA_M["x_m"]))
    assert pose["goal_z_m"][0] >= 0.09
    assert pose["cube_yaw_rad"] == type(task.config)().randomization.pose["cube_yaw_rad"]
    tcp, turn = forward(task.robot, task.rest_rad)
    np.testing.assert_allclose(tcp[:2], [scale * 0.56, 0.0], atol=1e-4)
    assert turn[2, 2] < -0.999
    reset = task.reset(jax.random.key(0))
    assert abs(float(reset.joints["cube"][0])) <= scale * AREA_M["x_m"][1]
    assert task.config.action.workspace_min_m[2] == 0.018  # the table top stays where it is
    np.testing.assert_allclose(task.config.action.workspace_max_m[0], scale * 0.76)


def test_the_picture_shows_a_small_arm_large_and_all_of_its_places(tmp_path):
    task = load_task(f"{small_arm(tmp_path)}/pick_cube")
    model = task.scene().compile()
    data = mujoco.MjData(model)
    data.qpos[: task.robot.dof] = task.rest_rad
    mujoco.mj_forward(model, data)
    pose = task.config.randomization.pose
    places = [[x, y, 0.02] for x in pose["cube_x_m"] for y in pose["cube_y_m"]]
    high, wide = in_the_picture(model, data, [[0.0, 0.0, 0.0], data.site("tcp").xpos, *places])
    assert (np.abs(high) < 0.5).all()
    assert (np.abs(wide) < 0.5 * 640 / 480).all()
    tops = in_the_picture(
        model, data, [[0.0, 0.0, 0.0], *(data.xpos[body] for body in range(1, model.nbody - 1))]
    )[0]
    assert np.ptp(tops) > 0.3


def in_the_picture(model, data, points):
    """How far up and to the right of the middle of the overview points [k, 3] are, in heights of the picture."""
    camera = model.camera("overview").id
    seen = data.cam_xmat[camera].reshape(3, 3).T @ (np.array(points) - data.cam_xpos[camera]).T
    scale = -2.0 * seen[2] * np.tan(np.radians(model.cam_fovy[camera]) / 2.0)
    return seen[1] / scale, seen[0] / scale


def test_what_a_person_sets_is_not_scaled(tmp_path):
    path = small_arm(tmp_path)
    task = load_task(f"{path}/pick_cube", {"randomization": {"pose": {"cube_x_m": [0.2, 0.3]}}})
    assert task.config.randomization.pose["cube_x_m"] == (0.2, 0.3)


@pytest.mark.parametrize("robot", ["fr3", "ur5e", "iiwa14"])
def test_the_packaged_arms_have_the_table_as_it_is(robot):
    task = load_task(f"{robot}/pick_cube")
    assert task.config == type(task.config)()
    assert table_scale(load_robot(robot), task.ready_tcp_m) == 1.0


def test_an_arm_that_cannot_point_its_gripper_down_anywhere_is_refused(tmp_path):
    path = small_arm(tmp_path, joints=JOINTS[:3])
    with pytest.raises(TaskError, match="does not reach .* with its gripper pointing down"):
        load_task(f"{path}/pick_cube")
