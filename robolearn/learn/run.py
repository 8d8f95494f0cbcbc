"""A training run on disk: its config, metrics and policy; evaluate and export it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from jax import Array

from robolearn.config import merged
from robolearn.env.naming import file_stem
from robolearn.errors import CheckpointError
from robolearn.learn import audit, folder
from robolearn.learn.checkpoint import Checkpoints
from robolearn.learn.evaluate import evaluate
from robolearn.learn.evaluation import Evaluation, write_evaluation
from robolearn.learn.learner import Policy, empty_policy
from robolearn.learn.observations import EpisodeObservations
from robolearn.learn.trackers import read_metrics
from robolearn.learn.train_config import TrainConfig
from robolearn.policy.ood import OodModel
from robolearn.recorder.audit_trail import read_trail
from robolearn.sim.plant import Plant
from robolearn.sim.plant import conditions as conditions_of

if TYPE_CHECKING:
    from robolearn.policy.bundle import PolicyBundle

EVALUATED_AT_ONCE = 1000  # environments; fewer where fewer episodes are asked for


@dataclass(frozen=True)
class Run:
    """One run folder and the policy in its newest checkpoint.

    iteration: how many iterations the policy has seen.
    outcome: `finished`, `time budget` or `stopped`; None where the run was opened from disk. selected: which policy of
    the run it is, and what it was chosen for, where `selection_episodes` is set; None: the newest.
    """

    run_dir: Path
    config: TrainConfig
    policy: Policy
    iteration: int
    outcome: str | None = None
    selected: dict[str, int] | None = None

    def actor(self) -> Callable[[Array], Array]:
        """The deterministic policy, normaliser included: obs [..., D] -> action [..., A] in [-1, 1]."""
        return self.policy.act

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One dict per iteration."""
        return read_metrics(self.run_dir / folder.METRICS)

    @property
    def which(self) -> str:
        """Which checkpoint the policy is from, and why this one."""
        newest = f"Policy of checkpoint {self.iteration}, the newest valid one in {self.run_dir}"
        if self.selected is None:
            return f"{newest}."
        best = self.selected
        return (
            f"{newest}: that of iteration {best['iteration']}, the best of the run with {best['successes']:,} successes"
            f" in {best['episodes']:,} episodes of its own."
        )

    @property
    def resume_command(self) -> str:
        """What continues this run."""
        words = ["robolearn", "train", self.config.task]
        return shlex.join([*words, "--config", str(self.run_dir / folder.CONFIG), "--run", str(self.run_dir)])

    @property
    def bundle_path(self) -> Path:
        """Where the policy's bundle is, once it is exported."""
        return self.run_dir / f"{file_stem(self.config.task)}.robolearn"

    @cached_property
    def env(self) -> Any:
        """A VecEnv of the run's task with 1,000 environments, for evaluation."""
        return self._make_env(EVALUATED_AT_ONCE)

    def evaluation_env(self, episodes: int) -> Any:
        """`env`, or a smaller one where fewer episodes are asked for."""
        return self.env if episodes >= EVALUATED_AT_ONCE else self._make_env(max(1, episodes))

    def plant_env(self, plant: Plant, episodes: int) -> Any:
        """Like `evaluation_env`, with another arm than the model in its place."""
        num_envs = min(max(1, episodes), EVALUATED_AT_ONCE)
        return self._make_env(num_envs, conditions_of(plant), plant)

    def _make_env(
        self, num_envs: int, changes: dict[str, Any] | None = None, plant: Plant | None = None
    ) -> Any:
        from robolearn.env.vec_env import make

        config = merged(self.config.env, changes or {})
        return make(self.config.task, num_envs, self.config.engine, config, plant)

    def evaluate(
        self,
        episodes: int = 1000,
        seed: int = 1_000_000,
        env: Any = None,
        conditions: dict[str, Any] | None = None,
    ) -> Evaluation:
        """Success and more over fresh episodes; kept as evaluation.json in the run folder.

        conditions: changes of the task's config, such as {"randomization": {"friction_scale": [0.5, 0.5]}}; what
        holds under them is not kept as this policy's evaluation.
        """
        if conditions is not None:
            return evaluate(self._make_env(episodes, conditions), self.actor(), episodes, seed)
        env, observations = env or self.evaluation_env(episodes), EpisodeObservations()
        result = evaluate(env, self.actor(), episodes, seed, observations=observations)
        audit.record_evaluation(write_evaluation(result, {"iteration": self.iteration}, self.run_dir))
        self.keep_ood(observations, env)
        return result

    def keep_ood(self, observations: EpisodeObservations, env: Any) -> None:
        """Fit the out-of-distribution score to an evaluation's episodes and keep it; where they are too few, none."""
        file = self.run_dir / folder.OOD
        found = observations.fit(env.episode_steps / env.control_hz)
        if found is None:
            file.unlink(missing_ok=True)
            return
        folder.write_whole(file, found.to_json(self.iteration))
        audit.record_result("ood", file, self.run_dir, **found.summary())

    def ood(self) -> OodModel | None:
        """The out-of-distribution score of this very policy; None where its evaluation had too few episodes for one.

        Raises ConfigError where its file is not the one in the trail.
        """
        file = self.run_dir / folder.OOD
        if not file.is_file():
            return None
        audit.require_recorded(file, read_trail(self.run_dir))
        model, iteration = OodModel.from_json(file.read_text(encoding="utf-8"), str(file))
        return model if iteration == self.iteration else None

    def export(
        self,
        path: str | Path | None = None,
        *,
        name: str | None = None,
        key_path: str | Path | None = None,
        task: Any = None,
    ) -> PolicyBundle:
        """Write the policy as a signed bundle (default: NAME.robolearn in the run folder).

        Evaluates it first if the run folder has no evaluation of this very policy.
        """
        from robolearn.keys import load_or_create_key
        from robolearn.policy.export import export_policy

        name = name or file_stem(self.config.task)
        if folder.read_evaluation(self.run_dir).get("iteration") != self.iteration:
            self.evaluate()
        acceptance = audit.judge_run(self.run_dir)
        policy_sha256 = audit.arrays_sha256(self.policy.arrays)
        audit.require_export(self.run_dir, policy_sha256)
        bundle = export_policy(
            task or self.env.task,
            self.actor(),
            path or (self.run_dir / f"{name}.robolearn"),
            name=name,
            training=self.summary() | {"policy_sha256": policy_sha256, "audit": audit.anchor(self.run_dir)},
            evaluation=folder.read_evaluation(self.run_dir) | {"acceptance": acceptance.to_json()},
            signing_key=load_or_create_key(key_path),
            ood=self.ood(),
        )
        audit.record_export(self.run_dir, bundle, policy_sha256, acceptance, self.iteration)
        return bundle

    def summary(self) -> dict[str, Any]:
        """How the policy was trained: config, steps, time, versions and machine; plain JSON values."""
        last = self.metrics[-1] if self.metrics else {}
        return {
            "config": self.config.model_dump(mode="json"),
            "iterations": self.iteration,
            **({} if self.selected is None else {"selected": self.selected}),
            "steps": last.get("steps", 0),
            "wall_s": last.get("time/wall_s", 0.0),
            "start": folder.read_record(self.run_dir)["starts"][-1],
        }


def open_run(run_dir: str | Path) -> Run:
    """The run in a folder, with the policy of its newest good checkpoint.

    Raises ConfigError where there is no run, CheckpointError where it has no checkpoint yet.
    """
    run_dir = Path(run_dir)
    config = folder.read_run_config(run_dir)
    empty = empty_policy(config, folder.read_record(run_dir)["sizes"])
    warnings: list[str] = []
    checkpoints = Checkpoints(run_dir, warn=warnings.append, read_only=True)
    try:
        found = checkpoints.restore(empty.arrays, "policy")
    finally:
        checkpoints.close()
    if found is None:
        raise CheckpointError(
            f"'{run_dir}' has no checkpoint that can be read. {' '.join(warnings)} Train it first: `robolearn train`."
        )
    arrays, meta = found
    policy = empty._replace(arrays=jax.device_get(arrays))
    return Run(run_dir, config, policy, meta["iteration"], selected=meta.get("selected"))
