"""What training is: parameters, optimiser, normalisers and environments; and the policy that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from robolearn.learn.networks import Layer, PolicyParams, apply_actor, init_mlp, init_policy
from robolearn.learn.normalize import Normalizer, init_normalizer, normalize
from robolearn.learn.optimizer import make_optimizer
from robolearn.learn.train_config import TrainConfig


class Env(Protocol):
    """What the learner needs of a VecEnv; see `robolearn.env.vec_env`."""

    @property
    def num_envs(self) -> int:
        """Environments in one shard."""
        ...

    @property
    def obs_size(self) -> int:
        """Width of obs."""
        ...

    @property
    def critic_obs_size(self) -> int:
        """Width of critic_obs."""
        ...

    @property
    def action_size(self) -> int:
        """Width of the action."""
        ...

    @property
    def episode_steps(self) -> int:
        """Control steps after which an episode is truncated."""
        ...

    def reset(self, key: Array) -> Any:
        """The first EnvState, from one key or num_envs keys."""
        ...

    def step(self, state: Any, action: Array) -> Any:
        """The next EnvState."""
        ...

    def rollout_step(self, state: Any, steps: int) -> Callable[[Any, Array], Any]:
        """`step` for a rollout of so many steps from state."""
        ...

    def expert(self, state: Any) -> Array:
        """What the task's expert would do, [N, A]; asked only where `imitation_fraction` is above 0."""
        ...


class Policy(NamedTuple):
    """The deterministic policy. arrays: (actor layers, Normalizer); activation, squash: see `PpoConfig`."""

    arrays: tuple[tuple[Layer, ...], Normalizer]
    activation: str
    squash: str = "clip"

    def act(self, obs: Array) -> Array:
        """Raw obs [..., D] -> action [..., A] in [-1, 1]."""
        return jnp.clip(self.mean(obs), -1.0, 1.0)

    def mean(self, obs: Array) -> Array:
        """The action before it is clipped."""
        layers, normalizer = self.arrays
        return apply_actor(layers, normalize(normalizer, obs), self.activation, self.squash)


class LearnerState(NamedTuple):
    """The same on every device. learning_rate []; key: a typed PRNG key; iteration [] int32."""

    params: PolicyParams
    optimizer: Any
    learning_rate: Array
    normalizer: Normalizer
    critic_normalizer: Normalizer
    key: Array
    iteration: Array


class TrainState(NamedTuple):
    """All that training is: a checkpoint of it continues bit for bit. env: EnvState; episode_return: [N]."""

    learner: LearnerState
    env: Any
    episode_return: Array


def init_learner(config: TrainConfig, env: Env, key: Array) -> LearnerState:
    """Fresh parameters, optimiser and normalisers."""
    ppo = config.ppo
    init_key, key = jax.random.split(key)
    params = init_policy(
        init_key,
        env.obs_size,
        env.critic_obs_size,
        env.action_size,
        actor_hidden=ppo.actor_hidden,
        critic_hidden=ppo.critic_hidden,
        initial_log_std=ppo.initial_log_std,
    )
    return LearnerState(
        params=params,
        optimizer=make_optimizer(ppo).init(params),
        learning_rate=jnp.asarray(ppo.learning_rate, jnp.float32),
        normalizer=init_normalizer(env.obs_size),
        critic_normalizer=init_normalizer(env.critic_obs_size),
        key=key,
        iteration=jnp.zeros((), jnp.int32),
    )


def policy_of(config: TrainConfig, learner: LearnerState) -> Policy:
    """What acts after training."""
    return Policy((learner.params.actor, learner.normalizer), config.ppo.activation, config.ppo.squash)


def empty_policy(config: TrainConfig, sizes: dict[str, int]) -> Policy:
    """A policy of the right shapes, to be filled from a checkpoint. sizes: obs and action."""
    hidden = config.ppo.actor_hidden
    layers = init_mlp(jax.random.key(0), [sizes["obs"], *hidden, sizes["action"]], 1.0)
    return Policy((layers, init_normalizer(sizes["obs"])), config.ppo.activation, config.ppo.squash)
