"""The safety node's parameters, and what is made of them before its loop begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rclpy.node import Node

from robolearn.deploy.arm_controller import (
    FORWARD,
    KINDS,
    ExpectedController,
    controller_node,
    controller_topic,
)
from robolearn.deploy.arm_names import prefixed
from robolearn.errors import ConfigError
from robolearn.robots import Robot
from robolearn.safety.profile import SafetyProfile
from robolearn_ros.arm import SENT_TOPIC, arm_topics
from robolearn_ros.clocks import Clock
from robolearn_ros.node import PHASE, RT_PRIORITY, STATS_PATH
from robolearn_ros.parameters import Parameter

PARAMETERS = (
    Parameter("robot", "fr3", "robot name or robot YAML"),
    Parameter("profile", "", "safety profile; empty for the robot's own"),
    Parameter("mode", "automatic", "mode at the start", "", None, None,
              ("manual_reduced", "automatic", "collaborative")),
    Parameter("rate_hz", 500.0, "rate of checking and of commands to the arm", "Hz", 50, 1000),
    Parameter("joint_prefix", "", "prefix of the driver's joint names"),
    Parameter("state_topic", "", "joint state topic; empty for the fastest one in the robot file"),
    Parameter("command_topic", "", "command topic of a forward controller; empty for the robot file's"),
    Parameter("controller", "forward", "controller type: forward, trajectory, or robolearn",
              "", None, None, KINDS),
    Parameter("controller_name", "", "full name of its node; empty: derived from command_topic and controller"),
    Parameter("controller_rate_hz", 0.0, "rate of a forward controller; 0 for the robot file's",
              "Hz", 0, 10000),
    Parameter("check_controller", True, "before a start compare the controller's joints, interface, rate and state "
              "with what is expected; false for an arm without ros2_control"),
    Parameter("status_gates", True, "stop, and refuse a start, while a status topic of the robot file reports that "
              "the arm is not ready"),
    Parameter("stream_before_start", False, "stream the held position as soon as the controller has been checked; "
              "false: nothing is sent to the arm before the first start"),
    Parameter("policy_topic", "robolearn/policy_command", "commands of the policy"),
    Parameter("person_topic", "robolearn/person_range", "distance from the robot's base to the nearest person"),
    Parameter("wrench_topic", "", "force-torque sensor, recorded but not checked; empty for the robot file's, or none"),
    Parameter("log_dir", "", "new or empty folder of the safety log; empty for no log"),
    Parameter("log_key", "", "key file that signs the log; empty for the default"),
    Parameter("deployment_id", "not stated", "name of this installation in the log"),
    Parameter("operator", "operator", "pseudonym of the person who starts the nodes, for the first line of the log"),
    Parameter("operators", [], "operators who may start, reset and change the mode: name=public key or name=key id"),
    Parameter("exclusive_publishers", True, "a second publisher of commands, joint states, person sensor or enabling "
              "device stops; false: it is only reported"),
    Parameter("brake_guard", True, "a second process that brakes the arm if this one is killed"),
    replace(PHASE, default=0.6),
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip


def expected_controller(
    p: dict[str, Any], robot: Robot, profile: SafetyProfile, node: Node, clock: Clock
) -> ExpectedController:
    """The controller that the arm should have, by the node's parameters and its namespace."""
    kind, topics = p["controller"], arm_topics(robot, node.get_namespace())
    forward = node.resolve_topic_name(p["command_topic"] or topics.command)
    rate = 0.0  # the others interpolate
    if kind == FORWARD and robot.ros is not None:
        rate = p["controller_rate_hz"] or robot.ros.command_rate_hz
    return ExpectedController(
        kind=kind,
        node=p["controller_name"] or controller_node(kind, forward),
        topic=controller_topic(kind, forward, node.resolve_topic_name(SENT_TOPIC)),
        joints=prefixed(robot.joint_names, p["joint_prefix"]),
        rate_hz=rate,
        stream_rate_hz=p["rate_hz"],
        profile_digest=profile.digest,
        sim_time=clock.simulated,
    )


def check_clock(clock: Clock, p: dict[str, Any]) -> None:
    """Raises ConfigError for simulated time with an arm of which nobody can tell whether it is simulated too."""
    if clock.simulated and not p["check_controller"]:
        raise ConfigError(
            "safety_node: use_sim_time needs check_controller: only the controller's own use_sim_time tells a "
            "simulator from a real arm, which is never driven on simulated time."
        )
