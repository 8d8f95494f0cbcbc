"""Wall time to 90 % success from reward alone: robolearn beside Stable-Baselines3, task and machine the same.

    python benchmarks/sb3.py [--tasks fr3/reach,fr3/pick_cube] [--patience 11] [--steps 16] [--envs 512]

Each run is a process of its own. Its clock starts before the environments are built and stands still while a policy
is judged: 256 fresh episodes without action noise, the task's own criterion and randomisation. Nobody imitates an
expert: robolearn runs with imitation_fraction=0. SB3 gets the same batched C engine behind one VecEnv (not a process
for each environment), observations normalised by VecNormalize, the networks, discount and sizes of robolearn's config,
and `patience` times the time that robolearn took. Its off-policy learner, SAC, gets a third of that time. robolearn and
PPO run twice: first everything is compiled, then the programs that the first run left on disk are loaded. Writes
docs/results/sb3.json, where tasks that are not run stay as they are, and docs/images/sb3.png.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import numpy as np

import robolearn
from robolearn.errors import MissingDependency
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.learner import policy_of
from robolearn.learn.train_config import train_config
from robolearn.show.plots import BLUE, GREEN, ORANGE, figure
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "sb3.json"
EPISODES, ASKED = 256, 0.9
ALONE = ["imitation_fraction=0"]
JUDGED_EVERY_S = 0.5  # of robolearn's clock
JUDGED_TIMES = 25  # at most, in the time that SB3 has

Curve = list[tuple[float, float]]  # seconds, success
Judge = Callable[[Callable[[Any], Any]], float]


class Clock:
    """Seconds since it was made, less those that were paused."""

    def __init__(self) -> None:
        self._begun, self._judged = time.perf_counter(), 0.0

    @property
    def now(self) -> float:
        return time.perf_counter() - self._begun - self._judged

    def judge(self, judge: Judge, act: Callable[[Any], Any]) -> float:
        """Success of a policy; the clock stands still meanwhile."""
        begun = time.perf_counter()
        success = judge(act)
        self._judged += time.perf_counter() - begun
        return success


def make_judge(task: str) -> Judge:
    """Counts successes of a policy, raw obs [N, D] -> action [N, A], in EPISODES fresh episodes."""
    env = robolearn.make(task, EPISODES)
    reset, step = jit(env.reset), jit(env.step)

    def judge(act: Callable[[Any], Any]) -> float:
        state, succeeded = reset(jax.random.key(1_000_000)), np.zeros(EPISODES, bool)
        ended = np.zeros(EPISODES, bool)
        for _ in range(env.episode_steps):
            state = step(state, act(state.obs))
            done = np.asarray(state.done)
            succeeded |= np.asarray(state.success) & done & ~ended
            ended |= done
        return float(succeeded.mean())

    return judge


def ours(task: str) -> Curve:
    """robolearn from reward alone, as `robolearn train` runs it, judged as it goes."""
    judge = make_judge(task)
    clock, curve, due = Clock(), [], 0.0
    config = train_config(task, None, ALONE)
    env = robolearn.make(task, config.num_envs, config.engine)
    mesh = data_mesh()
    state, stop = first_state(config, env, mesh), per_device(mesh, False)
    iterate = compiled(make_iteration(config, env, mesh).lower(state, stop))
    act = jax.jit(lambda arrays, obs: policy_of(config, state.learner)._replace(arrays=arrays).act(obs))
    for _ in range(config.iterations):
        state, metrics = iterate(state, stop)
        jax.block_until_ready(metrics)
        if clock.now >= due:
            arrays, now = policy_of(config, state.learner).arrays, clock.now
            curve.append((now, clock.judge(judge, lambda obs, arrays=arrays: act(arrays, obs))))
            due = clock.now + JUDGED_EVERY_S
    return curve


def make_ppo(task: str, options: argparse.Namespace) -> Any:
    """SB3's PPO on many environments."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn

    from robolearn.learn.sb3 import Sb3VecEnv

    config = train_config(task, None, ALONE).ppo
    layers = {"pi": list(config.actor_hidden), "vf": list(config.critic_hidden)}
    return PPO(
        "MlpPolicy", VecNormalize(Sb3VecEnv(task, options.envs), gamma=config.discount),
        n_steps=options.steps, batch_size=options.envs * options.steps // 16, n_epochs=4,
        learning_rate=1e-3, gamma=config.discount, target_kl=0.04, seed=0, device="cpu",
        policy_kwargs={"net_arch": layers, "activation_fn": nn.SiLU, "log_std_init": -0.5},
    )  # fmt: skip


