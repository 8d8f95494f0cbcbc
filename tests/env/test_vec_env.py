import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from env_programs import programs
from robolearn_envs.reach import Reach, ReachConfig

import robolearn
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError, PhysicsError, TaskError
from robolearn.robots import load_robot


@pytest.fixture(scope="module")
def env():
    return robolearn.make("fr3/reach", num_envs=6, engine="native", config={"episode_s": 0.6})


@pytest.fixture(scope="module")
def reset_and_step(env):
    return programs(env)


@pytest.fixture
def reset(reset_and_step):
    return reset_and_step[0]


@pytest.fixture
def step(reset_and_step):
    return reset_and_step[1]


def actions(env, steps, seed=1):
    return jax.random.uniform(
        jax.random.key(seed), (steps, env.num_envs, env.action_size), minval=-1, maxval=1
    )


def test_reset_gives_every_environment_an_episode_of_its_own(env, reset):
    state = reset(jax.random.key(0))
    assert state.obs.shape == (6, env.obs_size)
    assert len(np.unique(np.asarray(state.goal["goal_position"]), axis=0)) == 6
    assert not np.asarray(state.done).any()


def test_step_is_jittable_scannable_and_deterministic(env):
    def roll(key):
        return jax.lax.scan(lambda s, a: (env.step(s, a), s.reward), env.reset(key), actions(env, 5))

    first, rewards = jax.jit(roll)(jax.random.key(0))
    second, _ = jax.jit(roll)(jax.random.key(0))
    assert rewards.shape == (5, 6)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_episode_ends_by_truncation_and_restarts_with_the_final_observation_kept(env, reset, step):
    state = reset(jax.random.key(0))
    for i, action in enumerate(actions(env, env.episode_steps)):
        before = state
        state = step(state, action)
        if i + 1 < env.episode_steps:
            assert not np.asarray(state.truncated).any()
            np.testing.assert_array_equal(np.asarray(state.final_obs), np.asarray(state.obs))
    assert np.asarray(state.truncated).all()
    assert not np.asarray(state.terminated).any()
    assert (np.asarray(state.step_count) == env.episode_steps).all()
    moved = np.abs(np.asarray(state.final_obs) - np.asarray(before.obs)).max(axis=1)
    restarted = np.abs(np.asarray(state.obs) - np.asarray(before.obs)).max(axis=1)
    assert (moved < restarted).all(), "the final observation continues the episode, the new one does not"
    assert not np.allclose(np.asarray(state.goal["goal_position"]), np.asarray(before.goal["goal_position"]))
    np.testing.assert_array_equal(np.asarray(state.memory.command_velocity), 0.0)
    after = step(state, jnp.zeros((6, env.action_size)))
    assert (np.asarray(after.step_count) == 1).all()


def test_episodes_drawn_beforehand_are_those_that_would_be_drawn_at_the_end(env, reset, step):
    state = reset(jax.random.key(0))
    state = state.replace(step_count=jnp.array([0, 5, 29, 3, 29, 7]))  # of 30: two end in the next step
    action = actions(env, 1)[0]
    drawn_then = step(state, action)
    drawn_before = jax.jit(lambda s, a: env.step(s, a, env.following(s)))(state, action)
    np.testing.assert_array_equal(np.asarray(drawn_then.done), [False, False, True, False, True, False])
    for a, b in zip(jax.tree.leaves(drawn_then), jax.tree.leaves(drawn_before), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=1e-6)


def test_success_is_holding_the_goal_to_the_end(env, reset, step):
    state = reset(jax.random.key(0))
    there = env.readings(state.physics)["tcp_position"][:3]
    state = state.replace(goal={"goal_position": state.goal["goal_position"].at[:3].set(there)})
    for _ in range(env.episode_steps):
        assert not np.asarray(state.success).any()
        state = step(state, jnp.zeros((6, env.action_size)))
    np.testing.assert_array_equal(np.asarray(state.success), [True] * 3 + [False] * 3)
    assert (np.asarray(state.first_success)[:3] == env.task.hold_steps).all()


