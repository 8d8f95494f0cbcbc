"""Evaluates what a path leads to, a run folder or a bundle, and writes JSON, picture and videos of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robolearn.env.naming import split_task
from robolearn.env.vec_env import VecEnv, make
from robolearn.errors import ConfigError, unknown
from robolearn.learn import folder
from robolearn.learn.audit import record_evaluation
from robolearn.learn.clips import EpisodeClips
from robolearn.learn.evaluate import evaluate, evaluate_expert
from robolearn.learn.evaluate_bundle import bundle_env, evaluate_bundle
from robolearn.learn.evaluation import Evaluation, Progress
from robolearn.learn.observations import EpisodeObservations
from robolearn.learn.run import EVALUATED_AT_ONCE, open_run
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.robots import load_robot
from robolearn.show.film import check_filming, write_films
from robolearn.show.results import write_results
from robolearn.sim.plant import load_plant

EXPERT = "expert"  # the policy of that name is the task's expert


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

    policy: `expert` plays the task's expert instead of the run's policy; path may then be a `robot/task` too, whose
    result is written only where output is given. robot: the robot file of a bundle's arm, or its calibration, where it
    is not that of the training. plant: name or path of an arm that is not the model; its name goes into those of the
    files. output: another folder than the run's, or the bundle's. video: keep a few episodes for
    `Evaluated.write_films`.
    Raises BundleError, ConfigError, CheckpointError, TaskError, RobotError; with video PhysicsError where none can be
    made here.
    """
    if policy is not None and plant is not None:
        raise ConfigError("--plant is for a run or a bundle: the expert is evaluated on the model.")
    clips = EpisodeClips() if video else None
    notes: list[str] = []
    if path.suffix == SUFFIX or path.is_file():
        bundle = PolicyBundle.load(path)
        target, prefix = output or path.parent, f"{path.stem}-"
        other = None if plant is None else load_plant(plant, load_robot(robot or bundle.manifest.robot))
        env = bundle_env(bundle, min(max(1, episodes), EVALUATED_AT_ONCE), robot=robot, plant=other)
        if clips is not None:
            check_filming(env)
        result = evaluate_bundle(bundle, env, episodes, seed, progress=progress, clips=clips)
        head = {"bundle": bundle.manifest.name, "digest": bundle.digest}
    elif policy is not None:
        return _evaluate_expert(path, policy, episodes, seed, clips, output, progress)
    else:
        if robot is not None:
            raise ConfigError(
                "--robot is for a bundle: a run folder knows its robot, see `task` in its config.yaml."
            )
        run = open_run(path)
        target, prefix = output or path, ""
        if plant is None:
            env = run.evaluation_env(episodes)
        else:
            env = run.plant_env(load_plant(plant, load_robot(split_task(run.config.task)[0])), episodes)
        if clips is not None:
            check_filming(env)
        keep = plant is None and output is None
        observations = EpisodeObservations() if keep else None
        result = evaluate(
            env, run.actor(), episodes, seed, progress=progress, clips=clips, observations=observations
        )
        head, notes = {"iteration": run.iteration}, [run.which]
        if observations is not None:
            run.keep_ood(observations, env)
    if plant is not None:
        head |= {"plant": plant}
        prefix += f"{Path(plant).stem}-"
    written = write_results(result, head, target, prefix)
    record_evaluation(written[0], path if path.is_dir() else path.parent)
    notes += [f"wrote {file}" for file in written]
    return Evaluated(result, notes, env, clips, target, prefix)


def _evaluate_expert(
    path: Path,
    policy: str,
    episodes: int,
    seed: int,
    clips: EpisodeClips | None,
    output: Path | None,
    progress: Progress | None,
) -> Evaluated:
    if policy != EXPERT:
        raise ConfigError(
            unknown("policy", policy, [EXPERT]) + " Without --policy the run's own is evaluated."
        )
    if folder.is_run(path):
        env, target = open_run(path).evaluation_env(episodes), output or path
    else:
        env, target = make(str(path), min(max(1, episodes), EVALUATED_AT_ONCE)), output
    if clips is not None:
        check_filming(env)
    result = evaluate_expert(env, episodes, seed, progress=progress, clips=clips)
    if target is None:
        return Evaluated(result, [], env, clips, Path("."), f"{EXPERT}-")
    written = write_results(result, {"policy": EXPERT}, target, f"{EXPERT}-")
    if folder.is_run(path):
        record_evaluation(written[0], path)
    return Evaluated(result, [f"wrote {file}" for file in written], env, clips, target, f"{EXPERT}-")


@dataclass(frozen=True)
class Evaluated:
    """An evaluation whose JSON and picture are written, and whose videos may be. notes: what to say of the files."""

    result: Evaluation
    notes: list[str]
    env: VecEnv
    clips: EpisodeClips | None
    target: Path
    prefix: str

    def write_films(self, progress: Progress | None = None) -> list[str]:
        """Write the videos, if they were asked for; what to say of them."""
        if self.clips is None:
            return []
        return write_films(self.clips, self.env, self.target, self.prefix, progress)
