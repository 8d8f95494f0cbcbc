"""What the monitor reads in every cycle: joint states, a policy's commands, and the signals of the cell.

The control loop polls all of it. Before a start this also tells who is not heard, or is on another clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.recorder.resolution import measured_on_grid
from robolearn.robots import Robot
from robolearn.safety.mode_schema import ModeLimits
from robolearn.safety.profile import Separation
from robolearn.safety.types import Command, Measured
from robolearn_ros.arm import arm_topics
from robolearn_ros.clocks import Clock, other_clock
from robolearn_ros.messages import JointReader, Polled, command, qos
from robolearn_ros.signals import CellSignals

QUEUE = 50  # messages of one topic that may wait for one cycle


class MonitorInputs:
    """Polled subscriptions, and what they brought.

    arrived: the commands of this cycle, oldest first.  measured: the newest joint state, None before the first.
    measured_new: whether it came in this cycle.  heard_ns: when it was taken, on the node's clock, 0 before the first.
    """

    def __init__(
        self,
        node: Node,
        robot: Robot,
        clock: Clock,
        p: dict[str, Any],
        ahead_max_s: float,
        found: Callable[[str, str], None],
    ):
        """p: the node's parameters.  ahead_max_s: how far in the future the stamp of a signal may lie.

        found: called with what a finding is about, and its text.
        """
        topics = arm_topics(robot, node.get_namespace())
        self.states = Polled(node, JointState, p["state_topic"] or topics.best_state, topics.state_qos(QUEUE))
        self.commands = Polled(node, JointState, p["policy_topic"], qos(QUEUE))
        self.signals = CellSignals(node, clock, p["person_topic"], ahead_max_s)
        self._reader = JointReader(robot.joint_names, clock, p["joint_prefix"])
        self._clock, self._found = clock, found
        self._derived = False  # velocities, by this node
        self._newest_command: Command | None = None
        self.arrived: list[Command] = []
        self.measured: Measured | None = None
        self.measured_new = False
        self.heard_ns = 0

    @property
    def topics(self) -> dict[str, str]:
        """What is read, by name."""
        return {"policy": self.commands.topic, "states": self.states.topic, **self.signals.topics}

    @property
    def polled(self) -> tuple[Polled[Any], ...]:
        """What is read."""
        return self.states, self.commands, *self.signals.polled

    def take(self) -> None:
        """Joint states and commands that came since the last cycle; signals are taken by `signals`."""
        self.measured_new, self.arrived = False, []
        for message in self.states.take():
            self.measured = measured_on_grid(self._reader.measured(message))
            self.measured_new, self.heard_ns = True, self._clock.now_ns()
        if self._reader.derived is not self._derived:
            self._derived = self._reader.derived
            how = (
                "are derived from positions: the driver publishes none"
                if self._derived
                else "come from the driver"
            )
            self._found("velocities", f"joint velocities {how}")
        self.arrived = [command(message, self._clock) for message in self.commands.take()]
        if self.arrived:
            self._newest_command = self.arrived[-1]

    def forget_commands(self) -> None:
        """After a start a policy must be heard anew before the next one."""
        self._newest_command = None

    def on_other_clock(self, now_s: float) -> str:
        """Whose stamps are of another clock than this node's; empty where all are of it."""
        newest, states, person = self._newest_command, self.measured, self.signals.person
        stamps = {
            f"the newest joint state on {self.states.topic}": None if states is None else states.stamp_s,
            f"the newest command on {self.commands.topic}": None if newest is None else newest.stamp_s,
            f"the newest message on {self.signals.topics['person']}": person.stamp_s
            if person.value is not None
            else None,
        }
        found = [other_clock(what, now_s - s, self._clock) for what, s in stamps.items() if s is not None]
        return next(filter(None, found), "")

    def unheard(self, now_s: float, mode: ModeLimits) -> str:
        """Who must be heard before a start and is not; empty if all are.

        ROS 2 nodes that have just come up may find each other later than a first command may take after a start.
        """
        if self.signals.person.value is None and isinstance(mode.separation, Separation):
            return f"nothing was received from the person sensor on {self.signals.topics['person']}."
        newest = self._newest_command
        age_s = math.inf if newest is None else now_s - newest.stamp_s
        if age_s > mode.first_command_wait_max_s.value:
            since = f"for {age_s:.1f} s" if newest is not None else "yet"
            return f"no command has come on {self.commands.topic} {since}: is the policy node running?"
        return ""
