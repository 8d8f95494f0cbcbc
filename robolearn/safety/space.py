"""The arm in space: Cartesian speeds, contact, walls, boxes, own links, stopping distance, people.

Cheap bounds first: from how far and how fast each joint may go until rest, and the reach of each part, follows how
far and how fast anything may go. Only where that is too much is the braking motion looked at, sample by sample.
"""

from __future__ import annotations

import numpy as np

from robolearn.safety import comparisons
from robolearn.safety.arm_model import ArmModel, Posture, point_speeds
from robolearn.safety.braking import Braking
from robolearn.safety.mode_limits import Limits
from robolearn.safety.people import Contact, Separation
from robolearn.safety.separation import protective_distance
from robolearn.safety.types import Record, Vector

_KEPT_SHARE = 1.0 - 1e-12  # more than rounding: what is slow by kept levers would be slow by measured ones
_MOST_LOOKS = 64  # postures of one braking motion; one that takes more to be found good is taken for bad


class Space:
    """Cartesian rules for one arm under one mode's limits. Every method gives the first violation, or None.

    gaps: between links, and to keep-out boxes.  regions: the names of the walls, as `wall_clearances` has them.
    """

    def __init__(self, limits: Limits, arm: ArmModel, period_s: float):
        self.limits, self.arm, self.period_s = limits, arm, period_s
        mode = limits.mode
        box = mode.workspace.stay_in
        normals = [*np.eye(3), *-np.eye(3), *[np.array(p.normal) for p in mode.workspace.planes]]
        offsets = [*box.min_m, *(-np.array(box.max_m)), *[p.offset_m for p in mode.workspace.planes]]
        self.gaps = arm.gaps(mode.self_distance_min_m.value)
        self.touch, self._floor_m_s = None, np.inf  # the contact speed that every motion has
        if isinstance(mode.contact, Contact):
            self.touch = mode.contact.speed(limits.robot)
            self._floor_m_s, self._energy_floor_m_s = self.touch.floor_m_s, self.touch.energy_floor_m_s
            self._payload_kg = mode.contact.payload_kg.value
        self._tightest_m_s = mode.tightest_speed_m_s
        self.careful_m_s = min(self._tightest_m_s, self._floor_m_s)
        self._normals, self._offsets = np.array(normals), np.array(offsets) + arm.radius[:, None]
        faces = [f"{box.name} {axis}_{side}" for side in ("min", "max") for axis in "xyz"]
        self.regions = [*faces, *[p.name for p in mode.workspace.planes]]
        self._region_sources = [box.source] * 6 + [p.source for p in mode.workspace.planes]

    def speeds_to_rest(self, posture: Posture, braking: Braking, swing: Vector) -> Record | None:
        """Cartesian speeds of every step until rest. posture must be the one that was computed last.

        swing: [n] rad, how far each joint may go.
        """
        fastest = np.maximum(-braking.slowest_rad_s, braking.fastest_rad_s)
        if self.arm.longest @ fastest <= self.careful_m_s:
            return None
        kept = self.arm.kept_levers(braking.position_rad, swing)
        if kept @ fastest <= self.careful_m_s * _KEPT_SHARE:
            return None
        levers = self.arm.levers(posture, swing)
        if levers @ fastest <= self.careful_m_s:
            return None
        positions, velocities = braking.trajectory
        fast = np.flatnonzero(np.abs(velocities) @ levers > self.careful_m_s)
        if not len(fast):
            return None
        path = np.vstack([braking.position_rad, positions[: int(fast[-1]) + 1]])
        along = self.arm.postures(path)
        before = Posture(along.points[:-1], along.rotation[:-1])
        after = Posture(along.points[1:], along.rotation[1:])
        every = point_speeds(before, after, self.arm.radius, self.period_s)
        fast = np.flatnonzero(~(every <= self.careful_m_s).all(axis=1))
        allowed = self.contact_speeds(path[1:][fast], velocities[fast], every[fast])
        self.arm.posture(braking.position_rad)  # as the caller left it: distances are measured there next
        found = (
            self.speeds(speeds) or self.contact(speeds, float(most))
            for speeds, most in zip(every[fast], allowed, strict=True)
        )
        return next(filter(None, found), None)

    def speeds(self, speeds: Vector) -> Record | None:
        """Cartesian speeds of one step; speeds: [p] m/s, of every point, the last two elbow and TCP."""
        limits, mode = self.limits, self.limits.mode
        if comparisons.largest(speeds) <= self._tightest_m_s:
            return None
        fastest, elbow, tcp = int(np.argmax(speeds)), float(speeds[-2]), float(speeds[-1])
        return (
            comparisons.over(
                "tcp_speed", tcp, mode.tcp_speed_max_m_s.value, "m/s", limits.source("tcp_speed_max_m_s")
            )
            or comparisons.over(
                "elbow_speed", elbow, mode.elbow_speed_max_m_s.value, "m/s",
                limits.source("elbow_speed_max_m_s"),
            )
            or comparisons.over(
                "link_speed", float(speeds[fastest]), mode.link_speed_max_m_s.value, "m/s",
                limits.source("link_speed_max_m_s"), where=self.arm.names[self.arm.part[fastest]],
            )
        )  # fmt: skip

    def contact_speed(self, velocity_rad_s: Vector, speeds: Vector) -> float:
        """Allowed speed, m/s, of the parts where the arm may touch a person; infinite where it may not.

        Of a step at velocity [n] that moves points at speeds [p] m/s to the posture computed last. By the model that
        the profile names; by kinetic_energy:

        A point that moves at v cannot be felt, in the direction of its motion, as more than 2 E / v^2 of an arm whose
        kinetic energy is E: with its row r of the Jacobian in that direction, 1 / m = r inv(M) r' is at least
        (r q')^2 / (q' M q'), by the inequality of Cauchy and Schwarz. So the energy bounds the mass of every point of
        every part at once, also of those between the points that are looked at. One limit follows for all, from the
        fastest: where a speed v is allowed with the mass 2 E / v^2 + payload, so is each lower one with its own.
        """
        if self.touch is None:
            return np.inf
        fastest = comparisons.largest(speeds)
        if fastest <= self._floor_m_s or self.touch.constant:
            return self._floor_m_s
        return float(self.touch.speeds(self._mass_felt(velocity_rad_s, fastest)))

    def contact_speeds(self, path_rad: Vector, velocity_rad_s: Vector, speeds: Vector) -> Vector:
        """`contact_speed` [m] of some steps to the samples path [m, n], at velocity [m, n] and speeds [m, p]."""
        if self.touch is None or self.touch.constant:
            return np.full(len(path_rad), self._floor_m_s)
        energies = self.arm.kinetic_energies(path_rad, velocity_rad_s)
        return self.touch.speeds(self._mass_bound(energies, velocity_rad_s, speeds.max(axis=1)))

    def contact_speed_by_model(self, velocity_rad_s: Vector, speeds: Vector) -> dict[str, float]:
        """What each model allows, m/s, whichever of them holds; as `contact_speed`. For the review.

        Without iso_ts_15066 where the robot states no mass, and empty where contact is not allowed.
        """
        if self.touch is None:
            return {}
        fastest, allowed = comparisons.largest(speeds), {"kinetic_energy": self.touch.energy_floor_m_s}
        if fastest > self.touch.energy_floor_m_s:
            allowed["kinetic_energy"] = float(self.touch.by_energy(self._mass_felt(velocity_rad_s, fastest)))
        if self.touch.two_mass_m_s is not None:
            allowed["iso_ts_15066"] = self.touch.two_mass_m_s
        return allowed

    def _mass_felt(self, velocity_rad_s: Vector, fastest_m_s: float) -> Vector:
        """`_mass_bound` of one step to the posture computed last."""
        energy = np.array(self.arm.kinetic_energy(velocity_rad_s))
        return self._mass_bound(energy, velocity_rad_s, fastest_m_s)

    def _mass_bound(self, energy_j: Vector, velocity_rad_s: Vector, fastest_m_s: Vector | float) -> Vector:
        """[...] kg with the payload, for steps at velocity [..., n] whose fastest point is above the floor.

        A point's way in a step differs from its velocity at the end of the step, where the energy is taken, by the
        change of the velocity in half a period at most.
        """
        rates = np.abs(velocity_rad_s)
        change = 0.5 * self.period_s * rates.sum(axis=-1) * (rates @ self.arm.longest)
        share = np.maximum(
            1.0 - change / self._energy_floor_m_s, 1e-9
        )  # of a speed above the floor, that is sure
        return 2.0 * energy_j / (share * fastest_m_s) ** 2 + self._payload_kg

    def contact(self, speeds: Vector, allowed_m_s: float) -> Record | None:
        """No part is faster than a person may be touched; speeds: [p] m/s, of every point."""
        mode, fastest = self.limits.mode.contact, int(np.argmax(speeds))
        if self.touch is None or float(speeds[fastest]) <= allowed_m_s:
            return None
        assert isinstance(mode, Contact)
        part = self.arm.names[self.arm.part[fastest]]
        text = f"{part}: {speeds[fastest]:.4g} m/s is above {allowed_m_s:.4g} m/s ({self.touch.reason(allowed_m_s)})"
        return comparisons.over(
            "contact", float(speeds[fastest]), allowed_m_s, "m/s", mode.edition, text, part
        )

    def wall_clearances(self, posture: Posture) -> Vector:
        """Clearance [p, regions] m of each point's sphere from each wall; negative beyond it."""
        return posture.points @ self._normals.T - self._offsets

    def places(
        self, posture: Posture, braking: Braking, swing: Vector, displacement_bound_m: Vector
    ) -> Record | None:
        """Workspace, keep-out boxes, own links and stopping distance until rest.

        swing: [n] rad, how far each joint may go.  displacement_bound_m: [p], how far that may take each point.
        The model is left at the posture that was looked at last.
        """
        record = self._place(posture, braking.position_rad, swing, displacement_bound_m)
        if record is None and displacement_bound_m[-1] <= self.limits.mode.stopping_distance_max_m.value:
            return None
        path = np.vstack([braking.position_rad, braking.trajectory[0]])
        way = np.vstack([np.zeros(path.shape[1]), np.cumsum(np.abs(np.diff(path, axis=0)), axis=0)])
        return self._along(path, way, posture.points[-1])

    def _place(
        self, posture: Posture, joints_rad: Vector, swing: Vector, displacement_bound_m: Vector
    ) -> Record | None:
        """The first region or part that may be met while every joint stays within swing [n] rad of joints_rad [n].

        displacement_bound_m: [p], how far that may take each point.  posture must be that at joints_rad, and the one
        that was computed last.
        """
        clearance_m = self.wall_clearances(posture)
        if not comparisons.every(clearance_m >= displacement_bound_m[:, None]):
            walls = (clearance_m - displacement_bound_m[:, None]).min(axis=0)
            wall = int(np.argmin(walls))
            return comparisons.under(
                "workspace", float(walls[wall]), 0.0, "m", self._region_sources[wall], where=self.regions[wall]
            )  # fmt: skip
        least = self.gaps.least(joints_rad, swing)
        if least is None:
            return None
        pair, distance = least
        name = self.gaps.names[pair]
        box = self._box_source(name)
        if box is not None:
            return comparisons.under("keep_out", distance, 0.0, "m", box, where=name)
        return comparisons.under(
            "self_distance", distance, float(self.gaps.needed_m[pair]), "m",
            self.limits.source("self_distance_min_m"), where=name,
        )  # fmt: skip

    def _box_source(self, pair: str) -> str | None:
        """Where the keep-out box of a pair comes from; None if the pair is two links of the arm."""
        boxes = self.limits.mode.workspace.keep_out
        return next((box.source for box in boxes if pair.startswith(f"keep_out:{box.name} - ")), None)

    def _along(self, path: Vector, way: Vector, tcp: Vector) -> Record | None:
        """The first violation among the samples path [m, n] to rest. way: [m, n] rad, travelled by each joint so far.

        A sample with clearance for the way to both ends of an interval speaks for all samples in it; where there is
        not, the interval is halved, and at last each sample speaks for itself. The later half goes first: a
        motion that leaves its limits mostly does so toward its end.
        """
        open_parts, looks = [(0, len(path) - 1)], 0
        while open_parts:
            first, last = open_parts.pop()
            middle = (first + last) // 2
            looks += 1
            posture = self.arm.posture(path[middle])
            swing = np.maximum(way[middle] - way[first], way[last] - way[middle])
            record = self._sample(posture, path[middle], swing, tcp)
            if record is None:
                continue
            if looks >= _MOST_LOOKS:
                return record
            record = self._sample(posture, path[middle], np.zeros_like(swing), tcp) if swing.any() else record
            if record:
                return record
            open_parts += [part for part in ((first, middle - 1), (middle + 1, last)) if part[0] <= part[1]]
        return None

    def _sample(self, posture: Posture, joints_rad: Vector, swing: Vector, tcp: Vector) -> Record | None:
        """`_place`, and how far the TCP may be from where it was at tcp [3] m."""
        limits = self.limits
        displacement_bound_m = self.arm.reach @ swing
        travelled = float(np.linalg.norm(posture.points[-1] - tcp) + displacement_bound_m[-1])
        return self._place(posture, joints_rad, swing, displacement_bound_m) or comparisons.over(
            "stopping_distance", travelled, limits.mode.stopping_distance_max_m.value, "m",
            limits.source("stopping_distance_max_m"),
        )  # fmt: skip

    def person_min(
        self, posture: Posture, speed_m_s: float, stopping_time_s: float, travel_m: float
    ) -> float:
        """How near to the base, on any side, a person may be: the arm's extent and the protective distance, m."""
        numbers = self.limits.mode.separation
        if not isinstance(numbers, Separation):
            return 0.0
        needed = protective_distance(numbers, speed_m_s, stopping_time_s, travel_m)
        return self.extent_m(posture) + needed.total_m

    def person_mins(self, posture: Posture, speed_m_s: Vector, time_s: Vector, travel_m: Vector) -> Vector:
        """`person_min` [m] of many postures at once: bit for bit the same."""
        numbers = self.limits.mode.separation
        if not isinstance(numbers, Separation):
            return np.zeros(len(speed_m_s))
        x, y = posture.points[..., 0], posture.points[..., 1]
        extent = (np.sqrt(x * x + y * y) + self.arm.radius).max(axis=1)
        return extent + [
            protective_distance(numbers, *each).total_m
            for each in zip(speed_m_s.tolist(), time_s.tolist(), travel_m.tolist(), strict=True)
        ]

    def person(self, person_min_m: float, person_m: float | None) -> Record | None:
        """A person is at least person_min_m from the base; person_m None where separation is not checked."""
        numbers = self.limits.mode.separation
        if person_m is None or not isinstance(numbers, Separation):
            return None
        return comparisons.under(
            "separation", person_m, person_min_m, "m", numbers.edition,
            f"a person is {person_m:.3f} m from the base, {person_min_m:.3f} m are needed",
        )  # fmt: skip

    def extent_m(self, posture: Posture) -> float:
        """How far from the base's axis the arm reaches, horizontally."""
        x, y = posture.points[:, 0], posture.points[:, 1]
        return comparisons.largest(np.sqrt(x * x + y * y) + self.arm.radius)
