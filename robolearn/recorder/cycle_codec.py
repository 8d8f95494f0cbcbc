"""One cycle of the monitor as bytes: what went in, what came out, packed on the control thread in microseconds.

The bytes are CDR, as ROS 2 has it, of the message in `Layout.schema`: fixed offsets for everything a plot needs, then
the rules that acted, then the odd inputs (a joint list in another order, an array of the wrong length) word for word,
then the other commands of the cycle. The command with fixed offsets is the one that the decision is about.
So a cycle opens in Foxglove, and a replay gets back every input bit, NaN included. Joint efforts and a wrench are
recorded where they come; the monitor does not judge them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import LogError
from robolearn.recorder.cycle_rest import note, note_array, pack_rest, unnote, unnote_array, unpack_rest
from robolearn.recorder.cycle_schema import ARRAYS, BYTES, SCALARS, SCHEMA
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
_HAS_EFFORT, _HAS_WRENCH = 1, 2

_HEAD = struct.Struct("<QQdddddddd")
_TAIL = struct.Struct("<8B")
_NAN = float("nan")
_LEAST_REST = 12  # the lengths of an empty source, no records and no odd inputs
# What no recorded cycle exceeds: numbers that JSON holds, 292 years of nanoseconds, 30,000 years of seconds.
_NUMBER_MAX, _MONOTONIC_MAX, _NOW_MAX_S = 1 << 53, 1 << 63, 1e12


@dataclass(frozen=True, slots=True)
class Wrench:
    """What a force-torque sensor reports: force_n [3], torque_nm [3], in the sensor's own frame."""

    force_n: NDArray[np.float64]
    torque_nm: NDArray[np.float64]
    stamp_s: float


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
    wrench: Wrench | None = None

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
        arrays = 8 * sum(map(self.size, ARRAYS))
        object.__setattr__(self, "fixed_bytes", len(ENCAPSULATION) + _HEAD.size + arrays + _TAIL.size)

    def size(self, name: str) -> int:
        """How many numbers an array holds."""
        return 3 if name.startswith("wrench_") else self.dof

    @property
    def schema(self) -> str:
        """The ros2msg text of `robolearn_msgs/msg/Cycle` for this arm."""
        return SCHEMA.format(arrays="\n".join(f"float64[{self.size(name)}] {name}" for name in ARRAYS))

    @property
    def dtype(self) -> np.dtype:
        """The fixed part as a numpy structure, so that a file's worth of cycles becomes columns in one call."""
        fields: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [("cdr", "<u4")]
        fields += [("cycle", "<u8"), ("monotonic_ns", "<u8")]
        fields += [(name, "<f8") for name in SCALARS]
        fields += [(name, "<f8", (self.size(name),)) for name in ARRAYS]
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
        wrench: Wrench | None = None,
    ) -> bytes:
        """The bytes of one cycle. Never refuses an input: what does not fit the layout is kept as text."""
        odd: dict[str, Any] = {}
        command, others = None, []
        if commands:
            column = _column_index(decision, len(commands))
            command = commands[column]
            if len(commands) > 1:
                others = [*commands[:column], *commands[column + 1 :]]
        command_stamp, command_arrays, present = self._pack_command(command, odd)
        measured_stamp, measured_arrays, effort, also = self._pack_measured(measured, odd)
        present |= (measured is not None) * _HAS_MEASURED
        distance, person_stamp = surroundings.person_distance_m, surroundings.person_stamp_s
        enabling_stamp = surroundings.enabling_stamp_s
        present |= (distance is not None) * _HAS_DISTANCE | (person_stamp is not None) * _HAS_PERSON_STAMP
        present |= (enabling_stamp is not None) * _HAS_ENABLING_STAMP | decision.publish * _PUBLISH
        sent, wrench_arrays = self._pack_sent(decision), _blank(6)
        if wrench is not None:
            also |= _HAS_WRENCH
            wrench_arrays = np.concatenate((wrench.force_n, wrench.torque_nm), dtype=np.float64).tobytes()
            if len(wrench_arrays) != 48:
                raise LogError(f"The wrench has {len(wrench_arrays) // 8} numbers, expected 3 and 3.")
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
            _NAN if wrench is None else wrench.stamp_s,
        )
        plain_others = [self._plain_other(k, other, odd) for k, other in enumerate(others)]
        tail = _TAIL.pack(
            _VERDICT_CODE[decision.verdict],
            _STATE_CODE[decision.state],
            present,
            surroundings.stop_requested,
            _ENABLING_CODE[surroundings.enabling_device],
            decision.latched,
            1 if odd else 0,
            also,
        )
        index = -1 if decision.command_index is None else decision.command_index
        source = "" if command is None else command.source
        rest = pack_rest(source, decision.records, odd, index, plain_others, self.fixed_bytes - 4)
        return b"".join(
            (ENCAPSULATION, head, command_arrays, measured_arrays, sent, effort, wrench_arrays, tail, rest)
        )

    def _pack_command(self, command: Command | None, odd: dict[str, Any]) -> tuple[float, bytes, int]:
        """Stamp, position and velocity, and the bits of `present`."""
        blank = _blank(self.dof)
        if command is None:
            return _NAN, blank + blank, 0
        position, velocity = command.position_rad, command.velocity_rad_s
        if not self._fits(command.joint_names, position, velocity):
            odd["command"] = note(command.joint_names, position, velocity, command.stamp_s)
            return _NAN, blank + blank, HAS_COMMAND
        if velocity is None:
            return command.stamp_s, position.tobytes() + blank, HAS_COMMAND
        return command.stamp_s, position.tobytes() + velocity.tobytes(), HAS_COMMAND | _HAS_VELOCITY

    def _pack_measured(
        self, measured: Measured | None, odd: dict[str, Any]
    ) -> tuple[float, bytes, bytes, int]:
        """Stamp, position and velocity, effort, and the bits of `also_present`."""
        blank = _blank(self.dof)
        if measured is None:
            return _NAN, blank + blank, blank, 0
        names, position, velocity = measured.joint_names, measured.position_rad, measured.velocity_rad_s
        effort = measured.effort_nm
        if not self._fits(names, position, velocity):
            odd["measured"] = note(names, position, velocity, measured.stamp_s)
            odd["effort"] = note_array(effort)
            return _NAN, blank + blank, blank, 0
        arrays = position.tobytes() + velocity.tobytes()
        if effort is None:
            return measured.stamp_s, arrays, blank, 0
        if not _is_plain(effort, (self.dof,)):
            odd["effort"] = note_array(effort)
            return measured.stamp_s, arrays, blank, 0
        return measured.stamp_s, arrays, effort.tobytes(), _HAS_EFFORT

    def _pack_sent(self, decision: Decision) -> bytes:
        """Position and velocity."""
        if not decision.publish:
            return _blank(2 * self.dof)
        position, velocity = decision.command_rad.tobytes(), decision.velocity_rad_s.tobytes()
        if len(position) != 8 * self.dof or len(velocity) != 8 * self.dof:
            raise LogError(f"The decision is for {len(position) // 8} joints, the log for {self.dof}.")
        return position + velocity

    def _plain_other(self, k: int, command: Command, odd: dict[str, Any]) -> Command:
        """The k-th of the other commands, or a blank in its place where it does not fit and goes to `odd`."""
        if self._fits(command.joint_names, command.position_rad, command.velocity_rad_s):
            return command
        noted = note(command.joint_names, command.position_rad, command.velocity_rad_s, command.stamp_s)
        odd.setdefault("others", {})[str(k)] = noted
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
        return next(self.cycles([data]))

    def cycles(self, messages: Sequence[bytes]) -> Iterator[Cycle]:
        """Many packed cycles, bit for bit: quicker than one at a time."""
        rows = self.columns(messages)
        scalars = zip(*(rows[name].tolist() for name in ("cycle", "monotonic_ns", *SCALARS)), strict=True)
        tails = zip(*(rows[name].tolist() for name in BYTES), strict=True)
        arrays = zip(*(np.ascontiguousarray(rows[name]) for name in ARRAYS), strict=True)
        for data, scalar, tail, array in zip(messages, scalars, tails, arrays, strict=True):
            yield self._cycle(data, scalar, tail, array)

    def _cycle(self, data: bytes, scalar: tuple, tail: tuple, array: tuple) -> Cycle:
        number, monotonic_ns, now_s, command_stamp, measured_stamp, distance, person_stamp = scalar[:7]
        stopping_time_s, enabling_stamp, wrench_stamp = scalar[7:]
        verdict, state, present, stop_requested, enabling, latched, _, also = tail
        command_position, command_velocity, position, velocity, sent, sent_velocity, effort, force, torque = (
            array
        )
        rest = unpack_rest(data[self.fixed_bytes :], self.fixed_bytes - 4)
        odd, publish = rest.odd, bool(present & _PUBLISH)
        command = measured = None
        if "command" in odd:
            names, was_position, was_velocity, stamp = unnote(odd["command"])
            command = Command(names, was_position, stamp, was_velocity, rest.source)
        elif present & HAS_COMMAND:
            given = command_velocity if present & _HAS_VELOCITY else None
            command = Command(self.joint_names, command_position, command_stamp, given, rest.source)
        if present & _HAS_MEASURED:
            came = effort if also & _HAS_EFFORT else unnote_array(odd.get("effort"))
            if "measured" in odd:
                measured = Measured(*unnote(odd["measured"]), came)
            else:
                measured = Measured(self.joint_names, position, velocity, measured_stamp, came)
        decision = Decision(
            VERDICTS[verdict],
            sent if publish else _NOTHING,
            sent_velocity if publish else _NOTHING,
            bool(latched),
            STATES[state],
            rest.records,
            stopping_time_s,
            publish=publish,
            command_index=None if rest.command_index < 0 else rest.command_index,
        )
        commands = [self._whole_other(k, other, odd) for k, other in enumerate(rest.others)]
        if command is not None:
            commands.insert(_column_index(decision, len(commands) + 1), command)
        surroundings = Surroundings(
            distance if present & _HAS_DISTANCE else None,
            person_stamp if present & _HAS_PERSON_STAMP else None,
            bool(stop_requested),
            (None, False, True)[enabling],
            enabling_stamp if present & _HAS_ENABLING_STAMP else None,
        )
        wrench = Wrench(force, torque, wrench_stamp) if also & _HAS_WRENCH else None
        return Cycle(number, monotonic_ns, now_s, tuple(commands), measured, surroundings, decision, wrench)

    def _whole_other(self, k: int, other: Command, odd: dict[str, Any]) -> Command:
        noted = odd.get("others", {}).get(str(k))
        if noted is None:
            return Command(
                self.joint_names, other.position_rad, other.stamp_s, other.velocity_rad_s, other.source
            )
        names, position, velocity, stamp = unnote(noted)
        return Command(names, position, stamp, velocity, other.source)

    def decoded(self, data: bytes) -> Cycle:
        """`unpack` for bytes of others. Raises LogError for what `pack` never wrote."""
        try:
            return self.unpack(data)
        except (struct.error, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
                MemoryError) as error:  # fmt: skip
            raise LogError(f"bytes that are no cycle of this arm: {error}") from None

    def plausible(self, messages: Sequence[bytes]) -> tuple[list[bytes], NDArray[np.void]]:
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

    def columns(self, messages: Sequence[bytes]) -> NDArray[np.void]:
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
        return unpack_rest(data[self.fixed_bytes :], self.fixed_bytes - 4).records


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
