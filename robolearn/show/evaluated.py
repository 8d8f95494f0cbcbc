"""Evaluates what a path leads to, a run folder or a bundle, and writes JSON, picture and videos of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robolearn.env.naming import split_task
from robolearn.env.slot_observation import measured_expert, observing_measurements
from robolearn.env.task import has_expert, load_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError, TaskError, unknown
from robolearn.learn import folder
from robolearn.learn.audit import record_evaluation, record_result
from robolearn.learn.clips import EpisodeClips
from robolearn.learn.evaluate import evaluate, evaluate_expert, evaluate_steps
from robolearn.learn.evaluate_bundle import bundle_chunk, bundle_env, evaluate_bundle
from robolearn.learn.evaluation import Evaluation, Progress
from robolearn.learn.observations import EpisodeObservations
from robolearn.learn.robustness import (
    Robustness,
    expert_chunk,
    robustness,
    run_robustness,
    write_robustness,
)
from robolearn.learn.run import EVALUATED_AT_ONCE, open_run
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.robots import load_robot
from robolearn.show.film import check_filming, write_films
from robolearn.show.results import write_results
from robolearn.sim.plant import load_plant

EXPERT = "expert"  # the policy of that name is the task's expert, which sees what a policy sees
PRIVILEGED = "privileged_expert"  # the same, which sees the world as it is
Shifting = Callable[[Progress | None], Robustness]


def evaluate_path(
    path: Path,
    episodes: int = 1000,
    seed: int = 1_000_000,
    *,
    policy: str | None = None,
    robot: str | None = None,
    plant: str | None = None,
    video: bool = False,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate the run or the bundle at path, and write JSON and picture of what was found.

    policy: `expert` plays the task's expert on measured slots instead of the run's policy, `privileged_expert` on the
    true ones; path may then be a `robot/task` too, whose result is written only where output is given. robot: the robot
    file of a bundle's arm, or its calibration, where it is not that of the training. plant: name or path of an arm that
    is not the model; its name goes into those of the files. output: another folder than the run's, or the bundle's.
    video: keep a few episodes for `Evaluated.write_films`.
    Raises BundleError, ConfigError, CheckpointError, TaskError, RobotError; with video PhysicsError where none can be
    made here.
    """
    if policy is not None and plant is not None:
        raise ConfigError("--plant cannot be combined with --policy expert.")
    clips = EpisodeClips() if video else None
    if path.suffix == SUFFIX or path.is_file():
        return _evaluate_bundle(path, episodes, seed, robot, plant, clips, output, progress)
    if policy is not None:
        return _evaluate_expert(path, policy, episodes, seed, clips, output, progress)
    if robot is not None:
        raise ConfigError(
            "--robot is only for bundles: the robot of a run is in its config.yaml, see `task`."
        )
    return _evaluate_run(path, episodes, seed, plant, clips, output, progress)


def _evaluate_bundle(
    path: Path,
    episodes: int,
    seed: int,
    robot: str | None,
    plant: str | None,
    clips: EpisodeClips | None,
    output: Path | None,
    progress: Progress | None,
) -> Evaluated:
    bundle = PolicyBundle.load(path)
    other = None if plant is None else load_plant(plant, load_robot(robot or bundle.manifest.robot))
    env = bundle_env(bundle, min(max(1, episodes), EVALUATED_AT_ONCE), robot=robot, plant=other)
    if clips is not None:
        check_filming(env)
    result = evaluate_bundle(bundle, env, episodes, seed, progress=progress, clips=clips)

    def shifting(progress: Progress | None) -> Robustness:
        return robustness(
            env.task,
            lambda changes, n: bundle_env(bundle, n, robot=robot, changes=changes),
            lambda env: (bundle_chunk(bundle, env), expert_chunk(env) if has_expert(env.task) else None),
            result,
            progress,
        )

    head = {"bundle": bundle.manifest.name, "digest": bundle.digest}
    made = Evaluated(result, [], env, clips, output or path.parent, f"{path.stem}-", shifting)
    return _written(made, head, plant, path.parent)


