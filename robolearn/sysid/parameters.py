"""What is fitted, in combinations that a log can tell apart, and how it enters the MuJoCo model.

The drive of a joint is torque = stiffness (command - q) - servo_damping dq/dt, against rotor inertia (armature),
viscous damping and friction loss. Positions and velocities do not tell stiffness from what it acts on: they tell

    lag       = (servo_damping + viscous_damping) / stiffness          s
    rotor     = armature / stiffness                                   s^2
    friction  = friction loss / stiffness                              rad

so these are the coordinates, beside the stiffness. Where motor effort was recorded, the stiffness and the viscous
damping get a scale, and a payload on the flange can be identified.
Coordinates are scaled so that 1 is a large change: logarithms for what is positive, otherwise `SCALES`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.robots.gripper import FINGERS, GRIPPER

Array = NDArray[np.float64]
PAYLOAD = "sysid_payload"

# kind: (unit, scale of one coordinate, logarithm of the nominal value?, standard deviation of the weak prior)
KINDS: dict[str, tuple[str, float, bool, float]] = {
    "stiffness": ("Nm/rad", 1.0, True, 0.7),
    "lag": ("s", 1.0, True, 1.0),
    "rotor": ("s^2", 1.0, True, 1.5),
    "friction": ("rad", 1e-4, False, 30.0),
    "viscous": ("Nms/rad", 1.0, False, 50.0),
    "bias": ("rad", 1e-3, False, 50.0),
    "delay": ("s", 1e-3, False, 100.0),
    "effort_delay": ("s", 1e-3, False, 20.0),
    "payload_mass": ("kg", 1.0, False, 20.0),
    "payload_moment_x": ("kg m", 0.1, False, 20.0),
    "payload_moment_y": ("kg m", 0.1, False, 20.0),
    "payload_moment_z": ("kg m", 0.1, False, 20.0),
}
PER_JOINT = ("stiffness", "lag", "rotor", "friction", "bias")
PER_JOINT_EFFORT = ("viscous",)
SHARED = ("delay",)
SHARED_EFFORT = ("effort_delay", "payload_mass", "payload_moment_x", "payload_moment_y", "payload_moment_z")
SCALES = {kind: scale for kind, (_, scale, _, _) in KINDS.items()}
FRICTION_START_RAD = 5e-5  # a friction that starts at 0 has no slope there and would stay
PAYLOAD_START_KG, PAYLOAD_MIN_KG = 0.3, 0.002  # a payload that starts at 0 has no centre of mass
ARMATURE_MIN_KGM2 = 1e-3  # where a robot file has none: a logarithm needs something to begin from
STIFFNESS_RANGE = 1.6  # of the logarithm: a fifth to five times the robot file's
DELAY_RANGE_S = (-0.02, 0.2)


@dataclass(frozen=True)
class Name:
    """One coordinate: its kind, and its joint's index (None where it is one for the arm)."""

    kind: str
    joint: int | None = None

    def text(self, joint_names: tuple[str, ...]) -> str:
        """As the calibration and the report call it."""
        return self.kind if self.joint is None else f"{self.kind} of {joint_names[self.joint]}"


