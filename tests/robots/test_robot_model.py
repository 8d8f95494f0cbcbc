"""The built models against published numbers, and against the pure kinematics."""

from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import yaml

from robolearn.errors import RobotError
from robolearn.robots import forward, load_robot, robot_names
from robolearn.robots.kinematics import few_operations, frames

VECTORS = yaml.safe_load((Path(__file__).parent / "robot_vectors.yaml").read_text())
ARMS = ("fr3", "ur5e", "iiwa14")
CASES = [(arm, case) for arm in ARMS for case in VECTORS[arm]]


def random_postures(robot, count, seed=0):
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    return np.random.default_rng(seed).uniform(low, high, (count, robot.dof))


def compiled(robot, gripper="parallel"):
    model = robot.spec(gripper).compile()
    return model, mujoco.MjData(model)


def test_the_three_arms_are_there():
    assert robot_names() == tuple(sorted(ARMS))


@pytest.mark.parametrize(("arm", "case"), CASES)
def test_flange_pose_and_gravity_torque(arm, case):
    model, data = compiled(load_robot(arm), None)
    data.qpos[:] = case["q_rad"]
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.site("flange").xpos, case["xyz_m"], atol=1e-6)
    np.testing.assert_allclose(data.site("flange").xmat, case["rotation"], atol=1e-6)
    np.testing.assert_allclose(data.qfrc_bias, case["gravity_torque_nm"], atol=1e-4)


@pytest.mark.parametrize(("arm", "case"), CASES)
def test_pure_kinematics_reach_the_published_pose(arm, case):
    position, rotation = forward(load_robot(arm), case["q_rad"], gripper=None)
    np.testing.assert_allclose(position, case["xyz_m"], atol=1e-6)
    np.testing.assert_allclose(rotation.ravel(), case["rotation"], atol=1e-6)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("gripper", ["parallel", None])
def test_pure_kinematics_agree_with_mujoco(arm, gripper):
    robot = load_robot(arm)
    model, data = compiled(robot, gripper)
    postures = random_postures(robot, 100)
    positions, rotations = forward(robot, postures, gripper=gripper)
    for q, position, rotation in zip(postures, positions, rotations, strict=True):
        data.qpos[: robot.dof] = q
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(position, data.site("tcp").xpos, atol=1e-12)
        np.testing.assert_allclose(rotation.ravel(), data.site("tcp").xmat, atol=1e-12)
        np.testing.assert_allclose(data.sensor("tcp_pos").data, position, atol=1e-12)


@pytest.mark.parametrize("arm", ARMS)
def test_kinematics_run_under_jit_and_vmap(arm):
    robot = load_robot(arm)
    postures = random_postures(robot, 20)
    run = jax.jit(jax.vmap(lambda q: forward(robot, q, xp=jnp)))
    position, rotation = run(jnp.asarray(postures, jnp.float32))
    expected_position, expected_rotation = forward(robot, postures)
    np.testing.assert_allclose(position, expected_position, atol=2e-6)
    np.testing.assert_allclose(rotation, expected_rotation, atol=4e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_few_operations_give_the_same_frames(arm):
    robot = load_robot(arm)
    q = np.random.default_rng(2).uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
    expected = (*frames(robot, q), *forward(robot, q, gripper=None))
    with few_operations():
        found = (*frames(robot, q), *forward(robot, q, gripper=None))
        count = len(jax.make_jaxpr(lambda q: frames(robot, q, jnp))(q).eqns)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)
    assert count < 0.5 * len(jax.make_jaxpr(lambda q: frames(robot, q, jnp))(q).eqns)


@pytest.mark.parametrize("arm", ARMS)
def test_mass_matrix_is_symmetric_and_positive_definite(arm):
    robot = load_robot(arm)
    model, data = compiled(robot, None)
    for q in random_postures(robot, 50, seed=1):
        data.qpos[:] = q
        mujoco.mj_forward(model, data)
        mass = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, mass)
        np.testing.assert_allclose(mass, mass.T, atol=1e-12)
        assert np.linalg.eigvalsh(mass).min() > 0.01


@pytest.mark.parametrize("arm", ARMS)
def test_moving_mass_is_the_one_stated(arm):
    robot = load_robot(arm)
    model, _ = compiled(robot, None)
    first = model.joint(robot.joint_names[0]).bodyid[0]
    assert model.body_subtreemass[first] == pytest.approx(robot.moving_mass_kg, abs=2e-6)


@pytest.mark.parametrize("arm", ARMS)
def test_names_and_limits_of_the_model(arm):
    robot = load_robot(arm)
    model, _ = compiled(robot)
    n = robot.dof
    assert [model.joint(i).name for i in range(n)] == list(robot.joint_names)
    assert [model.actuator(i).name for i in range(model.nu)] == [*robot.joint_names, "gripper"]
    np.testing.assert_allclose(model.jnt_range[:n, 0], robot.limits.position_min_rad)
    np.testing.assert_allclose(model.jnt_range[:n, 1], robot.limits.position_max_rad)
    np.testing.assert_allclose(model.actuator_ctrlrange[:n], model.jnt_range[:n])
    np.testing.assert_allclose(model.actuator_forcerange[:n, 1], robot.limits.torque_nm)
    np.testing.assert_allclose(model.actuator("gripper").ctrlrange, [0.0, robot.gripper.width_max_m])
    sensors = {model.sensor(i).name for i in range(model.nsensor)}
    wanted = {f"{joint}_{kind}" for joint in robot.joint_names for kind in ("pos", "vel")}
    assert sensors == wanted | {"tcp_pos", "tcp_quat", "tcp_linvel", "gripper_width"}
    assert (model.opt.timestep, model.opt.integrator) == (0.005, mujoco.mjtIntegrator.mjINT_IMPLICITFAST)


