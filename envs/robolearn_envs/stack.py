"""Stack: put one cube on another, let go and draw back."""

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
    ease,
    near,
    off_table,
    placed,
    pose_sensors,
    pose_slots,
    square_misfit,
    tabletop,
    velocity_sensors,
)

TOP_HALF_M = 0.02  # 4 cm wide: half of the gripper's opening
BASE_HALF_M = 0.025
TOP_MASS_KG, BASE_MASS_KG = 0.1, 0.25
CUBE_FRICTION = 0.6
GAP_M = 0.12  # between the cubes at the start: room for the open gripper
OPEN_M = (0.06, 0.08)  # gripper at the start
GRASP_M = 0.02  # TCP this near the cube's centre: the cube is between the pads
SQUEEZE_M = 0.01  # how far the command runs ahead of the fingers when they hold something
HOVER_M = 0.05  # the way on to the base is from above: this much higher while beside it
BESIDE_M = 0.04  # sideways distance at which that applies in full
PLACED_M = 0.015  # scale of how well the cube lies
REST_M_S = 0.03

# Of the expert.
LET_GO_M = (0.014, 0.004)  # sideways and up from its place, the cube is let go
SETTLE = 0.6  # of the speed down: what the arm lags behind would press the cubes together
WITHDRAW_M = 0.09  # TCP above the cube in the end


class StackAction(TableAction):
    """The gripper also turns about its axis, and closes within half a second."""

    rotation: Literal["none", "yaw", "full"] = "yaw"
    gripper_speed_m_s: float = 0.2


class StackConfig(TableConfig):
    """Stack two cubes: where the bar lies, and what each reward term weighs."""

    episode_s: float = 6.0
    sideways_m: float = 0.02
    height_m: float = 0.006
    clear_m: float = 0.05
    action: StackAction = StackAction()
    randomization: Randomization = randomization(
        {"upper": (0.5, 2.0)},
        ("upper", "lower"),
        placed("upper", AREA_M | {"yaw_rad": TURN_RAD})
        | placed("lower", AREA_M | {"yaw_rad": TURN_RAD})
        | {"gripper_width_m": OPEN_M},
    )
    reward: dict[str, float] = {
        "reach": 0.5,
        "align": 0.1,
        "grasp": 0.5,
        "carry": 2.0,
        "placed": 1.0,
        "release": 1.5,
        "withdraw": 1.0,
        "stacked": 2.0,
        "action": -0.01,
    }


