"""The Cartesian action space: velocities of the tool centre point (TCP), turned into bounded joint velocities.

The policy asks for a velocity of the TCP in the base frame and, where the task turns the tool, a turn rate. A
damped least-squares inverse of the arm's Jacobian at the last *command* gives joint velocities, which then pass the
bounds of `JointAction`: whatever the network says, targets stay inside the arm's position, velocity and acceleration
limits.
Source of the inverse: Nakamura and Hanafusa 1986, doi:10.1115/1.3143764.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from robolearn.env.joint_action import ArmMemory, GripperMemory, JointAction, JointActionConfig
from robolearn.errors import TaskError
from robolearn.robots import Robot
from robolearn.robots.kinematics import cross, frames

Array = jax.Array

DAMPING = (
    0.03  # m/rad: 1 % loss of speed where the arm moves 0.3 m per rad, and no blow-up where it is stretched
)
POSTURE_RATE_1_S = 1.0  # how fast a redundant arm drifts back to its rest posture
UPRIGHT_RATE_1_S = 6.0  # how fast a tilt of the tool against its rest orientation is taken out
BOUND_RATE_1_S = 8.0  # speed toward a side of the workspace, per metre of room


class ActionConfig(JointActionConfig):
    """The action space of a task, and its bounds.

    space: `joint` velocities, or `cartesian` velocities of the TCP. rotation (cartesian): `none` keeps the tool as
    at rest, `yaw` lets the policy turn it about the tool's axis, `full` about all three axes of the base frame.
    workspace: a box [m, base frame] that the command of the TCP keeps to. It shapes exploration; it is not a limit of
    the arm.
    """

    space: Literal["joint", "cartesian"] = "joint"
    speed_m_s: float = 0.5
    turn_rad_s: float = 1.5
    rotation: Literal["none", "yaw", "full"] = "none"
    workspace_min_m: tuple[float, float, float] | None = None
    workspace_max_m: tuple[float, float, float] | None = None


def make_action(
    robot: Robot, config: ActionConfig, period_s: float, *, gripper: bool, rest_rad: NDArray[np.float64]
) -> JointAction:
    """The action space that config names. rest_rad [n]: the posture and tool orientation a Cartesian one keeps to."""
    if config.space == "joint":
        return JointAction(robot, config, period_s, gripper=gripper)
    return CartesianAction(robot, config, period_s, gripper=gripper, rest_rad=rest_rad)


class CartesianAction(JointAction):
    """Action [A] in [-1, 1]: TCP velocity x, y, z; 0, 1 or 3 turn rates; the gripper's speed where it is used."""

    def __init__(
        self,
        robot: Robot,
        config: ActionConfig,
        period_s: float,
        *,
        gripper: bool,
        rest_rad: NDArray[np.float64],
    ):
        super().__init__(robot, config, period_s, gripper=gripper)
        self.config = config
        self.arm_size = {"none": 3, "yaw": 4, "full": 6}[config.rotation]
        self._robot = robot
        self._rest = np.asarray(rest_rad, np.float32)
        self._rest_rotation = np.asarray(frames(robot, rest_rad).rotation, np.float32)
        corners = (config.workspace_min_m, config.workspace_max_m)
        if (corners[0] is None) != (corners[1] is None):
            raise TaskError("Set both action.workspace_min_m and action.workspace_max_m, or neither.")
        self._box = None if None in corners else np.asarray(corners, np.float32)

    def wanted_velocity(self, action: Array, memory: ArmMemory | GripperMemory) -> Array:
        """Joint velocities [n] rad/s that move the TCP as the action asks, scaled down together to the limits."""
        q = memory.command_position
        tcp = frames(self._robot, q, jnp)
        linear = self._linear(action[:3], tcp.position)
        angular = self._angular(action[3:], tcp.rotation)
        jacobian = jnp.concatenate([tcp.linear, tcp.angular], axis=0)
        posture = POSTURE_RATE_1_S * (jnp.asarray(self._rest) - q)
        if self.dof <= 6:  # no freedom left for posture
            posture = jnp.zeros_like(posture)
        rest_of_twist = jnp.concatenate([linear, angular]) - (jacobian * posture).sum(axis=1)
        velocity = posture + damped_inverse(jacobian, rest_of_twist)
        ratio = jnp.abs(velocity) / jnp.asarray(self.velocity_max_rad_s, jnp.float32)
        return velocity / jnp.maximum(jnp.max(ratio), 1.0)

    def _linear(self, action: Array, position: Array) -> Array:
        velocity = jnp.clip(action, -1.0, 1.0) * self.config.speed_m_s
        if self._box is None:
            return velocity
        low, high = jnp.asarray(self._box[0]), jnp.asarray(self._box[1])
        velocity = jnp.minimum(velocity, BOUND_RATE_1_S * (high - position))
        return jnp.maximum(velocity, BOUND_RATE_1_S * (low - position))

    def _angular(self, action: Array, rotation: Array) -> Array:
        turn = jnp.clip(action, -1.0, 1.0) * self.config.turn_rad_s
        rest = jnp.asarray(self._rest_rotation)
        if self.config.rotation == "full":
            return turn[:3]
        if self.config.rotation == "yaw":
            tool = rotation[:, 2]
            return UPRIGHT_RATE_1_S * cross(tool, rest[:, 2]) + turn[0] * tool
        return UPRIGHT_RATE_1_S * 0.5 * cross(rotation, rest).sum(axis=1)


def damped_inverse(jacobian: Array, twist: Array) -> Array:
    """Joint velocities [n] that give twist [m] through a Jacobian [m, n], or come close where that takes little."""
    gram = (jacobian[:, None] * jacobian[None]).sum(axis=2) + DAMPING**2 * jnp.eye(len(twist))
    return (jacobian * solve_spd(gram, twist)[:, None]).sum(axis=0)


def solve_spd(matrix: Array, vector: Array) -> Array:
    """x [m] with matrix [m, m] x = vector [m], matrix symmetric and positive definite.

    Gauss-Jordan elimination in plain array operations: it vmaps without a call into LAPACK and exports to ONNX.
    """
    size = matrix.shape[0]
    table = jnp.concatenate([matrix, vector[:, None]], axis=1)
    unit = np.eye(size, dtype=np.float32)
    for k in range(size):
        row = table[k] / table[k, k]
        table = table - (table[:, k] - unit[k])[:, None] * row[None, :]
    return table[:, size]
