"""The door to the drivers of grippers: each kind is a module of its own, loaded where a gripper's file names it."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from rclpy.node import Node

from robolearn.errors import ConfigError, unknown
from robolearn.robots import Gripper
from robolearn.robots.schema import GripperInterface
from robolearn_ros.gripper_plan import FingerWidth, Motion

# kind: module, class, the package of its messages, and where that comes from
_DRIVERS = {
    "position": ("gripper_position", "PositionDriver", "std_msgs", "ROS 2 itself"),
    "gripper_command": ("gripper_action", "ActionDriver", "control_msgs", "apt: ros-jazzy-control-msgs"),
    "franka": ("gripper_franka", "FrankaDriver", "franka_msgs", "the workspace of franka_ros2"),
    "schunk": ("gripper_schunk", "SchunkDriver", "schunk_gripper_interfaces", "the workspace of Schunk's driver"),
}  # fmt: skip


class GripperDriver(Protocol):
    """Sends single commands. All calls, and all callbacks of its clients, are by the executor's thread.

    grasps: whether holding is a command of its own.  problem: why nothing can be sent, or what went wrong last; empty
    where all is well.
    """

    grasps: bool
    problem: str

    @property
    def busy(self) -> bool:
        """Whether a command is under way that a new one would not replace."""
        ...

    def ready(self) -> bool:
        """Whether the gripper's driver has been found."""
        ...

    def send(self, motion: Motion) -> bool:
        """Begin a command; False where it cannot be sent now."""
        ...

    def take_failed(self) -> bool:
        """Whether a command has come to nothing since the last call."""
        ...


def interface_of(gripper: Gripper) -> GripperInterface:
    """What the gripper's driver speaks. Raises ConfigError where its file does not say."""
    if gripper.file.ros is None:
        raise ConfigError(
            f"{gripper.label} has no `ros` section in its file: the safety node commands its opening on "
            "gripper_position_controller/commands, and no gripper node is needed."
        )
    return gripper.file.ros


def finger_width(gripper: Gripper) -> FingerWidth:
    """From finger joints to the opening. Raises ConfigError like `interface_of`."""
    ros = interface_of(gripper)
    return FingerWidth(ros.joints, ros.position_open, ros.position_closed, gripper.width_max_m)


def make_driver(node: Node, gripper: Gripper) -> GripperDriver:
    """The driver that the gripper's file names. Raises ConfigError where its messages are not installed."""
    ros = interface_of(gripper)
    if ros.driver not in _DRIVERS:
        raise ConfigError(unknown("gripper driver", ros.driver, _DRIVERS))
    module, name, package, origin = _DRIVERS[ros.driver]
    require_messages(package, f"The gripper driver '{ros.driver}'", origin)
    made: Any = getattr(import_module(f"robolearn_ros.{module}"), name)
    return made(node, gripper)


def require_messages(package: str, who: str, origin: str) -> None:
    """Raises ConfigError where a package of messages cannot be imported."""
    try:
        import_module(package)
    except ImportError as error:
        raise ConfigError(
            f"{who} needs the package {package} ({origin}): install or build it, and source it before the nodes start. "
            f"Python says: {error}."
        ) from None
