import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.learn.gae import gae
from robolearn.learn.rollout import Transition
from robolearn.learn.update import _values_after


def slow_gae(reward, value, next_value, terminated, truncated, discount, gae_lambda):
    steps, batch = reward.shape
    advantage = np.zeros((steps, batch))
    for b in range(batch):
        for start in range(steps):
            weight = 1.0
            for t in range(start, steps):
                follow = 0.0 if terminated[t, b] else next_value[t, b]
                advantage[start, b] += weight * (reward[t, b] + discount * follow - value[t, b])
                if terminated[t, b] or truncated[t, b]:
                    break
                weight *= discount * gae_lambda
    return advantage, advantage + value


def column(*numbers):
    return jnp.asarray(numbers, jnp.float32)[:, None]


def flags(*numbers):
    return jnp.asarray(numbers, bool)[:, None]


def test_numbers_worked_by_hand():
    # delta_1 = 2 + 0.5 * 3 - 1 = 2.5; delta_0 = 1 + 0.5 * 1 - 2 = -0.5; advantage_0 = -0.5 + 0.5 * 0.8 * 2.5 = 0.5
    advantage, target = gae(
        column(1, 2), column(2, 1), column(1, 3), flags(0, 0), flags(0, 0), discount=0.5, gae_lambda=0.8
    )
    np.testing.assert_allclose(advantage[:, 0], [0.5, 2.5])
    np.testing.assert_allclose(target[:, 0], [2.5, 3.5])


def test_termination_has_no_future_and_truncation_bootstraps():
    given = (column(1, 1), column(0, 0), column(10, 10))
    ended, _ = gae(*given, flags(1, 0), flags(0, 0), discount=0.5, gae_lambda=1.0)
    cut, _ = gae(*given, flags(0, 0), flags(1, 0), discount=0.5, gae_lambda=1.0)
    running, _ = gae(*given, flags(0, 0), flags(0, 0), discount=0.5, gae_lambda=1.0)
    assert float(ended[0, 0]) == 1.0
    assert float(cut[0, 0]) == 6.0
    assert float(running[0, 0]) == 9.0
    assert float(ended[1, 0]) == float(cut[1, 0]) == 6.0


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, 20, 7)).astype(np.float32)
    terminated = rng.random((20, 7)) < 0.1
    truncated = (rng.random((20, 7)) < 0.1) & ~terminated
    fast = jax.jit(lambda *a: gae(*a, discount=0.97, gae_lambda=0.95))(
        reward, value, next_value, terminated, truncated
    )
    slow = slow_gae(reward, value, next_value, terminated, truncated, 0.97, 0.95)
    for got, expected in zip(fast, slow, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("steps", "episode_steps"), [(1, 3), (2, 3), (8, 3), (8, 8), (9, 4), (7, 100)])
def test_the_state_after_each_step_is_valued_as_it_was_before_a_restart(steps, episode_steps):
    rng = np.random.default_rng(steps)
    obs, final = rng.normal(size=(2, steps, 5, 2)).astype(np.float32)
    count = np.cumsum(np.ones((steps, 5), int), 0) + np.arange(5) % episode_steps
    truncated = count % episode_steps == 0
    went_on = ~truncated[:-1]
    final[:-1][went_on] = obs[1:][went_on]
    whole, no = jnp.asarray(obs), jnp.zeros((steps, 5))
    rollout = Transition(
        obs=whole, critic_obs=whole, final_critic_obs=jnp.asarray(final), action=whole, log_prob=no, reward=no,
        terminated=no > 0, truncated=jnp.asarray(truncated),
    )  # fmt: skip
    weights = jnp.array([1.0, 2.0])
    after = _values_after(lambda x: x @ weights, whole @ weights, rollout, episode_steps)
    np.testing.assert_allclose(np.asarray(after), final @ [1.0, 2.0], rtol=1e-5)
