"""Rollout: a stochastic policy acts in every environment for T control steps, inside one scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from robolearn.learn.ppo import gaussian_log_prob


class Transition(NamedTuple):
    """What learning keeps of every step, [T, B, ...]. Observations are raw; final_critic_obs is from before a reset.

    expert: what the task's expert would have done; None where there is none.
    """

    obs: Array
    critic_obs: Array
    final_critic_obs: Array
    action: Array
    log_prob: Array
    reward: Array
    terminated: Array
    truncated: Array
    expert: Array | None = None


class Expert(NamedTuple):
    """A task's expert. act: EnvState -> [B, A] in [-1, 1]. active: [B] bool, the environments in which it acts.

    needed: [] bool, whether its actions are used; where not, they are 0.
    """

    act: Callable[[Any], Array]
    active: Array
    needed: Array


class EpisodeSums(NamedTuple):
    """Sums over the episodes that ended, and over all steps; each []."""

    episodes: Array
    successes: Array
    terminations: Array
    episode_return: Array
    episode_steps: Array


class Rollout(NamedTuple):
    """The result: environments after T steps, running returns [B], steps [T, B], sums, and mean env metrics."""

    env: Any
    episode_return: Array
    steps: Transition
    sums: EpisodeSums
    metrics: dict[str, Array]


def rollout(
    step: Callable[[Any, Array], Any],
    mean_action: Callable[[Array], Array],
    log_std: Array,
    env: Any,
    episode_return: Array,
    noise: Array,
    expert: Expert | None = None,
) -> Rollout:
    """Act for T steps.

    step: (EnvState, action [B, A]) -> EnvState. mean_action: raw obs [B, D] -> [B, A]. log_std: [A].
    episode_return: [B], reward summed since each running episode began. noise: [T, B, A], standard normal.
    """

    def one(carry: tuple[Any, Array], unit: Array) -> tuple[tuple[Any, Array], tuple[Any, ...]]:
        env, running = carry
        mean = mean_action(env.obs)
        acted, advice = mean, None
        if expert is not None:
            # asked even where not needed: that costs less than a branch, whose condition a GPU's host reads
            advice = jnp.where(expert.needed, expert.act(env), 0.0)
            acted = jnp.where(expert.active[:, None], advice, mean)
        action = acted + jnp.exp(log_std) * unit
        after = step(env, action)
        running = running + after.reward
        done = after.terminated | after.truncated
        kept = Transition(
            obs=env.obs,
            critic_obs=env.critic_obs,
            final_critic_obs=after.final_critic_obs,
            action=action,
            log_prob=gaussian_log_prob(action, mean, log_std),
            reward=after.reward,
            terminated=after.terminated,
            truncated=after.truncated,
            expert=advice,
        )
        sums = EpisodeSums(
            episodes=done.sum(),
            successes=(done & after.success).sum(),
            terminations=after.terminated.sum(),
            episode_return=jnp.where(done, running, 0.0).sum(),
            episode_steps=jnp.where(done, after.step_count, 0).sum(),
        )
        means = {name: value.mean() for name, value in after.metrics.items()}
        return (after, jnp.where(done, 0.0, running)), (kept, sums, means)

    (env, episode_return), (steps, sums, means) = jax.lax.scan(one, (env, episode_return), noise)
    return Rollout(
        env=env,
        episode_return=episode_return,
        steps=steps,
        sums=jax.tree.map(lambda x: x.sum(0).astype(jnp.float32), sums),
        metrics={name: value.mean(0) for name, value in means.items()},
    )
