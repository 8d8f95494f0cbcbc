"""Which slots a decision came from: integrated gradients (arXiv:1703.01365) in plain JAX, by named slot.

The path runs straight from a baseline to what was measured, in the slots themselves: what the task computes from them
(kinematics, differences, normalisation) is part of the network that is explained. The integral is taken by
Gauss-Legendre quadrature. The attributions of a decision sum up to how it differs from the baseline's; by how much
they do not is the completeness gap, which is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # which loads its stats where they are first used
from jax import Array

Values = Mapping[str, Any]
Forward = Callable[[dict[str, Array]], Array]

STEPS = 128
NOT_SHOWN = (
    "Attributions show which inputs this network's output responds to, relative to a chosen baseline. They do "
    "not say why, nor that the response is right. They are of one decision, not of what follows from it. Inputs that "
    "go together share what either of them would get, and a small attribution does not show that an input is harmless. "
    "What is explained is the action before it is clipped to its range."
)


@dataclass(frozen=True)
class SlotShare:
    """share: of all absolute attribution. action_change: mean change of an action entry when the slot is exchanged
    between decisions, in units of the action's range of 2.
    """

    slot: str
    share: float
    action_change: float


@dataclass(frozen=True)
class Explanation:
    """Slots by share, the largest first; how exact the integral is; and whether it depends on what was learned.

    gap_median, gap_p99: of |sum of attributions - difference of outputs|, over decisions and action entries.
    sanity_rank_correlation: of signed attributions with those of an untrained network; a method that ignored the
    weights would give 1. decisions: attribution of a few single decisions, {slot: [A]}.
    """

    slots: tuple[SlotShare, ...]
    steps: int
    observations: int
    gap_median: float
    gap_p99: float
    sanity_rank_correlation: float
    decisions: tuple[dict[str, list[float]], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "method": "integrated gradients, Gauss-Legendre, from the mean of the observations",
            "steps": self.steps,
            "observations": self.observations,
            "completeness_gap": {"median": self.gap_median, "p99": self.gap_p99},
            "sanity_rank_correlation": self.sanity_rank_correlation,
            "slots": [asdict(slot) for slot in self.slots],
            "decisions": list(self.decisions),
            "not_shown": NOT_SHOWN,
        }


def integrated_gradients(
    forward: Forward, values: Values, baseline: Values, steps: int = STEPS
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Attributions and completeness gap of some decisions.

    forward: {slot: [...]} -> output [A]. values: {slot: [E, ...]}. baseline: {slot: [...]}.
    Returns {slot: [E, A, ...]}, and |sum - difference| as [E, A].
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    alphas = jnp.asarray((nodes + 1) / 2, jnp.float32)
    shares = jnp.asarray(weights / 2, jnp.float32)
    base = {name: jnp.asarray(value, jnp.float32) for name, value in baseline.items()}

    def one(value: dict[str, Array]) -> tuple[dict[str, Array], Array]:
        delta = {name: value[name] - base[name] for name in base}

        def add(total: dict[str, Array], node: tuple[Array, Array]) -> tuple[dict[str, Array], None]:
            alpha, share = node
            point = {name: base[name] + alpha * delta[name] for name in base}
            slope = jax.jacrev(forward)(point)
            return {name: total[name] + share * slope[name] for name in base}, None

        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(jax.jacrev(forward), base))
        mean, _ = jax.lax.scan(add, zero, (alphas, shares))
        found = {name: mean[name] * delta[name] for name in base}
        total = sum(value.reshape(value.shape[0], -1).sum(1) for value in found.values())
        return found, jnp.abs(total - (forward(value) - forward(base)))

    batch = {name: jnp.asarray(values[name], jnp.float32) for name in base}
    found, gap = jax.jit(lambda b: jax.lax.map(one, b, batch_size=32))(batch)
    return {name: np.asarray(value) for name, value in found.items()}, np.asarray(gap)


def explain(
    forward: Forward, untrained: Forward, values: Values, *, steps: int = STEPS, seed: int = 0, shown: int = 3
) -> Explanation:
    """Explain a network over some decisions, beside an untrained one of the same shape.

    forward, untrained, values: as for `integrated_gradients`. shown: decisions that are kept one by one: those whose
    outputs differ most from the baseline's.
    """
    values = {name: np.asarray(value, np.float32) for name, value in values.items()}
    baseline = {name: value.mean(0) for name, value in values.items()}
    found, gap = integrated_gradients(forward, values, baseline, steps)
    other, _ = integrated_gradients(untrained, values, baseline, min(steps, 32))
    sizes = {name: float(np.abs(value).sum()) for name, value in found.items()}
    total = sum(sizes.values()) or 1.0
    changes = _exchanged(forward, values, seed)
    slots = sorted(
        (SlotShare(name, sizes[name] / total, changes[name]) for name in found), key=lambda slot: -slot.share
    )
    by_slot = {name: value.reshape(*value.shape[:2], -1).sum(2) for name, value in found.items()}
    strength = np.abs(sum(by_slot.values())).sum(1)
    chosen = np.argsort(-strength)[:shown]
    return Explanation(
        slots=tuple(slots),
        steps=steps,
        observations=len(gap),
        gap_median=float(np.median(gap)),
        gap_p99=float(np.quantile(gap, 0.99)),
        sanity_rank_correlation=float(scipy.stats.spearmanr(_flat(found), _flat(other)).statistic),
        decisions=tuple({name: by_slot[name][i].astype(float).tolist() for name in by_slot} for i in chosen),
    )


def _flat(found: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([found[name].ravel() for name in sorted(found)])


def _exchanged(forward: Forward, values: Mapping[str, np.ndarray], seed: int) -> dict[str, float]:
    """Mean change of an action entry where one slot comes from another decision; ablation within what occurs."""
    order = np.random.default_rng(seed).permutation(len(next(iter(values.values()))))
    many = jax.jit(jax.vmap(forward))
    as_is = np.asarray(many(dict(values)))
    changes = {}
    for name in values:
        other = np.asarray(many({**values, name: values[name][order]}))
        changes[name] = float(np.abs(np.clip(other, -1, 1) - np.clip(as_is, -1, 1)).mean() / 2)
    return changes
