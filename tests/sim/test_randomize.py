import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch
from scene import build, draw, roll

import robolearn
from robolearn.config import build as build_config
from robolearn.errors import ConfigError, TaskError
from robolearn.sim.constants import FieldRows, derived_names
from robolearn.sim.mjx import MjxPhysics
from robolearn.sim.randomize import Randomization

EVERYTHING = {
    "body_mass_scale": [0.7, 1.4],
    "body_com_offset_m": [-0.01, 0.01],
    "body_inertia_scale": [0.7, 1.4],
    "friction_scale": [0.5, 1.5],
    "joint_damping_scale": [0.5, 2.0],
    "joint_armature_scale": [0.5, 2.0],
    "joint_friction_scale": [0.5, 2.0],
    "actuator_gain_scale": [0.8, 1.2],
    "actuator_damping_scale": [0.8, 1.2],
    "actuator_strength_scale": [0.5, 1.0],
    "gravity_tilt_rad": 0.1,
    "object_size_scale": [0.8, 1.2],
}
N = 4


# What each parameter is set to, and what it moves. (A sliding box's path does not depend on its mass, nor does an arm
# with gravity compensation feel a tilt.)
CHANGES = {
    "body_mass_scale": ([2.0, 2.0], "hinge"),
    "body_com_offset_m": ([0.01, 0.01], "both"),
    "body_inertia_scale": ([3.0, 3.0], "both"),
    "friction_scale": ([3.0, 3.0], "box"),
    "joint_damping_scale": ([4.0, 4.0], "hinge"),
    "joint_armature_scale": ([4.0, 4.0], "hinge"),
    "joint_friction_scale": ([3.0, 3.0], "hinge"),
    "actuator_gain_scale": ([0.5, 0.5], "hinge"),
    "actuator_damping_scale": ([3.0, 3.0], "hinge"),
    "actuator_strength_scale": ([0.5, 0.5], "hinge"),
    "gravity_tilt_rad": (0.2, "box"),
    "object_size_scale": ([1.3, 1.3], "box"),
}


@pytest.mark.parametrize("parameter", CHANGES)
def test_each_parameter_changes_the_physics_of_what_it_names(parameter):
    amount, moved = CHANGES[parameter]
    randomizer, physics = build({parameter: amount}, N)
    drawn = draw(randomizer, N)
    nominal = roll(randomizer, physics, {})
    changed = roll(randomizer, physics, drawn.fields, drawn.size)
    difference = np.abs(np.asarray(changed.qpos - nominal.qpos)).max(axis=0)  # [N, nq]
    hinge, box = difference[:, 0], difference[:, 1:].max(axis=1)
    assert (hinge > 1e-4).all() == (moved in ("hinge", "both"))
    assert (box > 1e-4).all() == (moved in ("box", "both"))
    if moved != "both":
        assert ((box if moved == "hinge" else hinge) < 1e-6).all()


def test_every_declared_parameter_is_tested_here():
    physical = set(Randomization.model_fields) - set(Randomization.__mro__[1].model_fields)
    physical -= {"pose"}  # what a task draws its start and goal from: tests/envs/test_every_task.py
    assert physical == set(CHANGES) == set(EVERYTHING)


def test_draws_are_uniform_in_their_range_and_independent():
    randomizer, physics = build({"body_mass_scale": {"*": [0.5, 2.0], "box": [3.0, 4.0]}}, 1)
    fields = draw(randomizer, 4000).fields
    mass = np.asarray(fields["body_mass"])[:, 1:] / physics.model.body_mass[1:]
    for scale, (low, high) in zip(mass.T, ([0.5, 2.0], [3.0, 4.0]), strict=True):
        quantiles = np.quantile((scale - low) / (high - low), np.linspace(0, 1, 21))
        np.testing.assert_allclose(quantiles, np.linspace(0, 1, 21), atol=0.03)
    assert abs(np.corrcoef(mass.T)[0, 1]) < 0.05


def test_centres_of_mass_are_off_uniformly_along_every_axis():
    randomizer, physics = build({"body_com_offset_m": {"box": [-0.01, 0.02]}}, 1)
    place = np.asarray(draw(randomizer, 4000).fields["body_ipos"])
    box = physics.model.body("box").id
    others = np.delete(place - physics.model.body_ipos, box, axis=1)
    assert np.abs(others).max() < 1e-6
    share = (place[:, box] - physics.model.body_ipos[box] + 0.01) / 0.03  # [4000, 3]
    for axis in share.T:
        np.testing.assert_allclose(np.quantile(axis, np.linspace(0, 1, 21)), np.linspace(0, 1, 21), atol=0.03)
    assert np.abs(np.corrcoef(share.T) - np.eye(3)).max() < 0.05


def test_gravity_tilts_by_at_most_the_declared_angle_in_every_direction():
    randomizer, _ = build({"gravity_tilt_rad": 0.2}, 1)
    gravity = np.asarray(draw(randomizer, 4000).fields["opt.gravity"])
    np.testing.assert_allclose(np.linalg.norm(gravity, axis=1), 9.81, atol=1e-3)
    tilt = np.arccos(-gravity[:, 2] / 9.81)
    assert tilt.max() <= 0.2 + 1e-3
    np.testing.assert_allclose(np.quantile(tilt, [0.25, 0.5, 0.75]), [0.05, 0.10, 0.15], atol=0.01)
    assert np.abs(gravity[:, :2].mean(axis=0)).max() < 0.05


