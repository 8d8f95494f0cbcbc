"""Out-of-distribution score: how far an observation is from those that a policy met in its own evaluation.

The score of one observation is its Mahalanobis distance to them, divided by a threshold: above 1 it is beyond it. The
threshold is set on episodes that the distance was not fitted to, so that at most a stated share of episodes like those
of the evaluation ever exceed it. It advises people; no limit, no target and no decision depends on it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import BundleError

SCHEMA = "robolearn.ood/1"
OUTPUT = "ood_score"  # of the exported graph
FALSE_ALARM_RATE = 0.01  # share of episodes
SHRINKAGE = 1e-3  # towards no correlation: what never varied together is not infinitely surprising
DEVIATION_MIN = 1e-3  # of an entry, in its own unit; below that a sensor's resolution would decide
DEVIATIONS_MAX = 1e3  # by which an entry counts at most, so that the score stays a number
SAMPLES_MAX = 100_000  # observations that the distance is fitted to

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OodModel:
    """mean, deviation: [D], of the observation. factor: [D, D]; |(obs - mean) / deviation @ factor| is the distance.

    false_alarm_rate: of episodes of episode_s. fit_episodes, held_out_episodes: how many it comes from.
    """

    mean: Array
    deviation: Array
    factor: Array
    threshold: float
    false_alarm_rate: float
    fit_episodes: int
    held_out_episodes: int
    episode_s: float

    def distance(self, observations: Any) -> Array:
        """Of observations [..., D]: [...]."""
        scaled = (np.asarray(observations, float) - self.mean) / self.deviation
        scaled = np.clip(scaled, -DEVIATIONS_MAX, DEVIATIONS_MAX)
        return np.linalg.norm(scaled @ self.factor, axis=-1)

    def score(self, observations: Any) -> Array:
        """Distance over threshold, [...]."""
        return self.distance(observations) / self.threshold

    def summary(self) -> dict[str, Any]:
        """What the manifest of a bundle says of it; the numbers themselves are in its graph."""
        kept = asdict(self)
        for name in ("mean", "deviation", "factor"):
            del kept[name]
        return {"output": OUTPUT, "method": METHOD, **kept}

    def to_json(self, iteration: int) -> str:
        """The whole of it, of the policy after so many iterations, as `from_json` reads it."""
        arrays = {name: getattr(self, name).tolist() for name in ("mean", "deviation", "factor")}
        head = {"schema": SCHEMA, "iteration": iteration, "method": METHOD}
        return json.dumps(head | asdict(self) | arrays) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> tuple[OodModel, int]:
        """The inverse of `to_json`: the score, and of which iteration. Raises BundleError where it is none."""
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ValueError(f"schema {data['schema']!r}, this robolearn reads {SCHEMA}")
            arrays = {name: np.array(data[name], float) for name in ("mean", "deviation", "factor")}
            numbers = {name: data[name] for name in _NUMBERS}
            size = len(arrays["mean"])
            if {a.shape for a in arrays.values()} != {(size,), (size, size)}:
                raise ValueError("arrays whose sizes do not fit each other")
            if not (all(np.isfinite(a).all() for a in arrays.values()) and numbers["threshold"] > 0):
                raise ValueError("a number that is not finite, or a threshold that is not above 0")
            return cls(**arrays, **numbers), int(data["iteration"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"{where}: no out-of-distribution score can be read: {error!r}. Evaluate again."
            ) from None


METHOD = "Mahalanobis distance of the observation, shrunk; threshold from held-out episodes"
_NUMBERS = ("threshold", "false_alarm_rate", "fit_episodes", "held_out_episodes", "episode_s")


def episodes_needed(false_alarm_rate: float = FALSE_ALARM_RATE) -> int:
    """How many held-out episodes a threshold of that rate needs at least."""
    return math.ceil(1.0 / false_alarm_rate - 1e-9) - 1


def fit_ood(
    observations: NDArray[np.float32],
    running: NDArray[np.bool_],
    episode_s: float,
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> OodModel | None:
    """Fit to every second episode, and set the threshold on the others; None where they are too few.

    observations: [T, E, D] of E episodes. running: [T, E], whether the episode was still going on.
    The threshold is the k-th smallest of the n held-out episodes' largest distances, k = ceil((n + 1) (1 - rate)): a
    further episode like them exceeds it with a probability of at most the rate (split conformal prediction,
    Papadopoulos et al. 2002, doi:10.1007/3-540-36755-1_29).
    """
    fitted, held = slice(0, None, 2), slice(1, None, 2)
    count = observations.shape[1]
    held_out = count // 2
    if held_out < episodes_needed(false_alarm_rate):
        return None
    rows = observations[:, fitted][running[:, fitted]]
    rows = rows[:: -(-len(rows) // SAMPLES_MAX)].astype(float)
    mean, deviation = rows.mean(0), np.maximum(rows.std(0), DEVIATION_MIN)
    scaled = (rows - mean) / deviation
    correlation = (1 - SHRINKAGE) * scaled.T @ scaled / len(scaled) + SHRINKAGE * np.eye(len(mean))
    values, vectors = np.linalg.eigh(correlation)
    model = OodModel(
        mean, deviation, vectors / np.sqrt(np.maximum(values, SHRINKAGE)), 1.0, false_alarm_rate,
        count - held_out, held_out, episode_s,
    )  # fmt: skip
    largest = np.where(running[:, held], model.distance(observations[:, held]), 0.0).max(0)
    k = math.ceil((held_out + 1) * (1 - false_alarm_rate) - 1e-9)
    threshold = float(np.sort(largest)[k - 1])
    return None if not threshold > 0 else OodModel(**{**vars(model), "threshold": threshold})