@pytest.mark.parametrize("arm", ARMS)
def test_home_touches_nothing_on_a_floor(arm):
    robot = load_robot(arm)
    spec = robot.spec()
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[2, 2, 0.1])
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.qpos[: robot.dof], robot.home_rad)
    assert data.ncon == 0


@pytest.mark.parametrize("arm", ARMS)
def test_the_arm_touches_the_world_but_not_itself(arm):
    robot = load_robot(arm)
    spec = robot.spec()
    tcp, _ = forward(robot, robot.home_rad)
    spec.worldbody.add_geom(name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.1, 0.3, 0.02], pos=tcp)
    model = spec.compile()
    data = mujoco.MjData(model)
    for q in (robot.home_rad, *random_postures(robot, 20, seed=2)):
        data.qpos[: robot.dof] = q
        mujoco.mj_forward(model, data)
        table = model.geom("table").id
        assert all(table in contact.geom for contact in data.contact)
        if q is robot.home_rad:
            assert data.ncon > 0


@pytest.mark.parametrize("arm", ARMS)
def test_every_link_is_covered_from_joint_to_joint(arm):
    """Each link has a shape that its own joint's axis runs through, and one at the next joint's axis.

    Both may also be covered by the neighbour: two links share a joint's housing.
    """
    robot = load_robot(arm)
    model, data = compiled(robot, None)
    mujoco.mj_forward(model, data)
    bodies = [int(model.joint(name).bodyid[0]) for name in robot.joint_names]
    for index, joint in enumerate(robot.joint_names):
        own = bodies[index]
        near = {own, int(model.body_parentid[own])}
        anchor, axis = data.xanchor[model.joint(joint).id], data.xaxis[model.joint(joint).id]
        along = anchor + np.linspace(-0.5, 0.5, 1001)[:, None] * axis
        for body in near:
            shapes = [
                g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_conaffinity[g]
            ]
            inside = any(_inside(model, data, geom, along).any() for geom in shapes)
            assert inside, f"link {model.body(body).name} does not reach the axis of {joint}"


def _inside(model, data, geom, points):
    """[k]: which points [k, 3] are inside a capsule or box."""
    local = (points - data.geom_xpos[geom]) @ data.geom_xmat[geom].reshape(3, 3)
    size = model.geom_size[geom]
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:
        return (np.abs(local) < size).all(axis=1)
    local[:, 2] -= np.clip(local[:, 2], -size[1], size[1])
    return np.linalg.norm(local, axis=1) < size[0]


@pytest.mark.parametrize("arm", ARMS)
def test_drives_follow_a_smooth_stream_at_50_hz(arm):
    """A speed of 1 rad/s (0.02 rad per period), reached and left at 5 rad/s^2: lag below 10 ms, no ringing."""
    robot = load_robot(arm)
    model, data = compiled(robot)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    middle = (robot.limits.position_min_rad + robot.limits.position_max_rad) / 2
    toward = np.where(robot.home_rad > middle, -1.0, 1.0)
    n, position, velocity = robot.dof, robot.home_rad.copy(), np.zeros(robot.dof)
    lags, speeds, ends = [], [], []
    for period in range(80):
        wanted = toward if period < 40 else np.zeros(n)
        step = np.clip(wanted - velocity, -0.1, 0.1)
        for t in (0.005, 0.01, 0.015, 0.02):
            data.ctrl[:n] = position + velocity * t + 0.5 * step / 0.02 * t * t
            mujoco.mj_step(model, data)
            if 25 <= period < 40:
                lags.append((data.ctrl[:n] - data.qpos[:n]) * toward)
                speeds.append(data.qvel[:n] * toward)
            if period >= 60:
                ends.append(np.abs(data.qvel[:n]))
        position, velocity = data.ctrl[:n].copy(), velocity + step
    assert np.max(lags) < 0.010  # rad at 1 rad/s, so seconds
    np.testing.assert_allclose(speeds, 1.0, atol=0.02)
    assert np.max(ends) < 1e-3
    np.testing.assert_allclose(data.qpos[:n], position, atol=1e-4)


@pytest.mark.parametrize("arm", ARMS)
def test_drives_stay_stable_under_held_steps(arm):
    """The roughest stream a policy could send: 0.02 rad steps at 50 Hz, held in between."""
    robot = load_robot(arm)
    model, data = compiled(robot)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    middle = (robot.limits.position_min_rad + robot.limits.position_max_rad) / 2
    toward = np.where(robot.home_rad > middle, -1.0, 1.0)
    n = robot.dof
    for _ in range(40):
        data.ctrl[:n] += 0.02 * toward
        mujoco.mj_step(model, data, 4)
        assert np.abs(data.ctrl[:n] - data.qpos[:n]).max() < 0.03
    mujoco.mj_step(model, data, 100)
    assert np.abs(data.qvel[:n]).max() < 1e-4


def test_an_unknown_gripper_is_refused():
    with pytest.raises(RobotError, match="Unknown gripper 'paralel'.*Did you mean 'parallel'"):
        load_robot("fr3").spec("paralel")


def test_a_simulation_that_diverges_leaves_no_log_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, data = compiled(load_robot("fr3"))
    data.qvel[0] = 1e300
    mujoco.mj_step(model, data)
    assert data.warning[mujoco.mjtWarning.mjWARN_BADQVEL].number == 1
    assert list(tmp_path.iterdir()) == []
