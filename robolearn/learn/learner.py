"""One PPO iteration as a pure function: rollout, advantages, minibatch epochs, normaliser; whole and jitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import PartitionSpec as P

from robolearn.learn.gae import gae
from robolearn.learn.networks import Layer, PolicyParams, apply_mlp, init_mlp, init_policy
from robolearn.learn.normalize import Normalizer, init_normalizer, normalize, update_normalizer
from robolearn.learn.ppo import adapt_learning_rate, gaussian_entropy, gaussian_log_prob, ppo_losses
from robolearn.learn.rollout import Expert, Rollout, Transition, rollout
from robolearn.learn.train_config import PpoConfig, TrainConfig
from robolearn.sim.jit import jit

_FIRST_RATE = 0.1  # of the highest: PPO's first after imitation, and what its KL allows from then on
_KL_STOP = 4.0  # times kl_target, in one minibatch: no more gradient steps in this iteration
AXIS = "data"  # the mesh axis over which environments are spread


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

    def expert(self, state: Any) -> Array:
        """What the task's expert would do, [N, A]; asked only where `imitation_fraction` is above 0."""
        ...


class Policy(NamedTuple):
    """The deterministic policy. arrays: (actor layers, Normalizer); activation: a name in ACTIVATIONS."""

    arrays: tuple[tuple[Layer, ...], Normalizer]
    activation: str

    def act(self, obs: Array) -> Array:
        """Raw obs [..., D] -> action [..., A] in [-1, 1]."""
        layers, normalizer = self.arrays
        return jnp.clip(apply_mlp(layers, normalize(normalizer, obs), self.activation), -1.0, 1.0)


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


class Samples(NamedTuple):
    """One rollout, ready for gradient steps; [S, ...] or a minibatch of it. Observations are normalised."""

    obs: Array
    critic_obs: Array
    action: Array
    log_prob: Array
    advantage: Array
    value_target: Array
    expert: Array | None


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
        optimizer=_optimizer(ppo).init(params),
        learning_rate=jnp.asarray(ppo.learning_rate, jnp.float32),
        normalizer=init_normalizer(env.obs_size),
        critic_normalizer=init_normalizer(env.critic_obs_size),
        key=key,
        iteration=jnp.zeros((), jnp.int32),
    )


def policy_of(config: TrainConfig, learner: LearnerState) -> Policy:
    """What acts after training."""
    return Policy((learner.params.actor, learner.normalizer), config.ppo.activation)


def empty_policy(config: TrainConfig, sizes: dict[str, int]) -> Policy:
    """A policy of the right shapes, to be filled from a checkpoint. sizes: obs and action."""
    hidden = config.ppo.actor_hidden
    layers = init_mlp(jax.random.key(0), [sizes["obs"], *hidden, sizes["action"]], 1.0)
    return Policy((layers, init_normalizer(sizes["obs"])), config.ppo.activation)


class Stopwatch:
    """Seconds since `start`, read inside a jitted program once the array it is given has been computed."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def start(self) -> None:
        """Begin again from zero."""
        self._begun = time.monotonic()

    def when(self, computed: Array) -> Array:
        """The reading [] float32 after `computed` [] is known."""
        return jax.pure_callback(self._read, jax.ShapeDtypeStruct((), jnp.float32), computed)

    def _read(self, computed: Any) -> np.ndarray:
        del computed  # JAX calls this once it is known; its value does not matter
        return np.asarray(time.monotonic() - self._begun, np.float32)


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
    groups = _local_groups(config, env)
    progress = learner.iteration / config.iterations
    log_std = _log_std(learner.params, ppo, progress)
    rolled = rollout(
        env.step,
        lambda obs: apply_mlp(learner.params.actor, normalize(learner.normalizer, obs), ppo.activation),
        log_std,
        state.env,
        state.episode_return,
        _noise(keys[0], groups, ppo.rollout_steps, env)
        * _noise_scale(config, env, groups, progress)[:, None],
        _expert(config, env, groups, progress),
    )
    samples, explained = _samples(ppo, learner, rolled.steps)
    rows = _minibatch_rows(keys[1], groups, env, ppo)
    learner, losses = _epochs(config, learner, samples, rows, progress)
    learner = learner._replace(
        normalizer=update_normalizer(learner.normalizer, rolled.steps.obs, AXIS),
        critic_normalizer=update_normalizer(learner.critic_normalizer, rolled.steps.critic_obs, AXIS),
        key=keys[2],
        iteration=learner.iteration + 1,
    )
    metrics = _metrics(rolled) | losses
    metrics |= {"learning_rate": learner.learning_rate, "action_std": jnp.exp(log_std).mean()}
    metrics |= {"value_explained": explained}
    if stopwatch is not None:
        reward = rolled.steps.reward
        metrics |= _rollout_times(stopwatch.when(reward.sum()), reward.size, processes)
    return TrainState(learner, rolled.env, rolled.episode_return), metrics


def make_iteration(
    config: TrainConfig, env: Env, mesh: jax.sharding.Mesh, stopwatch: Stopwatch | None = None
) -> Any:
    """The jitted iteration over a mesh: (state, stop [devices] bool) -> (state, metrics).

    `stop` is each device's request to end; metrics["stop"] is 1 on all of them as soon as one has it, so that
    processes that were told at different moments end after the same iteration.
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

    @jit
    def run(state: TrainState, stop: Array) -> tuple[TrainState, dict[str, Array]]:
        learner, env_state, episode_return, metrics = sharded(
            state.learner, state.env, state.episode_return, stop
        )
        return TrainState(learner, env_state, episode_return), metrics

    return run


