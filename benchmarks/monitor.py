"""What `monitor.check` costs with every rule on, beside the bare kinematics call: `python benchmarks/monitor.py`.

Times are wall-clock of this machine and mean something only beside each other.
"""

from __future__ import annotations

import argparse
import time

import mujoco
import numpy as np

from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Measured, Surroundings

PERIOD_S = 0.002


def wave(robot, share, phase, t):
    """A smooth stream around home: position and velocity [n] at time t, peak speeds `share` of 1 rad/s."""
    frequency = np.linspace(1.5, 2.5, robot.dof)
    ramp = min(t / 2.0, 1.0) ** 3 * (10 - 15 * min(t / 2.0, 1.0) + 6 * min(t / 2.0, 1.0) ** 2)
    angle = frequency * t + phase
    swing = share / frequency
    slope = 0.0 if t >= 2.0 else 15.0 * (t / 2.0) ** 2 * (1.0 - t / 2.0) ** 2
    position = robot.home_rad + swing * (np.sin(angle) - np.sin(phase)) * ramp
    velocity = swing * (frequency * np.cos(angle) * ramp + (np.sin(angle) - np.sin(phase)) * slope)
    return position, velocity


def run(robot, mode, share, cycles, step=0.0):
    """Times [cycles] s of check, and the verdicts. step: rad, added to every tenth command (to be limited)."""
    monitor = SafetyMonitor(robot, SafetyProfile.load(robot.arm), mode, PERIOD_S)
    surroundings = lambda now: Surroundings(6.0, now, enabling_device=True, enabling_stamp_s=now)  # noqa: E731
    sent, speed = robot.home_rad, np.zeros(robot.dof)
    for k in range(-20, 1):  # until the arm's position is known
        now = k * PERIOD_S
        monitor.check((), Measured(robot.joint_names, sent, speed, now), surroundings(now), now)
    assert monitor.start(0.0, Measured(robot.joint_names, sent, speed, 0.0), "bench").accepted
    times, verdicts = np.empty(cycles), {}
    for k in range(cycles):
        now = (k + 1) * PERIOD_S
        position, velocity = wave(robot, share, 0.3, now)
        if step and k % 10 == 0:
            position = position + step
        command = Command(robot.joint_names, position, now, velocity)
        measured = Measured(robot.joint_names, sent, speed, now)
        around = surroundings(now)
        began = time.perf_counter()
        decision = monitor.check([command], measured, around, now)
        times[k] = time.perf_counter() - began
        verdicts[str(decision.verdict)] = verdicts.get(str(decision.verdict), 0) + 1
        sent, speed = decision.command_rad, decision.velocity_rad_s
    return times, verdicts


def kinematics(robot, cycles):
    """Times [cycles] s of MuJoCo's kinematics, centre-of-mass and inertia call for the same arm."""
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    times = np.empty(cycles)
    for k in range(cycles):
        position, _ = wave(robot, 0.5, 0.3, k * PERIOD_S)
        began = time.perf_counter()
        data.qpos[: robot.dof] = position
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        times[k] = time.perf_counter() - began
    return times


def line(name, times, base, extra=""):
    p50, p99, p999 = np.percentile(times * 1e6, [50, 99, 99.9])
    print(f"{name:46} {p50:8.1f} {p99:8.1f} {p999:8.1f} {np.median(times) / base:7.1f}  {extra}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=20_000)
    options = parser.parse_args()
    robot = load_robot("fr3")
    base = kinematics(robot, options.cycles)
    print(f"{'us per cycle':46} {'p50':>8} {'p99':>8} {'p99.9':>8} {'ratio':>7}  verdicts")
    line("kinematics alone (mj_kinematics, mj_comPos)", base, np.median(base))
    for name, mode, share, step in (
        ("check, automatic, half speed", "automatic", 0.5, 0.0),
        ("check, automatic, near itself", "automatic", 0.6, 0.0),
        ("check, collaborative", "collaborative", 0.1, 0.0),
        ("check, manual reduced", "manual_reduced", 0.08, 0.0),
        ("check, automatic, every tenth command stepped", "automatic", 0.5, 0.002),
    ):
        times, verdicts = run(robot, mode, share, options.cycles, step)
        line(name, times, np.median(base), ", ".join(f"{key} {count}" for key, count in verdicts.items()))


if __name__ == "__main__":
    main()
