"""What the tasks on a table share: the table, objects on it, a ready posture above it, what a policy sees of them.

The robot stands on the table: the base frame's z = 0 is the table top.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from numpy.typing import NDArray

from robolearn.env.cartesian_action import ActionConfig
from robolearn.env.task import Array, Readings, Task, TaskConfig
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.robots import Robot, robot_names
from robolearn.robots.kinematics import forward, frames
from robolearn.sim.randomize import Randomization
from robolearn_envs.rotations import quat_of, rotation_of
from robolearn_envs.shared import arm_sensors, arm_slots, randomization, workcell

Vector3 = tuple[float, float, float]

TABLE_MIN_M, TABLE_MAX_M = (-0.30, -0.60), (1.05, 0.60)  # corners of the table top
TABLE_HEIGHT_M = 0.76  # above the floor: a common bench
# Where things lie: every arm reaches it, gripper down, with room for its joints. Nearer than 0.43 m the elbows of
# iiwa 14 and FR3 are folded up, and FR3's published speed limits take the last 0.3 rad of its fourth joint away.
AREA_M = {"x_m": (0.47, 0.67), "y_m": (-0.20, 0.20)}
TURN_RAD = (-math.pi, math.pi)  # any yaw
READY_TCP_M = (0.56, 0.0, 0.22)  # above its middle
# Arms of one's own: the table that fits them, as a share of these places; the longer ones come last.
SCALES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.32, 1.25, 1.5)
_READY_Z_MIN_M, _GOAL_Z_MIN_M, _LOW_M = 0.12, 0.09, 0.03  # clear of a cube and the fingers; of a grasp
START_SPREAD_RAD = 0.05  # of the joints around the ready posture

EXPERT_RATE_1_S = 6.0  # speed of an expert per metre, or radian, of the way left
# Of an expert that grasps a cube.
GRASPED_M = 0.04  # how wide it is
AROUND_M = (0.042, 0.047)  # of the fingers: at it, and still on their way to it, whatever the command says
HOVER_M = 0.06  # TCP above the cube's centre while the fingers are not lined up: clear of its top
WIDE_M = 0.055  # opening from which the fingers go down around it
HOLD_M = (0.010, 0.018)  # the command runs ahead of the fingers: by a swift closing's lag, by a grasp
GRASP_UP_M = 0.007  # TCP above the cube's centre: the fingers' tips keep clear of what is below
GRIP_M = 0.020  # so far ahead it stays: a firm grasp that is soon let go

# Objects touch the table (bit 0), each other and the gripper (bit 1), not the arm's links: contacts stay few.
OBJECT_BIT = 2

COLOURS = {
    "orange": (0.93, 0.46, 0.13),
    "blue": (0.13, 0.42, 0.72),
    "steel": (0.62, 0.65, 0.69),
    "graphite": (0.24, 0.26, 0.29),
    "birch": (0.80, 0.70, 0.56),
}


class TableAction(ActionConfig):
    """Cartesian velocities of an upright tool, kept above the table where all three arms reach."""

    space: Literal["joint", "cartesian"] = "cartesian"
    speed_m_s: float = 0.4
    velocity_rad_s: float = 1.5
    acceleration_rad_s2: float = 8.0
    workspace_min_m: Vector3 | None = (0.38, -0.34, 0.018)
    workspace_max_m: Vector3 | None = (0.76, 0.34, 0.45)


class TableConfig(TaskConfig):
    """A task on the table."""

    action: ActionConfig = TableAction()
    randomization: Randomization = randomization()


C = TypeVar("C", bound=TableConfig)


class TableTask(Task[C]):
    """The posture, the slots of arm and gripper, and the observation that every task on the table starts from."""

    ready_tcp_m: Vector3 = READY_TCP_M
    ready_yaw_rad: float = 0.0
    uses_gripper = True
    fits_the_arm: ClassVar[bool] = False  # places move nearer, or farther, where an arm of one's own needs it

    def __init__(self, robot: Robot, config: C):
        scale = table_scale(robot, self.ready_tcp_m) if self.fits_the_arm else 1.0
        if scale != 1.0:
            x, y, z = self.ready_tcp_m
            self.ready_tcp_m = (scale * x, scale * y, max(scale * z, _READY_Z_MIN_M))
            config = scaled_places(config, scale)
        super().__init__(robot, config)

    @property
    def rest_rad(self) -> NDArray[np.float64]:
        """Gripper pointing down at the ready point."""
        return ready_posture(self.robot, self.ready_tcp_m, self.ready_yaw_rad)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm and gripper; a task adds its objects."""
        width = Slot("gripper_width", (1,), "m", "gripper.width", "measured opening of the gripper")
        return (*arm_slots(self.robot), *((width,) if self.uses_gripper else ()))

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Those of `slots`, and the true pose of the TCP, which is privileged."""
        named = arm_sensors(self.robot) | {"tcp_position": ("tcp_pos",), "tcp_quat": ("tcp_quat",)}
        return named | ({"gripper_width": ("gripper_width",)} if self.uses_gripper else {})

    def draw_arm(self, key: Array) -> Array:
        """A start [n] rad near the ready posture."""
        rest = jnp.asarray(self.rest_rad, jnp.float32)
        spread = jax.random.uniform(key, rest.shape, minval=-START_SPREAD_RAD, maxval=START_SPREAD_RAD)
        low, high = (
            jnp.asarray(x, jnp.float32) for x in (self.action.position_min_rad, self.action.position_max_rad)
        )
        return jnp.clip(rest + spread, low, high)

    def observe_arm(self, readings: Readings, memory: Any) -> tuple[list[Array], Array, Array]:
        """Features of the arm, the TCP's position [3] m and rotation [3, 3], from the measured joints.

        Features: joints, their speeds, TCP, the direction in which the fingers open, how far the arm and the gripper
        trail their commands.
        """
        position = readings["joint_position"]
        tcp, rotation = forward(self.robot, position, jnp)
        trailing, speed = memory.command_position - position, memory.command_velocity
        features = [position, readings["joint_velocity"], tcp, rotation[:, 1], 10.0 * trailing, speed]
        if self.uses_gripper:
            width = readings["gripper_width"]
            features += [10.0 * width, 10.0 * (memory.command_width - width)]
        return features, tcp, rotation

    def estimate(self, measured: Readings) -> Readings:
        """Measured slots, and the pose of the TCP from the measured joints."""
        tcp, rotation = forward(self.robot, measured["joint_position"], jnp)
        return measured | {"tcp_position": tcp, "tcp_quat": quat_of(rotation)}

    def guide_towards(self, way: Array) -> Array:
        """Of an expert: the action [3] that goes straight along way [3] m and slows down on arrival."""
        action = EXPERT_RATE_1_S * way / self.config.action.speed_m_s
        return action / jnp.maximum(jnp.linalg.norm(action), 1.0)

    def guide_grasp(self, readings: Readings, memory: Any, cube: str) -> tuple[Array, Array]:
        """Of an expert: the action [5] that grasps the cube of that name, and how firmly it is held, 0 to 1.

        See `grasp_advice`; the cube is as wide as GRASPED_M.
        """
        tool = rotation_of(readings["tcp_quat"])
        way = readings[f"{cube}_position"] - readings["tcp_position"]
        fit = square_misfit(tool, rotation_of(readings[f"{cube}_quat"]))
        width = readings["gripper_width"][0]
        return self.grasp_advice(way, fit, width, width - memory.command_width[0])

    def grasp_advice(self, way: Array, fit: Array, width: Array, ahead: Array) -> tuple[Array, Array]:
        """`guide_grasp` from what an observation has: way [3] m from the TCP to the cube's centre, fit [2] as
        `square_misfit`, the fingers' width [m], and how far [m] the command is ahead of them.

        The height comes from a funnel: the worse the fingers are lined up, the higher above the cube; while they are
        lower than that, they move up and hardly sideways. They close where the cube is between them, and hold it once
        they are no wider than it and the command is well inside it: fingers that only trail the command hold nothing.
        """
        way = way + jnp.array([0.0, 0.0, GRASP_UP_M])
        gap = jnp.linalg.norm(way)
        astray = jnp.linalg.norm(way[:2]) + 0.02 * (1.0 - fit[1])
        narrow = ease((WIDE_M - width) / 0.01) * ease((-way[2] - 0.02) / 0.02)
        height = HOVER_M * jnp.maximum(ease((astray - 0.010) / 0.03), narrow)
        rise = height + way[2]
        sideways = 1.0 - ease(rise / 0.04)
        between = 1.0 - ease((gap - 0.015) / 0.015)
        squeezed = between * ease((ahead - HOLD_M[0]) / (HOLD_M[1] - HOLD_M[0]))
        held = squeezed * (1.0 - ease((width - AROUND_M[0]) / (AROUND_M[1] - AROUND_M[0])))
        closing = jnp.maximum(1.0 - ease((gap - 0.014) / 0.012), squeezed)
        move = self.guide_towards(jnp.append(sideways * way[:2], rise))
        # The tool's axis points down: a turn about it is a turn the other way about the vertical.
        turn = -jnp.clip(2.0 * fit[0], -1.0, 1.0)
        closed = jnp.clip((ahead - GRIP_M) / 0.004, -1.0, 0.0)
        return jnp.stack([*move, turn * (1.0 - closing), 1.0 + closing * (closed - 1.0)]), held


def ease(x: Array) -> Array:
    """0 up to x = 0, 1 from x = 1, smooth between."""
    x = jnp.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def near(distance: Array, scale: float) -> Array:
    """1 at distance 0, about a quarter at scale, with a slope that still pulls from afar."""
    return 1.0 - jnp.tanh(distance / scale)


def square_misfit(rotation: Array, object_rotation: Array) -> Array:
    """sin and cos [2] of four times the yaw between the fingers and an upright square: zero misfit is (0, 1)."""
    side, face = rotation[:, 1], object_rotation[:, 0]
    sin, cos = side[0] * face[1] - side[1] * face[0], side[0] * face[0] + side[1] * face[1]
    sin2, cos2 = 2.0 * sin * cos, cos * cos - sin * sin
    return jnp.stack([2.0 * sin2 * cos2, cos2 * cos2 - sin2 * sin2])


def off_table(position: Array) -> Array:
    """Whether an object's centre [3] m is beyond an edge of the table, or below its top."""
    low, high = jnp.asarray(TABLE_MIN_M), jnp.asarray(TABLE_MAX_M)
    return (position[:2] < low).any() | (position[:2] > high).any() | (position[2] < -0.02)


