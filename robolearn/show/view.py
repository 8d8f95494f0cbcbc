"""Watching a task: in MuJoCo's viewer, or as an mp4 where there is no display."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from robolearn.env.naming import file_stem
from robolearn.env.vec_env import EnvState, VecEnv, make
from robolearn.errors import BundleError, ConfigError
from robolearn.learn.evaluation import Progress
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.runtime import PolicyRuntime
from robolearn.show.film import check_video_path, film_steps, play
from robolearn.sim.jit import jit
from robolearn.sim.render import HumanView, has_display

Stepper = Callable[[EnvState], EnvState]


def view(
    task: str,
    policy: str = "zero",
    output: Path | None = None,
    *,
    episodes: int = 4,
    seed: int = 0,
    progress: Progress | None = None,
    browser: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Path | None:
    """Show episodes of `robot/task` in a window, or write them to output and return it.

    browser: port of a page on this machine instead of a window; the episodes begin once it is open, and begin anew
    until the process is interrupted.  say: receives the page's address.

    policy: `zero`, `random`, `expert` or the path of a bundle. Without a display and without output, the video goes to
    ROBOT-TASK.mp4 in the working directory. progress: receives the count of rendered frames.
    Raises ConfigError for fewer than one episode or another ending than .mp4, TaskError, BundleError, PhysicsError.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}, but at least 1 is needed.")
    if browser is not None and output is not None:
        raise ConfigError("Choose one: a video (--output) or the browser (--browser).")
    if output is None and browser is None and not has_display():
        output = Path(f"{file_stem(task)}.mp4")
    if output is not None:
        check_video_path(output)  # before anything is compiled
    env = make(task, num_envs=1, engine="native")
    step = policy_step(env, policy, seed)
    if output is not None:
        return film_steps(env, step, output, episodes, seed, progress)
    if browser is not None:
        _in_browser(env, step, f"{task}, policy {Path(policy).name}", browser, episodes, seed, say)
        return None
    window = HumanView(env)
    for state in play(env, step, episodes, seed):
        if not window.running:
            break
        window.show(state)
    window.close()
    return None


def _in_browser(
    env: VecEnv,
    step: Stepper,
    title: str,
    port: int,
    episodes: int,
    seed: int,
    say: Callable[[str], None] | None,
) -> None:
    from robolearn.show.browser import BrowserView

    page = BrowserView(env, title, port)
    if say is not None:
        say(f"Open {page.address} in a browser. Ctrl-C ends it.")
    try:
        for round_ in count():
            for state in play(env, step, episodes, seed + round_):
                page.show(state)
                while not page.watched:
                    time.sleep(0.1)
    finally:
        page.close()


def policy_step(env: VecEnv, policy: str, seed: int) -> Stepper:
    """One control period under a policy: `zero` (hold still), `random`, the task's `expert`, or a bundle's path.

    Raises TaskError where the task has no expert.
    """
    shape = (env.num_envs, env.action_size)
    if policy == "zero":
        return jit(lambda state: env.step(state, jnp.zeros(shape)))
    if policy == "expert":
        return jit(lambda state: env.step(state, env.expert(state)))
    if policy == "random":
        random = np.random.default_rng(seed)
        step = jit(env.step)
        return lambda state: step(state, random.uniform(-1.0, 1.0, shape).astype(np.float32))
    if not Path(policy).is_file():
        raise ConfigError(
            f"No policy '{policy}': give zero, random, expert or the path of a .robolearn file."
        )
    return bundle_step(env, PolicyBundle.load(policy))


def bundle_step(env: VecEnv, bundle: PolicyBundle) -> Stepper:
    """One control period of a single environment under the very graph that a robot would run.

    Raises BundleError where the bundle was made for another task.
    """
    if bundle.manifest.task != env.task.full_name:
        raise BundleError(
            f"{bundle.manifest.name} was made for {bundle.manifest.task}, but this is {env.task.full_name}."
        )
    runtime = PolicyRuntime(bundle)
    advance, readings = jit(env.step_targets), jax.jit(env.readings)
    still = jnp.zeros((1, env.action_size))

    def step(state: EnvState) -> EnvState:
        values = {**readings(state.physics), **state.goal}
        wanted = {slot.name for slot in (*env.task.slots, *env.task.goal_slots)}
        runtime.restore({name: value[0] for name, value in state.memory._asdict().items()})
        targets = runtime.step({name: np.asarray(values[name][0]) for name in wanted})
        memory = type(state.memory)(
            **{name: jnp.asarray(value)[None] for name, value in runtime.memory.items()}
        )
        return advance(
            state, {name: jnp.asarray(value)[None] for name, value in targets.items()}, memory, still
        )

    return step
