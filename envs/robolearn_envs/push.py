"""Push: slide a box over the table to a goal, with the closed gripper."""

from __future__ import annotations

from typing import Any

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
    EXPERT_RATE_1_S,
    TURN_RAD,
    TableConfig,
    TableTask,
    add_box,
    ease,
    near,
    off_table,
    placed,
    pose_sensors,
    pose_slots,
    tabletop,
    velocity_sensors,
)

BOX_HALF_M = (0.035, 0.035, 0.025)  # wider than the closed fingers, lower than the palm
BOX_MASS_KG = 0.3
BOX_FRICTION = 0.4  # wood on wood
# Centres of the box: room to get behind it on every side.
AREA_M = {"x_m": (0.50, 0.68), "y_m": (-0.20, 0.20)}
GAP_M = 0.08  # least distance from start to goal: no episode is solved by doing nothing
BEHIND_M = 0.055  # from the box's centre to the closed fingers that push it

# Of the expert.
LOW_M, HIGH_M = 0.025, 0.085  # TCP above the table: pushing, and clear of the box's top
STANDOFF_M = 0.08  # from the box's centre to where the fingers come down: clear of its corners
CLEAR_M = 0.09  # from the box's centre to the fingers once it lies at the goal
PUSH_M_S = 0.35
STEER = 1.3  # the push turns from the line toward the box's centre: 1 turns no box, more turns it back


class PushConfig(TableConfig):
    """Push a box: where the bar lies, and what each reward term weighs."""

    episode_s: float = 5.0
    tolerance_m: float = 0.03
    randomization: Randomization = randomization(
        {"box": (0.5, 2.0)},
        ("box",),
        placed("box", AREA_M | {"yaw_rad": TURN_RAD}) | placed("goal", AREA_M),
    )
    reward: dict[str, float] = {
        "approach": 0.5,
        "goal": 2.0,
        "at_goal": 2.0,
        "action": -0.01,
        "speed": -0.2,
    }


class Push(TableTask[PushConfig]):
    """A box on the table to a goal on the table."""

    name = "push"
    summary = "slide a box over the table to a goal, with the closed gripper"
    success_text = "box centre within 3 cm of the goal for the last 0.5 s of the episode"
    config_type = PushConfig
    rooms = {"fr3": Room(contacts=20, rows=104)}
    objects = ("box",)
    uses_gripper = False
    ready_tcp_m = (0.56, 0.0, 0.12)  # above the box, wherever it is

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm, and the pose of the box."""
        return (*super().slots, *pose_slots("box", "the box"))

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """Where the box is to go."""
        return (
            Slot("goal_position", (3,), "m", "goal.position", "goal of the box's centre in the base frame"),
        )

    def scene(self) -> mujoco.MjSpec:
        """One box on the table."""
        spec = tabletop(self.robot)
        add_box(spec, "box", BOX_HALF_M, BOX_MASS_KG, "orange", BOX_FRICTION)
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots, and the box's velocity, which is privileged."""
        return super().sensors() | pose_sensors("box") | velocity_sensors("box")

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture; box anywhere in the area at any yaw; goal elsewhere in it."""
        key_arm, key_box, key_yaw, key_goal = jax.random.split(key, 4)
        box = self.draw(key_box, "box_x_m", "box_y_m")
        candidates = jax.vmap(lambda k: self.draw(k, "goal_x_m", "goal_y_m"))(jax.random.split(key_goal, 8))
        far = jnp.linalg.norm(candidates - box, axis=1) >= GAP_M
        goal = candidates[jnp.argmax(far)]
        height = jnp.array([BOX_HALF_M[2]])
        (yaw,) = self.draw(key_yaw, "box_yaw_rad")
        return Reset(
            self.draw_arm(key_arm),
            {"goal_position": jnp.concatenate([goal, height])},
            joints={"box": jnp.concatenate([box, height, turn_about_z(yaw)])},
        )

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; box from the TCP, goal from the box, the box's sides."""
        arm, tcp, _ = self.observe_arm(readings, memory)
        box, sides = readings["box_position"], rotation_of(readings["box_quat"])
        return jnp.concatenate([*arm, box, box - tcp, goal["goal_position"] - box, sides[:, 0], sides[:, 1]])

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Over the box to behind it, down, and push along the line to the goal; up again when off that line.

        How far the fingers are from the corridor behind the box sets their height. At the goal they draw away.
        """
        del memory
        tcp, box = readings["tcp_position"], readings["box_position"]
        way = (goal["goal_position"] - box)[:2]
        distance = jnp.linalg.norm(way)
        line = way / jnp.maximum(distance, 1e-6)
        off = (tcp - box)[:2]
        along = jnp.dot(off, line)
        aside = off - along * line
        error = jnp.linalg.norm(aside)
        low = 1.0 - ease((tcp[2] - 0.030) / 0.015)
        # The corridor: farther from the box while the fingers could come down on its top, a little wider once low.
        behind = 0.072 - 0.032 * low
        high = ease((jnp.hypot(error, jnp.maximum(along + behind, 0.0)) - 0.014 - 0.008 * low) / 0.03)
        there = 1.0 - ease((distance - 0.015) / 0.010)
        top = HIGH_M - BOX_HALF_M[2] + box[2]
        rise = LOW_M + (top - LOW_M) * high - tcp[2]

        around = (1.0 - ease(rise / 0.04)) * (-STANDOFF_M * line - off)
        heading = line - STEER * aside / BEHIND_M
        speed = jnp.minimum(distance + jnp.maximum(-along - BEHIND_M, 0.0), PUSH_M_S / EXPERT_RATE_1_S)
        push = (1.0 - 0.5 * ease(error / 0.03)) * speed * heading / jnp.linalg.norm(heading)
        pushing = low * (1.0 - high)
        radius = jnp.linalg.norm(off)
        leave = jnp.maximum(CLEAR_M - radius, 0.0) * off / jnp.maximum(radius, 1e-6)
        flat = around + pushing * (push - around)
        return self.guide_towards(jnp.append(flat + there * (leave - flat), (1.0 - there) * rise))

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Get behind the box (approach), bring it to the goal (goal, at_goal), calmly (action, speed)."""
        del memory
        box, tcp = readings["box_position"], readings["tcp_position"]
        way = goal["goal_position"] - box
        distance = jnp.linalg.norm(way)
        there = jnp.exp(-((distance / (0.5 * self.config.tolerance_m)) ** 2))
        behind = box - BEHIND_M * way / jnp.maximum(distance, 1e-3)
        return {
            "approach": jnp.maximum(near(jnp.linalg.norm(tcp - behind), 0.15), there),
            "goal": near(distance, 0.15),
            "at_goal": there,
            "action": jnp.sum(action**2),
            "speed": there * jnp.linalg.norm(readings["box_velocity"][:3]),
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Box centre within the tolerance of the goal."""
        return jnp.linalg.norm(readings["box_position"] - goal["goal_position"]) < self.config.tolerance_m

    def failed(self, readings: Readings, goal: Readings) -> Array:
        """The box has left the table."""
        del goal
        return off_table(readings["box_position"])
