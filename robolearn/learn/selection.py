"""Which policy of a run is kept: the one that did best on episodes of its own, without noise.

Candidates are the end of imitation and every checkpoint from then on. All play the same episodes, which nothing else
plays: what an evaluation reports is of others. Nothing of it reaches the training, which goes on as it would without.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import numpy as np

from robolearn.learn.evaluate import Carry, Emitted, control_periods, play_episodes
from robolearn.learn.learner import Policy
from robolearn.learn.train_config import TrainConfig
from robolearn.sim.jit import jit

SEED = 2_000_000  # plus the run's own; an evaluation begins with another


class Selected(NamedTuple):
    """The best candidate so far. arrays: of its policy. iteration: after which. successes, episodes: what it did."""

    arrays: Any
    iteration: int
    successes: int
    episodes: int

    def to_json(self) -> dict[str, int]:
        """What it did, without its arrays."""
        return {"iteration": self.iteration, "successes": self.successes, "episodes": self.episodes}


class Selection:
    """Plays candidates. env: a VecEnv of its own, or one that the training does not step meanwhile."""

    def __init__(self, config: TrainConfig, env: Any):
        self._config, self._env = config, env
        self._chunk: Any = None

    def is_candidate(self, iteration: int) -> bool:
        """Whether the policy after so many iterations may be the one that is kept."""
        return iteration >= imitation_ends(self._config)

    def better(self, policy: Policy, iteration: int, best: Selected | None) -> Selected:
        """The better of a candidate and the best so far; of equals the newer."""
        episodes, successes = self._config.selection_episodes, self._successes(policy)
        if best is not None and best.successes > successes:
            return best
        return Selected(jax.device_get(policy.arrays), iteration, successes, episodes)

    def _successes(self, policy: Policy) -> int:
        env = self._env
        if self._chunk is None:

            @jit
            def chunk(carry: Carry, arrays: Any) -> tuple[Carry, Emitted]:
                act = policy._replace(arrays=arrays).act
                return control_periods(env, carry, lambda state: env.step(state, act(state.obs)))

            self._chunk = chunk
        arrays = jax.device_get(policy.arrays)
        seed = SEED + self._config.seed
        rows = play_episodes(
            env, lambda carry: self._chunk(carry, arrays), self._config.selection_episodes, seed
        )
        return int(np.sum(rows["success"].astype(bool)))


def imitation_ends(config: TrainConfig) -> int:
    """The number of iterations that imitate."""
    return math.ceil(config.imitation_fraction * config.iterations - 1e-9)
