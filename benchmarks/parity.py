"""Two engines over two seconds of the same task, as statistics: rounding parts single motions, but not their averages.

    python -m benchmarks.parity [--tasks fr3/push ...] [--engines warp jax] [--envs 32] [--seconds 2] [--out FILE]

Every engine plays the task's expert from the same starts, with the same drawn physics. After each control period the
engine itself says with what its constraints push: on the objects of the scene, in N, or on the arm's joints, in Nm,
where the task has none. Steps of single motions are compared in `tests/sim/test_engines.py`, over a twentieth of that.
What is found goes into the file of --out (docs/results/parity.json), from which the reference's table is made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from scipy.stats import t as student

import robolearn
from benchmarks.gpu_physics import holding
from robolearn.env.task import task_names
from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.files.writing import replace_file
from robolearn.sim.jit import jit
from robolearn.sim.mjx import MjxPhysics, _with

# How far the means of two engines may be apart: chosen. Whether they are is derived: see `parted`.
SUCCESS_APART = 0.10  # share of the environments
FORCE_APART = 0.10  # of native's mean
FORCE_APART_LEAST = 0.2  # N or Nm, whichever is more
MOVED_APART_M = 0.005  # or rad, or a tenth of native's mean, whichever is more


class Played(NamedTuple):
    """What one engine made of it, by environment, [N]. achieved: the goal was met at some time. force: mean over time
    of what constraints push with, N or Nm. moved: from start to end, m or rad. failed, overflow: bool.
    """

    achieved: np.ndarray
    force: np.ndarray
    moved: np.ndarray
    failed: np.ndarray
    overflow: np.ndarray


class Parted(NamedTuple):
    """Two engines beside each other. native, other: means. difference: the 95 % interval of other - native. wrong: what
    does not agree. open: what may or may not, since the interval reaches beyond what is allowed.
    """

    native: dict[str, float]
    other: dict[str, float]
    difference: dict[str, tuple[float, float]]
    wrong: tuple[str, ...]
    open: tuple[str, ...]

    def verdict(self) -> str:
        """In a few words."""
        if self.wrong:
            return "; ".join(self.wrong)
        return f"not decided: {', '.join(self.open)}" if self.open else "agrees"


def play(task: str, engine: str, num_envs: int, periods: int, key: jax.Array | None = None) -> Played:
    """An engine's episodes under the task's expert (a slow wave where it has none), native's starts for all."""
    first = robolearn.make(task, num_envs, "native", {"randomization": {"observation_drop": 0.0}})
    state = jit(first.reset, quick=True)(jax.random.key(3) if key is None else key)
    env = first
    if engine != "native":
        env = robolearn.make(task, num_envs, engine, {"randomization": {"observation_drop": 0.0}})
        derived = jit(env.reset, quick=True)(jax.random.key(3) if key is None else key).fields
        state = state.replace(fields=derived)
    # a hundred calls: on a CPU most of the time would go into compiling them well
    step, act, pushes = jit(env.step, quick=True), jit(_actions(env), quick=True), _force(env)
    dofs, places = moving(env.model)
    start = np.asarray(state.physics.qpos[:, places])
    achieved, failed, overflow = (np.zeros(num_envs, bool) for _ in range(3))
    force, moved = np.zeros(num_envs), np.zeros(num_envs)
    for period in range(periods):
        state = step(state, act(state, period))
        metrics = state.metrics
        ended = np.asarray(
            state.done
        )  # none but by a failure, in so short a time: the rest of it is not looked at
        failed |= np.asarray(metrics["physics_failed"]) > 0
        overflow |= np.asarray(metrics["overflow"]) > 0
        achieved |= np.asarray(state.held) > 0
        here = ~ended & ~failed
        force += np.where(here, np.linalg.norm(pushes(state)[:, dofs], axis=1), 0.0) / periods
        moved = np.where(
            here, np.linalg.norm(np.asarray(state.physics.qpos[:, places]) - start, axis=1), moved
        )
    return Played(achieved, force, moved, failed, overflow)


def _actions(env: VecEnv) -> Any:
    """(state, period) -> actions [N, A] of the task's expert, or of a wave in every joint."""

    def expert(state: EnvState, period: Any) -> jax.Array:
        del period
        return env.expert(state)

    def wave(state: EnvState, period: Any) -> jax.Array:
        del state
        phase = jnp.arange(env.action_size) + 0.1 * jnp.asarray(period, jnp.float32)
        return jnp.broadcast_to(0.5 * jnp.sin(phase), (env.num_envs, env.action_size))

    try:
        jax.eval_shape(env.expert, jax.eval_shape(env.reset, jax.random.key(0)))
    except robolearn.errors.TaskError:
        return wave
    return expert


