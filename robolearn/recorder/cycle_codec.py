"""One cycle of the monitor as bytes: what went in, what came out, packed on the control thread in microseconds.

The bytes are CDR, as ROS 2 has it, of the message in `Layout.schema`: fixed offsets for everything a plot needs, then
the rules that acted, then the odd inputs (a joint list in another order, an array of the wrong length) word for word,
then the other commands of the cycle. The command with fixed offsets is the one that the decision is about.
So a trace file opens in Foxglove, and a replay gets back every input bit, NaN included.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import LogError
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

VERDICTS = (Verdict.PASS, Verdict.LIMIT, Verdict.STOP)
STATES = (State.HOLDING, State.RUNNING, State.STOPPING, State.STOPPED)
_VERDICT_CODE = {verdict: code for code, verdict in enumerate(VERDICTS)}
_STATE_CODE = {state: code for code, state in enumerate(STATES)}
_ENABLING_CODE = {None: 0, False: 1, True: 2}
ENCAPSULATION = b"\x00\x01\x00\x00"  # CDR, little endian

HAS_COMMAND, _HAS_VELOCITY, _HAS_MEASURED, _HAS_DISTANCE, _HAS_PERSON_STAMP, _PUBLISH, _HAS_ENABLING_STAMP = (
    1 << i for i in range(7)
)

_HEAD = struct.Struct("<QQddddddd")
_TAIL = struct.Struct("<8B")
_NAN = float("nan")
_LEAST_REST = 12  # the lengths of an empty source, no records and no odd inputs
# What no recorded cycle exceeds: numbers that JSON holds, 292 years of nanoseconds, 30,000 years of seconds.
_NUMBER_MAX, _MONOTONIC_MAX, _NOW_MAX_S = 1 << 53, 1 << 63, 1e12

SCALARS = (
    "now_s",
    "command_stamp_s",
    "measured_stamp_s",
    "person_distance_m",
    "person_stamp_s",
    "stopping_time_s",
    "enabling_stamp_s",
)
ARRAYS = (
    "command_position_rad",
    "command_velocity_rad_s",
    "measured_position_rad",
    "measured_velocity_rad_s",
    "sent_position_rad",
    "sent_velocity_rad_s",
)
STAMPS = ("now_s", "command_stamp_s", "measured_stamp_s", "person_stamp_s")
BYTES = ("verdict", "state", "present", "stop_requested", "enabling_device", "latched", "odd", "reserved")
TAIL_BYTES = len(BYTES)

_SCHEMA = """\
# One cycle of the robolearn safety monitor. NaN: not received.
uint8 PASS=0
uint8 LIMIT=1
uint8 STOP=2
uint8 HOLDING=0
uint8 RUNNING=1
uint8 STOPPING=2
uint8 STOPPED=3
uint64 cycle
uint64 monotonic_ns
float64 now_s
float64 command_stamp_s
float64 measured_stamp_s
float64 person_distance_m
float64 person_stamp_s
float64 stopping_time_s
float64 enabling_stamp_s
{arrays}
uint8 verdict
uint8 state
# bits: 1 command, 2 its velocity, 4 measurement, 8 person distance, 16 its stamp, 32 published, 64 enabling stamp
uint8 present
uint8 stop_requested
# 0 none, 1 released, 2 held
uint8 enabling_device
uint8 latched
# 1: an input had other joint names or another shape; odd_json has it
uint8 odd
uint8 reserved
string command_source
RuleRecord[] records
string odd_json
# which of the cycle's commands the decision is about, in order of arrival; -1 none. The columns hold that one, or the
# last one; other_commands the rest.
int32 command_index
OtherCommand[] other_commands
================================================================================
MSG: robolearn_msgs/OtherCommand
float64 stamp_s
string source
# empty where odd_json has the command
float64[] position_rad
# empty where the command has none
float64[] velocity_rad_s
================================================================================
MSG: robolearn_msgs/RuleRecord
float64 value
float64 limit
float64 margin
string rule
string unit
string source
string text
string where
"""


@dataclass(frozen=True)
class Cycle:
    """One recorded cycle, as the monitor saw and answered it. commands: all that arrived in it, in order."""

    number: int
    monotonic_ns: int
    now_s: float
    commands: tuple[Command, ...]
    measured: Measured | None
    surroundings: Surroundings
    decision: Decision

    @property
    def command(self) -> Command | None:
        """The command that the decision is about, else the last that arrived; None where none did."""
        return self.commands[_column_index(self.decision, len(self.commands))] if self.commands else None


@dataclass(frozen=True)
class Layout:
    """The byte layout for one arm: the same joints in the same order in every cycle of a session."""

    joint_names: tuple[str, ...]
    dof: int = field(init=False)
    fixed_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dof", len(self.joint_names))
        object.__setattr__(self, "fixed_bytes", 4 + _HEAD.size + 8 * self.dof * len(ARRAYS) + _TAIL.size)

    def size(self, name: str) -> int:
        """How many numbers an array holds."""
        del name
        return self.dof

    @property
    def schema(self) -> str:
        """The ros2msg text of `robolearn_msgs/msg/Cycle` for this arm."""
        return _SCHEMA.format(arrays="\n".join(f"float64[{self.dof}] {name}" for name in ARRAYS))

    @property
    def dtype(self) -> np.dtype:
        """The fixed part as a numpy structure, so that a file's worth of cycles becomes columns in one call."""
        fields: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [("cdr", "<u4")]
        fields += [("cycle", "<u8"), ("monotonic_ns", "<u8")]
        fields += [(name, "<f8") for name in SCALARS]
        fields += [(name, "<f8", (self.dof,)) for name in ARRAYS]
        fields += [(name, "u1") for name in BYTES]
        return np.dtype(fields)

    def pack(
        self,
        number: int,
        monotonic_ns: int,
        now_s: float,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        decision: Decision,
    ) -> bytes:
        """The bytes of one cycle. Never refuses an input: what does not fit the layout is kept as text."""
        present = 0
        odd: dict[str, Any] = {}
        others: Sequence[Command] = ()
        command = None
        if commands:
            column = _column_index(decision, len(commands))
            command = commands[column]
            if len(commands) > 1:
                others = [*commands[:column], *commands[column + 1 :]]
        blank = _blank(self.dof)
        command_position = command_velocity = measured_position = measured_velocity = blank
        command_stamp = measured_stamp = _NAN
        source = ""
        if command is not None:
            present |= HAS_COMMAND
            source = command.source
            velocity = command.velocity_rad_s
            if self._fits(command.joint_names, command.position_rad, velocity):
                command_position = command.position_rad.tobytes()
                if velocity is not None:
                    present |= _HAS_VELOCITY
                    command_velocity = velocity.tobytes()
                command_stamp = command.stamp_s
            else:
                odd["command"] = _note(command.joint_names, command.position_rad, velocity, command.stamp_s)
        if measured is not None:
            present |= _HAS_MEASURED
            if self._fits(measured.joint_names, measured.position_rad, measured.velocity_rad_s):
                measured_position = measured.position_rad.tobytes()
                measured_velocity = measured.velocity_rad_s.tobytes()
                measured_stamp = measured.stamp_s
            else:
                odd["measured"] = _note(
                    measured.joint_names, measured.position_rad, measured.velocity_rad_s, measured.stamp_s
                )
        distance, person_stamp = surroundings.person_distance_m, surroundings.person_stamp_s
        present |= (distance is not None) * _HAS_DISTANCE | (person_stamp is not None) * _HAS_PERSON_STAMP
        enabling_stamp = surroundings.enabling_stamp_s
        present |= (enabling_stamp is not None) * _HAS_ENABLING_STAMP
        sent_position, sent_velocity = blank, blank
        if decision.publish:
            present |= _PUBLISH
            sent_position, sent_velocity = decision.command_rad.tobytes(), decision.velocity_rad_s.tobytes()
            if len(sent_position) != len(blank) or len(sent_velocity) != len(blank):
                raise LogError(
                    f"The decision is for {len(sent_position) // 8} joints, the log for {self.dof}."
                )
        head = _HEAD.pack(
            number,
            monotonic_ns,
            now_s,
            command_stamp,
            measured_stamp,
            _NAN if distance is None else distance,
            _NAN if person_stamp is None else person_stamp,
            decision.stopping_time_s,
            _NAN if enabling_stamp is None else enabling_stamp,
        )
        tail = _TAIL.pack(
            _VERDICT_CODE[decision.verdict],
            _STATE_CODE[decision.state],
            present,
            surroundings.stop_requested,
            _ENABLING_CODE[surroundings.enabling_device],
            decision.latched,
            1 if odd else 0,
            0,
        )
        plain_others = [self._plain_other(k, other, odd) for k, other in enumerate(others)]
        index = -1 if decision.command_index is None else decision.command_index
        rest = _rest(source, decision.records, odd, index, plain_others, self.fixed_bytes - 4)
        return b"".join(
            (
                ENCAPSULATION,
                head,
                command_position,
                command_velocity,
                measured_position,
                measured_velocity,
                sent_position,
                sent_velocity,
                tail,
                rest,
            )
        )

    def _plain_other(self, k: int, command: Command, odd: dict[str, Any]) -> Command:
        """The k-th of the other commands, or a blank in its place where it does not fit and goes to `odd`."""
        if self._fits(command.joint_names, command.position_rad, command.velocity_rad_s):
            return command
        note = _note(command.joint_names, command.position_rad, command.velocity_rad_s, command.stamp_s)
        odd.setdefault("others", {})[str(k)] = note
        return Command((), _NOTHING, command.stamp_s, None, command.source)

    def _fits(self, names: Any, position: Any, velocity: Any) -> bool:
        shape = (self.dof,)
        return (
            names == self.joint_names
            and _is_plain(position, shape)
            and (velocity is None or _is_plain(velocity, shape))
        )

    def unpack(self, data: bytes) -> Cycle:
        """The cycle in `data`, bit for bit as it was given to `pack`."""
        row = np.frombuffer(data, self.dtype, 1)[0]
        present = int(row["present"])
        source, records, odd, index, others = _unpack_rest(data[4:], self.fixed_bytes - 4)
        command = measured = None
        if "command" in odd:
            names, position, velocity, stamp = _unnote(odd["command"])
            command = Command(names, position, stamp, velocity, source)  # type: ignore[arg-type]
        elif present & HAS_COMMAND:
            velocity = row["command_velocity_rad_s"].copy() if present & _HAS_VELOCITY else None
            stamp = float(row["command_stamp_s"])
            command = Command(self.joint_names, row["command_position_rad"].copy(), stamp, velocity, source)
        if "measured" in odd:
            measured = Measured(*_unnote(odd["measured"]))  # type: ignore[arg-type]
        elif present & _HAS_MEASURED:
            measured = Measured(
                self.joint_names,
                row["measured_position_rad"].copy(),
                row["measured_velocity_rad_s"].copy(),
                float(row["measured_stamp_s"]),
            )
        surroundings = Surroundings(
            float(row["person_distance_m"]) if present & _HAS_DISTANCE else None,
            float(row["person_stamp_s"]) if present & _HAS_PERSON_STAMP else None,
            bool(row["stop_requested"]),
            (None, False, True)[int(row["enabling_device"])],
            float(row["enabling_stamp_s"]) if present & _HAS_ENABLING_STAMP else None,
        )
        publish = bool(present & _PUBLISH)
        decision = Decision(
            VERDICTS[int(row["verdict"])],
            row["sent_position_rad"].copy() if publish else np.zeros(0),
            row["sent_velocity_rad_s"].copy() if publish else np.zeros(0),
            bool(row["latched"]),
            STATES[int(row["state"])],
            records,
            float(row["stopping_time_s"]),
            publish=publish,
            command_index=None if index < 0 else index,
        )
        commands = [self._whole_other(k, other, odd) for k, other in enumerate(others)]
        if command is not None:
            commands.insert(_column_index(decision, len(commands) + 1), command)
        return Cycle(
            int(row["cycle"]),
            int(row["monotonic_ns"]),
            float(row["now_s"]),
            tuple(commands),
            measured,
            surroundings,
            decision,
        )

    def _whole_other(self, k: int, other: Command, odd: dict[str, Any]) -> Command:
        note = odd.get("others", {}).get(str(k))
        if note is None:
            return Command(
                self.joint_names, other.position_rad, other.stamp_s, other.velocity_rad_s, other.source
            )
        names, position, velocity, stamp = _unnote(note)
        return Command(names, position, stamp, velocity, other.source)  # type: ignore[arg-type]

    def decoded(self, data: bytes) -> Cycle:
        """`unpack` for bytes of others. Raises LogError for what `pack` never wrote."""
        try:
            return self.unpack(data)
        except (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
                MemoryError) as error:  # fmt: skip
            raise LogError(f"bytes that are no cycle of this arm: {error}") from None

    def plausible(self, messages: list[bytes]) -> tuple[list[bytes], NDArray[np.void]]:
        """The messages whose fixed part `pack` could have written, and their fixed parts as columns."""
        least = self.fixed_bytes + _LEAST_REST
        long_enough = [message for message in messages if len(message) >= least]
        rows = self.columns(long_enough)
        with np.errstate(invalid="ignore"):
            good = (rows["verdict"] < len(VERDICTS)) & (rows["state"] < len(STATES))
            good &= rows["enabling_device"] < len(_ENABLING_CODE)
            good &= (rows["cycle"] < _NUMBER_MAX) & (rows["monotonic_ns"] < _MONOTONIC_MAX)
            good &= np.abs(rows["now_s"]) < _NOW_MAX_S
        if good.all():
            return long_enough, rows
        return [message for message, fine in zip(long_enough, good, strict=True) if fine], rows[good]

    def columns(self, messages: list[bytes]) -> NDArray[np.void]:
        """The fixed parts of many cycles as one structured array, [len(messages)]."""
        size = self.fixed_bytes
        return np.frombuffer(b"".join([message[:size] for message in messages]), self.dtype)

    def outcome(self, data: bytes) -> tuple[Verdict, State, bool]:
        """Verdict, state and whether it is latched, of a packed cycle."""
        at = self.fixed_bytes - _TAIL.size
        return VERDICTS[data[at]], STATES[data[at + 1]], bool(data[at + 5])

    def source(self, data: bytes) -> bytes | None:
        """The source that the command of a packed cycle names, as UTF-8; None where no command arrived in it."""
        if not data[self.fixed_bytes - 6] & HAS_COMMAND:
            return None
        (size,) = struct.unpack_from("<I", data, self.fixed_bytes)
        return data[self.fixed_bytes + 4 : self.fixed_bytes + 3 + size]

    def records(self, data: bytes) -> tuple[Record, ...]:
        """Only the rules that acted in a packed cycle."""
        return _unpack_rest(data[4:], self.fixed_bytes - 4)[1]


