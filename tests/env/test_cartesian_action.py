import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robolearn.env.cartesian_action import (
    ActionConfig,
    CartesianAction,
    make_action,
    solve_spd,
)
from robolearn.env.joint_action import ArmMemory
from robolearn.errors import TaskError
from robolearn.robots import load_robot, robot_names
from robolearn.robots.kinematics import frames

PERIOD_S = 0.02


@pytest.fixture(params=robot_names())
def robot(request):
    return load_robot(request.param)


def build(robot, **config):
    config = ActionConfig(space="cartesian", **config)
    return make_action(robot, config, PERIOD_S, gripper=False, rest_rad=robot.home_rad)


def play(action, actions, start):
    """Positions and velocities [T, n] of a sequence of actions [T, A]."""

    def step(memory, a):
        _, memory = action(a, memory)
        return memory, (memory.command_position, memory.command_velocity)

    start = jnp.asarray(start, jnp.float32)
    out = jax.jit(lambda: jax.lax.scan(step, ArmMemory(start, jnp.zeros_like(start)), actions)[1])()
    return (np.asarray(x, float) for x in out)


def test_frames_and_jacobian_agree_with_mujoco(robot):
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    joints = [model.joint(name) for name in robot.joint_names]
    for _ in range(20):
        q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad)
        for joint, value in zip(joints, q, strict=True):
            data.qpos[joint.qposadr[0]] = value
        mujoco.mj_forward(model, data)
        site = model.site("tcp").id
        linear, angular = np.zeros((2, 3, model.nv))
        mujoco.mj_jacSite(model, data, linear, angular, site)
        columns = [joint.dofadr[0] for joint in joints]
        tcp = frames(robot, q)
        np.testing.assert_allclose(tcp.position, data.site_xpos[site], atol=1e-6)
        np.testing.assert_allclose(tcp.rotation, data.site_xmat[site].reshape(3, 3), atol=1e-6)
        np.testing.assert_allclose(tcp.linear, linear[:, columns], atol=1e-6)
        np.testing.assert_allclose(tcp.angular, angular[:, columns], atol=1e-6)


def test_solve_agrees_with_lapack():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 9))
    matrix, vector = half @ half.T + 1e-3 * np.eye(6), rng.normal(size=6)
    found = solve_spd(jnp.asarray(matrix, jnp.float32), jnp.asarray(vector, jnp.float32))
    np.testing.assert_allclose(np.asarray(found), np.linalg.solve(matrix, vector), rtol=1e-3)


@pytest.mark.parametrize("rotation", ["none", "yaw", "full"])
def test_targets_stay_inside_every_limit_whatever_the_network_says(robot, rotation):
    action = build(robot, rotation=rotation)
    key = jax.random.key(0)
    for actions in (jnp.ones((300, action.size)), 10.0 * jax.random.normal(key, (300, action.size))):
        position, velocity = play(action, actions, robot.home_rad)
        assert (position <= action.position_max_rad + 1e-4).all()
        assert (position >= action.position_min_rad - 1e-4).all()
        assert (np.abs(velocity) <= action.velocity_max_rad_s + 1e-5).all()
        acceleration = np.diff(velocity, axis=0, prepend=0.0) / PERIOD_S
        assert (np.abs(acceleration) <= action.acceleration_max_rad_s2 * (1 + 1e-3) + 1e-3).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_tool_moves_as_asked_and_keeps_its_orientation(robot, axis):
    action = build(robot, speed_m_s=0.1)
    actions = jnp.zeros((50, action.size)).at[:, axis].set(-1.0)
    position, _ = play(action, actions, robot.home_rad)
    before, after = frames(robot, robot.home_rad), frames(robot, position[-1])
    wanted = np.zeros(3)
    wanted[axis] = -0.1
    np.testing.assert_allclose(after.position - before.position, wanted, atol=0.012)
    np.testing.assert_allclose(after.rotation, before.rotation, atol=0.03)


def test_a_tilted_tool_is_brought_upright(robot):
    action = build(robot)
    tilted = robot.home_rad + 0.1 * np.array([(-1.0) ** i for i in range(robot.dof)])
    position, velocity = play(action, jnp.zeros((200, action.size)), tilted)
    np.testing.assert_allclose(
        frames(robot, position[-1]).rotation, frames(robot, robot.home_rad).rotation, atol=0.01
    )
    assert np.abs(velocity[-1]).max() < 0.05


def test_yaw_turns_the_tool_about_its_own_axis(robot):
    action = build(robot, rotation="yaw", turn_rad_s=1.0)
    actions = jnp.zeros((50, action.size)).at[:, 3].set(1.0)
    position, _ = play(action, actions, robot.home_rad)
    before, after = frames(robot, robot.home_rad), frames(robot, position[-1])
    turned = before.rotation.T @ after.rotation
    assert np.arctan2(turned[1, 0], turned[0, 0]) == pytest.approx(1.0, abs=0.15)
    np.testing.assert_allclose(after.position, before.position, atol=0.02)
    np.testing.assert_allclose(after.rotation[:, 2], before.rotation[:, 2], atol=0.02)


def test_the_workspace_box_holds_the_tool(robot):
    start = frames(robot, robot.home_rad).position
    action = build(
        robot, workspace_min_m=tuple(start - 0.05), workspace_max_m=tuple(start + 0.05), speed_m_s=0.3
    )
    for sign in (1.0, -1.0):
        position, _ = play(action, sign * jnp.ones((100, action.size)), robot.home_rad)
        path = np.array([frames(robot, q).position for q in position])
        assert (np.abs(path - start) < 0.07).all()
        np.testing.assert_allclose(path[-1] - start, sign * 0.05, atol=0.01)


def test_half_a_workspace_is_refused():
    with pytest.raises(TaskError, match="Set both"):
        build(load_robot("fr3"), workspace_min_m=(0.0, 0.0, 0.0))


def test_the_space_is_a_choice_of_the_config():
    robot = load_robot("fr3")
    assert not isinstance(
        make_action(robot, ActionConfig(), PERIOD_S, gripper=True, rest_rad=robot.home_rad), CartesianAction
    )
    assert build(robot, rotation="full").size == 6
