"""Recordings of plants, made in MuJoCo without ROS: what the tests of system identification fit to."""

from __future__ import annotations

import numpy as np

from robolearn.data.motion import Motion, ordered
from robolearn.robots import load_robot
from robolearn.sim.plant import Plant, PlantArm

RATE_HZ = 250.0


def wave(robot, duration_s=12.0, seed=0, rate_hz=RATE_HZ):
    """A sum of sines of each joint from home to home: times [N] and positions [N, n]."""
    random = np.random.default_rng(seed)
    time = np.arange(round(duration_s * rate_hz)) / rate_hz
    s = np.clip(np.minimum(time, duration_s - time), 0.0, 1.0)
    window = s**3 * (10 - 15 * s + 6 * s**2)
    motion = np.zeros((len(time), robot.dof))
    for j in range(robot.dof):
        for hz in (0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.4, 3.6, 5.2, 7.5):
            omega = 2 * np.pi * hz * random.uniform(0.95, 1.05)
            amplitude = min(0.12, 1.6 / omega**2, 0.25 / omega)
            motion[:, j] += amplitude * np.sin(omega * time + random.uniform(0, 2 * np.pi))
    return time, robot.home_rad + motion * window[:, None]


def plant_in_class(robot, noise=0.0, **changes):
    """A plant that the model can be: other stiffness, damping, armature, friction, and a delay of 12 ms."""
    random, kp = np.random.default_rng(3), np.array(robot.servo.kp_nm_rad)
    values = {
        "schema": "robolearn.plant/1",
        "title": "in class",
        "robot": robot.name,
        "stiffness_scale": random.uniform(0.7, 1.3, robot.dof).tolist(),
        "damping_scale": random.uniform(0.7, 1.3, robot.dof).tolist(),
        "armature_scale": random.uniform(0.7, 1.5, robot.dof).tolist(),
        "viscous_nms_rad": (5 * np.array(robot.servo.damping_nms_rad)).tolist(),
        "friction_nm": (2e-4 * kp).tolist(),
        "command_delay_s": 0.012,
        "position_noise_rad": 2e-4 * noise,
        "velocity_noise_rad_s": 1e-2 * noise,
        "effort_noise_nm": 0.3 * noise,
        "stamp_jitter_s": 1e-4 * noise,
    }
    return Plant(**(values | changes))


def record(plant, effort=False, duration_s=12.0, seed=0, robot="ur5e", rate_hz=RATE_HZ):
    """What a log of the plant under `wave` would hold."""
    arm_file = load_robot(robot)
    time, motion = wave(arm_file, duration_s, rate_hz=rate_hz)
    arm = PlantArm(arm_file, plant, 1.0 / rate_hz, seed)
    rows = [arm.step(t, q) for t, q in zip(time, motion, strict=True)]
    keys = ("position_rad", "velocity_rad_s", *(("effort",) if effort else ()))
    stamps = np.array([row["stamp_s"] for row in rows])
    measured, _, _ = ordered("measured", stamps, {key: np.array([row[key] for row in rows]) for key in keys})
    command, _, _ = ordered("command", time, {"position_rad": motion})
    return Motion("a plant", "0" * 64, arm_file.joint_names, command, measured, robot,
                  effort_unit="Nm" if effort else None)  # fmt: skip


def truth(robot, plant):
    """The plant's own numbers: {kind: [n]}, and the delay."""
    servo = robot.servo
    kp = np.array(servo.kp_nm_rad) * plant.of("stiffness_scale", robot, 1.0)
    kv = np.array(servo.kv_nms_rad) * plant.of("damping_scale", robot, 1.0)
    viscous, friction = plant.of("viscous_nms_rad", robot, 0.0), plant.of("friction_nm", robot, 0.0)
    armature = np.array(servo.armature_kgm2) * plant.of("armature_scale", robot, 1.0)
    return {
        "stiffness": kp,
        "servo_damping": kv,
        "viscous": viscous,
        "friction": friction,
        "armature": armature,
        "lag": (kv + viscous) / kp,
        "friction_per_stiffness": friction / kp,
        "delay": np.array([plant.command_delay_s]),
    }
