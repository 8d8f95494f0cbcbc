"""The arm's ROS interface, from its robot file and what the parameters change of it."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.qos import QoSProfile

from robolearn.errors import RobotError
from robolearn.robots import Robot
from robolearn_ros.messages import qos

GRIPPER_COMMAND_TOPIC = "/gripper_position_controller/commands"


@dataclass(frozen=True)
class ArmTopics:
    """Names, rates and reliability that nodes use for one arm."""

    state: str
    state_rate_hz: float
    fast_state: str | None
    command: str
    reliable: bool

    @property
    def best_state(self) -> str:
        """The fastest joint states there are."""
        return self.fast_state or self.state

    def state_qos(self, depth: int) -> QoSProfile:
        """Quality of service for the fastest joint states, as this arm's driver offers them."""
        return qos(depth, reliable=self.reliable)


def arm_topics(robot: Robot) -> ArmTopics:
    """The topics in a robot's file. Raises RobotError where the file has none."""
    ros = robot.ros
    if ros is None:
        raise RobotError(
            f"Robot '{robot.name}' has no `ros` section in {robot.path}: add its topics and rates."
        )
    fast_qos = ros.raw_state_qos or ros.state_qos
    return ArmTopics(
        state=ros.state_topic,
        state_rate_hz=ros.state_rate_hz,
        fast_state=ros.raw_state_topic,
        command=ros.command_topic,
        reliable=fast_qos.reliability == "reliable",
    )
