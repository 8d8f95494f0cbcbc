"""Integrated gradients on networks of which the answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from robolearn.dossier.attribution import explain, integrated_gradients

RNG = np.random.default_rng(0)


def test_of_a_product_both_factors_get_half():
    # f = a b from (0, 0): the integral of b t along the path is a b / 2 for each factor.
    found, gap = integrated_gradients(
        lambda v: jnp.stack([v["a"][0] * v["b"][0], 3.0 * v["a"][0]]),
        {"a": np.array([[2.0]]), "b": np.array([[5.0]])},
        {"a": np.zeros(1), "b": np.zeros(1)},
        steps=8,
    )
    assert found["a"].ravel() == pytest.approx([5.0, 6.0], rel=1e-5)
    assert found["b"].ravel() == pytest.approx([5.0, 0.0], rel=1e-5)
    assert gap.max() < 1e-5


def _network(inputs, out, seed):
    """Random hidden layer; out: [64, 2]."""
    hidden = np.random.default_rng(seed).normal(size=(inputs, 64)).astype(np.float32)

    def forward(v):
        x = jnp.concatenate([v["goal"], v["joints"], v["decoy"]])
        return jnp.tanh(x @ hidden * 0.7) @ jnp.asarray(out)

    return forward, hidden


def test_a_decoy_slot_ranks_last_and_the_check_tells_trained_from_untrained():
    values = {
        "goal": RNG.normal(size=(400, 2)).astype(np.float32),
        "decoy": RNG.normal(size=(400, 2)).astype(np.float32),
        "joints": RNG.normal(size=(400, 2)).astype(np.float32),
    }
    wanted = np.stack([np.sin(values["goal"][:, 0]) + values["joints"][:, 1], values["goal"][:, 1]], 1)
    _, hidden = _network(6, np.zeros((64, 2)), 1)
    x = np.concatenate([values["goal"], values["joints"], values["decoy"]], 1)
    out = np.linalg.lstsq(np.tanh(x @ hidden * 0.7), wanted, rcond=None)[0].astype(np.float32)
    trained, _ = _network(6, out, 1)
    other, _ = _network(6, RNG.normal(size=(64, 2)).astype(np.float32) / 8, 2)
    found = explain(trained, other, {name: value[:64] for name, value in values.items()}, steps=64)
    assert [slot.slot for slot in found.slots] == ["goal", "joints", "decoy"]
    assert found.slots[-1].share < 0.1
    assert min(found.slots, key=lambda s: s.action_change).slot == "decoy"
    assert found.gap_median < 2e-6
    assert found.gap_p99 < 4e-3
    assert abs(found.sanity_rank_correlation) < 0.3
    assert sum(slot.share for slot in found.slots) == pytest.approx(1.0)
    assert set(found.to_json()["decisions"][0]) == {"goal", "joints", "decoy"}


def test_a_method_that_ignores_the_weights_would_show_in_the_check():
    values = {"goal": RNG.normal(size=(16, 3)).astype(np.float32)}
    same = explain(lambda v: v["goal"] * 2.0, lambda v: v["goal"] * 2.0, values, steps=4)
    assert same.sanity_rank_correlation == pytest.approx(1.0)
