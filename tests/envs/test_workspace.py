"""Goals of `reach` come from where the arm can go; a run that ends badly says what is likely wrong."""

import jax
import mujoco
import numpy as np
import pytest
import yaml
from robolearn_envs.reach import Reach, ReachConfig
from robolearn_envs.shared import view_scale
from robolearn_envs.workspace import reach_m, shoulder_height_m, within_reach

from robolearn.cli.train import low_success
from robolearn.robots import load_robot, robot_names

HEIGHTS_M = {"fr3": 0.333, "ur5e": 0.1625, "iiwa14": 0.36}


def own(folder, *, where="", lift="-1.5 1.5", scale=1.0, reach=None):
    """An upright arm of three joints on a body at where; 0.5 m from shoulder to flange, times scale."""
    a, b = 0.3 * scale, 0.2 * scale
    (
        folder / "arm.xml"
    ).write_text(f"""<mujoco><compiler angle="radian"/><worldbody><body name="base" {where}>
      <body name="l1" pos="0 0 {0.25 * scale}"><joint name="j1" axis="0 0 1" range="-2.8 2.8"/>
      <geom type="capsule" fromto="0 0 -.1 0 0 0" size=".03"/>
      <body name="l2"><joint name="j2" axis="0 1 0" range="{lift}"/>
      <geom type="capsule" fromto="0 0 0 0 0 {a}" size=".03"/>
      <body name="l3" pos="0 0 {a}"><joint name="j3" axis="0 1 0" range="-2.5 2.5"/>
      <geom type="capsule" fromto="0 0 0 0 0 {b}" size=".03"/></body></body></body></body></worldbody></mujoco>""")
    low, high = (float(x) for x in lift.split())

    def fact(value):
        return {"value": value, "source": "test", "trust": "primary"}

    data = {
        "schema": "robolearn.robot/1", "name": "upright", "label": "upright", "joint_names": ["j1", "j2", "j3"],
        "model": {"mjcf": "arm.xml", "flange_body": "l3", "flange_xyz_m": [0, 0, b]},
        "home_rad": fact([0.0, max(low, min(0.6, high)), 1.2]),
        "limits": {"position_min_rad": fact([-2.8, low, -2.5]), "position_max_rad": fact([2.8, high, 2.5]),
                   "velocity_rad_s": fact([2.0] * 3), "torque_nm": fact([90.0, 80.0, 40.0])},
    }  # fmt: skip
    if reach:
        data["reach_m"] = fact(reach)
    path = folder / "arm.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_robot(path)


@pytest.mark.parametrize("arm", robot_names())
def test_the_shoulder_of_the_packaged_arms(arm):
    assert shoulder_height_m(load_robot(arm)) == pytest.approx(HEIGHTS_M[arm], abs=1e-9)


def test_shoulder_and_reach_of_an_own_arm_come_from_its_kinematics(tmp_path):
    robot = own(tmp_path, where='pos="-.47 .1 .05"')
    assert shoulder_height_m(robot) == pytest.approx(0.3)
    assert reach_m(robot) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    "change",
    [{"where": 'pos="-.47 0 0"'}, {"lift": "-0.2 0.4"}, {"scale": 0.4}, {"reach": 0.9}, {}],
    ids=["base elsewhere", "little lift", "small", "reach overstated", "plain"],
)
def test_an_own_arm_reaches_its_goals(tmp_path, change):
    robot = own(tmp_path, **change)
    task = Reach(robot, ReachConfig())
    goals = np.asarray(jax.vmap(task.draw_goal)(jax.random.split(jax.random.key(5), 300)), np.float64)
    assert within_reach(robot, goals).mean() > 0.97
    assert len(np.unique(goals.round(4), axis=0)) > 150
    starts = jax.vmap(task.reset)(jax.random.split(jax.random.key(6), 20)).arm
    assert np.isfinite(np.asarray(starts)).all()


def test_the_camera_stands_as_far_off_as_the_arm_is_large(tmp_path):
    for scale in (0.4, 1.0, 2.0):
        robot = own(tmp_path, scale=scale)
        model = Reach(robot, ReachConfig()).scene().compile()
        upright, home = (heights(model, q) for q in (np.zeros(robot.dof), robot.home_rad))
        assert 0.5 < np.ptp(upright) < 1.05
        assert (np.abs(home) < 0.5).all()
    assert view_scale(load_robot("ur5e")) == 1.0


def heights(model, q):
    """How far above the middle of the overview base and TCP are, in heights of the picture."""
    data = mujoco.MjData(model)
    data.qpos[: len(q)] = q
    mujoco.mj_forward(model, data)
    camera = model.camera("overview").id
    points = np.stack([data.body("base").xpos, data.site("tcp").xpos]) - data.cam_xpos[camera]
    seen = data.cam_xmat[camera].reshape(3, 3).T @ points.T
    return seen[1] / -seen[2] / (2.0 * np.tan(np.radians(model.cam_fovy[camera]) / 2.0))


def test_points_within_reach(tmp_path):
    robot = own(tmp_path)
    points = np.array([[0.35, 0.1, 0.4], [0.0, -0.4, 0.3], [0.8, 0.0, 0.25], [0.0, 0.0, 2.0]])
    assert within_reach(robot, points).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("rate", "share", "history", "words"),
    [
        (0.95, 1.0, [0.2, 0.95], []),
        (0.95, None, [], []),
        (0.8, 1.0, [0.8], ["only 80% of its goals. The expert: 100%", "not learned enough yet.*total_steps"]),
        (0.3, 0.2, [0.3], ["only 30%", "expert reaches few of its goals.*torque_nm"]),
        (0.1, 0.98, [0.9, 0.1], ["only 10%", "had reached 90% and lost it"]),
        (0.4, None, [0.4], ["only 40% of its goals.$", "not learned enough yet"]),
    ],
)
def test_a_run_that_ends_badly_says_what_is_likely_wrong(rate, share, history, words):
    import re

    found = low_success(rate, share, history)
    assert len(found) == len(words)
    for line, pattern in zip(found, words, strict=True):
        assert re.search(pattern, line)
