"""A state as one flat array for each type of number: bit for bit the same."""

import jax
import jax.numpy as jnp
import numpy as np
from env_programs import programs

from robolearn.env.packed import Packing
from robolearn.env.vec_env import EnvState, make


def tree_of(key):
    return {
        "x": jax.random.normal(key, (2, 3)),
        "n": (jnp.arange(4, dtype=jnp.int32), jnp.array(7, jnp.int32)),
        "yes": jnp.array([True, False]),
        "keys": jax.random.split(key, 3),
        "none": jnp.zeros((2, 0)),
    }


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_what_is_packed_comes_back_bit_for_bit_keys_included():
    packing, tree = Packing(tree_of(jax.random.key(0))), tree_of(jax.random.key(1))
    tree["x"] = tree["x"].at[0, 0].set(jnp.nan)
    packed = packing.pack(tree)
    assert {kind: value.shape for kind, value in packed.items()} == {
        "float32": (6,), "int32": (5,), "bool": (2,), "uint32": (6,),
    }  # fmt: skip
    assert packing.bytes == 6 * 4 + 5 * 4 + 2 + 6 * 4
    assert_same(packing.unpack(packed), tree)
    assert_same(jax.jit(lambda p: packing.unpack(p))(jax.jit(packing.pack)(tree)), tree)
    draws = jax.random.uniform(packing.unpack(packed)["keys"][1])
    assert draws == jax.random.uniform(tree["keys"][1])


def test_an_environment_kept_packed_takes_the_same_steps():
    from robolearn.env.gym import Stepper

    short = {"episode_s": 0.6}  # as in test_gym.py, whose programs these are
    stepper, plain = Stepper("fr3/reach", 1, "native", short), make("fr3/reach", 1, "native", short)
    stepper.reset(3)
    reset, step = programs(plain)
    state = reset(jax.random.key(3))
    for i in range(3):
        action = np.full((1, plain.action_size), 0.1 * i, np.float32)
        stepper.step(action)
        state = step(state, action)
    assert isinstance(stepper._kept, dict)
    assert jax.tree.structure(stepper.state) == jax.tree.structure(state)
    np.testing.assert_allclose(stepper.obs, np.asarray(state.obs), atol=1e-5)
    assert len(stepper._kept) <= 4


def test_a_large_batch_is_not_copied():
    from robolearn.env.gym import Stepper

    stepper = Stepper("fr3/reach", 512, "native", None)
    stepper.reset(0)
    assert isinstance(stepper._kept, EnvState)
    assert stepper.state is stepper._kept
