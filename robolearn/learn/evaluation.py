"""What an evaluation found, as plain data: success with its interval, strata, times, peaks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.learn import folder

Z_95 = 1.959963984540054
STRATUM_MIN = 20  # episodes; a rate over fewer is not worth a line
Progress = Callable[[str, int, int], None]  # what is counted, how many so far, of how many


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval."""

    name: str
    episodes: int
    successes: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Results over fresh episodes.

    time_to_success_s: median and 95th percentile over successful episodes of the time until the goal had been held
    (None without success). peaks: {figure: {"max", "p95"}} of each episode's largest value ("p99" too of a contact
    force), or for a margin {"min", "p05"} of its smallest. strata: success by thirds of whatever differed between
    episodes: goal, start,
    mass, size and friction of what the task handles, latencies; worst: the one lowest in rate, of many, so read its
    interval (None where every episode succeeded).
    times_s: the time to success of every success; succeeded: of every episode, in order; draws: the digest of what was
    drawn for the episodes, so that two policies are known to have had the same; none of them in the JSON.
    episode_return: None for a bundle, which does not tell the action that some reward terms weigh.
    """

    task: str
    seed: int
    success: Rate
    terminated: int
    physics_failures: int
    episode_return: float | None
    time_to_success_s: dict[str, float] | None
    peaks: dict[str, dict[str, float]]
    limit_hits: dict[str, int]
    strata: tuple[Rate, ...]
    worst: str | None
    times_s: tuple[float, ...] = ()
    succeeded: tuple[bool, ...] = ()
    draws: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        for name in ("times_s", "succeeded", "draws"):
            del values[name]
        return values

    def lowest(self, count: int) -> list[Rate]:
        """The strata lowest in rate, worst first."""
        return sorted(self.strata, key=stratum_order)[:count]


def wilson(name: str, successes: int, episodes: int) -> Rate:
    """Rate and 95 % Wilson score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if episodes == 0:
        return Rate(name, 0, 0, 0.0, 0.0, 1.0)
    share, z2 = successes / episodes, Z_95**2
    centre = share + z2 / (2 * episodes)
    spread = Z_95 * math.sqrt(share * (1 - share) / episodes + z2 / (4 * episodes**2))
    scale = 1 + z2 / episodes
    low, high = (centre - spread) / scale, (centre + spread) / scale
    # At the ends the formula is exact but for rounding.
    return Rate(
        name,
        episodes,
        successes,
        share,
        0.0 if successes == 0 else low,
        1.0 if successes == episodes else high,
    )


def stratum_order(rate: Rate) -> tuple[float, float]:
    """Sorts strata by rate, then by the lower end of the interval."""
    return rate.rate, rate.low


def thirds(name: str, values: np.ndarray, success: np.ndarray) -> list[Rate]:
    """Success by the lower, middle and upper third of a quantity; none where it does not vary. All [E]."""
    edges = np.quantile(values, [0.0, 1 / 3, 2 / 3, 1.0])
    if not edges[0] < edges[1] < edges[2] < edges[3]:
        return []
    group = np.digitize(values, edges[1:3])
    rates = []
    for third in range(3):
        inside = group == third
        label = f"{name} {edges[third]:.3g}..{edges[third + 1]:.3g}"
        if inside.sum() >= STRATUM_MIN:
            rates.append(wilson(label, int(success[inside].sum()), int(inside.sum())))
    return rates


def write_evaluation(result: Evaluation, head: dict[str, Any], target: Path, prefix: str = "") -> Path:
    """Write evaluation.json, head first, into a folder; returns its path."""
    target.mkdir(parents=True, exist_ok=True)
    report = target / f"{prefix}{folder.EVALUATION}"
    folder.write_whole(report, json.dumps(head | result.to_json(), indent=2) + "\n")
    return report
