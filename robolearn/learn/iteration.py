"""One PPO iteration as a pure function: rollout, advantages, minibatch epochs, normaliser; whole and jitted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from robolearn.learn.groups import AXIS, local_groups, minibatch_rows, noise
from robolearn.learn.imitation import expert_of, noise_scale
from robolearn.learn.learner import Env, LearnerState, TrainState
from robolearn.learn.networks import apply_actor
from robolearn.learn.normalize import compensated, normalize, update_normalizer
from robolearn.learn.rollout import Rollout, rollout
from robolearn.learn.stopwatch import Stopwatch, rollout_times
from robolearn.learn.train_config import TrainConfig
from robolearn.learn.update import epochs, log_std_at, mean_of, samples_of
from robolearn.sim.jit import jit

_STATISTICS_SETTLE = 4  # iterations


def iteration(
    config: TrainConfig,
    env: Env,
    state: TrainState,
    stopwatch: Stopwatch | None = None,
    processes: Sequence[int] = (),
) -> tuple[TrainState, dict[str, Array]]:
    """One shard's part of an iteration; runs inside a mesh axis AXIS. Metrics are the same on every shard.

    stopwatch: also report how long the rollouts of the shards took, before any waits for another.  processes: of
    each shard, the process that it belongs to.
    """
    ppo, learner = config.ppo, state.learner
    keys = jax.random.split(learner.key, 3)
    groups = local_groups(config, env)
    progress = learner.iteration / config.iterations
    log_std = log_std_at(learner.params, ppo, progress)
    rolled = rollout(
        env.rollout_step(state.env, ppo.rollout_steps),
        lambda obs: apply_actor(
            learner.params.actor, normalize(learner.normalizer, obs), ppo.activation, ppo.squash
        ),
        log_std,
        state.env,
        state.episode_return,
        noise(keys[0], groups, ppo.rollout_steps, env) * noise_scale(config, env, groups, progress)[:, None],
        expert_of(config, env, groups, progress),
    )
    samples, explained = samples_of(ppo, learner, rolled.steps, env.episode_steps)
    rows = minibatch_rows(keys[1], groups, env, ppo)
    learner, losses = epochs(config, learner, samples, rows, progress)
    learner = _with_statistics(config, learner, rolled)
    learner = learner._replace(key=keys[2], iteration=learner.iteration + 1)
    metrics = _metrics(rolled) | losses
    metrics |= {"learning_rate": learner.learning_rate, "action_std": jnp.exp(log_std).mean()}
    metrics |= {"value_explained": explained}
    if stopwatch is not None:
        reward = rolled.steps.reward
        metrics |= rollout_times(stopwatch.when(reward.sum()), reward.size, processes)
    return TrainState(learner, rolled.env, rolled.episode_return), metrics


def _with_statistics(config: TrainConfig, learner: LearnerState, rolled: Rollout) -> LearnerState:
    """The learner with this rollout in its normalisers.

    The networks follow, so that they compute the same, but for the first iterations: statistics of few samples are
    far from what they will be, and imitation corrects what a change of them does.
    """
    new = update_normalizer(learner.normalizer, rolled.steps.obs, AXIS)
    new_critic = update_normalizer(learner.critic_normalizer, rolled.steps.critic_obs, AXIS)
    progress = learner.iteration / config.iterations
    follow = (learner.iteration >= _STATISTICS_SETTLE) & (progress >= config.imitation_fraction)
    params = learner.params._replace(
        actor=compensated(learner.params.actor, learner.normalizer, new),
        critic=compensated(learner.params.critic, learner.critic_normalizer, new_critic),
    )
    params = jax.tree.map(lambda a, b: jnp.where(follow, a, b), params, learner.params)
    return learner._replace(params=params, normalizer=new, critic_normalizer=new_critic)


def make_iteration(
    config: TrainConfig, env: Env, mesh: jax.sharding.Mesh, stopwatch: Stopwatch | None = None
) -> Any:
    """The jitted iteration over a mesh: (state, stop [devices] bool) -> (state, metrics). It takes the memory of the
    state it is given, which is not to be used again.

    `stop` is each device's request to end; metrics["stop"] is 1 on all of them as soon as one has it, so that
    processes that receive it at different moments end after the same iteration.
    """

    processes = [device.process_index for device in mesh.devices.flat]

    def shard(learner: LearnerState, env_state: Any, episode_return: Array, stop: Array) -> Any:
        state = TrainState(learner, env_state, episode_return)
        state, metrics = iteration(config, env, state, stopwatch, processes)
        metrics["stop"] = jax.lax.pmax(stop.astype(jnp.float32).max(), AXIS)
        return state.learner, state.env, state.episode_return, metrics

    sharded = jax.shard_map(
        shard,
        mesh=mesh,
        in_specs=(P(), P(AXIS), P(AXIS), P(AXIS)),
        out_specs=(P(), P(AXIS), P(AXIS), P()),
        check_vma=False,
    )

    @partial(jit, donate=(0,))
    def run(state: TrainState, stop: Array) -> tuple[TrainState, dict[str, Array]]:
        learner, env_state, episode_return, metrics = sharded(
            state.learner, state.env, state.episode_return, stop
        )
        return TrainState(learner, env_state, episode_return), metrics

    return run


def _metrics(rolled: Rollout) -> dict[str, Array]:
    sums = jax.lax.psum(rolled.sums, AXIS)
    count = jnp.maximum(sums.episodes, 1.0)
    metrics = {f"env/{name}": value for name, value in jax.lax.pmean(rolled.metrics, AXIS).items()}
    metrics |= {
        "episodes": sums.episodes,
        "success": sums.successes / count,
        "terminated": sums.terminations / count,
        "episode_return": sums.episode_return / count,
        "episode_steps": sums.episode_steps / count,
        "reward": mean_of(rolled.steps.reward),
    }
    return metrics
