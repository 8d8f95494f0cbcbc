"""A home posture for an arm whose file has none: half stretched out, the tool pointing down in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mujoco
import numpy as np
import yaml
from numpy.typing import NDArray

from robolearn.errors import RobotError
from robolearn.files.writing import replace_file
from robolearn.robots.kinematics import forward, frames
from robolearn.robots.robot import Robot, robot_from_file

Array = NDArray[np.float64]

_OUT, _UP = 0.55, 0.25  # shares of the reach, of the TCP: in front of the base, above it
_SAMPLES, _TRIED, _STEPS = 20_000, 64, 120
_TILT, _EDGE = (
    0.5,
    0.15,
)  # what a radian of tilt weighs against a reach of distance; room to the joints' ends, as a share
_GOOD = 0.02
_LOW = 0.05  # of the reach, that a joint may be lower than in other postures
_DRIFT = 0.1  # of the way to the middle, in each step


class Worked(NamedTuple):
    """What follows from a model file. home_rad [n]: None where no posture was found."""

    home_rad: list[float] | None
    moving_mass_kg: float


def work_out(document: dict[str, Any], folder: Path) -> Worked:
    """Home posture and moving mass for the robot file that document is, to lie in folder."""
    robot = drafted_robot(document, folder)
    found, model = home_posture(robot), robot.spec(gripper=None).compile()
    moving = np.asarray(model.body_weldid) != 0
    home = None if found is None else [round(float(q), 4) for q in found]
    return Worked(home, round(float(model.body_mass[moving].sum()), 3))


def drafted_robot(document: dict[str, Any], folder: Path) -> Robot:
    """The robot of the robot file that document is, to lie in folder; limits that are still null do not matter."""
    path = folder / f".{document['name']}.draft.yaml"
    ones = [1.0] * len(document["joint_names"])
    limits = {
        key: fact if fact["value"] is not None else fact | {"value": list(ones)}
        for key, fact in document["limits"].items()
    }
    replace_file(path, yaml.safe_dump(document | {"limits": limits}).encode())
    try:
        return robot_from_file(path)
    except RobotError as error:
        raise RobotError(str(error).replace(str(path), "The draft")) from None
    finally:
        path.unlink(missing_ok=True)


def home_posture(robot: Robot) -> Array | None:
    """Joint positions [n] rad, away from the ends of their ranges, with the TCP ahead and the tool down.

    Of an arm that cannot point its tool down, the posture that comes nearest. None where the tool is nowhere in front
    of the base and off the floor.
    """
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    room = _EDGE * (high - low)
    low, high = np.maximum(low + room, -np.pi), np.minimum(high - room, np.pi)
    low, high = np.where(low > high, (low + high) / 2.0, low), np.where(low > high, (low + high) / 2.0, high)
    q = np.random.default_rng(0).uniform(low, high, (_SAMPLES, robot.dof))
    tcp, turn = forward(robot, q)
    reach = float(np.hypot(tcp[:, 0], tcp[:, 1]).max())
    for up in (_UP, 0.35, 0.45, 0.6):
        goal = np.array([_OUT * reach, 0.0, up * reach])
        order = np.argsort(_cost(tcp, turn, goal, reach))[:_TRIED]
        near = _settle(robot, q[order], goal, low, high)
        tcp_near, turn_near = forward(robot, near)
        cost = _cost(tcp_near, turn_near, goal, reach)
        close = np.flatnonzero(cost < cost.min() + 0.01)
        # of those as good, the ones with the elbow up, away from what the arm stands on
        lowest = _lowest_joint(robot, near[close])
        close = close[lowest > lowest.max() - _LOW * reach]
        # of those, the least bent one: an arm with a joint too many then lies in one plane
        best = close[int(np.argmin(np.abs(near[close] - (low + high) / 2.0).sum(axis=1)))]
        if cost[best] < _GOOD:
            return near[best]
        if up == _UP:
            kept = near[best], tcp_near[best]
    q, at = kept
    return q if at[0] > 0.1 * reach and at[2] > 0.05 * reach else None


def _cost(tcp: Array, turn: Array, goal: Array, reach: float) -> Array:
    """How far [k] postures are from what is wanted: distance as a share of the reach, and tilt of the tool."""
    tilt = np.arccos(np.clip(-turn[:, 2, 2], -1.0, 1.0))
    # the fingers open sideways: the arm sees no difference between the two ways
    yaw = 1.0 - np.abs(turn[:, 1, 1])
    return np.linalg.norm(tcp - goal, axis=1) / reach + _TILT * tilt + 0.02 * yaw


def _lowest_joint(robot: Robot, q: Array) -> Array:
    """Height [k] m above the base of the lowest joint after the first, in each posture [k, n]."""
    model = robot.spec(gripper=None).compile()
    data, joints = mujoco.MjData(model), [model.joint(name).id for name in robot.joint_names]
    found = np.empty(len(q))
    for k, posture in enumerate(q):
        data.qpos[model.jnt_qposadr[joints]] = posture
        mujoco.mj_kinematics(model, data)
        found[k] = data.xanchor[joints[1:], 2].min(initial=np.inf)
    return found


def _settle(robot: Robot, q: Array, goal: Array, low: Array, high: Array) -> Array:
    """Postures [k, n] moved towards the goal, the tool down and the fingers sideways, by damped least squares.

    What the goal leaves free drifts to the middle between low and high.
    """
    middle, unit = (low + high) / 2.0, np.eye(robot.dof)
    for _ in range(_STEPS):
        at = frames(robot, q)
        sign = np.where(at.rotation[:, 1, 1] < 0.0, -1.0, 1.0)
        target = np.zeros_like(at.rotation)
        target[:, 0, 0], target[:, 1, 1], target[:, 2, 2] = -sign, sign, -1.0
        miss = 0.5 * np.cross(at.rotation, target, axis=1).sum(axis=2)
        weight = 0.3 if robot.dof >= 6 else 0.1
        error = np.concatenate([goal - at.position, weight * miss], axis=1)
        jacobian = np.concatenate([at.linear, weight * at.angular], axis=1)
        square = jacobian @ np.swapaxes(jacobian, 1, 2) + 1e-4 * np.eye(6)
        inverse = np.swapaxes(jacobian, 1, 2) @ np.linalg.inv(square)
        free = (unit - inverse @ jacobian) @ (_DRIFT * (middle - q))[..., None]
        step = inverse @ error[..., None] + free
        q = np.clip(q + np.clip(step[..., 0], -0.2, 0.2), low, high)
    return q
