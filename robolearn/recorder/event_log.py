"""What the log writer writes: events, traces, heartbeats, signed segments, the head; given messages and the time.

What reaches the disk when: every `flush_s` to the operating system (what a killed process may lose), every `fsync_s`
to the disk itself, in a thread of its own (what a power cut may lose). A heartbeat with the trace's digest every
`heartbeat_s`, a signed segment every `segment_s`, after `segment_events` events, and soon after each stop or start. A
new trace file is begun after `rotate_bytes` or `rotate_s`, so that old ones can be removed while a session goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.files.writing import replace_file
from robolearn.recorder.cycle_codec import Layout, cycle_monotonic_ns, cycle_number
from robolearn.recorder.episodes import Episodes
from robolearn.recorder.hash_chain import EVENTS_FILE, HEAD_FILE, SCHEMA, Chain, canonical, signed_part
from robolearn.recorder.mcap_file import AppendFile, TraceFile

_SIGNED_SOON = {
    "session_start",
    "config",
    "attach",
    "swap",
    "command_source",
    "start",
    "reset",
    "mode",
    "stop",
    "stop_report",
    "loss",
}
_CLOCK_STEP_NS = 50_000_000


@dataclass(frozen=True)
class Options:
    """How the writer works; all times in seconds."""

    flush_s: float = 0.05
    fsync_s: float = 1.0
    heartbeat_s: float = 1.0
    segment_s: float = 5.0
    segment_events: int = 500
    sign_soon_s: float = 0.1
    poll_s: float = 0.01
    rotate_bytes: int = 256 << 20
    rotate_s: float = 86_400.0
    min_free_bytes: int = 64 << 20

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Options:
        """The inverse of `dataclasses.asdict`; unknown keys are dropped by name."""
        return cls(**{item.name: data[item.name] for item in fields(cls) if item.name in data})


class LogWriter:
    """Everything that is written, given the messages and the time. No ring and no process in here.

    genesis: the fields of `session_start`, with `session_id`, `robot`, `profile`, `joint_names` and `period_s`.
    """

    def __init__(
        self,
        directory: Path,
        genesis: dict[str, Any],
        key: Ed25519PrivateKey,
        options: Options | None = None,
        write: Callable[[int, Any], int] = os.write,
        fsync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.directory = directory
        self.options = options or Options()
        self._key = key
        self._write = write
        self._fsync = fsync
        self._session_id: str = genesis["session_id"]
        self._digests = {"robot": genesis["robot"]["digest"], "profile": genesis["profile"]["digest"]}
        self._layout = Layout(tuple(genesis["joint_names"]))
        self._period_s = float(genesis["period_s"])
        self._episodes = Episodes(self._layout)
        self._chain = Chain()
        self._events = AppendFile(directory / EVENTS_FILE, write)
        self._trace: TraceFile | None = None
        self._trace_number = 0
        self._trace_began_ns = 0
        self._unpacked = 0  # of the trace file, as far as it was said
        self.cycles = 0
        self.losses = 0
        self._cycle = 0
        self._segment = 0
        self._segment_first = 0
        self._sign_at: int | None = None
        self._utc_offset = 0
        self._head_wanted = False
        self._ended = False
        self._last: dict[str, int] = dict.fromkeys(("flush", "fsync", "heartbeat", "segment"), 0)
        self._syncing: Future[None] | None = None
        self._pool = ThreadPoolExecutor(1, "robolearn-log-fsync")
        self._genesis = genesis

    def start(self, now_ns: int, utc_ns: int) -> None:
        """Writes the first event and the first segment. Raises OSError."""
        self._utc_offset = utc_ns - now_ns
        self._last = dict.fromkeys(self._last, now_ns)
        public = {"key_id": keys.key_id(self._key), "public_key": keys.public_text(self._key)}
        self.event("session_start", {"schema": SCHEMA, **public, **self._genesis}, now_ns)
        self._sign(now_ns)
        self.flush()

    # -- messages --

    def cycle(self, payload: bytes) -> None:
        """Stores one packed cycle and the events that follow from it."""
        number, monotonic_ns = cycle_number(payload), cycle_monotonic_ns(payload)
        if self._trace is None:
            self._trace = self._open_trace()
            self._trace_began_ns, self._unpacked = cycle_monotonic_ns(payload), 0
        self._trace.add(number, monotonic_ns + self._utc_offset, payload)
        self.cycles += 1
        self._cycle = number + 1
        for kind, found in self._episodes.see(number, payload):
            self.event(kind, found, monotonic_ns)

    def event(self, kind: str, found: dict[str, Any], monotonic_ns: int) -> None:
        """Appends one event to the chain."""
        if kind == "loss":
            self.losses += int(found.get("cycles", 0))
        answer = found.get("answer")
        if kind == "reset" and isinstance(answer, dict) and answer.get("accepted"):
            self._episodes.reset()
        line = self._chain.append(
            kind,
            found,
            cycle=self._cycle,
            monotonic_ns=monotonic_ns,
            utc_ns=monotonic_ns + self._utc_offset,
        )
        self._events.write(line)
        if kind in _SIGNED_SOON and self._sign_at is None:
            self._sign_at = monotonic_ns + int(self.options.sign_soon_s * 1e9)

    # -- time --

    def tick(self, now_ns: int, utc_ns: int) -> bool:
        """What is due at this time; True when everything read so far has reached the operating system.

        Raises OSError where the disk refuses; nothing is lost by it, and the next tick carries on.
        """
        if self._trace is not None and self._trace.finishing:
            self._close_trace(now_ns)
        self._watch_clock(now_ns, utc_ns)
        if self._due("heartbeat", now_ns, self.options.heartbeat_s):
            for kind, found in self._episodes.close(now_ns):
                self.event(kind, found, now_ns)
            self._beat(now_ns)
        waiting = self._chain.seq - self._segment_first
        if (
            (self._sign_at is not None and now_ns >= self._sign_at)
            or waiting >= self.options.segment_events
            or self._due("segment", now_ns, self.options.segment_s)
        ):
            self._sign(now_ns)
        flushed = self._due("flush", now_ns, self.options.flush_s)
        if flushed:
            self.flush()
        if self._due("fsync", now_ns, self.options.fsync_s):
            self._start_sync()
        return flushed

    def _due(self, what: str, now_ns: int, period_s: float) -> bool:
        due = now_ns - self._last[what] >= period_s * 1e9
        if due:
            self._last[what] = now_ns
        return due

    def _watch_clock(self, now_ns: int, utc_ns: int) -> None:
        step = utc_ns - now_ns - self._utc_offset
        if abs(step) > _CLOCK_STEP_NS:
            before = self._utc_offset + now_ns
            self._utc_offset += step
            stepped = {"step_s": step / 1e9, "utc_before_s": before / 1e9}
            self.event(
                "clock", {**stepped, "text": "the wall clock was set; monotonic time is not affected"}, now_ns
            )

    def _beat(self, now_ns: int) -> None:
        trace = self._trace
        if trace is not None:
            trace.settle()
            if trace.unpacked > self._unpacked:
                text = (
                    f"{trace.unpacked - self._unpacked} cycles could not be packed and are stored as they are"
                )
                self.event("problem", {"text": text}, now_ns)
                self._unpacked = trace.unpacked
        found = {"cycles": self.cycles, "losses": self.losses, "trace": self._checkpoint()}
        self.event("heartbeat", found, now_ns)
        self._head_wanted = True
        if trace is not None and (
            trace.file.size >= self.options.rotate_bytes
            or now_ns - self._trace_began_ns >= self.options.rotate_s * 1e9
        ):
            self._close_trace(now_ns)

    def _checkpoint(self) -> dict[str, Any] | None:
        return None if self._trace is None else self._trace.checkpoint()

    def _sign(self, now_ns: int, final: bool = False) -> None:
        if self._trace is not None:
            self._trace.settle()
        found = {
            "segment": self._segment,
            "first_seq": self._segment_first,
            "last_seq": self._chain.seq - 1,
            "records": self._chain.seq - self._segment_first,
            "cycles": self.cycles,
            "losses": self.losses,
            "trace": self._checkpoint(),
            "digests": self._digests,
            "key_id": keys.key_id(self._key),
            "final": final,
        }
        found["signature"] = keys.sign(self._key, signed_part(self._session_id, found, self._chain.prev))
        self.event("segment", found, now_ns)
        self._segment += 1
        self._segment_first = self._chain.seq
        self._sign_at = None
        self._last["segment"] = now_ns
        self._head_wanted = True

    def set_digests(self, **digests: str) -> None:
        """What the following segments name as in force (after a change of profile)."""
        self._digests.update(digests)

    # -- files --

    def flush(self) -> None:
        """Hands everything to the operating system; raises OSError."""
        if self._trace is not None:
            self._trace.flush()
        self._events.flush()
        if self._head_wanted and self.directory.exists():  # where it was removed, the files have said so
            self._write_head()

    def _write_head(self) -> None:
        """A signed copy of where the chain stands, to be carried off the machine; replaced as a whole."""
        found = {"seq": self._chain.seq - 1, "cycles": self.cycles, "key_id": keys.key_id(self._key)}
        found["signature"] = keys.sign(self._key, signed_part(self._session_id, found, self._chain.prev))
        head = {"schema": SCHEMA, "session_id": self._session_id, "hash": self._chain.prev, **found}
        replace_file(self.directory / HEAD_FILE, canonical(head), write=self._write)
        self._head_wanted = False

    def _start_sync(self) -> None:
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()  # raises what the disk said
        files = [self._events.descriptor] + ([self._trace.file.descriptor] if self._trace is not None else [])
        copies = [os.dup(descriptor) for descriptor in files]
        self._syncing = self._pool.submit(self._sync, copies)

    def _sync(self, descriptors: list[int]) -> None:
        try:
            for descriptor in descriptors:
                self._fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _open_trace(self) -> TraceFile:
        number = self._trace_number + 1
        path = self.directory / f"trace-{number:04d}.mcap"
        metadata = {"session_id": self._session_id, **{f"{k}_sha256": v for k, v in self._digests.items()}}
        trace = TraceFile(path, self._layout, self._period_s, metadata, self._write)
        self._trace_number = number
        return trace

    def _close_trace(self, now_ns: int) -> None:
        if self._trace is not None:
            self._trace.finish()  # may raise; the next tick tries again before any further cycle is taken
            self.event("trace_closed", self._trace.checkpoint(), now_ns)
            self._trace = None

    def free_bytes(self) -> int:
        """Room on the disk that this user may fill."""
        stat = os.statvfs(self.directory)
        return stat.f_bavail * stat.f_frsize

    def close(self, now_ns: int, reason: str, found: dict[str, Any]) -> None:
        """Ends the log: last digests, the expected-end record, the final signature. Raises OSError."""
        for kind, open_episode in self._episodes.close(now_ns, force=True):
            self.event(kind, open_episode, now_ns)
        self._close_trace(now_ns)
        if not self._ended:  # a second call finishes what the disk refused in the first
            counts = {"cycles": self.cycles, "losses": self.losses, "records_before": self._chain.seq}
            self.event("session_end", {"reason": reason, **counts, **found}, now_ns)
            self._sign(now_ns, final=True)
            self._ended = True
        self.flush()
        self._fsync(self._events.descriptor)
        self._pool.shutdown()
        self._events.close()
