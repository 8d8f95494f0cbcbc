"""Distances between parts of the arm, and between the arm and the cell, measured only when that matters."""

from __future__ import annotations

import mujoco
import numpy as np

from robolearn.safety.types import Vector

_FAR_M = 10.0  # distances are measured up to here


class Gaps:
    """Distances between pairs of parts, measured again only when the joints have moved so far that it matters.

    names, geoms: k pairs.  reach: [k, n] m, how fast each joint can change a distance.  slack: [k] m, taken off.
    What is answered does not depend on what was measured when: a pair that its bound does not clear is measured.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        names: list[str],
        geoms: list[tuple[int, int]],
        reach: Vector,
        slack: Vector,
    ):
        self._model, self._data, self.names, self._geoms = model, data, names, geoms
        self._reach, self._slack = reach, slack
        self._distance = np.full(len(geoms), -np.inf)
        self._at = np.zeros((len(geoms), reach.shape[1]))

    def least(self, joints_rad: Vector, swing: Vector, needed_m: float) -> tuple[int, float] | None:
        """The pair, and its distance m, that may come nearer than needed_m; None if none can.

        joints_rad: [n], the posture that the model was put in last.  swing: [n] rad, how far each joint may go.
        """
        if not self._geoms:
            return None
        near = (
            self._distance - np.einsum("kn,kn->k", self._reach, np.abs(joints_rad - self._at) + swing)
            < needed_m
        )
        if not near.any():
            return None
        for k in np.flatnonzero(near):
            first, second = self._geoms[k]
            distance = mujoco.mj_geomDistance(self._model, self._data, first, second, _FAR_M, None)
            self._distance[k], self._at[k] = distance - self._slack[k], joints_rad
        room = np.where(near, self._distance - self._reach @ swing, np.inf)
        worst = int(np.argmin(room))
        return (worst, float(room[worst])) if room[worst] < needed_m else None
