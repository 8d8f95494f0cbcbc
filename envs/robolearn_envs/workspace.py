"""Where an arm can go, from its kinematics alone: shoulder, reach, and whether points are within reach."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robolearn.robots import Robot
from robolearn.robots.kinematics import forward, frames, rotation_from_rpy

Array = NDArray[np.float64]

_POSTURES = 20_000
_NEAR_M = 0.005  # from a point, that counts as reaching it
_STARTS = 4  # postures from which a point is tried: home, and random ones


@lru_cache(maxsize=32)
def shoulder_height_m(robot: Robot) -> float:
    """Height of the second joint's axis above the base, with the arm at zero; of the only one of an arm of one."""
    turning = [i for i, step in enumerate(robot.chain) if step.type == "revolute"]
    until = robot.chain[: turning[min(1, len(turning) - 1)] + 1]
    position, turn = np.zeros(3), np.eye(3)
    for step in until:
        position = position + turn @ np.asarray(step.xyz)
        turn = turn @ rotation_from_rpy(step.rpy)
    return round(float(position[2]), 9)


@lru_cache(maxsize=32)
def reach_m(robot: Robot) -> float:
    """How far the flange gets from the shoulder: as the robot file states it, else by kinematics."""
    if robot.reach_m is not None:
        return robot.reach_m
    flange, _ = forward(robot, _random_postures(robot), gripper=None)
    return float(np.linalg.norm(flange - [0.0, 0.0, shoulder_height_m(robot)], axis=1).max())


def tcp_points(robot: Robot, spread_rad: float) -> Array:
    """Positions [k, 3] m of the TCP at random postures up to spread_rad from home, within the joints' ranges.

    The first joint turns through all of its range, up to half a turn either way.
    """
    rng = np.random.default_rng(1)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    spread = np.full(robot.dof, spread_rad)
    spread[0] = np.pi
    q = robot.home_rad + rng.uniform(-spread, spread, (_POSTURES, robot.dof))
    return np.asarray(forward(robot, np.clip(q, low, high))[0])


def within_reach(robot: Robot, points: Array) -> NDArray[np.bool_]:
    """Which points [k, 3] m the TCP reaches within the joints' ranges, by damped least squares from several starts."""
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    rng, found = np.random.default_rng(2), np.zeros(len(points), dtype=bool)
    for attempt in range(_STARTS):
        q = np.tile(robot.home_rad, (len(points), 1))
        if attempt:
            q = rng.uniform(low, high, q.shape)
        for _ in range(80):
            tcp = frames(robot, q)
            miss = points - tcp.position
            found |= np.linalg.norm(miss, axis=1) < _NEAR_M
            if found.all():
                return found
            square = tcp.linear @ np.swapaxes(tcp.linear, 1, 2) + 1e-4 * np.eye(3)
            step = np.swapaxes(tcp.linear, 1, 2) @ np.linalg.solve(square, miss[..., None])
            q = np.clip(q + np.clip(step[..., 0], -0.3, 0.3), low, high)
    return found


def _random_postures(robot: Robot) -> Array:
    rng = np.random.default_rng(0)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    return rng.uniform(np.maximum(low, -np.pi), np.minimum(high, np.pi), (_POSTURES, robot.dof))