def _evaluate_run(
    path: Path,
    episodes: int,
    seed: int,
    plant: str | None,
    clips: EpisodeClips | None,
    output: Path | None,
    progress: Progress | None,
) -> Evaluated:
    run = open_run(path)
    if plant is None:
        env = run.evaluation_env(episodes)
    else:
        env = run.plant_env(load_plant(plant, load_robot(split_task(run.config.task)[0])), episodes)
    if clips is not None:
        check_filming(env)
    observations = EpisodeObservations() if plant is None and output is None else None
    result = evaluate(
        env, run.actor(), episodes, seed, progress=progress, clips=clips, observations=observations
    )
    if observations is not None:
        run.keep_ood(observations, env)

    def shifting(progress: Progress | None) -> Robustness:
        config = run.config
        return run_robustness(config.task, config.env, config.engine, run.actor(), result, progress)

    made = Evaluated(result, [run.which], env, clips, output or path, "", shifting)
    return _written(made, {"iteration": run.iteration}, plant, path)


def _written(made: Evaluated, head: dict[str, Any], plant: str | None, run_dir: Path) -> Evaluated:
    """The evaluation with its files written. run_dir: whose trail has it, if there is one."""
    prefix, shifting = made.prefix, made.shifting
    if plant is not None:
        head, prefix, shifting = head | {"plant": plant}, f"{prefix}{Path(plant).stem}-", None
    files = write_results(made.result, head, made.target, prefix)
    record_evaluation(files[0], run_dir)
    notes = [*made.notes, *(f"wrote {file}" for file in files)]
    return replace(made, notes=notes, prefix=prefix, shifting=shifting, run_dir=run_dir)


def _evaluate_expert(
    path: Path,
    policy: str,
    episodes: int,
    seed: int,
    clips: EpisodeClips | None,
    output: Path | None,
    progress: Progress | None,
) -> Evaluated:
    if policy not in (EXPERT, PRIVILEGED):
        raise ConfigError(
            unknown("policy", policy, [EXPERT, PRIVILEGED])
            + " Without --policy, the run's own policy is evaluated."
        )
    if folder.is_run(path):
        config, target = open_run(path).config, output or path
        task, engine = load_task(config.task, config.env), config.engine
    else:
        task, engine, target = load_task(str(path)), "auto", output
    if not has_expert(task):
        raise TaskError(f"Task '{task.name}' has no expert to play or imitate (imitation_fraction=0).")
    env = VecEnv(observing_measurements(task), min(max(1, episodes), EVALUATED_AT_ONCE), engine)
    if clips is not None:
        check_filming(env)
    if policy == PRIVILEGED:
        result = evaluate_expert(env, episodes, seed, progress=progress, clips=clips)
    else:
        act = measured_expert(env)
        result = evaluate_steps(
            env, lambda s: env.step(s, act(s)), episodes, seed, progress=progress, clips=clips
        )
    if target is None:
        return Evaluated(result, [], env, clips, Path("."), f"{policy}-")
    written = write_results(result, {"policy": policy}, target, f"{policy}-")
    if folder.is_run(path):
        record_evaluation(written[0], path)
    return Evaluated(result, [f"wrote {file}" for file in written], env, clips, target, f"{policy}-")


@dataclass(frozen=True)
class Evaluated:
    """An evaluation whose JSON and picture are written, and whose videos may be. notes: what to say of the files.

    shifting: plays the same policy under every shift; None where it was an expert, or played on a plant. run_dir: whose
    trail says of it; default the files' folder.
    """

    result: Evaluation
    notes: list[str]
    env: VecEnv
    clips: EpisodeClips | None
    target: Path
    prefix: str
    shifting: Shifting | None = None
    run_dir: Path | None = None

    def write_robustness(self, progress: Progress | None = None) -> tuple[Robustness, Path] | None:
        """Play the policy under every shift; what was found, and the file that has it. None for an expert."""
        if self.shifting is None:
            return None
        found = self.shifting(progress)
        file = write_robustness(found, self.target, self.prefix)
        record_result("robustness", file, self.run_dir or self.target)
        return found, file

    def write_films(self, progress: Progress | None = None) -> list[str]:
        """Write the videos, if they were asked for; what to say of them."""
        if self.clips is None:
            return []
        return write_films(self.clips, self.env, self.target, self.prefix, progress)
