import jax
import jax.numpy as jnp
import numpy as np

from robolearn.learn.networks import apply_mlp, init_mlp
from robolearn.learn.normalize import compensated, init_normalizer, normalize, update_normalizer


def test_batches_merge_to_the_statistics_of_everything():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (n, 5)).astype(np.float32) for n in (7, 100, 1, 64)]
    normalizer = init_normalizer(5)
    for batch in batches:
        normalizer = update_normalizer(normalizer, jnp.asarray(batch))
    everything = np.concatenate(batches)
    assert float(normalizer.count) == len(everything)
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.variance, everything.var(0), rtol=1e-4)


def test_leading_axes_do_not_matter():
    batch = jnp.asarray(np.random.default_rng(1).normal(size=(4, 6, 3)), jnp.float32)
    one = update_normalizer(init_normalizer(3), batch)
    two = update_normalizer(init_normalizer(3), batch.reshape(24, 3))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_shards_agree_with_one_device():
    batch = jnp.asarray(np.random.default_rng(2).normal(1.0, 3.0, (4, 10, 3)), jnp.float32)
    start = update_normalizer(init_normalizer(3), batch[0] + 1.0)
    together = update_normalizer(start, batch)
    sharded = jax.vmap(lambda b: update_normalizer(start, b, "shards"), axis_name="shards")(batch)
    for got, expected in zip(sharded, together, strict=True):
        np.testing.assert_allclose(got[0], expected, rtol=1e-5)
        np.testing.assert_array_equal(got[0], got[3])


def test_normalizes_and_clips_and_survives_a_constant():
    batch = jnp.asarray([[1.0, 5.0], [3.0, 5.0]])
    normalizer = update_normalizer(init_normalizer(2), batch)
    np.testing.assert_allclose(normalize(normalizer, batch), [[-1.0, 0.0], [1.0, 0.0]])
    extreme = normalize(normalizer, jnp.array([1e6, -1e6]))
    np.testing.assert_array_equal(extreme, [10.0, -10.0])


def test_nothing_seen_changes_nothing():
    np.testing.assert_array_equal(normalize(init_normalizer(2), jnp.array([0.5, -0.5])), [0.5, -0.5])


def test_a_compensated_network_computes_the_same_from_other_statistics():
    rng = np.random.default_rng(3)
    old = update_normalizer(init_normalizer(6), jnp.asarray(rng.normal(1.0, 2.0, (50, 6)), jnp.float32))
    new = update_normalizer(old, jnp.asarray(rng.normal(-3.0, 0.5, (200, 6)), jnp.float32))
    layers = init_mlp(jax.random.key(0), [6, 8, 3], 1.0)
    obs = jnp.asarray(rng.normal(0.0, 2.0, (20, 6)), jnp.float32)
    before = apply_mlp(layers, normalize(old, obs), "tanh")
    assert float(jnp.abs(apply_mlp(layers, normalize(new, obs), "tanh") - before).max()) > 0.1
    after = apply_mlp(compensated(layers, old, new), normalize(new, obs), "tanh")
    np.testing.assert_allclose(after, before, atol=1e-5)
