"""What goes into the monitor each cycle, and what comes out.

Plain values: no clock, no ROS type, no I/O. All times are seconds of one monotonic clock
(the caller chooses which).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Verdict(StrEnum):
    """What became of a command."""

    PASS = "PASS"  # goes out bit-identical
    LIMIT = "LIMIT"  # goes out changed; the records say why
    STOP = "STOP"  # does not go out; a braking motion or a hold does


class State(StrEnum):
    """State of the monitor. Motion follows commands in RUNNING only."""

    HOLDING = "holding"  # at rest, not latched: a start is needed (after boot, reset, swap, mode change)
    RUNNING = "running"
    STOPPING = "stopping"  # latched, a braking motion is going out
    STOPPED = "stopped"  # latched, at rest: a reset is needed, then a start


@dataclass(frozen=True, slots=True)
class Command:
    """What a policy asks for: joint positions at one instant, in the order of joint_names.

    position_rad, velocity_rad_s: [n].  stamp_s: when the command applies, on the clock of `now_s`.
    By its velocity the monitor extrapolates a command when the next message is late by a cycle.
    """

    joint_names: tuple[str, ...]
    position_rad: Vector
    stamp_s: float
    velocity_rad_s: Vector | None = None
    source: str = "policy"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the arm reports: position_rad, velocity_rad_s, effort_nm: [n], in the order of joint_names.

    effort_nm: joint torques as the arm reports them, None where it does not. Recorded, not judged.
    """

    joint_names: tuple[str, ...]
    position_rad: Vector
    velocity_rad_s: Vector
    stamp_s: float
    effort_nm: Vector | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Other inputs of the monitor.

    person_distance_m: distance from the robot's base to the nearest person, None where nothing was received.
    stop_requested: somebody asked for a stop.  enabling_device: held or not, None where nothing was received;
    enabling_stamp_s: when that was.
    """

    person_distance_m: float | None = None
    person_stamp_s: float | None = None
    stop_requested: bool = False
    enabling_device: bool | None = None
    enabling_stamp_s: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One rule that acted: what it saw, the limit, and margin = room left (negative: exceeded), in `unit`."""

    rule: str
    value: float
    limit: float
    margin: float
    unit: str
    source: str
    text: str
    where: str = ""  # joint, shape of a hull or region


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a stop went, measured against what was predicted when it began. Given once, at standstill.

    *_time_s: from the decision to standstill; None where no fresh measurement shows it.
    *_travel_rad: [n], joint travel over that time.
    """

    cause: str
    began_s: float
    predicted_time_s: float
    measured_time_s: float | None
    predicted_travel_rad: Vector
    measured_travel_rad: Vector


@dataclass(frozen=True, slots=True)
class Decision:
    """What to publish, and why.

    command_rad, velocity_rad_s: [n], always finite, in the robot's joint order: publish exactly this.
    publish: False where no position is known that could be held (before readings in a row agree on one, and after a
    gap in the cycles), and in a call that came too soon for its period; both are then empty.
    latched: a reset is needed before a start.  stop_report: only in the cycle in which a stop came to rest.
    stopping_time_s: how long the braking motion kept ready behind this command takes.
    command_index: which of the cycle's commands, in order of arrival, the decision is about: the first that was
    refused, else the newest; None where none arrived or none was looked at.
    """

    verdict: Verdict
    command_rad: Vector
    velocity_rad_s: Vector
    latched: bool
    state: State
    records: tuple[Record, ...] = field(default_factory=tuple)
    stopping_time_s: float = 0.0
    stop_report: StopReport | None = None
    publish: bool = True
    command_index: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a reset, a start or a change of mode: accepted or not, and why in one sentence."""

    accepted: bool
    text: str
