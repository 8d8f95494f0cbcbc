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
from jax.sharding import PartitionSpec as P

from robolearn.config import merged
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv, make
from robolearn.fleet.aggregate import Rule, ServerStep, combine
from robolearn.fleet.local import SiteTrainer, site_config, with_arrays
from robolearn.learn.distributed import data_mesh
from robolearn.learn.evaluate import chunk_steps, control_period, play_episodes
from robolearn.learn.groups import AXIS
from robolearn.learn.iteration import iteration
from robolearn.learn.learner import Policy, TrainState, init_learner
from robolearn.learn.normalize import update_normalizer
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit
from robolearn.sim.randomize import Randomizer

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
    rule: Rule = "mean"
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


class Mixture:
    """Draws an episode's physics as at one of the sites; which one, by log-probabilities that a program takes as input.

    So one compiled program serves every site, and central training on the union of their data too.
    """

    def __init__(self, randomizers: list[Randomizer]):
        self._randomizers = randomizers
        self.active = True
        self.logits: Any = None

    def draw(self, key: jax.Array) -> Any:
        site = jax.random.categorical(jax.random.fold_in(key, 99), jnp.asarray(self.logits))
        drawn = [one.draw(key) for one in self._randomizers]
        return jax.tree.map(lambda *values: jnp.stack(values)[site], *drawn)

    def lift(self, name: str, size: jax.Array) -> jax.Array:
        return self._randomizers[0].lift(name, size)


def mixed_env(config: TrainConfig, num_envs: int) -> VecEnv:
    """The task's environment, with `Mixture` in place of its own draws."""
    env = make(config.task, num_envs, config.engine, config.env)
    changed = [
        load_task(config.task, merged(config.env, {"randomization": changes})) for changes in SITES.values()
    ]
    env._randomizer = Mixture(
        [Randomizer(env.model, task.config.randomization, task.objects) for task in changed]
    )
    return env


class Program:
    """Compiled once for a number of environments: first episodes, and one iteration."""

    def __init__(self, config: TrainConfig):
        self.config, self.mesh = config, data_mesh()
        self.env = mixed_env(config, config.num_envs)
        learner = jit(lambda key: init_learner(config, self.env, key), quick=True)(
            jax.random.key(config.seed)
        )

        def first(learner: Any, keys: Any, logits: Any) -> Any:
            self.env._randomizer.logits = logits
            begun = self.env.reset(keys)
            stagger = jax.vmap(
                lambda k: jax.random.randint(jax.random.fold_in(k, 1), (), 0, self.env.episode_steps)
            )
            begun = begun.replace(step_count=stagger(keys))
            seen = (("normalizer", begun.obs), ("critic_normalizer", begun.critic_obs))
            learner = learner._replace(
                **{name: update_normalizer(getattr(learner, name), obs) for name, obs in seen}
            )
            return TrainState(learner, begun, jnp.zeros(self.env.num_envs))

        def shard(learner: Any, env: Any, running: Any, logits: Any) -> Any:
            self.env._randomizer.logits = logits
            return iteration(config, self.env, TrainState(learner, env, running))

        where = P(AXIS)
        sharded = jax.shard_map(
            shard, mesh=self.mesh, in_specs=(P(), where, where, P()),
            out_specs=(TrainState(P(), where, where), P()), check_vma=False,
        )  # fmt: skip
        logits, keys = jnp.zeros(len(SITES)), jax.random.split(jax.random.key(0), config.num_envs)
        self.first = compiled(jit(first, quick=True).lower(learner, keys, logits))
        state = self.first(learner, keys, logits)
        self.iterate = compiled(jit(sharded).lower(*state, logits))
        self.learner = learner


class SimulatedSite(SiteTrainer):
    """A SiteTrainer that shares a program."""

    def __init__(self, program: Program, logits: np.ndarray, seed: int):
        self.program, self.logits, self.config = program, jnp.asarray(logits, jnp.float32), program.config
        self.env, self._mesh, self._seed = program.env, program.mesh, seed
        self.keep_adam, self.keep_env, self.compile_now = True, False, False
        self._step = lambda state, _: program.iterate(*state, self.logits)
        self._state = self._fresh = self._episodes(-1)

    def _episodes(self, iteration: int) -> TrainState:
        key = jax.random.fold_in(jax.random.key(self._seed), iteration + 1)
        keys = jax.random.split(key, self.config.num_envs)
        return self.program.first(self.program.learner, keys, self.logits)


