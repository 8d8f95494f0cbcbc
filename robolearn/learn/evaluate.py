"""Evaluation: a deterministic policy over fresh episodes, and what can honestly be said of it.

Every environment contributes the same number of episodes, its first ones, so that short episodes are not counted
more often than long ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import Array

from robolearn.errors import TaskError
from robolearn.learn.clips import EpisodeClips, posture_of
from robolearn.learn.evaluation import Evaluation, Progress, stratum_order, thirds, wilson
from robolearn.learn.observations import EpisodeObservations
from robolearn.sim.compiled import compiled
from robolearn.sim.jit import jit

FINGERS = ("gripper_left", "gripper_right")  # joints of the gripper
_FIGURE = "figure/"  # how the names of a task's own figures begin among the metrics
CHUNKS = 10  # looks at what has ended, in the time of one episode

Carry = Any  # see `_begin`
Emitted = dict[str, Any]
Rows = dict[str, np.ndarray]


def evaluate(
    env: Any,
    actor: Callable[[Array], Array],
    episodes: int = 1000,
    seed: int = 1_000_000,
    *,
    progress: Progress | None = None,
    clips: EpisodeClips | None = None,
    observations: EpisodeObservations | None = None,
) -> Evaluation:
    """Run `episodes` fresh episodes of a VecEnv. actor: raw obs [N, D] -> action [N, A].

    The draws depend on seed and num_envs only. clips: keeps the first few successes and failures, to be watched.
    observations: keeps what the policy observed.
    Raises TaskError for fewer than one episode.
    """

    def advance(state: Any) -> Any:
        return env.step(state, actor(state.obs))

    return evaluate_steps(
        env, advance, episodes, seed, progress=progress, clips=clips, observations=observations
    )


def evaluate_expert(
    env: Any,
    episodes: int = 1000,
    seed: int = 1_000_000,
    *,
    progress: Progress | None = None,
    clips: EpisodeClips | None = None,
) -> Evaluation:
    """As `evaluate`, of the task's expert, which sees the world without noise or latency, privileged slots included.

    Raises TaskError where the task has no expert.
    """
    return evaluate_steps(
        env, lambda s: env.step(s, env.expert(s)), episodes, seed, progress=progress, clips=clips
    )


def evaluate_steps(
    env: Any,
    advance: Callable[[Any], Any],
    episodes: int,
    seed: int,
    *,
    progress: Progress | None = None,
    clips: EpisodeClips | None = None,
    observations: EpisodeObservations | None = None,
) -> Evaluation:
    """As `evaluate`, of whatever takes a state of the VecEnv to the next one."""
    kept = {"filmed": clips is not None, "observed": observations is not None}
    chunk = jit(lambda carry: control_periods(env, carry, advance, **kept))
    rows = play_episodes(
        env, chunk, episodes, seed, progress=progress, clips=clips, observations=observations
    )
    return summarise(env, rows, seed)


def chunk_steps(env: Any) -> int:
    """Control periods between two looks at what has ended."""
    return max(1, env.episode_steps // CHUNKS)


def play_episodes(
    env: Any,
    chunk: Callable[[Carry], tuple[Carry, Emitted]],
    episodes: int,
    seed: int,
    *,
    progress: Progress | None = None,
    clips: EpisodeClips | None = None,
    observations: EpisodeObservations | None = None,
) -> Rows:
    """The first `episodes` episodes, every environment's first ones before its second: {figure: [episodes]}.

    chunk: some control periods under the policy, what each emits stacked as [T, N].
    """
    if episodes < 1:
        raise TaskError(f"episodes is {episodes}, but at least 1 is needed.")
    n, each = env.num_envs, -(-episodes // env.num_envs)
    key = jax.random.key(seed)
    carry = compiled(jit(lambda key: _begin(env, env.reset(key)), quick=True).lower(key))(key)
    rows: Rows = {}
    counts, played, most = np.zeros(n, int), 0, each * env.episode_steps * n
    while counts.min() < each:
        carry, emitted = chunk(carry)
        emitted = jax.tree.map(np.asarray, emitted)
        done, shown, observed = emitted.pop("done"), emitted.pop("shown", None), emitted.pop("obs", None)
        if observations is not None:
            observations.push(observed, done, episodes)
        if clips is not None:
            clips.push(shown, env.episode_steps)
        for step, index in zip(*np.nonzero(done), strict=True):
            if counts[index] < each:
                order = counts[index] * n + index
                for name, value in emitted.items():
                    kept = rows.setdefault(name, np.zeros(each * n, value.dtype))
                    kept[order] = value[step, index]
                if clips is not None and order < episodes:
                    length = int(emitted["length"][step, index])
                    clips.keep(order, bool(emitted["success"][step, index]), step, index, length)
                counts[index] += 1
        played = min(played + done.size, most)
        if progress is not None:
            progress("steps", played, most)
    return {name: values[:episodes] for name, values in rows.items()}


def _begin(env: Any, state: Any) -> Carry:
    """What is carried from one control period to the next: the state, peaks, return and conditions so far."""
    zero = jnp.zeros(env.num_envs)
    figures = _figures(env, state, None) | dict.fromkeys(_told(state), zero)
    return state, figures, zero, _conditions(env, state)


def control_periods(
    env: Any, carry: Carry, advance: Callable[[Any], Any], *, filmed: bool = False, observed: bool = False
) -> tuple[Carry, Emitted]:
    """`chunk_steps` control periods, for `play_episodes`; what each emits stacked as [T, N]."""

    def one(kept: Carry, _: None) -> tuple[Carry, Emitted]:
        return control_period(env, kept, advance, filmed=filmed, observed=observed)

    return jax.lax.scan(one, carry, length=chunk_steps(env))


def control_period(
    env: Any,
    carry: Carry,
    advance: Callable[[Any], Any],
    *,
    filmed: bool = False,
    observed: bool = False,
) -> tuple[Carry, Emitted]:
    """One control period of every environment, and what it says of its episode, [N] each; true where done.

    advance: one state to the next.
    """
    state, peaks, running, conditions = carry
    after = advance(state)
    done = after.terminated | after.truncated
    running = running + after.reward
    # After a restart the physics shows the next episode: that sample is left out.
    now = _figures(env, after, state)
    seen = {name: jnp.where(done, peaks[name], _worse(name, peaks[name], now[name])) for name in now}
    # What the task itself tells was looked at before any restart.
    seen |= {name: _worse(name, peaks[name], value) for name, value in _told(after).items()}
    failed = after.metrics.get("physics_failed", jnp.zeros(env.num_envs))
    emitted: Emitted = {
        "done": done,
        "success": after.success,
        "terminated": after.terminated,
        "physics_failed": failed > 0,
        "first_success": after.first_success,
        "length": after.step_count,
        "episode_return": running,
        **{f"peak/{name}": value for name, value in seen.items()},
        **{f"stratum/{name}": value for name, value in conditions.items()},
    }
    if filmed:
        emitted["shown"] = posture_of(state)
    if observed:
        emitted["obs"] = state.obs
    _, start, zero, fresh = _begin(env, after)
    peaks = {name: jnp.where(done, start[name], seen[name]) for name in seen}
    conditions = {name: jnp.where(done, fresh[name], conditions[name]) for name in conditions}
    return (after, peaks, jnp.where(done, zero, running), conditions), emitted


def _worse(name: str, old: Array, new: Array) -> Array:
    if name.endswith("_hits"):
        return old + new
    return jnp.minimum(old, new) if "margin" in name else jnp.maximum(old, new)


def _told(state: Any) -> dict[str, Array]:
    """The task's own figures of the last control period, [N] each."""
    return {k.removeprefix(_FIGURE): value for k, value in state.metrics.items() if k.startswith(_FIGURE)}


