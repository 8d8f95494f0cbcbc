"""The global policy as an ordinary bundle: its manifest names the sites by pseudonym, the rounds, and epsilon.

And a site's own policy: the same with its personal parts, evaluated in the simulation of its arm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robolearn.errors import ConfigError
from robolearn.fleet.privacy import NOT_COVERED, UNIT, read_ledger
from robolearn.fleet.rounds import Rounds
from robolearn.fleet.settings import Federation, Folder
from robolearn.fleet.vector import Layout, Vector, vector_sha256

if TYPE_CHECKING:
    from robolearn.learn.train_config import TrainConfig
    from robolearn.policy.bundle import PolicyBundle


def federation_summary(folder: Folder) -> dict[str, Any]:
    """What a manifest says of the federation: plain JSON values, and nothing of a site but its pseudonym and rounds."""
    federation, rounds = folder.federation(), Rounds(folder.path)
    done = [record for record in rounds.records() if record["outcome"] == "done"]
    took_part: dict[str, int] = {}
    for record in done:
        for site in record["answered"]:
            took_part[site] = took_part.get(site, 0) + 1
    _, vector, _ = rounds.last()
    return {
        "name": federation.name,
        "sites": dict(sorted(took_part.items())),
        "rounds": len(done),
        "local_iterations": federation.local_iterations,
        "rule": federation.rule,
        "clip_norm": federation.clip_norm,
        "vector_sha256": vector_sha256(vector),
        "settings_sha256": federation.digest,
        "privacy": _privacy(folder, federation, len(took_part)),
    }


def _privacy(folder: Folder, federation: Federation, sites: int) -> dict[str, Any]:
    """Epsilon and what it counts; without accounting, that no bound is known."""
    if federation.privacy is None or federation.clip_norm is None:
        return {
            "epsilon": None,
            "unit": UNIT,
            "note": "not accounted: no bound on what the policy says of a site",
        }
    return read_ledger(folder.path, federation.privacy, federation.clip_norm, sites).summary() | {
        "not_covered": list(NOT_COVERED)
    }


def export_global(
    folder: Folder,
    path: str | Path | None = None,
    *,
    name: str | None = None,
    key_path: str | Path | None = None,
    episodes: int = 1000,
) -> PolicyBundle:
    """Write the vector of the last round as a signed bundle, evaluated in the task's own simulation.

    No site's arm is in that evaluation: each evaluates the bundle and approves it for itself.
    Raises ConfigError where there are no rounds, or the vector is not of this task's networks.
    """
    from robolearn.fleet.work import common_config
    from robolearn.learn.trainer import pinned

    federation, rounds = folder.federation(), Rounds(folder.path)
    number, vector, _ = rounds.last()
    if number == 0:
        raise ConfigError(
            f"'{folder.path}' has no round yet, so that there is nothing that the sites trained."
        )
    name, iterations = name or federation.name, number * federation.local_iterations
    return _export(
        pinned(common_config(federation)), rounds.layout(), vector, path or folder / f"{name}.robolearn", name,
        federation_summary(folder), iterations, key_path, episodes,
    )  # fmt: skip


def export_own(
    folder: Folder,
    round_path: str | Path,
    path: str | Path | None = None,
    *,
    name: str | None = None,
    key_path: str | Path | None = None,
    episodes: int = 1000,
) -> PolicyBundle:
    """Write a site's own policy as a signed bundle: the common vector with the site's personal parts in place.

    It is evaluated in the simulation of the site's arm. round_path: a file of the coordinator's rounds/, such as the
    last. Raises ConfigError where there is none, or it is not of this task's networks.
    """
    from robolearn.fleet.work import trainer_of
    from robolearn.learn.trainer import pinned

    federation, site = folder.federation(), folder.site()
    try:
        number = int(Path(round_path).stem)
        with np.load(round_path) as kept:
            common = np.asarray(kept["vector"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"'{round_path}' holds no vector of a round ({error}). Expected a file of the coordinator's rounds/, "
            f"such as rounds/{federation.rounds:06d}.npz."
        ) from error
    trainer = trainer_of(folder, compile_now=False)
    if common.shape != (trainer.layout.size,):
        raise ConfigError(f"The vector in '{round_path}' is not of the networks of {federation.task} here.")
    name = name or f"{federation.name}-{site.name}"
    told = {
        "name": federation.name,
        "site": site.name,
        "rounds": number,
        "personal": list(site.personal),
        "vector_sha256": vector_sha256(common),
        "settings_sha256": federation.digest,
    }
    return _export(
        pinned(trainer.config), trainer.layout, trainer.own_policy(common), path or folder / f"{name}.robolearn", name,
        told, number * federation.local_iterations, key_path, episodes,
    )  # fmt: skip


def _export(
    config: TrainConfig,
    layout: Layout,
    vector: Vector,
    path: str | Path,
    name: str,
    told: dict[str, Any],
    iterations: int,
    key_path: str | Path | None,
    episodes: int,
) -> PolicyBundle:
    """Evaluate the vector in the config's environment, and write it with what is told of the federation."""
    import jax

    from robolearn.env.vec_env import make
    from robolearn.fleet.local import arrays_of, with_arrays
    from robolearn.keys import load_or_create_key
    from robolearn.learn.evaluate import evaluate
    from robolearn.learn.learner import init_learner, policy_of
    from robolearn.policy.export import export_policy

    env = make(config.task, max(1, min(episodes, 1000)), config.engine, config.env)
    learner = init_learner(config, env, jax.random.key(0))
    if Layout.of(arrays_of(learner)) != layout:
        raise ConfigError(f"The vector is not of the networks of {config.task} as it is here.")
    policy = policy_of(config, with_arrays(learner, layout.unflatten(vector), 1.0))
    policy = policy._replace(arrays=jax.device_get(policy.arrays))
    result = evaluate(env, policy.act, episodes).to_json() | {"iteration": iterations}
    training = {"config": config.model_dump(mode="json"), "iterations": iterations, "federation": told}
    return export_policy(
        env.task,
        policy.act,
        path,
        name=name,
        training=training,
        evaluation=result,
        signing_key=load_or_create_key(key_path),
    )
