import jax
import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.learn.networks import ACTIVATIONS, apply_mlp, init_mlp, init_policy


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_agrees_with_a_loop_over_layers(activation):
    layers = init_mlp(jax.random.key(0), [3, 8, 8, 2], output_scale=1.0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    expected = x
    for index, (kernel, bias) in enumerate(layers):
        expected = np.asarray(expected) @ np.asarray(kernel) + np.asarray(bias)
        if index < 2:
            expected = ACTIVATIONS[activation](jnp.asarray(expected))
    np.testing.assert_allclose(apply_mlp(layers, x, activation), expected, rtol=1e-5, atol=1e-6)


def test_kernels_are_orthogonal_and_actions_start_small():
    params = init_policy(
        jax.random.key(1), 10, 12, 4, actor_hidden=(32, 32), critic_hidden=(16,), initial_log_std=-0.5
    )
    middle = np.asarray(params.actor[1].kernel)
    np.testing.assert_allclose(middle @ middle.T, 2.0 * np.eye(32), atol=1e-5)
    assert params.critic[0].kernel.shape == (12, 16)
    np.testing.assert_array_equal(params.log_std, np.full(4, -0.5, np.float32))
    actions = apply_mlp(params.actor, jax.random.normal(jax.random.key(2), (100, 10)), "swish")
    assert float(jnp.abs(actions).max()) < 0.1
    assert not np.array_equal(params.actor[0].kernel[:, :16], params.critic[0].kernel[:10])
