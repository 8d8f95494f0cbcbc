"""robolearn_controller for the simulated arm: the same C++ filter, fed as ros2_control would feed it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.deploy.controller import controller_parameters
from robolearn.robots import Robot
from robolearn.safety.profile import SafetyProfile
from robolearn_ros.clocks import Clock
from robolearn_ros.loop import Samples
from robolearn_ros.messages import Polled, qos
from robolearn_ros.stream_filter import Bounds, FilterConfig, StreamFilter

Vector = NDArray[np.float64]

FROM_PROFILE = ("delay_s", "delay_max_s", "late_max_s", "follow_error_max_rad", "start_tolerance_rad",
                "restart_tolerance_rad")  # fmt: skip


class SimulatedController:
    """Follows the safety node's sent commands with one step for each tick of the arm's loop."""

    def __init__(
        self,
        node: Node,
        robot: Robot,
        profile: str,
        *,
        rate_hz: float,
        stream_rate_hz: float,
        position_rad: ArrayLike,
        joints: tuple[str, ...],
        topic: str,
        clock: Clock,
    ):
        """profile: empty for the robot's own.  rate_hz: of the loop.  position_rad: [n], where the arm is held.

        joints: as they are called in the commands.  topic: of these.  clock: of the arm's loop.

        Raises ConfigError where there is no compiler, or a number cannot be used.
        """
        loaded = SafetyProfile.load(profile or robot.arm)
        p = controller_parameters(robot, loaded, stream_rate_hz=stream_rate_hz)
        bounds = Bounds(*(np.array(p[name]) for name in Bounds.__dataclass_fields__))
        config = FilterConfig(
            step_s=1.0 / rate_hz,
            stream_period_s=1.0 / stream_rate_hz,
            **{name: p[name] for name in FROM_PROFILE},
            bandwidth_rad_s=min(FilterConfig.bandwidth_rad_s, 0.2 * rate_hz),
        )
        self.profile_digest = loaded.digest
        self.filter = StreamFilter(bounds, config)
        self.filter.reset(position_rad)
        self.malformed = 0
        self.latency = Samples()  # from the grid time of a sent command to the step that first follows it
        self.braked_from_rad_s = 0.0  # largest joint speed when it last began to brake
        self._names = joints
        self._last_names: list[str] = []
        self._order: list[int] = []
        self._clock = clock
        self._sent = Polled(node, JointState, topic, qos(100))

    def step(self, now_ns: int) -> Vector:
        """Take what came, and the positions [n] for this tick."""
        newest_ns = 0
        for message in self._sent.take():
            stamp = message.header.stamp
            position, velocity = np.array(message.position), np.array(message.velocity)
            if not self._ordered(list(message.name)) or len(position) != len(self._last_names):
                self.malformed += 1
                continue
            given = velocity[self._order] if len(velocity) == len(position) else None
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            newest_ns = max(newest_ns, round(self._clock.monotonic_s(stamp.sec, stamp.nanosec) * 1e9))
            self.filter.push(stamp_ns, position[self._order], given, now_ns)
        followed = self.filter.state == "following"
        position, velocity, _ = self.filter.update(now_ns)
        if newest_ns:
            self.latency.add(self._clock.now_ns() - newest_ns)
        if followed and self.filter.state in ("late", "braking"):
            self.braked_from_rad_s = float(np.abs(velocity).max())
        return position

    def _ordered(self, names: list[str]) -> bool:
        """Whether a message with these names has every joint; where each stands is kept."""
        if names != self._last_names:
            self._last_names = names
            self._order = [names.index(name) for name in self._names if name in names]
        return len(self._order) == len(self._names)

    def values(self) -> dict[str, Any]:
        """For diagnostics."""
        return {
            "controller_state": self.filter.state,
            "controller_reason": self.filter.reason,
            "controller_not_followed_because": self.filter.refused,
            "controller_profile_digest": self.profile_digest,
            "controller_malformed": self.malformed,
            "controller_braked_from_rad_s": self.braked_from_rad_s,
            **{f"controller_samples_{key}": value for key, value in self.filter.counts.items()},
        }
