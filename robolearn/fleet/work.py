"""The work of a site in a round; what it keeps between rounds stays in its folder. Imports JAX when it trains.

training.npz   Adam's moments, the learning rate, the episodes and the personal parts, from round to round
rounds.jsonl   the site's own record: success on its own arm while it trained; never sent
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np

from robolearn.errors import ConfigError
from robolearn.files.utc import utc_now
from robolearn.files.writing import append_line, replace_file
from robolearn.fleet.rounds import ROUNDS_FILE, Request
from robolearn.fleet.settings import Federation, Folder, SiteSettings
from robolearn.fleet.site_policy import SiteRefuses
from robolearn.fleet.vector import Layout, Vector

Work = Callable[[Folder, Vector, Request], Vector]
STATE_FILE = "training.npz"


def work_of(site: SiteSettings) -> Work:
    """The function that a site trains with, MODULE:NAME in its file. Raises ConfigError where there is none."""
    module, _, name = site.work.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"work in site.yaml is '{site.work}', which cannot be imported ({error}). Expected MODULE:NAME."
        ) from error


def common_config(federation: Federation) -> Any:
    """The TrainConfig that all sites begin with."""
    from robolearn.config import build, merged
    from robolearn.learn.train_config import TrainConfig, train_config

    data = train_config(federation.task).model_dump(mode="json")
    return build(TrainConfig, merged(data, federation.train), "train of the federation")


def first_vector(federation: Federation) -> tuple[Layout, Vector]:
    """What a federation begins with: fresh parameters, and normalisers from the task's own public simulation."""
    from robolearn.fleet.local import SiteTrainer, site_config

    trainer = SiteTrainer(
        site_config(common_config(federation), federation.iterations, {}), compile_now=False
    )
    return trainer.layout, trainer.first_vector()


def trainer_of(folder: Folder, *, compile_now: bool = True) -> Any:
    """The SiteTrainer of a site, with what it kept from its last round. compile_now: False where it will not train."""
    from robolearn.fleet.local import SiteTrainer, site_config

    federation, site = folder.federation(), folder.site()
    changes: dict[str, Any] = {"seed": site.seed, "env": site.env}
    if site.num_envs is not None:
        changes["num_envs"] = site.num_envs
    if site.calibration:
        changes["calibration"] = site.calibration
    trainer = SiteTrainer(
        site_config(common_config(federation), federation.iterations, changes),
        personal=site.personal,
        compile_now=compile_now,
    )
    if (folder / STATE_FILE).is_file():
        with np.load(folder / STATE_FILE) as kept:
            trainer.restore(dict(kept))
    return trainer


def train_round(folder: Folder, vector: Vector, request: Request) -> Vector:
    """Train one round with the site's own environments; the vector after it."""
    begun_s = time.monotonic()
    trainer = trainer_of(folder)
    built_s = time.monotonic() - begun_s
    if trainer.layout.digest != request.layout:
        raise SiteRefuses(
            f"The coordinator's vector has layout {request.layout[:16]}, this site's networks "
            f"{trainer.layout.digest[:16]}. Compare task, networks and robolearn."
        )
    new, metrics = trainer.train(vector, request.iteration, request.count)
    data = BytesIO()
    np.savez(data, **trainer.kept())
    replace_file(folder / STATE_FILE, data.getvalue(), mode=0o600)
    own = {
        "utc": utc_now(),
        "round": request.round,
        "success_while_training": metrics["success"],
        "episodes": metrics["episodes"],
        "build_s": round(built_s, 2),
        "train_s": round(time.monotonic() - begun_s - built_s, 2),
    }
    append_line(folder / ROUNDS_FILE, json.dumps(own).encode(), mode=0o600)
    return new
