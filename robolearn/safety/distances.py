"""Distances between parts of the arm, and between the arm and the cell, measured only when that matters."""

from __future__ import annotations

import mujoco
import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.types import Vector

_FAR_M = 10.0  # distances are measured up to here
_SOON_M = 0.01  # pairs with less clearance than this to spare are measured together


class Gaps:
    """Distances between pairs of parts, measured again only when the joints have moved so far that it matters.

    names, geoms: k pairs.  reach: [k, n] m, how fast each joint can change a distance.  slack: [k] m, taken off.
    needed: [k] m, the distance that is to be left.
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
        needed: Vector,
    ):
        self._model, self._data, self.names, self._geoms = model, data, names, geoms
        self._reach, self._taken, self.needed_m = reach, slack + needed, needed
        self._clearance_m = np.full(len(geoms), -np.inf)  # beyond what is needed, when it was measured
        self._at = np.zeros((len(geoms), reach.shape[1]))  # joints, rad, where it was measured
        # what is left of each clearance at one posture: all of them are compared with the way from there in one go
        self._left, self._left_at = self._clearance_m.copy(), np.zeros(reach.shape[1])

    def distances(self) -> Vector:
        """[k] m, of every pair at the posture that the model was put in last; negative where they overlap."""
        measured = [
            mujoco.mj_geomDistance(self._model, self._data, *pair, _FAR_M, None) for pair in self._geoms
        ]
        return np.array(measured) - (self._taken - self.needed_m)

    def least(self, joints_rad: Vector, swing: Vector) -> tuple[int, float] | None:
        """The pair that may come nearest to what it needs, and its distance m; None if all keep what they need.

        joints_rad: [n], the posture that the model was put in last.  swing: [n] rad, how far each joint may go.
        """
        if comparisons.every(self._left >= self._reach @ (np.abs(joints_rad - self._left_at) + swing)):
            return None
        way = np.vecdot(self._reach, np.abs(joints_rad - self._at))
        needed = self._reach @ swing
        clear = self._clearance_m - way >= needed + _SOON_M
        near = np.flatnonzero(~clear)
        self._clearance_m[near] = [
            mujoco.mj_geomDistance(self._model, self._data, *self._geoms[k], _FAR_M, None)
            for k in near.tolist()
        ]
        self._clearance_m[near] -= self._taken[near]
        self._at[near], way[near] = joints_rad, 0.0
        self._left, self._left_at = self._clearance_m - way, joints_rad.copy()
        clearance_m = np.where(clear, np.inf, self._clearance_m - needed)
        worst = int(np.argmin(clearance_m))
        if clearance_m[worst] >= 0.0:
            return None
        return worst, float(clearance_m[worst] + self.needed_m[worst])
