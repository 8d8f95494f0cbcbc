"""Changes the monitor's code in every small way, one at a time, and says which change no test notices.

    make mutants                              # every module of TESTS, a quarter of an hour on two cores
    make mutants MODULES="comparisons braking"

The tool is mutmut; it works in a copy under build/mutants. Each module is tried with its own tests alone: that is
quick, and stricter than the whole suite. Lines that only write a message (f-strings) are left as they are. What
survives is listed, with the reason why it may, in docs/explain/mutants.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TREE = ROOT / "build" / "mutants" / "tree"
TESTS = {  # module below robolearn/safety: files of tests
    "comparisons": ["test_comparisons"],
    "mode_limits": ["test_profile"],
    "braking": ["test_braking"],
    "distances": ["test_gaps"],
    "stops": ["test_stops"],
    "stream": ["test_command_stream"],
    "envelope": ["test_envelope"],
    "inputs": ["test_inputs"],
    "follow": ["test_follow"],
    "foresight": ["test_foresight_steps"],
    "space": ["test_regions", "test_contact"],
    "contact": ["test_contact"],
    "people": ["test_contact", "test_intrusion"],
    "iso_13855": ["test_intrusion"],
    "cycle_clock": ["test_cycle_clock"],
    "rest": ["test_rest", "test_cycles"],
    "recent_faults": ["test_recent_faults"],
    "held_position": ["test_held_position"],
    "monitor": ["test_monitor", "test_answers", "test_boot_and_reset", "test_cycles"],
}
SETTINGS = """
[tool.mutmut]
source_paths = ["robolearn"]
only_mutate = ["robolearn/safety/{module}.py"]
also_copy = ["envs", "configs"]
do_not_mutate_patterns = ['f"']
pytest_add_cli_args = ["-p", "no:cacheprovider", "-o", "addopts="]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 10.0
timeout_multiplier = 5.0
track_dependencies = false
"""
SURVIVED = (0, 33)  # the tests passed; no test reaches it


def mutate(module: str, tool: Path) -> tuple[int, dict[str, str]]:
    """How many changes of a module there were, and the diff of each that survived."""
    shutil.rmtree(TREE, ignore_errors=True)
    for folder in ("robolearn", "envs", "configs", "tests"):
        shutil.copytree(ROOT / folder, TREE / folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = [f"tests/safety/{name}.py" for name in TESTS[module]]
    settings = (ROOT / "pyproject.toml").read_text() + SETTINGS.format(module=module, tests=json.dumps(files))
    (TREE / "pyproject.toml").write_text(settings)
    shutil.copy(ROOT / "README.md", TREE)
    paths = os.pathsep.join(map(str, (TREE, TREE / "envs", tool)))
    environment = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, "-m", "mutmut"]
    cores = str(len(os.sched_getaffinity(0)))
    run = subprocess.run(
        [*command, "run", "--max-children", cores],
        cwd=TREE, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    meta = TREE / "mutants" / "robolearn" / "safety" / f"{module}.py.meta"
    if run.returncode or not meta.is_file():
        sys.exit(f"mutmut did not finish on {module}: {run.stdout[-2000:]}{run.stderr[-2000:]}")
    results = json.loads(meta.read_text())["exit_code_by_key"]
    diffs = {}
    for name in (name for name, code in results.items() if code in SURVIVED):
        shown = subprocess.run(
            [*command, "show", name], cwd=TREE, env=environment, capture_output=True, text=True, check=False
        )
        changed = [
            line for line in shown.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
        ]
        diffs[name.removeprefix("robolearn.safety.")] = "\n".join(changed)
    return len(results), diffs


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Run `make mutants`, which installs the tool and says where it is.")
    tool, *chosen = sys.argv[1:]
    for module in chosen or TESTS:
        if module not in TESTS:
            sys.exit(f"Unknown module '{module}'. Available: {', '.join(TESTS)}.")
        count, survivors = mutate(module, Path(tool).resolve())
        print(f"{module}: {count} changes, {len(survivors)} not noticed", flush=True)
        for name, diff in survivors.items():
            print(f"  {name}\n" + "\n".join(f"    {line}" for line in diff.splitlines()), flush=True)


if __name__ == "__main__":
    main()
