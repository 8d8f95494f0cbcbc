"""The postures of a few successes and failures among many episodes that are played at once.

Postures cost little while the episodes are played; only the few that are kept are rendered (`robolearn.show.film`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from robolearn.sim.render import POSED_FIELDS


class Clip(NamedTuple):
    """One episode: qpos [T, nq] before each control period; the goal; model fields drawn for it."""

    order: int
    qpos: np.ndarray
    goal: dict[str, np.ndarray]
    fields: dict[str, np.ndarray]


def posture_of(state: Any) -> dict[str, Any]:
    """What a picture needs of N environments in one control period."""
    fields = {name: state.fields[name] for name in POSED_FIELDS if name in state.fields}
    return {"qpos": state.physics.qpos, "goal": state.goal, "fields": fields}


class EpisodeClips:
    """The first `count` successes and the first `count` failures, in the order of the episodes, not of their ends."""

    def __init__(self, count: int = 4):
        self.count = count
        self.clips: dict[str, list[Clip]] = {"success": [], "failure": []}
        self._qpos: list[np.ndarray] = []
        self._shown: dict[str, Any] = {}

    def push(self, shown: Any, episode_steps: int) -> None:
        """What `posture_of` says of some further control periods, [T, N, ...]; older than an episode is forgotten."""
        self._shown = shown
        self._qpos.append(shown["qpos"])
        while sum(map(len, self._qpos[1:-1])) >= episode_steps:
            self._qpos.pop(0)

    def keep(self, order: int, success: bool, step: int, index: int, length: int) -> None:
        """Episode number `order` ended in row `step` of the newest rows, in environment `index`, after `length`."""
        clips = self.clips["success" if success else "failure"]
        if len(clips) >= self.count and order > clips[-1].order:
            return
        end = sum(map(len, self._qpos[:-1])) + step + 1
        qpos = np.concatenate([rows[:, index] for rows in self._qpos])[end - length : end]
        rest = {name: self._shown[name] for name in ("goal", "fields")}
        rest = jax.tree.map(lambda value: value[step, index].copy(), rest)
        clips.append(Clip(order, qpos, rest["goal"], rest["fields"]))
        clips.sort(key=lambda clip: clip.order)
        del clips[self.count :]
