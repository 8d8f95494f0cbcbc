"""Sessions for the tests of log and review: a real monitor in front of an arm that follows with a short delay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from robolearn.recorder.event_log import Options
from robolearn.recorder.safety_log import SafetyLog
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Measured, State, Surroundings

PERIOD_S = 0.002
QUICK = Options(
    flush_s=0.01,
    fsync_s=0.2,
    heartbeat_s=0.1,
    segment_s=0.3,
    segment_events=50,
    poll_s=0.002,
    min_free_bytes=0,
)


class Session:
    """Drives monitor and log cycle by cycle; time is counted, never slept."""

    def __init__(self, directory: Path, key: Path, *, options: Options = QUICK, name: str = "fr3", **more):
        self.robot = load_robot(name)
        self.profile = SafetyProfile.load(self.robot.arm)
        self.monitor = SafetyMonitor(self.robot, self.profile, mode="automatic", period_s=PERIOD_S)
        session = {
            "mode": "automatic",
            "period_s": PERIOD_S,
            "deployment_id": "test-cell",
            "operator": "op-7",
        }
        self.log = SafetyLog.open(
            directory,
            robot=self.robot,
            profile=self.profile,
            session=session,
            signing_key=key,
            options=options,
            **more,
        )
        self.now_s = 10.0
        self.q = self.robot.home_rad.copy()
        self.qd = np.zeros(self.robot.dof)
        self.phase_s = 0.0
        self.origin = self.q.copy()
        self.kept = 0
        self.source = "policy"

    @property
    def measured(self) -> Measured:
        return Measured(self.robot.joint_names, self.q.copy(), self.qd.copy(), self.now_s)

    def cycle(self, command: Command | None = None, surroundings: Surroundings | None = None):
        measured = self.measured
        around = surroundings or Surroundings(2.5, self.now_s)
        commands = [] if command is None else [command]
        decision = self.monitor.check(commands, measured, around, self.now_s)
        self.kept += self.log.cycle(self.now_s, commands, measured, around, decision)
        if decision.publish:
            self.q, self.qd = decision.command_rad.copy(), decision.velocity_rad_s.copy()
        self.now_s += PERIOD_S
        return decision

    def mode(self, mode: str) -> None:
        answer = self.monitor.set_mode(mode, "op-7")
        self.log.event("mode", now_s=self.now_s, mode=mode, who="op-7", answer=answer)

    def start(self) -> None:
        if self.monitor.state is State.HOLDING:
            for _ in range(12):  # until the arm's position is known
                self.cycle()
        measured = self.measured
        answer = self.monitor.start(self.now_s, measured, "op-7")
        self.log.event("start", now_s=self.now_s, measured=measured, who="op-7", answer=answer)
        self.phase_s, self.origin = 0.0, self.q.copy()

    def reset(self, why: str) -> None:
        for _ in range(200):  # until the cause is past, and the arm has been seen at rest for long enough
            self.cycle()
        measured = self.measured
        answer = self.monitor.reset(self.now_s, measured, "op-7", why)
        self.log.event("reset", now_s=self.now_s, measured=measured, who="op-7", why=why, answer=answer)

    def wave(self, cycles: int, speed: float = 1.0, surroundings: Surroundings | None = None) -> None:
        """Commands along a smooth wave, amplitude growing from zero."""
        for _ in range(cycles):
            self.phase_s += PERIOD_S * speed
            t = self.phase_s
            amplitude = np.array([0.30, 0.15, 0.2, 0.2, 0.3, 0.2, 0.4])[: self.robot.dof]
            grow = 1.0 - np.exp(-((t / 0.8) ** 3))
            position = self.origin + amplitude * grow * np.sin(t * np.linspace(1.0, 1.6, self.robot.dof))
            stamp = self.now_s
            self.cycle(Command(self.robot.joint_names, position, stamp, None, self.source), surroundings)

    def rest(self, cycles: int = 400) -> None:
        for _ in range(cycles):
            self.cycle()
            if self.monitor.state is State.STOPPED:
                break


def story(
    directory: Path, key: Path, *, waves: int = 800, at_end: Callable[[Session], None] | None = None, **more
) -> Session:
    """Work, a NaN, a reset, work, a person comes near, a reset, work, end."""
    session = Session(directory, key, **more)
    session.start()
    session.wave(waves)
    bad = np.full(session.robot.dof, np.nan)
    session.cycle(Command(session.robot.joint_names, bad, session.now_s, None, "rogue"))
    session.rest()
    session.reset("a rogue publisher was switched off")
    session.cycle()
    session.start()
    session.wave(waves)
    for i in range(100):
        session.wave(1, surroundings=Surroundings(2.5 - 0.022 * i, session.now_s))
        if session.monitor.state is not State.RUNNING:
            break
    session.rest()
    session.reset("the person left")
    session.start()
    session.wave(waves, speed=4.0)
    if at_end is not None:
        at_end(session)
    session.log.close()
    return session
