"""A two-joint arm and a task small enough to read, for tests of bundles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.export import export_policy
from robolearn.policy.slots import Slot

PERIOD_S = 0.02


class Memory(NamedTuple):
    command_position: jnp.ndarray
    command_velocity: jnp.ndarray


def _array(*values: float) -> np.ndarray:
    return np.array(values)


ROBOT = SimpleNamespace(
    calibration=None,
    name="two",
    digest="0" * 64,
    dof=2,
    joint_names=("left", "right"),
    reach_m=0.5,
    limits=SimpleNamespace(
        position_min_rad=_array(-1.0, -2.0),
        position_max_rad=_array(1.0, 2.0),
        velocity_rad_s=_array(2.0, 2.0),
        acceleration_rad_s2=_array(8.0, 8.0),
        jerk_rad_s3=None,
    ),
)


class StandIn:
    """Move both joints to a goal given in rad."""

    name, full_name = "reach", "two/reach"
    summary, success_text = "Moves two joints to a goal.", "Both joints within 0.01 rad."
    robot = ROBOT
    config = SimpleNamespace(control_hz=1 / PERIOD_S)
    slots = (
        Slot("joint_position", (2,), "rad", "joint_state.position"),
        Slot("joint_velocity", (2,), "rad/s", "joint_state.velocity"),
    )
    goal_slots = (Slot("goal_angle", (2,), "rad", "goal.angle"),)
    memory_slots = (
        Slot("command_position", (2,), "rad", "joint_state.position"),
        Slot("command_velocity", (2,), "rad/s", "zeros"),
    )
    action = SimpleNamespace(
        start=lambda position, width=None: Memory(position, jnp.zeros_like(position)),
        position_min_rad=_array(-1.0, -2.0),
        position_max_rad=_array(1.0, 2.0),
        velocity_max_rad_s=_array(1.0, 1.0),
        acceleration_max_rad_s2=_array(4.0, 4.0),
    )

    def observe(self, readings, memory, goal):
        return jnp.concatenate(
            [
                goal["goal_angle"] - memory.command_position,
                readings["joint_position"],
                readings["joint_velocity"],
            ]
        )

    def remember(self, readings, memory):
        return memory

    def act(self, action, memory):
        wanted = jnp.clip(action, -1.0, 1.0)
        change = jnp.clip(wanted - memory.command_velocity, -4.0 * PERIOD_S, 4.0 * PERIOD_S)
        velocity = memory.command_velocity + change
        position = memory.command_position + 0.5 * (memory.command_velocity + velocity) * PERIOD_S
        targets = {"joint_position_target": position, "joint_velocity_target": velocity}
        return targets, Memory(position, velocity)


def actor(observation):
    return jnp.tanh(3.0 * observation[:2])


def export(
    folder: Path, *, task=None, act=actor, key: Ed25519PrivateKey | None = None, **changes
) -> PolicyBundle:
    arguments = {
        "name": "two-reach",
        "training": {"steps": 10, "seed": 0},
        "evaluation": {"episodes": 4, "success_rate": np.float32(0.75)},
    } | changes
    key = key or Ed25519PrivateKey.generate()
    return export_policy(task or StandIn(), act, folder / "two-reach.robolearn", signing_key=key, **arguments)
