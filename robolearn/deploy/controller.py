"""Parameters of robolearn's own ros2_control controller, from a safety profile; its source for a workspace.

`robolearn_controller` follows `/robolearn/sent_command` within the limits of a profile. It carries the profile's
digest, so that a controller with limits of another profile is seen as such.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import yaml
from numpy.typing import NDArray

from robolearn.deploy.arm_names import full_namespace, prefixed
from robolearn.errors import ConfigError, unknown
from robolearn.robots import Robot
from robolearn.safety.profile import ModeLimits, NotChecked, SafetyProfile

Vector = NDArray[np.float64]

NAME = "robolearn_controller"
TYPE = "robolearn_controller/StreamController"
SENT_TOPIC = "/robolearn/sent_command"
INTERFACES = ("position", "effort")
DELAY_PERIODS = 4.0  # of the stream: two that the path needs, two for messages and loops that are late
DELAY_MAX_PERIODS = 12.0  # that a machine which delivers late may add up to
STIFFNESS_TRAVEL_RAD = 0.15  # the deviation at which an impedance would pull with the joint's largest torque
_PACKAGED = Path(__file__).parent.parent / NAME
_CHECKOUT = Path(__file__).parents[2] / "ros2_ws" / "src" / NAME


def controller_parameters(
    robot: Robot,
    profile: SafetyProfile,
    *,
    interface: str = "position",
    stream_rate_hz: float = 500.0,
    namespace: str = "",
    joint_prefix: str = "",
) -> dict[str, Any]:
    """The controller's parameters, by name.

    The limits are the widest that any mode of the profile has, joint by joint: the safety node keeps to those of the
    mode it is in.  stream_rate_hz: the safety node's rate.  namespace, joint_prefix: of the arm's deployment.
    Raises ProfileError where the profile does not fit the robot; ConfigError for an unknown interface, or where
    neither profile nor manufacturer gives a limit that efforts need.
    """
    if interface not in INTERFACES:
        raise ConfigError(unknown("interface", interface, INTERFACES))
    profile.check_against(robot)
    modes = list(profile.modes.values())
    off = min(mode.tracking_error_max_rad.value for mode in modes)

    def widest(name: str, pick: Any = np.max) -> list[float]:
        return pick([getattr(mode, name).array for mode in modes], axis=0).tolist()

    parameters: dict[str, Any] = {
        "joints": list(prefixed(robot.joint_names, joint_prefix)),
        "interface_name": interface,
        "topic": full_namespace(namespace) + SENT_TOPIC,
        "profile": profile.name,
        "profile_digest": profile.digest,
        "position_min_rad": widest("position_min_rad", np.min),
        "position_max_rad": widest("position_max_rad"),
        "velocity_max_rad_s": widest("velocity_max_rad_s"),
        "acceleration_max_rad_s2": widest("acceleration_max_rad_s2"),
        "jerk_max_rad_s3": widest("jerk_max_rad_s3"),
        "stream_rate_hz": float(stream_rate_hz),
        "delay_s": DELAY_PERIODS / stream_rate_hz,
        "delay_max_s": DELAY_MAX_PERIODS / stream_rate_hz,
        # How long the monitor may be away without a stop of its own.
        "late_max_s": min(mode.cycle_gap_max_s.value for mode in modes),
        "follow_error_max_rad": off,
        "start_tolerance_rad": off,
        # Where the arm is further off, a reset of the monitor holds its measured position instead.
        "restart_tolerance_rad": min(mode.standstill_drift_max_rad.value for mode in modes),
    }
    if interface == "effort":
        parameters |= _impedance(robot, profile, modes)
    return parameters


def controller_yaml(parameters: dict[str, Any], update_rate_hz: int = 0, namespace: str = "") -> str:
    """A parameter file for the controller manager.

    update_rate_hz: of this controller; 0 for the manager's own.  namespace: of the manager.
    """
    own = {"type": TYPE} | ({"update_rate": update_rate_hz} if update_rate_hz else {})
    space = f"{full_namespace(namespace)}/" if namespace else ""
    content = {
        f"{space}controller_manager": {"ros__parameters": {NAME: own}},
        f"{space}{NAME}": {"ros__parameters": parameters},
    }
    head = (
        f"# Limits of the safety profile '{parameters['profile']}', sha256 {parameters['profile_digest']}.\n"
        "# Written by `robolearn controller`: change the profile and write it again, not the limits here.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False, width=110, default_flow_style=None)


def controller_source() -> Path:
    """The ROS 2 package robolearn_controller as it came with robolearn. Raises ConfigError."""
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / "package.xml").is_file():
            return folder
    raise ConfigError(
        f"The source of {NAME} is neither in {_PACKAGED} nor in {_CHECKOUT}. Reinstall robolearn."
    )


def copy_source(workspace_src: Path) -> Path:
    """Copy the package into the `src` folder of a colcon workspace; an older copy of it is replaced.

    Raises ConfigError where there is no such folder, or something else has its name there.
    """
    if not workspace_src.is_dir():
        raise ConfigError(
            f"{workspace_src} is not a folder: name the src folder of the arm's colcon workspace."
        )
    to = workspace_src / NAME
    if to.exists() and not (to / f"{NAME}_plugins.xml").is_file():
        raise ConfigError(f"{to} exists and is not a copy of {NAME}. Move it away first.")
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(controller_source(), to)
    return to


def _impedance(robot: Robot, profile: SafetyProfile, modes: list[ModeLimits]) -> dict[str, Any]:
    """Torque limits, and an impedance to begin with: critically damped for the inertia at home."""
    torque = _limit(modes, "torque_max_nm", robot.limits.torque_nm, robot, profile)
    rate = _limit(modes, "torque_rate_max_nm_s", robot.limits.torque_rate_nm_s, robot, profile)
    stiffness = torque / STIFFNESS_TRAVEL_RAD
    return {
        "torque_max_nm": torque.tolist(),
        "torque_rate_max_nm_s": rate.tolist(),
        "stiffness_nm_rad": stiffness.round(1).tolist(),
        "damping_nm_s_rad": (2.0 * np.sqrt(stiffness * _inertia_at_home(robot))).round(2).tolist(),
        "feed_forward_interface": "",
    }


def _limit(
    modes: list[ModeLimits], name: str, manufacturers: Vector | None, robot: Robot, profile: SafetyProfile
) -> Vector:
    """The profile's limit, widest of its modes; the manufacturer's where a mode does not check it."""
    given = [getattr(mode, name) for mode in modes]
    stated = [manufacturers if isinstance(limit, NotChecked) else limit.array for limit in given]
    values = [value for value in stated if value is not None]
    if len(values) < len(stated):
        raise ConfigError(
            f"Effort commands need {name}: profile '{profile.name}' does not check it, and the "
            f"manufacturer of {robot.name} "
            "publishes none. Set it in the profile, or use the position interface."
        )
    return np.max(values, axis=0)


def _inertia_at_home(robot: Robot) -> Vector:
    """Diagonal of the joint-space inertia [n], kg m2, at the home position, drives included."""
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    return np.array([mass[dof, dof] for dof in (model.joint(j).dofadr[0] for j in robot.joint_names)])
