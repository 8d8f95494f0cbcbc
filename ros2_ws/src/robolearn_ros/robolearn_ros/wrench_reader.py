"""What a force-torque sensor tells, at the TCP and in its axes, for a policy that reads it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from geometry_msgs.msg import WrenchStamped
from numpy.typing import NDArray

from robolearn.errors import ConfigError
from robolearn.policy.sources import WRENCH_FORCE, WRENCH_TORQUE
from robolearn.robots import Robot
from robolearn.robots.wrench_frames import PLACES, sensor_places
from robolearn_ros.clocks import Clock, other_clock
from robolearn_ros.messages import wrench

STEM = WRENCH_FORCE.rpartition(".")[0]


class WrenchReader:
    """WrenchStamped messages to values by source."""

    def __init__(self, robot: Robot, topic: str, frames: Iterable[str], clock: Clock):
        """topic: empty where there is no sensor. frames: `frame=place`, see `sensor_places`. Raises ConfigError."""
        self.topic, self._clock = topic, clock
        self.stamp_s = -np.inf  # of the newest message that was used
        self._robot_file = robot.path
        pairs = {}
        for entry in frames:
            frame, separator, place = entry.partition("=")
            if not frame or not separator:
                raise ConfigError(f"wrench_frames: '{entry}' is not of the form tool0=flange.")
            pairs[frame] = place
        self._places = sensor_places(robot, pairs)

    def require(self) -> None:
        """Raises ConfigError where there is no sensor."""
        if not self.topic:
            raise ConfigError(
                "the policy reads the wrench at the TCP, and no force-torque sensor is known: set wrench_topic in the "
                f"deployment, or ros.wrench_topic in {self._robot_file}."
            )

    def values(self, message: WrenchStamped) -> dict[str, NDArray[np.float64]]:
        """Force [3] N and torque [3] Nm by source. Raises ConfigError for a frame that nobody explains."""
        frame = message.header.frame_id
        place = self._places.get(frame)
        if place is None:
            raise ConfigError(
                f"it came in frame '{frame}', known are {', '.join(map(repr, sorted(self._places)))}. Say where that "
                f"frame is: wrench_frames: {{{frame or 'FRAME'}: flange}} in the deployment ({', '.join(PLACES)}), or "
                "ros.wrench_frames in the robot file"
            )
        told = wrench(message, self._clock)
        self.stamp_s = told.stamp_s
        force, torque = place.at_tcp(told.force_n, told.torque_nm)
        return {WRENCH_FORCE: force, WRENCH_TORQUE: torque}

    def late(self, now_s: float, age_max_s: float) -> str:
        """Why the newest wrench is too old; empty where it is not."""
        if not np.isfinite(self.stamp_s):
            return "no wrench has come yet"
        age_s = now_s - self.stamp_s
        if age_s <= age_max_s:
            return ""
        return other_clock("the newest wrench", age_s, self._clock) or (
            f"the newest wrench is {age_s * 1e3:.0f} ms old, at most {age_max_s * 1e3:.0f} are allowed"
        )
