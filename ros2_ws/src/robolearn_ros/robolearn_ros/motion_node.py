"""Plays a motion file in a policy's place: a command stream to the safety node, like that of any policy.

It holds the arm where the safety node holds it, and moves only while that says `running`: first slowly to where the
motion begins, then along it, once. A stop ends the motion; after a reset and a start it begins anew.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.data.motion_file import PlannedMotion, read_motion
from robolearn.errors import DataError
from robolearn.robots import load_robot
from robolearn_ros.arm import arm_topics
from robolearn_ros.driver import POSITION_STEP_RAD, VELOCITY_STEP_RAD_S
from robolearn_ros.loop import Loop
from robolearn_ros.messages import JointReader, Polled, joint_state, qos, time_message
from robolearn_ros.monitor_listener import MonitorListener
from robolearn_ros.node import OK, PHASE, RT_PRIORITY, STATS_PATH, called, loop_values, run_node, status
from robolearn_ros.parameters import Parameter, declare
from robolearn_ros.sim_clock import node_clock

PARAMETERS = (
    Parameter("motion", "", "path of the motion, an MCAP file of `robolearn sysid excite`"),
    Parameter("robot", "fr3", "robot name or robot YAML"),
    Parameter("joint_prefix", "", "prefix of the driver's joint names"),
    Parameter("command_rate_hz", 500.0, "rate of commands", "Hz", 50, 1000),
    Parameter("state_topic", "", "joint state topic; empty for the fastest one in the robot file"),
    replace(PHASE, default=0.35),
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip

APPROACH_RAD_S = 0.15  # mean speed of the fastest joint on the way to the motion's begin
APPROACH_MIN_S = 1.0


class Player:
    """What is commanded when, without ROS. Times in s from the first moment in which the arm may move."""

    def __init__(self, motion: PlannedMotion):
        self._motion = motion
        self._began_s: float | None = None
        self._from = np.zeros(len(motion.joint_names))
        self._approach_s = APPROACH_MIN_S
        self.done = False

    @property
    def playing(self) -> bool:
        """Whether it is on its way, or at the end of it."""
        return self._began_s is not None

    def hold(self) -> None:
        """The monitor sends something of its own: whatever was begun is given up."""
        self._began_s, self.done = None, False

    def command(self, now_s: float, held_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity [n] at now_s, beginning where the arm is held."""
        start = self._motion.position_rad[0]
        if self._began_s is None:
            self._began_s, self._from = now_s, held_rad.copy()
            far = float(np.abs(start - held_rad).max())
            self._approach_s = max(APPROACH_MIN_S, far / APPROACH_RAD_S)
        elapsed = now_s - self._began_s
        if elapsed < self._approach_s:
            s = elapsed / self._approach_s
            path = start - self._from
            position = self._from + path * s**3 * (10 - 15 * s + 6 * s**2)
            return position, path * 30 * s**2 * (1 - s) ** 2 / self._approach_s
        played = elapsed - self._approach_s
        self.done = played >= self._motion.duration_s
        return self._motion.sample(played)


class MotionNode:
    """Topics and loop around a player. It takes the policy node's name and topics: there is one of them."""

    def __init__(self) -> None:
        self.node = Node("policy_node")
        p = declare(self.node, PARAMETERS)
        self.robot = load_robot(p["robot"])
        self.motion = read_motion(p["motion"])
        if self.motion.joint_names != self.robot.joint_names:
            raise DataError(
                f"The motion '{p['motion']}' is for the joints {', '.join(self.motion.joint_names)}, but robot "
                f"'{self.robot.name}' has {', '.join(self.robot.joint_names)}."
            )
        digest = self.motion.about.get("robot_digest")
        if digest not in (None, self.robot.digest):
            raise DataError(
                f"The motion '{p['motion']}' was made with another robot file '{self.robot.name}'."
            )
        self.clock = node_clock(self.node)
        self.loop = Loop(p["command_rate_hz"], p["rt_priority"], p["phase"], self.clock)
        topics = arm_topics(self.robot, self.node.get_namespace())
        self._reader = JointReader(self.robot.joint_names, self.clock, p["joint_prefix"])
        self._states = Polled(
            self.node, JointState, p["state_topic"] or topics.best_state, topics.state_qos(10)
        )
        self._monitor = MonitorListener(self.node, self.robot.dof)
        self._out = self.node.create_publisher(JointState, "robolearn/policy_command", qos(10))
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self.node.create_timer(1.0, self._publish_diagnostics)
        self._player = Player(self.motion)
        self._source = f"motion:{self.motion.digest}"
        self._told_active, self._told_done = False, False

    def tick(self, tick_ns: int) -> None:
        """Take messages, play, publish."""
        self._take()
        if not self._monitor.holds:
            return
        if not self._told_active:
            self._told_active = True
            self.node.get_logger().info(
                f"active: motion of {self.motion.duration_s:g} s, {self._source[:19]}"
            )
        held = self._monitor.held_rad
        if self._monitor.follows_at(self.clock.now_ns()):
            position, velocity = self._player.command(tick_ns / 1e9, held)
        else:
            self._player.hold()
            position, velocity = held, np.zeros_like(held)
        if self._player.playing:
            position = np.round(position / POSITION_STEP_RAD) * POSITION_STEP_RAD
            velocity = np.round(velocity / VELOCITY_STEP_RAD_S) * VELOCITY_STEP_RAD_S
        if self._player.done and not self._told_done:
            self._told_done = True
            self.node.get_logger().info("done: the motion was played to its end")
        stamp = time_message(self.clock, tick_ns)
        self._out.publish(joint_state(stamp, self.robot.joint_names, position, velocity, self._source))

    def stand(self, problem: str) -> None:
        """Nothing is played while a simulator's clock stands."""
        del problem

    def _take(self) -> None:
        now_ns = self.clock.now_ns()
        for message in self._states.take():
            if not self._reader.missing(message):
                self._monitor.measured(self._reader.measured(message).position_rad, now_ns)
        self._monitor.take(now_ns)

    def _publish_diagnostics(self) -> None:
        values = loop_values(self.loop) | {"motion": self._source, "done": self._player.done}
        doing = "playing" if self._monitor.follows else "holding"
        one = status(f"{called(self.node)}: motion", OK, doing, self.robot.name, values)
        message = DiagnosticArray(status=[one])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def rest(self, reason: str) -> bool:
        """A motion has no end of its own to brake to: it stops, and the monitor brakes the arm."""
        del reason
        return True

    def close(self) -> None:
        """Nothing to release."""

    def statistics(self) -> dict[str, Any]:
        """Loop statistics, and whether the motion was played to its end."""
        return {**self.loop.summary(), "done": self._told_done}


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(MotionNode, args)


if __name__ == "__main__":
    sys.exit(main())
