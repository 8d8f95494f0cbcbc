"""Connector insert: push a plug that the gripper holds into a socket by feel, with a contact force under a told limit.

The plug's tongue is 16 x 8 mm, the socket's opening 0.2 mm wider both ways. A lead-in of 3 mm at 45 degrees guides the
tongue in, as connectors for blind mating have, and the socket floats: its mount yields by 1 mm for 10 N. Where the
socket is, is known to 2 mm in each direction and 3 degrees about each axis: the rest is felt.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from pydantic import Field

from robolearn.env.task import Array, Readings, Reset
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.policy.sources import WRENCH_FORCE, WRENCH_TORQUE
from robolearn.robots import Robot
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
from robolearn.sim.wrench import add_wrench_sensors
from robolearn_envs.rotations import rotation_of
from robolearn_envs.shared import randomization
from robolearn_envs.table import (
    EXPERT_RATE_1_S,
    TableAction,
    TableConfig,
    TableTask,
    Vector3,
    add_placed_body,
    add_pose_sensors,
    ease,
    near,
    pose_sensors,
    pose_slots,
    tabletop,
)

TONGUE_M = (0.008, 0.004)  # half of the plug's tongue, along the tool's x and y
CLEARANCE_M = 0.0001  # on each side: 0.2 mm across
LEAD_M = 0.003  # width and height of the lead-in
DEPTH_M = 0.008  # of the opening below it
TIP_M = 0.040  # from the TCP to the end of the tongue
HOUSING_M = (0.012, 0.006)  # half of what the fingers hold, along the tool's x and y
WALL_M = 0.004  # half of the thickness of the socket's walls
MOUTH_M = 0.040  # above the table
ROUND_M = 0.001  # radius of the tongue's edges
PLUG_BIT = 4  # plug and socket touch each other, and the plug the table

# The mount: a connector floats on rubber or springs; these are ours, of no product.
FLOAT_N_M, FLOAT_NM_RAD = 1e4, 3.0
FLOAT_KG, FLOAT_KGM2 = 0.4, 2e-4
FLOAT_NS_M, FLOAT_NMS_RAD = 60.0, 0.03  # about critical damping

_BOX = mujoco.mjtGeom.mjGEOM_BOX

# Of the expert.
HOVER_M = (
    0.012  # tip above the mouth while it is not over it: what comes down beside it does not get up again
)
NEAR_M = 0.004  # above the mouth, from where it comes down slowly: it may be 2 mm off
PRESS_SHARE = 0.48  # of the limit that it presses with
PRESS_MAX_SHARE = 0.6  # from where a reward counts against a force
YIELD_M_SN = 0.00075  # speed for each N: a time constant of 0.13 s against the mount
SLIDE_M_SN = 0.001  # likewise, sideways
DEAD_N, DEAD_NM = 1.5, 0.06  # what a biased sensor may tell of nothing
TURN_RATE_1_S = 4.0
YIELD_RAD_SNM = 0.6

PLACE = {
    "socket_x_m": (0.50, 0.62),
    "socket_y_m": (-0.08, 0.08),
    "socket_yaw_rad": (-0.25, 0.25),
    "force_limit_n": (15.0, 40.0),
}
PLACE_JOINTS: dict[str, Vector3] = {"socket_x": (1, 0, 0), "socket_y": (0, 1, 0), "socket_yaw_rad": (0, 0, 1)}


def _randomization() -> Randomization:
    """What every task draws, a socket that is measured with a bias in its turn too, and a sensor that drifts.

    0.0262 on each component of a quaternion near upright is 3 degrees about each axis.
    """
    drawn = randomization(objects=("socket",), pose=PLACE)
    return drawn.model_copy(
        update={
            "sensor_noise": drawn.sensor_noise | {"N": 0.3, "Nm": 0.01},
            "sensor_bias": {"socket_position": 0.002, "socket_quat": 0.0262, "N": 1.0, "Nm": 0.03},
            "sensor_drift": {"N": 0.05, "Nm": 0.002},
            "observation_delay_ms": (0.0, 20.0),
        }
    )


class ConnectorAction(TableAction):
    """Slow, and free to turn the tool about every axis."""

    rotation: Literal["none", "yaw", "full"] = "full"
    speed_m_s: float = 0.08
    turn_rad_s: float = 0.3
    workspace_min_m: Vector3 | None = (0.38, -0.25, 0.04)
    workspace_max_m: Vector3 | None = (0.74, 0.25, 0.30)


class ConnectorInsertConfig(TableConfig):
    """Insert a connector: where the socket is, how much force is allowed, what each reward term weighs.

    Contacts this tight need 2 ms steps.
    """

    episode_s: float = 8.0
    physics_hz: float = 500.0
    depth_m: float = 0.007
    wrench: bool = Field(
        default=True, description="the policy reads the wrench; false: to see what that is worth"
    )
    action: ConnectorAction = ConnectorAction()
    randomization: Randomization = _randomization()
    reward: dict[str, float] = {
        "reach": 1.0,
        "centre": 1.0,
        "depth": 4.0,
        "inserted": 1.0,
        "force": -1.0,
        "action": -0.01,
    }


def _without_wrench(config: ConnectorInsertConfig) -> ConnectorInsertConfig:
    """The config without errors of a sensor that the policy does not read."""
    drawn, keys = config.randomization, ("sensor_noise", "sensor_bias", "sensor_drift")
    kept = {key: {k: v for k, v in getattr(drawn, key).items() if k not in ("N", "Nm")} for key in keys}
    return config.model_copy(update={"randomization": drawn.model_copy(update=kept)})


class ConnectorInsert(TableTask[ConnectorInsertConfig]):
    """A plug into a floating socket that is known to a few millimetres, by feel."""

    name = "connector_insert"
    summary = "push a plug into a socket 0.2 mm wider by feel, its contact force under a told limit"
    success_text = (
        "plug at least 7 of 8 mm deep in the socket for the last 0.5 s, no force above the limit before"
    )
    config_type = ConnectorInsertConfig
    rooms = {"fr3": Room(contacts=24, rows=104)}
    uses_gripper = False
    ready_tcp_m = (0.56, 0.0, 0.14)

    def __init__(self, robot: Robot, config: ConnectorInsertConfig):
        super().__init__(robot, config if config.wrench else _without_wrench(config))
        self._limits_n = config.randomization.pose.get("force_limit_n", PLACE["force_limit_n"])
        if self._limits_n[0] <= 0.0:
            raise TaskError("randomization.pose.force_limit_n: a limit of the contact force is above 0 N.")

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm, the pose of the socket, the wrench at the TCP."""
        felt = (
            Slot("force", (3,), "N", WRENCH_FORCE, "what the surroundings do to the tool, axes of the TCP"),
            Slot("torque", (3,), "Nm", WRENCH_TORQUE, "likewise, about the TCP"),
        )
        pose = pose_slots("socket", "the socket's mouth, z out of it")
        return (*super().slots, *pose, *(felt if self.config.wrench else ()))

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """How much force is allowed."""
        return (
            Slot("force_limit", (1,), "N", "goal.force_limit", "contact force that must not be exceeded"),
        )

    def scene(self) -> mujoco.MjSpec:
        """The plug in the gripper, and the socket on its mount."""
        spec = tabletop(self.robot)
        # With fewer the force of a plug that touches on several sides jumps by tens of N from step to step.
        spec.option.iterations, spec.option.ls_iterations = 12, 10
        spec.add_material(name="plug", rgba=[0.16, 0.17, 0.19, 1.0], specular=0.4, shininess=0.5)
        spec.add_material(name="tongue", rgba=[0.75, 0.76, 0.78, 1.0], specular=0.8, shininess=0.8)
        spec.add_material(name="socket", rgba=[0.13, 0.42, 0.72, 1.0], specular=0.4, shininess=0.5)
        spec.add_material(name="board", rgba=[0.07, 0.33, 0.24, 1.0], specular=0.3, shininess=0.4)
        _add_plug(spec, self.robot.gripper.tcp.xyz[2])
        _add_socket(spec)
        add_pose_sensors(spec, "socket")
        add_wrench_sensors(spec)
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots; nothing but the TCP's true pose is privileged."""
        wrench = {"force": ("tcp_force",), "torque": ("tcp_torque",)}
        return super().sensors() | pose_sensors("socket") | wrench

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture, plug in the gripper; the socket somewhere below it."""
        key_arm, key_place = jax.random.split(key)
        place = self.draw(key_place, *PLACE)
        joints = {name: place[i : i + 1] for i, name in enumerate(PLACE_JOINTS)}
        return Reset(
            self.draw_arm(key_arm), {"force_limit": place[3:]}, width=2 * HOUSING_M[1], joints=joints
        )

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; the mouth from the plug's tip, in the base frame and along the socket; the axes of both; what is felt.

        Forces in the base frame, as moves are, by their size and as a share of the limit; the torque about the tip.
        """
        arm, tcp, tool = self.observe_arm(readings, memory)
        socket = rotation_of(readings["socket_quat"])
        way = readings["socket_position"] - (tcp + TIP_M * tool[:, 2])
        misfit = _misfit(tool, socket)
        # nothing but what was trained, whatever is asked for
        limit, felt = jnp.clip(goal["force_limit"], *self._limits_n), []
        if self.config.wrench:
            force, torque = _felt(readings, tool)
            felt = [jnp.tanh(force / 10.0), jnp.clip(force / limit, -2.0, 2.0), jnp.tanh(4.0 * torque)]
        place = [
            10.0 * way,
            100.0 * jnp.clip(socket.T @ way, -0.02, 0.02),
            10.0 * misfit,
            tool[:, 2],
            socket[:, 0],
        ]
        return jnp.concatenate([*arm, *place, *felt, limit / 20.0])

    def estimate(self, measured: Readings) -> Readings:
        """Of a policy without the wrench: that it feels nothing."""
        nothing = {} if self.config.wrench else {"force": jnp.zeros(3), "torque": jnp.zeros(3)}
        return super().estimate(measured) | nothing

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Bring the tip over the mouth, then press with a share of the limit and give way to every other force.

        Above the mouth the socket's pose guides it; further in only what is felt does.
        """
        del memory
        tool, socket = rotation_of(readings["tcp_quat"]), rotation_of(readings["socket_quat"])
        way = readings["socket_position"] - (readings["tcp_position"] + TIP_M * tool[:, 2])
        axis = socket[:, 2]
        height = -jnp.dot(way, axis)  # of the tip above the mouth
        aside = way + height * axis
        misfit = _misfit(tool, socket)
        force, torque = _felt(readings, tool)
        pushed = jnp.dot(force, axis)  # out of the socket
        astray = jnp.linalg.norm(aside) + 0.02 * jnp.linalg.norm(misfit)
        touching = ease((jnp.sqrt(jnp.sum(force**2) + 1e-12) - 1.0) / 2.0)
        far = ease((astray - 0.006) / 0.004)  # farther than a plug in the socket can seem to be
        guided = jnp.maximum(ease((height + 0.002) / 0.003) * (1.0 - touching), far)  # by the pose
        hover = jnp.maximum(ease((astray - 0.0015) / 0.003) * ease((height - 0.002) / 0.003), far)
        # Down: to the height above the mouth that the funnel asks for; from there on with the force that is asked for.
        wanted = PRESS_SHARE * goal["force_limit"][0]
        press = YIELD_M_SN * jnp.clip(wanted - pushed, -30.0, wanted)
        fall = jnp.maximum(press, EXPERT_RATE_1_S * (height - NEAR_M))
        down = hover * EXPERT_RATE_1_S * (height - HOVER_M) + (1.0 - hover) * fall
        sideways = force - pushed * axis
        low = far * ease((0.002 - height) / 0.004)  # beside the socket: up first
        move = (
            (1.0 - low) * guided * EXPERT_RATE_1_S * aside
            + SLIDE_M_SN * _beyond(sideways, DEAD_N)
            - down * axis
        )
        turn = guided * TURN_RATE_1_S * misfit + YIELD_RAD_SNM * _beyond(torque, DEAD_NM)
        # Turning about the TCP moves the tip: take that out.
        turn = _within(turn / self.config.action.turn_rad_s)
        swing = jnp.cross(self.config.action.turn_rad_s * turn, TIP_M * tool[:, 2])
        return jnp.concatenate([_within((move - swing) / self.config.action.speed_m_s), turn])

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Over the mouth (reach), on its axis (centre), in (depth, inserted), gently (force), calmly (action)."""
        del memory
        depth, sideways = _insertion(readings)
        share = self.figures(readings, goal)["contact_force_share_of_limit"]
        return {
            "reach": near(jnp.sqrt(sideways**2 + jnp.minimum(depth + LEAD_M, 0.0) ** 2), 0.05),
            "centre": near(sideways, 0.003),
            "depth": (sideways < 0.001) * jnp.clip(depth / DEPTH_M, 0.0, 1.0),
            "inserted": self._inserted(readings).astype(jnp.float32),
            "force": 30.0 * jnp.clip(share - PRESS_MAX_SHARE, 0.0, 0.4) + 50.0 * (share > 1.0),
            "action": jnp.sum(action**2),
        }

    def figures(self, readings: Readings, goal: Readings) -> Readings:
        """Contact force, and what share of the limit that is."""
        force = jnp.sqrt(jnp.sum(readings["force"] ** 2) + 1e-12)
        return {"contact_force_n": force, "contact_force_share_of_limit": force / goal["force_limit"][0]}

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Plug deep enough in the socket."""
        del goal
        return self._inserted(readings)

    def failed(self, readings: Readings, goal: Readings) -> Array:
        """The force is above the limit."""
        return self.figures(readings, goal)["contact_force_share_of_limit"] > 1.0

    def _inserted(self, readings: Readings) -> Array:
        depth, sideways = _insertion(readings)
        return (depth > self.config.depth_m) & (sideways < 0.001)


def _insertion(readings: Readings) -> tuple[Array, Array]:
    """The depth of the tip below the end of the lead-in [m], its distance from the socket's axis [m]."""
    tool, socket = rotation_of(readings["tcp_quat"]), rotation_of(readings["socket_quat"])
    tip = readings["tcp_position"] + TIP_M * tool[:, 2]
    x, y, z = socket.T @ (tip - readings["socket_position"])
    return -z - LEAD_M, jnp.sqrt(x * x + y * y + 1e-12)


