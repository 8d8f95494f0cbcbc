"""A policy written by hand (Jacobian transpose to the goal), so that the nodes are tested without training."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn.deploy.serving import free_domain
from robolearn.env.task import load_task
from robolearn.policy.bundle import Manifest, PolicyBundle, write_bundle
from robolearn.policy.export import export_policy
from robolearn.policy.ood import OodModel
from robolearn.robots.kinematics import frames

GAIN = 10.0


def export_reaching(
    folder: Path, name: str = "reach-by-hand", robot: str = "fr3", in_degrees: tuple[str, str] | None = None
) -> PolicyBundle:
    """A bundle that brings an arm's TCP to a goal from its home pose. Exported once per process, signed anew.

    in_degrees: (part of the manifest, slot) that claims to be in degrees.
    """
    manifest, onnx, card = _exported(robot)
    manifest = manifest.model_copy(update={"name": name})
    if in_degrees is not None:
        part, slot = in_degrees
        slots = tuple(replace(s, unit="deg") if s.name == slot else s for s in getattr(manifest, part))
        manifest = manifest.model_copy(update={part: slots})
    return write_bundle(folder / f"{name}.robolearn", manifest, onnx, card, Ed25519PrivateKey.generate())


@functools.cache
def _exported(robot: str) -> tuple[Manifest, bytes, str]:
    task = load_task(f"{robot}/reach")
    n = task.robot.dof

    def actor(observation: jax.Array) -> jax.Array:
        q, error = observation[:n], observation[2 * n + 3 : 2 * n + 6]
        return jnp.clip(GAIN * frames(task.robot, q, jnp).linear.T @ error, -1.0, 1.0)

    with tempfile.TemporaryDirectory() as folder:
        made = export_policy(
            task,
            actor,
            Path(folder) / "reach.robolearn",
            name="reach",
            training={"method": "written by hand"},
            evaluation={},
            signing_key=Ed25519PrivateKey.generate(),
            ood=_wide_score(4 * n + 6),
        )
    return made.manifest, made.onnx_bytes, made.model_card


def _wide_score(size: int) -> OodModel:
    """A score whose threshold nothing here reaches."""
    ones = np.ones(size)
    return OodModel(0 * ones, ones, np.eye(size), 1000.0, 0.01, 100, 100, 3.0)


def export_picking(folder: Path, robot: str) -> PolicyBundle:
    """A bundle that picks a cube as the task's expert does, from nothing but what a policy observes."""
    task = load_task(f"{robot}/pick_cube")

    def actor(observation: jax.Array) -> jax.Array:
        return _pick(task, observation)

    return export_policy(
        task, actor, folder / f"{robot}-pick.robolearn", name="pick-by-hand", training={"method": "written by hand"},
        evaluation={}, signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip


def export_feeling(folder: Path) -> PolicyBundle:
    """A bundle that reads the wrench, and a limit of it as its goal, and stays where it is."""
    task = load_task("fr3/connector_insert")

    def actor(observation: jax.Array) -> jax.Array:
        return 0.0 * observation[: task.action_size]

    return export_policy(
        task, actor, folder / "feeling.robolearn", name="feeling-by-hand", training={"method": "written by hand"},
        evaluation={}, signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip


def _pick(task: Any, observation: jax.Array) -> jax.Array:
    """`TableTask.guide_grasp` and `PickCube.expert`, with the features of the observation as their input."""
    n = task.robot.dof
    parts = jnp.split(
        observation, [2 * n, 2 * n + 6, 4 * n + 6, 4 * n + 7, 4 * n + 8, 4 * n + 11, 4 * n + 14, 4 * n + 18]
    )
    width, ahead, to_cube, to_goal, fit = parts[3][0] / 10, -parts[4][0] / 10, parts[5], parts[6], parts[8]
    grasp, held = task.grasp_advice(to_cube, fit, width, ahead)
    carry = task.guide_towards(to_goal)
    return grasp + held * jnp.append(carry - grasp[:3], jnp.zeros(2))


def serve_until_ctrl_c(words: Sequence[str], folder: Path) -> str:
    """What `robolearn WORDS` says in a folder until it is ready and then interrupted; it must end in order."""
    return _served(
        words, folder, "Ctrl-C stops everything", lambda process, _: process.send_signal(signal.SIGINT)
    )


def serve_until_it_ends(words: Sequence[str], folder: Path, *, once_it_says: str) -> str:
    """What `robolearn WORDS` says in a folder; the arm is started once it says that it may be."""

    def start(_: subprocess.Popen[str], environment: dict[str, str]) -> None:
        begun = [sys.executable, "-m", "robolearn", "operate", "start"]
        subprocess.run(begun, env=environment, check=True, timeout=60)

    return _served(words, folder, once_it_says, start)


def _served(
    words: Sequence[str],
    folder: Path,
    line_said: str,
    do: Callable[[subprocess.Popen[str], dict[str, str]], None],
) -> str:
    environment = os.environ | {
        "ROS_DOMAIN_ID": str(free_domain()),
        "ROBOLEARN_HOME": str(folder / "home"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "robolearn", *words]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as served:
        said = ""
        try:
            for line in served.stdout or ():
                said += line
                if line_said in line:
                    do(served, environment)
        except BaseException:
            served.terminate()  # else it would be waited for, for ever
            raise
    assert served.returncode == 0, said
    return said