@dataclass(frozen=True)
class Layout:
    """The coordinates of one fit of one arm. reference_inertia: [n] kg m^2, of the links at home, without rotors."""

    robot: Robot
    names: tuple[Name, ...]
    reference_inertia: Array
    _index: dict[Name, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._index.update({name: i for i, name in enumerate(self.names)})

    @property
    def size(self) -> int:
        """How many coordinates."""
        return len(self.names)

    def index(self, kind: str, joint: int | None = None) -> int | None:
        """Where a coordinate stands; None where it is not fitted."""
        return self._index.get(Name(kind, joint))

    def nominal(self, name: Name) -> float:
        """The robot file's own value of a coordinate, in its unit."""
        servo, i = self.robot.servo, name.joint
        if i is None or name.kind == "bias":
            return 0.0
        kp = servo.kp_nm_rad[i]
        return {
            "stiffness": kp,
            "lag": (servo.kv_nms_rad[i] + servo.damping_nms_rad[i]) / kp,
            "rotor": max(servo.armature_kgm2[i], ARMATURE_MIN_KGM2) / kp,
            "friction": servo.friction_nm[i] / kp if servo.friction_nm else 0.0,
            "viscous": servo.damping_nms_rad[i],
        }[name.kind]

    def value(self, name: Name, coordinate: float) -> float:
        """A coordinate in its unit."""
        _, scale, logarithm, _ = KINDS[name.kind]
        nominal = self.nominal(name)
        return nominal * float(np.exp(coordinate)) if logarithm else nominal + scale * coordinate

    def spread(self, name: Name, coordinate: float, deviation: float) -> float:
        """A standard deviation of a coordinate as one of the value."""
        _, scale, logarithm, _ = KINDS[name.kind]
        return self.value(name, coordinate) * deviation if logarithm else scale * deviation

    def start(self) -> Array:
        """Where a fit begins: the robot file, friction a little above zero."""
        x = np.zeros(self.size)
        for i, name in enumerate(self.names):
            if name.kind == "friction":
                x[i] = max(FRICTION_START_RAD - self.nominal(name), 0.0) / SCALES["friction"]
            elif name.kind == "payload_mass":
                x[i] = PAYLOAD_START_KG
        return x

    def bounds(self) -> tuple[Array, Array]:
        """Least and greatest coordinates."""
        low, high = np.full(self.size, -3.0), np.full(self.size, 3.0)
        for i, name in enumerate(self.names):
            if name.kind in ("friction", "viscous"):
                low[i] = -self.nominal(name) / SCALES[name.kind]
                high[i] = 100.0
            elif name.kind == "stiffness":
                low[i], high[i] = -STIFFNESS_RANGE, STIFFNESS_RANGE
            elif name.kind == "delay":
                low[i], high[i] = (limit / SCALES["delay"] for limit in DELAY_RANGE_S)
            elif name.kind == "payload_mass":
                low[i], high[i] = PAYLOAD_MIN_KG, 50.0
            elif not KINDS[name.kind][2]:
                low[i], high[i] = -100.0, 100.0
        return low, high

    def prior_deviation(self) -> Array:
        """Standard deviations of the weak prior around the robot file, of coordinates."""
        return np.array([KINDS[name.kind][3] for name in self.names])

    def joint_values(self, kind: str, x: Array) -> Array:
        """The values of a kind, [n], nominal where it is not fitted."""
        found = np.zeros(self.robot.dof)
        for j in range(self.robot.dof):
            name, at = Name(kind, j), self.index(kind, j)
            found[j] = self.nominal(name) if at is None else self.value(name, x[at])
        return found

    def shared_value(self, kind: str, x: Array) -> float:
        """The value of a kind that is one for the arm; nominal (0) where it is not fitted."""
        at = self.index(kind)
        return 0.0 if at is None else self.value(Name(kind), x[at])


def physical(layout: Layout, x: Array) -> dict[str, Array]:
    """The servo's own numbers behind coordinates: stiffness, servo_damping, viscous, friction, armature, [n] each."""
    kp = layout.joint_values("stiffness", x)
    viscous = layout.joint_values("viscous", x)
    return {
        "stiffness": kp,
        "viscous": viscous,
        "servo_damping": np.maximum(layout.joint_values("lag", x) * kp - viscous, 1e-6 * kp),
        "friction": np.maximum(layout.joint_values("friction", x) * kp, 0.0),
        "armature": layout.joint_values("rotor", x) * kp,
    }


class Model:
    """The arm's MuJoCo model with its open gripper, set to coordinates. timestep_s: of the simulation.

    fingers: whether they may move. What ties and drives them costs more than the arm, and hardly moves it.
    """

    def __init__(
        self,
        robot: Robot,
        timestep_s: float,
        *,
        effort: bool,
        gripper: str | None = "parallel",
        fingers: bool = True,
    ):
        spec = robot.spec(gripper)
        if effort:
            flange = spec.site("flange")
            frame = flange.parent.add_frame(pos=flange.pos, quat=flange.quat)
            body = flange.parent.add_body(name=PAYLOAD, mass=1e-6)
            body.set_frame(frame)
            body.explicitinertial = True
            body.inertia = [1e-9] * 3
        for element in [*spec.sensors, *spec.keys]:
            spec.delete(element)
        if not fingers:
            _hold_fingers(spec, robot)
        spec.option.timestep = timestep_s
        spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
        self.robot, self.base, self.gripper = robot, spec.compile(), gripper
        joints = [self.base.joint(name) for name in robot.joint_names]
        self.qpos = np.array([int(joint.qposadr[0]) for joint in joints])
        self.qvel = np.array([int(joint.dofadr[0]) for joint in joints])
        self.ctrl = np.array([int(self.base.actuator(name).id) for name in robot.joint_names])
        self._scratch = mujoco.MjData(self.base)
        self.rest = self._home()
        kinds = PER_JOINT + (PER_JOINT_EFFORT if effort else ())
        shared = SHARED + (SHARED_EFFORT if effort else ())
        names = [Name(kind, j) for j in range(robot.dof) for kind in kinds] + [Name(kind) for kind in shared]
        self.layout = Layout(robot, tuple(names), self._reference_inertia())

    def at(self, x: Array) -> mujoco.MjModel:
        """A copy of the model set to coordinates."""
        model, numbers = copy.copy(self.base), physical(self.layout, x)
        model.actuator_gainprm[self.ctrl, 0] = numbers["stiffness"]
        model.actuator_biasprm[self.ctrl, 1] = -numbers["stiffness"]
        model.actuator_biasprm[self.ctrl, 2] = -numbers["servo_damping"]
        model.dof_damping[self.qvel] = numbers["viscous"]
        model.dof_frictionloss[self.qvel] = numbers["friction"]
        model.dof_armature[self.qvel] = numbers["armature"]
        if self.layout.index("payload_mass") is not None:
            mass = self.layout.shared_value("payload_mass", x)
            body = model.body(PAYLOAD).id
            moment = [self.layout.shared_value(f"payload_moment_{axis}", x) for axis in "xyz"]
            model.body_mass[body] = mass
            model.body_ipos[body] = np.array(moment) / mass
            model.body_inertia[body] = 0.4 * mass * 0.03**2
        mujoco.mj_setConst(model, self._scratch)
        return model

    def _home(self) -> Array:
        """qpos of the arm at home, the gripper open."""
        rest = mujoco.MjData(self.base).qpos.copy()
        rest[self.qpos] = self.robot.home_rad
        for i in range(self.base.njnt):
            if self.base.joint(i).name in FINGERS:
                rest[self.base.jnt_qposadr[i]] = self.robot.gripper.width_max_m / 2.0
        return rest

    def _reference_inertia(self) -> Array:
        """Diagonal of the mass matrix at home without the rotors, [n] kg m^2."""
        data = self._scratch
        data.qpos[:] = self.rest
        mujoco.mj_forward(self.base, data)
        mass = np.zeros((self.base.nv, self.base.nv))
        mujoco.mj_fullM(self.base, data, mass)
        return np.diag(mass)[self.qvel] - self.base.dof_armature[self.qvel]


def _hold_fingers(spec: mujoco.MjSpec, robot: Robot) -> None:
    """Make the open fingers part of the hand."""
    for group in (spec.equalities, spec.actuators, spec.tendons):
        for element in [e for e in group if e.name.startswith(GRIPPER.rstrip("_"))]:
            spec.delete(element)
    for name in FINGERS:
        joint = spec.joint(name)
        if joint is not None:
            joint.parent.pos = joint.parent.pos + np.array(joint.axis) * robot.gripper.width_max_m / 2.0
            spec.delete(joint)
