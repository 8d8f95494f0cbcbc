"""Which recipe of federated training keeps the success of central training? Averaging simulated in one process.

    python benchmarks/federated.py fr3/reach [--seeds 1] [--recipes central kept-4 ...] [--table]

Four sites whose friction, actuator gain, payload and tilt differ, the last with a tenth of the others' data. Every
recipe sees the same number of control steps. Results go to docs/results/federated.json, and from there the table to
docs/howto/federated.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.env.vec_env import VecEnv, make
from robolearn.fleet.aggregate import ServerStep, combine
from robolearn.fleet.local import SiteTrainer, arrays_of, site_config, with_arrays
from robolearn.learn.evaluate import chunk_steps, control_period, play_episodes
from robolearn.learn.learner import Policy
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.sim.jit import jit

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "federated.json"
EPISODES = 500  # at each site

# What differs: viscous friction of the joints, stiffness of the drives, mass on the flange, tilt of the base.
SITES: dict[str, dict[str, Any]] = {
    "north": {
        "joint_damping_scale": {"fr3_*": [0.6, 0.8]},
        "actuator_gain_scale": {"fr3_*": [1.0, 1.2]},
        "body_mass_scale": {"gripper_palm": [0.95, 1.05]},
        "gravity_tilt_rad": 0.005,
    },
    "east": {
        "joint_damping_scale": {"fr3_*": [2.0, 2.4]},
        "actuator_gain_scale": {"fr3_*": [0.8, 0.9]},
        "body_mass_scale": {"gripper_palm": [1.4, 1.6]},
        "gravity_tilt_rad": 0.02,
    },
    "south": {
        "joint_damping_scale": {"fr3_*": [1.2, 1.5]},
        "actuator_gain_scale": {"fr3_*": [0.55, 0.65]},
        "body_mass_scale": {"gripper_palm": [1.9, 2.1]},
        "gravity_tilt_rad": 0.04,
    },
    "west": {  # a tenth of the data
        "joint_damping_scale": {"fr3_*": [3.0, 3.5]},
        "actuator_gain_scale": {"fr3_*": [0.65, 0.75]},
        "body_mass_scale": {"gripper_palm": [2.4, 2.6]},
        "gravity_tilt_rad": 0.06,
    },
}


@dataclass(frozen=True)
class Recipe:
    """One way to average. local: iterations of a site in a round; 0: central training on the union."""

    local: int
    keep_adam: bool = True
    weights: str = "data"  # or "equal"
    momentum: float = 0.0
    restart: bool = False  # the schedule begins anew in each round, as in a plain loop of short trainings
    rule: str = "mean"
    norm_max: float = 1e9
    average: bool = True  # False: every site for itself
    keep_env: bool = False


RECIPES = {
    "central": Recipe(0),
    "alone": Recipe(8, average=False, keep_env=True),
    "restarted": Recipe(8, keep_adam=False, restart=True),
    "fresh-8": Recipe(8, keep_adam=False),
    "kept-4": Recipe(4),
    "kept-8": Recipe(8),
    "kept-16": Recipe(16),
    "equal-8": Recipe(8, weights="equal"),
    "equal-4": Recipe(4, weights="equal"),
    "momentum-8": Recipe(8, momentum=0.5),
    "median-8": Recipe(8, rule="median"),
}


class UnionEnv:
    """The environments of all sites as one, for central training: site by site, each with its own draws."""

    def __init__(self, envs: list[VecEnv]):
        self._envs = envs
        self._ends = list(np.cumsum([env.num_envs for env in envs]))
        first = envs[0]
        self.num_envs = int(self._ends[-1])
        self.obs_size, self.critic_obs_size = first.obs_size, first.critic_obs_size
        self.action_size, self.episode_steps = first.action_size, first.episode_steps

    def reset(self, keys: jax.Array) -> Any:
        keys = keys if keys.ndim else jax.random.split(keys, self.num_envs)
        return _joined(
            [env.reset(part) for env, part in zip(self._envs, jnp.split(keys, self._ends[:-1]), strict=True)]
        )

    def step(self, state: Any, action: jax.Array) -> Any:
        parts = zip(self._envs, self._split(state), jnp.split(action, self._ends[:-1]), strict=True)
        return _joined([env.step(one, act) for env, one, act in parts])

    def expert(self, state: Any) -> jax.Array:
        return jnp.concatenate(
            [env.expert(one) for env, one in zip(self._envs, self._split(state), strict=True)]
        )

    def _split(self, state: Any) -> list[Any]:
        starts = [0, *self._ends[:-1]]
        return [
            jax.tree.map(lambda x, a=a, b=b: x[a:b], state)
            for a, b in zip(starts, self._ends, strict=True)
        ]


def _joined(states: list[Any]) -> Any:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *states)


def data_shares(total: int, groups: int) -> list[int]:
    """Environments of the four sites: the last has a tenth of the others."""
    small = max(groups, total // 31 // groups * groups)
    return [10 * small] * 3 + [small]


class Judge:
    """Success of a vector at one site, over fresh episodes; compiled once."""

    def __init__(self, config: TrainConfig, trainer: SiteTrainer):
        self.env = make(config.task, min(EPISODES, 250), config.engine, config.env)
        self._trainer, activation = trainer, config.ppo.activation

        def chunk(arrays: Any, carry: Any) -> Any:
            act = Policy(arrays, activation).act

            def one(carry: Any, _: None) -> Any:
                return control_period(self.env, carry, lambda s: self.env.step(s, act(s.obs)))

            return jax.lax.scan(one, carry, length=chunk_steps(self.env))

        self._chunk = jit(chunk)

    def __call__(self, vector: np.ndarray) -> float:
        learner = self._trainer._fresh.learner
        learner = with_arrays(learner, self._trainer.layout.unflatten(vector), 1.0)
        arrays = (learner.params.actor, learner.normalizer)
        rows = play_episodes(self.env, functools.partial(self._chunk, arrays), EPISODES, 1_000_000)
        return float(rows["success"].mean())


def run(
    recipe: Recipe, configs: list[TrainConfig], trainers: list[SiteTrainer], judges: list[Judge], total: int
) -> dict[str, Any]:
    """One federated training of `total` iterations, and each site's success after it."""
    begun = time.monotonic()
    for trainer in trainers:
        trainer._state = trainer._fresh
        trainer.keep_adam, trainer.keep_env = recipe.keep_adam, recipe.keep_env
    vector, server = trainers[0].first_vector(), ServerStep(momentum=recipe.momentum)
    own = [vector] * len(trainers)
    weights = np.array([c.num_envs for c in configs], float)
    if recipe.weights == "equal":
        weights = np.ones(len(configs))
    curve, norms, done = [], [], 0
    while done < total:
        count = min(recipe.local, total - done)
        found = [
            trainer.train(vector if recipe.average else mine, 0 if recipe.restart else done, count)
            for trainer, mine in zip(trainers, own, strict=True)
        ]
        own = [new for new, _ in found]
        done += count
        if recipe.average:
            updates = np.stack([new - vector for new in own])
            norms.append([round(float(np.linalg.norm(u)), 3) for u in updates])
            vector = server.apply(
                vector, combine(recipe.rule, updates, norm_max=recipe.norm_max, weights=weights)
            )
            curve.append(round(judges[1](vector), 3))
            print(f"  iteration {done}/{total}: {curve[-1]:.1%} at the second site, norms {norms[-1]}", flush=True)
    rates = [judge(vector if recipe.average else mine) for judge, mine in zip(judges, own, strict=True)]
    return {
        "success": dict(zip(SITES, rates, strict=True)),
        "mean": float(np.average(rates, weights=[c.num_envs for c in configs])),
        "equal_mean": float(np.mean(rates)),
        "curve_second_site": curve,
        "update_norms": norms,
        "wall_s": round(time.monotonic() - begun, 1),
    }