def _misfit(tool: Array, socket: Array) -> Array:
    """The turn [3] rad, base frame, that lines the plug up with the socket: opposite z, x along x or against it."""
    side = jnp.where(jnp.dot(tool[:, 0], socket[:, 0]) < 0.0, -1.0, 1.0)  # the plug fits both ways round
    return 0.5 * (
        jnp.cross(tool[:, 2], -socket[:, 2])
        + jnp.cross(tool[:, 0], side * socket[:, 0])
        + jnp.cross(tool[:, 1], -side * socket[:, 1])
    )


def _felt(readings: Readings, tool: Array) -> tuple[Array, Array]:
    """Force [3] N, and torque [3] Nm about the tip, in the base frame."""
    force, torque = readings["force"], readings["torque"]
    about_tip = torque - jnp.cross(jnp.array([0.0, 0.0, TIP_M]), force)
    return tool @ force, tool @ about_tip


def _beyond(vector: Array, dead: float) -> Array:
    """What of a vector [3] is beyond a length."""
    length = jnp.sqrt(jnp.sum(vector**2) + 1e-12)
    return vector * jnp.maximum(length - dead, 0.0) / length


def _within(vector: Array) -> Array:
    """A vector [3], no longer than 1."""
    return vector / jnp.maximum(jnp.sqrt(jnp.sum(vector**2) + 1e-12), 1.0)


