"""Where a force-torque sensor's frame is on an arm, and a wrench in it at the TCP, as policies read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robolearn.config import Config
from robolearn.errors import ConfigError
from robolearn.robots.kinematics import rotation_from_rpy

if TYPE_CHECKING:
    from robolearn.robots.robot import Robot

Vector = NDArray[np.float64]

TCP = "tcp"  # the frame id of a wrench that needs no conversion
REVERSED = " reversed"
PLACES = ("tcp", "flange", f"tcp{REVERSED}", f"flange{REVERSED}")


_Number = Annotated[float, Field(ge=-10.0, le=10.0, allow_inf_nan=False)]
_Three = Annotated[list[_Number], Field(min_length=3, max_length=3)]


class WrenchFrame(Config):
    """The frame that a force-torque sensor's messages are in, on the tool: where its origin is, from `at`.

    reversed: the driver tells what the tool does to its surroundings, in place of what they do to the tool.
    """

    at: Literal["tcp", "flange"]
    xyz_m: _Three = [0.0, 0.0, 0.0]
    rpy_rad: _Three = [0.0, 0.0, 0.0]
    reversed: bool = False


@dataclass(frozen=True)
class SensorPlace:
    """A sensor's frame in that of the TCP: rotation [3, 3], position [3] m; sign -1 where it tells the reaction."""

    rotation: Vector
    position_m: Vector
    sign: float

    def at_tcp(self, force_n: Vector, torque_nm: Vector) -> tuple[Vector, Vector]:
        """Force [3] N and torque [3] Nm that act on the tool, in the axes of the TCP, the torque about it."""
        force = self.sign * (self.rotation @ force_n)
        return force, self.sign * (self.rotation @ torque_nm) + np.cross(self.position_m, force)


def sensor_places(robot: Robot, deployed: Mapping[str, str]) -> dict[str, SensorPlace]:
    """{frame id: its place}: `tcp`, those of the robot file, and those of a deployment, which come last.

    deployed: {frame id: one of PLACES}. Raises ConfigError for another place.
    """
    frames = {TCP: WrenchFrame(at="tcp")} | dict(robot.ros.wrench_frames if robot.ros else {})
    for name, place in deployed.items():
        if place not in PLACES:
            raise ConfigError(
                f"wrench_frames: '{name}' is at '{place}', expected one of {', '.join(PLACES)}."
            )
        at = "tcp" if place.startswith("tcp") else "flange"
        frames[name] = WrenchFrame(at=at, reversed=place.endswith(REVERSED))
    return {name: _place(robot, frame) for name, frame in frames.items()}


def _place(robot: Robot, frame: WrenchFrame) -> SensorPlace:
    rotation, position = rotation_from_rpy(frame.rpy_rad), np.asarray(frame.xyz_m, float)
    if frame.at == "flange":
        turn, offset = np.eye(3), np.zeros(3)  # of the TCP in the flange's frame
        for step in robot.tool_steps(robot.gripper.name):
            offset = offset + turn @ np.asarray(step.xyz)
            turn = turn @ rotation_from_rpy(step.rpy)
        rotation, position = turn.T @ rotation, turn.T @ (position - offset)
    return SensorPlace(rotation, position, -1.0 if frame.reversed else 1.0)
