"""What cycles left of the limits that the trace has no column for, computed again by the monitor's own code.

From three sent samples in a row follow acceleration, torque, speeds of every part, distances to walls, boxes, own
links and persons, and the way to rest. That takes a tenth of a millisecond, so it is done for a share of the cycles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robolearn.robots import Robot
from robolearn.safety.arm_model import point_speeds
from robolearn.safety.braking import HIGH, LOW, REST, plan_braking, plan_each
from robolearn.safety.envelope import Envelope, build_envelope
from robolearn.safety.profile import NotChecked, SafetyProfile, Separation

Columns = NDArray[np.void]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_BEYOND, _BEYOND_RAD = 4.0, 100.0  # times the largest velocity, and positions, that a forged trace alone has
_WAY_LOOKS = 8  # postures of one braking motion, for how far the TCP goes in it


@dataclass(frozen=True)
class Margins:
    """Room left to one limit in some cycles: value, limit and margin [m] in `unit`, NaN where there is none.

    key: as in the table of limits.  names, at: what came nearest is names[at[k]] in cycle k.
    """

    key: str
    unit: str
    value: Floats
    limit: Floats
    margin: Floats
    names: Sequence[str] = ("",)
    at: Indices | None = None

    def least(self) -> int | None:
        """In which of the cycles the least room was left; None where it is known of none."""
        margin = np.where(np.isnan(self.margin), np.inf, self.margin)
        found = int(np.argmin(margin))
        return found if np.isfinite(margin[found]) else None

    def where(self, cycle: int) -> str:
        """Which joint, part or region came nearest."""
        return self.names[0 if self.at is None else int(self.at[cycle])]


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

    def look(self, mode: str, three: Columns, least_only: bool = False) -> tuple[Indices, list[Margins]]:
        """The margins in the last of three cycles in a row, many times: three is [k, 3].

        Gives which of the k could be looked at [m], not those that are not in a row or sent nothing, and the margins
        [m] in these. least_only: distances and ways that are not the least of the k may be left out, as NaN.
        """
        envelope = self._envelope(mode)
        used = np.flatnonzero(_usable(envelope, three))
        if not len(used):
            return used, []
        return used, list(_Look(envelope, three[used], least_only).margins())


def _usable(envelope: Envelope, three: Columns) -> NDArray[np.bool_]:
    """[k]: three cycles in a row, of which something was sent that a monitor can have sent."""
    position, velocity = three["sent_position_rad"], three["sent_velocity_rad_s"]
    with np.errstate(invalid="ignore"):
        usual = np.abs(velocity) <= _BEYOND * envelope.limits.velocity_max_rad_s
        usual &= np.abs(position) <= _BEYOND_RAD  # no posture and no braking motion follow from others
    return (np.diff(three["cycle"].astype(np.int64), axis=1) == 1).all(axis=1) & usual.all(axis=(1, 2))


class _Look:
    """m cycles that can be looked at, each with the two before it."""

    def __init__(self, envelope: Envelope, three: Columns, least_only: bool) -> None:
        self._envelope, self._least_only = envelope, least_only
        self._limits, self._space, self._arm = envelope.limits, envelope.space, envelope.arm
        self._person_m = three["person_distance_m"][:, 2]
        position, velocity = three["sent_position_rad"], three["sent_velocity_rad_s"]
        acceleration = np.diff(velocity, axis=1) / envelope.period_s
        self._position, self._velocity, self._acceleration = (
            position[:, 2],
            velocity[:, 2],
            acceleration[:, 1],
        )
        before = self._arm.postures(position[:, 1])
        self._posture = self._arm.postures(self._position)
        self._speeds = point_speeds(before, self._posture, self._arm.radius, envelope.period_s)
        self._torque_before = self._arm.torques(position[:, 1], velocity[:, 1], acceleration[:, 0])
        self._torque = self._arm.torques(self._position, self._velocity, self._acceleration)
        limits = self._limits
        self._braking = plan_each(
            self._position, self._velocity, self._acceleration, limits.acceleration_max_rad_s2,
            limits.jerk_max_rad_s3, envelope.period_s,
        )  # fmt: skip
        swing = np.maximum(self._braking[HIGH] - self._position, self._position - self._braking[LOW])
        self._far = swing @ self._arm.reach.T  # [m, p] m, how far each point may go until rest

    def margins(self) -> Iterator[Margins]:
        """Of every limit that can be looked at."""
        yield from self._joints()
        yield from self._of_speeds()
        yield from self._walls()
        yield from self._distances()
        if isinstance(self._limits.mode.separation, Separation) and np.isfinite(self._person_m).any():
            fastest, travel = self._speeds.max(axis=1), self._far.max(axis=1)
            needed = self._space.person_mins(self._posture, fastest, self._braking[REST].max(axis=1), travel)
            person = np.where(np.isfinite(self._person_m), self._person_m, np.nan)
            yield Margins("separation", "m", person, needed, person - needed)
        yield _below(
            "stopping_distance_max_m", "m", self._ways(), self._limits.mode.stopping_distance_max_m.value
        )

    def _joints(self) -> Iterator[Margins]:
        limits, names = self._limits, self._limits.joint_names
        low, high = limits.velocity_bounds(self._position)
        fast = np.where(self._velocity < 0.0, -low, high)
        yield _worst("velocity_max_rad_s", "rad/s", np.abs(self._velocity), fast, names)
        most, rate = limits.mode.torque_max_nm, limits.mode.torque_rate_max_nm_s
        if not isinstance(most, NotChecked):
            yield _worst("torque_max_nm", "Nm", np.abs(self._torque), most.array, names)
        if not isinstance(rate, NotChecked):
            change = np.abs(self._torque - self._torque_before) / self._envelope.period_s
            yield _worst("torque_rate_max_nm_s", "Nm/s", change, rate.array, names)

    def _of_speeds(self) -> Iterator[Margins]:
        """Of elbow and fastest part, and of contact by each model."""
        arm, mode, speeds = self._arm, self._limits.mode, self._speeds
        fastest, part = speeds.max(axis=1), arm.part[np.argmax(speeds, axis=1)]
        yield _below("elbow_speed_max_m_s", "m/s", speeds[:, -2], mode.elbow_speed_max_m_s.value)
        yield _below("link_speed_max_m_s", "m/s", fastest, mode.link_speed_max_m_s.value, arm.names, part)
        touch = self._space.touch
        if touch is None:
            return
        still = np.zeros(arm.dof), np.zeros(len(arm.radius))
        models = self._space.contact_speed_by_model(*still)
        allowed = {"contact": np.full(len(speeds), touch.floor_m_s)}
        allowed |= {f"contact.{model}": np.full(len(speeds), most) for model, most in models.items()}
        for k in np.flatnonzero(fastest > min(touch.floor_m_s, touch.energy_floor_m_s)).tolist():
            arm.posture(self._position[k])
            allowed["contact"][k] = self._space.contact_speed(self._velocity[k], speeds[k])
            for model, most in self._space.contact_speed_by_model(self._velocity[k], speeds[k]).items():
                allowed[f"contact.{model}"][k] = most
        for key, most in allowed.items():
            yield _below(key, "m/s", fastest, most, arm.names, part)

    def _walls(self) -> Iterator[Margins]:
        arm, space, workspace = self._arm, self._space, self._limits.mode.workspace
        walls = space.wall_clearances(self._posture)  # [m, p, regions]
        faces = walls[..., :6].reshape(len(walls), -1)
        names = [f"{arm.names[part]}, {region}" for part in arm.part for region in space.regions[:6]]
        yield _above(f"workspace.stay_in: {workspace.stay_in.name}", faces, names, np.arange(len(names)))
        for k, plane in enumerate(workspace.planes):
            yield _above(f"workspace.planes: {plane.name}", walls[..., 6 + k], arm.names, arm.part)

    def _distances(self) -> Iterator[Margins]:
        """To keep-out boxes, and between links."""
        gaps = self._space.gaps
        groups = {
            f"workspace.keep_out: {box.name}": f"keep_out:{box.name} - "
            for box in self._limits.mode.workspace.keep_out
        } | {"self_distance_min_m": ""}
        pairs = {
            key: np.array([
                k for k, name in enumerate(gaps.names)
                if (name.startswith(start) if start else not name.startswith("keep_out:"))
            ], np.intp)
            for key, start in groups.items()
        }  # fmt: skip
        pairs = {key: mine for key, mine in pairs.items() if len(mine)}
        found = {key: (np.full(len(self._far), np.nan), np.zeros(len(self._far), np.intp)) for key in pairs}
        below = dict.fromkeys(pairs, np.inf)
        for k, joints_rad in enumerate(self._position):
            self._arm.posture(joints_rad)
            for key, mine in pairs.items():
                nearest = gaps.nearest(mine, joints_rad, below[key])
                if nearest is not None:
                    found[key][1][k], found[key][0][k] = nearest
                    below[key] = min(below[key], nearest[1]) if self._least_only else np.inf
        for key, (distance, at) in found.items():
            needed = gaps.needed_m[at]
            names = [name[len(groups[key]) :] for name in gaps.names]
            yield Margins(key, "m", distance, needed, distance - needed, names, at)

    def _ways(self) -> Floats:
        """[m] m: how far the TCP goes on the way to rest."""
        ways, bound = np.full(len(self._far), np.nan), self._far[:, -1]
        limits, most = self._limits, -np.inf
        for k in np.argsort(-bound).tolist():
            if self._least_only and bound[k] < most:
                break
            path, _ = plan_braking(
                self._position[k], self._velocity[k], self._acceleration[k], limits.acceleration_max_rad_s2,
                limits.jerk_max_rad_s3, self._envelope.period_s,
            ).trajectory  # fmt: skip
            looks = np.unique(np.linspace(0, max(len(path) - 1, 0), _WAY_LOOKS).astype(int))[: len(path)]
            tcp = self._arm.postures(path[looks]).points[:, -1]
            ways[k] = np.linalg.norm(tcp - self._posture.points[k, -1], axis=1).max(initial=0.0)
            most = max(most, float(ways[k]))
        return ways


def _below(
    key: str,
    unit: str,
    value: Floats,
    limit: ArrayLike,
    names: Sequence[str] = ("",),
    at: Indices | None = None,
) -> Margins:
    """Values [m] that should be at most their limit."""
    most = np.broadcast_to(np.asarray(limit, np.float64), value.shape)
    return Margins(key, unit, value, most, most - value, names, at)


def _worst(key: str, unit: str, value: Floats, limit: Floats, names: Sequence[str]) -> Margins:
    """Of values [m, n] that should be at most their limit, the one with the least room in each cycle."""
    most = np.broadcast_to(limit, value.shape)
    at = np.argmin(most - value, axis=1)
    rows = np.arange(len(value))
    return _below(key, unit, value[rows, at], most[rows, at], names, at)


def _above(key: str, clearance_m: Floats, names: Sequence[str], which: Indices) -> Margins:
    """The least of the clearances [m, k] in each cycle, which should be above 0; names[which[k]] has it."""
    at = np.argmin(clearance_m, axis=1)
    least = clearance_m[np.arange(len(at)), at]
    return Margins(key, "m", least, np.zeros_like(least), least, names, which[at])
