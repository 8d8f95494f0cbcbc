"""Plants: arms that differ from their model in ways that only a log can tell, for tests of what is learned from logs.

A plant file, `configs/plants/*.yaml`, changes a robot's model (stiffness, damping, friction, payload, backlash,
friction that falls with speed) and its wiring (delays, sensor bias, noise, jitter). `sim_node` and `robolearn eval
--plant` run plants; `robolearn.sysid` never reads one.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robolearn.config import Config, build, config_path, read_yaml
from robolearn.errors import RobotError
from robolearn.robots import Robot

Vector = NDArray[np.float64]
Scale = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Signed = Annotated[float, Field(allow_inf_nan=False)]
PAYLOAD = "plant_payload"
CALIBRATED_PAYLOAD = "payload"  # of a calibrated robot: the plant has its own
PLAY = "_play"  # a joint with backlash turns its link through a second hinge of this suffix


class Payload(Config):
    """A mass on the flange that the arm's own gravity compensation does not know of; com in the flange frame."""

    mass_kg: Amount
    com_m: Annotated[list[Signed], Field(min_length=3, max_length=3)] = [0.0, 0.0, 0.05]
    radius_m: Scale = 0.03  # of the solid ball that its inertia is that of


class Plant(Config):
    """What is different, one number for each joint or one for all. Empty: as in the robot file.

    *_scale: over the robot file's number. friction_nm: at falls_by_rad_s; without friction_falls_nm at any speed.
    friction_falls_nm: how much more it is at standstill; it falls with the cube of what is missing to that speed.
    backlash_rad: free play between drive and link; the link is what is measured. position_bias_rad: added to what is
    measured, not to what the servo sees. command_delay_s, measurement_delay_s: transport. stamp_jitter_s: standard
    deviation of the stamps of measurements.
    """

    schema_: Annotated[Literal["robolearn.plant/1"], Field(alias="schema")]
    title: str
    robot: str
    stiffness_scale: list[Scale] = []
    damping_scale: list[Scale] = []
    armature_scale: list[Scale] = []
    viscous_nms_rad: list[Amount] = []
    friction_nm: list[Amount] = []
    friction_falls_nm: list[Amount] = []
    falls_by_rad_s: Scale = 0.8
    backlash_rad: list[Amount] = []
    payload: Payload | None = None
    position_bias_rad: list[Signed] = []
    command_delay_s: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    measurement_delay_s: Annotated[float, Field(ge=0.0, le=0.2)] = 0.0
    stamp_jitter_s: Amount = 0.0
    position_noise_rad: Amount = 0.0
    velocity_noise_rad_s: Amount = 0.0
    effort_noise_nm: Amount = 0.0

    def of(self, name: str, robot: Robot, default: float | list[float]) -> Vector:
        """The numbers under a key, [n]; the default where it is empty. Raises RobotError for another count."""
        given = getattr(self, name)
        if not given:
            return np.broadcast_to(np.asarray(default, float), (robot.dof,)).copy()
        if len(given) not in (1, robot.dof):
            raise RobotError(
                f"Plant '{self.title}': {name} has {len(given)} numbers, expected 1 or {robot.dof}."
            )
        return np.broadcast_to(np.asarray(given, float), (robot.dof,)).copy()


def load_plant(name: str | Path, robot: Robot) -> Plant:
    """The plant in a file, or the packaged `plants/NAME.yaml`. Raises ConfigError or RobotError."""
    text = str(name)
    path = config_path(text if text.endswith((".yaml", ".yml")) else f"plants/{text}.yaml")
    plant = build(Plant, read_yaml(path), str(path))
    if plant.robot != robot.arm:
        raise RobotError(f"Plant '{path}' is for robot '{plant.robot}', but this arm is '{robot.arm}'.")
    for key, default in (("stiffness_scale", 1.0), ("backlash_rad", 0.0), ("position_bias_rad", 0.0)):
        plant.of(key, robot, default)
    return plant


