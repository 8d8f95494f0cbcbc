"""Whether a mode's limits allow the arm's home position: a cell that forbids it contradicts the robot file."""

from __future__ import annotations

import numpy as np

from robolearn.robots import Robot
from robolearn.safety.arm_model import arm_in_cell
from robolearn.safety.mode_schema import ModeLimits


def forbidden_at_home(limits: ModeLimits, robot: Robot) -> str:
    """What of a mode's limits the arm breaks while it rests at its home position; empty where it breaks none.

    Of the arm without its gripper, so that what is refused here is refused with any tool. Numbers are in the unit of
    their key; distances in m, base frame.
    """
    home = robot.home_rad
    outside = (home < limits.position_min_rad.array) | (home > limits.position_max_rad.array)
    if outside.any():
        joint = int(np.argmax(outside))
        return f"{robot.joint_names[joint]} at {home[joint]:g} rad is outside position_min_rad and position_max_rad"
    arm = arm_in_cell(robot, limits.workspace.keep_out, None)
    points = arm.posture(home).points
    for name, normal, offset_m in _walls(limits):
        beyond = offset_m + arm.radius - points @ normal
        worst = int(np.argmax(beyond))
        if beyond[worst] > 0.0:
            return f"{arm.names[arm.part[worst]]} is {beyond[worst]:.3f} m beyond {name}"
    gaps = arm.gaps(limits.self_distance_min_m.value)
    nearest = gaps.least(home, np.zeros(robot.dof))
    if nearest is None:
        return ""
    pair, distance_m = nearest
    first, _, second = gaps.names[pair].partition(" - ")
    if first.startswith("keep_out:"):
        return f"{second} is {-distance_m:.3f} m inside the keep_out box '{first.removeprefix('keep_out:')}'"
    return (
        f"{first} and {second} are {distance_m:.3f} m apart, less than self_distance_min_m "
        f"{limits.self_distance_min_m.value:g}"
    )


def _walls(limits: ModeLimits) -> list[tuple[str, np.ndarray, float]]:
    """Name, normal [3] and offset m of every wall: the six faces of stay_in, and the planes."""
    cell, walls = limits.workspace.stay_in, []
    for axis, normal in zip("xyz", np.eye(3), strict=True):
        k = "xyz".index(axis)
        walls.append((f"the workspace box '{cell.name}' ({axis}_min)", normal, cell.min_m[k]))
        walls.append((f"the workspace box '{cell.name}' ({axis}_max)", -normal, -cell.max_m[k]))
    return walls + [
        (f"the plane '{p.name}'", np.array(p.normal), p.offset_m) for p in limits.workspace.planes
    ]
