"""Try arms of manufacturers' own files: check, hulls, the expert, `reach` with the defaults.

    python -m benchmarks.arms FOLDER [--only NAME ...] [--no-train] [--serve] [--pick] [--set KEY=VALUE ...]

FOLDER holds the robot files (`robolearn robots draft` writes them) and `sources.json`: {name: where its model file is
from}. Results go to docs/results/arms.json, one arm after the other, and from there into the reference. An arm that is
there already is not tried again; a training that was cut off goes on. --seconds: begin nothing after so long.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robolearn.errors import RobolearnError, RobotError
from robolearn.files.writing import replace_file
from robolearn.robots import check_robot, load_robot
from robolearn.robots.draft import robot_text, shortened
from robolearn.robots.from_model_file import LIMITS
from robolearn.robots.hulls_file import fit_hulls, write_hulls
from robolearn.robots.watched import unwatched_links

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "arms.json"
_LEAST_S = 60.0  # a training is not begun with less


def checked(path: Path, hulls: bool = True) -> dict[str, Any]:
    """What became of a robot file: joints, hulls, what `robots check` finds, whether the monitor can watch it."""
    facts: dict[str, Any] = {}
    try:
        facts["lines"] = short_lines(path)
        if hulls and (fitted := fit_hulls(path)).hulls:
            write_hulls(path, fitted.hulls)
        robot = load_robot(path)
        model = robot.spec().compile()
    except (RobolearnError, ValueError) as error:
        return facts | {"refused": str(error)}
    given = robot.file.hulls
    return facts | {
        "label": robot.label,
        "model": Path(str(robot.file.model.mjcf or robot.file.model.urdf)).name if robot.file.model else "",
        "joints": robot.dof,
        "hulls": len(given),
        "shapes": sum(len(hull.shapes) for hull in given.values()),
        "watched": not unwatched_links(model),
        "findings": check_robot(path),
    }


def short_lines(path: Path) -> int:
    """Lines of the shortest robot file, without hulls, that gives the arm of the one at path.

    It is written, loaded and compared: model, home posture, limits and topics are the same.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    hulls = document.pop("hulls", {})
    text = robot_text(shortened(document, path.parent))
    other = path.with_name(f".{path.stem}.short.yaml")
    try:
        other.write_text(text + robot_text({"hulls": hulls}) if hulls else text, encoding="utf-8")
        long, short = load_robot(path), load_robot(other)
    finally:
        other.unlink(missing_ok=True)
    same = long.spec().to_xml() == short.spec().to_xml() and (long.ros, list(long.home_rad), long.joint_names) == (
        short.ros, list(short.home_rad), short.joint_names
    )  # fmt: skip
    for key in LIMITS:
        same = same and np.array_equal(getattr(long.limits, key), getattr(short.limits, key))
    if not same:
        raise RobotError(f"The short file for {path.name} is another arm.")
    return len(text.splitlines())


