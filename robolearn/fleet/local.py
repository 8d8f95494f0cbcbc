"""The work of a site in a round: take the global vector, train on the site's own arm, give back the difference.

Imports JAX. A round continues the schedule of the whole training: iteration r * L of n, where the site trains L
iterations in each round; so imitation, noise and learning rate go on where the last round ended. Adam's moments and
the adapted learning rate stay at the site and are kept from round to round, and so do the episodes: a round is shorter
than an episode of most tasks, and whoever begins anew in each sees only how episodes begin.

While an expert is imitated the normalisers are averaged like the rest. Afterwards they stay as they are: weights that
were trained behind different statistics have no common mean. A site's statistics still move while it trains, and its
networks with them (`normalize.compensated`); before they leave they are put back behind the common statistics, where
they compute the same.

A site may keep personal layers (Arivazhagan et al. 2019, arXiv:1912.00818): it trains its own values of them, and its
update is zero there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.config import merged
from robolearn.errors import ConfigError
from robolearn.fleet.vector import Layout, Vector
from robolearn.learn.calibrated import calibrated_config
from robolearn.learn.checkpoint import flatten, unflatten
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.learner import Env, LearnerState, TrainState
from robolearn.learn.networks import Layer, PolicyParams
from robolearn.learn.normalize import Normalizer, compensated
from robolearn.learn.train_config import TrainConfig
from robolearn.sim.compiled import compiled

PERSONAL = "personal"


def site_config(config: TrainConfig, iterations: int, changes: dict[str, Any]) -> TrainConfig:
    """The config of one site: the common one, so many iterations in all, and what differs at the site.

    changes: keys of TrainConfig, such as num_envs, seed and env (merged into the common one).
    """
    data = merged(config.model_dump(mode="json"), changes)
    site = calibrated_config(TrainConfig.model_validate(data))
    return site.model_copy(update={"total_steps": iterations * site.steps_per_iteration})


def arrays_of(learner: LearnerState) -> dict[str, np.ndarray]:
    """What is averaged: policy, value and both normalisers, by name.

    A normaliser is its mean and mean square, whose averages over sites are those of the pooled observations.
    """
    params = learner.params
    named: dict[str, Any] = {}
    for name, layers in (("actor", params.actor), ("critic", params.critic)):
        for index, layer in enumerate(layers):
            named |= {f"{name}/{index}/kernel": layer.kernel, f"{name}/{index}/bias": layer.bias}
    named["log_std"] = params.log_std
    for name, normalizer in (("obs", learner.normalizer), ("critic_obs", learner.critic_normalizer)):
        named[f"{name}/mean"] = normalizer.mean
        named[f"{name}/mean_square"] = normalizer.variance + jnp.square(normalizer.mean)
    return {name: np.asarray(value, np.float32) for name, value in jax.device_get(named).items()}


def with_arrays(learner: LearnerState, arrays: dict[str, np.ndarray], samples: float) -> LearnerState:
    """The learner with these arrays in place; samples: how many observations its normalisers count as having seen."""

    def layers(name: str, like: tuple[Layer, ...]) -> tuple[Layer, ...]:
        return tuple(
            Layer(*(jnp.asarray(arrays[f"{name}/{i}/{part}"]) for part in ("kernel", "bias")))
            for i in range(len(like))
        )

    def normalizer(name: str) -> Normalizer:
        center, square = arrays[f"{name}/mean"], arrays[f"{name}/mean_square"]
        spread = np.maximum(square - np.square(center), 0.0)
        return Normalizer(jnp.asarray(samples, jnp.float32), jnp.asarray(center), jnp.asarray(spread))

    params = PolicyParams(
        layers("actor", learner.params.actor),
        layers("critic", learner.params.critic),
        jnp.asarray(arrays["log_std"]),
    )
    return learner._replace(
        params=params, normalizer=normalizer("obs"), critic_normalizer=normalizer("critic_obs")
    )


def behind(learner: LearnerState, base: LearnerState) -> LearnerState:
    """The learner with the normalisers of base, and networks that compute what they did behind its own."""
    params = learner.params._replace(
        actor=compensated(learner.params.actor, learner.normalizer, base.normalizer),
        critic=compensated(learner.params.critic, learner.critic_normalizer, base.critic_normalizer),
    )
    return learner._replace(
        params=params, normalizer=base.normalizer, critic_normalizer=base.critic_normalizer
    )


@dataclass
class SiteTrainer:
    """One site's environments, compiled iteration and what it keeps between rounds.

    config: of `site_config`. keep_adam: whether Adam's moments and the learning rate last from round to round; else
    each round begins with fresh ones. keep_env: whether the episodes go on where they were; else each round begins new
    ones, and a site never sees more of an episode than a round is long (for comparison). common_statistics: whether the
    normalisers stay common after imitation; without it they are averaged in every round (for comparison). personal:
    parts of the vector that the site keeps for itself, as of `Layout.mask`.
    """

    config: TrainConfig
    env: Env | None = None
    keep_adam: bool = True
    keep_env: bool = True
    common_statistics: bool = True
    compile_now: bool = True
    personal: tuple[str, ...] = ()
    _own: Vector | None = field(init=False, default=None)
    _state: TrainState = field(init=False)
    _step: Any = field(init=False)

    def __post_init__(self) -> None:
        from robolearn.env.vec_env import make

        env = self.env or make(self.config.task, self.config.num_envs, self.config.engine, self.config.env)
        self.env, self._mesh = env, data_mesh()
        self._state = first_state(self.config, env, self._mesh)
        self._fresh = self._state
        if self.compile_now:
            never = per_device(self._mesh, False)
            self._step = compiled(make_iteration(self.config, env, self._mesh).lower(self._state, never))

    @property
    def layout(self) -> Layout:
        """Of the vector."""
        return Layout.of(arrays_of(self._fresh.learner))

    def first_vector(self) -> Vector:
        """What the training begins with: fresh parameters, and normalisers from the first observations."""
        return self.layout.flatten(arrays_of(self._fresh.learner))

    def own_policy(self, vector: Vector) -> Vector:
        """The vector with the site's personal parts in place; before it has trained, the vector itself."""
        if self._own is None:
            return vector
        own = vector.copy()
        own[self.layout.mask(self.personal)] = self._own
        return own

    def train(self, vector: Vector, iteration: int, count: int) -> tuple[Vector, dict[str, float]]:
        """Train `count` iterations from the global vector; the new vector, and the last iteration's metrics.

        iteration: how many iterations of the schedule are over. Personal parts come back as they were in `vector`.
        """
        asked, vector = vector, self.own_policy(vector)
        old = self._state.learner if self.keep_adam else self._fresh.learner
        samples = self.config.num_envs * (1 + iteration * self.config.ppo.rollout_steps)
        learner = with_arrays(old, self.layout.unflatten(vector), samples)
        key = jax.random.fold_in(self._fresh.learner.key, iteration)
        learner = learner._replace(key=key, iteration=jnp.asarray(iteration, jnp.int32))
        base = self._state if self.keep_env else self._episodes(iteration)
        state = TrainState(learner, base.env, base.episode_return)
        never, metrics = per_device(self._mesh, False), {}
        for _ in range(count):
            state, metrics = self._step(state, never)
        last = (iteration + count - 1) / self.config.iterations
        if self.common_statistics and last >= self.config.imitation_fraction:
            common = with_arrays(state.learner, self.layout.unflatten(vector), samples)
            state = state._replace(learner=behind(state.learner, common))
        self._state = state
        found = {name: float(value) for name, value in jax.device_get(metrics).items()}
        new = self.layout.flatten(arrays_of(state.learner))
        if self.personal:
            mask = self.layout.mask(self.personal)
            self._own = new[mask]
            new[mask] = asked[mask]
        return new, found

    def kept(self) -> dict[str, np.ndarray]:
        """What the next round goes on with, by name: Adam's moments, learning rate, episodes, personal parts."""
        kept = {name: np.asarray(value) for name, value in flatten(self._lasting()).items()}
        return kept if self._own is None else kept | {PERSONAL: self._own}

    def restore(self, kept: Mapping[str, np.ndarray]) -> None:
        """Continue with what an earlier process kept. Raises ConfigError where it is of another network or task."""
        like = self._lasting()
        old = {name: value.shape for name, value in flatten(like).items()}
        if old != {name: value.shape for name, value in kept.items() if name != PERSONAL}:
            raise ConfigError(
                "What the site kept from its last round is of another network, task or num_envs, or of an older "
                "robolearn. Remove training.npz."
            )
        count = int(self.layout.mask(self.personal).sum())
        if (own := kept.get(PERSONAL)) is not None and own.shape != (count,):
            raise ConfigError(
                f"The site kept {own.size} personal numbers, and `personal` in site.yaml names {count}. Put it back as "
                "it was, or remove training.npz."
            )
        found = unflatten(like, {name: jnp.asarray(value) for name, value in kept.items()})
        learner = self._state.learner._replace(
            optimizer=found["optimizer"], learning_rate=found["learning_rate"]
        )
        episodes = (found["env"], found["episode_return"]) if self.keep_env else self._state[1:]
        self._state, self._own = TrainState(learner, *episodes), own

    def _lasting(self) -> dict[str, Any]:
        state = self._state
        last = {"optimizer": state.learner.optimizer, "learning_rate": state.learner.learning_rate}
        return last | ({"env": state.env, "episode_return": state.episode_return} if self.keep_env else {})

    def _episodes(self, iteration: int) -> TrainState:
        """New episodes, of this round's own seed."""
        seed = (self.config.seed + 7919 * (iteration + 1)) % 2**31
        assert self.env is not None
        return first_state(self.config.model_copy(update={"seed": seed}), self.env, self._mesh)
