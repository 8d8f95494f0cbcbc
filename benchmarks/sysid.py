"""System identification against plants whose numbers are known: how near, how honest, how long.

    python -m benchmarks.sysid [--robots fr3 ur5e] [--repeats 40] [--seconds 20] [--rate 500] [--effort both]

For each robot: the motion of `excite`; the log of a plant in the class without noise; repeats with sensor noise,
stamp jitter and 12 ms of delay: how far off the identified numbers are, in how many repeats the 95 % intervals hold the
truth, and the same of the numbers that the fit calls wide; the plants outside the class.
Played through the real nodes: `robolearn serve --motion`, then `robolearn sysid fit`. Prints; asserts nothing.
Every repeat is kept in --state as it is done: what is begun again goes on where it ended.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from robolearn.data.motion import Motion, ordered
from robolearn.data.motion_file import PlannedMotion
from robolearn.robots import Robot, load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.sim.plant import Plant, PlantArm, load_plant
from robolearn.sysid.excite import excite
from robolearn.sysid.fit import FitResult, fit
from robolearn.sysid.quantities import ENOUGH, IDENTIFIED_MAX, IDENTIFIED_WITHIN

NOISE = {
    "position_noise_rad": 2e-4,
    "velocity_noise_rad_s": 1e-2,
    "effort_noise_nm": 0.3,
    "stamp_jitter_s": 1e-4,
}


def record(robot: Robot, plant: Plant, motion: PlannedMotion, *, effort: bool, seed: int = 0) -> Motion:
    """What a log of the plant under the motion would hold, at the motion's own rate."""
    arm = PlantArm(robot, plant, float(motion.time_s[1] - motion.time_s[0]), seed)
    rows = [arm.step(t, q) for t, q in zip(motion.time_s, motion.position_rad, strict=True)]
    keys = ("position_rad", "velocity_rad_s", *(("effort",) if effort else ()))
    stamps = np.array([row["stamp_s"] for row in rows])
    measured, _, _ = ordered("measured", stamps, {key: np.array([row[key] for row in rows]) for key in keys})
    command, _, _ = ordered("command", motion.time_s, {"position_rad": motion.position_rad})
    return Motion(plant.title, "0" * 64, robot.joint_names, command, measured, robot.name,
                  effort_unit="Nm" if effort else None)  # fmt: skip


def truth(robot: Robot, plant: Plant, result: FitResult) -> dict[str, float]:
    """The plant's own value of every quantity that the fit can give, by its name."""
    servo = robot.servo
    kp = np.array(servo.kp_nm_rad) * plant.of("stiffness_scale", robot, 1.0)
    kv = np.array(servo.kv_nms_rad) * plant.of("damping_scale", robot, 1.0)
    armature = np.array(servo.armature_kgm2) * plant.of("armature_scale", robot, 1.0)
    viscous = plant.of("viscous_nms_rad", robot, servo.damping_nms_rad)
    friction = plant.of("friction_nm", robot, 0.0)
    inertia = result.problem.layout.reference_inertia
    values = {
        "stiffness": kp, "servo_damping": kv, "viscous": viscous, "friction": friction, "armature": armature,
        "lag": (kv + viscous) / kp, "friction_per_stiffness": friction / kp,
        "inertia_per_stiffness": (inertia + armature) / kp, "bias": plant.of("position_bias_rad", robot, 0.0),
    }  # fmt: skip
    found = {}
    for quantity in result.judged.quantities:
        if quantity.kind in values and quantity.joint is not None:
            found[quantity.name] = float(values[quantity.kind][robot.joint_names.index(quantity.joint)])
    return found | {"delay": plant.command_delay_s}


def errors(result: FitResult, right: dict[str, float]) -> dict[str, float]:
    """Relative errors of what was identified and is not 0 in truth."""
    return {
        q.name: abs(q.estimate / right[q.name] - 1.0)
        for q in result.identified
        if q.estimate is not None and right.get(q.name)
    }


def one_robot(name: str, options: argparse.Namespace, efforts: list[bool]) -> None:
    robot = load_robot(name)
    began = time.monotonic()
    found = excite(robot, SafetyProfile.load(name), duration_s=options.seconds, rate_hz=options.rate)
    print(
        f"{name}: motion of {options.seconds:g} s at {options.rate:g} Hz in {time.monotonic() - began:.0f} s, "
        f"scale {found.scale:.2f}"
    )
    soft = load_plant(f"{name}-soft", robot)
    clean = soft.model_copy(update=dict.fromkeys(NOISE, 0.0))
    for effort in efforts:
        label = "with effort" if effort else "without effort"
        if not options.repeats_only:
            result = fit([record(robot, clean, found.motion, effort=effort)], robot)
            off = errors(result, truth(robot, clean, result))
            print(
                f"  {label}, no noise: {len(off)} of {len(result.judged.quantities)} identified, "
                f"largest error {100 * max(off.values(), default=0.0):.4f} %, fit {result.seconds:.0f} s",
                flush=True,
            )
        rows = _repeated(robot, soft.model_copy(update=NOISE), found.motion, effort, options)
        _summary(label, rows)
    for kind in () if options.in_class_only or options.repeats_only else ("backlash", "stribeck"):
        plant = load_plant(f"{name}-{kind}", robot)
        for effort in efforts:
            result = fit([record(robot, plant, found.motion, effort=effort)], robot)
            failing = [joint.joint for joint in result.joints if not joint.explained]
            print(
                f"  {kind}, {'with' if effort else 'without'} effort: explained {result.explained}, not on "
                f"{len(failing)} of {robot.dof} joints, {len(result.identified)} confident numbers",
                flush=True,
            )
            for joint in [joint for joint in result.joints if joint.reasons][:1]:
                print(f"    {joint.joint}: {joint.reasons[0]}")