def change_spec(spec: mujoco.MjSpec, robot: Robot, plant: Plant) -> None:
    """Make an arm's spec, alone or in a scene, that of the plant: a calibration of the robot counts for nothing."""
    servo = robot.nominal_servo
    if spec.body(CALIBRATED_PAYLOAD) is not None:
        spec.delete(spec.body(CALIBRATED_PAYLOAD))
    stiffness = np.array(servo.kp_nm_rad) * plant.of("stiffness_scale", robot, 1.0)
    damping = np.array(servo.kv_nms_rad) * plant.of("damping_scale", robot, 1.0)
    armature = np.array(servo.armature_kgm2) * plant.of("armature_scale", robot, 1.0)
    viscous = plant.of("viscous_nms_rad", robot, servo.damping_nms_rad)
    friction = plant.of("friction_nm", robot, 0.0)
    falls = plant.of("friction_falls_nm", robot, 0.0)
    play = plant.of("backlash_rad", robot, 0.0)
    for i, name in enumerate(robot.joint_names):
        joint, actuator = spec.joint(name), spec.actuator(name)
        joint.armature, joint.frictionloss = armature[i], friction[i] + falls[i]
        # friction + falls (1 - s)^3, s = speed / falls_by: MuJoCo's damping is a polynomial of third degree in speed.
        v = plant.falls_by_rad_s
        joint.damping = [viscous[i] - 3 * falls[i] / v, 3 * falls[i] / v**2, -falls[i] / v**3]
        actuator.set_to_position(kp=stiffness[i], kv=damping[i])
        if play[i] > 0.0:
            _add_play(spec, joint, name, play[i])
    if plant.payload is not None and plant.payload.mass_kg > 0.0:
        _add_payload(spec, plant.payload)
    if play.any():
        for key in list(spec.keys):
            _insert_play(spec, key, play)


def _insert_play(spec: mujoco.MjSpec, key: Any, play: Vector) -> None:
    """Give a keyframe of the arm and its gripper the positions of the joints' play; delete any other keyframe."""
    before = list(key.qpos)
    if len(before) < len(play):
        spec.delete(key)
        return
    after = [
        value for q, width in zip(before, play, strict=False) for value in ([q, 0.0] if width > 0.0 else [q])
    ]
    key.qpos = [*after, *before[len(play) :]]


def _add_play(spec: mujoco.MjSpec, joint: Any, name: str, width_rad: float) -> None:
    """A second hinge about the same axis, free over the backlash: the first one is then the drive's."""
    second = joint.parent.add_joint(
        name=name + PLAY, type=mujoco.mjtJoint.mjJNT_HINGE, axis=joint.axis, pos=joint.pos,
        range=[-width_rad / 2, width_rad / 2], limited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )  # fmt: skip
    second.damping = [0.05, 0.0, 0.0]
    second.armature = 1e-3
    second.solref_limit = [0.004, 1.0]


def _add_payload(spec: mujoco.MjSpec, payload: Payload) -> None:
    flange = spec.site("flange")
    frame = flange.parent.add_frame(pos=flange.pos, quat=flange.quat)
    body = flange.parent.add_body(name=PAYLOAD, mass=payload.mass_kg, ipos=payload.com_m)
    body.set_frame(frame)
    body.explicitinertial = True
    body.inertia = [0.4 * payload.mass_kg * payload.radius_m**2] * 3


def conditions(plant: Plant, smoothing_ms: float = 20.0) -> dict[str, Any]:
    """Changes of a task's config under which a policy meets this plant: its drives are not drawn, its wiring is.

    smoothing_ms: how late the served stream may be beyond the plant's own delay, one control period.
    """
    late, old = 1e3 * plant.command_delay_s, 1e3 * plant.measurement_delay_s
    drawn: dict[str, Any] = dict.fromkeys(_DRIVES)
    drawn |= {"action_delay_ms": [late, late + smoothing_ms], "observation_delay_ms": [old, old]}
    noise = {"joint_position": plant.position_noise_rad, "joint_velocity": plant.velocity_noise_rad_s}
    return {"randomization": drawn | {"sensor_noise": noise}}


_DRIVES = (
    "joint_damping_scale", "joint_armature_scale", "joint_friction_scale", "actuator_gain_scale",
    "actuator_damping_scale",
)  # fmt: skip


