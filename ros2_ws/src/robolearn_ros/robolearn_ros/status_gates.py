"""What the arm's driver tells of the arm: a reason not to move, by the `status_topics` of the robot file.

A topic whose message type is not installed here cannot be read: it is named, and not watched. One that can be read and
has told nothing yet does not let the arm move.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from robolearn.deploy.arm_names import arm_topic
from robolearn.robots import Robot
from robolearn.robots.schema import StatusTopic
from robolearn_ros.messages import Polled, qos


@dataclass
class _Gate:
    name: str
    stated: StatusTopic
    polled: Polled[Any]
    value: Any = None

    @property
    def closed(self) -> str:
        if self.value is None:
            return f"nothing was received on {self.polled.topic} ({self.name})"
        least = self.stated.min
        ready = self.value >= least if least is not None else int(self.value) in self.stated.ready
        return "" if ready else f"{self.stated.cause} ({self.polled.topic} is {self.value})"


class StatusGates:
    """The driver's status topics, polled by the control loop."""

    def __init__(self, node: Node, robot: Robot):
        self.unwatched: list[str] = []  # topics that cannot be read, and why
        self._gates: list[_Gate] = []
        stated = robot.ros.status_topics if robot.ros is not None else {}
        for name, one in stated.items():
            kind = _message_type(one.type)
            topic = arm_topic(robot, one.topic, node.get_namespace())
            if kind is None:
                self.unwatched.append(f"{topic} ({name}): {one.type} is not installed")
            elif one.field not in kind.get_fields_and_field_types():
                self.unwatched.append(f"{topic} ({name}): {one.type} has no field {one.field}")
            else:
                polled = Polled(node, kind, topic, qos(1, latched=one.latched))
                self._gates.append(_Gate(name, one, polled))

    @property
    def polled(self) -> tuple[Polled[Any], ...]:
        """What is read."""
        return tuple(gate.polled for gate in self._gates)

    def take(self) -> None:
        """The newest value of each topic."""
        for gate in self._gates:
            for message in gate.polled.take():
                gate.value = getattr(message, gate.stated.field)

    @property
    def closed(self) -> str:
        """Why the arm must not move, by what was taken last; empty where it may."""
        return "; ".join(closed for gate in self._gates if (closed := gate.closed))


def real_driver(node: Node, robot: Robot) -> str:
    """Says so where a status topic of the arm's real driver is published, which no simulator of a clock has."""
    stated = robot.ros.status_topics if robot.ros is not None else {}
    topics = [arm_topic(robot, one.topic, node.get_namespace()) for one in stated.values()]
    found = [topic for topic in topics if node.count_publishers(topic)]
    if not found:
        return ""
    return (
        f"{', '.join(found)} is published, as the driver of a real arm does, and a real arm is never driven on "
        "simulated time. Take use_sim_time out of the deployment."
    )


def _message_type(name: str) -> Any:
    """The class of a message such as std_msgs/msg/Bool; None where its package is not installed."""
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind, None)
    except ImportError:
        return None