def _add_plug(spec: mujoco.MjSpec, tcp_z_m: float) -> None:
    """The plug on the palm: a housing that the fingers hold, seen only, and the tongue."""
    palm = spec.body("gripper_palm")
    end, neck = tcp_z_m + TIP_M, tcp_z_m + 0.020
    # What touches are its rounded corners: between flat walls no more of it can.
    x, y = TONGUE_M[0] - ROUND_M, TONGUE_M[1] - ROUND_M
    for i, (sx, sy) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        palm.add_geom(
            name=f"plug{i}", type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[ROUND_M, 0, 0], material="tongue", mass=0,
            fromto=[sx * x, sy * y, neck, sx * x, sy * y, end - ROUND_M], **_touched(PLUG_BIT | 1),
        )  # fmt: skip
    seen: dict[str, Any] = {"type": _BOX, "material": "tongue", "mass": 0, "contype": 0, "conaffinity": 0}
    middle, half = [0, 0, (neck + end - ROUND_M) / 2], (end - ROUND_M - neck) / 2
    palm.add_geom(name="plug_wide", pos=middle, size=[TONGUE_M[0], y, half], **seen)
    palm.add_geom(name="plug_thick", pos=middle, size=[x, TONGUE_M[1], half], **seen)
    palm.add_geom(
        name="plug_housing", type=_BOX, pos=[0, 0, tcp_z_m + 0.005], size=[*HOUSING_M, 0.020], material="plug", mass=0,
        contype=0, conaffinity=0,
    )  # fmt: skip
    gripper = spec.actuator("gripper")
    gripper.biasprm[0] = 2 * HOUSING_M[1] * gripper.gainprm[0]  # a command of 0 then means the plug's width