def _column_index(decision: Decision, count: int) -> int:
    """Which of a cycle's commands is in the columns."""
    index = decision.command_index
    return index if index is not None and 0 <= index < count else count - 1


_NOTHING = np.zeros(0)


def cycle_number(data: bytes) -> int:
    """Which cycle of the session a packed cycle is."""
    return int.from_bytes(data[4:12], "little")


def cycle_monotonic_ns(data: bytes) -> int:
    """When a packed cycle was recorded, on the monotonic clock."""
    return int.from_bytes(data[12:20], "little")


def cycle_now_s(data: bytes) -> float:
    """The control program's time of a packed cycle."""
    return struct.unpack_from("<d", data, 20)[0]


_BLANKS: dict[int, bytes] = {}


def _blank(dof: int) -> bytes:
    if dof not in _BLANKS:
        _BLANKS[dof] = np.full(dof, np.nan).tobytes()
    return _BLANKS[dof]


def _is_plain(value: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64 and value.shape == shape


def _note(names: Any, position: Any, velocity: Any, stamp: Any) -> dict[str, Any]:
    """Inputs of an unexpected shape, kept exactly where they are numbers and as their repr where they are not."""
    return {
        "names": [str(name) for name in names] if isinstance(names, (list, tuple)) else repr(names),
        "position": _note_array(position),
        "velocity": _note_array(velocity),
        "stamp": float(stamp).hex(),
    }


def _note_array(value: Any) -> Any:
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return {"repr": repr(value)}
    return {"shape": list(array.shape), "bytes": array.tobytes().hex()}


def _unnote(note: dict[str, Any]) -> tuple[tuple[str, ...], Any, Any, float]:
    arrays = []
    for value in (note["position"], note["velocity"]):
        if value is None or "repr" in value:
            arrays.append(None if value is None else value["repr"])
        else:
            arrays.append(np.frombuffer(bytes.fromhex(value["bytes"])).reshape(value["shape"]).copy())
    return tuple(note["names"]), arrays[0], arrays[1], float.fromhex(note["stamp"])


def _text(buffer: bytearray, text: str) -> None:
    data = text.encode("utf-8") + b"\0"
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(data)) + data


