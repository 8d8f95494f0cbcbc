"""The bundle that the policy node serves: verified, approved, and for the arm that is there."""

from __future__ import annotations

from typing import Any

from robolearn.errors import BundleError
from robolearn.policy.approval import require_approval, require_not_revoked
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.interpolate import ticks_per_period
from robolearn.robots import Robot, load_robot, same_joints
from robolearn.safety.command_source import policy_source
from robolearn_ros.sources import check_targets


def load_served(path: str, p: dict[str, Any]) -> tuple[PolicyBundle, Robot]:
    """A bundle and the arm it is for. p: the node's parameters. Raises BundleError or RobotError."""
    bundle = PolicyBundle.load(path, p["trusted_keys"] or None)
    require_not_revoked(bundle, path)
    if p["require_approval"]:
        require_approval(bundle, path, p["approver_keys"], p["approvals_needed"])
    m = bundle.manifest
    robot = load_robot(p["robot"] or m.robot)
    if robot.name != m.robot:
        raise BundleError(f"Bundle '{m.name}' is for robot '{m.robot}', but this arm is '{robot.name}'.")
    if robot.digest != m.robot_digest:
        raise BundleError(
            f"Bundle '{m.name}' was made with other facts of robot '{m.robot}' (sha256 {m.robot_digest[:12]}, here "
            f"{robot.digest[:12]}). Train and export with the file of this arm."
        )
    if not same_joints(robot.joint_names, m.joint_names):
        raise BundleError(
            f"Bundle '{m.name}' has joints {m.joint_names}, robot '{robot.name}' {robot.joint_names}."
        )
    check_targets(m.name, m)
    ticks_per_period(p["command_rate_hz"], m.control_hz)
    return bundle, robot


def revoked_since(bundle: PolicyBundle) -> str:
    """Why a bundle that was loaded may no longer be served: revoked, or no longer to be told; empty where it may."""
    try:
        require_not_revoked(bundle, bundle.path or "")
    except BundleError as error:
        return str(error)
    return ""


def command_source(bundle: PolicyBundle) -> str:
    """The name under which a bundle's commands go out."""
    return policy_source(bundle.digest)
