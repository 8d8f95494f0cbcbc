"""The reference page of manufacturers' arms that were tried, from docs/results/arms.json (`benchmarks/arms.py`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARMS = Path(__file__).parent / "results" / "arms.json"
_HOW = """\
Model files as published; none is part of robolearn. For each, `robolearn robots draft` wrote the robot file, and
figures that the model file does not state were added by hand. *Lines*: of the shortest robot file that gives the same
arm, without its hulls (`robots draft --short`). *Hulls*: fitted by `robolearn robots hulls`. *Expert*: share of goals
that the task's expert reaches, which `train` prints first. *reach*: `robolearn train FILE/reach`, one seed on one core,
success of the exported policy over fresh episodes; 250,000 steps are the default, and fewer were asked for where the
table has fewer. *Goals served*: `robolearn serve --sim` in a cell of `robolearn init-cell`, over ROS 2; goals
that were not reached lie near links of the arm itself, from which the monitor keeps it away. *pick_cube*: with
robolearn's own gripper. Nothing here was tried on a real arm, and no SCARA was tried.
`python -m benchmarks.arms` continues the table."""
_QUESTIONS = (
    "limits.torque_nm of",
    "limits.torque_nm is",
    "The model file states",
    "The z axis of the flange",
)
_HEAD = (
    "arm",
    "model file",
    "joints",
    "lines",
    "hulls",
    "expert",
    "`reach`, success",
    "goals served",
    "`pick_cube`",
)
_LINES, _REACHED, _PICKED = 10, 0.95, 0.90


def arms_page(path: Path = ARMS) -> str:
    """Counts, the table, and what `robots check` questions in the files."""
    results: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    arms = {name: arm for name, arm in results.items() if "refused" not in arm}
    refused = [
        f"- `{name}` ({arm['source']}): {arm['refused']}" for name, arm in results.items() if name not in arms
    ]
    asked = [
        f"- {arm['label']}: {line}"
        for arm in arms.values()
        for line in arm["findings"]
        if line.startswith(_QUESTIONS)
    ]
    parts = ["# Arms tried", _HOW, _counted(list(arms.values()), len(results)), _table(list(arms.values()))]
    if refused:
        parts += ["## Refused", "\n".join(refused)]
    if asked:
        parts += ["## What `robots check` questions in them", "\n".join(asked)]
    return "\n\n".join(parts) + "\n"


def _counted(arms: Sequence[dict[str, Any]], files: int) -> str:
    """How many of the arms came how far."""
    short = sum(arm["lines"] <= _LINES for arm in arms)
    reach = [arm["reach"]["success"] for arm in arms if "success" in arm.get("reach", {})]
    served = [arm["serve"] for arm in arms if "goals" in arm.get("serve", {})]
    picked = [arm["pick_cube"]["success"] for arm in arms if "success" in arm.get("pick_cube", {})]
    return (
        f"Of {files} files, {len(arms)} load and compile, {short} of them with at most {_LINES} lines; the monitor can "
        f"watch every link of {sum(arm['watched'] for arm in arms)}. `reach` was trained on {len(reach)}: "
        f"{sum(rate >= _REACHED for rate in reach)} reach at least {_REACHED:.0%}. {len(served)} were served: "
        f"{sum(one['reached'] == one['goals'] for one in served)} reach every goal. `pick_cube` was trained on "
        f"{len(picked)}: {sum(rate >= _PICKED for rate in picked)} reach at least {_PICKED:.0%}."
    )


def _table(arms: Sequence[dict[str, Any]]) -> str:
    rows = []
    for arm in arms:
        hulls = f"{arm['hulls']} links, {arm['shapes']} shapes" if arm["hulls"] else "none needed"
        rows.append(
            (
                arm["label"],
                arm["source"],
                arm["joints"],
                arm["lines"],
                hulls if arm["watched"] else "not fitted yet",
                f"{arm['reach']['expert']:.0%}" if "expert" in arm.get("reach", {}) else "not tried",
                _rate(arm.get("reach", {})),
                _goals(arm.get("serve", {})),
                _rate(arm.get("pick_cube", {})),
            )
        )
    lines = [_HEAD, ["---"] * len(_HEAD), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _rate(trained: dict[str, Any]) -> str:
    if "success" in trained:
        return f"{trained['success']:.1%} after {trained['steps']:,} steps"
    if "at_the_end_of_training" in trained:
        return f"{trained['at_the_end_of_training']:.1%} in training; policy not evaluated"
    if "expert" in trained:
        return f"expert {trained['expert']:.0%}; not trained"
    return trained.get("refused", "not tried")


def _goals(served: dict[str, Any]) -> str:
    return f"{served['reached']} of {served['goals']}" if "goals" in served else "not tried"
