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

from benchmarks.federated_tables import read_results, with_run, write_page
from robolearn.config import merged
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv, make
from robolearn.fleet.aggregate import Rule, ServerStep, combine
from robolearn.fleet.local import SiteTrainer, site_config, with_arrays
from robolearn.learn.distributed import data_mesh
from robolearn.learn.groups import AXIS
from robolearn.learn.iteration import iteration
from robolearn.learn.learner import Policy, TrainState, init_learner
from robolearn.learn.normalize import update_normalizer
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit
from robolearn.sim.randomize import Randomizer

ROOT = Path(__file__).parent.parent
EPISODES = 256  # at each site
CLIP = 5.0  # of the recipes with noise: norm of an update
UNFINISHED = 3  # exit status after --stop-after

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
    """One way to average. local: iterations of a site in a round. `central` is one site with the data of all.

    common: normalisers stay common after imitation (`SiteTrainer.common_statistics`). imitation: fraction of the
    training that imitates; the task's own without. clip, noise: norm bound of an update, and standard deviation of the
    noise on the sum of the sites' updates over that bound.
    personal: parts of the vector that west, which differs most, keeps for itself. new_episodes: each round begins with
    new episodes, instead of going on where the last one ended.
    """

    local: int
    keep_adam: bool = True
    weights: str = "data"  # or "equal"
    momentum: float = 0.0
    restart: bool = False  # the schedule begins anew in each round, as in a plain loop of short trainings
    rule: Rule = "mean"
    average: bool = True  # False: every site for itself
    common: bool = True
    imitation: float | None = None
    clip: float = 1e9
    noise: float = 0.0
    personal: tuple[str, ...] = ()
    new_episodes: bool = False


