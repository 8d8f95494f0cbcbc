"""The contract of a task, checked on every installed task and every arm. A new task needs no test of its own here.

That it can be solved, its expert shows, or a script in `SCRIPTS`; where there is neither, that test is skipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_programs import programs
from scripted import Expert, ReachPoseScript, play

import robolearn
from robolearn.env.task import load_task, task_classes, task_names
from robolearn.errors import ConfigError
from robolearn.policy.slots import Slot
from robolearn.policy.sources import find_source

ENVS, STEPS = 16, 100


# Every task on one arm, and what differs between arms, an arm free in space and a hand at a table, on each. Two more.
CHOSEN = [
    name
    for name in task_names()
    if name.split("/")[0] == "fr3" or name.split("/")[1] in ("reach", "pick_cube")
] + ["iiwa14/push", "iiwa14/reach_pose"]
SCRIPTS = {"reach_pose": ReachPoseScript}  # task: what solves it where it has no expert
SUCCESS_MIN = {
    "push": 0.9,
    "pick_cube": 0.85,
    "reach_pose": 0.85,
}  # share of the 16 episodes; of other tasks 0.95


@pytest.fixture(scope="module", params=CHOSEN)
def env(request):
    return robolearn.make(request.param, num_envs=ENVS, engine="native")


@pytest.fixture(scope="module")
def reset_and_step(env):
    return programs(env)


@pytest.fixture(scope="module")
def step(reset_and_step):
    return reset_and_step[1]


@pytest.fixture(scope="module")
def played(env, reset_and_step):
    """Three rollouts of random actions: the first state, the last, every step's observation, reward and joints."""
    reset, step = reset_and_step

    def roll(key):
        key_start, key_actions = jax.random.split(key)
        actions = jax.random.uniform(key_actions, (STEPS, ENVS, env.action_size), minval=-1, maxval=1)
        actions = jnp.repeat(actions[::5], 5, axis=0)  # held for 0.1 s each, so that the arm gets about
        first = state = reset(key_start)
        steps = []
        for action in actions:
            state = step(state, action)
            kept = {
                name: getattr(state, name) for name in ("obs", "critic_obs", "final_obs", "reward", "metrics")
            }
            memory = {"command": state.memory.command_position, "velocity": state.memory.command_velocity}
            steps.append(kept | memory | {"qpos": state.physics.qpos})
        return first, state, jax.tree.map(lambda *values: np.stack(values), *steps)

    return roll(jax.random.key(0)), roll(jax.random.key(0)), roll(jax.random.key(1))


@pytest.fixture(scope="module")
def stay(env, step):
    """One step of doing nothing."""
    return lambda state: step(state, jnp.zeros((ENVS, env.action_size)))


def test_words(env):
    task = env.task
    assert task.full_name in task_names()
    assert len(task.summary) > 15
    assert not task.summary.endswith(".")
    assert len(task.success_text) > 15
    assert 0.0 < task.config.success_hold_s < task.config.episode_s
    assert type(task).__doc__
    assert task.config.episode_s >= 2.0


def test_slots(env):
    task = env.task
    names = [slot.name for slot in (*task.slots, *task.goal_slots, *task.memory_slots)]
    assert len(set(names)) == len(names)
    for slot in (*task.slots, *task.goal_slots, *task.memory_slots):
        assert isinstance(slot, Slot)
        assert find_source(slot.source), slot
        assert slot.description
        assert slot.name.endswith("_quat") == slot.source.endswith(".orientation"), slot
    assert [slot.name for slot in task.slots][:2] == ["joint_position", "joint_velocity"]
    for slot in task.goal_slots:
        assert slot.source.startswith("goal.")


def test_shapes(env, played):
    first, last, kept = played[0]
    assert first.obs.shape == (ENVS, env.obs_size)
    assert first.critic_obs.shape == (ENVS, env.critic_obs_size)
    assert env.critic_obs_size > env.obs_size
    assert kept["obs"].shape == (STEPS, ENVS, env.obs_size)
    readings = env.readings(last.physics)
    for slot in env.task.slots:
        assert readings[slot.name].shape == (ENVS, *slot.shape)
    for slot in env.task.goal_slots:
        assert last.goal[slot.name].shape == (ENVS, *slot.shape)
    assert set(last.goal) == {slot.name for slot in env.task.goal_slots}
    for slot in env.task.memory_slots:
        assert getattr(last.memory, slot.name).shape == (ENVS, *slot.shape)


def test_reward_terms_and_weights_match(env, played):
    last = played[0][1]
    terms = {name.removeprefix("reward/") for name in last.metrics if name.startswith("reward/")}
    assert terms == set(env.task.config.reward)
    total = sum(np.asarray(value) for name, value in last.metrics.items() if name.startswith("reward/"))
    np.testing.assert_allclose(total, np.asarray(last.reward), atol=1e-5)


def test_random_actions_do_no_harm(env, played):
    for _, _, kept in (played[0], played[2]):
        for name in ("obs", "critic_obs", "final_obs", "reward", "qpos"):
            assert np.isfinite(np.asarray(kept[name])).all(), name
        assert not np.asarray(kept["metrics"]["physics_failed"]).any()
        assert not np.asarray(kept["metrics"]["overflow"]).any()
        assert np.abs(np.asarray(kept["obs"])).max() < 50.0, "observations of a size that a network can use"
        action = env.task.action
        assert (np.asarray(kept["command"]) <= action.position_max_rad + 1e-3).all()
        assert (np.asarray(kept["command"]) >= action.position_min_rad - 1e-3).all()
        assert (np.abs(np.asarray(kept["velocity"])) <= action.velocity_max_rad_s + 1e-4).all()


