"""Evaluation: a deterministic policy over fresh episodes, and what can honestly be said of it.

Every environment contributes the same number of episodes, its first ones, so that short episodes are not counted
more often than long ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from robolearn.errors import TaskError
from robolearn.notebook import html

Z_95 = 1.959963984540054
STRATUM_MIN = 20  # episodes; a rate over fewer is not worth a line


@dataclass(frozen=True)
class Rate:
    """A success rate with its 95 % Wilson interval."""

    name: str
    episodes: int
    successes: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """Results over fresh episodes.

    time_to_success_s: median and 95th percentile over successful episodes of the time until the goal had been held
    (None without success). peaks: {figure: {"max", "p95"}} of each episode's largest value, or for a margin
    {"min", "p05"} of its smallest. strata: success by thirds of every goal component; worst: the one lowest in rate.
    """

    task: str
    seed: int
    success: Rate
    terminated: int
    physics_failures: int
    episode_return: float
    time_to_success_s: dict[str, float] | None
    peaks: dict[str, dict[str, float]]
    limit_hits: dict[str, int]
    strata: tuple[Rate, ...]
    worst: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __rich__(self) -> Any:
        """A table for a terminal."""
        from robolearn.learn.console import evaluation_table

        return evaluation_table(self)

    def _repr_html_(self) -> str:
        return html(self)


def wilson(name: str, successes: int, episodes: int) -> Rate:
    """Rate and 95 % Wilson score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if episodes == 0:
        return Rate(name, 0, 0, 0.0, 0.0, 1.0)
    share, z2 = successes / episodes, Z_95**2
    centre = share + z2 / (2 * episodes)
    spread = Z_95 * math.sqrt(share * (1 - share) / episodes + z2 / (4 * episodes**2))
    scale = 1 + z2 / episodes
    low, high = (centre - spread) / scale, (centre + spread) / scale
    # At the ends the formula is exact but for rounding.
    return Rate(
        name,
        episodes,
        successes,
        share,
        0.0 if successes == 0 else low,
        1.0 if successes == episodes else high,
    )


