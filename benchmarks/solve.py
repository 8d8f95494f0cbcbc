"""What each task's expert, default training and training from reward alone reach: `make solve`.

    python benchmarks/solve.py [--seeds 3] [--only fr3/reach ...] [--rows expert default reward] [--again] [--table]

Three rows for each task: the hand-written `expert` alone, on measured slots; the `default` config, which imitates it
first; `reward` alone (imitation_fraction=0). Each is played over 1,000 fresh episodes, by the task's own criterion, the
first seed of the default also beyond the ranges that it is trained on, with the expert beside it.
Every training is `robolearn train` and `robolearn eval` in processes of their own, one after another.

Results go to docs/results/solve.json, and from there into README.md and docs/explain/policy_and_expert.md; --table:
only that. It may be ended at any time and goes on where it was, within a training too. A run that is there already, of
the same config and seed, is not repeated, unless --again: for code that has changed. What earlier code gave says so
(`before`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robolearn.env.task import load_task
from robolearn.learn.train_config import train_config

ROOT = Path(__file__).parent.parent
RESULTS, README = ROOT / "docs" / "results" / "solve.json", ROOT / "README.md"
PAGE = ROOT / "docs" / "explain" / "policy_and_expert.md"
MARKS = "<!-- solved: written by `make solve` -->", "<!-- /solved -->"
EXPERT, DEFAULT, REWARD = "expert", "default", "reward"
ROWS = {EXPERT: "expert alone", DEFAULT: "default", REWARD: "reward alone"}
BUSY = 1.5 * (os.cpu_count() or 1)  # load average above which times say little
SEED = 1_000_000  # of the first evaluation of an expert: the one that `robolearn eval` begins with
# task: {row: (success asked for, seconds of training asked for)}
BARS: dict[str, dict[str, tuple[float, int]]] = {
    "fr3/reach": {DEFAULT: (0.99, 30), REWARD: (0.99, 60)},
    "fr3/pick_cube": {DEFAULT: (0.95, 300), REWARD: (0.95, 360)},
    "fr3/push": {DEFAULT: (0.90, 360), REWARD: (0.90, 480)},
    "fr3/open_drawer": {DEFAULT: (0.95, 300), REWARD: (0.90, 480)},
    "fr3/stack": {DEFAULT: (0.80, 1200), REWARD: (0.80, 1200)},
    "fr3/peg_insert": {DEFAULT: (0.80, 1800), REWARD: (0.80, 1200)},
    "fr3/connector_insert": {DEFAULT: (0.90, 1800)},
    "ur5e/reach": {DEFAULT: (0.99, 30)},
    "ur5e/pick_cube": {DEFAULT: (0.95, 300)},
    "ur5e/connector_insert": {DEFAULT: (0.90, 1800)},
    "iiwa14/reach": {DEFAULT: (0.99, 30)},
    "iiwa14/pick_cube": {DEFAULT: (0.95, 300)},
    "iiwa14/connector_insert": {DEFAULT: (0.90, 1800)},
}
Run = dict[str, Any]
Entry = dict[str, Any]
Results = dict[str, dict[str, Entry]]  # task: {row: entry}


def robolearn(*words: object) -> None:
    """Run the command in a process of its own; end with its status where it fails."""
    # each seed's time includes compiling
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, "-m", "robolearn", *map(str, words)]
    if code := subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(code)  # it has said why


def measured(report: Path) -> Run:
    """Of an evaluation: success, its interval, and the median time to success."""
    found = json.loads(report.read_text())
    times = found["time_to_success_s"]
    rate = found["success"]
    return {
        "success": rate["rate"],
        "episodes": rate["episodes"],
        "median_s": None if times is None else times["median"],
    }


def play_expert(task: str, seed: int, folder: Path) -> Run:
    """The task's expert on measured slots over the episodes of a seed."""
    target = folder / f"{task.replace('/', '-')}-{seed}"
    robolearn("eval", task, "--policy", "expert", "--seed", SEED + seed, "-o", target)
    return measured(target / "expert-evaluation.json")


def solve(task: str, row: str, seed: int, folder: Path) -> Run:
    """One training and its evaluation; continues a training that was ended."""
    run_dir = folder / f"{task.replace('/', '-')}-{seed}"
    robolearn("train", task, *overrides(row), f"seed={seed}", "--run", run_dir, "--no-bundle")
    if json.loads((run_dir / "run.json").read_text())["outcome"] == "stopped":
        sys.exit(130)  # by a person; the next call goes on
    # the other arms play the same tasks
    with_shifts = row == DEFAULT and seed == 0 and task.startswith("fr3/")
    robolearn("eval", run_dir, *([] if with_shifts else ["--no-shifts"]))
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    found = measured(run_dir / "evaluation.json") | {"wall_s": last["time/wall_s"], "steps": last["steps"]}
    return found | ({"shifts": shifts(run_dir / "robustness.json")} if with_shifts else {})


def shifts(report: Path) -> dict[str, Run]:
    """Of an evaluation under shifts, by shift: success of policy and expert, and the interval of their difference."""
    return {
        row["text"]: {
            "policy": row["policy"]["rate"],
            "expert": row["expert"]["rate"],
            "difference": [row["difference"][end] for end in ("low", "high")],
        }
        for row in json.loads(report.read_text())["rows"]
        if row["expert"]
    }


def overrides(row: str) -> list[str]:
    """Of a row's training."""
    return ["imitation_fraction=0"] if row == REWARD else []


def config_of(task: str, row: str) -> dict[str, Any]:
    """What a row's result depends on: another config is another result."""
    env = {"env": load_task(task).config.model_dump(mode="json")}  # with the task's defaults of today
    if row == EXPERT:
        return {"task": task} | env
    return train_config(task, None, overrides(row)).model_dump(mode="json", exclude={"seed"}) | env


