"""System identification against plants whose numbers are known: how near, how honest, how long.

    python -m benchmarks.sysid [--robots fr3 ur5e] [--repeats 40] [--seconds 20] [--effort both]

For each robot: the motion of `excite`; the log of a plant in the class without noise; repeats with sensor noise,
stamp jitter and 12 ms of delay, in how many of which the 95 % intervals hold the truth; the plants outside the class.
Played through the real nodes: `robolearn serve --motion`, then `robolearn sysid fit`. Prints; asserts nothing.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np

from robolearn.data.motion import Motion, ordered
from robolearn.data.motion_file import PlannedMotion
from robolearn.robots import Robot, load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.sim.plant import Plant, PlantArm, load_plant
from robolearn.sysid.excite import excite
from robolearn.sysid.fit import FitResult, fit

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


def one_robot(name: str, seconds: float, repeats: int, efforts: list[bool]) -> None:
    robot = load_robot(name)
    began = time.monotonic()
    found = excite(robot, SafetyProfile.load(name), duration_s=seconds)
    print(f"{name}: motion of {seconds:g} s in {time.monotonic() - began:.0f} s, scale {found.scale:.2f}")
    soft = load_plant(f"{name}-soft", robot)
    clean = soft.model_copy(update=dict.fromkeys(NOISE, 0.0))
    for effort in efforts:
        label = "with effort" if effort else "without effort"
        result = fit([record(robot, clean, found.motion, effort=effort)], robot)
        off = errors(result, truth(robot, clean, result))
        print(
            f"  {label}, no noise: {len(off)} of {len(result.judged.quantities)} identified, "
            f"largest error {100 * max(off.values(), default=0.0):.4f} %, fit {result.seconds:.0f} s"
        )
        _repeated(robot, soft.model_copy(update=NOISE), found.motion, repeats, effort, label)
    for kind in ("backlash", "stribeck"):
        plant = load_plant(f"{name}-{kind}", robot)
        result = fit([record(robot, plant, found.motion, effort=efforts[-1])], robot)
        failing = [joint.joint for joint in result.joints if not joint.explained]
        left = [q for q in result.identified if q.joint in failing or q.joint is None]
        print(
            f"  {kind}: explained {result.explained}, not on {len(failing)} of {robot.dof} joints, "
            f"{len(left)} confident numbers of these, {len(result.identified)} of all"
        )
        for joint in result.joints:
            if joint.reasons:
                print(f"    {joint.joint}: {joint.reasons[0]}")
                break


def _repeated(
    robot: Robot, plant: Plant, motion: PlannedMotion, repeats: int, effort: bool, label: str
) -> None:
    inside: dict[str, int] = defaultdict(int)
    count: dict[str, int] = defaultdict(int)
    worst: list[float] = []
    outside, total, seconds, ratios, explained = 0, 0, [], [], 0
    for seed in range(repeats):
        result = fit([record(robot, plant, motion, effort=effort, seed=seed)], robot)
        right = truth(robot, plant, result)
        off = errors(result, right)
        worst.append(max(off.values(), default=0.0))
        outside, total = outside + sum(e > 0.02 for e in off.values()), total + len(off)
        seconds.append(result.seconds)
        explained += result.explained
        held = result.held_out
        ratios.append(float(np.linalg.norm(held.rmse("fitted")) / np.linalg.norm(held.rmse("nominal"))))
        for q in result.identified:
            if q.name in right and q.interval is not None:
                count[q.name] += 1
                inside[q.name] += q.interval[0] <= right[q.name] <= q.interval[1]
    if not count:
        print(f"  {label}, noise: nothing identified in {repeats} repeats")
        return
    share = {name: inside[name] / count[name] for name in count}
    least = min(share, key=lambda name: share[name])
    covered = sum(inside.values()) / sum(count.values())
    print(
        f"  {label}, noise, {repeats} repeats: {len(count)} numbers; {outside} of {total} off by more than 2 %, worst "
        f"{100 * max(worst):.1f} %; intervals hold the truth in {100 * covered:.1f} % of all, least {inside[least]} of "
        f"{count[least]} ({least}); explained in {explained}; held-out error {np.mean(ratios):.3f} of nominal; "
        f"fit {np.median(seconds):.0f} s, {max(seconds):.0f} s at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robots", nargs="+", default=["fr3", "ur5e"])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--effort", choices=("both", "with", "without"), default="both")
    options = parser.parse_args()
    efforts = {"both": [False, True], "with": [True], "without": [False]}[options.effort]
    for name in options.robots:
        one_robot(name, options.seconds, options.repeats, efforts)


if __name__ == "__main__":
    main()
