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
from robolearn_ros.clocks import Clock, out_of_date
from robolearn_ros.messages import wrench

STEM = WRENCH_FORCE.rpartition(".")[0]


class WrenchReader:
    """WrenchStamped messages to values by source."""

    def __init__(self, robot: Robot, topic: str, frames: Iterable[str], clock: Clock):
        """topic: empty where there is no sensor. frames: `frame=place`, see `sensor_places`. Raises ConfigError."""
        self.topic, self._clock = topic, clock
        self.stamp_s = -np.inf  # of the newest message that was used
        self.newest: dict[str, NDArray[np.float64]] = {}  # what it told, by source
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
        """Force [3] N and torque [3] Nm by source. Raises ConfigError for a frame that nobody explains, and for a value
        that is not finite: such a message does not count as having come.
        """
        frame = message.header.frame_id
        place = self._places.get(frame)
        if place is None:
            raise ConfigError(
                f"it came in frame '{frame}', known are {', '.join(map(repr, sorted(self._places)))}. {_advice(frame)}"
            )
        told = wrench(message, self._clock)
        if not np.isfinite([*told.force_n, *told.torque_nm]).all():
            raise ConfigError("it held a value that is not finite")
        self.stamp_s = told.stamp_s
        force, torque = place.at_tcp(told.force_n, told.torque_nm)
        self.newest = {WRENCH_FORCE: force, WRENCH_TORQUE: torque}
        return self.newest

    def late(self, now_s: float, age_max_s: float) -> str:
        """Why the newest wrench is too old, or stamped in the future; empty where it is neither."""
        if not np.isfinite(self.stamp_s):
            return "no wrench has come yet"
        return out_of_date("the newest wrench", now_s - self.stamp_s, age_max_s, self._clock)


def _advice(frame: str) -> str:
    """What to do about a frame that nobody explains."""
    if not frame:
        return "Its header has no frame_id: set one in the driver"
    return (
        f"If that frame is fixed to the tool, say where it is: wrench_frames: {{{frame}: flange}} in the deployment "
        f"({', '.join(PLACES)}), or ros.wrench_frames in the robot file. A frame of the arm's base cannot be used: "
        "take another topic of the driver (wrench_topic)"
    )
