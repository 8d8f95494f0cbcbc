"""Where every part of the arm is, how fast it moves, and how far it can be from where it was.

One MuJoCo model of the arm alone (and the cell's keep-out boxes) is compiled at start-up; per posture only
`mj_kinematics` runs. The surface of the arm is the hull of spheres around points: the two ends of every capsule, the
corners of every box. A wall, a speed or an extent is kept by every part if it is kept by these. The points are sites
of the model, so that MuJoCo places them. Base frame, m.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property
from typing import NamedTuple
from weakref import WeakKeyDictionary

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.errors import ProfileError, RobotError
from robolearn.robots import Robot
from robolearn.robots.gripper import GRIPPER, GRIPPER_HULL
from robolearn.robots.watched import BOX, ENDED, SOLID, unwatched_advice, unwatched_links
from robolearn.safety.distances import Gaps
from robolearn.safety.mode_schema import Box
from robolearn.safety.types import Vector

_SITE = "point:{}"
_CELLS_KEPT = 8  # compiled, of one robot
_SELF_GAP_JOINTS = 3  # links fewer joints apart are neighbours: their hulls overlap by design


class Posture(NamedTuple):
    """The arm at one joint position, or at several. points: [..., p, 3] m.  rotation: [..., p, 9] of their bodies."""

    points: Vector
    rotation: Vector


class Pairs(NamedTuple):
    """k pairs of geoms that must not touch, by name, and as `Gaps` takes them. in_cell: [k], one is a keep-out box."""

    names: list[str]
    geoms: list[tuple[int, int]]
    reach: Vector
    slack: Vector
    in_cell: NDArray[np.bool_]


class ArmModel:
    """The moving parts of a robot (g geoms, the elbow, the TCP; p points on them) and the cell's keep-out boxes.

    names: of the parts.  radius: [p] m.  part: [p], the part of each point; the last two are elbow and TCP.
    reach: [p, n] m, how far a point's sphere can be from each joint's axis in any posture (0 where the joint does not
    move it).  part_reach: [g + 2, n].  longest: [n], of all points.
    """

    def __init__(self, robot: Robot, keep_out: dict[str, tuple[Vector, Vector]], gripper: str | None):
        spec, self._robot_name, self._near = robot.spec(gripper), robot.name, robot.file.self_distance
        for name, (low, high) in keep_out.items():
            spec.worldbody.add_geom(
                name=f"keep_out:{name}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=(low + high) / 2.0,
                size=(high - low) / 2.0,
            )
        self.model = model = spec.compile()
        joints = [model.joint(name).id for name in robot.joint_names]
        self._bodies = [int(model.jnt_bodyid[j]) for j in joints]
        self.dof = len(joints)
        names = [model.geom(g).name for g in range(model.ngeom)]
        self._gripper_hull = any(name.startswith(GRIPPER_HULL) for name in names)
        self._geoms = [g for g in range(model.ngeom) if self._solid(g) and self._depth(g) > 0]
        if unwatched := unwatched_links(model):
            raise ProfileError(f"Robot '{robot.name}': {unwatched_advice(unwatched, robot.path.name, model)}")
        self.names = (*(self._label(g) for g in self._geoms), "elbow", "tcp")
        cover = [_cover(model, g, self._slide(g)) for g in self._geoms]
        self.part = np.repeat(np.arange(len(cover) + 2), [*(len(points) for points, _ in cover), 1, 1])
        self.radius = np.array([*(radius for points, radius in cover for _ in points), 0.0, 0.0])
        tcp, elbow = model.site("tcp").id, self._bodies[_elbow_joint(self.dof)]
        places = [
            (int(model.geom_bodyid[g]), self._in_body(g, point))
            for g, (points, _) in zip(self._geoms, cover, strict=True)
            for point in points
        ]
        places += [(elbow, np.zeros(3)), (int(model.site_bodyid[tcp]), model.site_pos[tcp].copy())]
        self.reach = np.array(
            [self._reach(*place, radius) for place, radius in zip(places, self.radius, strict=True)]
        )
        self.longest, self._moved = self.reach.max(axis=0), self.reach > 0.0
        first = np.searchsorted(self.part, np.arange(len(cover) + 2))  # point of each part
        self.part_reach = np.maximum.reduceat(self.reach, first)
        self.model = model = _with_sites(spec, places)
        self._address = _span(model.jnt_qposadr[j] for j in joints)
        self._dofs = _span(model.jnt_dofadr[j] for j in joints)
        self._sites = np.array([model.site(_SITE.format(k)).id for k in range(len(places))])
        self._joints = np.array(joints)
        rows = self._dofs if isinstance(self._dofs, slice) else self._dofs[:, None]
        self._square = rows, self._dofs  # of the joints, in a matrix of all degrees of freedom
        self._boxes = [model.geom(f"keep_out:{name}").id for name in keep_out]
        self._begin()

    def _begin(self) -> None:
        """A posture of its own, none computed yet."""
        model, data = self.model, mujoco.MjData(self.model)
        # MuJoCo's arrays, bound once: looking up an MjData attribute costs more than the arithmetic on it.
        self.data = data
        self._qpos, self._qvel, self._qacc = data.qpos, data.qvel, data.qacc
        self._anchors, self._energy = data.xanchor, data.energy
        self._site_xpos, self._site_xmat = data.site_xpos, data.site_xmat
        self._forces = np.zeros(model.nv)
        self._inertia = np.zeros((model.nv, model.nv))
        self._levers, self._levers_at = self.longest, np.zeros(self.dof)  # as measured last, and where

    def another(self) -> ArmModel:
        """The same arm with a posture of its own."""
        made = copy(self)
        made.pairs = self.pairs  # found once for all of them
        made._begin()
        return made

    def posture(self, joints_rad: Vector) -> Posture:
        """The arm at joints_rad [n]."""
        self._qpos[self._address] = joints_rad
        mujoco.mj_kinematics(self.model, self.data)
        return Posture(self._site_xpos.take(self._sites, axis=0), self._site_xmat.take(self._sites, axis=0))

    def postures(self, path_rad: Vector) -> Posture:
        """The arm at each sample of path_rad [m, n]: points [m, p, 3], rotation [m, p, 9]."""
        along = self._blank_postures(len(path_rad))
        for _ in self._visit(path_rad, along):
            pass
        return along

    def _blank_postures(self, count: int) -> Posture:
        return Posture(np.empty((count, len(self.radius), 3)), np.empty((count, len(self.radius), 9)))

    def _visit(self, path_rad: Vector, along: Posture) -> Iterator[int]:
        """Puts the model in each sample of path_rad [m, n] in turn, and fills in its posture."""
        for k, joints_rad in enumerate(path_rad):
            self._qpos[self._address] = joints_rad
            mujoco.mj_kinematics(self.model, self.data)
            self._site_xpos.take(self._sites, axis=0, out=along.points[k])
            self._site_xmat.take(self._sites, axis=0, out=along.rotation[k])
            yield k

    def levers(self, posture: Posture, swing: Vector) -> Vector:
        """How far [n] m the farthest point that a joint moves can be from it, while joints stay within swing [n] rad.

        posture must be the one that was computed last.
        """
        arms = posture.points[:, None] - self._anchors[self._joints]
        self._levers = (self._moved * (np.sqrt(np.vecdot(arms, arms)) + self.radius[:, None])).max(axis=0)
        self._levers_at = self._qpos[self._address].copy()
        return self.kept_levers(self._levers_at, swing)

    def kept_levers(self, joints_rad: Vector, swing: Vector) -> Vector:
        """`levers` at joints_rad [n] as those that were measured last bound them: never less, and quicker.

        Only the joints after a joint change how far from it a point can be.
        """
        change = self.longest * (np.abs(joints_rad - self._levers_at) + swing)
        return np.minimum(self.longest, self._levers + change[::-1].cumsum()[::-1] - change)

    def _solid(self, geom: int) -> bool:
        """Whether a geom is part of the arm's surface: of a known shape, and meant to collide.

        Where the gripper has a hull, that is watched instead of its parts.
        """
        model, name = self.model, self.model.geom(geom).name
        collides = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
        if self._gripper_hull and name.startswith(GRIPPER):
            collides = name.startswith(GRIPPER_HULL)
        return collides and int(model.geom_type[geom]) in SOLID

    def _depth(self, geom: int) -> int:
        """How many of the arm's joints move a geom."""
        body, depth = int(self.model.geom_bodyid[geom]), 0
        while body > 0:
            depth += body in self._bodies
            body = int(self.model.body_parentid[body])
        return depth

    def _slide(self, geom: int) -> Vector:
        """How far [3] m, in its own frame, a gripper joint may still move a geom from where the model has it."""
        model, body = self.model, int(self.model.geom_bodyid[geom])
        joint = int(model.body_jntadr[body])
        if joint < 0 or int(model.jnt_type[joint]) != int(mujoco.mjtJoint.mjJNT_SLIDE):
            return np.zeros(3)
        way = model.jnt_axis[joint] * np.abs(model.jnt_range[joint]).max()
        matrix = np.zeros(9)
        mujoco.mju_quat2Mat(matrix, model.geom_quat[geom])
        return matrix.reshape(3, 3).T @ way

    def _in_body(self, geom: int, local: Vector) -> Vector:
        turned = np.zeros(3)
        mujoco.mju_rotVecQuat(turned, local, self.model.geom_quat[geom])
        return self.model.geom_pos[geom] + turned

    def _reach(self, body: int, offset: Vector, radius: float) -> Vector:
        """[n]: the chain's length from each joint to the surface of a sphere at offset on body; 0 beyond it."""
        model, body = self.model, int(body)
        reach, length = np.zeros(self.dof), float(np.linalg.norm(offset)) + float(radius)
        while body > 0:
            if body in self._bodies:
                reach[self._bodies.index(body)] = length
            length += float(np.linalg.norm(model.body_pos[body]))
            body = int(model.body_parentid[body])
        return reach

    def torque(self, velocity_rad_s: Vector, acceleration_rad_s2: Vector) -> Vector:
        """Torque [n] Nm that a motion [n], [n] takes at the posture computed last: inertia, Coriolis, gravity.

        Of the links as the robot file has them, without friction, rotors and payload.
        """
        model, data = self.model, self.data
        self._qvel[self._dofs], self._qacc[self._dofs] = velocity_rad_s, acceleration_rad_s2
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 1, self._forces)
        return self._forces[self._dofs].copy()

    def torques(self, path_rad: Vector, velocity_rad_s: Vector, acceleration_rad_s2: Vector) -> Vector:
        """`torque` [m, n] at each sample of a motion, all [m, n]."""
        torques = np.empty_like(path_rad)
        for k, joints_rad in enumerate(path_rad):
            self._qpos[self._address] = joints_rad
            mujoco.mj_kinematics(self.model, self.data)
            torques[k] = self.torque(velocity_rad_s[k], acceleration_rad_s2[k])
        return torques

    def torque_bound(self, acceleration_max_rad_s2: Vector) -> Vector:
        """The largest |torque| [n] Nm that accelerations up to a maximum [n] can take.

        At the posture computed last and the velocity that `torque` was asked for last.
        """
        mujoco.mj_rne(self.model, self.data, 0, self._forces)
        return np.abs(self._forces[self._dofs]) + np.abs(self._mass_matrix()) @ acceleration_max_rad_s2

    def motion(
        self, path_rad: Vector, velocity_rad_s: Vector, acceleration_rad_s2: Vector, change_max_rad_s2: Vector
    ) -> tuple[Posture, Vector, Vector]:
        """`postures`, `torque` [m, n] and `torque_bound` [m, n] at each sample of a motion; all [m, n]."""
        along, torques, bounds = (
            self._blank_postures(len(path_rad)), np.empty_like(path_rad), np.empty_like(path_rad),
        )  # fmt: skip
        for k in self._visit(path_rad, along):
            torques[k] = self.torque(velocity_rad_s[k], acceleration_rad_s2[k])
            bounds[k] = self.torque_bound(change_max_rad_s2[k])
        return along, torques, bounds

    def _mass_matrix(self) -> Vector:
        """Joint inertia [n, n] kg m^2 at the posture computed last, rotors included."""
        mujoco.mj_makeM(self.model, self.data)
        mujoco.mj_fullM(self.model, self.data, self._inertia)
        return self._inertia[self._square]

    def mobility_of_tcp(self) -> Vector:
        """[3, 3] 1/kg: J inv(M) J' of the TCP at the posture computed last, in the base frame."""
        mujoco.mj_comPos(self.model, self.data)
        jacobian = np.zeros((3, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, jacobian, None, int(self._sites[-1]))
        moved = jacobian[:, self._dofs]
        return moved @ np.linalg.solve(self._mass_matrix(), moved.T)

    def kinetic_energy(self, velocity_rad_s: Vector) -> float:
        """Kinetic energy, J, of a motion [n] at the posture computed last, rotors included."""
        self._qvel[self._dofs] = velocity_rad_s
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_makeM(self.model, self.data)
        mujoco.mj_energyVel(self.model, self.data)
        return float(self._energy[1])

    def kinetic_energies(self, path_rad: Vector, velocity_rad_s: Vector) -> Vector:
        """`kinetic_energy` [m] at each sample of a motion, both [m, n]. The last one is the posture computed last."""
        energies = np.empty(len(path_rad))
        for k, joints_rad in enumerate(path_rad):
            self._qpos[self._address] = joints_rad
            mujoco.mj_kinematics(self.model, self.data)
            energies[k] = self.kinetic_energy(velocity_rad_s[k])
        return energies

    def gaps(self, apart_m: float) -> Gaps:
        """The gaps between links and keep-out boxes, and those of at least apart_m between links, the base included.

        Links that are neighbours are left out, but for the pairs that the robot file names under self_distance.
        """
        pairs = self.pairs
        needed = np.where(pairs.in_cell, 0.0, apart_m)
        return Gaps(self.model, self.data, pairs.names, pairs.geoms, pairs.reach, pairs.slack, needed)

    @cached_property
    def pairs(self) -> Pairs:
        """What `gaps` are between. Raises RobotError where the robot file names what it does not have."""
        model = self.model
        parts = list(enumerate(self._geoms))
        cell = [((-1, box), part) for box in self._boxes for part in parts]
        base = [g for g in range(model.ngeom) if model.geom_bodyid[g] and self._depth(g) == 0]
        parts = [*((-1, g) for g in base if self._solid(g)), *parts]
        near = self._near_pairs()
        own = [
            (first, second)
            for k, first in enumerate(parts)
            for second in parts[k + 1 :]
            if self._depth(second[1]) - self._depth(first[1]) >= _SELF_GAP_JOINTS
            or frozenset((first[1], second[1])) in near
        ]
        pairs, still = cell + own, np.zeros(self.dof)
        reach: list[Vector] = []
        for (i, _), (j, _) in pairs:
            first, second = (self.part_reach[k] if k >= 0 else still for k in (i, j))
            # a joint before both moves them together: it cannot change their distance
            reach.append(np.where((first > 0.0) & (second > 0.0), 0.0, np.maximum(first, second)))
        return Pairs(
            names=[f"{self._label(g)} - {self._label(h)}" for (_, g), (_, h) in pairs],
            geoms=[(g, h) for (_, g), (_, h) in pairs],
            reach=np.array(reach).reshape(-1, self.dof),
            slack=np.array([sum(float(np.linalg.norm(self._slide(g))) for _, g in pair) for pair in pairs]),
            in_cell=np.arange(len(pairs)) < len(cell),
        )

    def _near_pairs(self) -> set[frozenset[int]]:
        """Pairs of geoms of neighbouring links that can touch: those that the robot file names."""
        pairs = self._near.pairs if self._near else []
        return {
            frozenset((g, h))
            for first, second in pairs
            for g in self._called(first)
            for h in self._called(second)
        }

    def _called(self, name: str) -> list[int]:
        """The solid geoms that a name of a link, of a shape or `gripper` stands for."""
        if name == "gripper":
            return [g for g in self._geoms if self._label(g).startswith(GRIPPER)]
        model = self.model
        names = (
            (g, model.geom(g).name, model.body(int(model.geom_bodyid[g])).name) for g in range(model.ngeom)
        )
        found = [g for g, *both in names if name in both and self._solid(g)]
        if not found:
            raise RobotError(
                f"Robot '{self._robot_name}': self_distance.pairs names '{name}', which is not a link, and no "
                f"capsule or box of one. Links: {', '.join(model.body(body).name for body in range(1, model.nbody))}."
            )
        return found

    def _label(self, geom: int) -> str:
        name = self.model.geom(geom).name
        return name or f"{self.model.body(int(self.model.geom_bodyid[geom])).name}/{geom}"


_COMPILED: WeakKeyDictionary[Robot, dict[Hashable, ArmModel]] = WeakKeyDictionary()


def arm_in_cell(robot: Robot, boxes: Sequence[Box], gripper: str | None) -> ArmModel:
    """An `ArmModel` among keep-out boxes, with a posture of its own.

    Compiled once for a robot, a cell and a gripper: a profile's modes, and its check at the home position, share it.
    """
    known = _COMPILED.setdefault(robot, {})
    key = (gripper, *((box.name, box.min_m, box.max_m) for box in boxes))
    if key not in known:
        made = ArmModel(
            robot, {box.name: (np.array(box.min_m), np.array(box.max_m)) for box in boxes}, gripper
        )
        if len(known) == _CELLS_KEPT:
            del known[next(iter(known))]
        known[key] = made
    return known[key].another()


def point_speeds(before: Posture, after: Posture, radius: Vector, period_s: float) -> Vector:
    """[..., p] m/s: an upper bound on the mean speed of the surface of each point's sphere between two postures.

    A turn by the angle t moves the surface by at most radius * t more than the centre.
    """
    moved, turned = after.points - before.points, after.rotation - before.rotation
    # |R1 - R0|_F = 2 sqrt(2) sin(t / 2), and t <= 1.001 * 2 sin(t / 2) up to t = 0.15 rad
    angle = np.sqrt((0.5 * 1.001**2) * np.vecdot(turned, turned))
    return (np.sqrt(np.vecdot(moved, moved)) + radius * angle) / period_s


def _with_sites(spec: mujoco.MjSpec, places: list[tuple[int, Vector]]) -> mujoco.MjModel:
    """The model with a site at each place (body, position [3] m on it)."""
    bodies = {body.id: body for body in spec.bodies}
    for k, (body, place) in enumerate(places):
        bodies[body].add_site(name=_SITE.format(k), pos=place)
    return spec.compile()


def _span(addresses: Iterable[int]) -> slice | NDArray[np.intp]:
    """Addresses in MuJoCo's arrays, as a slice where they follow each other: quicker."""
    given = np.fromiter(addresses, np.intp)
    first, count = int(given[0]), len(given)
    return slice(first, first + count) if (given == np.arange(first, first + count)).all() else given


def _cover(model: mujoco.MjModel, geom: int, slide: Vector) -> tuple[Vector, float]:
    """Points [k, 3] in the geom's frame and the radius whose spheres' hull contains the geom, slid or not."""
    size, kind = model.geom_size[geom], int(model.geom_type[geom])
    if kind == BOX:
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        points, radius = signs * size, 0.0
        if np.count_nonzero(slide) == 1:  # along an edge: the corners on that side go all the way
            return points + slide * (points @ slide > 0.0)[:, None], radius
    else:
        half = size[1] if kind in ENDED else 0.0
        points, radius = np.array([[0.0, 0.0, -half], [0.0, 0.0, half]]), float(size[0])
    return (np.concatenate([points, points + slide]) if slide.any() else points), radius


def _elbow_joint(dof: int) -> int:
    """The joint whose frame is the elbow: joint 4 of a 7-joint arm, joint 3 of a 6-joint arm."""
    return 3 if dof == 7 else 2