def test_a_world_that_is_not_finite_ends_as_failed_and_the_others_go_on(env, reset, step):
    state = reset(jax.random.key(0))
    poisoned = state.replace(
        physics=state.physics.replace(qpos=state.physics.qpos.at[2, 0].set(jnp.nan)),
    )
    after = step(poisoned, jnp.zeros((6, env.action_size)))
    failed = np.asarray(after.metrics["physics_failed"])
    np.testing.assert_array_equal(failed, [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(np.asarray(after.terminated), failed.astype(bool))
    assert not np.asarray(after.success)[2]
    for leaf in (after.obs, after.reward, after.final_obs, after.physics.qpos):
        assert np.isfinite(np.asarray(leaf)).all()


def test_the_state_is_the_whole_truth(env, reset, step):
    """Stepping something else in between changes nothing: the engine keeps no state of its own."""
    state = reset(jax.random.key(0))
    action = actions(env, 1)[0]
    expected = step(state, action).physics.qpos
    step(reset(jax.random.key(9)), -action)
    np.testing.assert_array_equal(np.asarray(step(state, action).physics.qpos), np.asarray(expected))


def test_an_override_changes_one_key_of_a_group_and_leaves_the_others():
    plain, changed = load_task("fr3/reach"), load_task("fr3/reach", {"reward": {"distance": -3.0}})
    assert changed.config.reward == plain.config.reward | {"distance": -3.0}


def test_a_task_whose_weights_and_reward_terms_differ_is_refused():
    task = Reach(load_robot("fr3"), ReachConfig(reward={"distance": 1.0}))
    with pytest.raises(TaskError, match="reward terms"):
        VecEnv(task, 2, "native")


@pytest.mark.parametrize(
    ("name", "config", "error", "message"),
    [
        ("fr3/reech", {}, TaskError, "Did you mean 'fr3/reach'?"),
        ("fr3/reach", {"episode": 1}, ConfigError, "Unknown key 'episode'"),
        ("fr3/reach", {"control_hz": 30.0}, TaskError, "whole number"),
        ("fr3/reach", {"reward": {"distanc": 1.0}}, ConfigError, "Unknown reward term 'distanc'"),
    ],
)
def test_wrong_input_is_named(name, config, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        robolearn.make(name, num_envs=1, engine="native", config=config)


def test_unknown_engine_is_named():
    with pytest.raises(PhysicsError, match="Did you mean 'native'"):
        robolearn.make("fr3/reach", num_envs=1, engine="nativ")


def test_keys_of_the_old_style_are_keys(env):
    new, old = env.reset(jax.random.key(3)), env.reset(jax.random.PRNGKey(3))
    np.testing.assert_array_equal(new.obs, old.obs)
    keys = jax.random.split(jax.random.PRNGKey(3), 6)
    np.testing.assert_array_equal(env.reset(keys).obs, new.obs)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (0, r"reset takes a key: jax.random.key\(seed\), not 0"),
        (np.zeros(2), "reset takes a key: "),
        ("five", "one key, or one for each of 6 environments"),
    ],
)
def test_what_is_no_key_is_refused(env, key, message):
    given = jax.random.split(jax.random.key(0), 5) if isinstance(key, str) else key
    with pytest.raises(TaskError, match=message):
        env.reset(given)


@pytest.mark.parametrize("shape", [(6, 6), (7,), (5, 7), (6, 7, 1)])
def test_actions_of_another_shape_are_refused(env, shape):
    state = jax.eval_shape(env.reset, jax.random.key(0))
    with pytest.raises(TaskError, match=r"step takes actions of shape \(6, 7\), one row per environment"):
        env.step(state, jnp.zeros(shape))


def test_an_environment_is_not_used_in_a_forked_process(env, monkeypatch):
    monkeypatch.setattr("robolearn.env.vec_env.os.getpid", lambda: -1)
    with pytest.raises(PhysicsError, match="made before the process was forked.*'spawn'"):
        env.reset(jax.random.key(0))


def test_double_precision_is_refused():
    jax.config.update("jax_enable_x64", True)
    try:
        with pytest.raises(PhysicsError, match="JAX_ENABLE_X64.*unset it"):
            robolearn.make("fr3/reach", num_envs=2, engine="native")
    finally:
        jax.config.update("jax_enable_x64", False)


@pytest.mark.slow
def test_a_script_that_ends_while_steps_are_under_way_ends_well(tmp_path):
    script = (
        "import jax, robolearn as rl\n"
        "env = rl.make('fr3/reach', num_envs=64, engine='native')\n"
        "step = jax.jit(env.step)\n"
        "state = env.reset(jax.random.key(0))\n"
        "for _ in range(149):\n"
        "    state = step(state, jax.numpy.zeros((64, 7)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
