"""connector_insert: how tight it is, when it fails, what is known of the socket, and the policy without a wrench."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from robolearn_envs.connector_insert import TONGUE_M

from robolearn.env.task import load_task
from robolearn.errors import TaskError
from robolearn.sim.sensing import Sensing


@pytest.fixture(scope="module")
def task():
    return load_task("fr3/connector_insert")


def at_tip(task, **changes):
    """Readings of a tool that points down, its tip at the mouth of a socket at x = 0.5 m, and feels nothing."""
    readings = {
        "tcp_position": jnp.array([0.5, 0.0, 0.08]),
        "tcp_quat": jnp.array([0.0, 1.0, 0.0, 0.0]),
        "socket_position": jnp.array([0.5, 0.0, 0.04]),
        "socket_quat": jnp.array([1.0, 0.0, 0.0, 0.0]),
        "force": jnp.zeros(3),
        "torque": jnp.zeros(3),
    }
    return readings | {name: jnp.asarray(value) for name, value in changes.items()}


def test_the_opening_is_a_fifth_of_a_millimetre_wider_than_the_tongue(task):
    model = task.scene().compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    socket, turn = data.body("socket").xpos, data.body("socket").xmat.reshape(3, 3)
    for axis, walls in ((0, (0, 2)), (1, (1, 3))):
        faces = []
        for number in walls:
            wall = model.geom(f"socket_wall{number}")
            middle = (turn.T @ (data.geom(wall.id).xpos - socket))[axis]
            faces.append(abs(middle) - wall.size[0])
        tongue = max(abs(model.geom(f"plug{i}").pos[axis]) + model.geom(f"plug{i}").size[0] for i in range(4))
        assert tongue == pytest.approx(TONGUE_M[axis])
        assert sum(faces) - 2 * tongue == pytest.approx(0.0002, abs=1e-9)


def test_a_force_above_the_limit_ends_the_episode_and_is_reported(task):
    for newton, fails in ((19.9, False), (20.1, True)):
        readings, goal = at_tip(task, force=[0.0, 0.0, -newton]), {"force_limit": jnp.array([20.0])}
        assert bool(task.failed(readings, goal)) is fails
        figures = task.figures(readings, goal)
        assert float(figures["contact_force_n"]) == pytest.approx(newton, rel=1e-5)
        assert float(figures["contact_force_share_of_limit"]) == pytest.approx(newton / 20.0, rel=1e-5)


def test_it_is_achieved_deep_in_the_socket_and_not_beside_it(task):
    goal = {"force_limit": jnp.array([20.0])}
    for move, done in (((0, 0, -0.0095), False), ((0, 0, -0.0105), True), ((0.002, 0, -0.0105), False)):
        readings = at_tip(task, tcp_position=np.array([0.5, 0.0, 0.08]) + move)
        assert bool(task.achieved(readings, goal)) is done


def test_the_expert_presses_up_to_a_share_of_the_limit_and_gives_way_sideways(task):
    expert = jax.jit(task.expert)

    def speed(force, limit=20.0):
        readings = at_tip(task, tcp_position=[0.5, 0.0, 0.072], force=force)  # 8 mm in
        return np.asarray(expert(readings, None, {"force_limit": jnp.array([limit])}))[:3]

    assert speed([0.0, 0.0, 0.0])[2] < 0.0  # on, down
    assert speed([0.0, 0.0, -12.0])[2] > 0.0  # back
    assert speed([0.0, 0.0, -12.0], limit=40.0)[2] < 0.0
    # The tool's x is the base's, its y the other way.
    assert speed([5.0, 0.0, -5.0])[0] > 0.0
    assert speed([0.0, 5.0, -5.0])[1] < 0.0


def test_the_measured_socket_is_off_by_two_millimetres_and_three_degrees_at_most(task):
    biased = task.config.randomization.model_copy(update={"sensor_noise": {}})
    sensing = Sensing(task.slots, biased, 0.02)
    true = {slot.name: jnp.zeros(slot.shape) for slot in task.slots} | {
        "socket_quat": jnp.array([1.0, 0, 0, 0])
    }
    start = jax.jit(jax.vmap(lambda key: sensing.start(key, true)[1]))
    measured = start(jax.random.split(jax.random.key(0), 2000))
    off = np.abs(np.asarray(measured["socket_position"]))
    assert 0.0019 < off.max() <= 0.002
    turned = np.degrees(2.0 * np.arcsin(np.abs(np.asarray(measured["socket_quat"])[:, 1:])))
    assert (turned.max(axis=0) > 2.9).all()
    assert turned.max() < 3.1


def test_without_the_wrench_a_policy_reads_none_and_the_task_is_the_same(task):
    blind = load_task("fr3/connector_insert", {"wrench": False})
    assert {slot.name for slot in task.slots} - {slot.name for slot in blind.slots} == {"force", "torque"}
    assert blind.sensors() == task.sensors()
    drawn = blind.config.randomization
    assert "N" not in drawn.sensor_noise
    assert drawn.sensor_bias == {"socket_position": 0.002, "socket_quat": 0.0262}
    assert not drawn.sensor_drift
    measured = {slot.name: jnp.zeros(slot.shape) for slot in blind.slots}
    np.testing.assert_array_equal(blind.estimate(measured)["force"], 0.0)


def test_a_limit_beyond_what_was_trained_is_taken_as_the_nearest(task):
    rest, still = jnp.asarray(task.rest_rad, jnp.float32), jnp.zeros(7)
    readings = at_tip(task, force=[0.0, 0.0, -10.0]) | {"joint_position": rest, "joint_velocity": still}
    memory = SimpleNamespace(command_position=rest, command_velocity=still)
    observe = jax.jit(lambda limit: task.observe(readings, memory, {"force_limit": limit}))
    low, middle, high = (np.asarray(observe(jnp.array([limit]))) for limit in (15.0, 25.0, 40.0))
    for asked, taken in ((-25.0, low), (0.0, low), (25_000.0, high)):
        np.testing.assert_array_equal(observe(jnp.array([asked])), taken)
    assert not np.array_equal(low, middle)


def test_a_limit_of_no_force_is_refused():
    with pytest.raises(TaskError, match=r"force_limit_n: a limit of the contact force is above 0 N"):
        load_task("fr3/connector_insert", {"randomization": {"pose": {"force_limit_n": [0.0, 10.0]}}})
