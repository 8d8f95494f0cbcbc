"""Adam for actor and critic."""

from __future__ import annotations

import optax

from robolearn.learn.networks import PolicyParams
from robolearn.learn.train_config import PpoConfig


def make_optimizer(ppo: PpoConfig) -> optax.GradientTransformation:
    """Adam for actor and critic; each is clipped by itself, since returns have a scale of their own."""
    part = optax.chain(optax.clip_by_global_norm(ppo.max_grad_norm), optax.scale_by_adam(eps=1e-5))
    return optax.partition({"actor": part, "critic": part}, PolicyParams._make(("actor", "critic", "actor")))
