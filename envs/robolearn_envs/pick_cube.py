"""Pick cube: grasp a cube from the table and bring it to a goal in the air."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import mujoco

from robolearn.env.task import Array, Readings, Reset
from robolearn.policy.slots import Slot
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
from robolearn_envs.rotations import rotation_of, turn_about_z
from robolearn_envs.shared import randomization
from robolearn_envs.table import (
    AREA_M,
    TURN_RAD,
    TableAction,
    TableConfig,
    TableTask,
    add_box,
    near,
    off_table,
    placed,
    pose_sensors,
    pose_slots,
    square_misfit,
    tabletop,
    velocity_sensors,
)

CUBE_HALF_M = 0.02  # 4 cm wide: half of the gripper's opening
CUBE_MASS_KG = 0.1
CUBE_FRICTION = 0.6
GOAL_M = AREA_M | {"z_m": (0.12, 0.35)}  # in the air
OPEN_M = (0.06, 0.08)  # gripper at the start
GRASP_M = 0.02  # TCP this near the cube's centre: the cube is between the pads
LIFT_M = 0.05  # off the table by this much is lifted
SQUEEZE_M = 0.01  # how far the command runs ahead of the fingers when they hold something


class PickCubeAction(TableAction):
    """The gripper also turns about its axis, and closes within half a second."""

    rotation: Literal["none", "yaw", "full"] = "yaw"
    gripper_speed_m_s: float = 0.2


class PickCubeConfig(TableConfig):
    """Pick a cube: where the bar lies, and what each reward term weighs."""

    episode_s: float = 4.0
    tolerance_m: float = 0.03
    action: PickCubeAction = PickCubeAction()
    randomization: Randomization = randomization(
        {"cube": (0.5, 2.0)},
        ("cube",),
        placed("cube", AREA_M | {"yaw_rad": TURN_RAD}) | placed("goal", GOAL_M) | {"gripper_width_m": OPEN_M},
    )
    reward: dict[str, float] = {
        "reach": 0.5,
        "align": 0.1,
        "grasp": 0.5,
        "lift": 1.0,
        "goal": 2.0,
        "at_goal": 2.0,
        "action": -0.01,
    }


class PickCube(TableTask[PickCubeConfig]):
    """A cube from the table to a goal in the air."""

    name = "pick_cube"
    summary = "grasp a cube from the table and bring it to a goal in the air"
    success_text = "cube centre within 3 cm of the goal for the last 0.5 s of the episode"
    config_type = PickCubeConfig
    rooms = {"fr3": Room(contacts=20, rows=104)}
    objects = ("cube",)
    fits_the_arm = True

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm and gripper, and the pose of the cube."""
        return (*super().slots, *pose_slots("cube", "the cube"))

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """Where the cube is to go."""
        return (
            Slot("goal_position", (3,), "m", "goal.position", "goal of the cube's centre in the base frame"),
        )

    def scene(self) -> mujoco.MjSpec:
        """One cube on the table."""
        spec = tabletop(self.robot)
        add_box(spec, "cube", (CUBE_HALF_M, CUBE_HALF_M, CUBE_HALF_M), CUBE_MASS_KG, "orange", CUBE_FRICTION)
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots, and the cube's velocity, which is privileged."""
        return super().sensors() | pose_sensors("cube") | velocity_sensors("cube")

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture, gripper open; cube anywhere in the area at any yaw; goal in the air."""
        key_arm, key_cube, key_yaw, key_goal, key_width = jax.random.split(key, 5)
        cube = jnp.append(self.draw(key_cube, "cube_x_m", "cube_y_m"), CUBE_HALF_M)
        (yaw,) = self.draw(key_yaw, "cube_yaw_rad")
        return Reset(
            self.draw_arm(key_arm),
            {"goal_position": self.draw(key_goal, "goal_x_m", "goal_y_m", "goal_z_m")},
            width=self.draw(key_width, "gripper_width_m")[0],
            joints={"cube": jnp.concatenate([cube, turn_about_z(yaw)])},
        )

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; cube from the TCP, goal from the cube, the cube's sides, how its yaw fits the fingers."""
        arm, tcp, rotation = self.observe_arm(readings, memory)
        cube, sides = readings["cube_position"], rotation_of(readings["cube_quat"])
        fit = square_misfit(rotation, sides)
        return jnp.concatenate([*arm, cube - tcp, goal["goal_position"] - cube, sides[:, 2], cube[2:], fit])

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Grasp the cube; the firmer it is held, the more straight to the goal."""
        grasp, held = self.guide_grasp(readings, memory, "cube")
        carry = self.guide_towards(goal["goal_position"] - readings["cube_position"])
        return grasp + held * jnp.append(carry - grasp[:3], jnp.zeros(2))

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Come to the cube (reach, align), hold it (grasp, lift), bring it (goal, at_goal), calmly (action).

        The cube's way to the goal counts only while it is between the pads.
        """
        cube = readings["cube_position"]
        gap = jnp.linalg.norm(readings["tcp_position"] - cube)
        between = jnp.exp(-((gap / GRASP_M) ** 2))
        squeeze = readings["gripper_width"][0] - memory.command_width[0]
        distance = jnp.linalg.norm(cube - goal["goal_position"])
        fit = square_misfit(rotation_of(readings["tcp_quat"]), rotation_of(readings["cube_quat"]))
        return {
            "reach": near(gap, 0.15),
            "align": near(gap, 0.15) * fit[1],
            "grasp": between * jnp.clip(squeeze / SQUEEZE_M, 0.0, 1.0),
            "lift": between * jnp.clip((cube[2] - CUBE_HALF_M) / LIFT_M, 0.0, 1.0),
            "goal": between * near(distance, 0.2),
            "at_goal": between * jnp.exp(-((distance / (0.5 * self.config.tolerance_m)) ** 2)),
            "action": jnp.sum(action**2),
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Cube centre within the tolerance of the goal."""
        return jnp.linalg.norm(readings["cube_position"] - goal["goal_position"]) < self.config.tolerance_m

    def failed(self, readings: Readings, goal: Readings) -> Array:
        """The cube has left the table."""
        del goal
        return off_table(readings["cube_position"])
