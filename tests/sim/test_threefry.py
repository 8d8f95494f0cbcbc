"""JAX's generator written out: the same numbers."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from robolearn.sim.threefry import as_usual, written_out

DRAWS = {
    "normal": lambda key: jax.random.normal(key, (5, 3)),
    "uniform": lambda key: jax.random.uniform(key, (7,), minval=-2.0, maxval=3.0),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (11,)),
    "permutation": lambda key: jax.random.permutation(key, 13),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (3, 2))),
    "fold_in": lambda key: jax.random.key_data(jax.random.fold_in(key, 4_000_000_000)),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_every_draw_is_that_of_jax(draw):
    keys = jax.random.split(jax.random.key(7), 16)
    np.testing.assert_array_equal(jax.vmap(draw)(written_out(keys)), jax.vmap(draw)(keys))


def test_keys_there_and_back():
    keys = jax.random.split(jax.random.key(1), 4)
    assert as_usual(written_out(keys)).dtype == keys.dtype
    assert (as_usual(written_out(keys)) == keys).all()


def test_a_draw_of_another_width_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="32 bits"):
        jax.random.bits(written_out(jax.random.key(0)), (2,), "uint8")
