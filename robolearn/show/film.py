"""Keeps a few successes and failures of many episodes that are played at once, to be watched as videos.

What is filmed are postures, not pictures: they cost little while the episodes are played, and only the few that
are kept are ever rendered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from robolearn.show.render import (
    POSED_FIELDS,
    Progress,
    SceneRenderer,
    periods_per_picture,
    scene_renderer,
    write_video,
)

if TYPE_CHECKING:
    from robolearn.env.vec_env import VecEnv

PAUSE_S = 0.5  # an episode's last picture stands still, so that one sees where the next begins


class Clip(NamedTuple):
    """One episode: qpos [T, nq] before each control period; the goal; model fields drawn for it."""

    order: int
    qpos: np.ndarray
    goal: dict[str, np.ndarray]
    fields: dict[str, np.ndarray]


def shown_of(state: Any) -> dict[str, Any]:
    """What a film needs of N environments in one control period."""
    fields = {name: state.fields[name] for name in POSED_FIELDS if name in state.fields}
    return {"qpos": state.physics.qpos, "goal": state.goal, "fields": fields}


class Film:
    """The first `count` successes and the first `count` failures, in the order of the episodes, not of their ends."""

    def __init__(self, count: int = 4):
        self.count = count
        self.clips: dict[str, list[Clip]] = {"success": [], "failure": []}
        self._qpos: list[np.ndarray] = []
        self._shown: dict[str, Any] = {}

    def push(self, shown: Any, episode_steps: int) -> None:
        """What `shown_of` says of some further control periods, [T, N, ...]; older than an episode is forgotten."""
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

    def write(self, env: VecEnv, kind: str, path: Path, progress: Progress | None = None) -> bool:
        """Write the kept episodes of a kind, `success` or `failure`, as mp4; False where there are none."""
        if not self.clips[kind]:
            return False
        every = periods_per_picture(env.control_hz)
        fps = env.control_hz / every
        with scene_renderer(env, plain=True) as renderer:
            write_video(self._frames(renderer, kind, every, round(PAUSE_S * fps), progress), path, fps)
        return True

    def _frames(
        self, renderer: SceneRenderer, kind: str, every: int, pause: int, progress: Progress | None
    ) -> Iterator[np.ndarray]:
        """One picture in so many control periods, the last one of each episode among them and repeated."""
        shown = [(clip, clip.qpos[::-every][::-1]) for clip in self.clips[kind]]
        done, total = 0, sum(len(postures) for _, postures in shown)
        for clip, postures in shown:
            frame = np.empty(0)
            for qpos in postures:
                frame = renderer.draw(qpos, clip.fields, clip.goal)
                yield frame
                done += 1
                if progress is not None:
                    progress(f"{kind} video", done, total)
            yield from [frame] * pause