def _optimizer(ppo: PpoConfig) -> optax.GradientTransformation:
    """Adam for actor and critic; each is clipped by itself, since returns have a scale of their own."""
    part = optax.chain(optax.clip_by_global_norm(ppo.max_grad_norm), optax.scale_by_adam(eps=1e-5))
    return optax.partition({"actor": part, "critic": part}, PolicyParams._make(("actor", "critic", "actor")))


def _log_std(params: PolicyParams, ppo: PpoConfig, progress: Array) -> Array:
    """Of the action noise, [A]. What succeeds only with noise must be unlearned before there is none."""
    log_std = params.log_std
    if ppo.final_log_std is not None:
        highest = ppo.initial_log_std + (ppo.final_log_std - ppo.initial_log_std) * progress
        log_std = jnp.minimum(log_std, highest)
    return jnp.maximum(log_std, ppo.log_std_min)


def _local_groups(config: TrainConfig, env: Env) -> Array:
    """Indices of this shard's groups among all groups, [G]."""
    count = config.groups * env.num_envs // config.num_envs
    return jax.lax.axis_index(AXIS) * count + jnp.arange(count)


def _noise(key: Array, groups: Array, steps: int, env: Env) -> Array:
    """Standard normal action noise [T, B, A]; a group's draw does not depend on where the group lives."""
    size = env.num_envs // len(groups)
    draw = jax.vmap(lambda g: jax.random.normal(jax.random.fold_in(key, g), (steps, size, env.action_size)))
    return jnp.moveaxis(draw(groups), 0, 1).reshape(steps, env.num_envs, env.action_size)


