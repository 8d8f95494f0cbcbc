import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.learn.ppo import adapt_learning_rate, gaussian_entropy, gaussian_log_prob, ppo_losses


def losses(log_prob, advantage, clip_ratio=0.2):
    n = len(advantage)
    return ppo_losses(
        log_prob=jnp.asarray(log_prob),
        old_log_prob=jnp.zeros(n),
        advantage=jnp.asarray(advantage),
        value=jnp.zeros(n),
        value_target=jnp.full(n, 2.0),
        entropy=jnp.asarray(0.7),
        clip_ratio=clip_ratio,
    )


def test_log_prob_and_entropy_of_a_gaussian():
    # standard normal at 0 in two dimensions: -log(2 pi); entropy 1 + log(2 pi)
    zeros = jnp.zeros(2)
    assert float(gaussian_log_prob(zeros, zeros, zeros)) == pytest.approx(-math.log(2 * math.pi))
    assert float(gaussian_entropy(zeros)) == pytest.approx(1 + math.log(2 * math.pi))
    action, mean, log_std = jnp.array([0.3, -1.0]), jnp.array([0.1, 0.5]), jnp.array([-0.5, 0.2])
    expected = jax.scipy.stats.norm.logpdf(action, mean, jnp.exp(log_std)).sum()
    assert float(gaussian_log_prob(action, mean, log_std)) == pytest.approx(float(expected), rel=1e-5)


def test_surrogate_by_hand():
    # ratios 1.5 and 0.5, clipped to 1.2 and 0.8
    log_prob = np.log([1.5, 0.5])
    assert float(losses(log_prob, [1.0, 1.0]).policy) == pytest.approx(-(1.2 + 0.5) / 2)
    assert float(losses(log_prob, [-1.0, -1.0]).policy) == pytest.approx((1.5 + 0.8) / 2)
    result = losses(log_prob, [1.0, 1.0])
    assert float(result.value) == pytest.approx(2.0)
    assert float(result.clip_fraction) == 1.0
    assert float(result.entropy) == pytest.approx(0.7)
    assert float(result.kl) == pytest.approx((0.5 - math.log(1.5) - 0.5 - math.log(0.5)) / 2, rel=1e-5)


def test_nothing_pulls_further_once_the_ratio_is_clipped():
    gradient = jax.grad(lambda lp: losses(lp, jnp.array([1.0, -1.0])).policy)(jnp.log(jnp.array([1.5, 0.5])))
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_unchanged_policy_has_no_kl_and_the_policy_gradient():
    log_prob, advantage = jnp.zeros(4), jnp.array([1.0, -2.0, 0.5, 0.0])
    assert float(losses(log_prob, advantage).kl) == 0.0
    gradient = jax.grad(lambda lp: losses(lp, advantage).policy)(log_prob)
    np.testing.assert_allclose(gradient, -advantage / 4)


@pytest.mark.parametrize(
    ("kl", "expected"), [(0.03, 1e-3 / 1.5), (0.004, 1.5e-3), (0.01, 1e-3), (0.0, 1.5e-3), (0.02, 1e-3)]
)
def test_learning_rate_follows_kl(kl, expected):
    rate = adapt_learning_rate(jnp.asarray(1e-3), jnp.asarray(kl), kl_target=0.01, lowest=1e-5, highest=1.0)
    assert float(rate) == pytest.approx(expected, rel=1e-5)


def test_learning_rate_stays_within_its_bounds():
    def rate(now, kl):
        return float(
            adapt_learning_rate(jnp.asarray(now), jnp.asarray(kl), kl_target=0.01, lowest=1e-4, highest=2e-3)
        )

    assert rate(1e-4, 1.0) == pytest.approx(1e-4)
    assert rate(2e-3, 0.0) == pytest.approx(2e-3)


def test_an_action_that_the_old_policy_would_hardly_have_taken_leaves_the_loss_finite():
    def loss(log_prob):
        return losses(log_prob, jnp.asarray([-1.0, 1.0])).policy  # against old log probabilities of zero

    value, slope = jax.value_and_grad(loss)(jnp.asarray([500.0, -500.0]))
    assert jnp.isfinite(value)
    assert jnp.isfinite(slope).all()
