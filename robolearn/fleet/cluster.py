"""The SLURM script of a run: configs/cluster/slurm.sh filled with a site's settings and the run's command."""

from __future__ import annotations

import shlex
import string
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

from pydantic import PositiveInt

from robolearn.config import Config, config_path, load_config
from robolearn.env.naming import absolute, file_stem
from robolearn.errors import ConfigError, MissingDependency, PhysicsError
from robolearn.learn.train_config import TrainConfig
from robolearn.sim.engines import EngineName


class Site(Config):
    """What differs between clusters. directives: `#SBATCH` options; environment: shell lines before srun."""

    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 16
    time: str = "04:00:00"
    engine: EngineName = "auto"
    directives: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    srun_options: str = ""


def slurm_script(
    task: str,
    run_dir: str | Path,
    *,
    site: str = "generic",
    nodes: int = 1,
    config: str | Path | None = None,
    overrides: Iterable[str] = (),
) -> str:
    """The text of an sbatch script that trains, saves itself when preempted, and continues when requeued.

    site: a name in configs/cluster, or the path of a YAML of one's own. config: the YAML of the run. `groups` is set
    to fit the number of devices, unless it is given. Raises ConfigError for an unknown site and for a run that would
    not start there, TaskError for an unknown task.
    """
    if nodes < 1:
        raise ConfigError(f"nodes is {nodes}, but at least 1 is needed.")
    path = site if Path(site).suffix else f"cluster/{site}.yaml"
    settings = load_config(Site, path)
    run_dir = Path(run_dir).absolute()
    given = list(overrides)
    chosen = ["distributed=true", f"engine={settings.engine}"]
    resolved, more = _resolved(task, config, [*chosen, *given], nodes * settings.tasks_per_node)
    _check_engine(resolved, Path(path).stem)
    command = ["robolearn", "train", absolute(task), "--run", str(run_dir)]
    if config is not None:  # a file of the user's is found from any folder; a packaged name is found anyway
        own = Path(config).expanduser()
        command += ["--config", str(own.absolute()) if own.is_file() else str(config)]
    command += [*chosen, *more, *given]
    template = config_path("cluster/slurm.sh").read_text(encoding="utf-8")
    return string.Template(template).substitute(
        name=file_stem(task),
        site=Path(path).stem,
        nodes=nodes,
        run_dir=run_dir,
        directives="\n".join(f"#SBATCH {line}" for line in settings.directives),
        environment="\n".join(settings.environment),
        command=shlex.join(command),
        **settings.model_dump(include={"tasks_per_node", "cpus_per_task", "time", "srun_options"}),
    )


def _resolved(
    task: str, config: str | Path | None, overrides: list[str], devices: int
) -> tuple[TrainConfig, list[str]]:
    """The config of the run, and the overrides that make its groups fit the devices.

    Raises ConfigError where the run would not start on so many devices, with what to set.
    """
    from robolearn.learn.train_config import train_config

    resolved = train_config(task, config, overrides)
    if resolved.groups % devices == 0:
        return resolved, []
    groups = resolved.groups_on(devices)
    if "groups" in resolved.model_fields_set:
        raise ConfigError(
            f"groups is {resolved.groups}, but must be a multiple of the {devices} devices of this job: set "
            f"groups={groups}, or ask for another number of nodes."
        )
    num_envs = resolved.num_envs_in(groups)
    if num_envs != resolved.num_envs:
        raise ConfigError(
            f"num_envs is {resolved.num_envs}, which cannot be spread evenly over the {devices} devices of this job: "
            f"set num_envs={num_envs} groups={groups}, or ask for another number of nodes."
        )
    return train_config(task, config, [*overrides, f"groups={groups}"]), [f"groups={groups}"]


def _check_engine(config: TrainConfig, site: str) -> None:
    """Build the task as the run will, compiling nothing. Raises ConfigError where the engine refuses it by name.

    An engine that is not installed here cannot be asked: it need not be where the script is written.
    """
    from robolearn.env.vec_env import make
    from robolearn.sim.engines import make_physics

    model = make(config.task, 1, "native", config.env).model
    if config.engine in ("auto", "native"):
        return
    try:
        with redirect_stdout(sys.stderr):  # warp greets on stdout, which is the script's
            make_physics(config.engine, model, 1)
    except MissingDependency:
        return
    except PhysicsError as error:
        raise ConfigError(
            f"{config.task} cannot be trained with the engine that '{site}' uses. {error} Add engine=native, or "
            "choose another site."
        ) from error