class Stack(TableTask[StackConfig]):
    """The orange cube on the blue one."""

    name = "stack"
    summary = "put one cube on another, let go and draw back"
    success_text = (
        "cube lying on the other within 2 cm of its centre, at rest (under 3 cm/s), gripper 1 cm wider open than the "
        "cube and 5 cm away from it, for the last 0.5 s of the episode"
    )
    config_type = StackConfig
    rooms = {"fr3": Room(contacts=24, rows=128)}

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Arm and gripper, and the poses of both cubes."""
        return (
            *super().slots,
            *pose_slots("upper", "the cube to move"),
            *pose_slots("lower", "the cube below"),
        )

    def scene(self) -> mujoco.MjSpec:
        """Two cubes on the table."""
        spec = tabletop(self.robot)
        add_box(spec, "upper", (TOP_HALF_M, TOP_HALF_M, TOP_HALF_M), TOP_MASS_KG, "orange", CUBE_FRICTION)
        add_box(spec, "lower", (BASE_HALF_M, BASE_HALF_M, BASE_HALF_M), BASE_MASS_KG, "blue", CUBE_FRICTION)
        return spec

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Slots, and the cubes' velocities, which are privileged."""
        cubes = {}
        for name in ("upper", "lower"):
            cubes |= pose_sensors(name) | velocity_sensors(name)
        return super().sensors() | cubes

    def reset(self, key: Array) -> Reset:
        """Arm near its ready posture, gripper open; the cubes apart, each at any yaw."""
        key_arm, key_base, key_top, key_yaw, key_width = jax.random.split(key, 5)
        base = self.draw(key_base, "lower_x_m", "lower_y_m")
        candidates = jax.vmap(lambda k: self.draw(k, "upper_x_m", "upper_y_m"))(jax.random.split(key_top, 8))
        top = candidates[jnp.argmax(jnp.linalg.norm(candidates - base, axis=1) >= GAP_M)]
        yaws = self.draw(key_yaw, "upper_yaw_rad", "lower_yaw_rad")
        return Reset(
            self.draw_arm(key_arm),
            {},
            width=self.draw(key_width, "gripper_width_m")[0],
            joints={
                "upper": jnp.concatenate([top, jnp.array([TOP_HALF_M]), turn_about_z(yaws[0])]),
                "lower": jnp.concatenate([base, jnp.array([BASE_HALF_M]), turn_about_z(yaws[1])]),
            },
        )

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Arm; cube from the TCP, its place from the cube, both upward sides, how its yaw fits the fingers."""
        del goal
        arm, tcp, rotation = self.observe_arm(readings, memory)
        top, sides = readings["upper_position"], rotation_of(readings["upper_quat"])
        below = rotation_of(readings["lower_quat"])
        fit = square_misfit(rotation, sides)
        return jnp.concatenate(
            [*arm, top - tcp, _place(readings) - top, top[2:], sides[:, 2], below[:, 2], fit]
        )

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Grasp the cube; the firmer it is held, the more on to the base, from above; once there, open and rise."""
        del goal
        top, way = readings["upper_position"], _place(readings) - readings["upper_position"]
        grasp, held = self.guide_grasp(readings, memory, "upper")
        beside = jnp.linalg.norm(way[:2])
        rise = way[2] + HOVER_M * ease((beside - 0.008) / 0.03)
        carry = jnp.append((1.0 - ease(rise / 0.04)) * way[:2], jnp.where(rise < 0.0, SETTLE, 1.0) * rise)
        carry = self.guide_towards(carry)
        action = grasp + held * jnp.append(carry - grasp[:3], jnp.zeros(2))

        placed = 1.0 - ease((beside - LET_GO_M[0]) / 0.005)
        placed *= 1.0 - ease((jnp.abs(way[2]) - LET_GO_M[1]) / 0.003)
        opened = ease((readings["gripper_width"][0] - 2 * TOP_HALF_M - 0.003) / 0.006)
        leave = self.guide_towards(top + jnp.array([0.0, 0.0, WITHDRAW_M]) - readings["tcp_position"])
        leave = jnp.append(carry + opened * (leave - carry), jnp.array([0.0, 1.0]))
        return action + placed * (leave - action)

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Come to the cube (reach, align), hold it (grasp), bring it (carry, placed), leave it (release, withdraw).

        The terms for having hold of the cube stay paid once it lies in place, so that letting go costs nothing.
        """
        del goal
        top = readings["upper_position"]
        gap = jnp.linalg.norm(readings["tcp_position"] - top)
        between = jnp.exp(-((gap / GRASP_M) ** 2))
        squeeze = readings["gripper_width"][0] - memory.command_width[0]
        way = _place(readings) - top
        beside = jnp.clip(jnp.linalg.norm(way[:2]) / BESIDE_M, 0.0, 1.0)
        route = jnp.linalg.norm(way + jnp.array([0.0, 0.0, HOVER_M]) * beside)
        placed = jnp.exp(-((jnp.linalg.norm(way) / PLACED_M) ** 2))
        fit = square_misfit(rotation_of(readings["tcp_quat"]), rotation_of(readings["upper_quat"]))
        opened = jnp.clip((readings["gripper_width"][0] - 2 * TOP_HALF_M) / 0.02, 0.0, 1.0)
        return {
            "reach": jnp.maximum(near(gap, 0.15), placed),
            "align": jnp.maximum(near(gap, 0.15) * fit[1], placed),
            "grasp": jnp.maximum(between * jnp.clip(squeeze / SQUEEZE_M, 0.0, 1.0), placed),
            "carry": jnp.maximum(between, placed) * near(route, 0.2),
            "placed": placed,
            "release": placed * opened,
            "withdraw": placed * opened * jnp.clip(gap / (1.5 * self.config.clear_m), 0.0, 1.0),
            "stacked": self._stacked(readings).astype(jnp.float32),
            "action": jnp.sum(action**2),
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """Cube in place, at rest, let go and clear of the gripper."""
        del goal
        return self._stacked(readings)

    def failed(self, readings: Readings, goal: Readings) -> Array:
        """A cube has left the table."""
        del goal
        return off_table(readings["upper_position"]) | off_table(readings["lower_position"])

    def _stacked(self, readings: Readings) -> Array:
        top, bar = readings["upper_position"], self.config
        way = _place(readings) - top
        lies = (jnp.linalg.norm(way[:2]) < bar.sideways_m) & (jnp.abs(way[2]) < bar.height_m)
        rests = jnp.linalg.norm(readings["upper_velocity"][:3]) < REST_M_S
        opened = readings["gripper_width"][0] > 2 * TOP_HALF_M + 0.01
        clear = jnp.linalg.norm(readings["tcp_position"] - top) > bar.clear_m
        return lies & rests & opened & clear


def _place(readings: Readings) -> Array:
    """Where the cube's centre [3] m belongs: on the middle of the base."""
    return readings["lower_position"] + jnp.array([0.0, 0.0, BASE_HALF_M + TOP_HALF_M])
