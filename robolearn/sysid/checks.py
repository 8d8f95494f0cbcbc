"""What a recording must have before anything is fitted to it; one sentence for what it lacks."""

from __future__ import annotations

import numpy as np

from robolearn.data.motion import Motion
from robolearn.errors import DataError
from robolearn.robots import Robot

DURATION_MIN_S = 8.0
MOVES_RAD = 0.02  # range that a joint's command must have
SPEED_RAD_S = 0.05  # and that its commanded speed must reach
RATE_MIN_HZ = 100.0


def check(motion: Motion, robot: Robot) -> Motion:
    """The recording with the arm's joints in the arm's order. Raises DataError."""
    if motion.robot is not None and motion.robot != robot.name:
        raise DataError(f"{motion.source} is of the arm '{motion.robot}', not of '{robot.name}'.")
    motion = motion.for_joints(robot.joint_names)
    for stream, key, what in (
        (motion.command, "position_rad", "commands"),
        (motion.measured, "position_rad", "measurements"),
    ):
        if key not in stream.values or len(stream.time_s) < 2:
            raise DataError(f"{motion.source} has no {what} of joint positions.")
        if 1.0 / stream.period_s < RATE_MIN_HZ:
            raise DataError(
                f"{motion.source} has {what} at {1.0 / stream.period_s:.0f} Hz, at least {RATE_MIN_HZ:g} Hz "
                "are needed to identify the drives. Record the arm's fast topic."
            )
    if motion.duration_s < DURATION_MIN_S:
        raise DataError(
            f"{motion.source} has {motion.duration_s:.1f} s of commands and measurements together, at least "
            f"{DURATION_MIN_S:g} s are needed. Play the motion of `robolearn sysid excite`."
        )
    _moves(motion)
    return motion


def usable_effort(motions: list[Motion]) -> bool:
    """Whether motor effort can be fitted: in every recording, in Nm. Raises DataError for effort without a unit."""
    for motion in motions:
        if "effort" not in motion.measured.values:
            return False
        if motion.effort_unit is None:
            raise DataError(
                f"{motion.source} has effort without a unit: drivers report Nm or A there. "
                "Give --effort-unit Nm or A; A and none ignore it."
            )
        if motion.effort_unit != "Nm":
            return False
    return True


def _moves(motion: Motion) -> None:
    command, measured = motion.command.values["position_rad"], motion.measured.values["position_rad"]
    ranges = np.ptp(command, axis=0)
    speed = np.abs(np.diff(command, axis=0) / np.diff(motion.command.time_s)[:, None])
    still = [
        name
        for j, name in enumerate(motion.joint_names)
        if ranges[j] < MOVES_RAD or np.quantile(speed[:, j], 0.99) < SPEED_RAD_S
    ]
    need = f"a range of {MOVES_RAD:g} rad and {SPEED_RAD_S:g} rad/s are needed"
    if len(still) == len(motion.joint_names):
        raise DataError(f"{motion.source} contains no motion: no joint is commanded to move; {need}.")
    if still:
        raise DataError(f"{motion.source}: {', '.join(still)} never moves; of every joint {need}.")
    stuck = [name for j, name in enumerate(motion.joint_names) if np.ptp(measured[:, j]) < 0.1 * ranges[j]]
    if stuck:
        raise DataError(
            f"{motion.source}: {', '.join(stuck)} does not follow its commands. Check that "
            "commands and measurements are from the same arm and time."
        )
