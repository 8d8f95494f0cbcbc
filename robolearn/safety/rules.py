"""Every rule of the monitor, in the order in which they are asked: one table for monitor, review and docs.

A rule is added here first. From this table follow the order of the checks, the reference page, what the review says
of each limit, and the suite `tests/safety/test_every_rule.py`, which asks for a limit, a margin, a description and a
case in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from robolearn.safety.types import Record

_Check = TypeVar("_Check")


class Stage(StrEnum):
    """What a rule looks at. The order of the stages is the order in a cycle."""

    CYCLE = "the call itself"
    STATE = "joint state"
    SURROUNDINGS = "surroundings"
    COMMANDS = "commands"
    FOLLOWING = "what was sent so far"
    STEP = "the next sample"
    MOTION = "the next sample and the way to rest"
    REST = "a resting arm"


class Effect(StrEnum):
    """What becomes of a violation."""

    STOP = "stop"  # the braking motion goes out, latched until a reset
    LIMIT = "limit"  # as much of the command goes out as the rule allows
    WAIT = "wait"  # nothing new goes out, and nothing is latched
    NOTE = "note"  # it is recorded


class Margin(StrEnum):
    """Where the review takes the room left to the limit from."""

    TRACE = "trace"  # from columns of the trace
    AGAIN = "computed again"  # from sent samples, by the monitor's own code
    NONE = "none"  # see `no_margin`


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    stage, effect: where it is asked, and what becomes of a violation; also: further ones.
    limit: its key in the profile; None for a yes or no.  unit: of value, limit and margin in a record.
    description: what holds where the rule is kept.  no_margin: why the review has none.
    parts: further keys of the profile that belong to it, and why they have no margin of their own.
    """

    name: str
    stage: Stage
    limit: str | None
    unit: str
    effect: Effect
    description: str
    margin: Margin = Margin.NONE
    no_margin: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    also: tuple[tuple[Stage, Effect], ...] = ()

    @property
    def effects(self) -> dict[Stage, Effect]:
        """What becomes of a violation, by stage."""
        return {self.stage: self.effect, **dict(self.also)}


_C, _S, _A, _O, _F, _T, _M, _R = Stage
_YES_NO = "A yes or no, not a number."
_INPUTS = tuple((stage, Effect.STOP) for stage in (_S, _A, _O))
_ON_THE_WAY = ((_M, Effect.LIMIT),)

