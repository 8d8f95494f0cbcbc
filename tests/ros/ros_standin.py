"""A policy written by hand (Jacobian transpose to the goal), so that the nodes are tested without training."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn.policy.bundle import Manifest, PolicyBundle, write_bundle
from robolearn.policy.export import export_policy
from robolearn.robots import Robot
from robolearn.robots.kinematics import rotation_from_rpy
from robolearn.tasks import load_task

GAIN = 10.0


def transposed_jacobian(robot: Robot, q: jax.Array, force: jax.Array) -> jax.Array:
    """Torques [n] about the joints of a force [3] at the TCP: the transposed Jacobian times it."""
    position, rotation, joints = jnp.zeros(3), jnp.eye(3), []
    for step in (*robot.chain, *robot.tool_steps("parallel")):
        position = position + rotation @ jnp.array(step.xyz)
        rotation = rotation @ jnp.array(rotation_from_rpy(step.rpy), jnp.float32)
        if step.type == "revolute":
            assert step.axis == (0.0, 0.0, 1.0)
            joints.append((position, rotation[:, 2]))
            sin, cos = jnp.sin(q[len(joints) - 1]), jnp.cos(q[len(joints) - 1])
            x, y, z = rotation[:, 0], rotation[:, 1], rotation[:, 2]
            rotation = jnp.stack([cos * x + sin * y, cos * y - sin * x, z], axis=1)
    return jnp.stack([jnp.dot(axis, jnp.cross(position - origin, force)) for origin, axis in joints])


def export_reaching(folder: Path, name: str = "reach-by-hand") -> PolicyBundle:
    """A bundle that brings the FR3's TCP to a goal from its home pose. Exported once per process, signed anew."""
    manifest, onnx, card = _exported()
    manifest = manifest.model_copy(update={"name": name})
    return write_bundle(folder / f"{name}.robolearn", manifest, onnx, card, Ed25519PrivateKey.generate())


@functools.cache
def _exported() -> tuple[Manifest, bytes, str]:
    task = load_task("fr3/reach")
    n = task.robot.dof

    def actor(observation: jax.Array) -> jax.Array:
        q, error = observation[:n], observation[2 * n + 3 : 2 * n + 6]
        return jnp.clip(GAIN * transposed_jacobian(task.robot, q, error), -1.0, 1.0)

    with tempfile.TemporaryDirectory() as folder:
        made = export_policy(
            task,
            actor,
            Path(folder) / "reach.robolearn",
            name="reach",
            training={"method": "written by hand"},
            evaluation={},
            signing_key=Ed25519PrivateKey.generate(),
        )
    return made.manifest, made.onnx_bytes, made.model_card
