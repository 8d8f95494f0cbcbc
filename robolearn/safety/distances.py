"""Distances between parts of the arm, and between the arm and the cell, measured only when that matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.safety import comparisons
from robolearn.safety.types import Vector

if TYPE_CHECKING:
    from robolearn.safety.arm_model import ArmModel

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

    def nearest(
        self, pairs: NDArray[np.intp], joints_rad: Vector, below_m: float = np.inf
    ) -> tuple[int, float] | None:
        """Of some pairs the first of those with the least of `distances`, and that; None if it is not below below_m.

        Only what can be it is measured.  joints_rad: [n], the posture that the model was put in last.
        """
        way = np.vecdot(self._reach[pairs], np.abs(joints_rad - self._seen_at[pairs]))
        bounds = self._seen_m[pairs] - way - _ROUNDING_M
        found = below_m, -1
        for at in np.argsort(bounds, kind="stable").tolist():
            if bounds[at] > found[0]:
                break
            pair = int(pairs[at])
            measured = mujoco.mj_geomDistance(self._model, self._data, *self._geoms[pair], _FAR_M, None)
            distance = float(measured - (self._taken[pair] - self.needed_m[pair]))
            self._seen_m[pair], self._seen_at[pair] = distance, joints_rad
            if distance < found[0] or (distance == found[0] and pair < found[1]):
                found = distance, pair
        return (found[1], found[0]) if found[1] >= 0 else None

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

    def clear_along(self, arm: ArmModel, path_rad: Vector, swing: Vector) -> NDArray[np.bool_]:
        """[m]: where `least` finds none along a path [m, n] with a swing [m, n] at each sample; some may be left out.

        arm: the one that these are the gaps of; it is put in some of the postures.
        """
        clear = np.zeros(len(path_rad), dtype=bool)
        at = 0
        while at < len(path_rad):
            arm.posture(path_rad[at])
            clear[at] = self.least(path_rad[at], swing[at]) is None
            way = np.abs(path_rad[at + 1 :] - self._left_at) + swing[at + 1 :]
            enough = np.all(self._left >= way @ self._reach.T + _ROUNDING_M, axis=1)
            stretch = int(np.argmin([*enough, False]))  # up to the first that it does not reach
            clear[at + 1 : at + 1 + stretch] = True
            at += 1 + stretch
        return clear