def _add_socket(spec: mujoco.MjSpec) -> None:
    """A board that is put somewhere, and on it the socket, which floats; its origin is the middle of the mouth."""
    board = add_placed_body(spec, "board", PLACE_JOINTS)
    board.pos = [0.0, 0.0, MOUTH_M]
    socket = board.add_body(name="socket", gravcomp=1.0, mass=FLOAT_KG, inertia=[FLOAT_KGM2] * 3)
    socket.explicitinertial = True
    kinds = (
        (mujoco.mjtJoint.mjJNT_SLIDE, "slide", FLOAT_N_M, FLOAT_NS_M),
        (mujoco.mjtJoint.mjJNT_HINGE, "hinge", FLOAT_NM_RAD, FLOAT_NMS_RAD),
    )
    for kind, word, rate, damping in kinds:
        for axis, along in zip("xyz", np.eye(3), strict=True):
            joint = socket.add_joint(name=f"float_{word}_{axis}", type=kind, axis=along)
            joint.damping, joint.stiffness = [damping, 0.0, 0.0], [rate, 0.0, 0.0]
    for i in range(4):
        _add_side(socket, i)
    floor = [TONGUE_M[0] + 2 * WALL_M, TONGUE_M[1] + 2 * WALL_M, 0.001]
    socket.add_geom(
        name="socket_floor", type=_BOX, pos=[0, 0, -LEAD_M - DEPTH_M - floor[2]], size=floor, mass=0,
        material="socket", **_touched(PLUG_BIT),
    )  # fmt: skip
    _add_board(board)