def _floats(buffer: bytearray, values: NDArray[np.float64] | None) -> None:
    data = b"" if values is None else values.tobytes()
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(data) // 8)
    buffer += (b"\0" * (-len(buffer) % 8) if data else b"") + data


_PLAIN_RESTS: dict[tuple[str, int, int], bytes] = {}


def _rest(
    source: str,
    records: tuple[Record, ...],
    odd: dict[str, Any],
    index: int,
    others: Sequence[Command],
    at: int,
) -> bytes:
    """Everything after the fixed part. `at`: where it begins, because CDR aligns from the start of the message."""
    usual = not records and not odd and not others
    if usual and (source, index, at) in _PLAIN_RESTS:
        return _PLAIN_RESTS[source, index, at]
    buffer = bytearray(at)
    _text(buffer, source)
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(records))
    for record in records:
        buffer += b"\0" * (-len(buffer) % 8) + struct.pack("<ddd", record.value, record.limit, record.margin)
        for text in (record.rule, record.unit, record.source, record.text, record.where):
            _text(buffer, text)
    _text(buffer, json.dumps(odd) if odd else "")
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<iI", index, len(others))
    for other in others:
        buffer += b"\0" * (-len(buffer) % 8) + struct.pack("<d", other.stamp_s)
        _text(buffer, other.source)
        _floats(buffer, other.position_rad)
        _floats(buffer, other.velocity_rad_s)
    rest = bytes(buffer[at:])
    if usual and len(_PLAIN_RESTS) < 64:
        _PLAIN_RESTS[source, index, at] = rest
    return rest