def placed(name: str, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges of `randomization.pose` for one thing: `placed("cube", AREA_M)` has cube_x_m and cube_y_m."""
    return {f"{name}_{of}": between for of, between in ranges.items()}


def pose_slots(name: str, what: str) -> tuple[Slot, Slot]:
    """The measured pose of an object in the base frame."""
    return (
        Slot(f"{name}_position", (3,), "m", f"pose.{name}.position", f"centre of {what} in the base frame"),
        Slot(f"{name}_quat", (4,), "1", f"pose.{name}.orientation", f"orientation (w, x, y, z) of {what}"),
    )


def pose_sensors(name: str) -> dict[str, tuple[str, ...]]:
    """The sensors behind `pose_slots`."""
    return {f"{name}_position": (f"{name}_pos",), f"{name}_quat": (f"{name}_quat",)}


def velocity_sensors(name: str) -> dict[str, tuple[str, ...]]:
    """An object's linear and angular velocity: privileged, since no pose estimate gives them well."""
    return {f"{name}_velocity": (f"{name}_linvel", f"{name}_angvel")}


def tabletop(robot: Robot) -> mujoco.MjSpec:
    """The robot on a table, with solver settings for cheap contacts, and a camera `overview` in front."""
    spec = workcell(robot, table_height_m=TABLE_HEIGHT_M)
    option = spec.option
    option.solver, option.cone = mujoco.mjtSolver.mjSOL_NEWTON, mujoco.mjtCone.mjCONE_PYRAMIDAL
    option.iterations, option.ls_iterations = 5, 8
    spec.add_material(name="table", rgba=[*COLOURS["birch"], 1.0], specular=0.15, shininess=0.3)
    spec.add_material(name="frame", rgba=[*COLOURS["graphite"], 1.0], specular=0.3, shininess=0.4)
    (x0, y0), (x1, y1) = TABLE_MIN_M, TABLE_MAX_M
    x, y, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    # What is touched is an endless plane, four contacts for a box; episodes end when an object leaves the table.
    spec.worldbody.add_geom(
        name="table", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[half_x, half_y, 0.01], pos=[x, y, 0], rgba=[0, 0, 0, 0],
        group=3, contype=1, conaffinity=1, friction=[0.6, 0.005, 0.0001],
    )  # fmt: skip
    _see_box(spec.worldbody, "table_top", (x, y, -0.02), (half_x, half_y, 0.02), "table")
    leg = (TABLE_HEIGHT_M - 0.04) / 2
    for i, (sx, sy) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        place = (x + sx * (half_x - 0.06), y + sy * (half_y - 0.06), -0.04 - leg)
        _see_box(spec.worldbody, f"table_leg{i}", place, (0.025, 0.025, leg), "frame")
    _look_at(spec.camera("overview"), eye=(1.78, -1.20, 0.95), point=(0.37, 0.0, 0.26))
    for geom in spec.geoms:
        if (
            geom.name.startswith("gripper") and geom.conaffinity
        ):  # what is only there to be seen touches nothing
            geom.conaffinity |= OBJECT_BIT
    return spec


def add_box(
    spec: mujoco.MjSpec,
    name: str,
    half_m: Vector3,
    mass_kg: float,
    colour: str,
    friction: float,
) -> mujoco.MjsBody:
    """A box that moves freely, with joint and sensors named after it."""
    material = spec.add_material(
        name=f"{name}_{colour}", rgba=[*COLOURS[colour], 1.0], specular=0.25, shininess=0.4
    )
    body = spec.worldbody.add_body(name=name, pos=[0.5, 0.0, half_m[2]])
    body.add_freejoint(name=name)
    body.add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, size=half_m, mass=mass_kg, material=material.name,
        contype=OBJECT_BIT, conaffinity=1 | OBJECT_BIT, friction=[friction, 0.005, 0.0001], solref=[0.01, 1.0],
    )  # fmt: skip
    add_pose_sensors(spec, name)
    return body


