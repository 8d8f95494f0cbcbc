"""From a robot file to a MuJoCo spec: bodies, geometry, drives, sensors, the home pose.

Collision bits: geoms of the arm and the gripper have contype 0 and conaffinity 1. They touch whatever has contype 1
(MuJoCo's default: floors, tables, objects) and never each other: contacts stay few, and distances between the arm's
own links are the safety monitor's business.
"""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from robolearn.errors import RobotError, unknown
from robolearn.robots.arm_in_file import isolate_arm
from robolearn.robots.hull import add_hull_shape, set_shape
from robolearn.robots.kinematics import rotation_from_rpy
from robolearn.robots.limits import JointLimits
from robolearn.robots.model_file import read_model
from robolearn.robots.mujoco_log import log_to_console_only
from robolearn.robots.schema import (
    Accent,
    Hull,
    Inertia,
    Link,
    Links,
    RobotFile,
    Servo,
)

_TRUE = mujoco.mjtLimited.mjLIMITED_TRUE


def build_arm(
    file: RobotFile, limits: JointLimits, folder: Path, gripper: bool = False
) -> tuple[mujoco.MjSpec, str, mujoco.MjsBody]:
    """A spec with the arm's bodies, joints and the site `flange`; the base's name; the last body.

    The base of an arm from the user's own file is the world, moved to where `ModelFile` says.
    gripper: whether a gripper of that file stays on it, where it is to be the robot's.
    """
    log_to_console_only()
    if file.model is not None:
        return _from_model_file(file, limits, folder, gripper)
    return _from_links(file, limits)


def add_drives(spec: mujoco.MjSpec, names: tuple[str, ...], limits: JointLimits, servo: Servo) -> None:
    """Position servos named like the joints: force = kp (ctrl - q) - kv dq/dt, within the torque limit."""
    for index, name in enumerate(names):
        joint = spec.joint(name)
        joint.armature = servo.armature_kgm2[index]
        joint.damping = [servo.damping_nms_rad[index], 0.0, 0.0]
        if servo.friction_nm:
            joint.frictionloss = servo.friction_nm[index]
        torque = float(limits.torque_nm[index])
        actuator = spec.add_actuator(
            name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT, ctrllimited=_TRUE, forcelimited=_TRUE,
            ctrlrange=[limits.position_min_rad[index], limits.position_max_rad[index]], forcerange=[-torque, torque],
        )  # fmt: skip
        actuator.set_to_position(kp=servo.kp_nm_rad[index], kv=servo.kv_nms_rad[index])


def add_payload(parent: mujoco.MjsBody, flange: mujoco.MjsSite, mass_kg: float, com_m: list[float]) -> None:
    """A mass on the flange that the arm's gravity compensation does not know of: a ball of 3 cm at com_m [3]."""
    frame = parent.add_frame(pos=flange.pos, quat=flange.quat)
    body = parent.add_body(name="payload", mass=mass_kg, ipos=com_m)
    body.set_frame(frame)
    body.explicitinertial = True
    body.inertia = [0.4 * mass_kg * 0.03**2] * 3


def add_sensors(spec: mujoco.MjSpec, names: tuple[str, ...], base: str) -> None:
    """`<joint>_pos`, `<joint>_vel`, and the TCP's pose and velocity in the base frame."""
    kinds = mujoco.mjtSensor
    for name in names:
        for suffix, kind in (("pos", kinds.mjSENS_JOINTPOS), ("vel", kinds.mjSENS_JOINTVEL)):
            spec.add_sensor(
                name=f"{name}_{suffix}", type=kind, objtype=mujoco.mjtObj.mjOBJ_JOINT, objname=name
            )
    frame = (
        ("tcp_pos", kinds.mjSENS_FRAMEPOS),
        ("tcp_quat", kinds.mjSENS_FRAMEQUAT),
        ("tcp_linvel", kinds.mjSENS_FRAMELINVEL),
    )
    for name, kind in frame:
        spec.add_sensor(
            name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="tcp",
            reftype=mujoco.mjtObj.mjOBJ_XBODY, refname=base,
        )  # fmt: skip


def set_options(spec: mujoco.MjSpec) -> None:
    """Step and integrator that the drives are tuned for."""
    spec.option.timestep = 0.005
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def _from_links(file: RobotFile, limits: JointLimits) -> tuple[mujoco.MjSpec, str, mujoco.MjsBody]:
    assert file.kinematics is not None
    assert file.links is not None
    spec = mujoco.MjSpec()
    spec.modelname = file.name
    spec.compiler.degree = False
    set_options(spec)
    links = {link.joint: link for link in file.links.bodies}
    _add_materials(spec, file.links)
    hulls = {link.name: file.hull_of(link) for link in file.links.bodies}
    body = _add_link(spec.worldbody, links[None], hulls, np.zeros(3), np.eye(3))
    position, rotation, index = np.zeros(3), np.eye(3), 0
    for step in file.kinematics.steps:
        position = position + rotation @ np.array(step.xyz_m)
        rotation = rotation @ rotation_from_rpy(step.rpy_rad)
        if step.type == "fixed":
            continue
        body = _add_link(body, links[step.name], hulls, position, rotation)
        joint = body.add_joint(name=step.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=step.axis)
        _limit_joint(joint, limits, index)
        position, rotation, index = np.zeros(3), np.eye(3), index + 1
    _add_flange(body, position, rotation)
    return spec, file.links.bodies[0].name, body


