"""Constants that follow drawn masses, inertias, centres of mass, armatures and sizes, computed in JAX.

`mj_setConst` computes them one simulation at a time, on the host. Here they are of all simulations at once and on the
device, so that a restart does not leave it. At qpos0 the Jacobians of the bodies do not depend on what is drawn, but
for the centres of mass, which they follow linearly; the joint-space inertia and the inverse weights follow from them:

    M = sum over bodies of (m Jc^T Jc + Jr^T I Jr) + armature,   invweight = mean of the diagonal of J M^-1 J^T
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.errors import PhysicsError
from robolearn.sim.constants import DRAWN, INPUTS, derived_names

Array = jax.Array

_FOLLOWED = {"body_mass", "body_inertia", "body_ipos", "dof_armature", "geom_size"}
_WITHOUT_EFFECT = {"body_gravcomp", "geom_pos", "site_pos"}  # on the constants of constants.py
_GEOM = mujoco.mjtGeom
_TINY = 1e-15  # mjMINVAL


class DerivedConstants:
    """What `mj_setConst` would compute for one simulation of a model, from its drawn fields."""

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        data = mujoco.MjData(model)  # at qpos0
        mujoco.mj_fwdPosition(model, data)
        self._linear = np.zeros((model.nbody, 3, model.nv))
        self._angular = np.zeros((model.nbody, 3, model.nv))
        for body in range(model.nbody):
            mujoco.mj_jacBody(model, data, self._linear[body], self._angular[body], body)
        self._turn = data.xmat.reshape(-1, 3, 3).copy()
        principal = np.zeros((model.nbody, 9))
        for body in range(model.nbody):
            mujoco.mju_quat2Mat(principal[body], model.body_iquat[body])
        self._principal = self._turn @ principal.reshape(-1, 3, 3)
        self._below = _below(model)
        self._tendon = np.zeros((model.ntendon, model.nv))
        if model.ntendon:
            mujoco.mju_sparse2dense(
                self._tendon, data.ten_J, model.ten_J_rownnz, model.ten_J_rowadr, model.ten_J_colind
            )
        self._moment = np.zeros((model.nu, model.nv))
        if model.nu:
            mujoco.mju_sparse2dense(
                self._moment, data.actuator_moment, data.moment_rownnz, data.moment_rowadr, data.moment_colind
            )
        full = np.zeros((model.nv, model.nv))
        mujoco.mj_fullM(model, data, full)
        drawn = {name: jnp.asarray(getattr(model, name)) for name in _FOLLOWED}
        # What else MuJoCo adds to the inertia, such as the armature of tendons, is not drawn.
        self._rest = full - np.asarray(
            self._inertia({name: np.asarray(v) for name, v in drawn.items()}, np)[0]
        )

    @jax.default_matmul_precision("highest")  # some devices round products of float32 to half as many digits
    def __call__(self, fields: Mapping[str, Array]) -> dict[str, Array]:
        """Constants of one simulation, {name: as in MjModel}, float32.

        Raises PhysicsError for a field that it cannot follow.
        """
        model = self._model
        names = derived_names(model, fields)
        unknown = (INPUTS & set(fields)) - _FOLLOWED - _WITHOUT_EFFECT - {DRAWN}
        if unknown:
            raise PhysicsError(
                f"This engine cannot follow {', '.join(sorted(unknown))} from one simulation to the next: "
                "use the native engine."
            )
        if not names:
            return {}
        now = {name: fields.get(name, jnp.asarray(getattr(model, name), jnp.float32)) for name in _FOLLOWED}
        mass_matrix, linear = self._inertia(now, jnp)
        inverse = jnp.linalg.inv(mass_matrix + jnp.asarray(self._rest, jnp.float32))
        found = {
            "body_subtreemass": jnp.asarray(self._below, jnp.float32) @ now["body_mass"],
            "body_invweight0": self._of_bodies(linear, inverse),
            "dof_invweight0": self._of_dofs(inverse),
            "tendon_invweight0": _weights(jnp.asarray(self._tendon, jnp.float32), inverse),
            "actuator_acc0": jnp.linalg.norm(jnp.asarray(self._moment, jnp.float32) @ inverse, axis=-1),
        }
        if "geom_size" in fields:
            found |= self._of_geoms(now["geom_size"])
        return {name: found[name] for name in names}

    def _inertia(self, now: Mapping[str, Any], xp: Any) -> tuple[Any, Any]:
        """Joint-space inertia [nv, nv] of bodies and armature, and the Jacobians of the centres of mass [nb, 3, nv]."""
        offset = xp.einsum("bij,bj->bi", self._turn, now["body_ipos"])
        # the velocity of a point at an offset: v + w x r
        linear = xp.asarray(self._linear) + xp.cross(
            xp.swapaxes(xp.asarray(self._angular), 1, 2), offset[:, None, :]
        ).swapaxes(1, 2)
        spin = xp.einsum("bij,bik->bjk", self._principal, self._angular)  # in principal axes
        matrix = xp.einsum("b,bik,bil->kl", now["body_mass"], linear, linear)
        matrix = matrix + xp.einsum("bi,bik,bil->kl", now["body_inertia"], spin, spin)
        return matrix + xp.diag(now["dof_armature"]), linear

    def _of_bodies(self, linear: Array, inverse: Array) -> Array:
        """Inverse weights [nb, 2] for translation and rotation; 0 of what cannot move."""
        angular = jnp.asarray(self._angular, jnp.float32)
        both = jnp.stack(
            [_weights(jacobian, inverse).mean(axis=-1) for jacobian in (linear, angular)], axis=-1
        )
        both = jnp.where(both < _TINY, both[:, ::-1], both)  # a body that only turns, or only slides
        return both * jnp.asarray(self._model.body_weldid > 0, jnp.float32)[:, None]

    def _of_dofs(self, inverse: Array) -> Array:
        """Inverse weights [nv]: of a free or ball joint the mean of its three directions, or turns."""
        model, dofs = self._model, np.arange(self._model.nv)
        diagonal = inverse[dofs, dofs]  # jnp.diag is a branch by platform
        mean = np.eye(model.nv)
        for joint in range(model.njnt):
            first, kind = model.jnt_dofadr[joint], model.jnt_type[joint]
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                starts = [first, first + 3]
            else:
                starts = [first] if kind == mujoco.mjtJoint.mjJNT_BALL else []
            for start in starts:
                mean[start : start + 3, start : start + 3] = 1.0 / 3.0
        return jnp.asarray(mean, jnp.float32) @ diagonal

    def _of_geoms(self, size: Array) -> dict[str, Array]:
        """Bounding radius [ng] and box [ng, 6] of primitive geoms; of others those of the model."""
        model, (a, b, c) = self._model, size.T
        zero = jnp.zeros_like(a)
        halves = {
            _GEOM.mjGEOM_SPHERE: (a, a, a, a),
            _GEOM.mjGEOM_CAPSULE: (a + b, a, a, a + b),
            _GEOM.mjGEOM_CYLINDER: (jnp.sqrt(a * a + b * b), a, a, b),
            _GEOM.mjGEOM_BOX: (jnp.sqrt(a * a + b * b + c * c), a, b, c),
            _GEOM.mjGEOM_ELLIPSOID: (jnp.maximum(jnp.maximum(a, b), c), a, b, c),
        }
        radius = jnp.asarray(model.geom_rbound, jnp.float32)
        box = jnp.asarray(model.geom_aabb, jnp.float32).reshape(-1, 6)
        for kind, (reach, x, y, z) in halves.items():
            of_kind = model.geom_type == int(kind)
            radius = jnp.where(of_kind, reach, radius)
            box = jnp.where(of_kind[:, None], jnp.stack([zero, zero, zero, x, y, z], axis=-1), box)
        return {"geom_rbound": radius, "geom_aabb": box.reshape(model.geom_aabb.shape)}


def _weights(jacobian: Array, inverse: Array) -> Array:
    """The diagonal of J M^-1 J^T, [..., rows] of J [..., rows, nv]."""
    return jnp.sum((jacobian @ inverse) * jacobian, axis=-1)


def _below(model: mujoco.MjModel) -> np.ndarray:
    """[nb, nb]: 1 where the second body is the first or moves with it, from the base outwards."""
    below = np.eye(model.nbody)
    for body in range(model.nbody - 1, 0, -1):
        below[model.body_parentid[body]] += below[body]
    return below
