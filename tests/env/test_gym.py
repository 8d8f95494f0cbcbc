from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.wrappers import RecordVideo
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

import robolearn.env.gym
from robolearn.env import vec_env
from robolearn.env.task import task_names
from robolearn.errors import PhysicsError

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


@pytest.fixture(scope="module")
def same_step():
    envs = robolearn.env.gym.GymVectorEnv(
        "fr3/reach", 3, engine="native", config=SHORT, autoreset_mode=AutoresetMode.SAME_STEP
    )
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


def test_a_batch_with_same_step_restarts(same_step):
    envs = same_step
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


def test_make_vec_gives_the_batch_which_restarts_in_the_next_step(envs, same_step):
    """As with restarts in the same step, but for one step between the episodes, which does nothing."""
    assert isinstance(envs.unwrapped, robolearn.env.gym.GymVectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    action = np.full((3, 7), 0.3, np.float32)
    for one in (envs, same_step):
        np.testing.assert_array_equal(one.reset(seed=7)[0], one.reset(seed=7)[0])
    for i in range(30):
        obs, reward, terminated, truncated, info = envs.step(action)
        other, other_reward, _, _, other_info = same_step.step(action)
        np.testing.assert_allclose(reward, other_reward, atol=1e-4)
        assert truncated.all() == (i == 29)
        assert not terminated.any()
    np.testing.assert_allclose(obs, other_info["final_obs"], atol=1e-4)
    assert info["_is_success"].all()
    np.testing.assert_array_equal(info["is_success"], other_info["final_info"]["is_success"])
    start, reward, terminated, truncated, info = envs.step(
        -action
    )  # the action of a restart counts for nothing
    np.testing.assert_allclose(start, other, atol=1e-4)
    assert (reward == 0.0).all()
    assert not (terminated | truncated).any()
    assert info == {}
    for _ in range(3):
        np.testing.assert_allclose(envs.step(action)[0], same_step.step(action)[0], atol=1e-4)


def test_a_restart_that_is_neither_is_refused():
    with pytest.raises(gymnasium.error.Error, match="NextStep or SameStep"):
        robolearn.env.gym.GymVectorEnv("fr3/reach", 1, autoreset_mode="Disabled")


def test_gymnasiums_own_vector_wrappers_work(envs):
    """Lengths and returns of whole episodes, observations of unit size, in and after a restart."""
    wrapped = NormalizeObservation(RecordEpisodeStatistics(envs))
    wrapped.reset(seed=2)
    returns, ended = np.zeros(3), []
    for i in range(62):  # two episodes of 30 steps, and the step between them
        obs, reward, _, truncated, info = wrapped.step(np.zeros((3, 7), np.float32))
        assert np.isfinite(obs).all()
        returns += reward
        if truncated.any():
            ended.append(i)
            assert info["_episode"].all()
            assert info["episode"]["l"].tolist() == [30, 30, 30]
            np.testing.assert_allclose(info["episode"]["r"], returns, rtol=1e-5)
            returns[:] = 0.0
    assert ended == [29, 60]
    assert 0.1 < float(np.abs(obs).mean()) < 5.0


def test_bounds_of_observations_are_finite_and_held(env, envs):
    for space in (env.observation_space, envs.single_observation_space, env.action_space):
        assert np.isfinite(space.low).all()
        assert np.isfinite(space.high).all()
    env.reset(seed=1)
    stepper = env.unwrapped._stepper
    far = stepper.state.replace(obs=jnp.full_like(stepper.state.obs, 1e6))
    stepper._keep(*stepper._shown(lambda: far)())
    assert (stepper.obs[0] == robolearn.env.gym.OBS_MAX).all()
    assert stepper.obs[0] in env.observation_space


def test_a_video_is_recorded_with_gymnasiums_wrapper(env, tmp_path):
    pytest.importorskip("moviepy")
    recorded = RecordVideo(env, str(tmp_path), episode_trigger=lambda _: True)
    recorded.reset(seed=1)
    for _ in range(30):
        recorded.step(np.zeros(7, np.float32))
    recorded.reset(seed=2)  # ends the first video
    assert (tmp_path / "rl-video-episode-0.mp4").stat().st_size > 1000


@pytest.mark.slow
def test_processes_of_gymnasiums_async_batch_are_spawned_and_never_forked():
    make = partial(gymnasium.make, "robolearn.env.gym:robolearn/fr3-reach-v0", config=SHORT)
    batch = AsyncVectorEnv([make, make], context="spawn")
    try:
        obs, _ = batch.reset(seed=[3, 3])
        np.testing.assert_array_equal(obs[0], obs[1])
        obs, *_ = batch.step(np.stack([np.zeros(7, np.float32), np.ones(7, np.float32)]))
        assert not np.array_equal(obs[0], obs[1])
    finally:
        batch.close()


def test_an_environment_in_a_forked_process_is_refused_by_name(env, monkeypatch):
    monkeypatch.setattr(vec_env.os, "getpid", lambda: -1)
    with pytest.raises(PhysicsError, match="context='spawn'"):
        robolearn.env.gym.GymEnv("fr3/reach", config=SHORT)


def test_the_batch_and_the_single_environment_agree(same_step, env):
    """The same physics and reward: only the seeds differ, so both are driven from the batch's first state."""
    batch, single = same_step._stepper, env.unwrapped._stepper
    batch.reset(3)
    import jax

    single.state = jax.tree.map(lambda x: x[:1], batch.state)
    action = np.linspace(-1, 1, 21, dtype=np.float32).reshape(3, 7)
    for _ in range(5):
        batch.step(action)
        single.step(action[:1])
    np.testing.assert_allclose(single.obs[0], batch.obs[0], atol=1e-6)
    np.testing.assert_allclose(single.reward[0], batch.reward[0], atol=1e-6)
