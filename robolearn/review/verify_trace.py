"""The trace files against the events: every byte under a digest, every cycle accounted for."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robolearn.errors import LogError
from robolearn.files.reading import open_regular
from robolearn.recorder.cycle_codec import Layout, cycle_number
from robolearn.recorder.mcap_file import Chunk
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.verdict import Verdict

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """What one event says of a trace file: its first `bytes` bytes had the digest `sha256`."""

    where: str
    bytes: int
    sha256: str
    cycles: int
    first_cycle: int | None  # None while the file holds no cycle
    last_cycle: int | None
    closed: bool  # nothing is written to the file after it

    @classmethod
    def of(cls, fields: dict[str, Any], where: str, closed: bool) -> Checkpoint:
        """Of the fields of an event; one that is changed may lack some: KeyError, TypeError or ValueError."""
        first, last = fields["first_cycle"], fields["last_cycle"]
        return cls(
            where,
            int(fields["bytes"]),
            str(fields["sha256"]),
            int(fields["cycles"]),
            None if first is None else int(first),
            None if last is None else int(last),
            closed,
        )


def check_traces(
    verdict: Verdict,
    log: RecordedLog,
    checkpoints: dict[str, list[Checkpoint]],
    losses: list[tuple[int, int]],
    cycles_stated: int | None,
    purged: dict[str, tuple[int, str]],
) -> None:
    """Adds to the verdict what does not fit.

    checkpoints: per file, in the order of the events.  losses: (first, last) cycle that events admit.
    cycles_stated: how many cycles the expected-end record counts, None without one.  purged: (bytes, sha256) of files
    that a tombstone names.
    """
    present = {path.name: path for path in log.trace_files}
    removed: list[tuple[int, int]] = []
    for name, points in checkpoints.items():
        if name not in present and name in purged:
            removed += _check_purged(verdict, name, points, purged[name])
        elif name not in present:
            text = f"named in {points[-1].where} with {points[-1].cycles} cycles, is not there"
            verdict.add("altered", "missing_trace", name, text)
    numbers = _Numbers(verdict, log, losses, removed)
    for name, path in present.items():
        points = checkpoints.get(name, [])
        covered = _check_digests(verdict, path, points)
        if not points:
            weight = "altered" if verdict.ended else "incomplete"
            verdict.add(
                weight,
                "uncovered_trace",
                name,
                "no event names this file: added later, or begun just before the end",
            )
        _check_content(verdict, log, path, numbers, covered)
    numbers.end(cycles_stated)


def _check_purged(
    verdict: Verdict, name: str, points: list[Checkpoint], stated: tuple[int, str]
) -> list[tuple[int, int]]:
    """Whether the file that was purged is the one that the events name; the (first, last) cycle that went with it."""
    last = points[-1]
    size, sha256 = stated
    if (
        size < last.bytes
        or (size == last.bytes and sha256 != last.sha256)
        or (last.closed and size != last.bytes)
    ):
        text = f"the file that was purged had {size} bytes and another digest than {last.where} states"
        verdict.add("altered", "purged_another", name, text)
    return (
        [] if last.first_cycle is None or last.last_cycle is None else [(last.first_cycle, last.last_cycle)]
    )


def _check_digests(verdict: Verdict, path: Path, points: list[Checkpoint]) -> int:
    """Hashes the file up to each checkpoint; how many bytes are covered by a digest that fits."""
    try:
        return _digests(verdict, path, points)
    except OSError as error:
        verdict.add("altered", "missing_trace", path.name, f"cannot be read: {error.strerror}")
        return 0


def _digests(verdict: Verdict, path: Path, points: list[Checkpoint]) -> int:
    running = hashlib.sha256()
    at = 0
    with open_regular(path, follow=False) as stream:
        size = os.fstat(stream.fileno()).st_size
        verdict.trace_bytes += size
        for point in sorted(points, key=lambda point: point.bytes):
            wanted = point.bytes
            if wanted > size:
                where = f"{path.name} from byte {size} on (after cycle {_cycles_by(points, size)})"
                verdict.add("altered", "trace_cut", where, f"was cut off: {point.where} saw {wanted} bytes")
                return at
            start = at
            while at < wanted and (block := stream.read(min(_BLOCK, wanted - at))):
                running.update(block)
                at += len(block)
            if running.hexdigest() != point.sha256:
                first = _cycles_by(points, start)
                where = f"{path.name} bytes {start} to {wanted} (cycles {first} to {point.last_cycle})"
                verdict.add(
                    "altered", "trace_changed", where, f"was changed: {point.where} has another digest"
                )
                return start
    if size > at and points:
        closed = any(point.closed for point in points)
        weight = "altered" if closed else "incomplete"
        text = (
            "bytes were added after the file was closed"
            if closed
            else "was written after the last digest: not covered"
        )
        verdict.add(weight, "trace_tail", f"{path.name} bytes {at} to {size}", text)
    return at


def _cycles_by(points: list[Checkpoint], size: int) -> int | None:
    """The last cycle that a checkpoint at or before byte `size` names."""
    before = [point.last_cycle for point in points if point.bytes <= size and point.last_cycle is not None]
    return max(before, default=None)


def _check_content(verdict: Verdict, log: RecordedLog, path: Path, numbers: _Numbers, covered: int) -> None:
    for part in log.trace(path):
        if isinstance(part, Chunk):
            numbers.take(path.name, part)
        else:
            weight = "altered" if part.start < covered or verdict.ended else "incomplete"
            verdict.add(weight, "trace_flaw", f"{path.name} byte {part.start}", part.text)


def _merged(ranges: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Ranges that touch, as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return set(found)


class _Numbers:
    """Cycle numbers must run 0, 1, 2, ... through all files; a gap needs a loss record."""

    def __init__(
        self,
        verdict: Verdict,
        log: RecordedLog,
        losses: list[tuple[int, int]],
        purged: list[tuple[int, int]],
    ) -> None:
        self._verdict = verdict
        try:
            self._layout: Layout | None = log.layout
        except LogError:
            self._layout = None  # nothing says how long a cycle is
        self._losses = sorted(_merged(losses))
        self._admitted = _merged(losses + purged)
        self._next = 0

    def take(self, name: str, chunk: Chunk) -> None:
        """The cycles of one chunk."""
        self._contents(name, chunk)
        for message in chunk.messages:
            number = cycle_number(message)
            if number != self._next:
                self._jump(f"{name} byte {chunk.start}", number)
            self._next = number + 1
        self._verdict.cycles += len(chunk.messages)

    def _contents(self, name: str, chunk: Chunk) -> None:
        """Whether the bytes are cycles at all. A signature says whose bytes they are, not that they make sense."""
        if self._layout is None:
            return
        kept, _ = self._layout.plausible(chunk.messages)
        if len(kept) < len(chunk.messages):
            text = f"{len(chunk.messages) - len(kept)} cycles are invalid and ignored"
            self._verdict.add("altered", "unreadable_cycle", f"{name} byte {chunk.start}", text)

    def _jump(self, where: str, number: int) -> None:
        add = self._verdict.add
        gap = (self._next, number - 1)
        if number < self._next:
            add(
                "altered",
                "cycle_order",
                where,
                f"cycle {number} after cycle {self._next - 1}: repeated or moved",
            )
        elif gap in self._admitted:
            self._admitted.discard(gap)
            self._admit(where, *gap, "")
        else:
            add(
                "altered",
                "cycle_gap",
                where,
                f"cycles {gap[0]} to {gap[1]} are missing, without a loss record",
            )

    def _admit(self, where: str, first: int, last: int, when: str) -> None:
        """Cycles that are missing for a reason: a purge, which has its finding already, or a loss."""
        purged = last - first + 1
        for begin, end in self._losses:
            begin, end = max(begin, first), min(end, last)
            if begin <= end:
                lost = end - begin + 1
                purged -= lost
                self._verdict.losses += lost
                text = f"{lost} cycles were lost{when} ({begin} to {end}), recorded as lost; the arm was held"
                self._verdict.add("note", "loss", where, text)
        self._verdict.purged += purged

    def end(self, cycles_stated: int | None) -> None:
        """The count at the end against the expected-end record."""
        for first, last in sorted(self._admitted):
            if last >= self._next:
                self._admit("trace files", first, last, " at the end")
        held = self._verdict.cycles + self._verdict.purged
        if cycles_stated is not None and held != cycles_stated:
            text = f"hold {held} cycles, the expected-end record counts {cycles_stated}"
            self._verdict.add("altered", "cycle_count", "trace files", text)
