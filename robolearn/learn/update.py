"""The update of one iteration: advantages, then gradient steps of PPO or of imitation over minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from robolearn.learn.gae import gae
from robolearn.learn.groups import AXIS
from robolearn.learn.learner import LearnerState
from robolearn.learn.networks import PolicyParams, apply_actor, apply_mlp
from robolearn.learn.normalize import normalize
from robolearn.learn.optimizer import make_optimizer
from robolearn.learn.ppo import adapt_learning_rate, gaussian_entropy, gaussian_log_prob, ppo_losses
from robolearn.learn.rollout import Transition
from robolearn.learn.train_config import PpoConfig, TrainConfig

_FIRST_RATE = 0.1  # of the highest: PPO's first after imitation, and what its KL allows from then on
_KL_STOP = 4.0  # times kl_target, in one minibatch: no more gradient steps in this iteration


class Samples(NamedTuple):
    """One rollout, ready for gradient steps; [S, ...] or a minibatch of it. Observations are normalised."""

    obs: Array
    critic_obs: Array
    action: Array
    log_prob: Array
    advantage: Array
    value_target: Array
    expert: Array | None


def log_std_at(params: PolicyParams, ppo: PpoConfig, progress: Array) -> Array:
    """Of the action noise, [A]. What succeeds only with noise must be unlearned before there is none."""
    log_std = params.log_std
    if ppo.final_log_std is not None:
        highest = ppo.initial_log_std + (ppo.final_log_std - ppo.initial_log_std) * progress
        log_std = jnp.minimum(log_std, highest)
    return jnp.maximum(log_std, ppo.log_std_min)


def samples_of(
    ppo: PpoConfig, learner: LearnerState, steps: Transition, episode_steps: int
) -> tuple[Samples, Array]:
    """Advantages and normalised observations, flattened to [T * B]; and the share of return variance explained.

    episode_steps: control steps after which an episode is truncated.
    """
    critic_obs = normalize(learner.critic_normalizer, steps.critic_obs)

    def critic(normalised: Array) -> Array:
        return apply_mlp(learner.params.critic, normalised, ppo.activation)[..., 0]

    value = critic(critic_obs)
    advantage, target = gae(
        steps.reward * ppo.reward_scale,
        value,
        _values_after(
            lambda obs: critic(normalize(learner.critic_normalizer, obs)), value, steps, episode_steps
        ),
        steps.terminated,
        steps.truncated,
        discount=ppo.discount,
        gae_lambda=ppo.gae_lambda,
    )
    explained = 1.0 - _variance(target - value) / jnp.maximum(_variance(target), 1e-8)
    advantage = (advantage - mean_of(advantage)) / jnp.sqrt(jnp.maximum(_variance(advantage), 1e-8))
    samples = Samples(
        obs=normalize(learner.normalizer, steps.obs),
        critic_obs=critic_obs,
        action=steps.action,
        log_prob=steps.log_prob,
        advantage=advantage,
        value_target=target,
        expert=steps.expert,
    )
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples), explained


def _values_after(
    critic: Callable[[Array], Array], value: Array, steps: Transition, episode_steps: int
) -> Array:
    """What the critic says of the state that each step led to, [T, B].

    That is the state in which the next step begins, where the episode went on. Only the others are looked at again:
    those of the last step, and those before a truncation, of which an environment has one in episode_steps at most.
    """
    after = jnp.concatenate([value[1:], critic(steps.final_critic_obs[-1])[None]])
    ended = steps.truncated[:-1]
    if not ended.size:
        return after
    most = 1 + (len(ended) - 1) // episode_steps
    rows = jax.vmap(lambda column: jnp.nonzero(column, size=most, fill_value=len(after))[0], 1, 1)(ended)
    member = jnp.arange(after.shape[1])
    final = steps.final_critic_obs.at[rows, member].get(mode="clip")
    return after.at[rows, member].set(critic(final), mode="drop")  # len(after): no row


def epochs(
    config: TrainConfig, learner: LearnerState, samples: Samples, rows: Array, progress: Array
) -> tuple[LearnerState, dict[str, Array]]:
    """Gradient steps over minibatches, gradients averaged over shards; then the learning rate adapts.

    While the policy imitates, the imitation error takes the place of PPO's loss, and the rate is the highest: the
    critic learns what the states are worth that the expert and the policy come to together.
    """
    ppo = config.ppo
    optimizer = make_optimizer(ppo)
    imitating = progress < config.imitation_fraction
    # PPO's gradients are of another size than imitation's: Adam's averages of those would make its first steps huge,
    # and the rate that its KL allows is not known yet.
    starting = ~imitating & (progress - 1.0 / config.iterations < config.imitation_fraction)
    fresh = optimizer.init(learner.params)
    adam = jax.tree.map(lambda old, new: jnp.where(starting, new, old), learner.optimizer, fresh)
    fraction = 1.0 - (1.0 - ppo.final_learning_rate_fraction) * progress
    highest = jnp.maximum(ppo.learning_rate * fraction, ppo.learning_rate_min)
    rate = jnp.minimum(learner.learning_rate, highest) if ppo.kl_target else highest
    rate = jnp.where(imitating, highest, jnp.where(starting, _FIRST_RATE * highest, rate))

    def loss(params: PolicyParams, batch: Samples) -> tuple[Array, Any]:
        log_std = log_std_at(params, ppo, progress)
        mean = apply_actor(params.actor, batch.obs, ppo.activation, ppo.squash)
        losses = ppo_losses(
            log_prob=gaussian_log_prob(batch.action, mean, log_std),
            old_log_prob=batch.log_prob,
            advantage=batch.advantage,
            value=apply_mlp(params.critic, batch.critic_obs, ppo.activation)[..., 0],
            value_target=batch.value_target,
            entropy=gaussian_entropy(log_std),
            clip_ratio=ppo.clip_ratio,
        )
        total = losses.policy - ppo.entropy_coef * losses.entropy
        found = losses._asdict()
        if batch.expert is not None:
            found["imitation"] = jnp.square(mean - batch.expert).mean()
            total = jnp.where(imitating, found["imitation"], total)
            # of the expert's actions these say nothing: the policy would hardly have taken them
            found |= {
                name: jnp.where(imitating, 0.0, found[name]) for name in ("policy", "kl", "clip_fraction")
            }
        return total + ppo.value_coef * losses.value, found

    def one(
        carry: tuple[PolicyParams, Any, Array], row: Array
    ) -> tuple[tuple[PolicyParams, Any, Array], Any]:
        params, optimizer_state, going = carry
        batch = jax.tree.map(lambda x: x[row], samples)
        gradient, losses = jax.grad(loss, has_aux=True)(params, batch)
        gradient, losses = jax.lax.pmean((gradient, losses), AXIS)
        if ppo.kl_target:  # once the policy has moved too far for these samples, the rest is not learned from
            going &= imitating | (losses["kl"] < _KL_STOP * ppo.kl_target)
        step, optimizer_state = optimizer.update(gradient, optimizer_state)
        params = jax.tree.map(lambda p, s: p - jnp.where(going, rate, 0.0) * s, params, step)
        return (params, optimizer_state, going), (losses, optax.tree.norm(gradient))

    start = (learner.params, adam, jnp.ones((), bool))
    (params, optimizer_state, _), (losses, norms) = jax.lax.scan(one, start, rows)
    last_kl = losses["kl"][-ppo.minibatches :].mean()
    if ppo.kl_target:
        rate = adapt_learning_rate(
            rate, last_kl, kl_target=ppo.kl_target, lowest=ppo.learning_rate_min, highest=highest
        )
    metrics = {f"loss/{name}": value.mean() for name, value in losses.items()}
    metrics |= {"loss/last_kl": last_kl, "gradient_norm": norms.mean()}
    return learner._replace(params=params, optimizer=optimizer_state, learning_rate=rate), metrics


def mean_of(x: Array) -> Array:
    """The mean over all shards, []."""
    return jax.lax.pmean(x.mean(), AXIS)


def _variance(x: Array) -> Array:
    return mean_of(jnp.square(x - mean_of(x)))