def _from_model_file(
    file: RobotFile, limits: JointLimits, folder: Path, gripper: bool
) -> tuple[mujoco.MjSpec, str, mujoco.MjsBody]:
    assert file.model is not None
    spec = read_model(file.model, folder, file.hulls).spec
    own = {"tcp", "flange"}
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    taken = [*spec.actuators, *spec.sensors, *spec.keys, *(site for site in spec.sites if site.name in own)]
    taken += [*(geom for geom in spec.worldbody.geoms if geom.type == plane), *spec.lights, *spec.cameras]
    for element in taken:  # a task brings its own floor, light and cameras
        spec.delete(element)
    every = {body.name for body in spec.bodies}
    last = isolate_arm(spec, file.model, file.joint_names, gripper)
    set_options(spec)
    for body in spec.bodies[1:]:
        body.gravcomp = 1.0
    if unknown_links := [name for name in file.hulls if name not in every]:
        raise RobotError(f"hulls: {unknown('link', unknown_links[0], sorted(every - {'world'}))}")
    _cover(spec, {name: hull for name, hull in file.hulls.items() if spec.body(name) is not None})
    unit = np.pi / 180.0 if spec.compiler.degree else 1.0
    for index, name in enumerate(file.joint_names):
        _limit_joint(spec.joint(name), limits, index, unit)
    _add_flange(last, np.array(file.model.flange_xyz_m), rotation_from_rpy(file.model.flange_rpy_rad))
    return spec, "world", last


def _cover(spec: mujoco.MjSpec, hulls: dict[str, Hull]) -> None:
    """Let the links that have a hull be touched and watched by it, the others by their own collision geometry."""
    for geom in spec.geoms:
        if geom.parent.name in hulls:
            geom.contype = geom.conaffinity = 0
        elif geom.contype or geom.conaffinity:
            geom.contype, geom.conaffinity = 0, 1
    for name, hull in hulls.items():
        for number, shape in enumerate(hull.shapes):
            add_hull_shape(spec.body(name), f"{name}_{number}", shape, mass_kg=0.0)


def _limit_joint(joint: mujoco.MjsJoint, limits: JointLimits, index: int, unit: float = 1.0) -> None:
    joint.range = [limits.position_min_rad[index] / unit, limits.position_max_rad[index] / unit]
    joint.limited = _TRUE


def _add_flange(body: mujoco.MjsBody, position: np.ndarray, rotation: np.ndarray) -> None:
    body.add_site(
        name="flange", pos=position, quat=_quaternion(rotation), size=[0.005] * 3, rgba=[0, 0, 0, 0]
    )


def _add_materials(spec: mujoco.MjSpec, links: Links) -> None:
    for name, color in links.colors.items():
        spec.add_material(name=f"arm_{name}", rgba=[*color, 1.0], specular=0.4, shininess=0.5)


def _add_link(
    parent: mujoco.MjsBody,
    link: Link,
    hulls: dict[str, Hull | None],
    position: np.ndarray,
    rotation: np.ndarray,
) -> mujoco.MjsBody:
    """The body with its inertia as measured, whatever its geometry."""
    body = parent.add_body(
        name=link.name, pos=position, quat=_quaternion(rotation), gravcomp=0.0 if link.joint is None else 1.0
    )
    if link.inertia_kgm2 is not None and link.com_m is not None:
        body.mass, body.ipos, body.fullinertia = link.mass_kg, link.com_m, _inertia(link, link.inertia_kgm2)
        body.explicitinertial = True
    _add_geoms(body, link, hulls[link.name])
    return body


def _add_geoms(body: mujoco.MjsBody, link: Link, hull: Hull | None) -> None:
    """The hull, not seen, and the geometry, which then touches nothing; without a hull the geometry is it."""
    shapes = [] if hull is None else hull.shapes
    for number, shape in enumerate(shapes):
        add_hull_shape(body, f"{link.name}_{number}", shape)
    for number, geometry in enumerate(link.geometry):
        name = f"{link.name}_seen_{number}" if shapes else f"{link.name}_{number}"
        geom = body.add_geom(name=name, material=f"arm_{geometry.color}", contype=0, conaffinity=1)
        if isinstance(geometry, Accent):
            _set_accent(geom, geometry)
        else:
            set_shape(geom, geometry)
        if shapes or isinstance(geometry, Accent):
            geom.contype = geom.conaffinity = 0
            geom.group = 1


def _inertia(link: Link, given: Inertia) -> np.ndarray:
    """The tensor in the link's axes, in MuJoCo's order xx yy zz xy xz yz."""
    tensor = np.array(
        [[given.xx, given.xy, given.xz], [given.xy, given.yy, given.yz], [given.xz, given.yz, given.zz]]
    )
    turn = rotation_from_rpy(link.inertia_frame_rpy_rad)
    return (turn @ tensor @ turn.T)[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _set_accent(geom: mujoco.MjsGeom, accent: Accent) -> None:
    geom.type = mujoco.mjtGeom.mjGEOM_ELLIPSOID
    geom.pos, geom.size = accent.center_m, [accent.radius_m, accent.radius_m, accent.half_width_m]
    quaternion = np.zeros(4)
    mujoco.mju_quatZ2Vec(quaternion, np.array(accent.axis))
    geom.quat = quaternion


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    return quaternion
