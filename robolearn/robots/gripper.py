"""A parallel gripper: its facts, and how it is built onto a flange."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco

from robolearn.robots.hull import add_hull_shape
from robolearn.robots.kinematics import ChainStep, quaternion_from_rpy
from robolearn.robots.schema import GripperFile, Mount, Shape

KIND = "parallel"
HULLED = ("parallel", "franka_hand")
FINGERS = ("gripper_left", "gripper_right")
GRIPPER = "gripper_"  # how the names of all its parts begin
GRIPPER_HULL = "gripper_hull_"  # with a number: shapes that are watched and touch nothing


@dataclass(frozen=True)
class Gripper:
    """A parallel gripper on a flange. width is the opening between the pads; source says whose numbers these are.

    hull: what the monitor watches instead of the parts, in the gripper's frame; empty where it watches the parts.
    name: of what it is, as `Robot.spec` takes it; model: of its file. speed_max_m_s: of the opening; None: not known.
    """

    name: str
    model: str
    label: str
    source: str
    trust: str
    width_max_m: float
    speed_max_m_s: float | None
    grip_force_n: float
    mass_kg: float
    mount: ChainStep
    tcp: ChainStep
    file: GripperFile
    hull: tuple[Shape, ...]


def gripper_facts(file: GripperFile, mount: Mount | None) -> Gripper:
    """The gripper of a file, mounted at `mount` (straight onto the flange where none is given)."""
    x, y, z = mount.xyz_m if mount else (0.0, 0.0, 0.0)
    roll, pitch, yaw = mount.rpy_rad if mount else (0.0, 0.0, 0.0)
    axis = (0.0, 0.0, 1.0)
    # A mount's hull contains the grippers that its source names; any other is watched part by part.
    hull = mount.hull if mount and file.name in HULLED else None
    return Gripper(
        name=KIND,
        model=file.name,
        label=file.label,
        source=file.facts.source,
        trust=file.facts.trust,
        width_max_m=file.width_max_m,
        speed_max_m_s=file.speed_max_m_s,
        grip_force_n=file.grip_force_n,
        mass_kg=file.palm_mass_kg + 2.0 * file.finger_mass_kg,
        mount=ChainStep((x, y, z), (roll, pitch, yaw), axis, "fixed", "gripper mount"),
        tcp=ChainStep((0.0, 0.0, file.tcp_z_m), (0.0, 0.0, 0.0), axis, "fixed", "tcp"),
        file=file,
        hull=tuple(hull.shapes) if hull else (),
    )


def add_gripper(
    spec: mujoco.MjSpec, parent: mujoco.MjsBody, flange: mujoco.MjsSite, gripper: Gripper
) -> None:
    """Build the gripper onto a flange site of parent, with its actuator, sensor and the site `tcp`.

    The actuator `gripper` takes the opening width in m. Both fingers hang on one tendon whose length is the width.
    """
    file = gripper.file
    mount = parent.add_frame(pos=flange.pos, quat=flange.quat)
    inner = parent.add_frame(pos=gripper.mount.xyz, quat=quaternion_from_rpy(gripper.mount.rpy))
    inner.set_frame(mount)
    palm = parent.add_body(name="gripper_palm", mass=file.palm_mass_kg, ipos=file.palm_center_m, gravcomp=1.0)
    palm.set_frame(inner)
    palm.explicitinertial = True
    palm.inertia = box_inertia(file.palm_mass_kg, file.palm_half_size_m)
    for part, color in file.colors.items():
        spec.add_material(name=f"gripper_{part}", rgba=[*color, 1.0], specular=0.3, shininess=0.4)
    _add_box(palm, "gripper_palm", file.palm_center_m, file.palm_half_size_m, "gripper_palm")
    for number, shape in enumerate(gripper.hull):
        add_hull_shape(palm, f"{GRIPPER_HULL}{number}", shape, touches=False)
    palm.add_geom(
        name="gripper_collar", type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, material="gripper_palm", group=1, contype=0,
        conaffinity=0, size=[file.collar_radius_m, file.collar_radius_m, 0.02],
    )  # fmt: skip
    palm.add_site(name="tcp", pos=gripper.tcp.xyz, size=[0.005, 0.005, 0.005], rgba=[0.9, 0.2, 0.1, 0.0])
    for name, side in zip(FINGERS, (1.0, -1.0), strict=True):
        _add_finger(palm, name, side, file)
    add_drive(spec, file)


def box_inertia(mass_kg: float, half: list[float]) -> list[float]:
    """Principal moments of inertia of a solid box, kg m^2."""
    x, y, z = (value * value for value in half)
    return [mass_kg / 3.0 * (y + z), mass_kg / 3.0 * (x + z), mass_kg / 3.0 * (x + y)]


def _add_finger(palm: mujoco.MjsBody, name: str, side: float, file: GripperFile) -> None:
    def mirrored(point: list[float]) -> list[float]:
        return [point[0], side * point[1], point[2]]

    finger = palm.add_body(
        name=f"{name}_finger", mass=file.finger_mass_kg, ipos=mirrored(file.finger_center_m), gravcomp=1.0
    )
    finger.explicitinertial = True
    finger.inertia = box_inertia(file.finger_mass_kg, file.finger_half_size_m)
    finger.add_joint(
        name=name,
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0.0, side, 0.0],
        range=[0.0, file.width_max_m / 2.0],
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        armature=file.finger_armature_kg,
        damping=[file.finger_damping_ns_m, 0.0, 0.0],
    )
    _add_box(
        finger, f"{name}_finger", mirrored(file.finger_center_m), file.finger_half_size_m, "gripper_finger"
    )
    pad = _add_box(finger, f"{name}_pad", mirrored(file.pad_center_m), file.pad_half_size_m, "gripper_pad")
    # The pad's own friction counts, whatever it touches; condim 4 lets it resist twisting.
    pad.priority, pad.condim, pad.friction = 1, 4, file.pad_friction
    pad.solref, pad.solimp = [0.01, 1.0], [0.95, 0.99, 0.001, 0.5, 2.0]


def _add_box(
    body: mujoco.MjsBody, name: str, center: list[float], half: list[float], material: str
) -> mujoco.MjsGeom:
    return body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=center, size=half, material=material, contype=0, conaffinity=1
    )  # fmt: skip


def add_drive(spec: mujoco.MjSpec, file: GripperFile) -> None:
    """The tendon, the tie of the fingers, the actuator `gripper` and the sensor `gripper_width`."""
    tendon = spec.add_tendon(name="gripper_width")
    for name in FINGERS:
        tendon.wrap_joint(name, 1.0)
    left, right = FINGERS
    equality = spec.add_equality(
        name="gripper_tie", type=mujoco.mjtEq.mjEQ_JOINT, objtype=mujoco.mjtObj.mjOBJ_JOINT, name1=left, name2=right,
        solref=[0.01, 1.0], solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
    )  # fmt: skip
    equality.data[:5] = [0.0, 1.0, 0.0, 0.0, 0.0]
    actuator = spec.add_actuator(
        name="gripper", target="gripper_width", trntype=mujoco.mjtTrn.mjTRN_TENDON,
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE, ctrlrange=[0.0, file.width_max_m],
        forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE, forcerange=[-file.grip_force_n, file.grip_force_n],
    )  # fmt: skip
    actuator.set_to_position(kp=file.kp_n_m, kv=file.kv_ns_m)
    spec.add_sensor(
        name="gripper_width", type=mujoco.mjtSensor.mjSENS_TENDONPOS, objtype=mujoco.mjtObj.mjOBJ_TENDON,
        objname="gripper_width",
    )  # fmt: skip