RECIPES = {
    "central": Recipe(4),
    "alone": Recipe(4, average=False),
    "restarted": Recipe(8, keep_adam=False, restart=True),
    "averaged-4": Recipe(4, weights="equal", common=False),
    "averaged-data-4": Recipe(4, common=False),
    "averaged-8": Recipe(8, weights="equal", common=False),
    "fresh-4": Recipe(4, weights="equal", keep_adam=False),
    "equal-2": Recipe(2, weights="equal"),
    "equal-4": Recipe(4, weights="equal"),
    "equal-8": Recipe(8, weights="equal"),
    "data-4": Recipe(4),
    "momentum-4": Recipe(4, weights="equal", momentum=0.5),
    "median-4": Recipe(4, weights="equal", rule="median"),
    "new-episodes-central": Recipe(4, new_episodes=True),
    "new-episodes-averaged-data-4": Recipe(4, common=False, new_episodes=True),
    "new-episodes-averaged-4": Recipe(4, weights="equal", common=False, new_episodes=True),
    "new-episodes-4": Recipe(4, weights="equal", new_episodes=True),
    "personal-4": Recipe(4, weights="equal", personal=("actor/3",)),
    "imitation-central": Recipe(4, imitation=1.0),
    "imitation-4": Recipe(4, weights="equal", imitation=1.0),
    **{f"noise-{z}": Recipe(4, weights="equal", clip=CLIP, noise=z) for z in (0.0, 0.003, 0.01, 0.03, 0.1)},
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
        begin = jit(lambda key: init_learner(config, self.env, key), quick=True)
        self.learner_of = functools.cache(lambda seed: begin(jax.random.key(seed)))
        learner = self.learner_of(0)

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


class SimulatedSite(SiteTrainer):
    """A SiteTrainer that shares a program. seed: of the initial parameters; number: of the site, for its own draws."""

    def __init__(self, program: Program, logits: np.ndarray, seed: int, number: int):
        self.program, self.logits, self.config = program, jnp.asarray(logits, jnp.float32), program.config
        self.env, self._mesh, self._key = program.env, program.mesh, jax.random.key(1000 * seed + number)
        self._learner = program.learner_of(seed)._replace(key=self._key)
        self.keep_adam, self.keep_env, self.compile_now, self.common_statistics = True, True, False, True
        self.personal: tuple[str, ...] = ()
        self._step = lambda state, _: program.iterate(*state, self.logits)
        self._state = self._fresh = self._episodes(-1)

    def _episodes(self, iteration: int) -> TrainState:
        keys = jax.random.split(jax.random.fold_in(self._key, iteration + 1), self.config.num_envs)
        return self.program.first(self._learner, keys, self.logits)


def data_shares(total: int, groups: int) -> list[int]:
    """Environments of the four sites: the last has a tenth of the others."""
    small = max(groups, total // 31 // groups * groups)
    return [10 * small] * 3 + [small]


class Judge:
    """Success of a vector at each site, over the first episode of each of EPISODES environments; compiled once."""

    def __init__(self, config: TrainConfig, trainer: SiteTrainer):
        self.env = mixed_env(config, EPISODES)
        self._trainer, activation = trainer, config.ppo.activation

        def play(arrays: Any, keys: Any, logits: Any) -> Any:
            self.env._randomizer.logits = logits
            act = Policy(arrays, activation).act

            def one(carry: Any, _: None) -> Any:
                state, ended, success = carry
                after = self.env.step(state, act(state.obs))
                first = after.done & ~ended
                return (after, ended | after.done, success | (first & after.success)), None

            no = jnp.zeros(EPISODES, bool)
            start = (self.env.reset(keys), no, no)
            (_, ended, success), _ = jax.lax.scan(one, start, length=self.env.episode_steps)
            return ended.all(), success.mean()

        first = self._arrays(trainer.first_vector())
        self._play = compiled(jit(play).lower(first, self._keys(0), trainer.logits))

    def _keys(self, site: int) -> jax.Array:
        """Of the episodes of one site: the engine takes equal keys for equal draws."""
        return jax.random.split(jax.random.fold_in(jax.random.key(1_000_000), site), EPISODES)

    def _arrays(self, vector: np.ndarray) -> Any:
        learner = self._trainer._fresh.learner
        learner = with_arrays(learner, self._trainer.layout.unflatten(vector), 1.0)
        return learner.params.actor, learner.normalizer

    def __call__(self, vector: np.ndarray, site: int) -> float:
        ended, rate = self._play(self._arrays(vector), self._keys(site), jnp.asarray(one_site(site)))
        assert bool(ended)
        return float(rate)


def one_site(site: int) -> np.ndarray:
    """Log-probabilities of one site alone."""
    return np.where(np.arange(len(SITES)) == site, 0.0, -np.inf).astype(np.float32)


def run(
    recipe: Recipe,
    weights: np.ndarray,
    trainers: list[SimulatedSite],
    total: int,
    state: Path,
    until_s: float,
) -> tuple[list[np.ndarray], list[list[float]]] | None:
    """One training of `total` iterations: each site's last vector, and the norms of the updates.

    Goes on where an earlier call stopped (state), and stops at until_s of time.monotonic(), which gives None.
    """
    vector, server, done = trainers[0].first_vector(), ServerStep(momentum=recipe.momentum), 0
    own, norms = [vector] * len(trainers), []
    for trainer in trainers:
        trainer._state, trainer.keep_adam = trainer._fresh, recipe.keep_adam
        trainer.common_statistics, trainer.keep_env = recipe.common, not recipe.new_episodes
    trainers[-1].personal = recipe.personal
    if state.is_file():
        with np.load(state) as kept:
            done, vector, own, norms = (
                int(kept["done"]),
                kept["vector"],
                list(kept["own"]),
                kept["norms"].tolist(),
            )
            server.velocity = kept["velocity"] if recipe.momentum else None
            for i, trainer in enumerate(trainers):
                start = f"kept/{i}/"
                trainer.restore({name[len(start) :]: kept[name] for name in kept if name.startswith(start)})
    while done < total:
        if time.monotonic() > until_s:
            return None
        count = min(recipe.local, total - done)
        begun = time.monotonic()
        found = [
            trainer.train(vector if recipe.average else mine, 0 if recipe.restart else done, count)
            for trainer, mine in zip(trainers, own, strict=True)
        ]
        own, done = [new for new, _ in found], done + count
        if recipe.average:
            updates = np.stack([new - vector for new in own])
            norms.append([float(np.linalg.norm(update)) for update in updates])
            update = combine(recipe.rule, updates, norm_max=recipe.clip, weights=weights)
            noise = np.random.default_rng([done, len(own)]).normal(size=len(update))
            update = update + recipe.noise * recipe.clip / len(own) * noise
            vector = server.apply(vector, update)
            own = [vector] * len(trainers)
        rates = [round(metrics["success"], 3) for _, metrics in found]
        print(
            f"  {done}/{total} iterations: {rates} while training, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
        kept = {f"kept/{i}/{name}": x for i, one in enumerate(trainers) for name, x in one.kept().items()}
        if recipe.momentum:
            kept["velocity"] = server.velocity
        state.parent.mkdir(parents=True, exist_ok=True)
        np.savez(state, done=done, vector=vector, own=np.stack(own), norms=np.array(norms), **kept)
    return own, norms


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", nargs="?", default="fr3/reach")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--iterations", type=int, default=32)
    parser.add_argument("--envs", type=int, default=496)
    parser.add_argument("--recipes", nargs="*", choices=sorted(RECIPES), default=list(RECIPES))
    parser.add_argument(
        "--stop-after",
        type=float,
        default=1e9,
        help="seconds; then exit status 3, and the same command continues",
    )
    parser.add_argument("--table", action="store_true", help="only write the page's table from the results")
    options = parser.parse_args()
    if options.table:
        write_page()
        return 0
    until_s = time.monotonic() + options.stop_after
    config = train_config(options.task)
    shares = data_shares(options.envs, config.groups)
    weights = np.array(shares, float)
    programs: dict[tuple[int, float | None], Program] = {}

    def site(
        num_envs: int, logits: np.ndarray, seed: int, number: int, imitation: float | None
    ) -> SimulatedSite:
        if (kind := (num_envs, imitation)) not in programs:
            changes: dict[str, Any] = {"num_envs": num_envs}
            if imitation is not None:
                changes["imitation_fraction"] = imitation
            programs[kind] = Program(site_config(config, options.iterations, changes))
        return SimulatedSite(programs[kind], logits, seed, number)

    judge = None
    for seed in options.seeds:
        for name in options.recipes:
            recipe, key = (
                RECIPES[name],
                f"{options.task} {options.iterations}x{sum(shares)} {name} seed {seed}",
            )
            if key in read_results()["runs"]:
                continue
            if central := name.endswith("central"):
                union = np.log(weights / weights.sum()).astype(np.float32)
                trainers = [site(sum(shares), union, seed, 9, recipe.imitation)]
            else:
                trainers = [site(n, one_site(i), seed, i, recipe.imitation) for i, n in enumerate(shares)]
            used = weights if recipe.weights == "data" and not central else np.ones(len(trainers))
            state = ROOT / "runs" / "federated" / f"{key.replace('/', '-').replace(' ', '_')}.npz"
            print(f"{key}: ready after {time.monotonic() - until_s + options.stop_after:.0f} s", flush=True)
            found = run(recipe, used, trainers, options.iterations, state, until_s)
            if found is None:
                return UNFINISHED
            judge = judge or Judge(config, trainers[0])
            own, norms = found
            own = [trainers[i % len(own)].own_policy(own[i % len(own)]) for i in range(len(SITES))]
            rates = [judge(own[i], i) for i in range(len(SITES))]
            result = {
                "recipe": asdict(recipe),
                "envs": shares,
                "success": dict(zip(SITES, rates, strict=True)),
                "mean": float(np.mean(rates)),
                "update_norms": np.round(norms, 3).tolist(),
            }
            print(key, json.dumps(result["success"]), f"mean {result['mean']:.3f}", flush=True)
            with_run(key, result, SITES, EPISODES)
            write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
