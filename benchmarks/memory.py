"""Does memory help? A hidden payload of 0 to 2 kg and unknown delays up to 60 ms, with and without a history.

    python -m benchmarks.memory [--tasks reach pick_cube] [--seeds 2] [--history 8] [--runs runs/memory] [KEY=VALUE...]

Both policies of a seed have the same config but for `env.history`, and are evaluated on the same 1,000 fresh episodes.
Prints a line for each pair, with the paired difference and its 95 % interval, and keeps them in
docs/results/memory.json, those of other settings too. A run that is there already is continued or taken as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "memory.json"
PAYLOAD_KG, DELAY_MS = 2.0, 60.0
# Of the packaged parallel gripper's palm, which the TCP is on; the arm does not know of the payload.
PALM_KG = 0.6
Row = dict[str, Any]


def shift() -> list[str]:
    """Overrides of a training: what an episode draws and the policy is not told."""
    most = 1.0 + PAYLOAD_KG / PALM_KG
    return [
        f"env.randomization.action_delay_ms=[0, {DELAY_MS:g}]",
        f"env.randomization.observation_delay_ms=[0, {DELAY_MS:g}]",
        f'env.randomization.body_mass_scale={{"*": [0.95, 1.05], "gripper_palm": [1.0, {most:.3f}]}}',
    ]


def robolearn(*words: object) -> None:
    """Run the command in a process of its own; end with its status where it fails."""
    if code := subprocess.run([sys.executable, "-m", "robolearn", *map(str, words)], check=False).returncode:
        sys.exit(code)  # it has said why


def trained(task: str, seed: int, history: int, options: argparse.Namespace) -> Path:
    """The finished run of this seed, trained or continued first."""
    said = (re.sub(r"[^\w=]", "_", word) for word in options.overrides)
    name = "-".join([task, *said, f"h{history}", f"s{seed}"])
    run_dir = options.runs / name
    record = run_dir / "run.json"
    if not record.is_file() or json.loads(record.read_text())["outcome"] != "finished":
        words = [*shift(), *options.overrides, *([f"env.history={history}"] if history else [])]
        robolearn("train", f"fr3/{task}", "--run", run_dir, "--no-bundle", f"seed={seed}", *words)
    if json.loads(record.read_text())["outcome"] != "finished":
        sys.exit(130)  # by a person; the next call goes on
    return run_dir


def pair(task: str, seed: int, options: argparse.Namespace) -> Row:
    """Both runs of a seed over the same episodes."""
    without = trained(task, seed, 0, options)
    remembering = trained(task, seed, options.history, options)
    compared = remembering / f"against-{without.name}.json"
    if not compared.is_file():
        robolearn("eval", remembering, "--against", without)
    found = json.loads(compared.read_text())
    row: Row = {"task": task, "seed": seed, "history": options.history, "overrides": options.overrides}
    for name, run_dir in (("without", without), ("with", remembering)):
        evaluation = json.loads((run_dir / "evaluation.json").read_text())
        last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
        times = evaluation["time_to_success_s"]
        row[name] = {
            "success": evaluation["success"]["rate"],
            "median_s": None if times is None else times["median"],
            "steps": last["steps"],
        }
    return row | {key: found[key] for key in ("difference", "low", "high", "p")}


def line(row: Row) -> str:
    """One row of the table in docs/explain/memory.md."""
    one, other = row["without"], row["with"]
    label = " ".join([f"`fr3/{row['task']}`", *(f"`{word}`" for word in row["overrides"])])
    label = f"{label} | {row['history']} periods"
    gap = f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    median = " | ".join("" if r["median_s"] is None else f"{r['median_s']:.2f} s" for r in (one, other))
    rates = f"{100 * one['success']:.1f} % | {100 * other['success']:.1f} %"
    return f"| {label} | {row['seed']} | {rates} | {gap} | {median} |"


def main() -> None:
    """Run what is missing, keep it, print the table."""
    parser = argparse.ArgumentParser(description="With and without memory.")
    parser.add_argument("--tasks", nargs="*", default=["reach", "pick_cube"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--history", type=int, default=8)
    parser.add_argument("--runs", type=Path, default=Path("runs/memory"))
    parser.add_argument(
        "overrides", nargs="*", default=[], help="of all trainings, such as env.tolerance_m=0.005"
    )
    options = parser.parse_intermixed_args()
    rows: list[Row] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    for task in options.tasks:
        for seed in range(options.seeds):
            new = pair(task, seed, options)
            keys = ("task", "seed", "history", "overrides")
            rows = [row for row in rows if any(row[key] != new[key] for key in keys)] + [new]
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print("\n".join(line(row) for row in rows))


if __name__ == "__main__":
    main()
