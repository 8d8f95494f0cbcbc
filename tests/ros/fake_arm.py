"""An arm in the test's own process that follows commands perfectly, and whose driver can be made to misbehave."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from functools import cached_property

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PointStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from robolearn_ros.arm import arm_topics
from robolearn_ros.controller_node import ControllerNode, controller_parameters_of
from robolearn_ros.loop import promote_other_threads, set_fifo
from robolearn_ros.messages import Polled, qos
from robolearn_ros.operator_client import OperatorClient
from sensor_msgs.msg import JointState, Range
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.arm_controller import ExpectedController, controller_node
from robolearn.deploy.operators import operator_key_path
from robolearn.keys import load_or_create_key
from robolearn.robots import load_robot

RATE_HZ = 250.0
MOVED_RAD = 1e-5  # in one period
STANDS_S = 0.05  # without a command
LATE = ("state_age", "command_age", "cycle_gap", "person_age")  # stops that a machine that is held up causes
GOALS = ((0.5, 0.2, 0.4), (0.4, -0.3, 0.5))


class FakeArm:
    """Arm, person sensor and operator in one thread. Switches are plain attributes."""

    def __init__(self, domain_id: int):
        # Like a real arm's driver: whoever is starved while it holds the interpreter holds the arm up.
        # Processes started from here do not inherit it.
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        self.robot = load_robot("fr3")
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node = Node("fake_arm", context=self.context)
        topics = arm_topics(self.robot)
        self.states = self.node.create_publisher(JointState, topics.best_state, qos(10))
        expected = ExpectedController(
            "forward", controller_node("forward", topics.command), topics.command, self.robot.joint_names
        )
        self.controller = ControllerNode(
            expected.node, controller_parameters_of(expected, RATE_HZ), self.context
        )
        self.commands = Polled(self.controller.node, Float64MultiArray, topics.command, qos(10))
        self.decisions = Polled(self.node, DiagnosticStatus, "/robolearn/decision", qos(50, latched=True))
        self.reports = Polled(self.node, DiagnosticArray, "/diagnostics", qos(20))
        self.reported: dict[
            str, list[tuple[bytes, str, dict[str, str]]]
        ] = {}  # level, message, values by status
        self.policy = Polled(self.node, JointState, "/robolearn/policy_command", qos(10))
        self.people = self.node.create_publisher(Range, "/robolearn/person_range", qos(10))
        self.goals = self.node.create_publisher(PointStamped, "/robolearn/goal", qos(1))
        self.operator = OperatorClient(self.node, load_or_create_key(operator_key_path()))
        self.position = self.robot.home_rad.copy()
        self.velocity = np.zeros(self.robot.dof)
        self.largest_step = 0.0
        self.commanded = 0  # messages of commands
        self.rule = self.text = self.state = ""
        self.stop_seen: tuple[str, str] | None = None
        self.last_policy: JointState | None = None
        self.silent = self.no_person = self.deaf = False
        self.drop: str | None = None
        self.nan = self.flood = False
        self._intruder: Publisher | None = None  # its flood repeats an old message
        self.moved_s = self.stopped_s = 0.0  # when the arm moved last, and when a stop was decided
        self.reverse = False
        self.stamp_offset_s = 0.0
        self.closing = False
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.controller.node)
        promote_other_threads(30)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        set_fifo(20)
        due = commanded = time.monotonic()
        while not self.closing:
            due += 1 / RATE_HZ
            time.sleep(max(0.0, due - time.monotonic()))
            self.executor.spin_once(timeout_sec=0.0)
            for message in self.commands.take():
                target = np.array(message.data)
                self.commanded += 1
                if self.deaf:
                    self.velocity = np.zeros(self.robot.dof)
                    continue
                self.largest_step = max(self.largest_step, float(np.abs(target - self.position).max()))
                self.velocity, commanded = (target - self.position) * RATE_HZ, due
                if np.abs(target - self.position).max() > MOVED_RAD:
                    self.moved_s = time.monotonic()
                self.position = target
            if due - commanded > STANDS_S:
                self.velocity = np.zeros(self.robot.dof)
            for message in self.decisions.take():
                values = {pair.key: pair.value for pair in message.values}
                self.state, self.rule, self.text = values["state"], values.get("rule", ""), message.message
                if self.state in ("stopping", "stopped") and self.stop_seen is None:
                    self.stop_seen, self.stopped_s = (self.rule, self.text), int(values["monotonic_ns"]) / 1e9
            for report in self.reports.take():
                for status in report.status:
                    values = {pair.key: pair.value for pair in status.values}
                    self.reported.setdefault(status.name, []).append((status.level, status.message, values))
            for message in self.policy.take():
                self.last_policy = message
            if not self.silent:
                self.states.publish(self._joint_state())
            self._flood()
            if not self.no_person:
                self.people.publish(self._person())

    def _joint_state(self) -> JointState:
        names, position, velocity = list(self.robot.joint_names), list(self.position), list(self.velocity)
        if self.reverse:
            names, position, velocity = (
                [*names[::-1], "extra"],
                [*position[::-1], 9.0],
                [*velocity[::-1], 0.0],
            )
        if self.nan:
            position[3] = float("nan")
        if self.drop:
            at = names.index(self.drop)
            del names[at], position[at], velocity[at]
        message = JointState(name=names, position=position, velocity=velocity)
        now_ns = time.time_ns() + round(self.stamp_offset_s * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
        return message

    def _flood(self) -> None:
        """Twenty joint states in each period from another publisher, all with the stamp of its first."""
        if self.flood and self._intruder is None:
            self._intruder = self.node.create_publisher(JointState, self.states.topic_name, qos(100))
            self._old = self._joint_state()
        if not self.flood and self._intruder is not None:
            self.node.destroy_publisher(self._intruder)
            self._intruder = None
        if self._intruder is not None:
            for _ in range(20):
                self._intruder.publish(self._old)

    def _person(self) -> Range:
        message = Range(max_range=20.0, range=5.0)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), 10**9)
        return message

    # -- what a test asks for --

    def wait(self, what, until, timeout_s=15.0):
        deadline = time.monotonic() + timeout_s
        while not until():
            said = f"{self.state}, {self.rule}: {self.text}"
            assert time.monotonic() < deadline, f"{what} did not happen; the monitor said {said}"
            time.sleep(0.005)

    def call(self, name, **given):
        self.wait(f"services for {name}", lambda: self.operator.ready(name))
        call = self.operator.call(name, **given)
        self.wait(f"answer to {name}", call.done)
        return call.result()

    @cached_property
    def policy_out(self):
        """A second publisher of the policy's commands, from when it is first asked for."""
        publisher = self.node.create_publisher(JointState, "/robolearn/policy_command", qos(100))
        self.wait(
            "discovery", lambda: publisher.get_subscription_count() >= 2
        )  # the safety node, and self.policy
        return publisher

    def goal(self, *position):
        message = PointStamped()
        message.point.x, message.point.y, message.point.z = position
        self.goals.publish(message)

    def move(self):
        """Get it moving, toward one goal or the other; again where the machine was held up."""
        for _ in range(3):
            for goal in GOALS:
                if self.state == "stopped" and self.rule in LATE:
                    self.run_again()
                self.goal(*goal)
                until = time.monotonic() + 1.5
                while time.monotonic() < until:
                    if self.state == "running" and np.abs(self.velocity).max() > 0.2:
                        return
                    time.sleep(0.01)
        raise AssertionError(f"it does not move; the monitor said {self.state}, {self.rule}: {self.text}")

    def report(self, name, found=lambda *_: True, timeout_s=5.0):
        """The next report of a status for which found(level, message, values) holds."""
        seen = self.reported.setdefault(name, [])
        seen.clear()
        self.wait(f"a report of {name}", lambda: any(found(*one) for one in seen), timeout_s)
        return next(one for one in seen if found(*one))

    def run_again(self):
        """Back to running, from whatever state."""
        self.wait("a state at rest", lambda: self.state in ("stopped", "holding", "running"))
        if self.state == "running":
            return
        if self.state == "stopped":
            time.sleep(0.15)  # longer than a fault counts for: a reset is refused while its cause persists
            self.reset()
        self.wait("holding", lambda: self.state == "holding")
        until = time.monotonic() + 30.0  # a node that has just come up may not have heard of all others yet
        accepted, text = self.call("start")
        while not accepted and time.monotonic() < until:
            time.sleep(0.1)
            accepted, text = self.call("start")
        assert accepted, text
        self.wait("running", lambda: self.state == "running" and self.rule not in ("waiting", "start"))
        self.stop_seen = None

    def reset(self):
        """The answer to the first reset that is accepted: it takes readings in a row of the arm at rest."""
        accepted, text = self.call("reset")
        until = time.monotonic() + 5.0
        while not accepted and ("in a row" in text or "the arm moves" in text) and time.monotonic() < until:
            time.sleep(0.05)
            accepted, text = self.call("reset")
        assert accepted, text
        return text

    def close(self):
        self.closing = True
        self.thread.join(5.0)
        self.controller.node.destroy_node()
        self.node.destroy_node()
        self.context.shutdown()
        # With the flag as it is: only root may take it back.
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
