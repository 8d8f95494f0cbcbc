"""The parts of `benchmarks/gpu.py`, each in a process of its own. Every value is on disk as soon as it is known."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import robolearn
from benchmarks import parity
from benchmarks.gpu_physics import bare_warp, engine_steps, holding, starts
from benchmarks.gpu_trace import device_time
from robolearn.errors import MissingDependency
from robolearn.files.writing import replace_file
from robolearn.learn.distributed import data_mesh, first_state, per_device
from robolearn.learn.iteration import make_iteration
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.learn.trainer import Silent, train
from robolearn.sim.jit import jit
from robolearn.sim.mjx import GRAPH_MODES, MjxPhysics

PACKAGES = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "warp-lang", "flax", "optax", "numpy")
TASKS = ("fr3/pick_cube", "fr3/reach", "fr3/peg_insert")


class Sizes(NamedTuple):
    """How much is done. scale: of the packaged config's environments and steps in the learning parts."""

    steps: tuple[int, ...]
    train: int
    memory: tuple[int, ...]
    agree: int
    agree_s: float
    scale: int
    seconds: float


FULL = Sizes((1024, 2048, 4096, 8192, 16384, 32768), 8192, (1024, 4096, 16384), 256, 2.0, 8, 1.5)
SMALL = Sizes((4,), 16, (8,), 4, 0.1, 1, 0.2)


class Found:
    """What a part has found so far, and where it is written."""

    def __init__(self, path: Path):
        self._path, self._values = path, {}

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value
        replace_file(self._path, json.dumps(self._values))

    def add(self, name: str, key: str, value: Any) -> None:
        """Put value under `name`, in a table, as `key`."""
        self[name] = {**self._values.get(name, {}), key: value}


def run_part(name: str, path: Path, engine: str, *, small: bool) -> None:
    """Run one part of `benchmarks.gpu.PARTS`; what it finds goes into the file."""
    kind, _, task = name.partition("_")
    found, sizes = Found(path), SMALL if small else FULL
    if not task:
        _WHOLE[kind](found, engine, sizes)
        return
    expert = not task.endswith("_alone")
    task = f"fr3/{task.removesuffix('_alone')}"
    if kind == "train":
        training(found, engine, sizes, task)
    else:
        learning(found, engine, sizes, task, expert=expert)