def _member(env: Env, groups: Array) -> Array:
    """Each environment's number within its group [B], which does not depend on where the group lives."""
    return jnp.arange(env.num_envs) % (env.num_envs // len(groups))


def _expert(config: TrainConfig, env: Env, groups: Array, progress: Array) -> Expert | None:
    """The task's expert; it acts in every environment at first, and in fewer and fewer until imitation ends."""
    if not config.imitation_fraction:
        return None
    place = (_member(env, groups) + 0.5) * len(groups) / env.num_envs
    return Expert(
        env.expert, place > progress / config.imitation_fraction, progress < config.imitation_fraction
    )


def _noise_scale(config: TrainConfig, env: Env, groups: Array, progress: Array) -> Array:
    """Factor [B] of the action noise: while it imitates, every second environment acts without.

    A policy without noise can get stuck in states that noise would leave; the expert has to be seen there too.
    """
    deterministic = (progress < config.imitation_fraction) & (_member(env, groups) % 2 == 0)
    return jnp.where(deterministic, 0.0, 1.0)


def _minibatch_rows(key: Array, groups: Array, env: Env, ppo: PpoConfig) -> Array:
    """Row indices into the flattened [T * B] samples, [epochs * minibatches, rows].

    Each minibatch takes the same number of rows from every group, shuffled within it.
    """
    size = env.num_envs // len(groups)
    per_group = ppo.rollout_steps * size

    def shuffle(epoch_key: Array) -> Array:
        order = jax.vmap(lambda g: jax.random.permutation(jax.random.fold_in(epoch_key, g), per_group))(
            groups
        )
        step, member = order // size, order % size
        rows = step * env.num_envs + jnp.arange(len(groups))[:, None] * size + member  # [G, per_group]
        return rows.reshape(len(groups), ppo.minibatches, -1).swapaxes(0, 1).reshape(ppo.minibatches, -1)

    epochs = jax.vmap(shuffle)(jax.random.split(key, ppo.epochs))
    return epochs.reshape(ppo.epochs * ppo.minibatches, -1)


def _samples(ppo: PpoConfig, learner: LearnerState, steps: Transition) -> tuple[Samples, Array]:
    """Advantages and normalised observations, flattened to [T * B]; and the share of return variance explained."""
    critic_obs = normalize(learner.critic_normalizer, steps.critic_obs)

    def critic(normalised: Array) -> Array:
        return apply_mlp(learner.params.critic, normalised, ppo.activation)[..., 0]

    value = critic(critic_obs)
    advantage, target = gae(
        steps.reward * ppo.reward_scale,
        value,
        _values_after(lambda obs: critic(normalize(learner.critic_normalizer, obs)), value, steps),
        steps.terminated,
        steps.truncated,
        discount=ppo.discount,
        gae_lambda=ppo.gae_lambda,
    )
    explained = 1.0 - _variance(target - value) / jnp.maximum(_variance(target), 1e-8)
    advantage = (advantage - _mean(advantage)) / jnp.sqrt(jnp.maximum(_variance(advantage), 1e-8))
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


def _values_after(critic: Callable[[Array], Array], value: Array, steps: Transition) -> Array:
    """What the critic says of the state that each step led to, [T, B].

    That is the state in which the next step begins, where the episode went on. Only the others are looked at again:
    those of the last step, and those before a restart, few at a time until none is left.
    """
    final = steps.final_critic_obs.reshape(-1, steps.final_critic_obs.shape[-1])
    ended = steps.truncated[:-1].ravel()
    at_once = max(ended.size // 32, min(ended.size, 64))

    def some(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        after, waiting = carry
        rows = jnp.nonzero(waiting, size=at_once, fill_value=after.size)[0]  # after.size: none
        after = after.at[rows].set(critic(final.at[rows].get(mode="clip")), mode="drop")
        return after, waiting.at[rows].set(False, mode="drop")

    after = jnp.concatenate([value[1:], critic(steps.final_critic_obs[-1])[None]]).ravel()
    return jax.lax.while_loop(lambda carry: carry[1].any(), some, (after, ended))[0].reshape(value.shape)


def _epochs(
    config: TrainConfig, learner: LearnerState, samples: Samples, rows: Array, progress: Array
) -> tuple[LearnerState, dict[str, Array]]:
    """Gradient steps over minibatches, gradients averaged over shards; then the learning rate adapts.

    While the policy imitates, the imitation error takes the place of PPO's loss, and the rate is the highest: the
    critic learns what the states are worth that the expert and the policy come to together.
    """
    ppo = config.ppo
    optimizer = _optimizer(ppo)
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
        log_std = _log_std(params, ppo, progress)
        mean = apply_mlp(params.actor, batch.obs, ppo.activation)
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


def _mean(x: Array) -> Array:
    return jax.lax.pmean(x.mean(), AXIS)


def _variance(x: Array) -> Array:
    return _mean(jnp.square(x - _mean(x)))


def _rollout_times(seconds: Array, steps: int, processes: Sequence[int]) -> dict[str, Array]:
    """The slowest shard, its time, the fastest's, and mean / slowest: what is not lost to waiting for a straggler.

    And the steps/s of every process, from the steps of each of its shards.
    """
    every = jax.lax.all_gather(seconds, AXIS)
    rates = [
        (process, sum(steps / every[shard] for shard, owner in enumerate(processes) if owner == process))
        for process in sorted(set(processes))
    ]
    return {f"time/rollout_steps_per_s_process_{process}": jnp.asarray(rate) for process, rate in rates} | {
        "time/rollout_s_slowest": every.max(),
        "time/rollout_s_fastest": every.min(),
        "time/slowest_device": every.argmax().astype(jnp.float32),
        "time/balance": every.mean() / every.max(),
    }


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
        "reward": _mean(rolled.steps.reward),
    }
    return metrics
