"""The action space: joint velocities, integrated with bounded acceleration into joint position targets.

The policy asks for a velocity; what goes out is a position target that is continuous in position and velocity and
stays inside the arm's position, velocity and acceleration limits whatever the network says. One control period is
one segment of constant acceleration, so the arm's command stream can be rebuilt exactly at any rate.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.config import Config
from robolearn.errors import RobotError
from robolearn.policy.slots import Slot
from robolearn.robots import Robot

Array = jax.Array
Targets = dict[str, Array]


class JointActionConfig(Config):
    """Bounds of the action space, each the smaller of the number here and a share of the arm's own limit."""

    velocity_rad_s: float = 1.0
    velocity_share: float = 0.5
    acceleration_rad_s2: float = 5.0
    acceleration_share: float = 0.5
    gripper_speed_m_s: float = 0.1


class ArmMemory(NamedTuple):
    """What an arm policy remembers: the last target sent, position [n] rad and velocity [n] rad/s."""

    command_position: Array
    command_velocity: Array


class GripperMemory(NamedTuple):
    """`ArmMemory` and the last gripper opening sent, [1] m."""

    command_position: Array
    command_velocity: Array
    command_width: Array


class JointAction:
    """Maps an action [A] in [-1, 1] and the memory to the targets of the next control period.

    A = n joints, plus one for the gripper's opening speed where the task uses it.
    """

    def __init__(self, robot: Robot, config: JointActionConfig, period_s: float, *, gripper: bool):
        limits = robot.limits
        self.dof, self.period_s, self.gripper = robot.dof, period_s, gripper
        self.arm_size = robot.dof
        velocity = np.minimum(config.velocity_rad_s, config.velocity_share * limits.velocity_rad_s)
        acceleration = np.full(robot.dof, config.acceleration_rad_s2)
        if limits.acceleration_rad_s2 is not None:
            acceleration = np.minimum(acceleration, config.acceleration_share * limits.acceleration_rad_s2)
        lower, upper = _range_at_speed(robot, velocity)
        self.velocity_max_rad_s = velocity
        self.acceleration_max_rad_s2 = acceleration
        self.position_min_rad, self.position_max_rad = lower, upper
        self.gripper_speed_m_s = min(config.gripper_speed_m_s, robot.gripper.speed_max_m_s or np.inf)
        self.width_max_m = robot.gripper.width_max_m if gripper else 0.0

    @property
    def size(self) -> int:
        """Length of the action vector."""
        return self.arm_size + int(self.gripper)

    @property
    def memory_slots(self) -> tuple[Slot, ...]:
        """The memory's fields as slots of the exported policy."""
        n = (self.dof,)
        slots = (
            Slot("command_position", n, "rad", "joint_state.position", "last joint target sent"),
            Slot("command_velocity", n, "rad/s", "zeros", "velocity of the last joint target"),
        )
        if self.gripper:
            slots += (Slot("command_width", (1,), "m", "gripper.width", "last gripper opening sent"),)
        return slots

    def start(self, joint_position: Array, width: Array) -> ArmMemory | GripperMemory:
        """The memory of an arm at rest at joint_position [n] rad, gripper open by width [1] m."""
        zeros = jnp.zeros_like(joint_position)
        return (
            GripperMemory(joint_position, zeros, width) if self.gripper else ArmMemory(joint_position, zeros)
        )

    def __call__(
        self, action: Array, memory: ArmMemory | GripperMemory
    ) -> tuple[Targets, ArmMemory | GripperMemory]:
        """Targets {joint_position_target, joint_velocity_target[, gripper_width_target]} and the next memory."""
        dt = self.period_s
        a_max = jnp.asarray(self.acceleration_max_rad_s2, jnp.float32)
        v_max = jnp.asarray(self.velocity_max_rad_s, jnp.float32)
        position, velocity = memory.command_position, memory.command_velocity
        wanted = jnp.clip(self.wanted_velocity(action[: self.arm_size], memory), -v_max, v_max)
        wanted = jnp.minimum(
            wanted, _stoppable(jnp.asarray(self.position_max_rad) - position, velocity, a_max, dt)
        )
        wanted = jnp.maximum(
            wanted, -_stoppable(position - jnp.asarray(self.position_min_rad), -velocity, a_max, dt)
        )
        new_velocity = jnp.clip(wanted, velocity - a_max * dt, velocity + a_max * dt)
        new_position = position + 0.5 * (velocity + new_velocity) * dt
        targets = {"joint_position_target": new_position, "joint_velocity_target": new_velocity}
        if not isinstance(memory, GripperMemory):
            return targets, ArmMemory(new_position, new_velocity)
        change = jnp.clip(action[self.arm_size :], -1.0, 1.0) * self.gripper_speed_m_s * dt
        width = jnp.clip(memory.command_width + change, 0.0, self.width_max_m)
        return targets | {"gripper_width_target": width}, GripperMemory(new_position, new_velocity, width)

    def wanted_velocity(self, action: Array, memory: ArmMemory | GripperMemory) -> Array:
        """The joint velocities [n] rad/s that the arm's part of the action asks for, before bounds."""
        del memory
        return jnp.clip(action, -1.0, 1.0) * jnp.asarray(self.velocity_max_rad_s, jnp.float32)


def _stoppable(room: Array, velocity: Array, a_max: Array, dt: float) -> Array:
    """The largest next velocity toward a bound from which braking at a_max still stops before it.

    room [n] rad to the bound, velocity [n] rad/s toward it. The period travels (velocity + next) / 2 * dt and the
    braking next^2 / (2 a_max); their sum must not pass room. Solved for next.
    """
    root = (0.5 * a_max * dt) ** 2 - a_max * dt * velocity + 2.0 * a_max * room
    return -0.5 * a_max * dt + jnp.sqrt(jnp.maximum(root, 0.0))


def _range_at_speed(robot: Robot, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The widest joint range [n], [n] rad in which the arm's position-dependent speed limit allows velocity [n]."""
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    grid = low + (high - low) * np.linspace(0.0, 1.0, 2001)[:, None]
    slowest, fastest = robot.limits.velocity_bounds(grid)
    allowed = (slowest <= -velocity) & (fastest >= velocity)
    if not allowed.any(axis=0).all():
        raise RobotError(f"Robot '{robot.name}' never allows {velocity} rad/s: lower action.velocity_rad_s.")
    first = np.argmax(allowed, axis=0)
    last = len(grid) - 1 - np.argmax(allowed[::-1], axis=0)
    joints = np.arange(robot.dof)
    return grid[first, joints], grid[last, joints]
