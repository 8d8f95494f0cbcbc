"""Data-parallel training: one mesh over every device of every process, environments spread over it.

Processes find each other by three environment variables, ROBOLEARN_COORDINATOR, ROBOLEARN_PROCESSES and
ROBOLEARN_RANK, or, without these, by the settings of srun and mpirun, which JAX reads itself. Parameters,
normalisers and the random key are the same on every device; each device owns num_envs / devices environments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from robolearn.errors import ConfigError
from robolearn.learn.groups import AXIS
from robolearn.learn.learner import Env, TrainState, init_learner
from robolearn.learn.normalize import update_normalizer
from robolearn.learn.train_config import TrainConfig
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit

VARIABLES = ("ROBOLEARN_COORDINATOR", "ROBOLEARN_PROCESSES", "ROBOLEARN_RANK")


def connect(
    coordinator: str | None = None,
    processes: int | None = None,
    rank: int | None = None,
    *,
    timeout_s: int = 60,
) -> None:
    """Join the other processes of this run. Call before JAX is first used.

    With no arguments they come from ROBOLEARN_COORDINATOR (`host:port` of rank 0), ROBOLEARN_PROCESSES and
    ROBOLEARN_RANK; where none of these is set, JAX reads the settings of srun or mpirun. A process that dies is
    noticed after timeout_s. Raises ConfigError if there is no launcher, or the others cannot be reached.
    """
    if coordinator is None:
        coordinator, processes, rank = settings_of(os.environ)
    try:
        jax.distributed.initialize(coordinator, processes, rank, heartbeat_timeout_seconds=timeout_s)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"Cannot join the other processes of this run: {error} Start it with srun or mpirun, set "
            f"{', '.join(VARIABLES)}, or leave `distributed` out."
        ) from error


def settings_of(environment: Mapping[str, str]) -> tuple[str | None, int | None, int | None]:
    """Coordinator, number of processes and rank from the three variables; all None where none is set.

    Raises ConfigError where only some are set, or one has a wrong value.
    """
    given = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if not given:
        return None, None, None
    missing = [name for name in VARIABLES if name not in given]
    if missing:
        raise ConfigError(f"{', '.join(given)} set, but not {', '.join(missing)}: set all three, or none.")
    coordinator, *counts = given.values()
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"{VARIABLES[0]} is '{coordinator}', expected host:port of the process with rank 0."
        )
    for name, text in zip(VARIABLES[1:], counts, strict=True):
        if not text.isdecimal():
            raise ConfigError(f"{name} is '{text}', expected a whole number.")
    processes, rank = map(int, counts)
    if not rank < processes:
        raise ConfigError(
            f"{VARIABLES[2]} is {rank}, expected 0 to {processes - 1}: there are {processes} processes."
        )
    return coordinator, processes, rank


def is_first() -> bool:
    """Whether this process writes the run's files and speaks for it."""
    return jax.process_index() == 0


def data_mesh() -> Mesh:
    """One axis over every device of every process."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def envs_per_device(config: TrainConfig) -> int:
    """How many environments each device steps. Raises ConfigError where groups do not divide evenly."""
    devices = jax.device_count()
    if config.groups % devices:
        raise ConfigError(
            f"groups is {config.groups}, but must be a multiple of the {devices} devices of this run. "
            f"Set groups={config.groups_on(devices)}; keep it over a run."
        )
    return config.num_envs // devices


def first_state(config: TrainConfig, env: Env, mesh: Mesh) -> TrainState:
    """The state before the first iteration, spread over the mesh: the same whatever the number of devices."""

    def shard(learner: Any, keys: Any) -> Any:
        first = env.reset(keys)
        stagger = jax.vmap(lambda k: jax.random.randint(jax.random.fold_in(k, 1), (), 0, env.episode_steps))
        first = first.replace(
            step_count=stagger(keys)
        )  # else all episodes end together, and updates see one phase
        learner = learner._replace(
            normalizer=update_normalizer(learner.normalizer, first.obs, AXIS),
            critic_normalizer=update_normalizer(learner.critic_normalizer, first.critic_obs, AXIS),
        )
        return learner, first, jnp.zeros(env.num_envs)

    sharded = jax.shard_map(
        shard, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=(P(), P(AXIS), P(AXIS)), check_vma=False
    )

    def make() -> TrainState:
        learner_key, env_key = jax.random.split(jax.random.key(config.seed))
        learner = init_learner(config, env, learner_key)
        return TrainState(*sharded(learner, jax.random.split(env_key, config.num_envs)))

    return compiled(jit(make, quick=True).lower())()


def per_device(mesh: Mesh, value: bool) -> jax.Array:
    """This process's flag as an array over the mesh, [devices] bool."""
    sharding = NamedSharding(mesh, P(AXIS))
    return jax.make_array_from_process_local_data(sharding, np.full(jax.local_device_count(), value))