def add_placed_body(spec: mujoco.MjSpec, name: str, joints: dict[str, Vector3]) -> mujoco.MjsBody:
    """A body that a task puts somewhere else in each episode and that then stays: {joint name: axis}.

    A name ending in `_rad` is a hinge, any other a slide. Dampers hold it, so strong that a push of 100 N moves it
    10 um/s: the place is part of the state, and no engine needs a model of its own for each environment.
    """
    body = spec.worldbody.add_body(name=name, gravcomp=1.0, mass=50.0, inertia=[5.0, 5.0, 5.0])
    body.explicitinertial = True
    for joint, axis in joints.items():
        hinge = joint.endswith("_rad")
        body.add_joint(
            name=joint, axis=axis, damping=[1e7 if not hinge else 1e6, 0.0, 0.0],
            type=mujoco.mjtJoint.mjJNT_HINGE if hinge else mujoco.mjtJoint.mjJNT_SLIDE,
        )  # fmt: skip
    return body


def add_pose_sensors(spec: mujoco.MjSpec, name: str) -> None:
    """Sensors `<name>_pos`, `_quat`, `_linvel`, `_angvel` of the body of that name."""
    kinds = mujoco.mjtSensor
    for suffix, kind in (
        ("pos", kinds.mjSENS_FRAMEPOS),
        ("quat", kinds.mjSENS_FRAMEQUAT),
        ("linvel", kinds.mjSENS_FRAMELINVEL),
        ("angvel", kinds.mjSENS_FRAMEANGVEL),
    ):
        spec.add_sensor(name=f"{name}_{suffix}", type=kind, objtype=mujoco.mjtObj.mjOBJ_XBODY, objname=name)


