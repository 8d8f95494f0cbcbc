"""Files of the log: appended to, hashed as they grow, and kept whole when the disk is full.

AppendFile accepts bytes at once and hands them to the operating system on `flush`. When that fails, what is left
stays pending and the next `flush` carries on at the very byte where the last one stopped.
TraceFile is an MCAP file on top of it; `read_trace` reads one back, also one without an end. It has two topics: once
a second a cycle as it is, which any MCAP reader can plot, and after it the others in blocks (`cycle_blocks`).
`export_cycles` writes a file with every cycle as it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter

from robolearn.recorder.cycle_blocks import CYCLES_MAX, BlockDecoder, BlockEncoder
from robolearn.recorder.cycle_codec import ENCAPSULATION, Layout

MAGIC = b"\x89MCAP0\r\n"
SCHEMA_NAME = "robolearn_msgs/msg/Cycle"
TOPIC = "/robolearn/cycle"
BLOCK_SCHEMA_NAME = "robolearn_msgs/msg/CycleBlock"
BLOCK_TOPIC = "/robolearn/cycle_block"
SCORE_SCHEMA_NAME = "std_msgs/msg/Float64"
SCORE_TOPIC = "/robolearn/ood_score"
_BLOCK_SCHEMA = """\
# The cycles that follow those before, packed: robolearn/recorder/cycle_blocks.py says how. `robolearn log export`
# writes a file with every cycle as it is.
uint64 first_cycle
uint32 cycles
uint8[] block
"""
_CHANNEL, _MESSAGE, _CHUNK, _FOOTER = 0x04, 0x05, 0x06, 0x02
_BLOCK_HEAD = struct.Struct("<4sQII")
_STRETCH_BLOCKS = (
    20  # blocks from one plain cycle to the next: a second, where the log is flushed every 50 ms
)
_PENDING_MAX = 4 << 20
_RECORD_MAX = 1 << 26


class FileChanged(OSError):
    """Somebody else removed, replaced, shortened or wrote to a file of the log while it was being written."""


class AppendFile:
    """A new file that only grows. `size` and `digest` are of everything accepted, `stored` of what the system has."""

    def __init__(self, path: Path, write: Callable[[int, Any], int] = os.write) -> None:
        self.path = path
        self.size = 0
        self._write = write
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self._changed = False
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def write(self, data: Any) -> int:
        """Accepts bytes; nothing can fail here."""
        self._pending += data
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.size

    @property
    def stored(self) -> int:
        """Bytes that the operating system has."""
        return self.size - len(self._pending)

    @property
    def digest(self) -> str:
        """SHA-256 of the first `size` bytes, hex."""
        return self._hash.copy().hexdigest()

    def flush(self) -> None:
        """Hands what is pending to the operating system; raises OSError and keeps the rest.

        Raises FileChanged, once, where the file on the disk is no longer the one that was written; the next flush
        writes on, so that what comes after the change is still kept.
        """
        if not self._changed:
            self._compare()
        while self._pending:
            count = self._write(self.descriptor, self._pending)
            del self._pending[:count]

    def _compare(self) -> None:
        """Whether the path still names this file, and the file has the size that was written."""
        ours = os.fstat(self.descriptor)
        try:
            named = self.path.stat()
        except FileNotFoundError:
            named = None
        if named is None or not os.path.samestat(ours, named):
            self._changed = True
            raise FileChanged(errno.ESTALE, f"{self.path.name} was removed or replaced")
        if ours.st_size != self.stored:
            self._changed = True
            raise FileChanged(
                errno.ESTALE, f"{self.path.name} has {ours.st_size} bytes, but {self.stored} were written"
            )

    def close(self) -> None:
        """Flushes and closes; raises OSError, and stays open, where the flush fails."""
        self.flush()
        os.close(self.descriptor)


class TraceFile:
    """One trace-NNNN.mcap while it is written: cycles in small blocks, so that little is lost at a kill."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        period_s: float,
        metadata: dict[str, str],
        write: Callable[[int, Any], int] = os.write,
    ) -> None:
        """period_s: of the cycles, from which their prediction is made."""
        self.file = AppendFile(path, write)
        self.first_cycle: int | None = None
        self.last_cycle: int | None = None
        self.cycles = 0
        self.unpacked = (
            0  # cycles that the block codec did not give back as they were, and that are stored plain
        )
        self.finishing = False
        self._joints, self._period_s = layout.dof, period_s
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._utc_ns = 0
        self._coders: tuple[BlockEncoder, BlockDecoder] | None = None
        self._blocks = 0
        # The stream is ours, not a file object: it needs write, tell and flush only. Its flush must not raise halfway
        # through the MCAP library's bookkeeping, so the library sees one that does nothing.
        self._mcap = McapWriter(_Stream(self.file), index_types=IndexType.NONE, use_chunking=False)  # type: ignore[arg-type]
        self._mcap.start(profile="ros2", library="robolearn")
        plain = self._mcap.register_schema(SCHEMA_NAME, "ros2msg", layout.schema.encode())
        self._plain = self._mcap.register_channel(TOPIC, "cdr", plain)
        blocks = self._mcap.register_schema(BLOCK_SCHEMA_NAME, "ros2msg", _BLOCK_SCHEMA.encode())
        self._block = self._mcap.register_channel(BLOCK_TOPIC, "cdr", blocks)
        self._mcap.add_metadata("robolearn", metadata)

    def add(self, cycle: int, utc_ns: int, payload: bytes) -> None:
        """Appends one packed cycle; nothing can fail here."""
        self._waiting.append(payload)
        self._waiting_bytes += len(payload)
        self._utc_ns = utc_ns
        if self.first_cycle is None:
            self.first_cycle = cycle
        self.last_cycle = cycle
        self.cycles += 1
        if len(self._waiting) == CYCLES_MAX or self._waiting_bytes > _PENDING_MAX:
            self.settle()

    def settle(self) -> None:
        """Ends the block, so that `checkpoint` covers every cycle; nothing can fail here. Not after `finish`."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting and (self._coders is None or self._blocks == _STRETCH_BLOCKS):
            first, *waiting = waiting
            self._add_plain(first)
            self._coders = BlockEncoder(first, self._joints, self._period_s), BlockDecoder(first)
            self._blocks = 0
        if waiting:
            assert self._coders is not None
            self._blocks += 1
            block = _packed(self._coders, waiting)
            if block is not None:
                first_cycle = int.from_bytes(waiting[0][4:12], "little")
                head = _BLOCK_HEAD.pack(ENCAPSULATION, first_cycle, len(waiting), len(block))
                self._add(self._block, waiting[0], head + block)
            else:
                self.unpacked += len(waiting)
                self._coders = None
                for message in waiting:
                    self._add_plain(message)

    def _add_plain(self, message: bytes) -> None:
        self._add(self._plain, message, message)

    def _add(self, channel: int, first: bytes, data: bytes) -> None:
        """A message whose first cycle is `first`."""
        number = int.from_bytes(first[4:12], "little")
        self._mcap.add_message(channel, self._utc_ns, data, self._utc_ns, number & 0xFFFFFFFF)

    def flush(self) -> None:
        """Ends the block and hands everything to the operating system; raises OSError."""
        self.settle()
        self.file.flush()

    def finish(self) -> None:
        """Writes the MCAP summary and closes; may be called again after an OSError."""
        if not self.finishing:
            self.settle()
            self.finishing = True
            self._mcap.finish()
        self.file.close()

    def checkpoint(self) -> dict[str, Any]:
        """What an event says of this file: its first `bytes` bytes have this digest."""
        return {
            "file": self.file.path.name,
            "bytes": self.file.size,
            "sha256": self.file.digest,
            "cycles": self.cycles,
            "first_cycle": self.first_cycle,
            "last_cycle": self.last_cycle,
        }


class _Stream:
    def __init__(self, file: AppendFile) -> None:
        self.write = file.write
        self.tell = file.tell

    def flush(self) -> None:
        """Nothing: TraceFile.flush does it."""


def _packed(coders: tuple[BlockEncoder, BlockDecoder], messages: list[bytes]) -> bytes | None:
    """The block of some cycles; None where the codec, through whatever fault, does not give back the same bytes."""
    encoder, decoder = coders
    try:
        block = encoder.encode(messages)
        return block if decoder.decode(block) == messages else None
    except Exception:
        return None


@dataclass(frozen=True)
class Chunk:
    """Some cycles of a trace file, in a row: from which byte to which they stand, and the packed cycles."""

    start: int
    end: int
    messages: list[bytes]


@dataclass(frozen=True)
class Flaw:
    """Why reading stopped, or what was skipped, and at which byte."""

    start: int
    text: str


def read_trace(path: Path) -> Iterator[Chunk | Flaw]:
    """The cycles of a trace file in order; a Flaw where the file is damaged or stops without an end.

    Reads record by record with constant memory, so also a file whose writer was killed. Raises OSError.
    """
    channels: dict[int, str] = {}
    decoder: BlockDecoder | None = None
    with path.open("rb") as stream:
        if stream.read(8) != MAGIC:
            yield Flaw(0, "does not begin as an MCAP file")
            return
        at = 8
        while True:
            head = stream.read(9)
            if len(head) < 9:
                yield Flaw(at, "stops without an end record")
                return
            opcode, length = head[0], int.from_bytes(head[1:], "little")
            body = stream.read(length) if length <= _RECORD_MAX else b""
            if len(body) < length:
                yield Flaw(at, "stops in the middle of a record")
                return
            end = at + 9 + length
            if opcode == _CHANNEL:
                channels[int.from_bytes(body[:2], "little")] = _topic(body)
            elif opcode == _MESSAGE and channels.get(int.from_bytes(body[:2], "little")) == TOPIC:
                yield Chunk(at, end, [body[22:]])
                decoder = BlockDecoder(body[22:])
            elif opcode == _MESSAGE:
                part = _read_block(at, end, body, decoder)
                decoder = decoder if isinstance(part, Chunk) else None
                yield part
            elif opcode == _CHUNK:
                yield Flaw(
                    at, "a chunk of cycles, as robolearn.safety_log/1 had them: this robolearn reads blocks"
                )
            elif opcode == _FOOTER:
                if stream.read(9) != MAGIC:
                    yield Flaw(end, "has bytes after its end, or lacks the closing mark")
                return
            at = end


def _topic(body: bytes) -> str:
    """Of a channel record."""
    size = int.from_bytes(body[4:8], "little")
    return body[8 : 8 + size].decode("utf-8", "replace")


def _read_block(at: int, end: int, body: bytes, decoder: BlockDecoder | None) -> Chunk | Flaw:
    if decoder is None:
        return Flaw(at, "a block that depends on missing or damaged data")
    try:
        _, first, cycles, size = _BLOCK_HEAD.unpack_from(body, 22)
        data = body[22 + _BLOCK_HEAD.size :]
        if len(data) != size:
            raise ValueError("a block with a wrong size")
        messages = decoder.decode(data)
        if len(messages) != cycles or int.from_bytes(messages[0][4:12], "little") != first:
            raise ValueError("a block with wrong cycle numbers")
        return Chunk(at, end, messages)
    except (struct.error, ValueError) as error:
        return Flaw(at, str(error))


def export_cycles(
    directory: str | Path,
    out: str | Path,
    layout: Layout,
    utc_offset_ns: int = 0,
    *,
    first_ns: int = 0,
    last_ns: int = 2**63 - 1,
    scores: Iterable[tuple[int, float]] = (),
) -> int:
    """Writes every readable cycle of a log into one new MCAP file, as it is; how many. For Foxglove.

    scores: (cycle, out-of-distribution score of the policy), which go under a topic of their own.
    utc_offset_ns: system time minus monotonic time. first_ns, last_ns: monotonic time of the first and the last cycle
    that is wanted. Raises OSError.
    """
    count, scored = 0, defaultdict(list)
    for cycle, score in scores:
        scored[cycle].append(score)
    with Path(out).open("xb") as stream:
        mcap = McapWriter(stream, compression=CompressionType.ZSTD)
        mcap.start(profile="ros2", library="robolearn")
        schema = mcap.register_schema(SCHEMA_NAME, "ros2msg", layout.schema.encode())
        channel = mcap.register_channel(TOPIC, "cdr", schema)
        number = mcap.register_schema(SCORE_SCHEMA_NAME, "ros2msg", b"float64 data\n")
        score_channel = mcap.register_channel(SCORE_TOPIC, "cdr", number)
        for path in sorted(Path(directory).glob("trace-*.mcap")):
            for part in read_trace(path):
                for message in part.messages if isinstance(part, Chunk) else ():
                    monotonic_ns = int.from_bytes(message[12:20], "little")
                    if not first_ns <= monotonic_ns <= last_ns:
                        continue
                    stamp = monotonic_ns + utc_offset_ns
                    mcap.add_message(channel, stamp, message, stamp, count & 0xFFFFFFFF)
                    count += 1
                    for score in scored.pop(int.from_bytes(message[4:12], "little"), ()):
                        data = ENCAPSULATION + struct.pack("<d", score)
                        mcap.add_message(score_channel, stamp, data, stamp)
        mcap.finish()
    return count
