"""A bounded queue in shared memory between the control process and the log writer: no system call to push.

One producer process, one consumer process. Each message is [length u32, crc32 u32, place u64 | kind u8] and its
bytes, 8-byte aligned. The producer writes the message first and the head last; the consumer moves the tail only once
what it read has reached the operating system, so that what a killed writer had not yet stored is still in the ring.
The checksum covers the place, so bytes of an older round, or stores seen out of order, are never taken for a message.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from collections.abc import Iterator

_HEADER_BYTES = 4096
_MESSAGE = struct.Struct("<IIQ")
_PROBLEM_AT = 1024
_PROBLEM_MAX = 1000
# Words of the header page, 8 bytes each.
_HEAD, _TAIL, _LOST, _BEAT, _STATUS = range(5)

STARTING, WRITING, FAILED, ENDED = range(4)
CYCLE, EVENT, END, _PAD = range(4)


class Ring:
    """The queue. `create` in the control process, `attach` in the writer; capacity in bytes, a multiple of 8."""

    def __init__(self, descriptor: int, capacity: int) -> None:
        self.descriptor = descriptor
        self.capacity = capacity
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        self._map = mmap.mmap(descriptor, _HEADER_BYTES + capacity, flags=flags)
        self._view = memoryview(self._map)
        # Assigning one word of a "Q" view is one aligned 8-byte store.
        self._words = self._view[: 8 * 16].cast("Q")
        self._data = self._view[_HEADER_BYTES:]
        self._lock = threading.Lock()
        self._head: int = self._words[_HEAD]
        self._read: int = self._words[_TAIL]

    @classmethod
    def create(cls, capacity: int) -> Ring:
        """A new ring in anonymous memory, which vanishes with the last process that holds it."""
        descriptor = os.memfd_create("robolearn-log", 0)
        os.ftruncate(descriptor, _HEADER_BYTES + capacity)
        return cls(descriptor, capacity)

    @classmethod
    def attach(cls, descriptor: int) -> Ring:
        """The ring behind an inherited descriptor."""
        return cls(descriptor, os.fstat(descriptor).st_size - _HEADER_BYTES)

    def close(self) -> None:
        """Lets go of the memory."""
        for view in (self._words, self._data, self._view):
            view.release()
        self._map.close()
        os.close(self.descriptor)

    # -- producer --

    def push(self, kind: int, payload: bytes) -> bool:
        """Appends one message; False, and nothing changed, where there is no room."""
        size = len(payload)
        need = (size + 23) & ~7
        with self._lock:
            head = self._head
            offset = head % self.capacity
            room_to_end = self.capacity - offset
            pad = room_to_end if room_to_end < need else 0
            if head + pad + need - self._words[_TAIL] > self.capacity:
                return False
            if pad:
                self._write(head, offset, _PAD, b"", pad)
                head += pad
                offset = 0
            self._write(head, offset, kind, payload, size)
            self._head = head + need
            self._words[_HEAD] = self._head
        return True

    def _write(self, place: int, offset: int, kind: int, payload: bytes, length: int) -> None:
        tag = place << 8 | kind
        checksum = zlib.crc32(payload, tag & 0xFFFFFFFF)
        if length >= 16 or kind != _PAD:
            _MESSAGE.pack_into(self._data, offset, length, checksum, tag)
            self._data[offset + 16 : offset + 16 + len(payload)] = payload
        # A pad of 8 bytes has no room for a message header: the consumer skips it by its size alone.

    # -- consumer --

    def read(self, limit: int = 4096) -> Iterator[tuple[int, bytes]]:
        """The next messages as (kind, payload), up to `limit`. Stops early at one that is not fully visible yet."""
        head = self._words[_HEAD]
        while self._read < head and limit:
            offset = self._read % self.capacity
            if self.capacity - offset < 16:
                self._read += self.capacity - offset
                continue
            length, checksum, tag = _MESSAGE.unpack_from(self._data, offset)
            kind = tag & 0xFF
            if tag >> 8 != self._read & (2**56 - 1) or length > self.capacity - offset:
                return
            payload = b"" if kind == _PAD else bytes(self._data[offset + 16 : offset + 16 + length])
            if zlib.crc32(payload, tag & 0xFFFFFFFF) != checksum:
                return
            self._read += length if kind == _PAD else (length + 23) & ~7
            if kind != _PAD:
                limit -= 1
                yield kind, payload

    def commit(self) -> None:
        """Gives the room of everything read so far back to the producer."""
        self._words[_TAIL] = self._read

    @property
    def unread(self) -> int:
        """Bytes pushed and not yet read by this consumer."""
        return self._words[_HEAD] - self._read

    def skip(self) -> int:
        """Drops everything unread (for a message that never becomes whole); how many bytes."""
        dropped = self.unread
        self._read += dropped
        return dropped

    # -- the words both sides look at --

    @property
    def fill(self) -> float:
        """How full the ring is, 0 to 1."""
        return (self._words[_HEAD] - self._words[_TAIL]) / self.capacity

    @property
    def lost(self) -> int:
        """Cycles that found no room, in total; set by the producer."""
        return self._words[_LOST]

    @lost.setter
    def lost(self, count: int) -> None:
        self._words[_LOST] = count

    @property
    def beat_ns(self) -> int:
        """Monotonic time of the writer's last round."""
        return self._words[_BEAT]

    @beat_ns.setter
    def beat_ns(self, value: int) -> None:
        self._words[_BEAT] = value

    @property
    def status(self) -> int:
        """STARTING, WRITING, FAILED or ENDED, as the writer says."""
        return self._words[_STATUS]

    @property
    def problem(self) -> str:
        """The writer's own words for what is wrong; empty while nothing is."""
        size = int.from_bytes(self._view[_PROBLEM_AT : _PROBLEM_AT + 4], "little")
        return bytes(self._view[_PROBLEM_AT + 4 : _PROBLEM_AT + 4 + size]).decode("utf-8", "replace")

    def tell(self, status: int, problem: str = "") -> None:
        """The writer says how it is."""
        text = problem.encode("utf-8")[:_PROBLEM_MAX]
        self._view[_PROBLEM_AT + 4 : _PROBLEM_AT + 4 + len(text)] = text
        self._view[_PROBLEM_AT : _PROBLEM_AT + 4] = len(text).to_bytes(4, "little")
        self._words[_STATUS] = status