def evaluate(
    env: Any, actor: Callable[[Array], Array], episodes: int = 1000, seed: int = 1_000_000
) -> Evaluation:
    """Run `episodes` fresh episodes of a VecEnv. actor: raw obs [N, D] -> action [N, A].

    The draws depend on seed and num_envs only. Raises TaskError for fewer than one episode.
    """
    if episodes < 1:
        raise TaskError(f"episodes is {episodes}, but at least 1 is needed.")
    each = -(-episodes // env.num_envs)
    finished = _play(env, actor, each, seed)
    rows = {name: values[:episodes] for name, values in finished.items()}
    return _summarise(env, rows, seed)


def _play(env: Any, actor: Callable[[Array], Array], each: int, seed: int) -> dict[str, np.ndarray]:
    """The first `each` episodes of every environment: {figure: [each * N]}, first episodes first."""

    @jax.jit
    def chunk(carry: Any) -> Any:
        return jax.lax.scan(lambda c, _: _one(env, actor, c), carry, length=env.episode_steps)

    state = jax.jit(env.reset)(jax.random.key(seed))
    carry = (state, _figures(env, state, None), jnp.zeros(env.num_envs))
    kept: dict[str, list[list[Any]]] = {}
    counts = np.zeros(env.num_envs, int)
    while counts.min() < each:
        carry, emitted = chunk(carry)
        emitted = {name: np.asarray(value) for name, value in emitted.items()}
        for step, index in zip(*np.nonzero(emitted.pop("done")), strict=True):
            if counts[index] < each:
                for name, value in emitted.items():
                    kept.setdefault(name, [[] for _ in range(each)])[counts[index]].append(
                        (index, value[step, index])
                    )
                counts[index] += 1
    return {
        name: np.array(
            [value for episode in by_episode for _, value in sorted(episode, key=lambda pair: pair[0])]
        )
        for name, by_episode in kept.items()
    }


def _one(env: Any, actor: Callable[[Array], Array], carry: Any) -> Any:
    state, peaks, running = carry
    after = env.step(state, actor(state.obs))
    done = after.terminated | after.truncated
    running = running + after.reward
    # After a restart the physics shows the next episode: that sample is left out.
    now = _figures(env, after, state)
    seen = {name: jnp.where(done, peaks[name], _worse(name, peaks[name], now[name])) for name in now}
    failed = after.metrics.get("physics_failed", jnp.zeros(env.num_envs))
    emitted = {
        "done": done,
        "success": after.success,
        "terminated": after.terminated,
        "physics_failed": failed > 0,
        "first_success": after.first_success,
        "episode_return": running,
        **{f"peak/{name}": value for name, value in seen.items()},
        **{f"stratum/{name}": value for name, value in _conditions(env, state).items()},
    }
    start = _figures(env, after, None)
    peaks = {name: jnp.where(done, start[name], seen[name]) for name in seen}
    return (after, peaks, jnp.where(done, 0.0, running)), emitted


def _worse(name: str, old: Array, new: Array) -> Array:
    if name.endswith("_hits"):
        return old + new
    return jnp.minimum(old, new) if "margin" in name else jnp.maximum(old, new)


def _figures(env: Any, state: Any, before: Any) -> dict[str, Array]:
    """What matters to whoever stands next to the arm, [N] each; speed of the TCP is averaged over a control period.

    Empty for an environment without a robot.
    """
    task = getattr(env, "task", None)
    if task is None:
        return {}
    from robolearn.robots.kinematics import forward

    limits, dtype = task.robot.limits, jnp.float32
    low, high, fastest = (
        jnp.asarray(x, dtype)
        for x in (limits.position_min_rad, limits.position_max_rad, limits.velocity_rad_s)
    )

    def tcp(physics: Any) -> Array:
        return jax.vmap(lambda q: forward(task.robot, q, xp=jnp)[0])(env.readings(physics)["joint_position"])

    readings = env.readings(state.physics)
    position, speed = readings["joint_position"], jnp.abs(readings["joint_velocity"])
    margin = jnp.minimum(position - low, high - position).min(1)
    moved = (
        jnp.zeros(env.num_envs)
        if before is None
        else jnp.linalg.norm(tcp(state.physics) - tcp(before.physics), axis=1)
    )
    return {
        "joint_speed_rad_s": speed.max(1),
        "joint_speed_share_of_limit": (speed / fastest).max(1),
        "tcp_speed_m_s": moved * env.control_hz,
        "position_margin_rad": margin,
        "position_limit_hits": (margin < 0).astype(dtype),
        "velocity_limit_hits": (speed > fastest).any(1).astype(dtype),
    }


def _conditions(env: Any, state: Any) -> dict[str, Array]:
    """What differs between episodes, [N] each: components of the goal; drawn mass, friction and size of bodies."""
    named = {}
    fields = getattr(state, "fields", {})
    for body in range(1, env.model.nbody) if fields else ():
        geom, name = int(env.model.body_geomadr[body]), env.model.body(body).name
        if "body_mass" in fields:
            named[f"mass of {name} kg"] = fields["body_mass"][:, body]
        if geom >= 0 and "geom_friction" in fields:
            named[f"friction of {name}"] = fields["geom_friction"][:, geom, 0]
        if geom >= 0 and "geom_size" in fields:
            named[f"size of {name} m"] = fields["geom_size"][:, geom, 0]
    for name, value in state.goal.items():
        flat = value.reshape(value.shape[0], -1)
        labels = "xyz" if flat.shape[1] == 3 else [str(i) for i in range(flat.shape[1])]
        named |= {f"{name}.{label}": flat[:, i] for i, label in enumerate(labels)}
    return named


def _summarise(env: Any, rows: dict[str, np.ndarray], seed: int) -> Evaluation:
    success = rows["success"].astype(bool)
    times = rows["first_success"][success & (rows["first_success"] >= 0)] / env.control_hz
    strata = tuple(
        rate
        for name in sorted(rows)
        if name.startswith("stratum/")
        for rate in thirds(name.removeprefix("stratum/"), rows[name], success)
    )
    worst = min(strata, key=lambda rate: (rate.rate, rate.low), default=None)
    figures = {name.removeprefix("peak/"): rows[name] for name in rows if name.startswith("peak/")}
    return Evaluation(
        task=getattr(getattr(env, "task", None), "full_name", type(env).__name__),
        seed=seed,
        success=wilson("all", int(success.sum()), len(success)),
        terminated=int(rows["terminated"].sum()),
        physics_failures=int(rows["physics_failed"].sum()),
        episode_return=float(rows["episode_return"].mean()),
        time_to_success_s=(
            {"median": float(np.median(times)), "p95": float(np.quantile(times, 0.95))}
            if times.size
            else None
        ),
        peaks={
            name: _extremes(name, values) for name, values in figures.items() if not name.endswith("_hits")
        },
        limit_hits={name: int(values.sum()) for name, values in figures.items() if name.endswith("_hits")},
        strata=strata,
        worst=worst.name if worst is not None else None,
    )


def thirds(name: str, values: np.ndarray, success: np.ndarray) -> list[Rate]:
    """Success by the lower, middle and upper third of a quantity; none where it does not vary. All [E]."""
    edges = np.quantile(values, [0.0, 1 / 3, 2 / 3, 1.0])
    if not edges[0] < edges[1] < edges[2] < edges[3]:
        return []
    group = np.digitize(values, edges[1:3])
    rates = []
    for third in range(3):
        inside = group == third
        label = f"{name} {edges[third]:.3g}..{edges[third + 1]:.3g}"
        if inside.sum() >= STRATUM_MIN:
            rates.append(wilson(label, int(success[inside].sum()), int(inside.sum())))
    return rates


def _extremes(name: str, values: np.ndarray) -> dict[str, float]:
    if "margin" in name:
        return {"min": float(values.min()), "p05": float(np.quantile(values, 0.05))}
    return {"max": float(values.max()), "p95": float(np.quantile(values, 0.95))}
