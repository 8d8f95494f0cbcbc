"""Months of simulated logs: when is a joint that wears found, and does a healthy arm stay quiet? One line per case.

Each day 30 s of point-to-point moves in MuJoCo with the servo of the robot file, Coulomb friction of 2 % of the joint's
torque limit (at least 0.5 Nm), day-to-day friction +-10 % on all joints together (temperature), encoder noise 0.2 mrad,
torque noise 0.3 Nm and a bias of 0.2 Nm. From day 30 on one joint's friction grows by 0.05 Nm a day; or from day 30 on
the arm carries another kilogram (its weight; its inertia is left out).

Each arm's months are judged twice: with the effort in the logs, and from positions alone.

    python benchmarks/condition.py [ROBOT ...] [--seeds HEALTHY WORN LOADED]
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace

import mujoco
import numpy as np

from robolearn.data.motion import Motion, Stream
from robolearn.dossier.condition import assess
from robolearn.dossier.joint_friction import features
from robolearn.robots import load_robot

DAYS, WEAR_FROM, WEAR_NM, STEP_S, LENGTH_S = 60, 30, 0.05, 0.002, 30.0


def commands(robot, rng):
    """Point-to-point moves around the home position, [N, n] rad: quintic, 1.2 s each with 0.3 s of rest."""
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    speed = np.minimum(0.5 * robot.limits.velocity_rad_s, 0.8)
    points = [robot.home_rad]
    while len(points) * 1.5 < LENGTH_S + 1.5:
        reach = np.minimum(0.5, speed * 1.2 / 1.875)  # the peak speed of a quintic is 1.875 times the mean
        target = np.clip(points[-1] + rng.uniform(-reach, reach), robot.home_rad - 0.6, robot.home_rad + 0.6)
        points.append(np.clip(target, low + 0.05, high - 0.05))
    s = np.clip(np.arange(0, 1.5, STEP_S) / 1.2, 0, 1)
    shape = (10 * s**3 - 15 * s**4 + 6 * s**5)[:, None]
    path = np.concatenate([a + (b - a) * shape for a, b in itertools.pairwise(points)])
    return path[: int(LENGTH_S / STEP_S)]


def friction_of(robot):
    """Healthy Coulomb friction, [n] Nm."""
    torque = np.asarray(robot.limits.torque_nm, float)
    return np.maximum(0.02 * torque, 0.5)


def day(robot, model, friction, payload_kg, rng, number):
    """One day's log."""
    joints = [model.joint(name) for name in robot.joint_names]
    dofs, at = [int(j.dofadr[0]) for j in joints], [int(j.qposadr[0]) for j in joints]
    model.dof_frictionloss[dofs] = friction
    body = int(model.site("tcp").bodyid[0])
    data, path = mujoco.MjData(model), commands(robot, rng)
    data.qpos[at] = path[0]
    data.xfrc_applied[body, 2] = (
        -9.81 * payload_kg
    )  # a load that the arm's gravity compensation does not know of
    measured, torque = np.empty_like(path), np.empty_like(path)
    names = [model.actuator(name).id for name in robot.joint_names]
    for i, target in enumerate(path):
        data.ctrl[names] = target
        mujoco.mj_step(model, data)
        measured[i], torque[i] = data.qpos[at], data.actuator_force[names]
    times = np.arange(len(path)) * STEP_S
    seen = {
        "position_rad": measured + rng.normal(0, 2e-4, path.shape),
        "effort": torque + rng.normal(0, 0.3, path.shape) + rng.normal(0, 0.2, path.shape[1]),
    }
    keep = times > 1.5  # the start, where the arm sags into its servo
    return Motion(
        f"day {number}", "", tuple(robot.joint_names), Stream(times[keep], {"position_rad": path[keep]}),
        Stream(times[keep], {name: value[keep] for name, value in seen.items()}), effort_unit="Nm",
    )  # fmt: skip


def months(name, wear, payload_kg, seed):
    """The features of sixty days of one arm, with effort. wear: index of the joint that wears, or None."""
    robot, rng = load_robot(name), np.random.default_rng(seed)
    model, own = robot.spec().compile(), robot.spec(None).compile()
    model.opt.timestep, healthy, found = STEP_S, friction_of(robot), []
    for number in range(DAYS):
        friction = healthy * (1 + rng.uniform(-0.1, 0.1))
        if wear is not None:
            friction[wear] += WEAR_NM * max(0, number - WEAR_FROM)
        carried = payload_kg if number >= WEAR_FROM else 0.0
        log = day(robot, model, friction, carried, rng, number)
        found.append(features(log, robot, own))
    return found


def without_effort(found):
    """The same logs as they are read where effort was not recorded."""
    return [
        replace(one, coulomb_nm=None, in_effort=None, gravity=np.full_like(one.gravity, np.nan))
        for one in found
    ]


def main():
    """Print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("robots", nargs="*", default=["fr3", "ur5e", "iiwa14"])
    parser.add_argument(
        "--seeds",
        type=int,
        nargs=3,
        default=[1, 2, 3],
        metavar=("HEALTHY", "WORN", "LOADED"),
        help="one of each case",
    )
    options = parser.parse_args()
    cases = (("healthy", None, 0.0), ("joint 4 wears", 3, 0.0), ("one kilogram more", None, 1.0))
    for name, ((what, wear, payload), seed) in itertools.product(
        options.robots, zip(cases, options.seeds, strict=True)
    ):
        began = time.monotonic()
        found = months(name, wear, payload, seed)
        took = time.monotonic() - began
        for kind, logs in (("with effort", found), ("positions only", without_effort(found))):
            result = assess(logs, load_robot(name), servo_known=True)
            print(f"{name}, {what}, seed {seed}, {kind}: {said(result)} [{took:.0f} s]", flush=True)


def said(result):
    """Alarms of a Condition in one line."""
    alarms = [
        f"{j.joint} on day {j.alarm} (+{WEAR_NM * max(0, j.alarm - WEAR_FROM):.2f} Nm if it wears), change now "
        f"{j.change:+.2f} Nm" for j in result.alarms
    ]  # fmt: skip
    load = "" if result.load is None else f"; load changed on day {result.load}"
    return f"{', '.join(alarms) or 'no alarm'}{load}"


if __name__ == "__main__":
    main()