def device(found: Found, engine: str, sizes: Sizes) -> None:
    """What it all runs on."""
    del engine, sizes
    first = jax.devices()[0]
    found["platform"], found["kind"], found["count"] = first.platform, first.device_kind, jax.device_count()
    found["versions"] = {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()}
    found["memory_bytes"] = (first.memory_stats() or {}).get("bytes_limit")
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.total,power.limit",
        "--format=csv,noheader",
    ]
    try:
        found["nvidia_smi"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        found["nvidia_smi"] = f"none: {error}"


def kernels(found: Found, engine: str, sizes: Sizes) -> None:
    """Seconds from nothing to a step of each task; warp keeps its kernels, so that the other parts find them.

    kept: there were kernels of a run before, and less was compiled here.
    """
    cache = Path(os.environ.get("WARP_CACHE_PATH", "none"))
    found["kept"] = cache.is_dir() and any(cache.iterdir())
    for task in _tasks(sizes):
        begun = time.perf_counter()
        env = robolearn.make(task, sizes.steps[0], engine)
        found.add("build_s", task, time.perf_counter() - begun)
        state, ctrl = starts(env)
        engine_steps(env.physics, state, ctrl, {}, seconds=0.0)
        found.add("build_compile_and_step_s", task, time.perf_counter() - begun)


def steps(found: Found, engine: str, sizes: Sizes) -> None:
    """Physics steps/s of pick_cube: bare mujoco_warp, our engine with one model for all, and with drawn ones."""
    env = robolearn.make(TASKS[0], sizes.steps[-1], engine)
    state, ctrl = starts(env)
    found["task"], found["substeps"] = TASKS[0], env.task.substeps
    for count in sizes.steps:
        few = jax.tree.map(lambda x, n=count: x[:n], state)
        physics = _engine(env.model, count, engine, env.task.room)
        row: dict[str, Any] = {}
        for name, fields in (("engine", {}), ("engine_drawn", few.fields)):
            timed = engine_steps(physics, few, ctrl[:count], fields, seconds=sizes.seconds)
            row |= {f"{name}_per_s": timed.rate, f"{name}_compile_s": timed.compile_s}
            found.add("by_num_envs", str(count), dict(row))
        row["peak_bytes"] = _peak()
        try:
            bare = bare_warp(env.model, env.task.room, few, ctrl[:count], seconds=sizes.seconds)
            row |= {"bare_per_s": bare.rate, "engine_per_bare": row["engine_per_s"] / bare.rate}
        except MissingDependency as error:
            row["bare_why_not"] = str(error)
        found.add("by_num_envs", str(count), dict(row))


def graphs(found: Found, engine: str, sizes: Sizes) -> None:
    """Our engine's physics steps/s by the way that warp makes CUDA graphs."""
    if engine != "warp" or jax.default_backend() == "cpu":
        found["why_not"] = "CUDA graphs are of the warp engine on a GPU"
        return
    env = robolearn.make(TASKS[0], sizes.train, engine)
    state, ctrl = starts(env)
    for mode in GRAPH_MODES:
        physics = MjxPhysics(env.model, sizes.train, engine, env.task.room, mode)
        try:
            rate = engine_steps(physics, state, ctrl, state.fields, seconds=sizes.seconds).rate
        except Exception as error:  # a mode that fails says so, and the others are still tried
            found.add("failed", mode, str(error)[:300])
            continue
        found.add("engine_drawn_per_s", mode, rate)


def agreement(found: Found, engine: str, sizes: Sizes) -> None:
    """Statistics of the engine beside native's, see `benchmarks/parity.py`."""
    periods = max(1, round(sizes.agree_s * 50))
    for task in _tasks(sizes):
        native = parity.play(task, "native", sizes.agree, periods)
        parted = parity.parted(native, parity.play(task, engine, sizes.agree, periods))
        found.add("by_task", task, parted._asdict())
    found["num_envs"], found["seconds"] = sizes.agree, sizes.agree_s


def training(found: Found, engine: str, sizes: Sizes, task: str) -> None:
    """Control steps/s of whole iterations; then where the time goes: on the device, by operation, and by what is left
    out (no learning: random actions; nothing but physics)."""
    config = _sized(task, engine, sizes.train)
    begun = time.perf_counter()
    env = robolearn.make(config.task, config.num_envs, config.engine, config.env)
    mesh = data_mesh()
    state, stop = first_state(config, env, mesh), per_device(mesh, False)
    found["num_envs"], found["start_s"] = config.num_envs, time.perf_counter() - begun
    begun = time.perf_counter()
    iterate = make_iteration(config, env, mesh).lower(state, stop).compile()
    found["compile_s"], found["program_bytes"] = time.perf_counter() - begun, memory_of(iterate)

    def iteration() -> None:
        nonlocal state
        state, metrics = iterate(state, stop)
        jax.block_until_ready(metrics)

    took = _median_s(iteration, sizes.seconds * 4)
    found["iteration_s"], found["control_steps_per_s"] = took, config.steps_per_iteration / took
    found["peak_bytes"] = _peak()
    found["device_time"] = device_time(iteration)
    horizon = config.ppo.rollout_steps
    actions = jax.random.uniform(jax.random.key(1), (horizon, env.num_envs, env.action_size), minval=-1.0)

    def roll(state: Any, actions: Any) -> Any:
        return jax.lax.scan(lambda state, action: (env.step(state, action), None), state, actions)[0]

    env_state, rolled = state.env, jit(roll)
    took = _median_s(lambda: jax.block_until_ready(rolled(env_state, actions)), sizes.seconds)
    found["environments_alone_s"] = took
    ctrl = jit(lambda state: holding(env, state), quick=True)(env_state)
    timed = engine_steps(env.physics, env_state, ctrl, env_state.fields, seconds=sizes.seconds)
    found["physics_alone_s"] = horizon * env.num_envs * env.task.substeps / timed.rate


def learning(found: Found, engine: str, sizes: Sizes, task: str, *, expert: bool) -> None:
    """Wall time until 90 % and 99 % of the episodes that end succeed, action noise included."""
    plain = train_config(task)
    scale = {"num_envs": plain.num_envs * sizes.scale, "total_steps": plain.total_steps * sizes.scale}
    if sizes is SMALL:
        scale = {"num_envs": 16, "total_steps": 512, "groups": 2, "ppo.minibatches": 4}
    changes = [f"{name}={value}" for name, value in scale.items()] + [f"engine={engine}"]
    config = train_config(task, None, changes + ([] if expert else ["imitation_fraction=0.0"]))
    watch = _Watch(found, env_share=config.num_envs // 8)
    found["num_envs"], found["total_steps"] = config.num_envs, config.total_steps
    with tempfile.TemporaryDirectory() as folder:
        run = train(config, Path(folder) / "run", progress=watch, stop=lambda: watch.done)
    found["outcome"] = run.outcome


class _Watch(Silent):
    """Notes when success is reached, counted from the start and from the end of compiling."""

    def __init__(self, found: Found, env_share: int):
        self._found, self._least = found, env_share
        self._begun = self._compiled = time.perf_counter()
        self._marks, self._best = [0.9, 0.99], 0.0

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self._marks

    def row(self, row: dict[str, Any]) -> None:
        """One iteration's metrics; the first tells that the program was compiled."""
        now = time.perf_counter()
        if row["iteration"] == 1:
            self._compiled = now
            self._found["compiled_after_s"] = now - self._begun
        rate = row.get("success", 0.0)
        if row["episodes"] < self._least:  # too few to speak of a rate
            return
        self._best = max(self._best, rate)
        self._found["best_success"], self._found["steps"] = self._best, row["steps"]
        while self._marks and rate >= self._marks[0]:
            after = {"whole_s": now - self._begun, "after_compiling_s": now - self._compiled}
            self._found.add("reached", f"{self._marks.pop(0):.2f}", after | {"steps": row["steps"]})


def memory(found: Found, engine: str, sizes: Sizes) -> None:
    """What a training of pick_cube needs by number of environments: of the compiled program, and at its peak."""
    for count in sizes.memory:
        config = _sized(TASKS[0], engine, count)
        env = robolearn.make(config.task, count, engine, config.env)
        mesh = data_mesh()
        state, stop = first_state(config, env, mesh), per_device(mesh, False)
        iterate = make_iteration(config, env, mesh).lower(state, stop).compile()
        row: dict[str, Any] = {"program_bytes": memory_of(iterate), "state_bytes": size_of(state)}
        found.add("by_num_envs", str(count), dict(row))
        jax.block_until_ready(iterate(state, stop))
        row["peak_bytes"] = _peak()
        found.add("by_num_envs", str(count), dict(row))


def memory_of(program: Any) -> dict[str, int]:
    """Bytes that XLA plans for a compiled program: arguments, results, what of them is shared, and temporaries."""
    plan = program.memory_analysis()
    return {
        name: int(getattr(plan, f"{name}_size_in_bytes")) for name in ("argument", "output", "alias", "temp")
    }


def size_of(tree: Any) -> int:
    """Bytes of a pytree of arrays."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _tasks(sizes: Sizes) -> tuple[str, ...]:
    """All of them; in a dry run the one with the smallest programs."""
    return TASKS if sizes is FULL else TASKS[1:2]


def _sized(task: str, engine: str, num_envs: int) -> TrainConfig:
    few = ["groups=2", "ppo.minibatches=4", "ppo.rollout_steps=4"] if num_envs < 512 else []
    return train_config(task, None, [f"engine={engine}", f"num_envs={num_envs}", *few])


def _engine(model: Any, count: int, engine: str, room: Any) -> Any:
    return MjxPhysics(model, count, engine, room)


def _peak() -> int | None:
    """Most bytes that JAX has had on the device so far, in this process; None where the device does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def _median_s(call: Callable[[], Any], seconds: float) -> float:
    """Median time of one call, over at least three calls and so many seconds; the first call does not count."""
    call()
    took: list[float] = []
    while len(took) < 3 or sum(took) < seconds:
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return float(np.median(took))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


_WHOLE: dict[str, Callable[[Found, str, Sizes], None]] = {
    "device": device, "kernels": kernels, "steps": steps, "agreement": agreement, "memory": memory, "graphs": graphs,
}  # fmt: skip