def trained(
    path: Path, run: Path, seconds: float, task: str = "reach", settings: Sequence[str] = ()
) -> dict[str, Any]:
    """What `train FILE/TASK` says of an arm; without `success` where time ran out. settings: `key=value`."""
    command = [sys.executable, "-m", "robolearn", "train", f"{path}/{task}", *settings, "--run", str(run)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # it stops after this iteration, and can go on
            said, _ = process.communicate()
    said = " ".join(said.split())
    facts: dict[str, Any] = {"exit": process.returncode}
    if found := re.search(r"expert reaches (\d+)%", said):
        facts["expert"] = int(found[1]) / 100
    if found := re.search(r"after ([\d,]+) steps in ([\d.]+) s", said):
        facts["steps"], facts["wall_s"] = int(found[1].replace(",", "")), float(found[2])
    if found := re.search(r"success ([\d.]+)% of ([\d,]+) fresh", said):
        facts["success"], facts["episodes"] = float(found[1]) / 100, int(found[2].replace(",", ""))
    if process.returncode and "success" not in facts:
        facts["said"] = said[-400:]
    return facts


def served(path: Path, bundle: Path, folder: Path, goals: int = 5) -> dict[str, Any]:
    """Goals that the policy reaches on the simulated arm over ROS 2, behind the monitor, in a cell of `init-cell`."""
    import jax

    from robolearn.deploy.deployment import load_deployment, node_parameters
    from robolearn.deploy.exercise import exercise
    from robolearn.deploy.new_cell import Cell, write_cell
    from robolearn.deploy.serving import Serving, free_domain
    from robolearn.env.task import load_task

    task = load_task(f"{path}/reach")
    points = [
        task.reset(key).goal["goal_position"].tolist() for key in jax.random.split(jax.random.key(7), goals)
    ]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        file, _ = write_cell(folder / "cell", Cell(robot=str(path), name="trial of arms"))
        deployment = load_deployment(file, ["mode=automatic"])
        nodes = node_parameters(deployment, bundle, sim=True, log_dir=folder / "safety")
        nodes["sim_node"]["person_sensor"] = False  # the exercise stands for it
        with Serving(
            folder / "nodes", robot=str(path), rate_hz=deployment.rate_hz, domain_id=free_domain()
        ) as serving:
            for name, parameters in nodes.items():
                serving.start(name, **parameters)
            result = exercise(serving, points, faults=False, timeout_s=150.0)
    except RobolearnError as error:
        return {"goals": goals, "reached": 0, "said": str(error)[-400:]}
    reached = [goal for goal in result["goals"] if goal["reached"]]
    return {"goals": goals, "reached": len(reached), "rate_hz": deployment.rate_hz}


def main() -> None:
    """Try the arms of a folder."""
    given = _arguments()
    end = time.monotonic() + given.seconds
    known = given.folder / "sources.json"
    sources = json.loads(known.read_text()) if known.is_file() else {}
    for name in given.only or sorted(path.stem for path in given.folder.glob("*.yaml")):
        if end - time.monotonic() < _LEAST_S:
            break
        before = _read(given.results).get(name, {})
        arm = tried(name, given, before, end) | {"source": sources.get(name, before.get("source", ""))}
        # read again: another trial may have written its own arms meanwhile
        results = _read(given.results) | {name: arm}
        replace_file(given.results, json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        print(name, {k: v for k, v in arm.items() if k != "findings"}, flush=True)


def tried(name: str, given: argparse.Namespace, before: dict[str, Any], end: float) -> dict[str, Any]:
    """What is known of an arm after the parts that are asked for and not done yet."""
    path = given.folder / f"{name}.yaml"
    arm = dict(before)
    if given.again or "watched" not in arm:
        kept = {key: value for key, value in arm.items() if key in ("reach", "serve", "pick_cube")}
        arm = checked(path, not given.no_hulls) | kept
    if "watched" not in arm:
        return arm

    def training(task: str, run: Path) -> dict[str, Any]:
        left = end - time.monotonic()
        if "success" in arm.get(task, {}) or left < _LEAST_S:
            return arm.get(task, {})
        found = trained(path, run, left - _LEAST_S / 2, task, given.set)
        return {"refused": found["said"]} if found["exit"] == 2 else arm.get(task, {}) | found

    if not given.no_train and (reach := training("reach", given.runs / name)):
        arm["reach"] = reach
    bundles = sorted((given.runs / name).glob("*.robolearn"))
    before = arm.get("serve", {})
    if given.serve and bundles and ("goals" not in before or before["reached"] < before["goals"]):
        arm["serve"] = served(path.resolve(), bundles[0].resolve(), given.runs / name / "served")
    if given.pick and (pick := training("pick_cube", given.runs / f"{name}_pick")):
        arm["pick_cube"] = pick
    return arm


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--no-hulls", action="store_true", help="fit none: what the files have is enough")
    parser.add_argument("--no-train", action="store_true")
    parser.add_argument(
        "--serve", action="store_true", help="serve what was trained; needs ROS 2 and idle processors"
    )
    parser.add_argument("--pick", action="store_true", help="train pick_cube as well")
    parser.add_argument("--again", action="store_true", help="check again what is there")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the trainings")
    parser.add_argument("--seconds", type=float, default=1e6)
    parser.add_argument("--runs", type=Path, default=Path("runs/arms"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
