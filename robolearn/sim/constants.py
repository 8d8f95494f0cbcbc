"""Model fields that differ between simulations, and the constants that MuJoCo derives from them.

MuJoCo's compiler computes from masses, inertias, sizes and positions further constants that the engines use, such
as the inverse weights that scale contact forces. After a draw of domain randomisation they must follow, or contacts
would be solved with the wrong scaling. `mj_setConst` computes them, one simulation at a time, here for every engine:
the native engine has them in its own rows, and the MJX engines get the same numbers.

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

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco.batch import Batch

_INERTIAL = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_invweight0", "actuator_acc0")
_SIZES = ("geom_rbound", "geom_aabb")
_INPUTS = frozenset(mujoco.MjModel._setconst_inputs)


def derived_names(model: mujoco.MjModel, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The constants that follow the named fields."""
    if not _INPUTS & set(fields):
        return ()
    names = _INERTIAL + (_SIZES if "geom_size" in fields else ())
    return tuple(name for name in names if getattr(model, name).size)


class FieldRows:
    """Model fields by simulation in a batch; written only where they changed."""

    def __init__(self, batch: Batch):
        self._batch = batch
        self._seen: dict[str, np.ndarray] = {}

    def load(self, fields: Mapping[str, Any], mask: np.ndarray | None = None) -> None:
        """Write values {name: [N, ...]} into the batch and recompute constants of the rows that changed.

        mask [N]: rows to look at; the others keep what they have. Derived constants among the fields are skipped:
        the batch has its own.
        """
        if not fields:
            return
        derived = derived_names(self._batch.model, fields)
        changed = np.zeros(self._batch.nsim, bool)
        for name, values in fields.items():
            if name in derived:
                continue
            new = np.asarray(values)
            rows = self._changed(name, new)
            if mask is not None:
                rows &= mask
            if rows.any():
                self._batch.expand(name)[rows] = new[rows]
                self._seen[name][rows] = new[rows]
                if name in _INPUTS:
                    changed |= rows
        if changed.any():
            self._batch.set_const(np.flatnonzero(changed))

    def shapes(self, fields: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of what `derived` returns, float32."""
        model = self._batch.model
        return {
            name: jax.ShapeDtypeStruct((self._batch.nsim, *getattr(model, name).shape), jnp.float32)
            for name in derived_names(model, fields)
        }

    def derived(self, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The constants that follow the fields, {name: [N, ...]} float32, as the batch holds them now."""
        model, result = self._batch.model, {}
        for name in derived_names(model, fields):
            own = self._batch.expanded(name)
            values = getattr(model, name) if own is None else own
            shape = (self._batch.nsim, *getattr(model, name).shape)
            result[name] = np.array(np.broadcast_to(values, shape), np.float32)
        return result

    def _changed(self, name: str, new: np.ndarray) -> np.ndarray:
        old = self._seen.get(name)
        if old is None:
            old = self._seen[name] = np.full(
                new.shape, np.nan, np.float32
            )  # equal to nothing: all are written
        if np.array_equal(new, old):
            return np.zeros(len(new), bool)
        return (new != old).reshape(len(new), -1).any(axis=1)
