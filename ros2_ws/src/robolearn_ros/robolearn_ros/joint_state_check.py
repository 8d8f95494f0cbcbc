"""Looks at an arm's joint states before a policy is served: names, numbers and rate."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.errors import RobotError
from robolearn_ros.messages import JointReader, Polled

FIRST_S = 3.0  # how long a first joint state is waited for
LOOK_S = 1.0  # and then those that follow are looked at
LOOKED_AT_MAX = 50
RATE_TOLERANCE = 0.2  # share by which joint states may come slower than stated


def joint_state_periods(
    node: Node, states: Polled[JointState], reader: JointReader, misfits: Callable[[], list[str]]
) -> np.ndarray:
    """Periods between the stamps of the joint states that come now, s; by a thread that may wait.

    misfits: who cannot be heard, and why. Raises RobotError where one cannot, none come, or a joint is missing.
    """
    topic, stamps = states.topic, []
    states.take()
    end = time.monotonic() + FIRST_S
    while time.monotonic() < end and len(stamps) < LOOKED_AT_MAX:
        for message in states.take():
            if not stamps:
                end = time.monotonic() + LOOK_S
            missing = reader.missing(message)
            if missing:
                raise RobotError(
                    f"{topic} lacks {', '.join(missing)}; it has {', '.join(message.name) or 'no joints'}. "
                    "Check the robot file's joint names, and joint_prefix."
                )
            stamps.append(reader.measured(message).stamp_s)
        time.sleep(0.005)
    found = misfits()
    if found:
        raise RobotError(". ".join(found) + ".")
    if len(stamps) < 2:
        raise RobotError(
            f"No joint states on {topic} (publishers: {node.count_publishers(topic)}). "
            "Start the arm's driver, or set state_topic."
        )
    return np.diff(stamps)


def check_rate(
    topic: str, periods_s: np.ndarray, control_hz: float, stated_hz: float | None, stated_by: str
) -> str:
    """Raises RobotError where joint states come slower than a policy needs or somebody stated; says it where faster.

    periods_s: between stamps. For what was stated their median counts, so that messages missed here do not.
    """
    mean_hz = len(periods_s) / max(float(periods_s.sum()), 1e-9)
    if mean_hz < 0.9 * control_hz:
        raise RobotError(
            f"{topic} comes at {mean_hz:.0f} Hz, but the policy needs {control_hz:g} Hz. Set state_topic."
        )
    rate = 1.0 / max(float(np.median(periods_s)), 1e-6)
    if stated_hz is None or abs(rate / stated_hz - 1.0) <= RATE_TOLERANCE:
        return ""
    text = f"{topic} comes at {rate:.0f} Hz, but {stated_by} says {stated_hz:g} Hz. Correct one of them."
    if rate < stated_hz:
        raise RobotError(text)
    return text
