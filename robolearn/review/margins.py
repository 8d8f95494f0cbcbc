"""What a cycle left of the limits that the trace has no column for, computed again by the monitor's own code.

From three sent samples in a row follow acceleration, torque, speeds of every part, distances to walls, boxes, own
links and persons, and the way to rest. That takes about a millisecond, so it is done for a share of the cycles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.safety.arm_model import Posture, point_speeds
from robolearn.safety.braking import plan_braking
from robolearn.safety.envelope import Envelope, build_envelope
from robolearn.safety.profile import NotChecked, SafetyProfile, Separation

Columns = NDArray[np.void]
_BEYOND, _BEYOND_RAD = 4.0, 100.0  # times the largest velocity, and positions, that a forged trace alone has
_WAY_LOOKS = 8  # postures of one braking motion, for how far the TCP goes in it


@dataclass(frozen=True)
class Margin:
    """Room left to one limit in one cycle: value, limit and margin in `unit`; key as in the table of limits."""

    key: str
    unit: str
    value: float
    limit: float
    margin: float
    where: str = ""


class Again:
    """Looks at cycles again. Built from the robot and the profile of the log."""

    def __init__(self, robot: Robot, profile: SafetyProfile, period_s: float, gripper: str | None) -> None:
        self._robot, self._profile, self._period_s, self._gripper = robot, profile, period_s, gripper
        self._envelopes: dict[str, Envelope] = {}

    def _envelope(self, mode: str) -> Envelope:
        if mode not in self._envelopes:
            limits = self._profile.mode(mode)
            self._envelopes[mode] = build_envelope(self._robot, limits, self._period_s, self._gripper)
        return self._envelopes[mode]

    def look(self, mode: str, three: Columns) -> list[Margin]:
        """The margins in the last of three cycles in a row [3]; none where they are not, or nothing was sent."""
        position, velocity = three["sent_position_rad"], three["sent_velocity_rad_s"]
        in_a_row = len(three) == 3 and (np.diff(three["cycle"].astype(np.int64)) == 1).all()
        if not in_a_row or not (np.isfinite(position).all() and np.isfinite(velocity).all()):
            return []
        envelope, dt = self._envelope(mode), self._period_s
        beyond = np.abs(velocity) > _BEYOND * envelope.limits.velocity_max_rad_s
        if beyond.any() or np.abs(position).max() > _BEYOND_RAD:
            return []  # no monitor sent that: no posture and no braking motion follow from it
        limits, arm, space = envelope.limits, envelope.arm, envelope.space
        acceleration = np.diff(velocity, axis=0) / dt
        before = arm.posture(position[1])
        torque_before = arm.torque(velocity[1], acceleration[0])
        posture = arm.posture(position[2])
        torque = arm.torque(velocity[2], acceleration[1])
        low, high = limits.velocity_bounds(position[2])
        fast = np.where(velocity[2] < 0.0, -low, high)
        found = [self._joint("velocity_max_rad_s", "rad/s", velocity[2], fast)]
        most, rate = limits.mode.torque_max_nm, limits.mode.torque_rate_max_nm_s
        if not isinstance(most, NotChecked):
            found.append(self._joint("torque_max_nm", "Nm", torque, most.array))
        if not isinstance(rate, NotChecked):
            change = (torque - torque_before) / dt
            found.append(self._joint("torque_rate_max_nm_s", "Nm/s", change, rate.array))
        speeds = point_speeds(before, posture, arm.radius, dt)
        allowed = space.contact_speed(velocity[2], speeds)
        found += _speeds(envelope, speeds, allowed)
        found += [
            _below(f"contact.{model}", "m/s", float(speeds.max()), most)
            for model, most in space.contact_speed_by_model(velocity[2], speeds).items()
        ]
        found += _places(envelope, posture, position[2])
        braking = plan_braking(
            position[2],
            velocity[2],
            acceleration[1],
            limits.acceleration_max_rad_s2,
            limits.jerk_max_rad_s3,
            dt,
        )
        person = float(three["person_distance_m"][2])
        if isinstance(limits.mode.separation, Separation) and np.isfinite(person):
            swing = np.maximum(braking.high_rad - position[2], position[2] - braking.low_rad)
            travel = float((arm.reach @ swing).max())
            nearest = space.person_min(posture, float(speeds.max()), braking.duration_s, travel)
            found.append(Margin("separation", "m", person, nearest, person - nearest))
        path = braking.trajectory[0]
        looks = path[np.unique(np.linspace(0, max(len(path) - 1, 0), _WAY_LOOKS).astype(int))[: len(path)]]
        ways = np.linalg.norm(arm.postures(looks).points[:, -1] - posture.points[-1], axis=1)
        most_m = limits.mode.stopping_distance_max_m.value
        found.append(_below("stopping_distance_max_m", "m", float(ways.max(initial=0.0)), most_m))
        return found

    def _joint(self, key: str, unit: str, values: NDArray[np.float64], most: NDArray[np.float64]) -> Margin:
        joint = int(np.argmin(most - np.abs(values)))
        return _below(
            key, unit, float(abs(values[joint])), float(most[joint]), self._robot.joint_names[joint]
        )


def _below(key: str, unit: str, value: float, limit: float, where: str = "") -> Margin:
    return Margin(key, unit, value, limit, limit - value, where)


def _speeds(envelope: Envelope, speeds: NDArray[np.float64], contact_m_s: float) -> Iterator[Margin]:
    """Of elbow and fastest part; speeds: [p] m/s.  contact_m_s: allowed where a person may be touched."""
    arm, numbers = envelope.arm, envelope.limits.mode
    yield _below("elbow_speed_max_m_s", "m/s", float(speeds[-2]), numbers.elbow_speed_max_m_s.value)
    part = arm.names[arm.part[int(np.argmax(speeds))]]
    yield _below("link_speed_max_m_s", "m/s", float(speeds.max()), numbers.link_speed_max_m_s.value, part)
    if np.isfinite(contact_m_s):
        yield _below("contact", "m/s", float(speeds.max()), contact_m_s, part)


def _places(envelope: Envelope, posture: Posture, joints_rad: NDArray[np.float64]) -> Iterator[Margin]:
    """Distances to walls, keep-out boxes and between links; posture: the one that was computed last, at joints_rad."""
    space, arm, workspace = envelope.space, envelope.arm, envelope.limits.mode.workspace
    walls = space.wall_clearances(posture)
    faces, planes = walls[:, :6], walls[:, 6:]
    point, face = np.unravel_index(int(np.argmin(faces)), faces.shape)
    where = f"{arm.names[arm.part[point]]}, {space.regions[face]}"
    clearance_m = float(faces[point, face])
    yield Margin(f"workspace.stay_in: {workspace.stay_in.name}", "m", clearance_m, 0.0, clearance_m, where)
    for k, plane in enumerate(workspace.planes):
        point = int(np.argmin(planes[:, k]))
        clearance_m = float(planes[point, k])
        yield Margin(
            f"workspace.planes: {plane.name}", "m", clearance_m, 0.0, clearance_m, arm.names[arm.part[point]]
        )
    names = space.gaps.names
    for box in workspace.keep_out:
        mine = [k for k, name in enumerate(names) if name.startswith(f"keep_out:{box.name} - ")]
        least, clearance_m = space.gaps.nearest(np.array(mine), joints_rad)
        yield Margin(
            f"workspace.keep_out: {box.name}",
            "m",
            clearance_m,
            0.0,
            clearance_m,
            names[least].partition(" - ")[2],
        )
    own = [k for k, name in enumerate(names) if not name.startswith("keep_out:")]
    if own:
        least, gap = space.gaps.nearest(np.array(own), joints_rad)
        needed = float(space.gaps.needed_m[least])
        yield Margin("self_distance_min_m", "m", gap, needed, gap - needed, names[least])
