"""The safety log of one session of the safety node: its parameters, cycles, events, and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robolearn.recorder.cycle_codec import Wrench
from robolearn.recorder.resolution import STEPS
from robolearn.recorder.safety_log import SafetyLog
from robolearn.robots import Robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, Measured, Surroundings
from robolearn_ros.clocks import Clock

NOT_WRITTEN = "the safety log is not written"
END_WAIT_S, UNWELL_END_WAIT_S = 15.0, 2.0


class SessionLog:
    """A safety log, or none: then nothing is recorded, and nothing is wrong.

    not_recorded: why the last cycle was not recorded; empty where it was.
    """

    def __init__(self, log: SafetyLog | None):
        self._log = log
        self.not_recorded = ""

    @property
    def directory(self) -> Path | None:
        """Where it is kept; None where none is."""
        return None if self._log is None else self._log.directory

    @property
    def cycles(self) -> int | None:
        """How many cycles were recorded; None where no log is kept."""
        return None if self._log is None else self._log.counts["cycles"]

    @property
    def problem(self) -> str:
        """What is wrong with it at this moment; empty if nothing is."""
        problem = self._log.problem if self._log is not None else ""
        return f"{NOT_WRITTEN}: {problem}" if problem else ""

    def event(self, kind: str, /, **fields: Any) -> None:
        """Record an event, by any thread."""
        if self._log is not None:
            self._log.event(kind, **fields)

    def cycle(
        self,
        now_s: float,
        commands: list[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        decision: Decision,
        wrench: Wrench | None,
    ) -> None:
        """Record what a cycle read and decided, by the control loop."""
        if self._log is None:
            return
        well = self._log.cycle(now_s, commands, measured, surroundings, decision, wrench)
        if well == bool(self.not_recorded):
            self.not_recorded = "" if well else self.problem or f"{NOT_WRITTEN}: its queue is full"

    def close(self, reason: str) -> None:
        """End it in order. Raises LogError where that is not possible."""
        if self._log is None:
            return
        # A log that is not well is given less time: the process that waits for this one has a limit too.
        self._log.close(reason, UNWELL_END_WAIT_S if self._log.problem else END_WAIT_S)


def open_session(p: dict[str, Any], robot: Robot, profile: SafetyProfile, clock: Clock) -> SessionLog:
    """The safety log that the node's parameters ask for. Raises LogError where it cannot be written."""
    if not p["log_dir"]:
        return SessionLog(None)
    session = {
        "mode": p["mode"],
        "period_s": 1.0 / p["rate_hz"],
        "deployment_id": p["deployment_id"],
        "operator": p["operator"],
        "clock": "simulated" if clock.simulated else "system",
        "parameters": p,
        "measurement_steps": STEPS,
    }
    log = SafetyLog.open(
        Path(p["log_dir"]),
        robot=robot,
        profile=profile,
        session=session,
        signing_key=Path(p["log_key"]) if p["log_key"] else None,
        profile_file=p["profile"] or None,
    )
    return SessionLog(log)
