"""Does a calibration help the policy? Trained on the nominal and on the calibrated model, evaluated on plants.

    python -m benchmarks.calibrated_policies CALIBRATION [--tasks reach pick_cube] [--plants soft loaded stribeck]

Both policies meet the same episodes: same seed, same draws. Prints the paired difference of success and of the time
to success with its 95 % interval. Trained runs in --runs are taken as they are, and so are episodes that were played
before by the same policy: what is begun again goes on where it ended.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import robolearn as rl
from robolearn.learn import folder
from robolearn.learn.disparity import paired
from robolearn.learn.evaluate import control_periods, play_episodes
from robolearn.learn.run import open_run
from robolearn.robots import load_robot
from robolearn.sim.plant import Plant, load_plant

SEED = 1_000_000


def trained(task: str, run_dir: Path, **options: Any) -> Any:
    """The finished run in a folder, trained or continued first. Ends where a person ends the training."""
    if not folder.is_run(run_dir) or folder.read_record(run_dir)["outcome"] != "finished":
        run = rl.train(task, run_dir=run_dir, resume=True, **options)
        if run.outcome != "finished":
            sys.exit(f"The training in {run_dir} was stopped. Run this again to continue it.")
    return open_run(run_dir)


def played(run: Any, plant: Plant, episodes: int) -> dict[str, np.ndarray]:
    """Figures of every episode of a run's policy on a plant, [episodes] each; kept beside the run."""
    digest = hashlib.sha256(
        f"{run.iteration} {episodes} {SEED} {plant.model_dump_json()}".encode()
    ).hexdigest()
    kept = run.run_dir.parent / f"{run.run_dir.name}-{digest[:12]}.npz"
    if kept.is_file():
        with np.load(kept) as file:
            return dict(file)
    env, actor = run.plant_env(plant, episodes), run.actor()
    chunk = jax.jit(lambda carry: control_periods(env, carry, lambda s: env.step(s, actor(s.obs))))
    rows = play_episodes(env, chunk, episodes, SEED)
    np.savez(kept, success=rows["success"], first_success=rows["first_success"])
    return rows


def difference(nominal: np.ndarray, calibrated: np.ndarray) -> str:
    """Calibrated minus nominal, episode by episode, with its 95 % interval."""
    change = calibrated.astype(float) - nominal.astype(float)
    half = 1.96 * change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else float("nan")
    verdict = "no measurable change" if abs(change.mean()) <= half else "changed"
    return f"{change.mean():+.4f} ({change.mean() - half:+.4f} to {change.mean() + half:+.4f}), {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("calibration", type=Path)
    parser.add_argument("--tasks", nargs="+", default=["reach", "pick_cube", "peg_insert"])
    parser.add_argument("--plants", nargs="+", default=["soft", "loaded", "stribeck"])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--runs", type=Path, default=Path("build/calibrated_policies"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    arm = load_robot(options.calibration.absolute())
    for kind in options.tasks:
        task, place = f"{arm.name}/{kind}", options.runs / f"{kind}-{options.seed}"
        nominal = trained(task, place / "nominal", seed=options.seed)
        calibrated = trained(
            task, place / "calibrated", seed=options.seed, calibration=str(options.calibration.absolute())
        )
        for name in options.plants:
            plant = load_plant(f"{arm.name}-{name}", load_robot(arm.name))
            before, after = (played(run, plant, options.episodes) for run in (nominal, calibrated))
            found = paired(after["success"].astype(bool), before["success"].astype(bool))
            print(
                f"{task} on {name}: success {100 * before['success'].mean():.1f} % nominal, "
                f"{100 * after['success'].mean():.1f} % calibrated; paired difference {100 * found.difference:+.1f} % "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), McNemar exact p {found.p:.2g}",
                flush=True,
            )
            both = before["success"].astype(bool) & after["success"].astype(bool)
            if both.any():
                steps = difference(before["first_success"][both], after["first_success"][both])
                print(f"  control periods to success, where both succeed ({both.sum()}): {steps}", flush=True)


if __name__ == "__main__":
    main()
