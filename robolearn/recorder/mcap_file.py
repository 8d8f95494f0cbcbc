"""Files of the log: appended to, hashed as they grow, and kept whole when the disk is full.

AppendFile accepts bytes at once and hands them to the operating system on `flush`. When that fails, what is left
stays pending and the next `flush` carries on at the very byte where the last one stopped.
TraceFile is an MCAP file on top of it; `read_trace` reads one back, also one without an end.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

MAGIC = b"\x89MCAP0\r\n"
SCHEMA_NAME = "robolearn_msgs/msg/Cycle"
TOPIC = "/robolearn/cycle"
_CHUNK, _MESSAGE, _FOOTER = 0x06, 0x05, 0x02


class AppendFile:
    """A new file that only grows. `size` and `digest` are of everything accepted, `stored` of what the system has."""

    def __init__(self, path: Path, write: Callable[[int, Any], int] = os.write) -> None:
        self.path = path
        self.size = 0
        self._write = write
        self._pending = bytearray()
        self._hash = hashlib.sha256()
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
        """Hands what is pending to the operating system; raises OSError and keeps the rest."""
        while self._pending:
            count = self._write(self.descriptor, self._pending)
            del self._pending[:count]

    def close(self) -> None:
        """Flushes and closes; raises OSError, and stays open, where the flush fails."""
        self.flush()
        os.close(self.descriptor)


class TraceFile:
    """One trace-NNNN.mcap while it is written: cycles in small chunks, so that little is lost at a kill."""

    def __init__(
        self, path: Path, schema: str, metadata: dict[str, str], write: Callable[[int, Any], int]
    ) -> None:
        self.file = AppendFile(path, write)
        self.first_cycle: int | None = None
        self.last_cycle: int | None = None
        self.cycles = 0
        self.finishing = False
        # The stream is ours, not a file object: it needs write, tell and flush only. Its flush must not raise halfway
        # through the MCAP library's bookkeeping, so the library sees one that does nothing.
        self._mcap = McapWriter(_Stream(self.file), chunk_size=1 << 20, compression=CompressionType.ZSTD)  # type: ignore[arg-type]
        self._mcap.start(profile="ros2", library="robolearn")
        schema_id = self._mcap.register_schema(SCHEMA_NAME, "ros2msg", schema.encode())
        self._channel = self._mcap.register_channel(TOPIC, "cdr", schema_id)
        self._mcap.add_metadata("robolearn", metadata)

    def add(self, cycle: int, utc_ns: int, payload: bytes) -> None:
        """Appends one packed cycle."""
        self._mcap.add_message(self._channel, utc_ns, payload, utc_ns, cycle & 0xFFFFFFFF)
        if self.first_cycle is None:
            self.first_cycle = cycle
        self.last_cycle = cycle
        self.cycles += 1

    def settle(self) -> None:
        """Ends the chunk, so that `checkpoint` covers every cycle; nothing can fail here. Not after `finish`."""
        self._mcap.flush()

    def flush(self) -> None:
        """Ends the chunk and hands everything to the operating system; raises OSError."""
        self.settle()
        self.file.flush()

    def finish(self) -> None:
        """Writes the MCAP index and closes; may be called again after an OSError."""
        if not self.finishing:
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


@dataclass(frozen=True)
class Chunk:
    """One chunk of a trace file: where it stands, and its messages."""

    start: int
    end: int
    messages: list[bytes]


@dataclass(frozen=True)
class Flaw:
    """Why reading stopped, or what was skipped, and at which byte."""

    start: int
    text: str


def read_trace(path: Path) -> Iterator[Chunk | Flaw]:
    """The chunks of a trace file in order; a Flaw where the file is damaged or stops without an end.

    Reads record by record with constant memory, so also a file whose writer was killed. Raises OSError.
    """
    decompressor = zstandard.ZstdDecompressor()
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
            body = stream.read(length) if length < 1 << 31 else b""
            if len(body) < length:
                yield Flaw(at, "stops in the middle of a record")
                return
            end = at + 9 + length
            if opcode == _CHUNK:
                yield _read_chunk(at, end, body, decompressor)
            elif opcode == _FOOTER:
                if stream.read(9) != MAGIC:
                    yield Flaw(end, "has bytes after its end, or lacks the closing mark")
                return
            at = end


def _read_chunk(at: int, end: int, body: bytes, decompressor: Any) -> Chunk | Flaw:
    try:
        size, checksum, name_length = struct.unpack_from("<16xQII", body)
        data_at = 32 + name_length + 8
        data = (
            decompressor.decompress(body[data_at:], max_output_size=size) if name_length else body[data_at:]
        )
        if zlib.crc32(data) != checksum:
            return Flaw(at, "a chunk whose checksum does not fit")
        messages = []
        offset = 0
        while offset < len(data):
            length = int.from_bytes(data[offset + 1 : offset + 9], "little")
            if data[offset] == _MESSAGE:
                messages.append(data[offset + 31 : offset + 9 + length])
            offset += 9 + length
        return Chunk(at, end, messages)
    except (struct.error, zstandard.ZstdError, IndexError) as error:
        return Flaw(at, f"a chunk that cannot be read ({error})")
