"""Costs on paper count what a program does."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.paper import cost, warp_substep
from robolearn.env.vec_env import make


def test_a_product_of_matrices_is_counted():
    shape = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    found = cost(lambda a, b: a @ b, shape, shape)
    assert found["flops"] == pytest.approx(2 * 64**3, rel=0.05)
    assert found["bytes"] >= 3 * 64 * 64 * 4
    assert found["instructions"] >= 1


@pytest.mark.slow
def test_launches_of_a_warp_substep_do_not_grow_with_the_number_of_simulations():
    few, more = (warp_substep(make("fr3/reach", n, "native")) for n in (1, 3))
    assert few["launches"]["kernels"] > 20
    assert abs(few["launches"]["kernels"] - more["launches"]["kernels"]) <= 40, (
        "rounds of the solver may differ"
    )
    assert few["bytes_per_env"] == pytest.approx(more["bytes_per_env"], rel=0.2)
