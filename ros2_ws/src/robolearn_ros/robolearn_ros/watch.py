"""A served arm on a page in the browser: `robolearn operate watch` runs it with the environment of the deployment.

Reads only: joint states, gripper width, goal, the monitor's decisions. It takes no part in the control of the arm.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from robolearn.errors import RobolearnError
from robolearn.files.printable import printable
from robolearn.policy.sources import GRIPPER_WIDTH, find_source
from robolearn.robots import Robot, load_robot
from robolearn.show.browser import PORT, BrowserScene
from robolearn_ros.arm import arm_topics
from robolearn_ros.clocks import StampClock
from robolearn_ros.messages import JointReader, Polled, qos

NAME = "viewer"
PERIOD_S = 1.0 / 30.0


class Watch:
    """One node and one page."""

    def __init__(self, robot: Robot, namespace: str, joint_prefix: str, port: int):
        """Raises RobotError for an arm without topics, MissingDependency without viser, ConfigError for the port."""
        model = robot.spec().compile()
        topics = arm_topics(robot, namespace)
        self.scene = BrowserScene(model, f"{robot.name}, served", port)
        self.node = Node(NAME, namespace=namespace)
        self._reader = JointReader(robot.joint_names, StampClock(), joint_prefix)
        self._states = Polled(self.node, JointState, topics.best_state, topics.state_qos(1))
        self._goals = Polled(self.node, PointStamped, _relative("goal.position"), qos(1))
        self._widths = Polled(self.node, Float64, _relative(GRIPPER_WIDTH), qos(1, reliable=False))
        self._decisions = Polled(self.node, DiagnosticStatus, "robolearn/decision", qos(1, latched=True))
        self._qpos = model.key("home").qpos.copy()
        self._joints = [int(model.joint(name).qposadr[0]) for name in robot.joint_names]
        self._fingers = [j for j in range(model.nq) if j not in self._joints]
        self._heard = False
        self.scene.say("No joint state yet.")

    def step(self) -> None:
        """Show what came."""
        rclpy.spin_once(self.node, timeout_sec=PERIOD_S)
        for message in self._states.take():
            if not self._reader.missing(message):
                self._heard = True
                self._qpos[self._joints] = self._reader.measured(message).position_rad
        for message in self._widths.take():
            self._qpos[self._fingers] = message.data / max(len(self._fingers), 1)
        for message in self._goals.take():
            self.scene.mark("goal", np.array([message.point.x, message.point.y, message.point.z]))
        for message in self._decisions.take():
            values = {pair.key: pair.value for pair in message.values}
            self.scene.say(_said(values.get("state", ""), values.get("mode", ""), message.message))
        if self._heard:
            self.scene.show(self._qpos)

    def close(self) -> None:
        """End the page and the node."""
        self.scene.close()
        self.node.destroy_node()


def _relative(source: str) -> str:
    return find_source(source).topic.lstrip("/")  # in the namespace of the arm


def _said(state: str, mode: str, text: str) -> str:
    """Markdown. What comes from the network is shown as text: no links, images or HTML of it."""
    plain = "".join(c if c.isalnum() or c in " .,:;/%+-" else " " for c in printable(text))[:200]
    return f"**{_word(state)}**, mode {_word(mode)}" + (f"\n\n{plain}" if plain != state else "")


def _word(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " -")[:40]


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Exit status 2 for wrong input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", default="fr3", help="robot name or robot YAML")
    parser.add_argument("--namespace", default="", help="of the arm's nodes")
    parser.add_argument("--joint-prefix", default="", help="of the names of the arm's joints")
    parser.add_argument("--port", type=int, default=PORT, help="of the page, on this machine only")
    options = parser.parse_args(arguments)
    rclpy.init()
    watch = None
    try:
        watch = Watch(load_robot(options.robot), options.namespace, options.joint_prefix, options.port)
        sys.stderr.write(f"Open {watch.scene.address} in a browser. Ctrl-C ends it.\n")
        while rclpy.ok():
            watch.step()
    except RobolearnError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if watch is not None:
            watch.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
