"""Reach pose: bring the tool centre point (TCP) to a random position and orientation, and stay there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from robolearn.env.task import Array, Readings, Reset, Task, TaskConfig
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.robots import Robot
from robolearn.robots.kinematics import forward
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
from robolearn_envs.rotations import angle_between, quat_of, rotation_of
from robolearn_envs.shared import arm_sensors, arm_slots, randomization, workcell

# Start and goal are poses of the arm itself, each joint this far from home: every one can be reached.
JOINTS = {"start_joints_rad": (-0.9, 0.9), "goal_joints_rad": (-0.9, 0.9)}
DRAWS = 8  # of which the first in front of the arm and clear of the floor is taken
HEIGHT_M = (0.12, 0.90)
FRONT_M = 0.20


class ReachPoseConfig(TaskConfig):
    """Reach a pose: where the bar lies, and what each reward term weighs."""

    episode_s: float = 3.0
    tolerance_m: float = 0.02
    tolerance_rad: float = 0.1
    randomization: Randomization = randomization(pose=JOINTS)
    reward: dict[str, float] = {
        "distance": -1.0,
        "angle": -0.2,
        "near": 1.0,
        "at_goal": 1.0,
        "action": -0.002,
        "speed": -0.02,
    }


class ReachPose(Task[ReachPoseConfig]):
    """TCP position and orientation to a pose that the arm can take."""

    name = "reach_pose"
    summary = "bring the tool centre point to a random position and orientation and stay there"
    success_text = "TCP within 2 cm and 0.1 rad of the goal for the last 0.5 s of the episode"
    config_type = ReachPoseConfig
    rooms = {"fr3": Room(contacts=16, rows=64)}

    def __init__(self, robot: Robot, config: ReachPoseConfig):
        super().__init__(robot, config)
        if robot.dof < 6:
            raise TaskError(
                f"Task 'reach_pose' controls position and orientation, which needs 6 joints; robot '{robot.name}' "
                f"has {robot.dof}. Use 'reach', which controls the position only."
            )

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Joint position and velocity."""
        return arm_slots(self.robot)

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """The goal pose in the robot's base frame."""
        return (
            Slot("goal_position", (3,), "m", "goal.position", "goal of the TCP in the base frame"),
            Slot("goal_quat", (4,), "1", "goal.orientation", "goal orientation (w, x, y, z) of the TCP"),
        )

    def scene(self) -> mujoco.MjSpec:
        """The arm on a floor, nothing to touch."""
        return workcell(self.robot)

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Joint sensors; the TCP's true pose is privileged: a robot computes it from its joints."""
        return arm_sensors(self.robot) | {"tcp_position": ("tcp_pos",), "tcp_quat": ("tcp_quat",)}

    def reset(self, key: Array) -> Reset:
        """Start and goal drawn alike, as on an arm that goes from goal to goal."""
        key_start, key_goal = jax.random.split(key)
        arm, _, _ = self._draw_pose(key_start, "start_joints_rad")
        _, position, rotation = self._draw_pose(key_goal, "goal_joints_rad")
        return Reset(arm, {"goal_position": position, "goal_quat": quat_of(rotation)})

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Joints, the TCP from forward kinematics, the way and the turn to the goal, trailing of the command."""
        position = readings["joint_position"]
        tcp, rotation = forward(self.robot, position, xp=jnp)
        turn = rotation_of(goal["goal_quat"]) - rotation
        return jnp.concatenate(
            [
                position,
                readings["joint_velocity"],
                tcp,
                rotation[:, 0],
                rotation[:, 1],
                goal["goal_position"] - tcp,
                turn.ravel(),
                memory.command_position - position,
                memory.command_velocity,
            ]
        )

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Pull from afar (distance, angle), precision nearby (near, at_goal), calm (action, speed)."""
        distance, angle = _misses(readings, goal)
        closeness = jnp.exp(-((distance / 0.05) ** 2) - (angle / 0.25) ** 2)
        bar = self.config
        there = (distance < 0.5 * bar.tolerance_m) & (angle < 0.5 * bar.tolerance_rad)
        return {
            "distance": distance,
            "angle": angle,
            "near": closeness,
            "at_goal": there.astype(jnp.float32),
            "action": jnp.sum(action**2),
            "speed": jnp.sum(memory.command_velocity**2) * closeness,
        }

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """TCP within both tolerances of the goal."""
        distance, angle = _misses(readings, goal)
        return (distance < self.config.tolerance_m) & (angle < self.config.tolerance_rad)

    def _draw_pose(self, key: Array, between: str) -> tuple[Array, Array, Array]:
        """Joint positions [n] rad, and the TCP's position [3] m and rotation [3, 3] there."""
        home = jnp.asarray(self.robot.home_rad, jnp.float32)
        low, high = self.action.position_min_rad, self.action.position_max_rad
        drawn = home + self.draw(key, *[between] * (DRAWS * len(home))).reshape(DRAWS, -1)
        joints = jnp.clip(drawn, jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))
        positions, rotations = jax.vmap(lambda q: forward(self.robot, q, xp=jnp))(joints)
        fits = (positions[:, 2] > HEIGHT_M[0]) & (positions[:, 2] < HEIGHT_M[1]) & (positions[:, 0] > FRONT_M)
        chosen = jnp.argmax(fits)
        return joints[chosen], positions[chosen], rotations[chosen]


def _misses(readings: Readings, goal: Readings) -> tuple[Array, Array]:
    """Distance [m] and angle [rad] from the TCP to the goal."""
    distance = jnp.linalg.norm(readings["tcp_position"] - goal["goal_position"])
    return distance, angle_between(rotation_of(readings["tcp_quat"]), rotation_of(goal["goal_quat"]))