def test_one_more_parameter_leaves_the_draws_of_the_others_alone():
    alone, _ = build({"friction_scale": [0.5, 1.5]}, 1)
    together, _ = build(EVERYTHING, 1)
    a, b = draw(alone, 5).fields["geom_friction"], draw(together, 5).fields["geom_friction"]
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_an_arms_gravity_compensation_stays_that_of_the_nominal_mass():
    randomizer, physics = build({"body_mass_scale": [2.0, 2.0]}, 1)
    fields = draw(randomizer, 1).fields
    link = physics.model.body("link").id
    force = np.asarray(fields["body_mass"] * fields["body_gravcomp"])[0, link]
    assert force == pytest.approx(physics.model.body_mass[link])


@pytest.mark.parametrize("engine", ["native", "jax"])
def test_derived_constants_are_those_of_mj_setconst(engine):
    randomizer, physics = build(EVERYTHING, N, lambda model, n: MjxPhysics(model, n, "jax"))
    fields = draw(randomizer, N).fields
    if engine == "native":  # in its own rows
        batch = Batch(physics.model, N)
        FieldRows(batch).load(jax.tree.map(np.asarray, fields))
        constants = {name: batch.expanded(name) for name in derived_names(physics.model, fields)}
    else:
        blank = physics.blank()
        _, constants = jax.jit(physics.reset)(blank, jnp.arange(N), blank.qpos, blank.qvel, fields)
    assert {"body_invweight0", "dof_invweight0", "body_subtreemass", "geom_rbound"} <= set(constants)
    for row in range(N):
        spec = mujoco.MjSpec.from_string(__import__("scene").XML)
        for body in spec.bodies[1:]:
            body.simple = False
        model = spec.compile()
        for name, values in fields.items():
            target = model.opt if name.startswith("opt.") else model
            getattr(target, name.removeprefix("opt."))[:] = np.asarray(values[row], float)
        mujoco.mj_setConst(model, mujoco.MjData(model))
        for name, values in constants.items():
            np.testing.assert_allclose(np.asarray(values[row]), getattr(model, name), rtol=2e-5, atol=1e-9)
    np.testing.assert_array_less(1e-6, np.abs(np.diff(constants["dof_invweight0"], axis=0)).max())


def test_engines_agree_under_the_same_draw():
    """Float32 against float64: the drive to 1e-4 rad over 40 steps, everything over the first 8, which have sliding,
    turning and contact; then the box lands after a hop, and landings part. Speeds to 5e-3.

    The drive stays inside its force limit: there MuJoCo XLA differs, see `MjxPhysics`.
    """
    randomizer, native = build(EVERYTHING, N)
    drawn = draw(randomizer, N)
    expected = roll(randomizer, native, drawn.fields, drawn.size, 0.05)
    _, other = build(EVERYTHING, N, lambda model, n: MjxPhysics(model, n, "jax"))
    found = roll(randomizer, other, drawn.fields, drawn.size, 0.05)
    assert not np.asarray(found.failed).any()
    for steps, columns in ((40, slice(0, 1)), (8, slice(None))):
        a, b = (np.asarray(x.qpos)[:steps, :, columns] for x in (found, expected))
        np.testing.assert_allclose(a, b, atol=1e-4)
    a, b = (np.asarray(x.sensordata)[:8] for x in (found, expected))
    np.testing.assert_allclose(a, b, atol=5e-3)


def test_a_resized_object_starts_on_the_table_and_stays_there():
    randomizer, physics = build({"object_size_scale": [0.5, 2.0]}, N)
    drawn = draw(randomizer, N)
    states = roll(randomizer, physics, drawn.fields, drawn.size)
    half = 0.03 * np.asarray(drawn.size["box"])
    np.testing.assert_allclose(np.asarray(states.qpos)[0, :, 3], half, atol=2e-3)
    assert (np.asarray(states.qpos)[..., 3] < half + 5e-3).all(), "it was not thrown up"


def test_each_episode_has_physics_of_its_own_and_the_state_is_still_the_whole_truth():
    env = robolearn.make(
        "fr3/reach", 3, "native",
        {"episode_s": 0.6, "randomization": {"body_mass_scale": [0.5, 1.5], "actuator_gain_scale": [0.8, 1.2]}},
    )  # fmt: skip
    step, reset = jax.jit(env.step), jax.jit(env.reset)
    state = reset(jax.random.key(0))
    first, action = state, jnp.full((3, env.action_size), 0.3)
    for _ in range(env.episode_steps - 1):
        state = step(state, action)
    np.testing.assert_array_equal(
        np.asarray(state.fields["body_mass"]), np.asarray(first.fields["body_mass"])
    )
    after = step(state, action)
    assert (np.asarray(after.fields["body_mass"]) != np.asarray(first.fields["body_mass"])).any(axis=1).all()
    expected = step(first, action)
    step(reset(jax.random.key(9)), -action)  # another run's physics goes through the same engine
    found = step(first, action)
    np.testing.assert_array_equal(np.asarray(found.physics.qpos), np.asarray(expected.physics.qpos))


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"body_mass_scale": {"bocks": [1, 2]}}, TaskError, "Did you mean 'box'"),
        ({"body_mass_scale": [2.0, 1.0]}, ConfigError, "low <= high"),
        ({"body_mass_scale": [0.0, 1.0]}, ConfigError, "above 0"),
        ({"mass_scale": [1.0, 1.0]}, ConfigError, "Unknown key"),
        ({"object_size_scale": {"link": [1.0, 1.0]}}, TaskError, "Unknown name or pattern 'link'"),
    ],
)
def test_wrong_input_is_named(config, error, message):
    with pytest.raises(error, match=message):
        build(build_config(Randomization, config).model_dump(), 1)
