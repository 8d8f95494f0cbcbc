"""An arm that follows its commands perfectly, a monitor and a clock: what most tests of the monitor need."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel

from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Measured, State, Surroundings

DT = 0.002
FAR = 6.0


def profile_with(name="fr3", modes=None, **changes):
    """A profile with other numbers in every mode: `tcp_speed_max_m_s=0.2`, or whole groups."""
    profile = SafetyProfile.load(name)
    resolved = {}
    for mode, limits in profile.modes.items():
        update = {}
        for field, value in changes.items():
            old = getattr(limits, field)
            update[field] = value if isinstance(value, (BaseModel, str)) else old.model_copy(
                update={"value": value}
            )  # fmt: skip
        resolved[mode] = limits.model_copy(update=update)
    return profile.model_copy(update={"modes": resolved})


class Rig:
    """Steps a monitor with a follow-perfectly arm. now_s starts at 100 s."""

    def __init__(self, robot="fr3", profile=None, mode="automatic", start=True, **kwargs):
        self.robot = load_robot(robot)
        self.monitor = SafetyMonitor(self.robot, profile or SafetyProfile.load(robot), mode, DT, **kwargs)
        self.names = self.robot.joint_names
        self.now, self.person = 100.0, FAR
        self.position, self.velocity = self.robot.home_rad.copy(), np.zeros(self.robot.dof)
        self.idle(
            round(self.monitor.limits.mode.rest_readings_min.value) + 1
        )  # a clock is believed twice seen
        if start:
            assert self.start().accepted

    @staticmethod
    def home(robot="fr3"):
        """A copy of where the arm begins."""
        return load_robot(robot).home_rad.copy()

    def measured(self, **changes):
        values = {"joint_names": self.names, "position_rad": self.position, "velocity_rad_s": self.velocity,
                  "stamp_s": self.now}  # fmt: skip
        return Measured(**(values | changes))

    def command(self, position_rad, velocity_rad_s=None, **changes):
        values = {
            "joint_names": self.names,
            "position_rad": position_rad,
            "stamp_s": self.now,
            "velocity_rad_s": velocity_rad_s,
        }
        return Command(**(values | changes))

    def around(self, **changes):
        values = {"person_distance_m": self.person, "person_stamp_s": self.now, "enabling_device": True,
                  "enabling_stamp_s": self.now}  # fmt: skip
        return Surroundings(**(values | changes))

    def cycle(self, command, measured=..., around=..., now=None):
        """One period on and one check; command: a command, a position, which gets this cycle's stamp, or a list."""
        self.now = self.now + DT if now is None else now
        if isinstance(command, np.ndarray):
            command = self.command(command)
        elif isinstance(command, tuple):
            command = self.command(*command)
        measured = self.measured() if measured is ... else measured
        around = self.around() if around is ... else around
        arrived = command if isinstance(command, list) else [] if command is None else [command]
        self.decision = self.monitor.check(arrived, measured, around, self.now)
        if self.decision.publish:
            self.velocity = (self.decision.command_rad - self.position) / DT
            self.position = self.decision.command_rad
        return self.decision

    def idle(self, cycles):
        """Cycles without a command: the last decision."""
        for _ in range(cycles):
            self.cycle(None)
        return self.decision

    def idle_at(self, place, cycles):
        """Cycles in which the arm rests at place [n] rad, whatever is sent."""
        for _ in range(cycles):
            self.position, self.velocity = place, np.zeros(self.robot.dof)
            self.cycle(None)
        self.position, self.velocity = place, np.zeros(self.robot.dof)

    def rest(self):
        """As many readings of the resting arm as a reset or a start needs: the last decision."""
        return self.idle(round(self.monitor.limits.mode.rest_readings_min.value))

    def push(self, goal, speed=1.0):
        """Somebody moves the arm to goal [n] rad, whatever is sent; it rests there."""
        while not np.array_equal(self.position, goal):
            step = np.clip(goal - self.position, -speed * DT, speed * DT)
            place, velocity = self.position + step, step / DT
            self.position, self.velocity = place, velocity
            self.cycle(None)
            self.position, self.velocity = place, velocity
        self.velocity = np.zeros(self.robot.dof)

    def start(self):
        return self.monitor.start(self.now, self.measured(), "tester")

    def reset(self):
        return self.monitor.reset(self.now, self.measured(), "tester", "test goes on")

    def coast(self, cycles=1000):
        """Cycles without a command until the monitor rests."""
        for _ in range(cycles):
            self.cycle(None)
            if self.monitor.state in (State.STOPPED, State.HOLDING):
                return self.decision
        raise AssertionError(f"still {self.monitor.state}")

    def move(self, seconds, joint_speed, joints=None):
        """Speed up smoothly to a joint speed and keep it: the decisions. joints: which, default all."""
        direction = (
            np.ones(self.robot.dof) if joints is None else np.isin(np.arange(self.robot.dof), joints) * 1.0
        )
        goal, position, velocity, decisions = (
            direction * joint_speed,
            self.position.copy(),
            self.velocity.copy(),
            [],
        )
        acceleration = np.zeros(self.robot.dof)
        for _ in range(round(seconds / DT)):
            wanted = np.clip((goal - velocity) / 0.05, -4.0, 4.0)
            acceleration = acceleration + np.clip(wanted - acceleration, -0.5, 0.5)
            velocity = velocity + acceleration * DT
            position = position + velocity * DT
            decisions.append(self.cycle((position, velocity)))
        return decisions
