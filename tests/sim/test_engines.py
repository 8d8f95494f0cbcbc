"""The engines on every task: the same start, the same drawn physics and the same commands, side by side.

native is MuJoCo's C engine in float64; warp is MuJoCo XLA in float32, here on a CPU. Tolerances are of 0.1 s of
motion: rounding alone parts motions later, at first where something slides or lands. XLA compiles the jax engine's
step of a whole arm for longer than five minutes on two cores, so jax is compared in the small scene of
test_randomize.py; here it has to say what it cannot do.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import robolearn
from robolearn.errors import PhysicsError
from robolearn.sim.physics import make_physics
from robolearn.tasks import task_classes

ENVS, PERIODS = 2, 5
ARM_RAD, OBJECT_M = 5e-4, 1e-3
NO_ELLIPSOIDS = ("open_drawer", "pick_cube", "push", "stack")  # of which the arms' links are made


def commands(env, state):
    """A slow wave of every joint about its start, the gripper closing, [T, N, substeps, nu]."""
    steps = env.task.substeps
    phase = jnp.arange(1, PERIODS * steps + 1).reshape(PERIODS, 1, steps, 1) / (PERIODS * steps)
    ctrl, _ = env._control(
        state,
        {
            "joint_position_target": state.memory.command_position,
            "joint_velocity_target": 0.0 * state.memory.command_velocity,
            "gripper_width_target": getattr(state.memory, "command_width", jnp.zeros((ENVS, 1))),
        },
    )
    return ctrl[None] + 0.05 * jnp.sin(2.0 * jnp.pi * phase) * (1.0 - 0.9 * (env.model.actuator_trntype > 0))


@pytest.fixture(scope="module", params=sorted(task_classes()))
def native(request):
    env = robolearn.make(f"fr3/{request.param}", ENVS, "native")
    state = jax.jit(env.reset)(jax.random.key(3))
    ctrl = commands(env, state)
    return env, state, ctrl, roll(env.physics, state, ctrl)


def roll(physics, state, ctrl):
    def step(at, u):
        at = physics.step(at, u, state.fields)
        return at, (at.qpos, at.sensordata, at.failed, at.overflow)

    return jax.tree.map(np.asarray, jax.jit(lambda: jax.lax.scan(step, state.physics, ctrl)[1])())


@pytest.mark.slow
def test_warp_agrees_with_the_c_engine(native):
    env, state, ctrl, (expected, sensed, _, _) = native
    found, felt, failed, overflow = roll(make_physics("warp", env.model, ENVS), state, ctrl)
    assert not failed.any()
    assert not overflow.any()
    arm = env._arm_qpos
    assert np.abs(expected[..., arm] - expected[:1, :, arm]).max() > 0.01, "the arm moved"
    np.testing.assert_allclose(found[..., arm], expected[..., arm], atol=ARM_RAD)
    np.testing.assert_allclose(found, expected, atol=OBJECT_M)
    columns = env._columns["joint_position"]
    np.testing.assert_allclose(felt[..., columns], sensed[..., columns], atol=ARM_RAD)


@pytest.mark.parametrize("name", NO_ELLIPSOIDS)
def test_jax_says_which_contacts_it_cannot_do(name):
    model = robolearn.make(f"fr3/{name}", 1, "native").model
    with pytest.raises(PhysicsError, match="ELLIPSOID.*collisions not implemented.*Use the native engine"):
        make_physics("jax", model, 1)
