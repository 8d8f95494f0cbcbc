"""One log folder, opened once: its events, the robot and profile it was made with, its cycles.

Verification, replay and report share it. The folder is untrusted: every file in it is read as a
regular file of its own, up to a size; nested, long and endless things are refused; what is no event or no cycle as
robolearn writes them is left out here and named by the verification.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import LogError
from robolearn.files.reading import GIB, MIB, open_regular
from robolearn.recorder.cycle_codec import Cycle, Layout, cycle_number
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE, open_line
from robolearn.recorder.mcap_file import Chunk, Flaw, read_trace
from robolearn.review.event_fields import malformed
from robolearn.review.stored import Stored, session_start, stored

Columns = NDArray[np.void]
LINE_MAX = 16 * MIB
EVENTS_MAX_BYTES = 4 * GIB
_BLOCK, _BLOCK_BYTES = 1024, 32 * MIB  # cycles of one block, and their bytes, at most
# Of unpacked cycles, kept between the verification and the replay: three minutes at 500 Hz.
_KEPT_BYTES = 128 * MIB


@dataclass(frozen=True)
class Line:
    """One line of events.jsonl: the record on it and the digest its content really has, or why there is none.

    complete: it ends as a line ends. sound: the review can read its fields; problem says why not.
    """

    number: int
    record: dict[str, Any] | None
    digest: str
    problem: str
    complete: bool = True

    @property
    def sound(self) -> bool:
        """Whether the record can be read."""
        return self.record is not None and not self.problem


@dataclass(frozen=True)
class Block:
    """Some cycles in a row, as bytes and as columns."""

    messages: list[bytes]
    rows: Columns
    layout: Layout = field(repr=False)

    @cached_property
    def cycles(self) -> list[Cycle | int]:
        """The cycles, bit for bit; of one that cannot be decoded its number alone."""
        try:
            return list(self.layout.cycles(self.messages))
        except Exception:  # one of them is none: each on its own
            return [self._cycle(message) for message in self.messages]

    def _cycle(self, message: bytes) -> Cycle | int:
        try:
            return self.layout.decoded(message)
        except LogError:
            return cycle_number(message)

    @cached_property
    def sources(self) -> list[bytes | None]:
        """The source that each cycle's command names."""
        return [self.layout.source(message) for message in self.messages]


class TimeBudget:
    """How long a review may take, so that no log keeps it for ever. seconds: None for no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._end_s = np.inf if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raises LogError once the time is used up."""
        if time.monotonic() > self._end_s:
            raise LogError(
                f"Stopped after {self._seconds:.0f} s: the time limit for this "
                "log was reached. Raise it with --time-limit."
            )


