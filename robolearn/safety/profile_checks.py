"""What validation refuses in a profile: numbers that contradict each other, a mode, or the robot's manufacturer."""

from __future__ import annotations

from collections import Counter

import numpy as np

from robolearn.errors import ProfileError
from robolearn.robots import Robot
from robolearn.safety.assessed import NotChecked, Numbers
from robolearn.safety.home_check import forbidden_at_home
from robolearn.safety.mode_schema import ModeLimits
from robolearn.safety.people import Contact
from robolearn.safety.plausible import BRAKING_MAX_S, slowest_braking_s

REDUCED_SPEED_M_S = 0.25
REDUCED_SOURCE = "ISO 10218-1, 2011 and 2025 editions, quoted by Mitsubishi and Universal Robots"
HOLD_SOURCE = "Regulation (EU) 2023/1230 Annex III 1.2.5, Directive 2006/42/EC Annex I 1.2.5"
SPEEDS = ("tcp_speed_max_m_s", "elbow_speed_max_m_s", "link_speed_max_m_s")


# profile field, the robot's limit that it must not be looser than, and the looser direction
MANUFACTURER = (
    ("position_max_rad", "position_max_rad", 1.0),
    ("position_min_rad", "position_min_rad", -1.0),
    ("velocity_max_rad_s", "velocity_rad_s", 1.0),
    ("acceleration_max_rad_s2", "acceleration_rad_s2", 1.0),
    ("jerk_max_rad_s3", "jerk_rad_s3", 1.0),
    ("torque_max_nm", "torque_nm", 1.0),
    ("torque_rate_max_nm_s", "torque_rate_nm_s", 1.0),
)
_ROUNDING = 5e-6  # of a limit: six digits of one and the same number are no looser


def check_mode(mode: str, limits: ModeLimits, where: str) -> None:
    """Raise ProfileError for numbers that contradict each other, or a manual mode without what makes it one."""
    if mode == "manual_reduced":
        _reduced(limits, where)
    _consistent(limits, where)


def check_mode_against(robot: Robot, limits: ModeLimits, where: str) -> None:
    """Raise ProfileError where a limit is looser than the robot's manufacturer publishes, or does not fit the robot."""
    _not_looser(limits, robot, where)
    if isinstance(limits.contact, Contact):
        _has_mass(limits.contact, robot, where)


def check_home(robot: Robot, limits: ModeLimits, where: str) -> None:
    """Raise ProfileError for a cell in which the arm may not even rest at its home position."""
    broken = forbidden_at_home(limits, robot)
    if broken:
        raise ProfileError(
            f"{where}: the arm may not rest at its home position: {broken}. "
            "Correct the profile, or home_rad in a robot file of your own."
        )


def _consistent(limits: ModeLimits, where: str) -> None:
    """Refuse numbers that contradict each other."""
    arrays = {field: value.array for field, value in limits if isinstance(value, Numbers)}
    joints = Counter(len(array) for array in arrays.values()).most_common(1)[0][0]
    for field, array in arrays.items():
        if len(array) != joints:
            raise ProfileError(
                f"{where}: {field} has {len(array)} numbers, the others {joints}: one for each joint."
            )
    motion = (arrays[key] for key in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3"))
    if (braking_s := slowest_braking_s(*motion)) > BRAKING_MAX_S:
        raise ProfileError(
            f"{where}: from velocity_max_rad_s a joint takes {braking_s:.3g} s to rest within "
            f"acceleration_max_rad_s2 and jerk_max_rad_s3, more than {BRAKING_MAX_S:g} s. Lower the velocity."
        )
    if not np.less(arrays["position_min_rad"], arrays["position_max_rad"]).all():
        raise ProfileError(f"{where}: position_min_rad must be below position_max_rad for every joint.")
    if limits.command_lag_max_rad.value < limits.command_jump_max_rad.value:
        raise ProfileError(f"{where}: command_lag_max_rad must not be below command_jump_max_rad.")
    for field, what in (("tcp_speed_max_m_s", "the tool"), ("elbow_speed_max_m_s", "the elbow")):
        if getattr(limits, field).value > limits.link_speed_max_m_s.value:
            raise ProfileError(
                f"{where}: {field} is above link_speed_max_m_s, which holds for {what} as well."
            )


def _has_mass(contact: Contact, robot: Robot, where: str) -> None:
    """Refuse a model of contact that needs a mass that the robot does not state."""
    try:
        contact.speed(robot)
    except ProfileError as error:
        raise ProfileError(f"{where}: {error}") from None


def _reduced(limits: ModeLimits, where: str) -> None:
    """Refuse a manual mode without what makes it one: reduced speed, and an enabling device that is held."""
    for field in SPEEDS:
        speed = getattr(limits, field).value
        if speed > REDUCED_SPEED_M_S:
            raise ProfileError(
                f"{where}: {field} is {speed:g}, above the reduced speed of {REDUCED_SPEED_M_S:g} m/s of this mode "
                f"({REDUCED_SOURCE}). Lower it, or use mode automatic."
            )
    if limits.enabling_device.value != "required":
        raise ProfileError(
            f"{where}: enabling_device is '{limits.enabling_device.value}', but with guards disabled an arm "
            f"moves only while a control is held ({HOLD_SOURCE}). Set it to required."
        )


def _not_looser(limits: ModeLimits, robot: Robot, where: str) -> None:
    fastest = robot.cartesian.get("tcp_speed_m_s", np.inf)
    if limits.tcp_speed_max_m_s.value > fastest:
        raise ProfileError(
            f"{where}: tcp_speed_max_m_s is {limits.tcp_speed_max_m_s.value:g}, looser than the "
            f"manufacturer's {fastest:g}."
        )
    for field, published, direction in MANUFACTURER:
        ours, manufacturers = getattr(limits, field), getattr(robot.limits, published)
        if isinstance(ours, NotChecked):
            continue
        if len(ours.value) != robot.dof:
            raise ProfileError(
                f"{where}: {field} has {len(ours.value)} numbers, {robot.name} has {robot.dof} joints."
            )
        if manufacturers is None:
            if ours.trust != "integrator":
                raise ProfileError(
                    f"{where}: the manufacturer of {robot.name} publishes no {published}; "
                    f"{field} must have trust 'integrator', not '{ours.trust}'."
                )
            continue
        looser = direction * (ours.array - manufacturers) > _ROUNDING * np.maximum(1.0, np.abs(manufacturers))
        if looser.any():
            joint = int(np.argmax(looser))
            raise ProfileError(
                f"{where}: {field} of {robot.joint_names[joint]} is {ours.array[joint]:.8g}, looser than the "
                f"manufacturer's {manufacturers[joint]:.8g} ({robot.limits.source(published)}). "
                "Use the manufacturer's number or a tighter one."
            )
