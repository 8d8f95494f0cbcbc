"""Which parts of a robot the safety monitor can watch, and which links it cannot."""

from __future__ import annotations

import mujoco

SPHERE, BOX = int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_BOX)
ENDED = (int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER))
SOLID = (*ENDED, SPHERE, BOX)  # shapes that the monitor can watch
_PAYLOAD = "payload"


def unwatched_links(model: mujoco.MjModel) -> list[str]:
    """The links, one after the other, of which a part is not watched: a mesh that touches, or no shape at all.

    A body without geometry and without mass is a frame, and the world's own geometry is the cell's.
    """
    found = []
    for body in range(1, model.nbody):
        geoms = [g for g in range(model.ngeom) if model.geom_bodyid[g] == body]
        touching = [g for g in geoms if model.geom_contype[g] or model.geom_conaffinity[g]]
        solid = [g for g in touching if int(model.geom_type[g]) in SOLID]
        moves = bool(model.body_weldid[body])
        name = model.body(body).name
        real = len(geoms) > 0 or (moves and model.body_mass[body] > 1e-3)
        if name != _PAYLOAD and real and (not solid or len(solid) < len(touching)):
            found.append(name)
    return found


def unwatched_advice(links: list[str], robot: str, model: mujoco.MjModel) -> str:
    """What is wrong with links that are not watched, and what to do: fit hulls where there is geometry."""
    empty = [name for name in links if int(model.body_geomnum[model.body(name).id]) == 0]
    shaped = [name for name in links if name not in empty]
    said = []
    if shaped:
        said.append(
            f"{_named(shaped)} geometry that the safety monitor cannot check (a mesh): `serve` refuses the arm. Fit "
            f"hulls to the meshes and write them into the robot file: robolearn robots hulls {robot}. Or give them "
            "under `hulls`."
        )
    if empty:
        said.append(
            f"{_named(empty)} a mass and no geometry, which the safety monitor cannot check: `serve` refuses the arm. "
            "There is nothing in the model file to fit a hull to: write one under `hulls`, or fit it to a mesh of your "
            f"own: robolearn robots hulls {robot} --mesh {empty[0]}=MESH"
        )
    return " ".join(said)


def _named(links: list[str]) -> str:
    return f"Link {links[0]!r} has" if len(links) == 1 else f"Links {', '.join(map(repr, links))} have"
