"""A run folder with a trail, made without training: the files a training leaves, and the records it writes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from robolearn.learn import audit, folder
from robolearn.learn.train_config import TrainConfig

STRATA = [
    {
        "name": f"mass of box kg {i}",
        "episodes": 333,
        "successes": 330,
        "rate": 330 / 333,
        "low": 0.97,
        "high": 0.998,
    }
    for i in range(3)
]
EVALUATION = {
    "task": "two/reach", "seed": 5, "terminated": 0, "physics_failures": 0, "episode_return": 1.0,
    "success": {"name": "all", "episodes": 1000, "successes": 991, "rate": 0.991, "low": 0.983, "high": 0.995},
    "time_to_success_s": {"median": 1.0, "p95": 2.0}, "limit_hits": {}, "strata": STRATA, "worst": STRATA[0]["name"],
    "peaks": {"joint_speed_share_of_limit": {"max": 0.4, "p95": 0.3}, "position_margin_rad": {"min": 0.2, "p05": 0.3}},
}  # fmt: skip


class Environment:
    """What the trail asks of an environment."""

    task = None


def config(**changes) -> TrainConfig:
    given = {"task": "two/reach", "num_envs": 64, "total_steps": 1024, "acceptance": "acceptance/reach.yaml"}
    return TrainConfig(**(given | changes))


def begin(run_dir: Path, resumed_from: int = 0, **changes) -> audit.RunAudit:
    """A start of a training."""
    chosen = config(**changes)
    folder.begin(run_dir, chosen, {"obs": 2, "critic_obs": 2, "action": 1})
    return audit.RunAudit(run_dir, chosen, Environment(), resumed_from)


def save(run_dir: Path, trail: audit.RunAudit, iteration: int) -> None:
    """A checkpoint, and the metrics up to it."""
    kept = run_dir / "checkpoints" / f"{iteration:012d}"
    kept.mkdir(parents=True)
    (kept / "arrays").write_text(f"of iteration {iteration}")
    with (run_dir / folder.METRICS).open("a") as stream:
        stream.write(json.dumps({"iteration": iteration, "success": 0.9}) + "\n")
    trail.checkpoint(iteration, {"kernel": np.full(3, iteration, np.float32)})


def evaluate(run_dir: Path, **changes) -> None:
    """An evaluation of the policy."""
    report = run_dir / folder.EVALUATION
    report.write_text(json.dumps({"iteration": 20} | EVALUATION | changes))
    audit.record_evaluation(report)


def make(run_dir: Path, **changes) -> Path:
    """A complete run: two starts, three checkpoints, an evaluation."""
    with begin(run_dir, **changes) as trail:
        save(run_dir, trail, 10)
        trail.end("stopped", 10)
    folder.end(run_dir, "stopped")
    with begin(run_dir, 10, **changes) as trail:
        save(run_dir, trail, 15)
        save(run_dir, trail, 20)
        trail.end("finished", 20)
    folder.end(run_dir, "finished")
    evaluate(run_dir)
    return run_dir


def export(run_dir: Path, bundle):
    """Record that this bundle, which a test made, was exported from the run."""
    judged = audit.judge_run(run_dir)
    audit.record_export(run_dir, bundle, "f" * 64, judged, 20)
    return SimpleNamespace(judged=judged, bundle=bundle)