def make_sac(task: str, options: argparse.Namespace) -> Any:
    """SB3's SAC with large batches: a gradient step for every 16 control steps."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import VecNormalize
    from torch import nn

    from robolearn.learn.sb3 import Sb3VecEnv

    del options
    config = train_config(task, None, ALONE).ppo
    layers = {"pi": list(config.actor_hidden), "qf": list(config.critic_hidden)}
    return SAC(
        "MlpPolicy", VecNormalize(Sb3VecEnv(task, 64), gamma=config.discount, norm_reward=False),
        batch_size=1024, train_freq=1, gradient_steps=4, learning_starts=2_000, learning_rate=1e-3,
        gamma=config.discount, ent_coef="auto_0.1", seed=0, device="cpu",
        policy_kwargs={"net_arch": layers, "activation_fn": nn.SiLU},
    )  # fmt: skip


def theirs(learner: str, task: str, options: argparse.Namespace, limit_s: float) -> Curve:
    """An SB3 learner on one VecEnv, judged as it goes, until it succeeds or limit_s is over."""
    from stable_baselines3.common.callbacks import BaseCallback

    from robolearn.learn.sb3 import sb3_actor

    judge, make = make_judge(task), LEARNERS[learner][1]
    clock, curve = Clock(), []

    class Judging(BaseCallback):
        due = 0.0

        def _on_step(self) -> bool:
            if clock.now >= self.due:
                now, act = clock.now, jax.jit(jax.vmap(sb3_actor(self.model)))
                curve.append((now, clock.judge(judge, act)))
                self.due = clock.now + limit_s / JUDGED_TIMES
            return clock.now < limit_s and (not curve or curve[-1][1] < ASKED)

    make(task, options).learn(1_000_000_000, callback=Judging())
    return curve


def reached(curve: Curve) -> float | None:
    """Seconds to the first judgement at or above what is asked."""
    return next((seconds for seconds, success in curve if success >= ASKED), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", default="fr3/reach,fr3/pick_cube")
    parser.add_argument("--patience", type=float, default=11.0, help="times robolearn's time for SB3")
    parser.add_argument("--envs", type=int, default=512)
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    try:
        import robolearn.learn.sb3  # noqa: F401
    except MissingDependency as error:
        sys.exit(str(error))
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for task in options.tasks.split(","):
        with tempfile.TemporaryDirectory() as programs:
            os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
            results[task] = {name: compare(task, name, options) for name in ("compiled", "loaded")}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    draw(results)


def compare(task: str, programs: str, options: argparse.Namespace) -> dict[str, Curve]:
    """The curves of one task. programs: whether they have to be `compiled` or are `loaded`."""
    curves = {"robolearn": apart(ours, task)}
    limit_s = options.patience * (reached(curves["robolearn"]) or curves["robolearn"][-1][0])
    for name, (label, _, share) in LEARNERS.items():
        if programs == "compiled" or name == "sb3_ppo":
            curves[name] = apart(theirs, name, task, options, share * limit_s)
            print(
                f"{task}, programs {programs}: {line(label, curves['robolearn'], curves[name])}", flush=True
            )
    return curves


def apart(run: Callable[..., Curve], *arguments: Any) -> Curve:
    """A run in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def draw(results: dict[str, dict[str, dict[str, Curve]]]) -> None:
    """The curves of each task, to docs/images/sb3.png."""
    made, axes = figure(len(results))
    for ax, (task, by_programs) in zip(axes, results.items(), strict=True):
        for (name, label), color in zip(LABELS.items(), (BLUE, ORANGE, GREEN), strict=True):
            for programs, curves in by_programs.items():
                if curve := curves.get(name):
                    title = label if programs == "compiled" else f"{label}, {programs}"
                    ax.plot(*zip(*curve, strict=True), DASHES[programs], color=color, label=title)
        ax.axhline(ASKED, color="#9aa0a8", linewidth=0.8, linestyle=":")
        ax.set(title=task, xlabel="wall time, s", xlim=(0, None), ylim=(-0.03, 1.03))
    axes[0].set_ylabel("success without noise")
    made.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    made.savefig(ROOT / "docs/images/sb3.png", dpi=130)


def line(label: str, mine: Curve, other: Curve) -> str:
    """What a person wants to know."""
    fast, slow = reached(mine), reached(other)
    if fast is None:
        return f"robolearn did not reach {ASKED:.0%} ({max(s for _, s in mine):.0%})"
    if slow is None:
        best = max(success for _, success in other)
        return (
            f"robolearn {fast:.1f} s; {label} not within {other[-1][0]:.0f} s (best {best:.0%}); "
            f"more than {other[-1][0] / fast:.1f} times"
        )
    return f"robolearn {fast:.1f} s; {label} {slow:.0f} s; {slow / fast:.1f} times"


# name: label, manufacturer, share of the patience
LEARNERS = {"sb3_ppo": ("SB3 PPO", make_ppo, 1.0), "sb3_sac": ("SB3 SAC", make_sac, 1 / 3)}
DASHES = {"compiled": "-", "loaded": "--"}
LABELS = {"robolearn": "robolearn"} | {name: label for name, (label, *_) in LEARNERS.items()}


if __name__ == "__main__":
    main()
