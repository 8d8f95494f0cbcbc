import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import robolearn.env.gym
from robolearn.env.task import task_names

SHORT = {"episode_s": 0.6}


@pytest.fixture(scope="module")
def env():
    env = gymnasium.make("robolearn/fr3-reach-v0", config=SHORT, render_mode="rgb_array")
    yield env
    env.close()


@pytest.fixture(scope="module")
def envs():
    envs = gymnasium.make_vec("robolearn/fr3-reach-v0", num_envs=3, engine="native", config=SHORT)
    yield envs
    envs.close()


def test_every_task_is_registered():
    assert {robolearn.env.gym.gym_id(name) for name in task_names()} <= set(gymnasium.registry)


def test_gymnasiums_own_checker_passes(env, recwarn):
    check_env(env.unwrapped)
    ours = [str(w.message) for w in recwarn if "robolearn" in str(w.message)]
    assert not ours


def test_an_episode_is_truncated_at_its_length_and_tells_success(env):
    env.reset(seed=1)
    for i in range(30):
        obs, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape, np.float32))
        assert obs in env.observation_space
        assert np.isfinite(reward)
        assert not terminated
        assert truncated == (i == 29)
        assert ("is_success" in info) == truncated
    assert info["is_success"] is False


def test_the_same_seed_gives_the_same_episode(env):
    first, _ = env.reset(seed=5)
    again, _ = env.reset(seed=5)
    other, _ = env.reset(seed=6)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_actions_of_another_shape_are_refused(envs):
    envs.reset(seed=0)
    with pytest.raises(gymnasium.error.InvalidAction, match=r"shape \(3, 7\), not \(3, 6\)"):
        envs.step(np.zeros((3, 6), np.float32))


def test_a_second_batch_loads_the_programs_that_the_first_compiled(own_programs, monkeypatch):
    seen = []
    for _ in range(2):
        envs = robolearn.env.gym.GymVectorEnv("fr3/reach", 2, engine="native", config=SHORT)
        first, _ = envs.reset(seed=4)
        seen.append((first, *envs.step(np.full((2, 7), 0.5, np.float32))[:2]))
        envs.close()
        monkeypatch.setattr(jax.stages.Lowered, "compile", None)  # whoever asks for it now fails
    assert len(list(own_programs.glob("*.program"))) == 2
    jax.tree.map(np.testing.assert_array_equal, *seen)


def test_step_before_reset_is_refused():
    fresh = robolearn.env.gym.GymEnv("fr3/reach", config=SHORT)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        fresh.step(np.zeros(7, np.float32))


def test_rendering_gives_a_picture_without_a_display(env):
    env.reset(seed=1)
    picture = env.render()
    assert picture.shape == (480, 640, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10.0, "not one flat colour"


def test_make_vec_gives_the_batch_with_same_step_restarts(envs):
    assert isinstance(envs.unwrapped, robolearn.env.gym.GymVectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, _ = envs.reset(seed=1)
    assert obs in envs.observation_space
    for i in range(30):
        obs, reward, terminated, truncated, info = envs.step(np.zeros((3, 7), np.float32))
        assert obs in envs.observation_space
        assert reward.shape == (3,)
        assert not terminated.any()
        assert truncated.all() == (i == 29)
        assert ("final_obs" in info) == (i == 29)
    assert info["_final_obs"].all()
    assert info["final_info"]["is_success"].shape == (3,)
    assert not np.allclose(info["final_obs"], obs), "obs is of the new episodes"


def test_the_batch_and_the_single_environment_agree(envs, env):
    """The same physics and reward: only the seeds differ, so both are driven from the batch's first state."""
    batch, single = envs.unwrapped._stepper, env.unwrapped._stepper
    batch.reset(3)
    import jax

    single.state = jax.tree.map(lambda x: x[:1], batch.state)
    action = np.linspace(-1, 1, 21, dtype=np.float32).reshape(3, 7)
    for _ in range(5):
        batch.step(action)
        single.step(action[:1])
    np.testing.assert_allclose(single.obs[0], batch.obs[0], atol=1e-6)
    np.testing.assert_allclose(single.reward[0], batch.reward[0], atol=1e-6)
