"""The wrench at the TCP against hand computations: sign, axes, place, and what is left of the tool's weight."""

from __future__ import annotations

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from robolearn.env.task import load_task
from robolearn.errors import TaskError
from robolearn.robots import load_robot
from robolearn.sim.engines import make_physics
from robolearn.sim.physics import sensor_columns
from robolearn.sim.wrench import ToolWeight, add_wrench_sensors, tool_weight

NAMES = {"force": ("tcp_force",), "torque": ("tcp_torque",), "tcp_quat": ("tcp_quat",)}

# A carriage that presses a ball, fixed to the tool 30 mm beside the TCP, onto the floor with a soft drive.
_PRESS = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body name="carriage" pos="0 0 0.3" gravcomp="1">
      <joint name="down" type="slide" axis="0 0 -1" damping="20"/>
      <geom type="box" size="0.05 0.05 0.02" mass="1" contype="0" conaffinity="0"/>
      <body name="palm" pos="0 0 -0.05" quat="0 1 0 0" gravcomp="1">
        <geom type="box" size="0.03 0.03 0.03" mass="0.6" contype="0" conaffinity="0"/>
        <geom name="ball" type="sphere" pos="0.03 0 0.12" size="0.02" mass="0.1"/>
        <site name="tcp" pos="0 0 0.12"/>
      </body>
    </body>
  </worldbody>
  <actuator><position name="down" joint="down" kp="2000" kv="100"/></actuator>
  <sensor>
    <framequat name="tcp_quat" objtype="site" objname="tcp"/>
    <force name="tcp_force" site="tcp"/><torque name="tcp_torque" site="tcp"/>
  </sensor>
</mujoco>
"""


def readings(model, sensordata):
    found = {
        name: jnp.asarray(np.atleast_2d(sensordata)[:, sensor_columns(model, names)], jnp.float32)
        for name, names in NAMES.items()
    }
    return ToolWeight(model, NAMES).taken_out(found)


def arm():
    spec = load_robot("fr3").spec()
    add_wrench_sensors(spec)
    model = spec.compile()
    return model, mujoco.MjData(model)


def in_posture(model, data, seed):
    """Any posture, at rest: what accelerates it is taken out by hand."""
    data.qpos[:7] = load_robot("fr3").home_rad + np.random.default_rng(seed).uniform(-0.8, 0.8, 7)
    data.qvel[:] = 0.0
    mujoco.mj_inverse(model, data)  # with qacc = 0: sensors then speak of an arm that stays where it is


@pytest.mark.parametrize("seed", range(4))
def test_a_tool_that_touches_nothing_feels_nothing(seed):
    model, data = arm()
    in_posture(model, data, seed)
    raw = data.sensor("tcp_force").data
    assert np.linalg.norm(raw) == pytest.approx(9.81 * load_robot("fr3").gripper.mass_kg, rel=1e-3)
    found = readings(model, data.sensordata)
    np.testing.assert_allclose(found["force"], 0.0, atol=1e-4)
    np.testing.assert_allclose(found["torque"], 0.0, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_known_push_is_read_in_the_axes_of_the_tcp_and_about_it(seed):
    model, data = arm()
    palm, push = model.body("gripper_palm").id, np.array([3.0, -8.0, 15.0])
    data.xfrc_applied[palm, :3] = push  # on the palm's centre of mass, in the base frame
    in_posture(model, data, seed)
    tcp = data.site("tcp")
    turn, lever = tcp.xmat.reshape(3, 3), data.xipos[palm] - tcp.xpos
    found = readings(model, data.sensordata)
    np.testing.assert_allclose(found["force"][0], turn.T @ push, atol=1e-3)
    np.testing.assert_allclose(found["torque"][0], turn.T @ np.cross(lever, push), atol=1e-3)
    assert np.linalg.norm(found["torque"][0]) > 0.1


def test_a_mass_that_the_model_does_not_know_of_hangs_on_the_tool():
    """500 g at the palm's centre: its weight, and the moment of it about the TCP."""
    model, data = arm()
    nominal = ToolWeight(model, NAMES)
    palm = model.body("gripper_palm").id
    model.body_mass[palm] += 0.5
    in_posture(model, data, 1)
    found = nominal.taken_out(
        {
            name: jnp.asarray(data.sensordata[None, sensor_columns(model, names)])
            for name, names in NAMES.items()
        }
    )
    tcp, weight = data.site("tcp"), np.array([0.0, 0.0, -0.5 * 9.81])
    turn, lever = tcp.xmat.reshape(3, 3), data.xipos[palm] - tcp.xpos
    np.testing.assert_allclose(found["force"][0], turn.T @ weight, atol=1e-3)
    np.testing.assert_allclose(found["torque"][0], turn.T @ np.cross(lever, weight), atol=1e-3)


