"""Contacts of the `jax` engine beside those of MuJoCo's C engine: a box on a box, by a face, an edge and a corner."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from robolearn.errors import PhysicsError
from robolearn.sim.contacts import SAME_POINT_M, distinct
from robolearn.sim.engines import make_physics

HALF_M = np.array([0.009, 0.005, 0.016])
DEEP_M = 0.0005
FORCE_APART = 0.005  # with MJX's repeated points it is 0.01 to 0.04 on an edge or a corner
MASS_KG, STEP_S, GRAVITY_M_S2 = 0.1, 0.002, 9.81
BOXES = """
<mujoco>
  <option timestep="0.002" integrator="{integrator}" iterations="100" tolerance="1e-10"/>
  <asset>
    <mesh name="below" vertex="{below}"/>
    <mesh name="above" vertex="{above}"/>
  </asset>
  <worldbody>
    <geom type="{kind}" {one} pos="0.4 0.1 0.3" solref="0.005 1" condim="1"/>
    <body pos="0.4 0.1 0.4"><freejoint/><geom type="{kind}" {two} mass="0.1" solref="0.005 1" condim="1"/></body>
  </worldbody>
</mujoco>
"""
# Rotation about x, y and z, rad, and at how many points a box touches another one with it. Angles are small: MJX has
# the depth of a tilted box along the normal of the tilted face, so 1 / cos of the angle too much.
POSES = {
    "face": ((0.0, 0.0, 0.2), 4),
    "one edge": ((0.0, 0.06, 0.0), 2),
    "another edge": ((0.08, 0.0, 0.3), 2),
    "corner": ((0.08, 0.06, 0.1), 1),
}


def boxes(kind="box", integrator="implicitfast"):
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    below, above = (" ".join(map(str, (corners * half).ravel())) for half in (np.full(3, 0.02), HALF_M))
    one, two = (
        ('size="0.02 0.02 0.02"', f'size="{" ".join(map(str, HALF_M))}"')
        if kind == "box"
        else ('mesh="below"', 'mesh="above"')
    )
    text = BOXES.format(kind=kind, one=one, two=two, below=below, above=above, integrator=integrator)
    return mujoco.MjModel.from_xml_string(text)


def poses():
    """qpos [P, 7] in which the upper box is DEEP_M inside the lower one."""
    rows = []
    for angles, _ in POSES.values():
        quaternion, matrix = np.zeros(4), np.zeros(9)
        mujoco.mju_euler2Quat(quaternion, np.array(angles), "XYZ")
        mujoco.mju_quat2Mat(matrix, quaternion)
        height = np.abs(matrix[6:]) @ HALF_M
        rows.append([0.4, 0.1, 0.32 + height - DEEP_M, *quaternion])
    return np.array(rows)


def touching(kind):
    """Points [P] that are in contact: of MJX as it is, and once each."""
    model = boxes(kind)
    put, data = mjx.put_model(model, impl="jax"), mjx.make_data(model, impl="jax")

    def one(qpos):
        contact = mjx.fwd_position(put, data.replace(qpos=qpos))._impl.contact
        return contact.dist, distinct(contact)

    counts = jax.jit(jax.vmap(one))(jnp.asarray(poses(), jnp.float32))
    return [np.asarray((distance < 0).sum(1)) for distance in counts]


@pytest.mark.parametrize("kind", ["box", "mesh"])
def test_every_point_takes_part_once(kind):
    before, after = touching(kind)
    assert after.tolist() == [count for _, count in POSES.values()]
    assert (before > after).any(), "MJX repeats no points any more: contacts.py is not needed"


def test_what_is_the_same_point_and_which_of_them_stays():
    """Seven points: the second is the first again and deeper, and each of the others differs from it in one thing."""
    near, far = 0.5 * SAME_POINT_M, 2.0 * SAME_POINT_M
    contact = mjx.make_data(boxes(), impl="jax")._impl.contact
    contact = jax.tree.map(lambda x: jnp.zeros((7, *x.shape[1:]), x.dtype), contact).replace(
        dist=jnp.array([-0.001, -0.002, -0.001, -0.001, -0.001, -0.002, 1.0]),
        pos=jnp.array([[0.4, 0, 0], [0.4 + near, 0, 0], [0.4 + far, 0, 0], *[[0.4, 0, 0]] * 4]),
        frame=jnp.tile(jnp.eye(3), (7, 1, 1)).at[3].set(-jnp.eye(3)),
        geom=jnp.array([[0, 1]] * 4 + [[0, 2]] + [[0, 1]] * 2),
        includemargin=jnp.full(7, 0.5),
    )
    expected = [1.5, -0.002, -0.001, -0.001, -0.001, 1.5, 1.5]
    np.testing.assert_allclose(distinct(contact), expected, rtol=1e-6)


@functools.cache
def pushed(engine, integrator):
    """Total normal force [P] on the upper box in the first step, N: what changes its momentum, beside its weight."""
    model, qpos = boxes(integrator=integrator), jnp.asarray(poses(), jnp.float32)
    physics = make_physics(engine, model, len(POSES))
    ids, still = jnp.arange(len(POSES)), jnp.zeros((len(POSES), model.nv))
    state, _ = physics.reset(physics.blank(), ids, qpos, still, {})
    after = jax.jit(physics.step)(state, jnp.zeros((len(POSES), 1, 0)), {})
    return MASS_KG * (np.asarray(after.qvel)[:, 2] / STEP_S + GRAVITY_M_S2)


@pytest.mark.parametrize("integrator", ["implicitfast", pytest.param("Euler", marks=pytest.mark.slow)])
def test_a_box_is_pushed_as_hard_as_by_the_c_engine(integrator):
    """Within half a percent, where it stands on a face, an edge or a corner."""
    native = pushed("native", integrator)
    assert (native > 1.5 * MASS_KG * GRAVITY_M_S2).all(), "the contact is more than its weight"
    np.testing.assert_allclose(pushed("jax", integrator), native, rtol=FORCE_APART)


def test_an_integrator_that_takes_contacts_as_mjx_has_them_is_refused():
    with pytest.raises(PhysicsError, match="mjINT_RK4: set implicitfast or Euler"):
        make_physics("jax", boxes(integrator="RK4"), 1)
