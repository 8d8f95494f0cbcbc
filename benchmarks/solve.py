"""Train every task that is claimed to be solved, with its default config, and count: `make solve`.

    python benchmarks/solve.py [--seeds 3] [--only fr3/reach ...] [--again] [--table]

Each run is `robolearn train` and `robolearn eval` in processes of their own, one after another: 1,000 fresh episodes,
the task's own criterion. Results go to docs/results/solve.json, and from there into README.md; --table: only that.
A run that is there already, of the same config and seed, is not repeated, unless --again: for code that has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from robolearn.learn.train_config import train_config

ROOT = Path(__file__).parent.parent
RESULTS, README = ROOT / "docs" / "results" / "solve.json", ROOT / "README.md"
MARKS = "<!-- solved: written by `make solve` -->", "<!-- /solved -->"
# task: (success asked for, seconds of training asked for)
BARS = {
    "fr3/reach": (0.99, 30),
    "fr3/pick_cube": (0.95, 300),
    "fr3/push": (0.90, 360),
    "fr3/open_drawer": (0.95, 300),
    "fr3/stack": (0.80, 1200),
    "fr3/peg_insert": (0.80, 1800),
    "ur5e/reach": (0.99, 30),
    "ur5e/pick_cube": (0.95, 300),
    "iiwa14/reach": (0.99, 30),
    "iiwa14/pick_cube": (0.95, 300),
}


def solve(task: str, seed: int, folder: Path) -> dict[str, object]:
    """One run and its evaluation."""
    run_dir = folder / f"{task.replace('/', '-')}-{seed}"
    command = [sys.executable, "-m", "robolearn"]
    # each seed's time includes compiling
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    for arguments in (["train", task, f"seed={seed}", "--run", run_dir, "--no-bundle"], ["eval", run_dir]):
        if code := subprocess.run([*command, *arguments], env=environment, check=False).returncode:
            sys.exit(code)  # it has said why
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    success = json.loads((run_dir / "evaluation.json").read_text())["success"]
    return {"success": success["rate"], "wall_s": last["time/wall_s"], "steps": last["steps"]}


def table(results: dict[str, dict[str, object]]) -> str:
    """The results as Markdown: one row a task, the seeds in order."""
    lines = [
        "| task | success in 1,000 fresh episodes, per seed | training, s | target |",
        "| --- | --- | --- | --- |",
    ]
    for task, (least, limit_s) in BARS.items():
        runs = list(results.get(task, {}).get("runs", {}).values())
        rates = " · ".join(f"{100 * run['success']:.1f} %" for run in runs) or "not run"
        walls = " · ".join(f"{run['wall_s']:.0f}" for run in runs)
        lines.append(f"| `{task}` | {rates} | {walls} | {100 * least:.0f} % in {limit_s} s |")
    return "\n".join(lines)


def write_readme(results: dict[str, dict[str, object]]) -> None:
    """Put the table between its marks."""
    text = README.read_text()
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    if not after:
        raise SystemExit(f"README.md has no marks '{MARKS[0]}' and '{MARKS[1]}'.")
    README.write_text(f"{before}{MARKS[0]}\n{table(results)}\n{MARKS[1]}{after}")


def _digest(config: dict[str, object]) -> str:
    """Short, and another one for another config: a run folder continues with its own only."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(BARS), default=sorted(BARS, key=list(BARS).index))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "solve")
    parser.add_argument(
        "--table", action="store_true", help="only write README.md from the results that are there"
    )
    parser.add_argument("--again", action="store_true", help="run also what is there already")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for task in [] if options.table else options.only:
        config = train_config(task).model_dump(mode="json", exclude={"seed"})
        entry = results.get(task, {})
        folder = options.runs / _digest(config)
        if options.again:
            shutil.rmtree(folder, ignore_errors=True)
        if options.again or entry.get("config") != config:
            entry = {"config": config, "runs": {}}
        entry["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
        for seed in range(options.seeds):
            if str(seed) not in entry["runs"]:
                entry["runs"][str(seed)] = solve(task, seed, folder)
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(results | {task: entry}, indent=1) + "\n")
        results[task] = entry
    write_readme(results)
    print(table(results))
    short = [
        f"{task} seed {seed}"
        for task, entry in results.items()
        for seed, run in entry["runs"].items()
        if run["success"] < BARS[task][0] or run["wall_s"] > BARS[task][1]
    ]
    if short:
        print(f"Below the target: {', '.join(short)}.")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
