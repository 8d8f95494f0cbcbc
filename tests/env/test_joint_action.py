import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.env.joint_action import ArmMemory, GripperMemory, JointAction, JointActionConfig
from robolearn.robots import load_robot, robot_names

PERIOD_S = 0.02


@pytest.fixture(params=robot_names())
def action(request):
    return JointAction(load_robot(request.param), JointActionConfig(), PERIOD_S, gripper=False)


def play(action, actions, start):
    """Positions [T, n] and velocities [T, n] of a sequence of actions [T, A]."""

    def step(memory, a):
        _, memory = action(a, memory)
        return memory, (memory.command_position, memory.command_velocity)

    zeros = jnp.zeros_like(start)
    _, (position, velocity) = jax.jit(lambda: jax.lax.scan(step, ArmMemory(start, zeros), actions))()
    return np.asarray(position, float), np.asarray(velocity, float)


@pytest.mark.parametrize("kind", ["up", "down", "noise", "not in range"])
def test_targets_stay_inside_every_limit_whatever_the_network_says(action, kind):
    key = jax.random.key(0)
    actions = {
        "up": jnp.ones((500, action.size)),
        "down": -jnp.ones((500, action.size)),
        "noise": jax.random.uniform(key, (500, action.size), minval=-1, maxval=1).round(),
        "not in range": 100.0 * jax.random.normal(key, (500, action.size)),
    }[kind]
    start = jnp.asarray(0.5 * (action.position_min_rad + action.position_max_rad), jnp.float32)
    position, velocity = play(action, actions, start)
    assert (position <= action.position_max_rad + 1e-4).all()
    assert (position >= action.position_min_rad - 1e-4).all()
    assert (np.abs(velocity) <= action.velocity_max_rad_s + 1e-5).all()
    acceleration = np.diff(velocity, axis=0, prepend=0.0) / PERIOD_S
    assert (np.abs(acceleration) <= action.acceleration_max_rad_s2 * (1 + 1e-3) + 1e-3).all()


def test_full_action_reaches_the_end_of_the_range(action):
    start = jnp.asarray(0.5 * (action.position_min_rad + action.position_max_rad), jnp.float32)
    position, _ = play(action, jnp.ones((1000, action.size)), start)
    np.testing.assert_allclose(position[-1], action.position_max_rad, atol=5e-3)


def test_position_is_the_integral_of_constant_acceleration(action):
    actions = jax.random.uniform(jax.random.key(1), (50, action.size), minval=-1, maxval=1)
    start = jnp.asarray(0.5 * (action.position_min_rad + action.position_max_rad), jnp.float32)
    position, velocity = play(action, actions, start)
    previous_p = np.vstack([np.asarray(start), position[:-1]])
    previous_v = np.vstack([np.zeros(action.size), velocity[:-1]])
    np.testing.assert_allclose(position, previous_p + 0.5 * (previous_v + velocity) * PERIOD_S, atol=2e-6)


def test_gripper_moves_at_a_bounded_speed_and_stays_in_range():
    robot = load_robot("fr3")
    action = JointAction(robot, JointActionConfig(gripper_speed_m_s=0.1), PERIOD_S, gripper=True)
    memory = GripperMemory(jnp.asarray(robot.home_rad, jnp.float32), jnp.zeros(robot.dof), jnp.array([0.001]))
    targets, memory = action(jnp.full(action.size, -1.0), memory)
    assert float(targets["gripper_width_target"][0]) == 0.0
    targets, _ = action(jnp.full(action.size, 1.0), memory)
    assert float(targets["gripper_width_target"][0]) == pytest.approx(0.002)
