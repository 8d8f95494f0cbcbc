"""The out-of-distribution score: what it costs a decision, and which faults it sees.

Without a run: the time of a step of the exported graph with and without a score, FR3, reach and pick_cube, networks of
the packaged size. Limit: 20 us. With runs: faults of sensors and drives over fresh episodes of each.

    python benchmarks/ood.py [RUN ...] [--episodes 400]
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.stats import mannwhitneyu

from robolearn.config import merged
from robolearn.env.task import load_task
from robolearn.env.vec_env import VecEnv
from robolearn.learn.learner import empty_policy
from robolearn.learn.observations import EpisodeObservations
from robolearn.learn.run import open_run
from robolearn.learn.train_config import TrainConfig
from robolearn.policy.export import export_policy, random_inputs
from robolearn.policy.ood import OodModel
from robolearn.policy.runtime import PolicyRuntime
from robolearn.sim.jit import jit

LIMIT_US, STEPS, ROUNDS = 20.0, 2000, 7
FITTED, SEED = 1000, 77  # episodes that a run without an evaluation is fitted to


# -- what it costs --


def cost(task_name):
    """Median step of the same policy without and with a score, us, measured in turns."""
    task = load_task(task_name)
    size = _observation_size(task)
    policy = empty_policy(TrainConfig(task=task_name), {"obs": size, "action": task.action_size})
    factor = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    model = OodModel(np.zeros(size), np.ones(size), factor, 10.0, 0.01, 500, 500, 3.0)
    runtimes = []
    with tempfile.TemporaryDirectory() as folder:
        for name, ood in (("plain", None), ("scored", model)):
            path = Path(folder) / f"{name}.robolearn"
            key = Ed25519PrivateKey.generate()
            bundle = export_policy(
                task, policy.act, path, name=name, training={}, evaluation={}, signing_key=key, ood=ood
            )
            runtimes.append(PolicyRuntime(bundle))
    inputs = (*task.slots, *task.goal_slots)
    given = list(random_inputs(inputs, task.robot, 50, 0))
    for runtime in runtimes:
        runtime.restore({slot.name: np.zeros(slot.shape) for slot in task.memory_slots})
    times = np.array([[_median_us(runtime, given) for runtime in runtimes] for _ in range(ROUNDS)])
    plain, scored = np.median(times, 0)
    return size, plain, scored, float(np.median(times[:, 1] - times[:, 0]))


def _observation_size(task):
    values = {slot.name: jnp.zeros(slot.shape) for slot in (*task.slots, *task.goal_slots)}
    memory = task.action.start(jnp.zeros(task.robot.dof), jnp.zeros(1))
    return jax.eval_shape(lambda v: task.observe(v, memory, v), values).shape[0]


def _median_us(runtime, given):
    taken = np.empty(STEPS)
    for i in range(STEPS):
        values = given[i % len(given)]
        began = time.perf_counter_ns()
        runtime.step(values)
        taken[i] = time.perf_counter_ns() - began
    return np.median(taken) / 1e3


# -- what it sees --


Fault = Callable[[dict[str, Any], Any], tuple[dict[str, Any], Any]]


def _swapped(r: dict[str, Any], memory: Any) -> tuple[dict[str, Any], Any]:
    """States and commands alike, so that nothing but posture and motion tells."""
    order = jnp.arange(r["joint_position"].shape[0]).at[jnp.array([1, 3])].set(jnp.array([3, 1]))
    given = {name: r[name][order] for name in ("joint_position", "joint_velocity")}
    names = ("command_position", "command_velocity")
    return r | given, memory._replace(**{name: getattr(memory, name)[order] for name in names})


def _off(r: dict[str, Any], memory: Any) -> tuple[dict[str, Any], Any]:
    """A joint whose zero is wrong, for the servo as well: what was commanded is off by as much."""
    moved = r["joint_position"].at[3].add(0.15)
    return r | {"joint_position": moved}, memory._replace(
        command_position=memory.command_position.at[3].add(0.15)
    )


def _of(name: str, change: Callable[[Any], Any]) -> Fault:
    """A fault of one measured slot alone."""
    return lambda r, memory: (r | {name: change(r[name])}, memory)


WEAK = {"randomization": {"actuator_gain_scale": [0.5, 0.5]}}
FAULTS: dict[str, tuple[Fault, dict[str, Any]]] = {
    "none: fresh episodes": (lambda r, memory: (r, memory), {}),
    "velocities stuck at 0": (_of("joint_velocity", lambda v: 0 * v), {}),
    "velocities times 3": (_of("joint_velocity", lambda v: 3 * v), {}),
    "sign of joint 4's velocity": (_of("joint_velocity", lambda v: v.at[3].multiply(-1)), {}),
    "joints 2 and 4 swapped": (_swapped, {}),
    "joint 4 off by 0.15 rad, servo too": (_off, {}),
    "joint 4 measured off by 0.15 rad": (_of("joint_position", lambda q: q.at[3].add(0.15)), {}),
    "drives at half their strength": (lambda r, memory: (r, memory), WEAK),
    "cube 0.25 m aside": (_of("cube_position", lambda p: p + jnp.array([0.0, 0.25, 0.0])), {}),
}


def sees(run_dir, episodes):
    """One line for each fault."""
    run = open_run(run_dir)
    names = [name for name in FAULTS if "cube" not in name or _has_cube(run)]
    usual = Player(run, {}, [FAULTS[name][0] for name in names])
    model = run.ood()
    if model is None:
        observations = EpisodeObservations()
        for seed in range(1, 1 + -(-FITTED // episodes)):  # as an evaluation does, in batches of one program
            usual.play(0, episodes, seed, observations.push)
        model = observations.fit(run.env.episode_steps / run.env.control_hz)
    assert model is not None, "too few episodes for a score"
    print(
        f"{run_dir}: {len(model.mean)} entries, threshold {model.threshold:.2f} from {model.held_out_episodes} "
        f"held-out episodes of {model.episode_s:g} s, {model.false_alarm_rate:g} of them above it",
        flush=True,
    )
    healthy = None
    for number, name in enumerate(names):
        fault, config = FAULTS[name]
        player = Player(run, config, [fault]) if config else usual
        scores = _scores(player, 0 if config else number, episodes, model)
        largest = scores.max(0)
        healthy = largest if healthy is None else healthy
        found = largest > 1
        first_s = np.argmax(scores > 1, axis=0)[found] / run.env.control_hz
        when = f"after {np.median(first_s):.2f} s (median)" if found.any() else ""
        auroc = mannwhitneyu(largest, healthy).statistic / len(healthy) / len(largest)
        print(
            f"  {name:34} found in {100 * found.mean():5.1f} % of {episodes} episodes, AUROC {auroc:.2f} {when}",
            flush=True,
        )


def _has_cube(run):
    return "cube_position" in {slot.name for slot in run.env.task.slots}


def _scores(player, fault, episodes, model):
    """[T, E], 0 once an episode has ended."""
    kept = []

    def keep(observed, done, episodes):
        running = np.cumsum(done, 0) - done == 0
        kept.append(np.where(running, model.score(observed), 0.0)[:, :episodes])

    player.play(fault, episodes, SEED, keep)
    return np.concatenate(kept)


class Player:
    """A run's policy in episodes with one of several faults in what it is given: one program for all of them."""

    def __init__(self, run: Any, config: dict[str, Any], faults: list[Fault]):
        self._run, self._config, self._faults = run, config, faults
        self._programs: dict[int, Any] = {}

    def play(self, fault: int, episodes: int, seed: int, take: Callable[[Any, Any, int], None]) -> None:
        """The first episode of some environments; take: observed, done, count."""
        if episodes not in self._programs:
            self._programs[episodes] = self._program(episodes)
        observed, done = self._programs[episodes](jax.random.key(seed), fault)
        take(np.asarray(observed), np.asarray(done), episodes)

    def _program(self, episodes: int) -> Any:
        run = self._run
        task = copy.copy(load_task(run.config.task, merged(run.config.env, self._config)))
        plain, act = task.observe, run.actor()

        def play(key, fault):
            def observe(readings, memory, goal):
                return plain(*jax.lax.switch(fault, self._faults, dict(readings), memory), goal)

            def step(state, _):
                after = env.step(state, act(state.obs))
                return after, (state.obs, after.done)

            task.observe = observe
            return jax.lax.scan(step, env.reset(key), length=env.episode_steps)[1]

        env = VecEnv(task, episodes, run.config.engine)
        return jit(play)


def main():
    """Print cost, then power."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders of runs, for what the score sees")
    parser.add_argument("--episodes", type=int, default=400, help="of each fault")
    options = parser.parse_args()
    slow = False
    for name in ("fr3/reach", "fr3/pick_cube"):
        size, plain, scored, added = cost(name)
        slow |= added > LIMIT_US
        print(
            f"{name}: a step takes {plain:.1f} us, with a score of {size} entries {scored:.1f} us: {added:+.1f} us, "
            f"{scored / plain:.2f} times as long (limit {LIMIT_US:g} us)",
            flush=True,
        )
    for run in options.runs:
        sees(run, options.episodes)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
