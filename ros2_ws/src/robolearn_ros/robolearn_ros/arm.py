"""The arm's ROS interface, from its robot file and what the parameters change of it."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.qos import QoSProfile

from robolearn.deploy.arm_names import arm_topic
from robolearn.errors import RobotError
from robolearn.robots import Robot
from robolearn_ros.messages import qos

# No trajectories: their controller restarts its clock with every message.
COMMAND_TYPE = "std_msgs/msg/Float64MultiArray"
SENT_TOPIC = "robolearn/sent_command"  # relative: in the namespace of the arm
GRIPPER_COMMAND_TOPIC = "gripper_position_controller/commands"


@dataclass(frozen=True)
class ArmTopics:
    """Names, rates and reliability that nodes use for one arm."""

    state: str
    state_rate_hz: float
    fast_state: str | None
    fast_state_rate_hz: float | None
    command: str
    reliable: bool
    wrench: str

    @property
    def best_state(self) -> str:
        """The fastest joint states there are."""
        return self.fast_state or self.state

    def rate_of(self, topic: str) -> float | None:
        """Hz at which joint states come on a topic; None where the robot file does not tell."""
        return {self.state: self.state_rate_hz, self.fast_state: self.fast_state_rate_hz}.get(topic)

    def state_qos(self, depth: int) -> QoSProfile:
        """Quality of service for the fastest joint states, as this arm's driver offers them."""
        return qos(depth, reliable=self.reliable)


def arm_topics(robot: Robot, namespace: str = "") -> ArmTopics:
    """The topics in a robot's file, in the namespace of an arm.

    Raises RobotError where the file has none, or another kind of controller.
    """
    ros = robot.ros
    if ros is None:
        raise RobotError(
            f"Robot '{robot.name}' has no `ros` section in {robot.path}: add its topics and rates."
        )
    if ros.command_type != COMMAND_TYPE:
        raise RobotError(
            f"Robot '{robot.name}' takes {ros.command_type} on {ros.command_topic}, and the safety node sends "
            f"{COMMAND_TYPE}. Add a forward position controller to the arm's controller manager, and name its topic."
        )

    def named(topic: str) -> str:
        return arm_topic(robot, topic, namespace)

    fast_qos = ros.raw_state_qos or ros.state_qos
    return ArmTopics(
        state=named(ros.state_topic),
        state_rate_hz=ros.state_rate_hz,
        fast_state=None if ros.raw_state_topic is None else named(ros.raw_state_topic),
        fast_state_rate_hz=ros.raw_state_rate_hz,
        command=named(ros.command_topic),
        reliable=fast_qos.reliability == "reliable",
        wrench=named(ros.wrench_topic) if ros.wrench_topic else "",
    )
