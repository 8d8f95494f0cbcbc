"""Reach: bring the tool centre point (TCP) to a random point in the workspace and stay there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from robolearn.env.cartesian_action import damped_inverse
from robolearn.env.task import Array, Readings, Reset, Task, TaskConfig
from robolearn.errors import TaskError
from robolearn.policy.slots import Slot
from robolearn.robots import Robot, robot_names
from robolearn.robots.kinematics import forward, frames
from robolearn.sim.physics import Room
from robolearn.sim.randomize import Randomization
from robolearn_envs.shared import arm_sensors, arm_slots, randomization, workcell
from robolearn_envs.workspace import reach_m, shoulder_height_m, tcp_points, within_reach

START = {
    "start_first_joint_rad": (-1.2, 1.2),  # from home: it turns the whole arm
    "start_joints_rad": (-0.6, 0.6),  # from home, of each other: an episode starts where the last goal was
}
START_HEIGHT_M = 0.20  # a start with the TCP below this is not used: the hand may touch the floor
GOAL = {
    "goal_radius_share": (0.45, 0.80),  # of the arm's reach, from the shoulder: not folded, not stretched out
    "goal_azimuth_rad": (-1.2, 1.2),  # to either side of straight ahead
    "goal_height_m": (0.10, 0.80),  # above the base: clear of the floor
}
# Of an arm of one's own: how many goals are tried, and the share that must be in reach for the segment to be used;
# else goals are where the TCP gets at postures around home.
GOALS_TRIED, REACHED_MIN = 256, 0.98
GOAL_SPREAD_RAD, GOALS_MIN, GOALS_MAX = 0.8, 200, 4096
EXPERT_RATE_1_S = 8.0  # how fast the expert takes the way to the goal out
GUIDE_DRIFT_1_S = 0.5  # and the posture against home


class ReachConfig(TaskConfig):
    """Reach a point: where the bar lies, and what each reward term weighs."""

    episode_s: float = 3.0
    tolerance_m: float = 0.02
    randomization: Randomization = randomization(pose=START | GOAL)
    reward: dict[str, float] = {
        "distance": -1.0,
        "near": 1.0,
        "at_goal": 1.0,
        "action": -0.002,
        "speed": -0.02,
        "posture": -0.1,
    }


class Reach(Task[ReachConfig]):
    """TCP position to a goal in a shell segment in front of the arm."""

    name = "reach"
    summary = "bring the tool centre point to a random point in the workspace and stay there"
    success_text = "TCP within 2 cm of the goal for the last 0.5 s of the episode"
    config_type = ReachConfig
    rooms = {"fr3": Room(contacts=16, rows=64)}

    def __init__(self, robot: Robot, config: ReachConfig):
        super().__init__(robot, config)
        self._reach_m = reach_m(robot)
        self._start_height_m = min(START_HEIGHT_M, 0.5 * float(forward(robot, robot.home_rad)[0][2]))
        self._reachable: np.ndarray | None = (
            None  # goals to draw from, where the shell segment is not the arm's
        )
        if robot.name not in robot_names():
            drawn = jax.vmap(self.draw_goal)(jax.random.split(jax.random.key(0), GOALS_TRIED))
            if within_reach(robot, np.asarray(drawn, np.float64)).mean() < REACHED_MIN:
                self._reachable = self._reachable_goals()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Joint position and velocity."""
        return arm_slots(self.robot)

    @property
    def goal_slots(self) -> tuple[Slot, ...]:
        """The goal point in the robot's base frame."""
        return (Slot("goal_position", (3,), "m", "goal.position", "goal of the TCP in the base frame"),)

    def scene(self) -> mujoco.MjSpec:
        """The arm on a floor, nothing to touch."""
        return workcell(self.robot)

    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Joint sensors; the TCP's true position is privileged: a robot computes it from its joints."""
        return arm_sensors(self.robot) | {"tcp_position": ("tcp_pos",)}

    def reset(self, key: Array) -> Reset:
        """The arm anywhere around home, the goal drawn uniformly in the shell segment."""
        key_start, key_goal = jax.random.split(key)
        home = jnp.asarray(self.robot.home_rad, jnp.float32)
        low, high = self.action.position_min_rad, self.action.position_max_rad
        others = ["start_joints_rad"] * (len(home) - 1)
        arm = home + self.draw(key_start, "start_first_joint_rad", *others)
        arm = jnp.clip(arm, jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32))
        tcp, _ = forward(self.robot, arm, xp=jnp)
        arm = jnp.where(tcp[2] < self._start_height_m, home, arm)
        return Reset(arm, {"goal_position": self.draw_goal(key_goal)})

    def _reachable_goals(self) -> np.ndarray:
        """Points [k, 3] m that the TCP reaches, in the part of the shell segment that it gets to, or near home.

        Of an arm that reaches too little of the shell: its own postures say where goals can be.
        """
        points = tcp_points(self.robot, GOAL_SPREAD_RAD)
        low, high = (self.config.randomization.pose["goal_azimuth_rad"][i] for i in (0, 1))
        azimuth = np.arctan2(points[:, 1], points[:, 0])
        clear = points[:, 2] > self._start_height_m
        ahead = (
            clear
            & (azimuth >= low)
            & (azimuth <= high)
            & (np.hypot(points[:, 0], points[:, 1]) > 0.2 * self._reach_m)
        )
        chosen = points[ahead if ahead.sum() >= GOALS_MIN else clear][:GOALS_MAX]
        if len(chosen) < GOALS_MIN:
            raise TaskError(
                f"Task 'reach': robot '{self.robot.name}' hardly gets its tool off the floor around home_rad "
                f"({len(chosen)} of {len(points)} postures). Write a home_rad with the tool well above the base."
            )
        return chosen.astype(np.float32)

    def draw_goal(self, key: Array) -> Array:
        """A goal [3] m in the base frame, uniform over radius, azimuth and height within the shell segment.

        Of an arm that reaches too little of the segment, one of the points that its TCP is known to reach.
        """
        if self._reachable is not None:
            return jax.random.choice(key, jnp.asarray(self._reachable))
        key_radius, key_azimuth, key_height = jax.random.split(key, 3)
        shoulder = shoulder_height_m(self.robot)
        radius = self.draw(key_radius, "goal_radius_share")[0] * self._reach_m
        (azimuth,) = self.draw(key_azimuth, "goal_azimuth_rad")
        rise = self.draw(key_height, "goal_height_m")[0] - shoulder
        rise = jnp.clip(rise, -0.8 * radius, 0.8 * radius)
        flat = jnp.sqrt(radius**2 - rise**2)
        return jnp.stack([flat * jnp.cos(azimuth), flat * jnp.sin(azimuth), shoulder + rise])

    def observe(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Joints, the TCP from forward kinematics, the goal, and how far the arm trails its command."""
        position = readings["joint_position"]
        tcp, _ = forward(self.robot, position, xp=jnp)
        return jnp.concatenate(
            [
                position,
                readings["joint_velocity"],
                tcp,
                goal["goal_position"] - tcp,
                memory.command_position - position,
                memory.command_velocity,
            ]
        )

    def reward_terms(self, readings: Readings, memory: Any, goal: Readings, action: Array) -> Readings:
        """Pull from afar (distance), precision nearby (near, at_goal), calm (action, speed), and a posture near home:
        without it an arm that goes from goal to goal folds up little by little.
        """
        distance = jnp.linalg.norm(readings["tcp_position"] - goal["goal_position"])
        home = jnp.asarray(self.robot.home_rad, jnp.float32)
        return {
            "distance": distance,
            "near": jnp.exp(-((distance / 0.05) ** 2)),
            "at_goal": (distance < 0.5 * self.config.tolerance_m).astype(jnp.float32),
            "action": jnp.sum(action**2),
            "posture": jnp.sum((readings["joint_position"] - home)[1:] ** 2),  # the first joint turns it all
            "speed": jnp.sum(memory.command_velocity**2) * jnp.exp(-((distance / 0.05) ** 2)),
        }

    def expert(self, readings: Readings, memory: Any, goal: Readings) -> Array:
        """Around the base to the goal, joint speeds by a damped inverse of the Jacobian, drifting towards home.

        A straight way passes close to the base, where the arm has to fold.
        """
        position = readings["joint_position"]
        tcp = frames(self.robot, position, jnp)
        home = jnp.asarray(self.robot.home_rad, jnp.float32)
        drift = (GUIDE_DRIFT_1_S * (home - position)).at[0].set(0.0)
        way = EXPERT_RATE_1_S * _way_around(tcp.position, goal["goal_position"])
        wanted = way - (tcp.linear * drift).sum(axis=1)
        speed = drift + damped_inverse(tcp.linear, wanted)
        action = speed / jnp.asarray(self.action.velocity_max_rad_s, jnp.float32)
        return action / jnp.maximum(jnp.abs(action).max(), 1.0)

    def achieved(self, readings: Readings, goal: Readings) -> Array:
        """TCP within the tolerance of the goal."""
        return jnp.linalg.norm(readings["tcp_position"] - goal["goal_position"]) < self.config.tolerance_m


def _way_around(start: Array, end: Array) -> Array:
    """The tangent [3] m at start of an arc about the z axis, in front of the base, to end; as long as the arc is."""
    radius, end_radius = jnp.linalg.norm(start[:2]), jnp.linalg.norm(end[:2])
    outward = start[:2] / jnp.maximum(radius, 1e-3)
    across = jnp.stack([-outward[1], outward[0]])
    turn = jnp.arctan2(end[1], end[0]) - jnp.arctan2(start[1], start[0])
    flat = (end_radius - radius) * outward + radius * turn * across
    return jnp.concatenate([flat, end[2:] - start[2:]])