class RecordedLog:
    """A log folder. `lines` is every line of its events in order; `events` the records that can be read."""

    def __init__(self, directory: str | Path, own_robot: str | Path | None = None) -> None:
        """Reads the events. Raises LogError where there is no log to read.

        own_robot: see `made_with`.
        """
        self.directory = Path(directory)
        self.own_robot = own_robot
        self.lines: list[Line] = []
        self.budget = TimeBudget(None)
        self._kept: dict[Path, list[Chunk | Flaw]] = {}
        self._kept_left = _KEPT_BYTES
        try:
            with open_regular(self.directory / EVENTS_FILE, follow=False) as stream:
                self._read(stream)
        except OSError as error:
            purged = (self.directory / TOMBSTONES_FILE).is_file()
            raise LogError(
                f"The safety log in {directory} was purged: {TOMBSTONES_FILE} records by whom and when."
                if purged
                else f"No safety log in {directory}: {EVENTS_FILE} cannot be read ({error.strerror})."
            ) from error

    @classmethod
    def of(cls, log: str | Path | RecordedLog) -> RecordedLog:
        """The log in a folder, or the one that is open already."""
        return log if isinstance(log, RecordedLog) else cls(log)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The records in order; lines that are no records, or whose fields cannot be read, are left out."""
        return [line.record for line in self.lines if line.record is not None and not line.problem]

    @cached_property
    def start(self) -> dict[str, Any]:
        """The fields of the first event. Raises LogError where the log does not begin with a readable one."""
        return session_start(self.directory, self.events)

    @cached_property
    def made_with(self) -> Stored:
        """The robot and the profile in the folder, or the reviewer's own copy of that robot. Raises LogError."""
        made_with = stored(self.directory, self.start, self.own_robot)
        if list(made_with.robot.joint_names) != self.start["joint_names"]:
            raise LogError("The recorded joints are not those of the stored robot.")
        return made_with

    @cached_property
    def layout(self) -> Layout:
        """How the bytes of a cycle are laid out. Raises LogError like `start`."""
        return Layout(tuple(self.start["joint_names"]))

    @property
    def period_s(self) -> float:
        """The monitor's period."""
        return float(self.start["period_s"])

    @cached_property
    def cycles_stated(self) -> int:
        """How many cycles the last event that counts them states; 0 without one."""
        counted = (event["fields"]["cycles"] for event in reversed(self.events) if event["kind"] in _COUNT)
        return next(counted, 0)

    @cached_property
    def trace_files(self) -> list[Path]:
        """The trace files of the folder in order, whatever they are."""
        return sorted(self.directory.glob("trace-*.mcap"))

    def trace(self, path: Path) -> Iterator[Chunk | Flaw]:
        """What is in one trace file; a Flaw where it cannot be read. Unpacked once, as far as it is kept."""
        if path in self._kept:
            yield from self._kept[path]
            return
        parts: list[Chunk | Flaw] | None = []
        left = self._kept_left
        for part in _read(path):
            if parts is not None:
                parts.append(part)
                left -= sum(map(len, part.messages)) if isinstance(part, Chunk) else len(part.text)
                parts = parts if left >= 0 else None
            yield part
        if parts is not None:
            self._kept[path], self._kept_left = parts, left

    def blocks(self) -> Iterator[Block]:
        """Every readable cycle in order, in blocks of about a thousand. Raises LogError when time is up."""
        waiting: list[bytes] = []
        size = 0
        for path in self.trace_files:
            for part in self.trace(path):
                if not isinstance(part, Chunk):
                    continue
                self.budget.check()
                for message in part.messages:
                    waiting.append(message)
                    size += len(message)
                    if len(waiting) == _BLOCK or size > _BLOCK_BYTES:
                        yield from self._block(waiting)
                        waiting, size = [], 0
        yield from self._block(waiting)

    def _block(self, messages: list[bytes]) -> Iterator[Block]:
        kept, rows = self.layout.plausible(messages)
        if kept:
            yield Block(kept, rows, self.layout)

    def _read(self, stream: Any) -> None:
        total = 0
        number = 0
        while line := stream.readline(LINE_MAX + 1):
            number += 1
            total += len(line)
            if total > EVENTS_MAX_BYTES:
                raise LogError(
                    f"{EVENTS_FILE} in {self.directory} is larger than {EVENTS_MAX_BYTES >> 30} GiB; no more is read."
                )
            if len(line) > LINE_MAX and not line.endswith(b"\n"):
                total += _skip_line(stream)
                text = f"is longer than the {LINE_MAX >> 20} MiB of any event"
                self.lines.append(Line(number, None, "", text))
            else:
                self.lines.append(_read_line(number, line))


_COUNT = ("session_end", "segment", "heartbeat")


def _read(path: Path) -> Iterator[Chunk | Flaw]:
    try:
        open_regular(path, follow=False).close()
        yield from read_trace(path)
    except OSError as error:
        yield Flaw(0, f"cannot be read: {error.strerror}")


def _read_line(number: int, line: bytes) -> Line:
    if not line.endswith(b"\n"):
        return Line(number, None, "", "the last line is incomplete", complete=False)
    try:
        record, digest = open_line(line[:-1])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return Line(number, None, "", f"is not a valid event record: {error}")
    return Line(number, record, digest, malformed(record))


def _skip_line(stream: Any) -> int:
    """Reads on to the end of a line that is too long; how many bytes."""
    skipped = 0
    while part := stream.readline(MIB):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def read_events(directory: str | Path) -> list[dict[str, Any]]:
    """The records of a log, unchecked; lines that are no records are left out (`verify` names them).

    Raises LogError where there is no log to read.
    """
    return RecordedLog(directory).events
