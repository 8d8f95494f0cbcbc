"""What a training makes of a fit: the drives of the model, and randomisation from the fit's uncertainty.

Where a number was identified, or is wide, its range is the 95 % interval over the value; else the task's own default
range stays, and says so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.robots.calibration import Delay, Quantity
from robolearn.robots.schema import Servo

Ranges = dict[str, dict[str, tuple[float, float]] | tuple[float, float]]
ARMATURE_MIN_KGM2 = 1e-4
SMOOTHING_MS = 20.0  # one control period at 50 Hz: what the policy node may add to the arm's own delay


def servo_of(
    robot: Robot, quantities: tuple[Quantity, ...], reference_inertia: NDArray[np.float64], effort: bool
) -> Servo:
    """The drives from what was identified or is wide; the robot file's numbers for the rest."""
    base, known = robot.servo, _estimated(quantities)
    kp, kv = list(base.kp_nm_rad), list(base.kv_nms_rad)
    viscous, armature = list(base.damping_nms_rad), list(base.armature_kgm2)
    friction = list(base.friction_nm) or [0.0] * robot.dof
    for j, name in enumerate(robot.joint_names):
        kp[j] = known.get(("stiffness", name), kp[j])
        viscous[j] = known.get(("viscous", name), viscous[j])
        if effort:
            kv[j] = known.get(("servo_damping", name), kv[j])
            friction[j] = known.get(("friction", name), friction[j])
            armature[j] = known.get(("armature", name), armature[j])
            continue
        if ("lag", name) in known:
            kv[j] = max(known["lag", name] * kp[j] - viscous[j], 1e-6 * kp[j])
        if ("friction_per_stiffness", name) in known:
            friction[j] = max(known["friction_per_stiffness", name] * kp[j], 0.0)
        if ("inertia_per_stiffness", name) in known:
            total = known["inertia_per_stiffness", name] * kp[j]
            armature[j] = max(total - float(reference_inertia[j]), ARMATURE_MIN_KGM2)
    return Servo(
        source="fitted to logs of the arm, see `quantities`; what they do not identify is the robot file's",
        trust="computed",
        kp_nm_rad=kp,
        kv_nms_rad=kv,
        armature_kgm2=armature,
        damping_nms_rad=viscous,
        friction_nm=friction if any(friction) else [],
    )


_TERMS = {
    # term of `randomization`: (kinds whose relative interval it takes, first one that has one)
    "actuator_gain_scale": ("stiffness",),
    "actuator_damping_scale": ("servo_damping", "lag"),
    "joint_damping_scale": ("viscous",),
    "joint_friction_scale": ("friction", "friction_per_stiffness"),
    "joint_armature_scale": ("armature", "inertia_per_stiffness"),
}


def ranges_of(
    robot: Robot, quantities: tuple[Quantity, ...], servo: Servo, measurement_delay: Delay | None
) -> tuple[Ranges, dict[str, str]]:
    """Randomisation around the calibrated model, and where each range comes from."""
    found: Ranges = {}
    origins: dict[str, str] = {}
    for term, kinds in _TERMS.items():
        relative = {
            q.joint: (q.interval[0] / q.estimate, q.interval[1] / q.estimate)
            for kind in reversed(kinds)
            for q in quantities
            if q.kind == kind and q.joint and q.estimate and q.interval
        }
        relative = {joint: (max(low, 0.05), max(high, 0.05)) for joint, (low, high) in relative.items()}
        if term == "joint_friction_scale" and not servo.friction_nm:
            relative = {}
        if relative:
            found[term] = dict(sorted(relative.items()))
            origins[term] = (
                f"fit: 95 % interval of {' or '.join(kinds)} over its value, {len(relative)} joints"
            )
        else:
            origins[term] = "default of the task: not identified"
    delay = next((q for q in quantities if q.kind == "delay"), None)
    if delay is not None and delay.interval is not None:
        low, high = (max(1e3 * value, 0.0) for value in delay.interval)
        found["action_delay_ms"] = (low, max(high, low) + SMOOTHING_MS)
        origins["action_delay_ms"] = (
            f"fit: 95 % interval of the command delay, and up to {SMOOTHING_MS:g} ms for the served stream, which is "
            "smoothed over a control period"
        )
    else:
        origins["action_delay_ms"] = "default of the task: not identified"
    if measurement_delay is not None:
        low, high = (max(1e3 * value, 0.0) for value in measurement_delay.interval_s)
        found["observation_delay_ms"] = (low, max(high, low))
        origins["observation_delay_ms"] = "log: the range of 95 % of the measurements' ages"
    else:
        origins["observation_delay_ms"] = "default of the task: the log has no arrival times of measurements"
    return found, origins


def _estimated(quantities: tuple[Quantity, ...]) -> dict[tuple[str, str | None], float]:
    return {(q.kind, q.joint): q.estimate for q in quantities if q.estimate is not None}
