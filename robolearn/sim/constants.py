"""Model fields that differ between simulations, and the constants that MuJoCo derives from them.

MuJoCo's compiler computes from masses, inertias, sizes and positions further constants that the engines use, such
as the inverse weights that scale contact forces. After a draw of domain randomisation they must follow, or contacts
would be solved with the wrong scaling. `mj_setConst` computes them, one simulation at a time, for the native engine, in
its own rows. The MJX engines get the same numbers at an episode's start from `derived.py`, on the device.

| constant                          | follows                          | used for                                 |
|-----------------------------------|----------------------------------|------------------------------------------|
| body_subtreemass                  | masses                           | centre of mass of a subtree (MJX)        |
| body_invweight0, dof_invweight0   | masses, inertias, armature, size | scaling of contacts, limits, friction    |
| tendon_invweight0                 | masses, inertias, armature       | scaling of tendon limits and ties        |
| actuator_acc0                     | masses, inertias, armature, gear | muscles                                  |
| geom_rbound, geom_aabb            | geom sizes                       | which pairs are looked at for a contact  |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from mujoco.batch import Batch

from robolearn.errors import PhysicsError

# An entry of fields, [N, 2] uint32: the key that the values of a simulation were drawn with. Equal keys mean equal
# values, which spares a comparison of all of them in every step.
DRAWN = "drawn"
_BLOCK = 128  # simulations of which one field is compared nevertheless, in a step
_INERTIAL = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_invweight0", "actuator_acc0")
_SIZES = ("geom_rbound", "geom_aabb")
INPUTS = frozenset(mujoco.MjModel._setconst_inputs)


def derived_names(model: mujoco.MjModel, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The constants that follow the named fields."""
    if not INPUTS & set(fields):
        return ()
    names = _INERTIAL + (_SIZES if "geom_size" in fields else ())
    return tuple(name for name in names if getattr(model, name).size)


class FieldRows:
    """Model fields by simulation in a batch; written only where they changed."""

    def __init__(self, batch: Batch):
        self._batch = batch
        self._seen: dict[str, np.ndarray] = {}
        self._drawn = np.zeros(batch.nsim, np.uint64)
        self._turn = 0
        self._own_names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def load(self, fields: Mapping[str, Any]) -> None:
        """Write values {name: [N, ...]} into the batch and recompute constants of the rows that changed.

        Derived constants among the fields are skipped: the batch has its own. Raises PhysicsError where values
        changed and their key did not; calls look by turns at each field of each block of simulations.
        """
        own = self._own(fields)
        if DRAWN in fields:
            changed = _keys(fields) != self._drawn
            name, block = self._next([*own])
            if (self._differs({name: own[name]}, block) & ~changed[block]).any():
                raise PhysicsError(
                    f"{name} of a simulation changed, but the key of its draw, fields['{DRAWN}'], did not: "
                    "give changed values another key."
                )
        else:
            changed = self._differs(own, slice(None))
        if changed.any():
            rows = np.flatnonzero(changed)
            self.put(rows, {name: values[rows] for name, values in fields.items()})

    def _next(self, names: list[str]) -> tuple[str, slice]:
        """The field, and the block of simulations, whose turn it is to be compared."""
        turn, field = divmod(self._turn, len(names))
        self._turn += 1
        first = turn * _BLOCK % (self._batch.nsim + -self._batch.nsim % _BLOCK)
        return names[field], slice(first, first + _BLOCK)

    def _differs(self, own: Mapping[str, np.ndarray], block: slice) -> np.ndarray:
        """Which simulations of a block have values {name: [N, ...]} other than the batch's last, bool."""
        differs = np.zeros(len(range(*block.indices(self._batch.nsim))), bool)
        for name, values in own.items():
            now, seen = values[block], self._last(name)[block]
            if not np.array_equal(now, seen):
                differs |= (now != seen).reshape(len(now), -1).any(axis=1)
        return differs

    def put(self, rows: np.ndarray, fields: Mapping[str, Any]) -> None:
        """Write values {name: [K, ...]} into rows [K] of the batch and recompute their constants."""
        own = self._own(fields)
        if not own or not rows.size:
            return
        self._drawn[rows] = _keys(fields) if DRAWN in fields else 0
        for name, values in own.items():
            self._last(name)[rows] = values
            self._batch.expand(name)[rows] = values
        if INPUTS & set(own):
            self._batch.set_const(rows)

    def _own(self, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        given = tuple(fields)
        if given not in self._own_names:
            others = {DRAWN, *derived_names(self._batch.model, fields)}
            self._own_names[given] = tuple(name for name in given if name not in others)
        return {name: np.asarray(fields[name]) for name in self._own_names[given]}

    def _last(self, name: str) -> np.ndarray:
        """What the batch was given last, [N, ...]; nan, which equals nothing, before the first time."""
        if name not in self._seen:
            shape = self._batch.expand(name).shape
            self._seen[name] = np.full(shape, np.nan, np.float32)
        return self._seen[name]


def _keys(fields: Mapping[str, Any]) -> np.ndarray:
    """The keys of the draws [N] as numbers; 0 is none."""
    return np.ascontiguousarray(fields[DRAWN]).view(np.uint64)[:, 0]