class PlantArm:
    """A plant alone on its base, stepped by the caller: commands in, stamped measurements out. Vectors [n]."""

    def __init__(self, robot: Robot, plant: Plant, timestep_s: float, seed: int = 0):
        spec = robot.spec()
        change_spec(spec, robot, plant)
        spec.option.timestep = timestep_s
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.channel = Wiring(robot, plant, seed)
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in robot.joint_names])
        self._play = play_joints(self.model, robot)
        self.data.qpos[self._qpos] = robot.home_rad
        self.data.ctrl[self._ctrl] = robot.home_rad
        width = robot.gripper.width_max_m
        for i in range(self.model.nu):
            if self.model.actuator(i).name == "gripper":
                self.data.ctrl[i] = width
        for i in range(self.model.njnt):
            if self.model.joint(i).name.startswith("gripper_"):
                self.data.qpos[self.model.jnt_qposadr[i]] = width / 2
        mujoco.mj_forward(self.model, self.data)

    def step(self, now_s: float, command_rad: Vector) -> dict[str, Any]:
        """Measure, then follow the command for one time step: stamp_s, position_rad, velocity_rad_s, effort (Nm)."""
        data = self.data
        data.ctrl[self._ctrl] = self.channel.command(now_s, command_rad)
        position, velocity = data.qpos[self._qpos].copy(), data.qvel[self._qvel].copy()
        target, gain, bias = (
            data.ctrl[self._ctrl],
            self.model.actuator_gainprm,
            self.model.actuator_biasprm[self._ctrl],
        )
        effort = gain[self._ctrl, 0] * target + bias[:, 1] * position + bias[:, 2] * velocity
        limit = self.model.actuator_forcerange[self._ctrl]
        effort = np.clip(effort, limit[:, 0], limit[:, 1])
        position, velocity = add_play(self._play, data, position, velocity)
        found = self.channel.measure(now_s, position, velocity, effort)
        mujoco.mj_step(self.model, data)
        return found


class Wiring:
    """What lies between an arm and its commands: delay of commands; bias, noise and jitter of measurements."""

    def __init__(self, robot: Robot, plant: Plant, seed: int = 0):
        self._plant = plant
        self._bias = plant.of("position_bias_rad", robot, 0.0)
        self._random = np.random.default_rng(seed)
        self._sent: deque[tuple[float, Vector]] = deque()

    def command(self, now_s: float, command_rad: Vector) -> Vector:
        """The command that acts at now_s, given the one that arrives now: linear between those that arrived."""
        sent, at = self._sent, now_s - self._plant.command_delay_s
        sent.append((now_s, command_rad.copy()))
        while len(sent) > 1 and sent[1][0] <= at:
            sent.popleft()
        (t0, q0), (t1, q1) = sent[0], sent[min(1, len(sent) - 1)]
        if at <= t0 or t1 == t0:
            return q0
        return q0 + (q1 - q0) * min(1.0, (at - t0) / (t1 - t0))

    def measure(self, now_s: float, position: Vector, velocity: Vector, effort: Vector) -> dict[str, Any]:
        """What a driver reports of an arm's state at now_s."""
        plant, draw = self._plant, self._random.normal
        n = len(position)
        return {
            "stamp_s": now_s + plant.stamp_jitter_s * float(draw()),
            "position_rad": position + self._bias + plant.position_noise_rad * draw(size=n),
            "velocity_rad_s": velocity + plant.velocity_noise_rad_s * draw(size=n),
            "effort": effort + plant.effort_noise_nm * draw(size=n),
        }


def play_joints(model: mujoco.MjModel, robot: Robot) -> list[tuple[int, int, int]]:
    """(index of the joint, qpos and qvel address of its play) of every joint that has backlash."""
    names = {model.joint(i).name: i for i in range(model.njnt)}
    return [
        (i, int(model.jnt_qposadr[names[name + PLAY]]), int(model.jnt_dofadr[names[name + PLAY]]))
        for i, name in enumerate(robot.joint_names)
        if name + PLAY in names
    ]


def add_play(
    play: list[tuple[int, int, int]], data: Any, position: Vector, velocity: Vector
) -> tuple[Vector, Vector]:
    """Position and velocity of the links, from those of the drives, [n] each."""
    for i, qpos, qvel in play:
        position[i] += data.qpos[qpos]
        velocity[i] += data.qvel[qvel]
    return position, velocity