def test_the_same_key_gives_the_same_rollout_and_another_does_not(env, played):
    (_, _, one), (_, _, same), (_, _, other) = played
    np.testing.assert_array_equal(np.asarray(one["obs"]), np.asarray(same["obs"]))
    np.testing.assert_array_equal(np.asarray(one["reward"]), np.asarray(same["reward"]))
    assert not np.array_equal(np.asarray(one["obs"]), np.asarray(other["obs"]))


def test_no_episode_starts_at_its_end(env, played, stay):
    """Starts differ, have not met the goal, have not failed and are not inside a wall."""
    first, _, _ = played[0]
    readings = env.readings(first.physics)
    assert not np.asarray(jax.vmap(env.task.achieved)(readings, first.goal)).any()
    assert not np.asarray(jax.vmap(env.task.failed)(readings, first.goal)).any()
    assert len(np.unique(np.asarray(first.obs), axis=0)) == ENVS
    state = stay(first)
    assert np.abs(np.asarray(state.physics.qvel)).max() < 2.0, "something is pushed out of something"
    position = np.asarray(readings["joint_position"])
    assert (position >= env.task.robot.limits.position_min_rad - 1e-5).all()
    assert (position <= env.task.robot.limits.position_max_rad + 1e-5).all()


def test_doing_nothing_does_not_solve_it(env, played, stay):
    state = played[0][0]
    for _ in range(env.episode_steps):
        state = stay(state)
    assert not np.asarray(state.success).any()


def test_its_expert_or_a_script_solves_it(env, step, played):
    first = played[0][0]
    policy = SCRIPTS.get(env.task.name, Expert)
    if (
        policy is Expert
        and jax.vmap(env.task.expert)(env.readings(first.physics), first.memory, first.goal) is None
    ):
        pytest.skip(
            f"{env.task.name} has neither an expert nor a script in SCRIPTS: nothing shows that it can be solved"
        )
    assert play(env, step, first, policy()) >= SUCCESS_MIN.get(env.task.name, 0.95)


def test_an_expert_gives_an_action_in_any_state(env, played):
    last = played[0][1]
    action = jax.vmap(env.task.expert)(env.readings(last.physics), last.memory, last.goal)
    if action is not None:
        assert action.shape == (ENVS, env.action_size)
        assert (np.abs(np.asarray(action)) <= 1.0 + 1e-5).all()


def test_the_joint_action_space_is_a_choice(env):
    task = load_task(env.task.full_name, {"action": {"space": "joint"}})
    assert task.action_size == task.robot.dof + int(task.uses_gripper)


def test_poses_are_declared_and_each_is_drawn(env):
    ranges, keys = env.task.config.randomization.pose, jax.random.split(jax.random.key(0), 16)
    assert ranges, "a task says where it puts things"
    fixed = {}
    for pose, (low, high) in ranges.items():
        assert pose.endswith(("_m", "_rad", "_n", "_share"))
        middle = {"randomization": {"pose": {pose: (0.5 * (low + high),) * 2}}}
        fixed[pose] = load_task(env.task.full_name, middle)

    @jax.jit  # one program for all of them, which share most of it
    def drawn(keys):
        return [jax.tree.leaves(jax.vmap(task.reset)(keys)) for task in (env.task, *fixed.values())]

    before, *after = drawn(keys)
    for pose, leaves in zip(fixed, after, strict=True):
        assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(before, leaves, strict=True)), pose


def test_a_thing_lies_where_it_is_told_to():
    told = {"box_x_m": [0.6, 0.6], "box_y_m": [0.1, 0.2], "goal_x_m": [0.5, 0.55]}
    task = load_task("fr3/push", {"randomization": {"pose": told}})
    start = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), 64))
    np.testing.assert_allclose(start.joints["box"][:, 0], 0.6, rtol=1e-6)
    y, goal_x = np.asarray(start.joints["box"][:, 1]), np.asarray(start.goal["goal_position"][:, 0])
    assert (y >= 0.1).all() and (y <= 0.2).all() and np.ptp(y) > 0.08  # noqa: PT018
    assert (goal_x >= 0.5).all() and (goal_x <= 0.55).all() and np.ptp(goal_x) > 0.04  # noqa: PT018


@pytest.mark.parametrize(
    ("pose", "message"),
    [({"box_z_m": [0.0, 1.0]}, "Unknown pose 'box_z_m'"), (None, "pose.box_x_m is missing: give both ends")],
)
def test_poses_that_a_task_cannot_use_are_refused_by_name(pose, message):
    with pytest.raises(ConfigError, match=message):
        load_task("fr3/push", {"randomization": {"pose": pose}})


def test_every_task_is_offered_on_every_arm():
    assert len(task_names()) == len(task_classes()) * len(robolearn.robots.robot_names())
    named = {
        "reach",
        "reach_pose",
        "push",
        "pick_cube",
        "stack",
        "open_drawer",
        "peg_insert",
        "connector_insert",
    }
    assert named <= set(task_classes())
