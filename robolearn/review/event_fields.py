"""What the review reads of an event, and which kinds of values these are: a record of others may hold anything.

A record whose fields are of another kind is a finding of the verification, and nothing else of the review reads it.
Fields that are not named here are left as they are.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from robolearn.config import first_fault
from robolearn.files.printable import printable
from robolearn.robots.schema import JOINTS_MAX

WHOLE_MAX = 2**53 - 1
PERIOD_MIN_S, PERIOD_MAX_S = 0.0005, 1.0
Whole = Annotated[int, Field(ge=0, le=WHOLE_MAX)]
Word = Annotated[str, Field(max_length=200)]
Text = Annotated[str, Field(max_length=1_000_000)]
# `hash_chain.plain` writes what is not a finite number as text.
Number = float | Annotated[str, Field(pattern=r"^(nan|-?inf|-?[0-9.e+]{1,400})$", max_length=400)]
Numbers = Annotated[list[Number], Field(max_length=JOINTS_MAX)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Event(_Fields):
    """What every event has."""

    seq: Whole
    cycle: Whole
    kind: Word
    utc: Word
    monotonic_us: Whole
    retention: Retention | None = None


class Retention(_Fields):
    """How long the record is kept."""

    class_: Word = Field(alias="class")
    days: Whole


class File(_Fields):
    """A file beside the events."""

    bytes: Whole
    sha256: Word


class Named(_Fields):
    """A robot or a profile."""

    name: Word
    digest: Word


class Session(_Fields):
    """What identifies the session."""

    gripper: Word | None = None
    clock: Word | None = None


class Start(_Fields):
    """`session_start`."""

    session_id: Word
    mode: Word
    period_s: float = Field(ge=PERIOD_MIN_S, le=PERIOD_MAX_S, allow_inf_nan=False)
    session: Session
    robot: Named
    profile: Named
    joint_names: list[Word] = Field(min_length=1, max_length=JOINTS_MAX)
    software: dict[Word, Word]
    files: dict[Word, File] = {}


class Record(_Fields):
    """A rule that acted."""

    rule: Word
    value: Number
    limit: Number
    margin: Number
    unit: Word
    source: Text
    text: Text
    where: Text


Records = Annotated[list[Record], Field(max_length=10_000)]


class Stop(_Fields):
    """`stop`."""

    stop: Whole
    at_cycle: Whole
    records: Records


class StopCause(_Fields):
    """`stop_cause`."""

    stop: Whole
    records: Records


class StopReport(_Fields):
    """`stop_report`."""

    at_cycle: Whole
    report: dict[str, Any]


class Spell(_Fields):
    """`limit`."""

    first_cycle: Whole
    last_cycle: Whole
    cycles: Whole
    records: Records


class Answer(_Fields):
    """Of the monitor to a call."""

    accepted: bool
    text: Text


class Measured(_Fields):
    """What was measured when a call was made."""

    joint_names: list[Word] = Field(max_length=JOINTS_MAX)
    position_rad: Numbers
    velocity_rad_s: Numbers
    stamp_s: Number


class Call(_Fields):
    """`reset`, `start` and `mode`: what a replay gives to the monitor."""

    who: Text | None = None
    why: Text | None = None
    now_s: Number = 0.0
    measured: Measured | None = None
    answer: Answer | None = None


class Mode(Call):
    """`mode`."""

    mode: Word


class Loss(_Fields):
    """`loss`."""

    cycles: Whole
    first_cycle: Whole = 0
    last_cycle: Whole = 0


class OodScore(_Fields):
    """`ood_score`: some decisions' scores, each with the cycle in which it came."""

    count: Whole
    above: Whole
    cycles: list[Whole] = Field(max_length=10_000)
    scores: list[Number] = Field(max_length=10_000)


class PolicyInputs(_Fields):
    """`policy_inputs`: what a policy's decisions before a stop read, each with the cycle in which it came."""

    at_cycle: Whole
    policy_digest: Word
    cycles: list[Whole] = Field(max_length=1000)
    values: list[Annotated[list[Number], Field(max_length=1000)]] = Field(max_length=1000)


class CommandSource(_Fields):
    """`command_source`."""

    source: Text
    policy_digest: Word | None = None


class Counted(_Fields):
    """`session_end`, `segment`, `heartbeat`."""

    cycles: Whole


_EVENT = TypeAdapter(Event)
_FIELDS: dict[str, TypeAdapter[Any]] = {
    "session_start": TypeAdapter(Start),
    "stop": TypeAdapter(Stop),
    "stop_cause": TypeAdapter(StopCause),
    "stop_report": TypeAdapter(StopReport),
    "limit": TypeAdapter(Spell),
    "reset": TypeAdapter(Call),
    "start": TypeAdapter(Call),
    "mode": TypeAdapter(Mode),
    "loss": TypeAdapter(Loss),
    "command_source": TypeAdapter(CommandSource),
    "ood_score": TypeAdapter(OodScore),
    "policy_inputs": TypeAdapter(PolicyInputs),
    "session_end": TypeAdapter(Counted),
    "segment": TypeAdapter(Counted),
    "heartbeat": TypeAdapter(Counted),
}


def malformed(record: dict[str, Any]) -> str:
    """Why the review cannot read a record, in words; empty where it can."""
    try:
        _EVENT.validate_python(record)
        fields = record.get("fields")
        if not isinstance(fields, dict):
            return "fields is not an object"
        kind = _FIELDS.get(record["kind"])
        if kind is not None:
            kind.validate_python(fields)
            if (
                record["kind"] in ("reset", "start")
                and fields.get("who") is not None
                and "now_s" not in fields
            ):
                return "fields.now_s: Field required"
    except ValidationError as error:
        place, fault = first_fault(error)
        return f"{printable(place)}: {fault}"
    return ""
