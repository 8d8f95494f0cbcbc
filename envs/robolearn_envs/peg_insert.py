"""Peg insert: push a peg that the gripper holds into a hole, 1 mm wider, at a random place and tilt.

The peg is a cylinder of 30 mm with a round nose (a capsule), as locating pins have. The hole is the octagon around a
circle of 31 mm: the clearance is 1 mm across flats. The gripper's hold is rigid; what yields is the arm.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.env.task import Array, Readings, Reset
from robolearn.policy.slots import Slot
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
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

PEG_RADIUS_M, HOLE_RADIUS_M = 0.015, 0.0155
TIP_M = 0.070  # from the TCP to the end of the peg's nose
TAIL_M = 0.010  # of the peg above the TCP
DEPTH_M = 0.045  # of the hole
BLOCK_HALF_M, BLOCK_HEIGHT_M = 0.05, 0.06
SIDES = 8
PEG_BIT = 4  # peg and hole touch each other and nothing else

# Of the expert.
OVER_M = 0.010  # tip above the mouth while the peg is not lined up
INSERT_M = 0.045  # depth that it aims at
TURN_RATE_1_S = 5.0

# The hole's mouth: from the robot, and its tilt about x and y.
PLACE = {
    "hole_x_m": (0.48, 0.62),
    "hole_y_m": (-0.12, 0.12),
    "hole_tilt_x_rad": (-0.08, 0.08),
    "hole_tilt_y_rad": (-0.08, 0.08),
}
PLACE_JOINTS: dict[str, Vector3] = {
    "hole_x": (1, 0, 0),
    "hole_y": (0, 1, 0),
    "hole_roll_rad": (1, 0, 0),
    "hole_pitch_rad": (0, 1, 0),
}


class PegAction(TableAction):
    """Slow, and free to turn the tool about every axis."""

    rotation: Literal["none", "yaw", "full"] = "full"
    speed_m_s: float = 0.2
    turn_rad_s: float = 0.5
    workspace_min_m: Vector3 | None = (0.38, -0.25, 0.075)
    workspace_max_m: Vector3 | None = (0.74, 0.25, 0.30)


class PegInsertConfig(TableConfig):
    """Insert a peg: where the bar lies, and what each reward term weighs. Contacts this tight need 2 ms steps."""

    episode_s: float = 5.0
    physics_hz: float = 500.0
    depth_m: float = 0.035
    action: PegAction = PegAction()
    randomization: Randomization = randomization(objects=("hole",), pose=PLACE)
    reward: dict[str, float] = {
        "reach": 1.0,
        "align": 1.0,
        "centre": 1.0,
        "depth": 4.0,
        "inserted": 1.0,
        "action": -0.01,
    }


class PegInsert(TableTask[PegInsertConfig]):
    """A cylindrical peg into a hole at a random place and tilt."""

    name = "peg_insert"
    summary = "push a peg that the gripper holds into a hole 1 mm wider"
    success_text = "peg at least 35 mm deep in the hole for the last 0.5 s of the episode"
    config_type = PegInsertConfig
    rooms = {"fr3": Room(contacts=16, rows=64)}
    uses_gripper = False
    ready_tcp_m = (0.56, 0.0, 0.20)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm, and the pose of the hole."""
        return (*super().slots, *pose_slots("hole", "the hole's mouth, z out of it"))

    def scene(self) -> mujoco.MjSpec:
        """The peg in the gripper, and a block with the hole."""
        spec = tabletop(self.robot)
        spec.add_material(name="peg", rgba=[0.70, 0.72, 0.75, 1.0], specular=0.7, shininess=0.8)
        spec.add_material(name="block", rgba=[0.13, 0.42, 0.72, 1.0], specular=0.4, shininess=0.5)
        _add_peg(spec, self.robot.gripper.tcp.xyz[2])
        _add_hole(add_placed_body(spec, "hole", PLACE_JOINTS), spec)
        add_pose_sensors(spec, "hole")
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots; nothing but the TCP's true pose is privileged."""
        return super().sensors() | pose_sensors("hole")

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture, peg in the gripper; the hole somewhere below it, tilted a little."""
        key_arm, key_place = jax.random.split(key)
        place = self.draw(key_place, *PLACE)
        joints = {name: place[i : i + 1] for i, name in enumerate(PLACE_JOINTS)}
        return Reset(self.draw_arm(key_arm), {}, width=2 * PEG_RADIUS_M, joints=joints)

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; the hole's mouth from the peg's tip, in the base frame and along the hole; the axes of both."""
        del goal
        arm, tcp, rotation = self.observe_arm(readings, memory)
        hole = rotation_of(readings["hole_quat"])
        way = readings["hole_position"] - (tcp + TIP_M * rotation[:, 2])
        tilt = rotation[:, 2] + hole[:, 2]
        return jnp.concatenate([*arm, way, 10.0 * (hole.T @ way), rotation[:, 2], hole[:, 2], 10.0 * tilt])

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Bring the tip over the mouth, line the peg up with the hole, push it in along the hole's axis.

        The height comes from a funnel: the worse the peg is lined up, the farther out of the hole.
        """
        del memory, goal
        tool, axis = rotation_of(readings["tcp_quat"])[:, 2], rotation_of(readings["hole_quat"])[:, 2]
        tip = readings["tcp_position"] + TIP_M * tool
        way = readings["hole_position"] - tip
        out = -jnp.dot(way, axis)
        aside = way + out * axis
        tilt = jnp.cross(tool, -axis)
        astray = jnp.linalg.norm(aside) + 0.1 * jnp.linalg.norm(tilt)
        inside = 0.008 * ease(-out / 0.010)  # the hole keeps it lined up now
        rise = (OVER_M + INSERT_M) * ease((astray - 0.002 - inside) / 0.006) - INSERT_M - out
        move = (1.0 - ease(rise / 0.02)) * aside + rise * axis
        turn = TURN_RATE_1_S * tilt / self.config.action.turn_rad_s
        turn = turn / jnp.maximum(jnp.linalg.norm(turn), 1.0)
        # Turning about the TCP moves the tip: take that out.
        swing = jnp.cross(self.config.action.turn_rad_s * turn, TIP_M * tool)
        return jnp.concatenate([self.guide_towards(move - swing / EXPERT_RATE_1_S), turn])

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Over the hole (reach), along it (align), on its axis (centre), in (depth, inserted), calmly (action)."""
        del memory, goal
        depth, sideways, tilt = _insertion(readings)
        on_axis = jnp.exp(-((sideways / 0.004) ** 2))
        return {
            "reach": near(jnp.sqrt(sideways**2 + jnp.minimum(depth, 0.0) ** 2), 0.1),
            "align": near(tilt, 0.1),
            "centre": near(sideways, 0.01),
            "depth": on_axis * jnp.clip(depth / DEPTH_M, 0.0, 1.0),
            "inserted": self._inserted(readings).astype(jnp.float32),
            "action": jnp.sum(action**2),
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Peg deep enough in the hole."""
        del goal
        return self._inserted(readings)

    def _inserted(self, readings: Readings) -> Array:
        depth, sideways, _ = _insertion(readings)
        return (depth > self.config.depth_m) & (sideways < HOLE_RADIUS_M)


def _insertion(readings: Readings) -> tuple[Array, Array, Array]:
    """The depth of the tip below the mouth [m], its distance from the axis of the hole [m], the tilt [rad]."""
    tool, hole = rotation_of(readings["tcp_quat"]), rotation_of(readings["hole_quat"])
    tip = readings["tcp_position"] + TIP_M * tool[:, 2]
    x, y, z = hole.T @ (tip - readings["hole_position"])
    tilt = jnp.linalg.norm(tool[:, 2] + hole[:, 2])
    return -z, jnp.sqrt(x * x + y * y + 1e-12), tilt


def _add_peg(spec: mujoco.MjSpec, tcp_z_m: float) -> None:
    """The peg on the palm, along the tool, and the fingers held at its width."""
    low, high = tcp_z_m - TAIL_M + PEG_RADIUS_M, tcp_z_m + TIP_M - PEG_RADIUS_M
    spec.body("gripper_palm").add_geom(
        name="peg", type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=[0, 0, low, 0, 0, high], size=[PEG_RADIUS_M, 0, 0],
        material="peg", mass=0, contype=PEG_BIT, conaffinity=PEG_BIT, friction=[0.3, 0.005, 0.0001], priority=1,
        solref=[0.005, 1.0],
    )  # fmt: skip
    gripper = spec.actuator("gripper")
    gripper.biasprm[0] = 2 * PEG_RADIUS_M * gripper.gainprm[0]  # a command of 0 then means the peg's width


def _add_hole(block: mujoco.MjsBody, spec: mujoco.MjSpec) -> None:
    """An octagonal block with the hole in it; the body's origin is the middle of the mouth."""
    block.pos = [0.0, 0.0, BLOCK_HEIGHT_M]
    box = mujoco.mjtGeom.mjGEOM_BOX
    thick = (BLOCK_HALF_M - HOLE_RADIUS_M) / 2
    side = BLOCK_HALF_M * np.tan(np.pi / SIDES)
    for i in range(SIDES):
        angle = 2 * np.pi * i / SIDES
        radius, low = HOLE_RADIUS_M + thick, 5e-4 * (i % 2)  # tops that overlap are kept apart for the eye
        block.add_geom(
            name=f"hole_side{i}", type=box, pos=[radius * np.cos(angle), radius * np.sin(angle), -DEPTH_M / 2 - low],
            quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)], size=[thick, side, DEPTH_M / 2], material="block",
            mass=0, contype=PEG_BIT, conaffinity=PEG_BIT, friction=[0.3, 0.005, 0.0001], solref=[0.005, 1.0],
        )  # fmt: skip
    below = (BLOCK_HEIGHT_M - DEPTH_M) / 2
    block.add_geom(
        name="hole_floor", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[0, 0, -DEPTH_M - below],
        size=[BLOCK_HALF_M + 0.004, below, 0], material="frame", mass=0, contype=0, conaffinity=0,
    )  # fmt: skip