def mark_outdated(results: Results) -> None:
    """Rows of another config, such as earlier defaults of a task, say so in the table."""
    for task, rows in results.items():
        for row, entry in rows.items():
            if entry.get("config") != config_of(task, row):
                entry["before"] = True


def table(results: Results) -> str:
    """The results as Markdown: a line for each row of a task, the seeds in order."""
    heads = ("task", "policy", "success of 1,000 fresh episodes, seed by seed", "time to success, median")
    heads += ("steps", "training, s", "asked for", "measured")
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for task, bars in BARS.items():
        for row, name in ROWS.items():
            entry = results.get(task, {}).get(row, {})
            runs = list(entry.get("runs", {}).values())
            asked = f"{100 * bars[row][0]:.0f} % in {bars[row][1]} s" if row in bars else ""
            if runs or row in bars:
                lines.append(
                    f"| `{task}` | {name} | {_cells(runs)} | {asked} | {_when(entry) if runs else ''} |"
                )
    return "\n".join(lines)


def _cells(runs: list[Run]) -> str:
    """Success, time to success, steps and seconds of the runs of a row."""
    rates = " · ".join(f"{100 * run['success']:.1f} %" for run in runs) or "not run"
    medians = [run["median_s"] for run in runs if run.get("median_s") is not None]
    median = f"{statistics.median(medians):.2f} s" if medians else ""
    steps = f"{max(run['steps'] for run in runs):,}" if runs and "steps" in runs[0] else ""
    walls = " · ".join(f"{run['wall_s']:.0f}" for run in runs if "wall_s" in run)
    return f"{rates} | {median} | {steps} | {walls}"


def _when(entry: Entry) -> str:
    """When a row was measured, whether the code has changed since, and whether times are those of a busy machine."""
    busy = any(run.get("load", 0.0) > BUSY for run in entry["runs"].values())
    notes = (", earlier code" if entry.get("before") else "", ", busy machine" if busy else "")
    return f"{entry.get('measured', '')}{''.join(notes)}"


def shift_table(results: Results) -> str:
    """The default policies beside the experts as Markdown: a line for each shift, a column for each task.

    Bold: the 95 % interval of the difference does not hold zero.
    """
    by_task = {
        task: run["shifts"]
        for task in BARS
        for run in results.get(task, {}).get(DEFAULT, {}).get("runs", {}).values()
        if "shifts" in run
    }
    texts = list(dict.fromkeys(text for found in by_task.values() for text in found))
    lines = [["policy / expert, %", *(f"`{task}`" for task in by_task)], ["---"] * (len(by_task) + 1)]
    lines += [[text, *(_beside(found.get(text)) for found in by_task.values())] for text in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _beside(found: Run | None) -> str:
    if found is None:
        return "-"
    low, high = found["difference"]
    cell = f"{100 * found['policy']:.1f} / {100 * found['expert']:.1f}"
    return f"**{cell}**" if low > 0.0 or high < 0.0 else cell


def write_between_marks(path: Path, found: str) -> None:
    """Put a table between its marks in a Markdown file."""
    text = path.read_text()
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    if not after:
        raise SystemExit(f"{path.name} has no marks '{MARKS[0]}' and '{MARKS[1]}'.")
    path.write_text(f"{before}{MARKS[0]}\n{found}\n{MARKS[1]}{after}")


def _digest(config: dict[str, Any]) -> str:
    """Short, and another one for another config: a run folder continues with its own only."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def run_row(task: str, row: str, options: argparse.Namespace, results: Results) -> None:
    """The seeds of a row that are not there yet; each is kept as soon as it is there."""
    config = config_of(task, row)
    entry = results.get(task, {}).get(row, {})
    folder = options.runs / f"{row}-{_digest(config)}"
    if options.again:
        shutil.rmtree(folder, ignore_errors=True)
    if options.again or entry.get("config") != config:
        entry = {"config": config, "runs": {}}
    entry["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    for seed in range(options.seeds):
        if str(seed) in entry["runs"]:
            continue
        play = play_expert(task, seed, folder) if row == EXPERT else solve(task, row, seed, folder)
        play["load"] = os.getloadavg()[1]  # over 5 minutes; this work alone takes a core or two
        entry["runs"][str(seed)] = play
        entry["measured"] = f"{datetime.now(UTC):%Y-%m-%d}"
        results.setdefault(task, {})[row] = entry
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def short_of(results: Results) -> list[str]:
    """The runs below what was asked for."""
    return [
        f"{task} {ROWS[row]} seed {seed}"
        for task, bars in BARS.items()
        for row, (least, limit_s) in bars.items()
        for seed, run in results.get(task, {}).get(row, {}).get("runs", {}).items()
        if run["success"] < least or run["wall_s"] > limit_s
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="What `make solve` runs.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(BARS), default=list(BARS))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "solve")
    parser.add_argument(
        "--table", action="store_true", help="only write README.md from the results that are there"
    )
    parser.add_argument("--again", action="store_true", help="run also what is there already")
    options = parser.parse_args()
    results: Results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    mark_outdated(results)
    for task in [] if options.table else options.only:
        for row in options.rows:
            if row == EXPERT or row in BARS[task]:
                run_row(task, row, options, results)
    write_between_marks(README, table(results))
    write_between_marks(PAGE, shift_table(results))
    print(table(results))
    if short := short_of(results):
        print(f"Below the target: {', '.join(short)}.")
    return 1 if short_of(results) else 0


if __name__ == "__main__":
    sys.exit(main())
