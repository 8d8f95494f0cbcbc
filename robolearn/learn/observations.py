"""What a policy observed in the first episode of each environment, while many episodes are played at once."""

from __future__ import annotations

import numpy as np

from robolearn.policy.ood import OodModel, fit_ood


class EpisodeObservations:
    """Observations of whole episodes: every environment's first one, so that none counts twice."""

    def __init__(self) -> None:
        self._observed: list[np.ndarray] = []
        self._running: list[np.ndarray] = []
        self._going_on: np.ndarray | None = None

    def push(self, observed: np.ndarray, done: np.ndarray, episodes: int) -> None:
        """Some further control periods: observed [T, N, D] before each of them, done [T, N] after it.

        episodes: of how many the evaluation is; environments that only fill up the batch are left out.
        """
        observed, done = observed[:, :episodes], done[:, :episodes]
        going_on = np.ones(done.shape[1], bool) if self._going_on is None else self._going_on
        if not going_on.any():
            return
        ended = np.cumsum(done, 0) > 0
        ended_before = np.vstack([np.zeros_like(ended[:1]), ended[:-1]])
        self._running.append(going_on & ~ended_before)
        self._observed.append(observed.astype(np.float32))
        self._going_on = going_on & ~ended[-1]

    def fit(self, episode_s: float) -> OodModel | None:
        """The out-of-distribution score of these episodes; None where they are too few, or unfinished."""
        if not self._observed:
            return None
        return fit_ood(np.concatenate(self._observed), np.concatenate(self._running), episode_s)
