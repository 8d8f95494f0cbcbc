"""Sensors computed in JAX beside MuJoCo's own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robolearn.env.task import load_task, task_names
from robolearn.sim.engines import make_physics
from robolearn.sim.physics import sensor_stage
from robolearn.sim.sensors import covers, covers_early, sensors

# Every kind of joint and of offset that a frame may hang from, and every kind of frame it may be seen from.
_MODEL = """
<mujoco>
  <worldbody>
    <body name="base" pos="0.3 -0.2 0.5" quat="0.5 0.1 -0.7 0.2">
      <joint name="swing" axis="1 2 3" pos="0.1 0.2 -0.3" ref="0.4"/>
      <geom size="0.1"/>
      <body name="cart" pos="0.1 0 0.4" euler="20 30 40">
        <joint name="rail" type="slide" axis="0 1 1" ref="0.1"/>
        <joint name="turn" axis="0 1 0" pos="0 0.1 0"/>
        <geom size="0.1"/>
        <site name="tip" pos="0.2 0.3 0.1" euler="10 20 30"/>
      </body>
    </body>
    <body name="ball" pos="0 0 1"><joint name="ball" type="ball"/><geom size="0.1"/></body>
    <body name="cube" pos="1 0 1">
      <freejoint/><geom size="0.1"/><site name="corner" pos="0.1 0.1 0.1"/>
      <body name="lid" pos="0 0 0.1"><joint name="lid" axis="1 0 0"/><geom size="0.05"/></body>
    </body>
  </worldbody>
  <tendon><fixed name="both"><joint joint="rail" coef="2"/><joint joint="turn" coef="-1"/></fixed></tendon>
  <sensor>
    <jointpos joint="swing"/><jointvel joint="rail"/><tendonpos tendon="both"/><tendonvel tendon="both"/>
    %s
  </sensor>
</mujoco>
"""
_FRAMES = "".join(
    f'<frame{kind} objtype="{of[0]}" objname="{of[1]}" {seen_from}/>'
    for kind in ("pos", "quat", "linvel", "angvel")
    for of in (("xbody", "cart"), ("site", "tip"), ("site", "corner"), ("xbody", "lid"), ("xbody", "world"))
    for seen_from in ("", 'reftype="site" refname="tip"', 'reftype="xbody" refname="cube"')
)


def _differences(model: mujoco.MjModel, count: int = 10) -> np.ndarray:
    """Largest difference of every number of sensordata between JAX and MuJoCo at random states."""
    rng, data, worst = np.random.default_rng(0), mujoco.MjData(model), np.zeros(model.nsensordata)
    compute = jax.jit(partial(sensors, model, fields={}))
    for _ in range(count):
        data.qpos = rng.uniform(-1.5, 1.5, model.nq)
        data.qvel = rng.uniform(-2.0, 2.0, model.nv)
        mujoco.mj_normalizeQuat(model, data.qpos)
        found = compute(jnp.asarray(data.qpos, jnp.float32), jnp.asarray(data.qvel, jnp.float32))
        mujoco.mj_forward(model, data)
        worst = np.maximum(worst, np.abs(found - data.sensordata))
    return worst


def test_frames_on_every_kind_of_joint_and_seen_from_moving_frames():
    model = mujoco.MjModel.from_xml_string(_MODEL % _FRAMES)
    assert covers(model)
    assert model.nsensordata > 100
    np.testing.assert_allclose(_differences(model), 0.0, atol=1e-5)  # rounding of float32 at values up to 10


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("fr3/")])
def test_every_task_reads_what_mujoco_reads(name: str):
    task = load_task(name)
    model = task.scene().compile()
    assert covers_early(model)
    early = sensor_stage(model) != mujoco.mjtStage.mjSTAGE_ACC
    np.testing.assert_allclose(_differences(model)[early], 0.0, atol=1e-5)


def test_a_simulation_with_values_of_its_own():
    model = mujoco.MjModel.from_xml_string(_MODEL % '<framepos objtype="site" objname="tip"/>')
    own = np.array(model.site_pos, np.float32)
    own[model.site("tip").id] = (0.0, 0.5, -0.25)
    found = sensors(
        model, jnp.asarray(model.qpos0, jnp.float32), jnp.zeros(model.nv), {"site_pos": jnp.asarray(own)}
    )
    model.site_pos[:] = own
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(found, data.sensordata, atol=1e-6)


@pytest.mark.parametrize(
    "sensor",
    [
        '<framepos objtype="xbody" objname="ball"/>',  # on a ball joint
        '<framepos objtype="body" objname="cart"/>',  # of the centre of mass
        '<framepos objtype="site" objname="tip" reftype="geom" refname="g"/>',
        '<framepos objtype="site" objname="tip" cutoff="0.5"/>',
        '<framexaxis objtype="site" objname="tip"/>',
        '<accelerometer site="tip"/>',
    ],
)
def test_what_is_not_covered_is_left_to_mujoco(sensor: str):
    text = (_MODEL % sensor).replace('<geom size="0.05"/>', '<geom name="g" size="0.05"/>')
    model = mujoco.MjModel.from_xml_string(text)
    assert not covers(model)
    physics = make_physics("native", model, 2)
    qpos = jnp.tile(jnp.asarray(model.qpos0, jnp.float32) + 0.1, (2, 1))
    state, _ = physics.reset(physics.blank(), jnp.arange(2), qpos, jnp.zeros((2, model.nv)), {})
    data = mujoco.MjData(model)
    data.qpos = qpos[0]
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(state.sensordata[1], data.sensordata, atol=1e-5)
