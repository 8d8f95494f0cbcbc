"""Position and velocity sensors from joint positions and speeds, in JAX.

MuJoCo's C engine would need a second pass over its pipeline to read them at the new state: a twelfth of a control
step, where a few fused loops over all simulations take a hundredth. A frame is kept as numbers (`robots/triples.py`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.robots.triples import Number, Quat, Triple, add, cross, minus, product, scale, subtract, turned

Array = jax.Array

_FRAMES = tuple(
    int(getattr(mujoco.mjtSensor, f"mjSENS_FRAME{name}")) for name in ("POS", "QUAT", "LINVEL", "ANGVEL")
)
_JOINTS = (int(mujoco.mjtSensor.mjSENS_JOINTPOS), int(mujoco.mjtSensor.mjSENS_JOINTVEL))
_TENDONS = (int(mujoco.mjtSensor.mjSENS_TENDONPOS), int(mujoco.mjtSensor.mjSENS_TENDONVEL))
_BODY, _SITE = int(mujoco.mjtObj.mjOBJ_XBODY), int(mujoco.mjtObj.mjOBJ_SITE)
_FREE, _BALL, _SLIDE = (int(getattr(mujoco.mjtJoint, f"mjJNT_{name}")) for name in ("FREE", "BALL", "SLIDE"))


class _Frame(NamedTuple):
    """Of a body or site in the world frame; the order is that of _FRAMES."""

    position: Triple
    quat: Quat
    linear: Triple
    angular: Triple


_WORLD = _Frame((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def covers(model: mujoco.MjModel) -> bool:
    """Whether `sensors` computes every sensor of the model."""
    return covers_early(model) and not any(_late(model, i) for i in range(model.nsensor))


def covers_early(model: mujoco.MjModel) -> bool:
    """Whether `sensors` computes every sensor of the model that speaks of positions and speeds."""
    return all(_late(model, i) or _covered(model, i) for i in range(model.nsensor))


def sensors(model: mujoco.MjModel, qpos: Array, qvel: Array, fields: dict[str, Array]) -> Array:
    """Sensordata [nsensordata] of one simulation at qpos [nq], qvel [nv]; 0 for those of accelerations and forces.

    fields: {MjModel field: its values in this simulation}, where they are not the model's.
    """
    walk = _Walk(model, qpos, qvel, fields)
    parts: list[Number] = []
    for i in range(model.nsensor):
        kind, of = model.sensor_type[i], model.sensor_objid[i]
        if _late(model, i):
            parts += [0.0] * int(model.sensor_dim[i])
        elif kind in _FRAMES:
            frame = walk.frame(model.sensor_objtype[i], of)
            if model.sensor_refid[i] >= 0:
                frame = _seen_from(walk.frame(model.sensor_reftype[i], model.sensor_refid[i]), frame)
            parts += frame[_FRAMES.index(kind)]
        elif kind in _JOINTS:
            speed = kind == _JOINTS[1]
            parts.append(qvel[model.jnt_dofadr[of]] if speed else qpos[model.jnt_qposadr[of]])
        else:
            parts.append(walk.tendon(of, speed=kind == _TENDONS[1]))
    return jnp.stack([jnp.asarray(part, jnp.float32) for part in parts]) if parts else jnp.zeros(0)


def _late(model: mujoco.MjModel, i: int) -> bool:
    return bool(model.sensor_needstage[i] == mujoco.mjtStage.mjSTAGE_ACC)


def _covered(model: mujoco.MjModel, i: int) -> bool:
    kind, of = model.sensor_type[i], model.sensor_objid[i]
    if model.sensor_cutoff[i] > 0 or model.sensor_delay[i] > 0:
        return False
    if kind in _FRAMES:
        known = _has_frame(model, model.sensor_objtype[i], of)
        seen_from = model.sensor_refid[i]
        return known and (seen_from < 0 or _has_frame(model, model.sensor_reftype[i], seen_from))
    if kind in _TENDONS:
        return bool((model.wrap_type[_wraps(model, of)] == int(mujoco.mjtWrap.mjWRAP_JOINT)).all())
    return kind in _JOINTS


def _has_frame(model: mujoco.MjModel, kind: int, of: int) -> bool:
    if kind not in (_BODY, _SITE):
        return False
    joints = _joints_above(model, of if kind == _BODY else model.site_bodyid[of])
    return _BALL not in model.jnt_type[joints]


def _joints_above(model: mujoco.MjModel, body: int) -> list[int]:
    joints: list[int] = []
    while body:
        joints += range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
        body = model.body_parentid[body]
    return joints


def _wraps(model: mujoco.MjModel, tendon: int) -> slice:
    return slice(model.tendon_adr[tendon], model.tendon_adr[tendon] + model.tendon_num[tendon])


class _Walk:
    """The frames of one simulation, each computed once, from the world outwards."""

    def __init__(self, model: mujoco.MjModel, qpos: Array, qvel: Array, fields: dict[str, Array]):
        self._model, self._qpos, self._qvel, self._fields = model, qpos, qvel, fields
        self._bodies: dict[int, _Frame] = {0: _WORLD}

    def _numbers(self, field: str, row: int) -> Any:
        """One row of a model field: floats, or arrays [] where this simulation has values of its own."""
        if field in self._fields:
            values = jnp.atleast_1d(self._fields[field][row])
            return tuple(values[i] for i in range(values.shape[0]))
        return tuple(float(x) for x in np.atleast_1d(getattr(self._model, field)[row]))

    def frame(self, kind: int, of: int) -> _Frame:
        """The frame of a body or a site."""
        if kind == _BODY:
            return self._body(of)
        body = self._body(self._model.site_bodyid[of])
        return _fixed(body, self._numbers("site_pos", of), self._numbers("site_quat", of))

    def tendon(self, tendon: int, *, speed: bool) -> Number:
        """Length or speed of a tendon that is a weighted sum of joints."""
        model, total = self._model, 0.0
        for wrap in range(*_wraps(model, tendon).indices(model.nwrap)):
            joint, (weight,) = model.wrap_objid[wrap], self._numbers("wrap_prm", wrap)
            value = self._qvel[model.jnt_dofadr[joint]] if speed else self._qpos[model.jnt_qposadr[joint]]
            total = total + weight * value
        return total

    def _body(self, body: int) -> _Frame:
        if body not in self._bodies:
            self._bodies[body] = self._child(body)
        return self._bodies[body]

    def _child(self, body: int) -> _Frame:
        model = self._model
        first, count = model.body_jntadr[body], model.body_jntnum[body]
        if count and model.jnt_type[first] == _FREE:
            return self._free(model.jnt_qposadr[first], model.jnt_dofadr[first])
        parent = self._body(model.body_parentid[body])
        frame = _fixed(parent, self._numbers("body_pos", body), self._numbers("body_quat", body))
        for joint in range(first, first + count):
            frame = self._moved(frame, joint)
        return frame

    def _free(self, at: int, dof: int) -> _Frame:
        x, y, z = self._qpos[at : at + 3]
        turn = self._qpos[at + 3 : at + 7]
        qw, qx, qy, qz = turn / jnp.linalg.norm(turn)
        vx, vy, vz, wx, wy, wz = self._qvel[dof : dof + 6]
        return _Frame((x, y, z), (qw, qx, qy, qz), (vx, vy, vz), turned((qw, qx, qy, qz), (wx, wy, wz)))

    def _moved(self, frame: _Frame, joint: int) -> _Frame:
        """The frame after one hinge or slide."""
        model = self._model
        at, dof = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        (zero,) = self._numbers("qpos0", at)
        value, speed = minus(self._qpos[at], zero), self._qvel[dof]
        axis = self._numbers("jnt_axis", joint)
        along = turned(frame.quat, axis)
        if model.jnt_type[joint] == _SLIDE:
            position = add(frame.position, scale(value, along))
            linear = add(frame.linear, cross(frame.angular, scale(value, along)))
            return frame._replace(position=position, linear=add(linear, scale(speed, along)))
        pin = self._numbers("jnt_pos", joint)
        anchor = add(frame.position, turned(frame.quat, pin))
        half = 0.5 * value
        quat = product(frame.quat, (jnp.cos(half), *scale(jnp.sin(half), axis)))
        position = subtract(anchor, turned(quat, pin))
        angular = add(frame.angular, scale(speed, along))
        at_anchor = add(frame.linear, cross(frame.angular, subtract(anchor, frame.position)))
        arm = subtract(position, anchor)
        return _Frame(position, quat, add(at_anchor, cross(angular, arm)), angular)


def _fixed(parent: _Frame, offset: Triple, quat: Quat) -> _Frame:
    """A frame that is fixed in another one."""
    arm = turned(parent.quat, offset)
    linear = add(parent.linear, cross(parent.angular, arm))
    return _Frame(add(parent.position, arm), product(parent.quat, quat), linear, parent.angular)


def _seen_from(base: _Frame, frame: _Frame) -> _Frame:
    """A frame as seen from another one, which may move."""
    back = (base.quat[0], *scale(-1.0, base.quat[1:]))
    arm = subtract(frame.position, base.position)
    carried = add(base.linear, cross(base.angular, arm))
    return _Frame(
        turned(back, arm),
        product(back, frame.quat),
        turned(back, subtract(frame.linear, carried)),
        turned(back, subtract(frame.angular, base.angular)),
    )