def _figures(env: Any, state: Any, before: Any) -> dict[str, Array]:
    """Speeds and forces, [N] each; the speed of the TCP is averaged over a control period.

    Empty for an environment without a robot.
    """
    task = getattr(env, "task", None)
    if task is None:
        return {}
    limits, dtype = task.robot.limits, jnp.float32
    low, high, fastest = (
        jnp.asarray(x, dtype)
        for x in (limits.position_min_rad, limits.position_max_rad, limits.velocity_rad_s)
    )

    readings = env.readings(state.physics)
    position, speed = readings["joint_position"], jnp.abs(readings["joint_velocity"])
    margin = jnp.minimum(position - low, high - position).min(1)
    moved = (
        jnp.zeros(env.num_envs)
        if before is None
        else jnp.linalg.norm(_tcp(env, state) - _tcp(env, before), axis=1)
    )
    return {
        "joint_speed_rad_s": speed.max(1),
        "joint_speed_share_of_limit": (speed / fastest).max(1),
        "tcp_speed_m_s": moved * env.control_hz,
        "position_margin_rad": margin,
        "position_limit_hits": (margin < 0).astype(dtype),
        "velocity_limit_hits": (speed > fastest).any(1).astype(dtype),
    }


def _tcp(env: Any, state: Any) -> Array:
    """Position of the TCP in the base frame, [N, 3] m."""
    from robolearn.robots.kinematics import forward

    position = env.readings(state.physics)["joint_position"]
    return jax.vmap(lambda q: forward(env.task.robot, q, xp=jnp)[0])(position)


def _conditions(env: Any, state: Any) -> dict[str, Array]:
    """What differs between episodes, [N] each, of episodes that begin in state."""
    named = _bodies(env, state) | _starts(env, state) | _latencies(env, state)
    task = getattr(env, "task", None)
    units = {slot.name: slot.unit for slot in task.goal_slots} if task else {}
    for name, value in state.goal.items():
        label = f"{name} m" if units.get(name) == "m" else name
        named |= _components(label, value.reshape(value.shape[0], -1))
    return named