def _repeated(
    robot: Robot, plant: Plant, motion: PlannedMotion, effort: bool, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Fits of logs that differ in their noise: those in the state file, and those that it lacks."""
    about = {"robot": robot.name, "effort": effort, "seconds": options.seconds, "rate": options.rate}
    options.state.parent.mkdir(parents=True, exist_ok=True)
    lines = options.state.read_text("utf-8").splitlines() if options.state.is_file() else []
    rows = [row for row in map(json.loads, lines) if row["about"] == about and row["seed"] < options.repeats]
    done = {row["seed"] for row in rows}
    for seed in range(options.repeats):
        if seed in done:
            continue
        cpu = time.process_time()
        result = fit([record(robot, plant, motion, effort=effort, seed=seed)], robot)
        right, held = truth(robot, plant, result), result.held_out
        row = {
            "about": about,
            "seed": seed,
            "seconds": result.seconds,
            "cpu_seconds": time.process_time() - cpu,
            "explained": result.explained,
            "ratio": float(np.linalg.norm(held.rmse("fitted")) / np.linalg.norm(held.rmse("nominal"))),
            "found": {
                q.name: [q.estimate, *q.interval, right[q.name]]
                for q in result.estimated
                if q.name in right and q.estimate is not None and q.interval is not None
            },
        }
        with options.state.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        rows.append(row)
    return rows


def _summary(label: str, rows: list[dict[str, Any]]) -> None:
    seconds = [row["seconds"] for row in rows]
    if not rows:
        return
    print(
        f"  {label}, noise, {len(rows)} repeats: explained in {sum(row['explained'] for row in rows)}; held-out error "
        f"{np.mean([row['ratio'] for row in rows]):.3f} of nominal; fit {np.median(seconds):.0f} s, "
        f"{max(seconds):.0f} s at most, {np.median([row['cpu_seconds'] for row in rows]):.0f} s of processor"
    )
    every = [(name, *numbers) for row in rows for name, numbers in row["found"].items()]
    for status, wanted in (("identified", True), ("wide", False)):
        _of_status(status, [number for number in every if _is_identified(*number[:4]) is wanted])


def _is_identified(name: str, estimate: float, low: float, high: float) -> bool:
    """By the fit's own rule: what was kept of a repeat is numbers only."""
    return name.split(" of ")[0] in ENOUGH or high - low <= 2 * IDENTIFIED_MAX * abs(estimate)


def _of_status(status: str, numbers: list[tuple[str, float, float, float, float]]) -> None:
    """How far off the numbers of one status are, and how often their intervals hold the truth."""
    inside: dict[str, list[bool]] = defaultdict(list)
    for name, _, low, high, right in numbers:
        inside[name].append(low <= right <= high)
    off = np.array([abs(estimate / right - 1.0) for _, estimate, _, _, right in numbers if right])
    if not len(off):
        print(f"    {status}: none", flush=True)
        return
    shares = sorted((np.mean(held), len(held), name) for name, held in inside.items())
    below = [f"{name} {share * n:.0f} of {n}" for share, n, name in shares if share < 0.9]
    over, limit = int((off > IDENTIFIED_WITHIN).sum()), f"{100 * IDENTIFIED_WITHIN:g} %"
    covered = 100 * np.mean(np.concatenate(list(inside.values())))
    print(
        f"    {status}: {len(numbers)} numbers of {len(inside)}; off by more than {limit}: {over} of {len(off)}, worst "
        f"{100 * off.max():.1f} %, median {100 * np.median(off):.2f} %; intervals hold the truth in {covered:.1f} %, "
        f"in less than nine of ten for {len(below)} of {len(shares)}{': ' if below else ''}{', '.join(below)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robots", nargs="+", default=["fr3", "ur5e"])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=500.0, help="of commands and measurements, Hz")
    parser.add_argument("--state", type=Path, default=Path("build/sysid.jsonl"), help="what was done already")
    parser.add_argument(
        "--in-class-only", action="store_true", help="leave out backlash and falling friction"
    )
    parser.add_argument(
        "--repeats-only",
        action="store_true",
        help="leave out also the log without noise: to go on with repeats",
    )
    parser.add_argument("--effort", choices=("both", "with", "without"), default="both")
    options = parser.parse_args()
    efforts = {"both": [False, True], "with": [True], "without": [False]}[options.effort]
    for name in options.robots:
        one_robot(name, options, efforts)


if __name__ == "__main__":
    main()
