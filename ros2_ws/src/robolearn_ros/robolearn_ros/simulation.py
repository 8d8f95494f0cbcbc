"""The physics behind sim_node: an arm that follows joint, gripper and trajectory targets. Knows no ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.errors import RobotError
from robolearn.robots import Robot
from robolearn.robots.gripper import FINGERS
from robolearn.sim.plant import Plant, add_play, change_spec, play_joints

Vector = NDArray[np.float64]
Weighing = Callable[[mujoco.MjModel], Callable[[Any], tuple[Vector, Vector]]]


class Arm:
    """An arm in its scene, stepped by the caller. Vectors [n] in the robot's joint order."""

    def __init__(
        self, robot: Robot, timestep_s: float, task: str = "", seed: int = 0, plant: Plant | None = None
    ):
        """plant: an arm that is not the model, in its place; its delays and noise are the caller's to apply."""
        self._objects: dict[str, tuple[str, str]] = {}
        spec, start, weighing = _scene(robot, task, seed, self._objects)
        if plant is not None:
            change_spec(spec, robot, plant)
        spec.option.timestep = timestep_s
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        if self.model.nkey:
            mujoco.mj_resetDataKeyframe(self.model, self.data, self.model.key("home").id)
        self._play = play_joints(self.model, robot)
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in robot.joint_names])
        self._gripper = self.model.actuator("gripper").id
        for name, value in start.items():
            self.data.joint(name).qpos[:] = value
        self.data.ctrl[self._ctrl] = self.data.qpos[self._qpos]
        mujoco.mj_forward(self.model, self.data)
        self.data.ctrl[self._gripper] = self.gripper_width_m
        self._weigh = weighing(self.model) if weighing is not None else None

    @property
    def position_rad(self) -> Vector:
        """[n], of the links."""
        return add_play(self._play, self.data, self.data.qpos[self._qpos], self.velocity_of_drives)[0]

    @property
    def velocity_rad_s(self) -> Vector:
        """[n], of the links."""
        return add_play(self._play, self.data, self.data.qpos[self._qpos], self.velocity_of_drives)[1]

    @property
    def velocity_of_drives(self) -> Vector:
        """[n]; that of the links but for backlash."""
        return self.data.qvel[self._qvel]

    @property
    def effort_nm(self) -> Vector:
        """[n], torque of the drives during the last step."""
        return self.data.actuator_force[self._ctrl]

    @property
    def target_rad(self) -> Vector:
        """[n], the commanded positions."""
        return self.data.ctrl[self._ctrl]

    @property
    def gripper_width_m(self) -> float:
        """Opening between the fingers."""
        return float(self.data.sensor("gripper_width").data[0])

    def objects(self) -> dict[str, tuple[Vector, Vector]]:
        """Every object that the task's policy observes: position [3] m and orientation [4] (w, x, y, z)."""
        upright = np.array([1.0, 0.0, 0.0, 0.0])
        return {
            name: (self.data.sensor(position).data, self.data.sensor(turn).data if turn else upright)
            for name, (position, turn) in self._objects.items()
        }

    @property
    def wrench(self) -> tuple[Vector, Vector] | None:
        """Force [3] N and torque [3] Nm that act on the tool, axes of the TCP; None where the task reads none."""
        return None if self._weigh is None else self._weigh(self.data)

    def command(self, position_rad: Vector) -> bool:
        """Take joint targets [n]; False, and no change, for a wrong length or a value that is not finite."""
        if position_rad.shape != self._ctrl.shape or not np.isfinite(position_rad).all():
            return False
        self.data.ctrl[self._ctrl] = position_rad
        return True

    def command_gripper(self, width_m: float) -> bool:
        """Take a gripper opening; False for a value that is not finite."""
        if not np.isfinite(width_m):
            return False
        self.data.ctrl[self._gripper] = width_m
        return True

    def step(self) -> None:
        """One time step."""
        mujoco.mj_step(self.model, self.data)

    def change_plant(self, friction_share: float, gain_share: float) -> None:
        """Make the plant another than the model: joint damping and servo gains times these shares."""
        self.model.dof_damping[self._qvel] *= friction_share
        self.model.actuator_gainprm[self._ctrl, 0] *= gain_share
        self.model.actuator_biasprm[self._ctrl, 1] *= gain_share


