"""For whom a policy works less well: success by stratum with simultaneous intervals, and pairs of policies.

Each stratum is compared with all other episodes: Fisher's exact test, one-sided (worse than the rest), Holm's
correction over all strata, so that the chance of flagging any where there is none is at most alpha. Two policies over
the same episodes: McNemar's exact test, and an interval of the difference of paired proportions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy  # which loads its stats where they are first used: a third of what a training imports
from numpy.typing import NDArray

from robolearn.learn.evaluation import Rate

ALPHA = 0.05
POWER = 0.8


@dataclass(frozen=True)
class Stratum(Rate):
    """One stratum beside the rest.

    gap: success rate of the rest minus the stratum's. low, high: interval of the stratum's rate, simultaneous over all
    strata. p: of Fisher's exact test, one-sided, after Holm. flagged: p is at most alpha.
    detectable: the smallest gap that this comparison, at alpha divided by the number of strata, finds with 80 % power;
    None where even a rate of 0 is not found, or it was not asked for.
    """

    gap: float
    p: float
    flagged: bool
    detectable: float | None


@dataclass(frozen=True)
class Disparity:
    """What was compared, and what came of it; the stratum with the widest gap first."""

    alpha: float
    strata: tuple[Stratum, ...]

    @property
    def flagged(self) -> tuple[Stratum, ...]:
        """Strata in which success is lower than in the rest, beyond chance."""
        return tuple(stratum for stratum in self.strata if stratum.flagged)

    @property
    def gap(self) -> float:
        """The widest gap of a flagged stratum; 0 where none is flagged."""
        return max((stratum.gap for stratum in self.flagged), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "test": "Fisher exact, one-sided (stratum worse than the rest), Holm over all strata",
            "interval": "Clopper-Pearson, Bonferroni over all strata",
            **asdict(self),
            "flagged": [stratum.name for stratum in self.flagged],
        }


def disparity(
    successes: int,
    episodes: int,
    strata: Sequence[Mapping[str, Any]],
    alpha: float = ALPHA,
    *,
    detectable: bool = True,
) -> Disparity:
    """Compare each stratum with the rest of the episodes.

    successes, episodes: of all. strata: `name`, `episodes`, `successes` of each; one that holds every episode, or
    none, has no rest and is left out. detectable: also the smallest gap that each comparison would find.
    """
    kept = [s for s in strata if 0 < s["episodes"] < episodes]
    ps = [fisher_worse(s["successes"], s["episodes"], *_rest(s, successes, episodes)) for s in kept]
    found = []
    for stratum, p in zip(kept, holm(ps), strict=True):
        k, n = int(stratum["successes"]), int(stratum["episodes"])
        rest_k, rest_n = _rest(stratum, successes, episodes)
        low, high = clopper_pearson(k, n, alpha / len(kept))
        least = detectable_gap(n, rest_n, rest_k / rest_n, alpha / len(kept)) if detectable else None
        found.append(
            Stratum(
                str(stratum["name"]), n, k, k / n, low, high, rest_k / rest_n - k / n, p, p <= alpha, least
            )
        )
    return Disparity(alpha, tuple(sorted(found, key=lambda s: (-s.gap, s.name))))


def _rest(stratum: Mapping[str, Any], successes: int, episodes: int) -> tuple[int, int]:
    return successes - int(stratum["successes"]), episodes - int(stratum["episodes"])


def fisher_worse(k: int, n: int, rest_k: int, rest_n: int) -> float:
    """One-sided p of Fisher's exact test that k successes of n are not fewer than those of the rest allow."""
    return float(scipy.stats.hypergeom.cdf(k, n + rest_n, k + rest_k, n))


def holm(ps: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction (Holm 1979), in the given order."""
    adjusted, most = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        most = max(most, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = most
    return adjusted


def clopper_pearson(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Exact interval of a proportion with confidence 1 - alpha (Clopper and Pearson 1934)."""
    low = 0.0 if k == 0 else float(scipy.stats.beta.ppf(alpha / 2, k, n - k + 1))
    high = 1.0 if k == n else float(scipy.stats.beta.ppf(1 - alpha / 2, k + 1, n - k))
    return low, high


def detectable_gap(n: int, rest_n: int, rest_rate: float, alpha: float, power: float = POWER) -> float | None:
    """The smallest gap below rest_rate that Fisher's test at alpha finds with this power; None where there is none.

    Both sides are binomial. The rest's distribution is taken at 15 quantiles of equal weight.
    """
    middles = (np.arange(15) + 0.5) / 15
    counts, weights = np.unique(scipy.stats.binom.ppf(middles, rest_n, rest_rate), return_counts=True)
    critical = np.array([_critical(n, int(k), rest_n, alpha) for k in counts])

    def reached(gap: float) -> bool:
        found = scipy.stats.binom.cdf(critical, n, max(0.0, rest_rate - gap))
        return float(found @ weights) / len(middles) >= power

    if not reached(rest_rate):
        return None
    low, high = 0.0, rest_rate
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _critical(n: int, rest_k: int, rest_n: int, alpha: float) -> int:
    """The most successes of n that still are fewer, at alpha, than rest_k of rest_n; -1 where none are."""
    low, high = -1, n
    while low < high:
        k = (low + high + 1) // 2
        low, high = (k, high) if fisher_worse(k, n, rest_k, rest_n) <= alpha else (low, k - 1)
    return low


@dataclass(frozen=True)
class Paired:
    """Two policies, A and B, over the same episodes.

    only_a, only_b: episodes in which only that one succeeded. difference: A's rate minus B's, with its 95 % interval.
    p: of McNemar's exact test, two-sided.
    """

    episodes: int
    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"test": "McNemar exact, two-sided", "interval": "Newcombe paired, 95 %", **asdict(self)}


def paired(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Paired:
    """Compare success [E] of two policies, episode by episode."""
    both, only_a = int((a & b).sum()), int((a & ~b).sum())
    only_b, neither = int((~a & b).sum()), int((~a & ~b).sum())
    discordant = only_a + only_b
    p = float(scipy.stats.binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    low, high = newcombe(both, only_a, only_b, neither)
    return Paired(len(a), both, only_a, only_b, neither, (only_a - only_b) / len(a), low, high, p)


def newcombe(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """95 % interval of the difference of paired proportions (Newcombe 1998, method 10, doi:10.1002/
    (SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C).
    """
    n = both + only_a + only_b + neither
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = _wilson(both + only_a, n), _wilson(both + only_b, n)
    rows = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = both * neither - only_a * only_b
    if rows == 0:
        phi = 0.0
    else:
        corrected = max(product - n / 2, 0.0) if product > 0 else product
        phi = corrected / math.sqrt(rows)
    difference = p_a - p_b

    def spread(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))

    return (
        max(-1.0, difference - spread(p_a - low_a, high_b - p_b)),
        min(1.0, difference + spread(high_a - p_a, p_b - low_b)),
    )


def _wilson(k: int, n: int) -> tuple[float, float]:
    interval = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
