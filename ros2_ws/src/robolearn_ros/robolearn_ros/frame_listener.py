"""Hears /tf and /tf_static, where tf2_msgs is installed: with ROS 2 from apt, but not from wheels."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

import numpy as np
from rclpy.node import Node

from robolearn.errors import ConfigError
from robolearn_ros.frames import FrameTree, Vector
from robolearn_ros.messages import Polled, qos

MISSING = "the package tf2_msgs is not installed (apt: ros-jazzy-tf2-msgs), so that no other frame is known"


class FrameListener:
    """The frames of /tf, taken by the control loop's thread, asked for by any."""

    def __init__(self, node: Node):
        self._tree, self._lock = FrameTree(), threading.Lock()
        self._polled: list[tuple[Polled[Any], bool]] = []
        self.available = importlib.util.find_spec("tf2_msgs") is not None
        if self.available:
            from tf2_msgs.msg import TFMessage  # pyright: ignore[reportMissingImports]

            self._polled = [
                (Polled(node, TFMessage, "/tf", qos(100)), False),
                (Polled(node, TFMessage, "/tf_static", qos(100, latched=True)), True),
            ]

    def take(self) -> None:
        """Every transform that came since the last call."""
        for polled, static in self._polled:
            for message in polled.take():
                with self._lock:
                    for one in message.transforms:
                        self._add(one, static)

    def _add(self, one: Any, static: bool) -> None:
        t, q, stamp = one.transform.translation, one.transform.rotation, one.header.stamp
        self._tree.add(
            one.header.frame_id, one.child_frame_id, np.array([t.x, t.y, t.z]), np.array([q.w, q.x, q.y, q.z]),
            _seconds(stamp), static=static,
        )  # fmt: skip

    def transform(
        self, position_m: Vector, orientation: Vector, header: Any, target: str
    ) -> tuple[Vector, Vector]:
        """A stamped pose in the target frame; a stamp of zero means the newest transform. Raises ConfigError."""
        if not self.available:
            raise ConfigError(MISSING)
        stamp = _seconds(header.stamp)
        with self._lock:
            return self._tree.transform(position_m, orientation, header.frame_id, target, stamp or None)


def _seconds(stamp: Any) -> float:
    return stamp.sec + stamp.nanosec / 1e9
