"""Distances between parts of the arm, and between the arm and the cell, measured only when that matters."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.safety import comparisons
from robolearn.safety.types import Vector

_FAR_M = 10.0  # distances are measured up to here
_ROUNDING_M = 1e-6  # of a measured distance, more than its own
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
        self._seen_m, self._seen_at = self._clearance_m.copy(), self._at.copy()  # by `nearest`

    def distances(self) -> Vector:
        """[k] m, of every pair at the posture that the model was put in last; negative where they overlap."""
        measured = [
            mujoco.mj_geomDistance(self._model, self._data, *pair, _FAR_M, None) for pair in self._geoms
        ]
        return np.array(measured) - (self._taken - self.needed_m)

    def nearest(self, pairs: NDArray[np.intp], joints_rad: Vector) -> tuple[int, float]:
        """Of some pairs the first of those with the least of `distances`, and that; only what can be it is measured.

        joints_rad: [n], the posture that the model was put in last.
        """
        way = np.vecdot(self._reach[pairs], np.abs(joints_rad - self._seen_at[pairs]))
        bounds = self._seen_m[pairs] - way - _ROUNDING_M
        found = np.inf, -1
        for bound, pair in sorted(zip(bounds.tolist(), pairs.tolist(), strict=True)):
            if bound > found[0]:
                break
            measured = mujoco.mj_geomDistance(self._model, self._data, *self._geoms[pair], _FAR_M, None)
            distance = measured - (self._taken[pair] - self.needed_m[pair])
            self._seen_m[pair], self._seen_at[pair] = distance, joints_rad
            found = min(found, (float(distance), pair))
        return found[1], found[0]

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