def central(config: TrainConfig, configs: list[TrainConfig], judges: list[Judge], total: int) -> dict[str, Any]:
    """Training on the union, with the same environments and iterations."""
    begun = time.monotonic()
    envs = [make(c.task, c.num_envs, c.engine, c.env) for c in configs]
    together = site_config(config, total, {"num_envs": sum(c.num_envs for c in configs)})
    trainer = SiteTrainer(together, env=UnionEnv(envs))
    vector, _ = trainer.train(trainer.first_vector(), 0, total)
    rates = [judge(vector) for judge in judges]
    return {
        "success": dict(zip(SITES, rates, strict=True)),
        "mean": float(np.average(rates, weights=[c.num_envs for c in configs])),
        "equal_mean": float(np.mean(rates)),
        "wall_s": round(time.monotonic() - begun, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--iterations", type=int, default=32)
    parser.add_argument("--envs", type=int, default=496)
    parser.add_argument("--recipes", nargs="*", choices=sorted(RECIPES), default=list(RECIPES))
    options = parser.parse_args()
    config = train_config(options.task)
    shares = data_shares(options.envs, config.groups)
    for seed in options.seeds:
        begun = time.monotonic()
        configs = [
            site_config(
                config, options.iterations, {"num_envs": n, "seed": seed, "env": {"randomization": changes}}
            )
            for n, changes in zip(shares, SITES.values(), strict=True)
        ]
        trainers = [SiteTrainer(c) for c in configs]
        judges = [Judge(c, trainers[0]) for c in configs]
        print(f"built {len(trainers)} sites of {shares} in {time.monotonic() - begun:.0f} s", flush=True)
        for name in options.recipes:
            recipe = RECIPES[name]
            found = (
                run(recipe, configs, trainers, judges, options.iterations)
                if recipe.local
                else central(config.model_copy(update={"seed": seed}), configs, judges, options.iterations)
            )
            print(name, seed, json.dumps({k: v for k, v in found.items() if k != "update_norms"}), flush=True)
            save(options, name, seed, recipe, shares, found)
    return 0


def save(
    options: Any, name: str, seed: int, recipe: Recipe, shares: list[int], found: dict[str, Any]
) -> None:
    """Add one result to the file."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"sites": SITES, "runs": {}}
    key = f"{options.task} {options.iterations}x{sum(shares)} {name} seed {seed}"
    results["runs"][key] = {"recipe": asdict(recipe), "envs": shares, **found}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
