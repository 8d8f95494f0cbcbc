"""The SLURM script of a run: configs/cluster/slurm.sh filled with a site's settings and the run's command."""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from robolearn.config import Config, config_path, load_config
from robolearn.errors import ConfigError


class Site(Config):
    """What differs between clusters. directives: `#SBATCH` options; environment: shell lines before srun."""

    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 16
    time: str = "04:00:00"
    engine: Literal["auto", "native", "jax", "warp"] = "auto"
    directives: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    srun_options: str = ""


def slurm_script(
    task: str, run_dir: str | Path, *, site: str = "generic", nodes: int = 1, overrides: Iterable[str] = ()
) -> str:
    """The text of an sbatch script that trains, saves itself when preempted, and continues when requeued.

    site: a name in configs/cluster, or the path of a YAML of one's own. Raises ConfigError for an unknown one.
    """
    if nodes < 1:
        raise ConfigError(f"nodes is {nodes}, but at least 1 is needed.")
    path = site if Path(site).suffix else f"cluster/{site}.yaml"
    settings = load_config(Site, path)
    run_dir = Path(run_dir).absolute()
    command = [
        "robolearn",
        "train",
        task,
        "--run",
        str(run_dir),
        "distributed=true",
        f"engine={settings.engine}",
    ]
    command += list(overrides)
    template = config_path("cluster/slurm.sh").read_text(encoding="utf-8")
    return string.Template(template).substitute(
        name=task.replace("/", "-"),
        site=Path(path).stem,
        nodes=nodes,
        run_dir=run_dir,
        directives="\n".join(f"#SBATCH {line}" for line in settings.directives),
        environment="\n".join(settings.environment),
        command=shlex.join(command),
        **settings.model_dump(include={"tasks_per_node", "cpus_per_task", "time", "srun_options"}),
    )
