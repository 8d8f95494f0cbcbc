"""Evaluates what a path leads to, a run folder or a bundle, and writes JSON, picture and videos of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robolearn.env.naming import split_task
from robolearn.env.vec_env import VecEnv
from robolearn.errors import ConfigError
from robolearn.learn.clips import EpisodeClips
from robolearn.learn.evaluate import evaluate
from robolearn.learn.evaluate_bundle import bundle_env, evaluate_bundle
from robolearn.learn.evaluation import Evaluation, Progress
from robolearn.learn.run import EVALUATED_AT_ONCE, open_run
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.robots import load_robot
from robolearn.show.film import check_filming, write_films
from robolearn.show.results import write_results
from robolearn.sim.plant import load_plant


def evaluate_path(
    path: Path,
    episodes: int = 1000,
    seed: int = 1_000_000,
    *,
    robot: str | None = None,
    plant: str | None = None,
    video: bool = False,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate the run or the bundle at path, and write JSON and picture of what was found.

    robot: the robot file of a bundle's arm, or its calibration, where it is not that of the training. plant: name or
    path of an arm that is not the model; its name goes into those of the files. output: another folder than
    the run's, or the bundle's. video: keep a few episodes for `Evaluated.write_films`.
    Raises BundleError, ConfigError, CheckpointError, TaskError, RobotError; with video PhysicsError where none can be
    made here.
    """
    clips = EpisodeClips() if video else None
    if path.suffix == SUFFIX or path.is_file():
        bundle = PolicyBundle.load(path)
        target, prefix = output or path.parent, f"{path.stem}-"
        other = None if plant is None else load_plant(plant, load_robot(robot or bundle.manifest.robot))
        env = bundle_env(bundle, min(max(1, episodes), EVALUATED_AT_ONCE), robot=robot, plant=other)
        if clips is not None:
            check_filming(env)
        result = evaluate_bundle(bundle, env, episodes, seed, progress=progress, clips=clips)
        head = {"bundle": bundle.manifest.name, "digest": bundle.digest}
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
        result = evaluate(env, run.actor(), episodes, seed, progress=progress, clips=clips)
        head = {"iteration": run.iteration}
    if plant is not None:
        head |= {"plant": plant}
        prefix += f"{Path(plant).stem}-"
    notes = [f"wrote {file}" for file in write_results(result, head, target, prefix)]
    return Evaluated(result, notes, env, clips, target, prefix)


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
