"""Friction of an arm's joints in one log, from how far they lag and from their torque.

A least-squares fit over the time in which a joint moves: of the tracking error on the direction of motion, speed,
acceleration, the model's inertial and gravity torques and a constant; where effort in Nm was recorded, of the effort as
well. The term of the direction is Coulomb friction: over the servo's stiffness, in rad, or in Nm.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.data.motion import Motion
from robolearn.errors import DataError
from robolearn.robots import Robot

Array = NDArray[np.float64]

# Speed below which a joint does not move: at rest friction holds it anywhere within its reach.
SIGN_RAD_S = 0.02
LAG_MAX_S = 0.1
MOVING_S = 2.0  # each way, in every log: less does not tell friction from an offset
_TERMS = ("coulomb", "viscous", "armature", "inertia", "gravity", "offset")
# Friction, and what is held against the first logs: a load that changes leaves these as they are.
FRICTION_TERMS = ("coulomb", "viscous", "armature", "inertia")
_EVERY = 10  # samples between two for which the model's torques are computed


@dataclass(frozen=True)
class Terms:
    """Friction and the terms beside it, `FRICTION_TERMS`, of each joint: values [n, 4] and covariances [n, 4, 4].

    NaN where the joint moved too little.
    """

    values: Array
    covariance: Array


@dataclass(frozen=True)
class Features:
    """One log. coulomb_rad: [n], NaN where the joint moved too little. gravity: [n], torque over the model's gravity
    torque, NaN without effort in Nm or where gravity hardly changes. tracking_rms_rad: [n]. coulomb_nm: [n], the
    friction in the effort; NaN as those of coulomb_rad and without effort in Nm. in_tracking, in_effort: both with what
    was fitted beside them.
    """

    source: str
    start_utc: str | None
    coulomb_rad: Array
    tracking_rms_rad: Array
    gravity: Array
    coulomb_nm: Array | None = None
    in_tracking: Terms | None = None
    in_effort: Terms | None = None


def features(motion: Motion, robot: Robot, model: mujoco.MjModel | None = None) -> Features:
    """The friction terms of one log. model: of the robot, compiled here if not given.

    Raises DataError where the log lacks a joint of the arm.
    """
    motion = motion.for_joints(tuple(robot.joint_names))
    model = model or robot.spec(None).compile()
    time = motion.measured.time_s
    inside = (time >= motion.command.time_s[0]) & (time <= motion.command.time_s[-1])
    time, measured = time[inside], motion.measured.values["position_rad"][inside]
    if len(time) < 100:
        raise DataError(
            f"{motion.source}: commands and measurements overlap in {len(time)} samples, too few to fit."
        )
    sent = np.stack(
        [np.interp(time, motion.command.time_s, q) for q in motion.command.values["position_rad"].T], 1
    )
    effort = motion.measured.values.get("effort") if motion.effort_unit == "Nm" else None
    error, n = sent - measured, robot.dof
    load = np.full(n, np.nan)
    in_tracking, in_effort = (no_terms(n) for _ in range(2))
    # An arm is where it was sent a lag ago: there its torques are taken, and there the direction of motion changes.
    lag = _lag(sent, error, time)
    sent = np.stack([np.interp(time - lag, time, column) for column in sent.T], 1)
    speed = _slope(sent, time)
    acceleration = _slope(speed, time)
    torques = model_torques(model, robot, sent, speed, acceleration)
    inertia, gravity = torques.inertia, torques.gravity
    step = np.gradient(time)
    for j in range(n):
        ways = [float(step[sign * speed[:, j] > SIGN_RAD_S].sum()) for sign in (1, -1)]
        if min(ways) < MOVING_S:
            continue
        rows = np.abs(speed[:, j]) > SIGN_RAD_S
        columns = (speed, acceleration, inertia, gravity)
        terms = np.stack(
            [np.sign(speed[rows, j]), *(column[rows, j] for column in columns), np.ones(int(rows.sum()))], 1
        )
        # A load that changed is no friction: what one at the TCP would take is fitted beside it.
        carried = np.stack([torques.weight[rows, j], torques.weight_inertia[rows, j]], 1)
        both = np.hstack([terms, carried])
        in_tracking.values[j], in_tracking.covariance[j] = _friction(both, error[rows, j])
        if effort is not None:
            felt = effort[inside][rows, j]
            in_effort.values[j], in_effort.covariance[j] = _friction(both, felt)
            if gravity[:, j].std() > 0.5:
                load[j] = _fit(terms, felt)[_TERMS.index("gravity")]
    rms = np.sqrt((error**2).mean(0))
    return Features(
        motion.source, motion.start_utc, in_tracking.values[:, 0].copy(), rms, load, in_effort.values[:, 0].copy(),
        in_tracking, in_effort,
    )  # fmt: skip


def no_terms(n: int) -> Terms:
    """Of n joints that moved too little."""
    size = len(FRICTION_TERMS)
    return Terms(np.full((n, size), np.nan), np.full((n, size, size), np.nan))


def _lag(sent: Array, error: Array, time: Array) -> float:
    """How far an arm is behind its command, s: the median over the joints that move."""
    speed = _slope(sent, time)
    found = []
    for j in np.flatnonzero(np.abs(speed).max(0) > SIGN_RAD_S):
        rows = np.abs(speed[:, j]) > SIGN_RAD_S
        terms = np.stack([np.sign(speed[rows, j]), speed[rows, j], np.ones(int(rows.sum()))], 1)
        found.append(_fit(terms, error[rows, j])[1])
    return float(np.clip(np.median(found), 0.0, LAG_MAX_S)) if found else 0.0


def _slope(values: Array, time: Array) -> Array:
    return np.gradient(values, time, axis=0)


def _fit(terms: Array, values: Array) -> Array:
    scale = np.maximum(np.abs(terms).max(0), 1e-9)
    return np.linalg.lstsq(terms / scale, values, rcond=1e-8)[0] / scale


def _friction(terms: Array, values: Array) -> tuple[Array, Array]:
    """Least squares of values [N] on terms [N, k]: coefficients [4] of `FRICTION_TERMS`, covariance [4, 4]."""
    scale = np.maximum(np.abs(terms).max(0), 1e-9)
    left, singular, right = np.linalg.svd(terms / scale, full_matrices=False)
    kept = singular > 1e-8 * singular[0]
    back = (right[kept] / singular[kept, None]).T
    found = back @ (left[:, kept].T @ values)
    noise = np.sum((values - terms / scale @ found) ** 2) / max(len(values) - int(kept.sum()), 1)
    at = [_TERMS.index(name) for name in FRICTION_TERMS]
    covariance = noise * (back @ back.T) / np.outer(scale, scale)
    return (found / scale)[at], covariance[np.ix_(at, at)]


@dataclass(frozen=True)
class Torques:
    """Of the model, each [N, n] Nm. inertia: moves the links (Coriolis included). gravity: holds them.

    weight, weight_inertia: hold a kilogram at the TCP, and move it.
    """

    inertia: Array
    gravity: Array
    weight: Array
    weight_inertia: Array


def model_torques(
    model: mujoco.MjModel, robot: Robot, position: Array, speed: Array, acceleration: Array
) -> Torques:
    """The model's torques along a motion, [N, n] each. Computed at every tenth sample and interpolated between.

    A kilogram is moved by how the joints accelerate; what their speeds add to it is left out.
    """
    data, last = mujoco.MjData(model), len(position) - 1
    rows = np.unique(np.append(np.arange(0, len(position), _EVERY), last))
    joints = [model.joint(name) for name in robot.joint_names]
    at, dofs = [int(j.qposadr[0]) for j in joints], [int(j.dofadr[0]) for j in joints]
    whole, held, weight, moved = (np.empty((len(rows), robot.dof)) for _ in range(4))
    result, jacobian, tcp = np.zeros(model.nv), np.zeros((3, model.nv)), model.site("tcp").id
    up = -np.asarray(model.opt.gravity)
    for i, row in enumerate(rows):
        data.qpos[at], data.qvel[:], data.qacc[:] = position[row], 0.0, 0.0
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 0, result)
        held[i] = result[dofs]
        data.qvel[dofs], data.qacc[dofs] = speed[row], acceleration[row]
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 1, result)
        whole[i] = result[dofs]
        mujoco.mj_jacSite(model, data, jacobian, None, tcp)
        arm = jacobian[:, dofs]
        weight[i], moved[i] = arm.T @ up, arm.T @ (arm @ acceleration[row])

    def between(values: Array) -> Array:
        return np.stack([np.interp(np.arange(len(position)), rows, column) for column in values.T], 1)

    return Torques(between(whole - held), between(held), between(weight), between(moved))