class Trajectory:
    """A joint trajectory as a joint trajectory controller plays it: cubic between points that have velocities."""

    def __init__(
        self, start_rad: Vector, times_s: Vector, positions_rad: Vector, velocities_rad_s: Vector | None
    ):
        """times_s: [M], increasing, from the start; positions_rad, velocities_rad_s: [M, n]."""
        self._times = np.concatenate([[0.0], times_s])
        self._positions = np.vstack([start_rad, positions_rad])
        self._velocities = None
        if velocities_rad_s is not None:
            self._velocities = np.vstack([np.zeros_like(start_rad), velocities_rad_s])

    @property
    def duration_s(self) -> float:
        """When the last point is reached."""
        return float(self._times[-1])

    def sample(self, time_s: float) -> Vector:
        """Target [n] at a time from the start; later than the end counts as the end."""
        i = int(np.searchsorted(self._times, time_s, side="right")) - 1
        if i >= len(self._times) - 1:
            return self._positions[-1]
        span = self._times[i + 1] - self._times[i]
        s = (time_s - self._times[i]) / span
        p0, p1 = self._positions[i], self._positions[i + 1]
        if self._velocities is None:
            return p0 + s * (p1 - p0)
        v0, v1 = self._velocities[i] * span, self._velocities[i + 1] * span
        return p0 + s * v0 + s**2 * (3 * (p1 - p0) - 2 * v0 - v1) + s**3 * (v0 + v1 - 2 * (p1 - p0))


def _scene(
    robot: Robot, task: str, seed: int, objects: dict[str, tuple[str, str]]
) -> tuple[mujoco.MjSpec, dict[str, Any], Weighing | None]:
    """The arm on a floor, or in a task's scene at an episode's start. Only the latter needs the training packages.

    Fills objects: {object: (position sensor, orientation sensor)}. Returns the model, {joint: qpos}, and what makes of
    the model what reads the wrench at the TCP, where the task's policy does.
    """
    if task:
        return _task_scene(robot, task, seed, objects)
    spec = robot.spec()
    if robot.home_rad is None:
        raise RobotError(
            f"Robot '{robot.name}' has no home_rad in its file: a simulated arm needs a pose to start in."
        )
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[3, 3, 0.05])
    return spec, {}, None


def _task_scene(
    robot: Robot, task: str, seed: int, objects: dict[str, tuple[str, str]]
) -> tuple[mujoco.MjSpec, dict[str, Any], Weighing | None]:
    import jax

    from robolearn.env.task import load_task
    from robolearn.sim.wrench import feels, reader_of

    own = robot.path if robot.name == robot.arm else robot.name  # a path may be that of a calibration
    made = load_task(f"{own}/{task}")
    sensors = made.sensors()
    named: dict[str, dict[str, str]] = {}
    for slot in made.slots:
        kind, _, rest = slot.source.partition(".")
        if kind == "pose":
            name, part = rest.rsplit(".", 1)
            named.setdefault(name, {})[part] = sensors[slot.name][0]
    objects.update({name: (parts["position"], parts.get("orientation", "")) for name, parts in named.items()})
    start = made.reset(jax.random.key(seed))
    joints = {name: np.asarray(value) for name, value in zip(robot.joint_names, start.arm, strict=True)}
    joints |= {name: np.asarray(value) for name, value in start.joints.items()}
    joints |= {name: float(start.width) / 2 for name in FINGERS}  # each finger moves half the opening
    return made.scene(), joints, reader_of if feels(made.slots) else None