def _bodies(env: Any, state: Any) -> dict[str, Array]:
    """Mass, friction and size of every body that is not the robot's, where they are drawn.

    Thirds of each link's, the gripper's included, would be so many that the worst of them is so by chance.
    """
    named = {}
    fields = getattr(state, "fields", {})
    for body in sorted(set(range(1, env.model.nbody)) - _robot_bodies(env)) if fields else ():
        geom, name = int(env.model.body_geomadr[body]), env.model.body(body).name
        if "body_mass" in fields:
            named[f"mass of {name} kg"] = fields["body_mass"][:, body]
        if geom >= 0 and "geom_friction" in fields:
            named[f"friction of {name}"] = fields["geom_friction"][:, geom, 0]
        if geom >= 0 and "geom_size" in fields:
            named[f"size of {name} m"] = fields["geom_size"][:, geom, 0]
    return named


def _robot_bodies(env: Any) -> set[int]:
    """The arm from its base to its last joint, and what hangs on it: the gripper."""
    model, found = env.model, set()
    for name in env.task.robot.joint_names:
        body = int(model.jnt_bodyid[model.joint(name).id])
        while body:
            found.add(body)
            body = int(model.body_parentid[body])
    fingers = {model.joint(i).name: int(model.jnt_bodyid[i]) for i in range(model.njnt)}
    found |= {body for name, body in fingers.items() if name in FINGERS}
    found.add(int(model.site("tcp").bodyid[0]))  # the palm
    return found


def _starts(env: Any, state: Any) -> dict[str, Array]:
    """Where the TCP, every free body and every other joint that is not the arm's stand at the start."""
    if getattr(env, "task", None) is None:
        return {}
    model, qpos = env.model, state.physics.qpos
    named = _components("start of TCP m", _tcp(env, state))
    own = {*env.task.robot.joint_names, *FINGERS}
    for joint in (model.joint(i) for i in range(model.njnt)):
        at = int(joint.qposadr[0])
        if joint.type[0] == mujoco.mjtJoint.mjJNT_FREE:
            name = model.body(int(joint.bodyid[0])).name
            named |= _components(f"start of {name} m", qpos[:, at : at + 3])
        elif joint.name not in own and joint.type[0] != mujoco.mjtJoint.mjJNT_BALL:
            unit = "m" if joint.type[0] == mujoco.mjtJoint.mjJNT_SLIDE else "rad"
            named[f"start of {joint.name} {unit}"] = qpos[:, at]
    return named


def _latencies(env: Any, state: Any) -> dict[str, Array]:
    """How late commands reach the drives and readings the policy, where that is drawn."""
    named = {}
    if commands := getattr(state, "commands", ()):
        named["action latency ms"] = commands.delay * 1e3
    if sensing := getattr(state, "sensing", ()):
        period_ms = 1e3 / env.control_hz  # they are kept in control periods
        named["observation latency ms"] = sensing.delay * period_ms
        named["pose latency ms"] = sensing.pose_delay * period_ms
    return named


def _components(name: str, value: Array) -> dict[str, Array]:
    """The columns of [N, D], by name; the axis stands before the unit."""
    what, space, unit = name.rpartition(" ") if name.endswith(" m") else (name, "", "")
    labels = "xyz" if value.shape[1] == 3 else [str(i) for i in range(value.shape[1])]
    return {f"{what}.{label}{space}{unit}": value[:, i] for i, label in enumerate(labels)}


def summarise(env: Any, rows: Rows, seed: int) -> Evaluation:
    """What can be said of played episodes. rows: see `play_episodes`."""
    success = rows["success"].astype(bool)
    times = rows["first_success"][success & (rows["first_success"] >= 0)] / env.control_hz
    strata = tuple(
        rate
        for name in sorted(rows)
        if name.startswith("stratum/")
        for rate in thirds(name.removeprefix("stratum/"), rows[name], success)
    )
    worst = min(strata, key=stratum_order, default=None)
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
        worst=worst.name if worst is not None and worst.rate < 1.0 else None,
        times_s=tuple(float(time) for time in times),
        succeeded=tuple(bool(one) for one in success),
        draws=_drawn(rows),
    )


def _drawn(rows: Rows) -> str:
    """The digest of what differed between the episodes from the start on, in their order."""
    running = hashlib.sha256()
    for name in sorted(rows):
        if name.startswith("stratum/"):
            running.update(name.encode())
            running.update(np.asarray(rows[name], np.float32).tobytes())
    return running.hexdigest()


def _extremes(name: str, values: np.ndarray) -> dict[str, float]:
    if "margin" in name:
        return {"min": float(values.min()), "p05": float(np.quantile(values, 0.05))}
    high = {"max": float(values.max()), "p95": float(np.quantile(values, 0.95))}
    return high | ({"p99": float(np.quantile(values, 0.99))} if name.startswith("contact_force") else {})
