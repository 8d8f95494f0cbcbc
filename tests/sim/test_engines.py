"""The engines on every task: the same start, the same drawn physics and the same commands, side by side.

native is MuJoCo's C engine in float64; warp and jax are MuJoCo XLA in float32, here on a CPU. Tolerances are of 0.1 s
of motion: rounding alone parts motions later, at first where something slides or lands.
"""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from env_programs import reset_program

import robolearn
from robolearn.env.task import task_classes
from robolearn.errors import PhysicsError
from robolearn.sim.compiled import compiled
from robolearn.sim.engines import ENGINES, make_physics

ENVS, PERIODS = 2, 5
ARM_RAD, OBJECT_M = 5e-4, 1e-3
# by MuJoCo XLA in JAX, which takes a quarter of a minute to compile; it has contacts, too
QUICK = ("pick_cube",)
OTHERS = [
    pytest.param(engine, name, marks=[pytest.mark.proof] if engine == "jax" and name not in QUICK else [])
    for name in sorted(task_classes())
    for engine in ENGINES
    if engine != "native"
]
EGG_ON_A_BOX = """
<mujoco>
  <worldbody>
    <geom type="box" size="1 1 0.1"/>
    <body pos="0 0 0.5"><freejoint/><geom type="ellipsoid" size="0.1 0.1 0.2"/></body>
  </worldbody>
</mujoco>
"""


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


@functools.cache
def made(name):
    """The task's environments, as many as in tests/envs, where the same program is compiled."""
    return robolearn.make(f"fr3/{name}", 16, "native")


@functools.cache
def played(name):
    """The task's environments, the first state of some, commands, and what native makes of them."""
    env = made(name)
    state = jax.tree.map(lambda leaf: leaf[:ENVS], reset_program(env)(jax.random.key(3)))
    ctrl = commands(env, state)
    return env, state, ctrl, roll(make_physics("native", env.model, ENVS), state, ctrl)


def roll(physics, state, ctrl):
    def rolled(start, fields, ctrl):
        def step(at, u):
            at = physics.step(at, u, fields)
            return at, (at.qpos, at.sensordata, at.failed, at.overflow)

        return jax.lax.scan(step, start, ctrl)[1]

    given = (state.physics, state.fields, ctrl)
    return jax.tree.map(np.asarray, compiled(jax.jit(rolled).lower(*given))(*given))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "name"), OTHERS)
def test_an_engine_agrees_with_the_c_engine(engine, name):
    env, state, ctrl, (expected, sensed, _, _) = played(name)
    found, felt, failed, overflow = roll(make_physics(engine, env.model, ENVS), state, ctrl)
    assert not failed.any()
    assert not overflow.any()
    arm = env._arm_qpos
    assert np.abs(expected[..., arm] - expected[:1, :, arm]).max() > 0.01, "the arm moved"
    np.testing.assert_allclose(found[..., arm], expected[..., arm], atol=ARM_RAD)
    np.testing.assert_allclose(found, expected, atol=OBJECT_M)
    columns = env._columns["joint_position"]
    np.testing.assert_allclose(felt[..., columns], sensed[..., columns], atol=ARM_RAD)


@pytest.mark.parametrize("name", sorted(task_classes()))
def test_jax_takes_the_contacts_of_every_task(name):
    assert make_physics("jax", made(name).model, 1).engine == "jax"


def test_jax_says_which_contacts_it_cannot_do():
    model = mujoco.MjModel.from_xml_string(EGG_ON_A_BOX)
    with pytest.raises(PhysicsError, match="ELLIPSOID.*collisions not implemented.*Use the native engine"):
        make_physics("jax", model, 1)