@lru_cache(maxsize=32)
def table_scale(robot: Robot, ready_tcp_m: Vector3) -> float:
    """How much nearer, or farther, things lie on the table for an arm of one's own; 1 for those of robolearn.

    The first of SCALES at which the arm reaches, its gripper down, the ready point and the corners of `AREA_M`. 1 where
    there is none.
    """
    if robot.name in robot_names():
        return 1.0
    x, y, z = ready_tcp_m
    for scale in SCALES:
        try:
            start = ready_posture(robot, (scale * x, scale * y, max(scale * z, _READY_Z_MIN_M)))
        except TaskError:
            continue
        _, down = forward(robot, start)
        corners = [[scale * cx, scale * cy, _LOW_M] for cx in AREA_M["x_m"] for cy in AREA_M["y_m"]]
        if all(solve_ik(robot, np.array(corner), down, np.array(start)) is not None for corner in corners):
            return scale
    return 1.0


def scaled_places(config: C, scale: float) -> C:
    """A config with its places scaled about the base; those that a person has set stay."""
    default = type(config).model_validate({})
    pose = dict(config.randomization.pose)
    for key, (low, high) in config.randomization.pose.items():
        if default.randomization.pose.get(key) != (low, high):
            continue
        if key.endswith(("_x_m", "_y_m")):
            pose[key] = (scale * low, scale * high)
        elif key == "goal_z_m":
            pose[key] = (max(scale * low, _GOAL_Z_MIN_M), max(scale * high, 2.0 * _GOAL_Z_MIN_M))
    action = config.action
    changes: dict[str, Any] = {}
    for key in ("workspace_min_m", "workspace_max_m"):
        corner = getattr(action, key)
        if corner is not None and corner == getattr(default.action, key):
            x, y, z = corner
            changes[key] = (scale * x, scale * y, z if key == "workspace_min_m" else scale * z)
    randomized = config.randomization.model_copy(update={"pose": pose})
    return config.model_copy(
        update={"randomization": randomized, "action": action.model_copy(update=changes)}
    )