def data_shares(total: int, groups: int) -> list[int]:
    """Environments of the four sites: the last has a tenth of the others."""
    small = max(groups, total // 31 // groups * groups)
    return [10 * small] * 3 + [small]


class Judge:
    """Success of a vector at each site, over fresh episodes; compiled once."""

    def __init__(self, config: TrainConfig, trainer: SiteTrainer):
        self.env = mixed_env(config, 250)
        self._trainer, activation = trainer, config.ppo.activation

        def chunk(arrays: Any, logits: Any, carry: Any) -> Any:
            act = Policy(arrays, activation).act
            self.env._randomizer.logits = logits

            def one(carry: Any, _: None) -> Any:
                return control_period(self.env, carry, lambda s: self.env.step(s, act(s.obs)))

            return jax.lax.scan(one, carry, length=chunk_steps(self.env))

        self._chunk = jit(chunk)

    def __call__(self, vector: np.ndarray, site: int) -> float:
        learner = self._trainer._fresh.learner
        learner = with_arrays(learner, self._trainer.layout.unflatten(vector), 1.0)
        arrays, logits = (learner.params.actor, learner.normalizer), jnp.asarray(one_site(site))
        self.env._randomizer.logits = one_site(site)  # of the first episodes
        rows = play_episodes(self.env, functools.partial(self._chunk, arrays, logits), EPISODES, 1_000_000)
        return float(rows["success"].mean())


def one_site(site: int) -> np.ndarray:
    """Log-probabilities of one site alone."""
    return np.where(np.arange(len(SITES)) == site, 0.0, -np.inf).astype(np.float32)


def run(
    recipe: Recipe, configs: list[TrainConfig], trainers: list[SimulatedSite], judge: Judge, total: int
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
            curve.append(round(judge(vector, 1), 3))
            print(
                f"  iteration {done}/{total}: {curve[-1]:.1%} at the second site, norms {norms[-1]}",
                flush=True,
            )
    rates = [judge(vector if recipe.average else mine, site) for site, mine in enumerate(own)]
    return {
        "success": dict(zip(SITES, rates, strict=True)),
        "mean": float(np.average(rates, weights=[c.num_envs for c in configs])),
        "equal_mean": float(np.mean(rates)),
        "curve_second_site": curve,
        "update_norms": norms,
        "wall_s": round(time.monotonic() - begun, 1),
    }


def central(config: TrainConfig, configs: list[TrainConfig], judge: Judge, total: int) -> dict[str, Any]:
    """Training on the union: each episode is of a site, as often as the site has data."""
    begun = time.monotonic()
    shares = np.array([c.num_envs for c in configs], float)
    together = site_config(config, total, {"num_envs": int(shares.sum())})
    trainer = SimulatedSite(Program(together), np.log(shares / shares.sum()), config.seed)
    vector, _ = trainer.train(trainer.first_vector(), 0, total)
    rates = [judge(vector, site) for site in range(len(SITES))]
    return {
        "success": dict(zip(SITES, rates, strict=True)),
        "mean": float(np.average(rates, weights=shares)),
        "equal_mean": float(np.mean(rates)),
        "wall_s": round(time.monotonic() - begun, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
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
        configs = [site_config(config, options.iterations, {"num_envs": n, "seed": seed}) for n in shares]
        programs = {c.num_envs: Program(c) for c in {c.num_envs: c for c in configs}.values()}
        trainers = [
            SimulatedSite(programs[c.num_envs], one_site(i), 1000 * seed + i) for i, c in enumerate(configs)
        ]
        judge = Judge(configs[0], trainers[0])
        print(f"built {len(trainers)} sites of {shares} in {time.monotonic() - begun:.0f} s", flush=True)
        for name in options.recipes:
            recipe = RECIPES[name]
            found = (
                run(recipe, configs, trainers, judge, options.iterations)
                if recipe.local
                else central(config.model_copy(update={"seed": seed}), configs, judge, options.iterations)
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
