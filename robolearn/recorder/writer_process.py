"""The log writer: a process of its own that turns the ring into events.jsonl and trace-*.mcap, and holds the key.

`SafetyLog.open` starts `main` in a new Python; it gets its session as one JSON line on standard
input and reads the end of that pipe as the end of the control process. It outlives a killed control process long
enough to store everything that had been pushed, to say so (`writer_orphaned`) and to close the log properly.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from robolearn import keys
from robolearn.errors import RobolearnError
from robolearn.recorder import shm_queue as ring_module
from robolearn.recorder.clocks import system_offset_ns
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.recorder.mcap_file import FileChanged
from robolearn.recorder.shm_queue import Ring

_LOST_GRACE_NS = 500_000_000
_SPACE_CHECK_NS = 1_000_000_000
_ABANDON_NS = 60_000_000_000


class Service:
    """Moves messages from the ring into a LogWriter until told to end, or orphaned."""

    def __init__(self, ring: Ring, writer: LogWriter, alive: Callable[[], bool]) -> None:
        self.ring = ring
        self.writer = writer
        self._alive = alive
        self._failing = False
        self._refused = False
        self._data_lost = (
            False  # data that had been stored is lost or changed: no later success makes that good
        )
        self._stuck_since_ns: int | None = None
        self._orphan_since_ns: int | None = None
        self._ending: tuple[str, dict[str, Any]] | None = None
        self._next_space_check_ns = 0
        self._carry: tuple[int, bytes] | None = None

    def round(self, now_ns: int, utc_ns: int) -> bool:
        """One round of reading and writing; False once the log is closed, or given up on a dead disk."""
        self.ring.beat_ns = now_ns
        try:
            if not self._failing:
                self._read(now_ns)
            if self._ending is not None and self._carry is None and not self.ring.unread:
                self.writer.close(now_ns, *self._ending)
                self.ring.commit()
                return False
            if self.writer.tick(now_ns, utc_ns):
                self.ring.commit()
                self._report(now_ns)
        except OSError as error:
            self._fail(error, now_ns)
        return not (self._failing and self._abandoned(now_ns))

    def _fail(self, error: OSError, now_ns: int) -> None:
        self._failing = self._refused = True
        if isinstance(error, FileChanged):
            self._damaged(
                f"another process changed the log: {error.strerror}; the arm is held for the rest of this session",
                now_ns,
            )
            self.ring.tell(
                ring_module.FAILED,
                f"Another process changed the safety log in {self.writer.directory}: {error.strerror}. The arm is "
                "held. Start a new session.",
            )
            return
        if error.errno == errno.EIO and not self._data_lost:
            text = "the disk reports an error: recent records may be lost; the arm is held for the rest of this session"
            self._damaged(text, now_ns)
        self.ring.tell(
            ring_module.FAILED,
            f"The safety log in {self.writer.directory} cannot be written: {error.strerror or error}. The arm is "
            "held. Free some space or repair the disk, then reset.",
        )

    def _damaged(self, text: str, now_ns: int) -> None:
        """What had been stored is not what was written any more."""
        self._data_lost = True
        self.writer.event("problem", {"text": text}, now_ns)

    def _abandoned(self, now_ns: int) -> bool:
        """The control process has ended, and the disk has refused for a minute."""
        if self._alive():
            self._orphan_since_ns = None
        elif self._orphan_since_ns is None:
            self._orphan_since_ns = now_ns
        return self._orphan_since_ns is not None and now_ns - self._orphan_since_ns > _ABANDON_NS

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """What is in the ring; a message during which the disk refused comes again."""
        if self._carry is not None:
            yield self._carry
            self._carry = None
        for message in self.ring.read():
            self._carry = message
            yield message
            self._carry = None

    def _read(self, now_ns: int) -> None:
        alive = self._alive()  # asked before reading: what a process pushed before it ended is still read
        found = 0
        for kind, payload in self._messages():
            found += 1
            if kind == ring_module.CYCLE:
                self.writer.cycle(payload)
            else:
                self._take_event(kind, json.loads(payload))
        self._watch_for_torn_message(now_ns, found)
        if self._ending is None and not self.ring.unread and not alive:
            text = "the control process ended without closing the log; all its records are stored"
            self.writer.event("writer_orphaned", {"text": text}, now_ns)
            self._ending = ("control process gone", {})

    def _take_event(self, kind: int, message: dict[str, Any]) -> None:
        if kind == ring_module.END:
            self._ending = (message["reason"], message["fields"])
            return
        self.writer.set_digests(**message.get("digests", {}))
        self.writer.event(message["kind"], message["fields"], message["monotonic_ns"])

    def _watch_for_torn_message(self, now_ns: int, found: int) -> None:
        """A message that stays unreadable for half a second will never be whole: say so and go on behind it."""
        if found or not self.ring.unread:
            self._stuck_since_ns = None
        elif self._stuck_since_ns is None:
            self._stuck_since_ns = now_ns
        elif now_ns - self._stuck_since_ns > _LOST_GRACE_NS:
            dropped = self.ring.skip()
            self.writer.event(
                "loss", {"cycles": 0, "bytes": dropped, "text": "unreadable in the queue"}, now_ns
            )

    def _report(self, now_ns: int) -> None:
        """Says that all is well, or that room is running out, once the disk has taken everything."""
        if self._failing:
            # Reading resumes with the next round. Only when that goes well too, all is well.
            self._failing = False
            return
        if self._data_lost:
            return
        if now_ns < self._next_space_check_ns and self.ring.status == ring_module.WRITING:
            return
        self._next_space_check_ns = now_ns + _SPACE_CHECK_NS
        if self._refused:
            self._refused = False
            self.writer.event("problem", {"text": "the disk refused writes, and accepts them again"}, now_ns)
        free, needed = self.writer.free_bytes(), self.writer.options.min_free_bytes
        if free < needed:
            self.ring.tell(
                ring_module.FAILED,
                f"Only {free >> 20} MiB are free for the safety log in {self.writer.directory}, {needed >> 20} MiB "
                "are reserved for closing it properly. The arm is held. Free some space, then reset.",
            )
        else:
            self.ring.tell(ring_module.WRITING)


def main() -> int:
    """The process: reads its session from standard input, serves the ring, ends with 0 when the log is closed."""
    # A signal to all processes at once ends the control process as well, and that ends this one, after it has said
    # how it brought the arm to rest.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file-size limit is an error to report, not a death
    order = json.loads(sys.stdin.buffer.readline())
    ring = Ring.attach(order["ring"])
    try:
        key = _key(order)
        writer = LogWriter(
            Path(order["directory"]), order["genesis"], key, Options.from_dict(order["options"])
        )
        writer.start(*_now())
    except (OSError, RobolearnError, KeyError, ValueError) as error:
        ring.tell(ring_module.FAILED, f"The log writer cannot start: {error}")
        return 2
    service = Service(ring, writer, _Parent(order["parent"]))
    ring.beat_ns = time.monotonic_ns()
    ring.tell(ring_module.WRITING)
    while service.round(*_now()):
        time.sleep(writer.options.poll_s)
    ring.tell(ring_module.ENDED)
    return 0


def _now() -> tuple[int, int]:
    """Monotonic and system time, ns, of the same moment."""
    now_ns = time.monotonic_ns()
    return now_ns, now_ns + system_offset_ns()


def _key(order: dict[str, Any]) -> Ed25519PrivateKey:
    if "key_pem" in order:
        key = load_pem_private_key(base64.b64decode(order["key_pem"]), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
    return keys.load_or_create_key(order["key_path"])


class _Parent:
    """Whether the control process still runs: it is our parent, and it holds the other end of standard input."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        os.set_blocking(0, False)

    def __call__(self) -> bool:
        if os.getppid() != self._pid:
            return False
        try:
            return os.read(0, 1) != b""
        except BlockingIOError:
            return True
