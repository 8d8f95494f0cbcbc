"""The simulated drives of an arm whose file declares none, and whether its torque limits can hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.robots.limits import JointLimits
from robolearn.robots.schema import RobotFile, Servo

Array = NDArray[np.float64]

NATURAL_HZ = 20.0  # of a joint with the largest inertia of its links that it can see; stiffer than real position drives
LAG_S = 0.009  # kv / kp: a smooth stream is followed this much late
STEP_S = 0.005  # the longest physics step of the packaged tasks
_ARMATURE_MIN_KGM2 = 0.01
_SHARES = np.arange(0.0, 1.0, 0.05)  # of the largest inertia, tried as armature
_POSTURES = 512
_HELD = 1.05  # of the gravity torque, that a torque limit must exceed to move the arm at all


def default_servo(model: mujoco.MjModel, joints: Sequence[str], limits: JointLimits) -> Servo:
    """Position drives, each stiff enough for the largest inertia that its joint sees in the whole workspace.

    kp = (2 pi NATURAL_HZ)^2 M_max, kv = LAG_S kp, with M_max of the links and the armature of the model. The armature
    is then the least with which drives at their torque limit do not swing for ever: one physics step of STEP_S at the
    limit must not take a joint from one end of the band in which kv brakes it to beyond the other. That is, the largest
    eigenvalue of STEP_S M^-1 kv is below 2 in every posture, joints that move the same mass together included.
    """
    columns = [int(model.joint(name).dofadr[0]) for name in joints]
    modelled = model.dof_armature[columns]
    own = np.maximum(modelled, _ARMATURE_MIN_KGM2)
    links, mass = [], np.zeros((model.nv, model.nv))
    for data in _postures(model, joints, limits):
        mujoco.mj_fullM(model, data, mass)
        links.append(mass[np.ix_(columns, columns)] - np.diag(modelled))
    inertia = np.array(links)
    seen = np.diagonal(inertia, axis1=1, axis2=2)
    stiffness = (2.0 * np.pi * NATURAL_HZ) ** 2 * (seen.max(axis=0) + own)
    armature = _least_armature(inertia, own, LAG_S * stiffness)
    low, high = (
        np.sqrt(stiffness / (one + armature)) / (2.0 * np.pi) for one in (seen.max(axis=0), seen.min(axis=0))
    )
    figures = "; ".join(
        f"{name} {slow:.3g} to {fast:.3g} Hz, damping ratio {np.pi * LAG_S * slow:.2g} to {np.pi * LAG_S * fast:.2g}"
        for name, slow, fast in zip(joints, low, high, strict=True)
    )
    return Servo(
        source="computed by robolearn from the largest inertia in the whole workspace",
        trust="model",
        note=f"natural frequencies from the posture with the largest inertia to that with the least: {figures}",
        kp_nm_rad=stiffness.tolist(),
        kv_nms_rad=(LAG_S * stiffness).tolist(),
        armature_kgm2=armature.tolist(),
        damping_nms_rad=[0.5] * len(columns),
    )


def _least_armature(inertia: Array, own: Array, kv: Array) -> Array:
    """The least armature [n] of the shares tried that bounds the eigenvalues. inertia: of links, [postures, n, n]."""
    largest = np.diagonal(inertia, axis1=1, axis2=2).max(axis=0)
    root = np.sqrt(kv)
    armature = own
    # The largest always does: links only add to the armature, and kv STEP_S is 0.7 of the largest inertia.
    for share in _SHARES:
        armature = np.maximum(own, share * largest)
        alike = np.linalg.inv(inertia + np.diag(armature)) * np.outer(root, root)
        if STEP_S * np.linalg.eigvalsh(alike).max() < 2.0:
            break
    return armature


def questioned_torques(file: RobotFile, model: mujoco.MjModel, limits: JointLimits) -> list[str]:
    """One sentence for each torque limit that cannot be right: it does not hold the arm, or is a placeholder."""
    needed = gravity_torque(model, file.joint_names, limits)
    findings = [
        f"limits.torque_nm of joint '{name}' is {given:g} Nm, but holding the arm with its gripper stretched out takes "
        f"{weight:.3g} Nm against gravity: the limit, or the masses in the model, are not those of the arm. Find "
        "the manufacturer's figure."
        for name, given, weight in zip(file.joint_names, limits.torque_nm, needed, strict=True)
        if given < _HELD * weight
    ]
    torques = limits.torque_nm
    confirmed = file.limits.torque_nm.trust == "primary" or file.limits.torque_nm.note
    if len(torques) > 2 and np.ptp(torques) == 0.0 and not confirmed:
        weights = ", ".join(f"{weight:.3g}" for weight in needed)
        findings.append(
            f"limits.torque_nm is {torques[0]:g} Nm for every joint, which looks like a placeholder of the model file "
            f"(gravity alone takes up to {weights} Nm). Find the manufacturer's figures, or state their "
            "source in a note."
        )
    return findings


def gravity_torque(model: mujoco.MjModel, joints: Sequence[str], limits: JointLimits) -> Array:
    """The largest torque [n] Nm that gravity puts on each joint in the whole workspace, as the base stands."""
    columns = [int(model.joint(name).dofadr[0]) for name in joints]
    largest, forces = np.zeros(len(columns)), np.zeros(model.nv)
    for data in _postures(model, joints, limits):
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 0, forces)
        largest = np.maximum(largest, np.abs(forces[columns]))
    return largest


def _postures(model: mujoco.MjModel, joints: Sequence[str], limits: JointLimits) -> Iterator[mujoco.MjData]:
    """The model at postures all over the workspace, stretched out ones among them: inertia computed, at rest."""
    data = mujoco.MjData(model)
    addresses = [int(model.joint(name).qposadr[0]) for name in joints]
    rng = np.random.default_rng(0)
    low, high = limits.position_min_rad, limits.position_max_rad
    chosen = rng.uniform(low, high, (_POSTURES, len(joints)))
    one = np.pi / 2.0 * np.eye(len(joints))
    for q in np.concatenate([np.zeros((1, len(joints))), one, -one, chosen]):
        data.qpos[addresses] = np.clip(q, low, high)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_makeM(model, data)
        yield data
