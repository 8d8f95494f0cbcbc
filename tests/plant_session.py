"""Logs and bags of plants, made without ROS: what documentation and tests of system identification begin with."""

from __future__ import annotations

from pathlib import Path

from log_sessions import Session
from mcap_ros2.writer import Writer
from recorded import plant_in_class, wave

from robolearn.robots import load_robot
from robolearn.safety.types import Command, Measured, Surroundings
from robolearn.sim.plant import PlantArm

HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
STATE = (
    "std_msgs/Header header\nstring[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort" + HEADER
)
ARRAY = "float64[] data"


class PlantSession(Session):
    """A session whose arm is a plant."""

    def play(self, plant, path):
        """Send a path [N, n] through the monitor to the plant, one sample in each cycle."""
        arm = PlantArm(self.robot, plant, 0.002)
        sent = self.robot.home_rad
        for k in range(-200, len(path)):  # at rest first, until the arm's position is known
            target = path[max(k, 0)]
            seen = arm.step(self.now_s, sent)
            measured = Measured(
                self.robot.joint_names, seen["position_rad"], seen["velocity_rad_s"], float(seen["stamp_s"])
            )
            around = Surroundings(20.0, self.now_s)
            commands = []
            if k > 0:
                commands = [Command(self.robot.joint_names, target, self.now_s, None)]
            decision = self.monitor.check(commands, measured, around, self.now_s)
            self.log.cycle(self.now_s, commands, measured, around, decision)
            if decision.publish:
                sent = decision.command_rad
            if k == 0:
                answer = self.monitor.start(self.now_s, measured, "op-7")
                assert answer.accepted, answer.text
                self.log.event("start", now_s=self.now_s, measured=measured, who="op-7", answer=answer)
            self.now_s += 0.002
        return decision


def plant_log(folder: Path, key: Path, robot: str, duration_s: float = 8.4):
    """A closed safety log of a plant in the class under `wave`; the plant."""
    session = PlantSession(folder, key, name=robot)
    plant = plant_in_class(session.robot, noise=0.0)
    _, path = wave(session.robot, duration_s=duration_s, rate_hz=500.0)
    session.play(plant, path)
    session.log.close()
    return plant


def plant_bag(
    path: Path, robot: str, duration_s: float = 8.4, *, still: tuple[int, ...] = (), effort: bool = False
) -> Path:
    """A rosbag2 MCAP file of the same: joint states at 500 Hz, and the commands of a forward command controller.

    still: joints that stay at home. effort: whether the joint states have it.
    """
    arm_file = load_robot(robot)
    time, motion = wave(arm_file, duration_s=duration_s, rate_hz=500.0)
    motion[:, list(still)] = arm_file.home_rad[list(still)]
    arm = PlantArm(arm_file, plant_in_class(arm_file, noise=0.0), 0.002)
    with path.open("wb") as stream:
        writer = Writer(stream)
        state = writer.register_msgdef("sensor_msgs/msg/JointState", STATE)
        array = writer.register_msgdef("std_msgs/msg/Float64MultiArray", ARRAY)
        for t, target in zip(time, motion, strict=True):
            seen, at = arm.step(t, target), 5_000_000_000 + round(1e9 * t)
            message = {
                "header": {"stamp": {"sec": at // 10**9, "nanosec": at % 10**9}, "frame_id": ""},
                "name": list(arm_file.joint_names),
                "position": seen["position_rad"].tolist(),
                "velocity": seen["velocity_rad_s"].tolist(),
                "effort": seen["effort"].tolist() if effort else [],
            }
            topic, command = "/forward_position_controller/commands", {"data": target.tolist()}
            writer.write_message(topic, array, command, log_time=at, publish_time=at)
            writer.write_message("/joint_states", state, message, log_time=at, publish_time=at)
        writer.finish()
    return path
