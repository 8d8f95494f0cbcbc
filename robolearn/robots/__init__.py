"""Robots: sourced facts, and the models and limits built from them."""

from robolearn.robots.check import check_robot
from robolearn.robots.digest import same_joints
from robolearn.robots.gripper import Gripper
from robolearn.robots.gripper_files import gripper_names
from robolearn.robots.kinematics import ChainStep, forward
from robolearn.robots.limits import JointLimits, LimitSet
from robolearn.robots.robot import Robot, is_packaged, is_robot_path, load_robot, robot_names
from robolearn.robots.schema import Qos, RosInterface

__all__ = [
    "ChainStep",
    "Gripper",
    "JointLimits",
    "LimitSet",
    "Qos",
    "Robot",
    "RosInterface",
    "check_robot",
    "forward",
    "gripper_names",
    "is_packaged",
    "is_robot_path",
    "load_robot",
    "robot_names",
    "same_joints",
]