def _add_side(socket: mujoco.MjsBody, i: int) -> None:
    """One wall of the opening, the lead-in above it, which falls by 45 degrees towards it, and the rim, seen only."""
    inner, across = TONGUE_M[i % 2] + CLEARANCE_M, TONGUE_M[(i + 1) % 2] + LEAD_M
    angle, thick, rim = i * np.pi / 2, 0.0015, WALL_M - LEAD_M / 2 + 0.0003
    out, up = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0, 0.0, 1.0])
    turn, slope, tilted = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(tilted, np.array([0.0, 1.0, 0.0]), -np.pi / 4)
    mujoco.mju_mulQuat(slope, turn, tilted)
    common: dict[str, Any] = {"type": _BOX, "material": "socket", "mass": 0}
    socket.add_geom(
        name=f"socket_wall{i}", pos=(inner + WALL_M) * out - (LEAD_M + DEPTH_M / 2) * up, quat=turn,
        size=[WALL_M, across + 2 * WALL_M - LEAD_M, DEPTH_M / 2], **common, **_touched(PLUG_BIT),
    )  # fmt: skip
    socket.add_geom(
        name=f"socket_lead{i}", pos=(inner + LEAD_M / 2) * out - LEAD_M / 2 * up - thick * (up - out) / np.sqrt(2.0),
        quat=slope, size=[LEAD_M / np.sqrt(2.0), across, thick], **common, **_touched(PLUG_BIT),
    )  # fmt: skip
    high = (LEAD_M + DEPTH_M) / 2
    socket.add_geom(
        name=f"socket_rim{i}", pos=(inner + LEAD_M + rim) * out - (high - 0.0002) * up, quat=turn,
        size=[rim, across + 2 * rim * (i % 2), high], contype=0, conaffinity=0, **common,
    )  # fmt: skip


def _add_board(board: mujoco.MjsBody) -> None:
    """What is only seen: a circuit board on feet, the rubber that the socket floats on, chips."""
    seen: dict[str, Any] = {"mass": 0, "contype": 0, "conaffinity": 0}
    top, below = 0.015 - MOUTH_M, -LEAD_M - DEPTH_M - 0.002
    board.add_geom(
        name="board",
        type=_BOX,
        pos=[0, 0, top - 0.0015],
        size=[0.06, 0.045, 0.0015],
        material="board",
        **seen,
    )
    board.add_geom(
        name="rubber", type=_BOX, pos=[0, 0, (below + top) / 2], size=[0.013, 0.009, (below - top) / 2],
        material="frame", **seen,
    )  # fmt: skip
    for i, (x, y) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        board.add_geom(
            name=f"foot{i}", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[0.052 * x, 0.037 * y, 0.006 - MOUTH_M],
            size=[0.004, 0.006, 0], material="tongue", **seen,
        )  # fmt: skip
    for i, (x, y, half) in enumerate(
        ((0.038, 0.020, 0.010), (0.040, -0.022, 0.007), (-0.038, -0.018, 0.011))
    ):
        board.add_geom(
            name=f"chip{i}",
            type=_BOX,
            pos=[x, y, top + 0.0015],
            size=[half, half, 0.0015],
            material="plug",
            **seen,
        )


def _touched(touching: int) -> dict[str, Any]:
    """How plug and socket touch what has one of these bits: hard plastic."""
    return {
        "contype": PLUG_BIT, "conaffinity": touching, "friction": [0.2, 0.005, 0.0001], "priority": 1,
        "solref": [0.005, 1.0], "solimp": [0.95, 0.99, 0.0005, 0.5, 2.0],
    }  # fmt: skip