@pytest.mark.parametrize("engine", ["native", "jax", pytest.param("warp", marks=pytest.mark.slow)])
def test_a_tool_pressed_on_the_floor_is_pushed_up_on_every_engine(engine):
    """It points down, so that up is its -z; the ball is beside the TCP along x, so that the moment is about y."""
    model = mujoco.MjModel.from_xml_string(_PRESS)
    physics = make_physics(engine, model, 2)
    start, _ = physics.reset(physics.blank(), jnp.arange(2), jnp.full((2, 1), 0.10), jnp.zeros((2, 1)), {})
    np.testing.assert_allclose(readings(model, start.sensordata)["force"], 0.0, atol=1e-3)
    ctrl = jnp.tile(jnp.array([[[0.12]], [[0.13]]]), (1, 500, 1))
    state = physics.step(start, ctrl, {})
    found, sunk = readings(model, state.sensordata), np.asarray(state.qpos[:, 0])
    pressed = 2000.0 * (np.array([0.12, 0.13]) - sunk)  # the drive; gravity is compensated
    assert (pressed > 10.0).all()
    np.testing.assert_allclose(found["force"], np.array([[0, 0, -f] for f in pressed]), atol=0.05)
    np.testing.assert_allclose(found["torque"], [[0.0, 0.03 * f, 0.0] for f in pressed], atol=0.005)


def test_the_weight_is_that_of_the_gripper():
    model, _ = arm()
    weight, com = tool_weight(model)
    np.testing.assert_allclose(
        weight, [0, 0, -9.81 * load_robot("fr3").gripper.mass_kg], rtol=1e-5, atol=1e-9
    )
    assert com[2] < -0.02
    np.testing.assert_allclose(com[:2], 0.0, atol=1e-6)


def test_a_wrench_without_the_tools_orientation_is_refused():
    model, _ = arm()
    with pytest.raises(TaskError, match="needs a reading 'tcp_quat'"):
        ToolWeight(model, {"force": ("tcp_force",)})
    assert ToolWeight(model, {"tcp_quat": ("tcp_quat",)}).taken_out({}) == {}


def test_every_reading_of_a_sensor_is_corrected_and_a_mixed_one_refused():
    model = load_task("fr3/connector_insert").scene().compile()
    sensors = {"tcp_quat": ("tcp_quat",), "force": ("tcp_force",), "true_force": ("tcp_force",)}
    raw = {name: jnp.ones((1, 3)) for name in ("force", "true_force")}
    raw["tcp_quat"] = jnp.array([[0.0, 1.0, 0.0, 0.0]])
    found = ToolWeight(model, sensors).taken_out(raw)
    np.testing.assert_array_equal(found["force"], found["true_force"])
    assert not np.allclose(found["force"], raw["force"])
    with pytest.raises(TaskError, match="Reading 'wrench' has the sensors tcp_force, tcp_torque"):
        ToolWeight(model, sensors | {"wrench": ("tcp_force", "tcp_torque")})