def _unpack_rest(
    body: bytes, at: int
) -> tuple[str, tuple[Record, ...], dict[str, Any], int, tuple[Command, ...]]:
    """What `_rest` packed; the other commands without joint names, blank where `odd` has them."""

    def text() -> str:
        nonlocal at
        at += -at % 4
        (size,) = struct.unpack_from("<I", body, at)
        at += 4 + size
        return body[at - size : at - 1].decode("utf-8", "replace")

    def floats() -> NDArray[np.float64]:
        nonlocal at
        at += -at % 4
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
        at += -at % 8 if count else 0
        at += 8 * count
        return np.frombuffer(body[at - 8 * count : at]).copy()

    source = text()
    at += -at % 4
    (count,) = struct.unpack_from("<I", body, at)
    at += 4
    records = []
    for _ in range(count):
        at += -at % 8
        value, limit, margin = struct.unpack_from("<ddd", body, at)
        at += 24
        rule, unit, origin, words, where = text(), text(), text(), text(), text()
        records.append(Record(rule, value, limit, margin, unit, origin, words, where))
    odd = text()
    at += -at % 4
    index, count = struct.unpack_from("<iI", body, at)
    at += 8
    others = []
    for _ in range(count):
        at += -at % 8
        (stamp,) = struct.unpack_from("<d", body, at)
        at += 8
        name, position, velocity = text(), floats(), floats()
        others.append(Command((), position, stamp, velocity if velocity.size else None, name))
    return source, tuple(records), json.loads(odd) if odd else {}, index, tuple(others)