@lru_cache(maxsize=64)
def ready_posture(robot: Robot, tcp_m: Vector3, yaw_rad: float = 0.0) -> NDArray[np.float64]:
    """Joint positions [n] rad near home with the gripper pointing down and the TCP at tcp_m, read-only.

    yaw_rad turns the fingers, which open along y at 0. Raises TaskError where the arm does not reach.
    """
    _, home = forward(robot, robot.home_rad)
    sign = 1.0 if home[0, 0] >= 0.0 else -1.0  # the fingers open along y either way: take the shorter turn
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    goal = turn @ np.diag([sign, -sign, -1.0])
    q = solve_ik(robot, np.asarray(tcp_m), goal, np.array(robot.home_rad))
    if q is None:
        raise TaskError(
            f"Robot '{robot.name}' does not reach {tcp_m} m with its gripper "
            "pointing down: this task needs an arm that does."
        )
    q.flags.writeable = False
    return q


def solve_ik(
    robot: Robot, position: NDArray[np.float64], rotation: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Joint positions [n] rad with the TCP at a pose, by damped least squares from start; None where it fails."""
    q = np.array(start, np.float64)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    for _ in range(200):
        tcp = frames(robot, q)
        error = np.concatenate(
            [position - tcp.position, 0.5 * np.cross(tcp.rotation, rotation, axis=0).sum(axis=1)]
        )
        if np.abs(error).max() < 1e-5:
            return q
        jacobian = np.concatenate([tcp.linear, tcp.angular])
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-4 * np.eye(6), error)
        q = np.asarray(np.clip(q + np.clip(step, -0.2, 0.2), low, high), np.float64)
    return None


def _look_at(camera: mujoco.MjsCamera, eye: Vector3, point: Vector3) -> None:
    """Put a camera at eye, looking at point, its picture upright."""
    back = np.asarray(eye) - np.asarray(point)
    right = np.cross([0.0, 0.0, 1.0], back)
    rotation = np.stack([right, np.cross(back, right), back], axis=1) / np.linalg.norm(
        [right, np.cross(back, right), back], axis=1
    )
    camera.pos = eye
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    camera.quat = quat


def _see_box(body: mujoco.MjsBody, name: str, pos: Vector3, half_m: Vector3, material: str) -> None:
    """A box that is seen and touches nothing."""
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=pos,
        size=half_m,
        material=material,
        contype=0,
        conaffinity=0,
    )
