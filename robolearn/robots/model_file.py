"""Reading the user's own MJCF, URDF or xacro file, as it was published, into a MuJoCo spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import mujoco

from robolearn.errors import RobotError
from robolearn.files.reading import MIB, read_regular
from robolearn.robots.meshes import mesh_asset
from robolearn.robots.mujoco_log import log_to_console_only
from robolearn.robots.resources import find_resource
from robolearn.robots.schema import ModelFile
from robolearn.robots.xacro_file import expanded_xacro

_BYTES_MAX = 64 * MIB
# Fixed links stay bodies of their own (`tool0` is one), meshes are found by the names that they are given here.
_COMPILER = {"fusestatic": "false", "strippath": "false", "discardvisual": "false", "balanceinertia": "true"}


class ReadModel(NamedTuple):
    """A spec, and what of its file was left out, one sentence each."""

    spec: mujoco.MjSpec
    left_out: list[str]


def model_path(model: ModelFile, folder: Path) -> Path:
    """The model file of a robot file in folder. Raises RobotError where there is none."""
    path = folder / str(model.mjcf or model.urdf)
    if not path.is_file():
        raise RobotError(f"No model file '{path}'. Paths are relative to the robot file.")
    return path


def is_mjcf(path: Path) -> bool:
    """Whether a file is an MJCF file, by its root element; what is no XML is left to the reader of URDF."""
    try:
        return (
            path.suffix != ".xacro" and ElementTree.fromstring(read_regular(path, _BYTES_MAX)).tag == "mujoco"
        )
    except ElementTree.ParseError:
        return False


def read_model(
    model: ModelFile, folder: Path, hulls: Iterable[str] = (), *, seen: bool = False, bare: bool = False
) -> ReadModel:
    """The spec of a robot file's own model, meshes included.

    hulls: links whose hull the robot file has: a mesh of theirs that cannot be read is only not drawn. seen: whether
    to keep what is only seen of links that have collision geometry too. bare: a URDF without its geometry, which then
    need not be there, nor that of links which `model.cut` takes away. Raises RobotError that names what cannot be read.
    """
    path = model_path(model, folder)
    log_to_console_only()
    if model.mjcf is not None:
        try:
            return ReadModel(mujoco.MjSpec.from_file(str(path)), [])
        except ValueError as error:
            raise RobotError(f"MuJoCo cannot read '{path}': {error}") from None
    dirs = [folder / given for given in model.package_dirs]
    root = urdf_root(path, model.xacro_args, dirs)
    links = {str(link.get("name")) for link in root.findall("link")}
    _strip(root, links if bare else _carried(root, set(model.cut)))
    assets, left_out = _prepare(root, path, dirs, set(hulls), seen)
    try:
        text = ElementTree.tostring(root, encoding="unicode")
        spec = mujoco.MjSpec.from_string(text, assets=assets)
    except ValueError as error:
        raise RobotError(f"MuJoCo cannot read '{path}': {error}") from None
    touching = {geom.meshname for geom in spec.geoms if geom.contype}
    for mesh in spec.meshes:
        if mesh.name not in touching:  # flat ones have no volume, and weigh nothing here
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
    return ReadModel(spec, left_out)


def urdf_root(
    path: Path, xacro_args: dict[str, str] | None = None, package_dirs: Sequence[Path] = ()
) -> ElementTree.Element:
    """The root element of a URDF, of a xacro file once it is expanded. Raises RobotError."""
    data = read_regular(path, _BYTES_MAX)
    if path.suffix == ".xacro":
        data = expanded_xacro(path, xacro_args or {}, package_dirs)
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise RobotError(f"'{path}' is not XML: {error}.") from None
    if root.tag != "robot":
        raise RobotError(
            f"'{path}' is not a URDF: its root is <{root.tag}>, not <robot>. An MJCF file goes by `mjcf`."
        )
    return root


def links_without_mass(model: ModelFile, folder: Path) -> list[str]:
    """Links of a URDF that have geometry and no inertial: MuJoCo works their masses out from the geometry."""
    if model.urdf is None:
        return []
    root = urdf_root(
        model_path(model, folder), model.xacro_args, [folder / given for given in model.package_dirs]
    )
    children = [joint.find("child") for joint in root.findall("joint") if joint.get("type") != "fixed"]
    moved = _carried(root, {str(child.get("link")) for child in children if child is not None})
    gone = _carried(root, set(model.cut))
    return [
        name
        for link in root.findall("link")
        if (name := str(link.get("name"))) in moved - gone
        and link.find("inertial") is None
        and link.find("collision") is not None
    ]


def _carried(root: ElementTree.Element, links: set[str]) -> set[str]:
    """These links, and all that joints hang on them."""
    children: dict[str, list[str]] = {}
    for joint in root.findall("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        if parent is not None and child is not None:
            children.setdefault(str(parent.get("link")), []).append(str(child.get("link")))
    found, todo = set(), list(links)
    while todo:
        link = todo.pop()
        if link not in found:
            found.add(link)
            todo += children.get(link, [])
    return found


def _strip(root: ElementTree.Element, links: set[str]) -> None:
    """Take the geometry of links out of a URDF."""
    for link in root.findall("link"):
        if link.get("name") in links:
            for element in (*link.findall("visual"), *link.findall("collision")):
                link.remove(element)


def _prepare(
    root: ElementTree.Element, path: Path, dirs: list[Path], hulls: set[str], seen: bool
) -> tuple[dict[str, bytes], list[str]]:
    """Make a URDF one that MuJoCo reads. Its meshes, by the names that they get in it; what was left out."""
    meshdir = _own_compiler(root)
    places = [*dirs, *([path.parent / meshdir] if meshdir else [])]
    assets: dict[str, bytes] = {}
    left_out: list[str] = []
    for link in root.findall("link"):
        touched = link.findall("collision")
        for kind, element in [("collision", e) for e in touched] + [
            ("visual", e) for e in link.findall("visual")
        ]:
            element.attrib.pop("name", None)  # often given twice
            if (
                kind == "visual" and touched and not seen
            ):  # what touches is what is drawn: one of the two is enough
                link.remove(element)
                continue
            mesh = element.find("geometry/mesh")
            if mesh is None:
                continue
            try:
                _bring(mesh, path.parent, places, assets)
            except (RobotError, OSError) as error:
                if kind == "collision" and link.get("name") not in hulls:
                    raise _unreadable(path, str(link.get("name")), error) from None
                link.remove(element)
                left_out.append(f"Link '{link.get('name')}' is drawn without a {kind} mesh: {error}")
    for joint in root.findall("joint"):
        _forget_drive(joint)
    return assets, left_out


def _unreadable(path: Path, link: str, error: Exception) -> RobotError:
    return RobotError(
        f"'{path}': the collision mesh of link '{link}' cannot be read: {error} Or give the link a hull under `hulls` "
        "in the robot file: then the mesh is not needed."
    )


def _own_compiler(root: ElementTree.Element) -> str | None:
    """Set the compiler's options, whatever the file sets; its meshdir."""
    extension = root.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(root, "mujoco")
    compiler = extension.find("compiler")
    if compiler is None:
        compiler = ElementTree.SubElement(extension, "compiler")
    compiler.attrib.update(_COMPILER)
    return compiler.attrib.pop("meshdir", None)


def _bring(mesh: ElementTree.Element, beside: Path, places: list[Path], assets: dict[str, bytes]) -> None:
    """Load a mesh into assets, and let the element name it there."""
    found = find_resource(mesh.get("filename", ""), beside, places)
    suffix, data = mesh_asset(found.resolve())
    name = next((name for name, known in assets.items() if known is data), None)
    if name is None:
        name = f"{found.stem}_{len(assets)}{suffix}"
        assets[name] = data
    mesh.set("filename", name)


def _forget_drive(joint: ElementTree.Element) -> None:
    """Take out what the robot file says better: limits of effort and speed; and ranges of joints that have none."""
    limit = joint.find("limit")
    if limit is not None:
        limit.attrib.pop("effort", None)
        limit.attrib.pop("velocity", None)
        if joint.get("type") == "continuous":
            joint.remove(limit)
