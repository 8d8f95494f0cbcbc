"""A policy with memory: in training and in its exported graph alike, and nothing of it outlives an episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from env_programs import programs

from robolearn.env.history import ArmHistory, with_history
from robolearn.env.joint_action import ArmMemory
from robolearn.env.slot_observation import observing_slots, split_slots
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError, TaskError
from robolearn.learn.train_config import TrainConfig
from robolearn.learn.trainer import pinned
from robolearn.policy.export import AGREEMENT_RAD, export_policy
from robolearn.policy.runtime import PolicyRuntime
from robolearn.robots import load_robot

K, STEPS = 4, 1000
CONFIG = {
    "history": K,
    "episode_s": 0.5,
    "success_hold_s": 0.1,
    "randomization": {"observation_delay_ms": [0.0, 60.0], "action_delay_ms": [0.0, 60.0]},
}
PAST = ("past_joint_error", "past_joint_velocity", "past_command_velocity")


@pytest.fixture(scope="module")
def task():
    return load_task("fr3/reach", CONFIG)


@pytest.fixture(scope="module")
def actor(task):
    """Of every number that it observes, the history above all."""
    memory = task.action.start(jnp.zeros(task.robot.dof), jnp.zeros(1))
    values = {s.name: jnp.zeros(s.shape) for s in (*task.slots, *task.goal_slots)}
    size = task.observe(values, memory, values).shape[0]
    weight = jax.random.normal(jax.random.key(3), (size, task.action_size)) / np.sqrt(size)
    return lambda observation: jnp.tanh(3.0 * observation @ weight)


@pytest.fixture(scope="module")
def played(task, actor):
    """One arm over 1,000 control periods: what it measured and remembered before each, whether an episode began, and
    what JAX made of it, each [STEPS, ...].
    """
    inputs = (*task.slots, *task.goal_slots)
    env = VecEnv(observing_slots(task, inputs, task.memory_slots), 1, "native")
    reset, step = programs(env)

    @jax.jit
    def decide(obs, memory):
        values = split_slots(obs[0], inputs)
        kept = jax.tree.map(lambda rows: rows[0], memory)
        action = actor(task.observe(values, kept, values))
        return action[None], task.act(action, kept)

    state, rows = reset(jax.random.key(0)), []
    for _ in range(STEPS):
        action, (targets, after) = decide(state.obs, state.memory)
        row = {"first": state.done[0], "memory": state.memory._asdict(), "after": after._asdict()}
        rows.append(jax.device_get(row | {"inputs": split_slots(state.obs[0], inputs), "targets": targets}))
        state = step(state, action)
    rows[0]["first"] = True
    return jax.tree.map(lambda *values: np.stack(values), *rows)


@pytest.fixture(scope="module")
def bundle(task, actor, tmp_path_factory):
    return export_policy(
        task, actor, tmp_path_factory.mktemp("history") / "reach.robolearn", name="reach",
        training={"config": {"env": CONFIG}}, evaluation={}, signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip


def at(rows, step):
    return jax.tree.map(lambda values: values[step], rows)


def test_the_graph_equals_jax_over_1000_steps_with_resets(played, bundle):
    runtime = PolicyRuntime(bundle)
    assert played["first"].sum() == STEPS / 25
    periods = {"rad/s": 1.0 / bundle.manifest.control_hz}
    units = {slot.name: slot.unit for slot in (*bundle.manifest.outputs, *bundle.manifest.memory_slots)}
    for step in range(STEPS):
        row = at(played, step)
        if row["first"]:
            runtime.reset({"joint_state.position": row["memory"]["command_position"][0]})
        found = runtime.step(row["inputs"])
        for values, expected in ((found, row["targets"]), (runtime.memory, row["after"])):
            assert set(values) == set(expected)
            for name, value in expected.items():
                error = np.abs(value - values[name]).max() * periods.get(units[name], 1.0)
                assert error <= AGREEMENT_RAD, (step, name, error)


def test_what_is_remembered_moves_the_arm(played, bundle):
    """Else the test above would say nothing of the history."""
    row, runtime = at(played, 20), PolicyRuntime(bundle)
    memory = {name: value[0] for name, value in row["memory"].items()}
    runtime.restore(memory)
    target = runtime.step(row["inputs"])["joint_velocity_target"]
    runtime.restore(memory | {name: np.zeros_like(memory[name]) for name in PAST})
    assert np.abs(runtime.step(row["inputs"])["joint_velocity_target"] - target).max() > 1e-3


def test_each_period_is_remembered_until_it_is_too_old_or_the_episode_ends(played):
    memory, inputs = played["memory"], played["inputs"]
    now = {
        "past_joint_error": memory["command_position"][:, 0] - inputs["joint_position"],
        "past_joint_velocity": inputs["joint_velocity"],
        "past_command_velocity": memory["command_velocity"][:, 0],
    }
    first = np.flatnonzero(played["first"])
    for name in PAST:
        rows = memory[name][:, 0]
        assert rows.shape == (STEPS, K, 7)
        np.testing.assert_allclose(rows[:, 0], now[name], atol=1e-6)
        assert (rows[first, 1:] == 0.0).all(), "a new episode remembers nothing"
        assert np.abs(rows[first[1:] - 1, 1:]).max(axis=(1, 2)).min() > 0.0, "though there was something"
        going = ~played["first"][1:]
        np.testing.assert_array_equal(rows[1:][going][:, 1:], rows[:-1][going][:, :-1])


def test_the_manifest_and_the_model_card_say_so(bundle):
    slots = {slot.name: slot for slot in bundle.manifest.memory_slots}
    assert list(slots) == ["command_position", "command_velocity", *PAST]
    assert {slots[name].shape for name in PAST} == {(K, 7)}
    assert bundle.manifest.training["config"]["env"]["history"] == K
    assert f"measured joint velocities of the last {K} control periods" in bundle.model_card


def test_without_a_history_nothing_is_different():
    plain = load_task("fr3/reach")
    memory = plain.action.start(jnp.zeros(7), jnp.zeros(1))
    assert type(memory) is ArmMemory
    assert plain.remember({}, memory) is memory
    assert [slot.name for slot in plain.memory_slots] == ["command_position", "command_velocity"]
    assert "history" not in pinned(TrainConfig(task="fr3/reach", env={"history": 0})).env
    assert pinned(TrainConfig(task="fr3/reach", env={"history": 8})).env["history"] == 8


def test_fingers_are_remembered_and_remembering_twice_is_as_once():
    task = load_task("fr3/pick_cube", {"history": 3})
    n = task.robot.dof
    readings = {slot.name: jnp.full(slot.shape, 0.1) for slot in task.slots}
    goal = {slot.name: jnp.full(slot.shape, 0.3) for slot in task.goal_slots}
    memory = task.remember(readings, task.action.start(jnp.full(n, 0.2), jnp.array([0.06])))
    assert [slot.name for slot in task.memory_slots] == list(memory._fields)
    np.testing.assert_allclose(memory.past_gripper_error[:, 0], [-0.04, 0.0, 0.0], atol=1e-7)
    twice = task.remember(readings, memory)
    for name in memory._fields:
        np.testing.assert_array_equal(getattr(twice, name), getattr(memory, name))
    _, after = task.act(jnp.ones(task.action_size), memory)
    after = task.remember(readings, after)
    np.testing.assert_allclose(after.past_gripper_error[:, 0], [-0.036, -0.04, 0.0], atol=1e-6)
    plain = load_task("fr3/pick_cube")
    observed = task.observe(readings, after, goal)
    without = plain.observe(readings, after, goal)
    np.testing.assert_array_equal(observed[: len(without)], without)
    assert len(observed) == len(without) + 3 * (3 * n + 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "key 'history' is 1: a policy remembers 2 to 64 control periods, the present one included, or 0: none"),
        (65, "key 'history' is 65: a policy remembers 2 to 64"),
        (-1, "key 'history' is -1: a policy remembers 2 to 64"),
        (2.5, "key 'history' is 2.5: Input should be a valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_number_of_periods_is_named(value, message):
    with pytest.raises(ConfigError) as raised:
        pinned(TrainConfig(task="fr3/reach", env={"history": value}))
    assert message in str(raised.value)


def test_a_task_that_measures_no_velocities_has_no_history():
    task = load_task("fr3/reach")

    class Blind(type(task)):
        slots = (task.slots[0],)

    blind = Blind(load_robot("fr3"), task.config)
    with pytest.raises(
        TaskError, match="measures no 'joint_state.velocity', which a policy with history needs"
    ):
        with_history(blind, 4)


def test_the_history_of_an_arm_has_the_fields_of_its_memory_first():
    assert ArmHistory._fields[: len(ArmMemory._fields)] == ArmMemory._fields
