"""A small scene with one of everything that randomisation reaches: a driven pendulum, and a box on a table."""

import jax
import jax.numpy as jnp
import mujoco

from robolearn.sim.compiled import compiled
from robolearn.sim.native import NativePhysics
from robolearn.sim.randomize import Randomization, Randomizer, prepare

XML = """
<mujoco>
  <option timestep="0.005" integrator="implicitfast"/>
  <worldbody>
    <geom name="table" type="plane" size="1 1 0.1" friction="0.1 0.005 0.0001"/>
    <body name="link" pos="0 0 1" gravcomp="1">
      <joint name="hinge" axis="0 1 0" damping="0.5" frictionloss="0.02" armature="0.05"/>
      <geom name="rod" type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" contype="0" conaffinity="0" mass="1"/>
    </body>
    <body name="box" pos="0.5 0.5 0.0295">
      <freejoint name="box"/>
      <geom name="box" type="box" size="0.03 0.03 0.03" mass="0.2" friction="0.4 0.005 0.0001"/>
      <site name="top" pos="0 0 0.03"/>
    </body>
  </worldbody>
  <actuator>
    <position name="drive" joint="hinge" kp="40" kv="4" forcerange="-6 6"/>
  </actuator>
  <sensor>
    <jointpos joint="hinge"/><jointvel joint="hinge"/><framepos objtype="site" objname="top"/>
  </sensor>
</mujoco>
"""

STEPS = 40


def build(config, num_envs, engine=NativePhysics):
    """Randomizer and engine on the scene."""
    randomization = Randomization.model_validate(config)
    spec = mujoco.MjSpec.from_string(XML)
    prepare(spec, randomization)
    model = spec.compile()
    return Randomizer(model, randomization, ("box",)), engine(model, num_envs)


def roll(randomizer, physics, fields, size=None, amplitude_rad=0.8):
    """Drive the hinge, by default against its force limit, while the box slides; every state, [T, N, ...]."""
    n = physics.num_envs
    qpos = jnp.tile(jnp.asarray(physics.model.qpos0, jnp.float32), (n, 1))
    if size:
        qpos = qpos.at[:, 3].add(randomizer.lift("box", size["box"]))
    qvel = jnp.zeros((n, physics.model.nv)).at[:, 1].set(0.8).at[:, 6].set(2.0)
    state, constants = physics.reset(physics.blank(), jnp.arange(n), qpos, qvel, fields)
    fields = dict(fields) | constants
    ctrl = amplitude_rad * jnp.sin(jnp.arange(1, STEPS + 1) / 6.0)
    ctrl = jnp.tile(ctrl[:, None, None, None], (1, n, 1, 1))

    def step(state, u):
        state = physics.step(state, u, fields)
        return state, state

    return compiled(jax.jit(lambda s: jax.lax.scan(step, s, ctrl)[1]).lower(state))(state)


def draw(randomizer, num_envs, seed=0):
    """Draws of num_envs episodes."""
    return jax.vmap(randomizer.draw)(jax.random.split(jax.random.key(seed), num_envs))