RULES = (
    # -- the call itself --
    Rule("cycle_early", _C, None, "s", Effect.WAIT,
         "calls are at least one period apart; an earlier call decides "
         "nothing, and its commands are used in the next cycle",
         no_margin="The limit is the period of the session."),
    Rule("finite", _C, None, "1", Effect.STOP,
         "every number of every input is finite; NaN and infinity are never clamped",
         no_margin=_YES_NO, also=_INPUTS),
    Rule("clock", _C, "clock_ahead_max_s", "s", Effect.STOP,
         "stamps are not in the future, never decrease, and are unique to one command",
         Margin.TRACE, also=_INPUTS),
    Rule("cycle_gap", _C, "cycle_gap_max_s", "s", Effect.STOP,
         "the monitor's own cycles have no long gap; after one, nothing is sent until the arm is measured at rest",
         Margin.TRACE),
    # -- joint state --
    Rule("shape", _S, None, "1", Effect.STOP,
         "the joints of each input are exactly the robot's, by name, one number each",
         no_margin=_YES_NO, also=((_O, Effect.STOP),)),
    Rule("state_age", _S, "state_age_max_s", "s", Effect.STOP,
         "the newest measurement is recent", Margin.TRACE),
    Rule("state_jump", _S, "state_jump_max_rad", "rad", Effect.STOP,
         "no joint is measured farther from its last position than its speed allows in the elapsed time",
         no_margin="The reference readings for jumps are not in the trace."),
    # -- surroundings --
    Rule("stop_request", _A, None, "1", Effect.STOP, "no stop was requested", no_margin=_YES_NO),
    Rule("enabling_device", _A, "enabling_device", "1", Effect.STOP,
         "the enabling device is held, if the mode requires one", no_margin=_YES_NO),
    Rule("enabling_age", _A, "enabling_age_max_s", "s", Effect.STOP,
         "the enabling device's signal is recent, if the mode requires one", Margin.TRACE),
    Rule("person_age", _A, "separation.person_age_max_s", "s", Effect.STOP,
         "the person sensor is fresh enough",
         Margin.TRACE),
    # -- commands --
    Rule("command_flood", _O, "commands_per_cycle_max", "1", Effect.STOP,
         "the number of commands in one cycle is limited",
         no_margin="The trace has every command; their number is not evaluated here."),
    Rule("source", _O, None, "1", Effect.STOP, "commands come from the source for which the start was given",
         no_margin=_YES_NO),
    Rule("command_jump", _O, "command_jump_max_rad", "rad", Effect.STOP,
         "consecutive commands are close together; an implausible step is a stop, not a limit", Margin.TRACE),
    Rule("command_age", _O, "command_age_max_s", "s", Effect.STOP,
         "the newest command is recent, and the first one arrives soon after the start",
         Margin.TRACE,
         parts=(("first_command_wait_max_s", "The wait after a start is not measured here."),)),
    Rule("waiting", _O, None, "1", Effect.WAIT,
         "a command arrived after the start; until then the arm rests (a long wait is `command_age`)",
         no_margin=_YES_NO),
    Rule("timing", _O, None, "s", Effect.NOTE,
         "each cycle has a new command; otherwise the last one is extrapolated, subject to every rule",
         no_margin="The maximum age of a command is the limit of `command_age`."),
    # -- what was sent so far --
    Rule("tracking", _F, "tracking_error_max_rad", "rad", Effect.STOP,
         "the measured joints are close to what was sent within the allowed delay", Margin.TRACE,
         parts=(("tracking_delay_max_s", "Parameter of the rule `tracking`, not a limit by itself."),)),
    Rule("command_lag", _F, "command_lag_max_rad", "rad", Effect.STOP,
         "a limited arm does not fall too far behind its policy",
         no_margin="The interpolated command is not in the trace."),
    # -- the next sample --
    Rule("position", _T, "position_max_rad", "rad", Effect.LIMIT, "joint position", Margin.TRACE,
         parts=(("position_min_rad", ""),), also=_ON_THE_WAY),
    Rule("velocity", _T, "velocity_max_rad_s", "rad/s", Effect.LIMIT,
         "joint speed, the manufacturer's position-dependent curves included", Margin.AGAIN, also=_ON_THE_WAY),
    Rule("acceleration", _T, "acceleration_max_rad_s2", "rad/s^2", Effect.LIMIT,
         "joint acceleration, from the sequence that was sent", Margin.TRACE),
    Rule("jerk", _T, "jerk_max_rad_s3", "rad/s^3", Effect.LIMIT,
         "joint jerk, from the sequence that was sent", Margin.TRACE),
    # -- the next sample and the way to rest --
    Rule("torque", _M, "torque_max_nm", "Nm", Effect.LIMIT,
         "joint torque required by the motion, computed", Margin.AGAIN),
    Rule("torque_rate", _M, "torque_rate_max_nm_s", "Nm/s", Effect.LIMIT, "change of that torque",
         Margin.AGAIN),
    Rule("tcp_speed", _M, "tcp_speed_max_m_s", "m/s", Effect.LIMIT, "speed of the tool centre point",
         Margin.TRACE),
    Rule("elbow_speed", _M, "elbow_speed_max_m_s", "m/s", Effect.LIMIT, "speed of the elbow", Margin.AGAIN),
    Rule("link_speed", _M, "link_speed_max_m_s", "m/s", Effect.LIMIT,
         "speed of any point of the arm's surface", Margin.AGAIN),
    Rule("contact", _M, "contact", "m/s", Effect.LIMIT,
         "speed that contact with the named body regions permits, by the profile's effective-mass model",
         Margin.AGAIN),
    Rule("workspace", _M, "workspace", "m", Effect.LIMIT,
         "every link's hull stays inside the workspace box and on its side of each plane", Margin.AGAIN),
    Rule("keep_out", _M, "workspace", "m", Effect.LIMIT,
         "every link's hull stays outside each keep-out box", Margin.AGAIN),
    Rule("self_distance", _M, "self_distance_min_m", "m", Effect.LIMIT,
         "links that can touch each other keep their distance", Margin.AGAIN),
    Rule("stopping_distance", _M, "stopping_distance_max_m", "m", Effect.LIMIT,
         "the braking motion after the command is short enough", Margin.AGAIN),
    Rule("separation", _M, "separation", "m", Effect.LIMIT,
         "distance to the nearest person, by the speed and separation formula; a person who is too close is a stop",
         Margin.AGAIN, also=((_F, Effect.STOP),)),
    Rule("stopping_time", _M, "stopping_time_max_s", "s", Effect.LIMIT,
         "the braking motion after the command ends in time", Margin.TRACE),
    # -- a resting arm --
    Rule("standstill", _R, "rest_readings_min", "1", Effect.WAIT,
         "several consecutive readings together show the arm at rest at one position before that position is held, "
         "and at each reset and start",
         no_margin="Checked before a position is held, at each reset and at each start; refusals are in the "
                   "configuration history.",
         parts=(
             ("rest_spread_max_rad", "Parameter of the rule `standstill`, not a limit by itself."),
             ("standstill_velocity_max_rad_s",
              "Parameter of the rule `standstill`, not a limit by itself."),
         )),
    Rule("start", _R, None, "1", Effect.WAIT,
         "a start was given; until then the held position is sent, and no reset is needed",
         no_margin=_YES_NO),
    Rule("drift", _R, "standstill_drift_max_rad", "rad", Effect.STOP,
         "a held arm stays at its rest position",
         no_margin="The rest position is not in the trace."),
    Rule("internal_error", _R, None, "1", Effect.STOP,
         "an exception inside the monitor is a stop", no_margin=_YES_NO),
)  # fmt: skip

BY_NAME = {rule.name: rule for rule in RULES}


def in_order(checks: dict[str, _Check], stage: Stage) -> tuple[_Check, ...]:
    """The checks of a stage in the order of the table. checks: by name of each of their rules.

    One check may keep several rules; it stands where the first of them does. Raises KeyError for a rule of this stage
    that has none, and for a check of a rule that this stage does not have: it would never be asked.
    """
    for name in checks:
        if stage not in BY_NAME[name].effects:
            raise KeyError(f"{name} is not checked at stage {stage}")
    named = [
        rule.name for rule in RULES if rule.stage is stage or (stage in rule.effects and rule.name in checks)
    ]
    return tuple(dict.fromkeys(checks[name] for name in named))


def first_found(found: dict[Stage, Record | None]) -> Record | None:
    """The violation of the earliest stage, or None."""
    if not any(found.values()):  # as in nearly every cycle
        return None
    return next((record for stage in Stage if (record := found.get(stage)) is not None), None)
