"""Hulls of an arm's links, fitted to its geometry and written into its robot file, where a person can change them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
import yaml
from numpy.typing import NDArray

from robolearn.errors import RobotError, unknown
from robolearn.files.writing import replace_file
from robolearn.robots.arm_in_file import isolate_arm
from robolearn.robots.hull_fit import PIECES_MAX, contained, fit_hull
from robolearn.robots.kinematics import rotation_from_quaternion
from robolearn.robots.meshes import mesh_triangles
from robolearn.robots.model_file import read_model
from robolearn.robots.robot import read_robot_file, robot_from_file
from robolearn.robots.schema import Hull, RobotFile, Shape
from robolearn.robots.watched import unwatched_links

Array = NDArray[np.float64]

MARGIN_M = 0.002
_SIDES = 24  # of the prism around a round shape
_BLOCK = re.compile(r"^hulls:.*\n(?:[ \t#-].*\n|\n(?=[ \t]))*", re.MULTILINE)


class Fitted(NamedTuple):
    """Hulls by link, and which meshes could not be looked at, one sentence each."""

    hulls: dict[str, Hull]
    left_out: list[str]


def fit_hulls(
    path: Path,
    margin_m: float = MARGIN_M,
    *,
    meshes: dict[str, Path] | None = None,
    every: bool = False,
    pieces_max: int = PIECES_MAX,
) -> Fitted:
    """Hulls for the links of the robot file at path that the monitor cannot watch; with every, for all of them.

    The geometry is that of the model file, seen and touching, and meshes [link: mesh file in the link's frame, m].
    Raises RobotError where a hull cannot be fitted.
    """
    file = read_robot_file(path)
    found, left_out = ({}, []) if file.model is None else _of_model(file, path.parent)
    sources = {name: [f"{file.model.mjcf or file.model.urdf}"] if file.model else [] for name in found}
    links = [link.name for link in file.links.bodies] if file.links else list(found)
    for name, mesh in (meshes or {}).items():
        if name not in links:
            raise RobotError(unknown("link", name, links))
        triangles = mesh_triangles(mesh)
        found[name] = np.concatenate([found[name], triangles]) if name in found else triangles
        sources.setdefault(name, []).append(str(mesh))
    wanted = set(meshes or {}) | (
        set(found) if every else set(unwatched_links(robot_from_file(path).spec().compile()))
    )
    hulls = {
        name: Hull(
            source=f"fitted by robolearn to the geometry of {name} in {', '.join(sources[name])}",
            trust="computed",
            margin_m=margin_m,
            shapes=_proved(name, triangles, margin_m, pieces_max),
        )
        for name, triangles in found.items()
        if name in wanted
    }
    return Fitted(hulls, left_out)


def write_hulls(path: Path, hulls: dict[str, Hull]) -> None:
    """Put hulls into the `hulls` block of a robot file; those of other links there are kept, the rest untouched."""
    before = path.read_text(encoding="utf-8")
    both = read_robot_file(path).hulls | hulls
    body = {name: hull.model_dump(mode="json", exclude_none=True) for name, hull in both.items()}
    text = "hulls:\n" + "".join(_entry(name, hull) for name, hull in body.items())
    rest = _BLOCK.sub("", before).rstrip("\n")
    replace_file(path, f"{rest}\n\n{text}".encode())
    try:
        robot_from_file(path).spec().compile()
    except (RobotError, ValueError) as error:
        replace_file(path, before.encode())
        raise RobotError(f"'{path}' was not changed: with the hulls it cannot be built: {error}") from None


def _entry(name: str, hull: dict[str, Any]) -> str:
    shapes = hull.pop("shapes")
    head = yaml.safe_dump({name: hull}, sort_keys=False, width=110, allow_unicode=True)
    lines = [f"  {line}\n" for line in head.splitlines()]
    flow = (
        yaml.safe_dump(shape, default_flow_style=True, sort_keys=False, width=10_000).strip()
        for shape in shapes
    )
    return "".join([*lines, "    shapes:\n", *(f"      - {shape}\n" for shape in flow)])


def _proved(name: str, triangles: Array, margin_m: float, pieces_max: int) -> list[Shape]:
    """The shapes of a link's hull, once every corner and a sample of the surface has been found inside."""
    shapes = fit_hull(triangles, margin_m, pieces_max)
    weights = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], len(triangles))
    sampled = np.einsum("kc,kcx->kx", weights, triangles)
    corners = triangles.reshape(-1, 3)
    if not contained(corners, shapes, margin_m).all() or not contained(sampled, shapes).all():
        raise RobotError(f"The hull of link '{name}' does not contain its geometry: write one by hand.")
    return shapes


def _of_model(file: RobotFile, folder: Path) -> tuple[dict[str, Array], list[str]]:
    """The triangles [k, 3, 3] of every link of a model file that has geometry, in the frame of its body.

    And what of the file could not be read, one sentence each.
    """
    assert file.model is not None
    spec, left_out = read_model(file.model, folder, file.hulls, seen=True)
    for element in (*spec.actuators, *spec.sensors, *spec.keys, *spec.cameras, *spec.lights):
        spec.delete(element)
    isolate_arm(spec, file.model, list(file.joint_names), gripper=True)
    model = spec.compile()
    found: dict[str, list[Array]] = {}
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        triangles = _triangles(model, geom)
        if body and len(triangles):
            turn, pos = rotation_from_quaternion(model.geom_quat[geom]), model.geom_pos[geom]
            found.setdefault(model.body(body).name, []).append(triangles @ turn.T + pos)
    return {name: np.concatenate(parts) for name, parts in found.items()}, left_out


def _triangles(model: mujoco.MjModel, geom: int) -> Array:
    """A geom's surface, or one around it, in its own frame; none of a plane or a height field."""
    kind, size = mujoco.mjtGeom(int(model.geom_type[geom])), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        face, faces = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = model.mesh_vert[first : first + count].astype(np.float64)
        return vertices[model.mesh_face[face : face + faces]]
    half = {
        mujoco.mjtGeom.mjGEOM_BOX: size,
        mujoco.mjtGeom.mjGEOM_SPHERE: size[[0, 0, 0]],
        mujoco.mjtGeom.mjGEOM_ELLIPSOID: size,
        mujoco.mjtGeom.mjGEOM_CYLINDER: size[[0, 0, 1]],
        mujoco.mjtGeom.mjGEOM_CAPSULE: size[[0, 0, 1]] + [0.0, 0.0, size[0]],
    }.get(kind)
    if half is None:
        return np.zeros((0, 3, 3))
    return _prism(half, 4 if kind == mujoco.mjtGeom.mjGEOM_BOX else _SIDES)


def _prism(half: Array, sides: int) -> Array:
    """The triangles of an upright prism around the elliptic cylinder, or (4 sides) the box, with these half axes."""
    angle = (np.arange(sides) + 0.5) * 2.0 * np.pi / sides
    scale = 1.0 / np.cos(np.pi / sides) if sides > 4 else np.sqrt(2.0)
    ring = np.stack([scale * half[0] * np.cos(angle), scale * half[1] * np.sin(angle)], axis=1)
    top, low = (np.column_stack([ring, np.full(sides, z)]) for z in (half[2], -half[2]))
    after = np.roll(np.arange(sides), -1)
    wall = [np.stack([low, low[after], top], axis=1), np.stack([top, low[after], top[after]], axis=1)]
    lids = [
        np.stack([np.repeat(ring_z[:1], sides, axis=0), ring_z, ring_z[after]], axis=1)
        for ring_z in (top, low)
    ]
    return np.concatenate([*wall, *lids])
