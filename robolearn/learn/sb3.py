"""Stable-Baselines3 on robolearn: its algorithms train on the batched environments, its policies become bundles.

envs = Sb3VecEnv("fr3/reach", num_envs=256)
model = PPO("MlpPolicy", envs).learn(1_000_000)
export_sb3(model, "reach.robolearn", name="reach", signing_key=key)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.env.gym import SEEDS, Stepper
from robolearn.errors import BundleError, MissingDependency
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.export import Actor, export_policy

# An optional extra: `make check` has to pass where it is not installed.
# pyright: reportMissingImports=false
try:
    import torch
    from stable_baselines3 import __version__ as sb3_version
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv as Sb3Base
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn
except ImportError:
    raise MissingDependency(
        "Stable-Baselines3 is not installed: pip install 'robolearn[sb3]' torch==2.13.0."
    ) from None


class Sb3VecEnv(Sb3Base):
    """num_envs environments of `robot/task` as a Stable-Baselines3 VecEnv.

    infos[i] of a finished episode has what SB3 reads: terminal_observation, TimeLimit.truncated, is_success and
    the episode's return, length and time since the start.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 256,
        engine: str = "auto",
        config: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ):
        self._stepper = Stepper(task, num_envs, engine, config)
        self.render_mode = render_mode
        self._random = np.random.default_rng()
        self._actions = np.zeros((num_envs, self._stepper.env.action_size), np.float32)
        self._returns, self._lengths = np.zeros(num_envs), np.zeros(num_envs, int)
        self._started = time.monotonic()
        super().__init__(num_envs, *self._stepper.spaces)

    @property
    def robolearn(self) -> Any:
        """The environment behind this face."""
        return self._stepper.env

    def reset(self) -> np.ndarray:
        """New episodes everywhere; seed() before it makes them repeatable."""
        if self._seeds[0] is not None:
            self._random = np.random.default_rng(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._stepper.reset(int(self._random.integers(SEEDS)))
        self._returns[:], self._lengths[:] = 0.0, 0
        return self._stepper.obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions [N, A] for step_wait."""
        self._actions = np.asarray(actions, np.float32)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """One control period of every environment."""
        now = self._stepper
        now.step(self._actions)
        self._returns += now.reward
        self._lengths += 1
        done = now.terminated | now.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i] = {
                "terminal_observation": now.final_obs[i],
                "TimeLimit.truncated": bool(now.truncated[i]),
                "is_success": bool(now.success[i]),
                "episode": {
                    "r": float(self._returns[i]),
                    "l": int(self._lengths[i]),
                    "t": time.monotonic() - self._started,
                },
            }
        self._returns[done], self._lengths[done] = 0.0, 0
        return now.obs, now.reward, done, infos

    def close(self) -> None:
        """Free windows and GL contexts."""
        self._stepper.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of every environment."""
        return [self._stepper.frame(i) for i in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once for each environment asked for."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of this object; the environments share it."""
        del indices
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of this object, once, and return its result for each environment asked for."""
        return [getattr(self, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Never: there are no single environments to wrap. Episode statistics come with the infos."""
        del wrapper_class
        return [False] * len(list(self._get_indices(indices)))


def sb3_actor(model: BaseAlgorithm) -> Actor:
    """The deterministic policy of a trained SB3 model as a JAX function, VecNormalize's scaling included.

    For multilayer perceptrons of PPO, A2C, SAC, TD3 and DDPG. Raises BundleError for other networks.
    """
    layers: list[nn.Module] = []
    policy: Any = model.policy
    if hasattr(policy, "action_net"):  # PPO, A2C: the mean, clipped to the action space
        layers = [policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net]
        squash = policy.squash_output
    elif hasattr(policy, "actor") and hasattr(policy.actor, "latent_pi"):  # SAC: tanh of the mean
        layers, squash = [policy.actor.features_extractor, policy.actor.latent_pi, policy.actor.mu], True
    elif hasattr(policy, "actor"):  # TD3, DDPG: the tanh is a layer
        layers, squash = [policy.actor.features_extractor, policy.actor.mu], False
    else:
        raise BundleError(f"{type(policy).__name__} has no actor that robolearn knows.")
    functions = [function for layer in layers for function in _functions(layer)]
    scale = _scaling(model)

    def actor(obs: jax.Array) -> jax.Array:
        x = scale(obs)
        for function in functions:
            x = function(x)
        return jnp.tanh(x) if squash else jnp.clip(x, -1.0, 1.0)

    return actor


def export_sb3(
    model: BaseAlgorithm,
    path: str | Path,
    *,
    name: str,
    signing_key: Any,
    evaluation: dict[str, Any] | None = None,
    task: Any = None,
) -> PolicyBundle:
    """Write a trained SB3 model as a signed bundle; see `robolearn.policy.export.export_policy`.

    task: the robolearn task, where the model's environment is not an `Sb3VecEnv` (or one in VecNormalize).
    """
    if task is None:
        inner = model.get_env()
        while inner is not None and not isinstance(inner, Sb3VecEnv):
            inner = getattr(inner, "venv", None)
        if inner is None:
            raise BundleError(
                "The model was not trained on an Sb3VecEnv: pass task=robolearn.env.task.load_task(...)."
            )
        task = inner.robolearn.task
    training = {
        "library": f"stable-baselines3 {sb3_version}",
        "algorithm": type(model).__name__,
        "seed": model.seed,
        "steps": model.num_timesteps,
        "task_config": task.config.model_dump(mode="json"),
    }
    return export_policy(
        task, sb3_actor(model), path, name=name, training=training, evaluation=evaluation or {},
        signing_key=signing_key,
    )  # fmt: skip


_ACTIVATIONS = {
    nn.Tanh: jnp.tanh,
    nn.ReLU: jax.nn.relu,
    nn.ELU: jax.nn.elu,
    nn.SiLU: jax.nn.silu,
    nn.Sigmoid: jax.nn.sigmoid,
    nn.Softplus: jax.nn.softplus,
}


def _functions(module: nn.Module) -> list[Any]:
    """A torch module as JAX functions of [D], in order."""
    if isinstance(module, nn.Sequential):
        return [function for part in module for function in _functions(part)]
    if isinstance(module, nn.Identity | nn.Flatten) or type(module).__name__ == "FlattenExtractor":
        return []
    if isinstance(module, nn.Linear):
        kernel, bias = _array(module.weight).T, _array(module.bias)
        return [lambda x: x @ kernel + bias]
    if isinstance(module, nn.Hardtanh):
        return [lambda x: jnp.clip(x, module.min_val, module.max_val)]
    if type(module) in _ACTIVATIONS:
        return [_ACTIVATIONS[type(module)]]
    raise BundleError(
        f"Cannot export a layer of type {type(module).__name__}: robolearn exports multilayer perceptrons of "
        f"Linear and {', '.join(kind.__name__ for kind in _ACTIVATIONS)}."
    )


def _scaling(model: BaseAlgorithm) -> Actor:
    normalize = model.get_vec_normalize_env()
    if not isinstance(normalize, VecNormalize) or not normalize.norm_obs:
        return lambda obs: obs
    rms: Any = normalize.obs_rms
    mean = jnp.asarray(rms.mean, jnp.float32)
    deviation = jnp.asarray(np.sqrt(rms.var + normalize.epsilon), jnp.float32)
    limit = normalize.clip_obs
    return lambda obs: jnp.clip((obs - mean) / deviation, -limit, limit)


def _array(tensor: torch.Tensor) -> jax.Array:
    return jnp.asarray(tensor.detach().cpu().numpy(), jnp.float32)
