"""The demo driver's topics and services: arm state, decisions, goals, person sensor, operator requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState, Range

from robolearn.deploy.operators import operator_key_path
from robolearn.errors import RobolearnError
from robolearn.keys import load_or_create_key
from robolearn.robots import Robot
from robolearn.robots.kinematics import forward
from robolearn_ros.arm import arm_topics
from robolearn_ros.clocks import Clock, StampClock
from robolearn_ros.messages import JointReader, Polled, qos, time_message
from robolearn_ros.operator_client import OperatorClient
from robolearn_ros.sim_clock import SimClock

Vector = NDArray[np.float64]

PERSON_PERIOD_S = 0.05
GOAL_PERIOD_S = 0.5  # a goal is repeated, so that a policy that was started again gets it too
STEP_S = 0.01


class DriverError(RobolearnError):
    """Something that the demo needs did not come in time."""


@dataclass(frozen=True)
class Seen:
    """One joint state. time_s on the monotonic clock; [n]."""

    time_s: float
    position_rad: Vector
    velocity_rad_s: Vector


@dataclass(frozen=True)
class Told:
    """One decision of the monitor."""

    time_s: float
    state: str
    verdict: str
    rule: str
    text: str
    limit: float


class Observer:
    """One node, polled from `step`; nothing happens between two steps."""

    def __init__(self, robot: Robot, namespace: str = "", joint_prefix: str = "", sim_time: bool = False):
        """namespace, joint_prefix: of the arm's nodes, as in its deployment.  sim_time: whether /clock is followed."""
        self.node = Node("demo_driver", namespace=namespace)
        self.robot = robot
        self.clock: Clock = SimClock(self.node) if sim_time else StampClock()
        topics = arm_topics(robot, namespace)
        self._reader = JointReader(robot.joint_names, self.clock, joint_prefix)
        self._states = Polled(self.node, JointState, topics.best_state, topics.state_qos(200))
        self._decisions = Polled(self.node, DiagnosticStatus, "robolearn/decision", qos(50, latched=True))
        self._policy = Polled(self.node, JointState, "robolearn/policy_command", qos(50))
        self._goal_out = self.node.create_publisher(PointStamped, "robolearn/goal", qos(1))
        self._person_out = self.node.create_publisher(Range, "robolearn/person_range", qos(10))
        self._operator = OperatorClient(self.node, load_or_create_key(operator_key_path()))
        self.person_m, self.publishes_person = 5.0, True  # false: another sensor does
        self.person_told: list[tuple[float, float]] = []  # when, and which distance, was published
        self.goal: Vector | None = None
        self.track: list[Seen] = []
        self.told: list[Told] = []
        self.policy_command: JointState | None = None
        self.policy_seen_s = 0.0
        self._person_due_s = self._goal_due_s = 0.0

    def step(self) -> None:
        """A hundredth of a second: take what came, send what is due."""
        rclpy.spin_once(self.node, timeout_sec=0.0)
        if isinstance(self.clock, SimClock):
            self.clock.take()
        now = time.monotonic()
        for message in self._states.take():
            if not self._reader.missing(message):
                m = self._reader.measured(message)
                self.track.append(Seen(m.stamp_s, m.position_rad, m.velocity_rad_s))
        for message in self._decisions.take():
            v = {pair.key: pair.value for pair in message.values}
            time_s, limit = int(v["monotonic_ns"]) / 1e9, float(v.get("limit", "nan"))
            self.told.append(
                Told(time_s, v["state"], v["verdict"], v.get("rule", ""), message.message, limit)
            )
        for message in self._policy.take():
            self.policy_command, self.policy_seen_s = message, now
        if self.publishes_person and now >= self._person_due_s:
            self._person_due_s = now + PERSON_PERIOD_S
            self._publish_person()
        if self.goal is not None and now >= self._goal_due_s:
            self._publish_goal(self.goal, now)
        time.sleep(STEP_S)

    def wait(self, what: str, until: Callable[[], bool], timeout_s: float) -> None:
        """Step until something holds. Raises DriverError where it does not in time."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > deadline:
                last = self.told[-1].text if self.told else "nothing was decided"
                raise DriverError(
                    f"{what} did not happen within {timeout_s:g} s. The monitor's last decision: {last}."
                )
            self.step()

    def send_goal(self, goal: Vector) -> None:
        """A new goal [3] m in the base frame."""
        self.goal = goal
        self._publish_goal(goal, time.monotonic())

    def call(self, name: str) -> tuple[bool, str]:
        """Ask the safety node for a reset, a start or a stop, as this account's operator. Returns its answer."""
        self.wait(f"Services of the safety node for {name}", lambda: self._operator.ready(name), 10.0)
        call = self._operator.call(name, reason="demo driver")
        self.wait(f"An answer to {name}", call.done, 5.0)
        return call.result()

    @property
    def state(self) -> str:
        """The monitor's last published state."""
        return self.told[-1].state if self.told else ""

    @property
    def tcp_m(self) -> Vector:
        """Where the TCP is now, [3] in the base frame."""
        return np.asarray(forward(self.robot, self.track[-1].position_rad)[0])

    @property
    def speed_rad_s(self) -> float:
        """The fastest joint now."""
        return float(np.abs(self.track[-1].velocity_rad_s).max())

    def message(self, kind: Any) -> Any:
        """A message of some kind with a stamp of now."""
        message = kind()
        message.header.stamp = time_message(self.clock, self.clock.now_ns())
        return message

    def _publish_goal(self, goal: Vector, now: float) -> None:
        self._goal_due_s = now + GOAL_PERIOD_S
        message = self.message(PointStamped)
        message.header.frame_id = "base"
        message.point.x, message.point.y, message.point.z = (float(x) for x in goal)
        self._goal_out.publish(message)

    def _publish_person(self) -> None:
        message = self.message(Range)
        message.header.frame_id = "base"
        message.radiation_type, message.max_range, message.range = Range.INFRARED, 20.0, float(self.person_m)
        self.person_told.append((time.monotonic(), float(self.person_m)))
        self._person_out.publish(message)