def moving(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of freedom and places in qpos: of the free joints' positions, else of a drawer, else of the arm."""
    free = np.flatnonzero(model.jnt_type == mujoco.mjtJoint.mjJNT_FREE)
    if free.size:
        dofs = [model.jnt_dofadr[j] + i for j in free for i in range(3)]
        return np.array(dofs), np.array([model.jnt_qposadr[j] + i for j in free for i in range(3)])
    names = [model.joint(j).name for j in range(model.njnt)]
    chosen = [names.index("drawer")] if "drawer" in names else [*range(names.index("gripper_left"))]
    return model.jnt_dofadr[chosen], model.jnt_qposadr[chosen]


def _force(env: VecEnv) -> Any:
    """state -> what the engine's constraints push with at that state, its targets held, [N, nv] in N and Nm."""
    physics = env.physics
    if isinstance(physics, MjxPhysics):

        def one(state: Any, fields: Any, ctrl: Any) -> jax.Array:
            data = physics._load(state).replace(ctrl=ctrl)
            return physics.forward(_with(physics._model, fields), data).qfrc_constraint

        def forward(state: EnvState) -> jax.Array:
            return jax.vmap(one)(state.physics, state.fields, holding(env, state)[:, -1])

        return _numpy(jit(forward, quick=True))
    batch, held = physics._batch, jit(lambda state: holding(env, state)[:, -1], quick=True)
    pushes, ctrl = batch.bind("qfrc_constraint"), batch.bind("ctrl")

    def native(state: EnvState) -> np.ndarray:
        ctrl[:] = held(state)  # the batch has the state and the model of the step just made
        batch.forward()
        return pushes.copy()

    return native


def _numpy(function: Any) -> Any:
    return lambda state: np.asarray(function(state))


def parted(native: Played, other: Played) -> Parted:
    """Both engines, environment by environment: starts and draws are the same, so differences are paired."""
    means, others = _means(native), _means(other)
    limits = {
        "achieved": SUCCESS_APART,
        "force": max(FORCE_APART * means["force"], FORCE_APART_LEAST),
        "moved": max(0.1 * means["moved"], MOVED_APART_M),
    }
    difference, wrong, undecided = {}, [], []
    for name, limit in limits.items():
        low, high = difference[name] = interval(getattr(native, name), getattr(other, name))
        if not (low <= limit and high >= -limit):
            wrong.append(
                f"{name}: {low:+.3g} to {high:+.3g} from native's {means[name]:.4g}, {limit:.3g} allowed"
            )
        elif not (-limit <= low and high <= limit):
            undecided.append(name)
    wrong += [f"{name} in {int(getattr(other, name).sum())} environments" for name in ("failed", "overflow")
              if getattr(other, name).any()]  # fmt: skip
    return Parted(means, others, difference, tuple(wrong), tuple(undecided))


def interval(native: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of other - native, [N] each: Student's t of the paired differences."""
    apart = np.asarray(other, float) - np.asarray(native, float)
    half = student.ppf(0.975, apart.size - 1) * apart.std(ddof=1) / np.sqrt(apart.size)
    return float(apart.mean() - half), float(apart.mean() + half)


def _means(played: Played) -> dict[str, float]:
    return {name: float(np.mean(getattr(played, name))) for name in ("achieved", "force", "moved")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="*", default=[t for t in task_names() if t.startswith("fr3/")])
    parser.add_argument("--engines", nargs="*", default=["warp"])
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep what is found, beside what is there")
    options = parser.parse_args()
    for task in options.tasks:
        periods = round(options.seconds * 50)
        native = play(task, "native", options.envs, periods)
        print(f"{task:18s} native {_means(native)}", flush=True)
        for engine in options.engines:
            found = parted(native, play(task, engine, options.envs, periods))
            print(f"{'':18s} {engine:6s} {found.other} {found.verdict()}", flush=True)
            if options.out:
                keep(options.out, f"{task} {engine} {options.envs} {options.seconds:g}", found, options)


def keep(out: Path, name: str, found: Parted, options: argparse.Namespace) -> None:
    """Put what was found under its name into a JSON file."""
    known = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    known[name] = {"envs": options.envs, "seconds": options.seconds, **found._asdict()}
    replace_file(out, json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
