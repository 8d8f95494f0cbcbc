"""Names of one arm among several: the namespace of its nodes and topics, and the prefix of its joints.

A robot file names topics and joints as the arm's driver has them for a single arm. `namespace: left` puts the arm's
topics below `/left`, in place of a namespace that the robot file has itself (KUKA's `/lbr`), and robolearn's own nodes,
topics and services too. `joint_prefix: left_` is what the driver puts before each joint name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from robolearn.errors import ConfigError
from robolearn.robots import Robot

_NAMESPACE = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")


def full_namespace(namespace: str) -> str:
    """`/left` of `left` or `/left`, empty of an empty one. Raises ConfigError for one that ROS 2 does not take."""
    text = namespace.rstrip("/")
    if text and not _NAMESPACE.fullmatch(text):
        raise ConfigError(
            f"namespace is '{namespace}', expected letters, digits and underscores, such as left or cell_2/left."
        )
    return f"/{text.lstrip('/')}" if text else ""


def in_namespace(name: str, namespace: str) -> str:
    """The full name of what stands below a namespace unless it begins with a slash."""
    return name if name.startswith("/") else f"{full_namespace(namespace)}/{name}"


def arm_topic(robot: Robot, topic: str, namespace: str) -> str:
    """A topic of the robot file in an arm's namespace; as it is without one."""
    space = full_namespace(namespace)
    if not space or robot.ros is None:
        return topic
    own = robot.ros.namespace.rstrip("/")
    return space + (topic.removeprefix(own) if own and topic.startswith(f"{own}/") else topic)


def prefixed(joint_names: Sequence[str], prefix: str) -> tuple[str, ...]:
    """Joint names as the arm's driver has them."""
    return tuple(prefix + name for name in joint_names)
