"""Is this log as it was written, and is it all there? Every departure is named and located.

`verify` reads a log directory and trusts nothing in it but what the signatures cover. It answers with a Verdict:
`intact` (nothing changed, and the log was ended in order), `incomplete` (nothing changed up to where it stops, for
example because the computer lost power) or `altered`. The verdict also lists what such a check cannot show.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from robolearn import keys
from robolearn.errors import LogError
from robolearn.files.printable import printable
from robolearn.files.reading import MIB, open_regular, read_regular
from robolearn.files.strict_json import parse_json
from robolearn.recorder.hash_chain import (
    EVENTS_FILE,
    GENESIS_PREV,
    HEAD_FILE,
    SCHEMA,
    TOMBSTONES_FILE,
    signed_part,
    utc_us,
)
from robolearn.review.recorded_log import Line, RecordedLog, read_events
from robolearn.review.tombstones import read_tombstones
from robolearn.review.verdict import Finding, Verdict, not_shown, place_fault
from robolearn.review.verify_trace import Checkpoint, check_traces

_CLOCK_US = 100_000
_HEAD_MAX = MIB
_HASH = re.compile("[0-9a-fA-F]{64}")


def verify(
    log: str | Path | RecordedLog,
    public_key: str | bytes | Path | Ed25519PublicKey | None = None,
    expected_head: str | Path | dict[str, Any] | None = None,
) -> Verdict:
    """Checks every event, signature, file digest and trace of a log: a folder, or one that is open already.

    public_key: whose log it should be; without it the log's own word is taken, and the verdict says so.
    expected_head: a copy of `head.json` (path or content) taken off the machine earlier, or its `hash` alone (64 hex
    digits): finds a log that was cut, rewritten from there on, or put back to an older session. Raises LogError where
    there is no log to read, or the head is none; KeyFileError for the key.
    """
    started = time.perf_counter()
    log = RecordedLog.of(log)
    verdict = Verdict(log.directory)
    verdict.key_expected, verdict.head_expected = public_key is not None, expected_head is not None
    wanted = str(expected_head).lower() if _HASH.fullmatch(str(expected_head)) else None
    heads = _heads(verdict, None if wanted else expected_head)
    walk = _Walk(verdict, heads, None if public_key is None else keys.load_public(public_key), wanted)
    _check_schema(log)
    for line in log.lines:
        walk.line(line)
    walk.end()
    verdict.events_s = time.perf_counter() - started
    for name, (size, expected, where) in walk.files.items():
        _check_file(verdict, name, size, expected, where)
    started = time.perf_counter()
    purged = _purged(verdict, walk.key)
    check_traces(verdict, log, walk.checkpoints, walk.losses, walk.cycles_stated, purged)
    verdict.trace_s = time.perf_counter() - started
    verdict.not_shown = list(not_shown(verdict))
    return verdict


def _check_schema(log: RecordedLog) -> None:
    """Raises LogError for a log of another version, unless somebody only changed that word."""
    first = log.lines[0] if log.lines else None
    if first is None or first.record is None or first.digest != first.record["hash"]:
        return
    fields = first.record.get("fields")
    schema = fields.get("schema") if isinstance(fields, dict) else None
    if isinstance(schema, str) and schema != SCHEMA and schema.startswith(SCHEMA.partition("/")[0]):
        raise LogError(
            f"The log in {log.directory} is a {printable(schema[:60])}; this robolearn reads {SCHEMA}. Review it "
            "with the version that wrote it."
        )


def _purged(verdict: Verdict, key: Ed25519PublicKey | None) -> dict[str, tuple[int, str]]:
    """Files that a signed tombstone says were removed: (bytes, sha256) by name; each tombstone is a finding."""
    try:
        stones = read_tombstones(verdict.directory, key)
    except OSError as error:
        verdict.add("altered", "tombstone", TOMBSTONES_FILE, f"cannot be read: {error.strerror}")
        return {}
    found = {}
    for stone in stones:
        if not stone.problem and stone.session["first"]["fields"].get("session_id") != verdict.session_id:
            stone = replace(stone, problem="belongs to another session: it was inserted here")
        if stone.problem:
            verdict.add("altered", "tombstone", stone.where, stone.problem)
        else:
            verdict.add("note", "purged", ", ".join(stone.files), stone.text)
            found |= stone.files
    return found


@dataclass
class _Head:
    """A signed statement of where the chain stood: `seq` had `hash`."""

    data: dict[str, Any]
    where: str
    expected: bool

    @property
    def seq(self) -> int:
        return int(self.data["seq"])


def _heads(verdict: Verdict, expected: str | Path | dict[str, Any] | None) -> list[_Head]:
    """The head the caller brought, and the one that lies beside the log."""
    found = []
    if expected is not None:
        try:
            data = expected if isinstance(expected, dict) else parse_json(read_regular(expected, _HEAD_MAX))
            found.append(_Head(data, "the expected head", True))
            _ = found[-1].seq
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise LogError(
                f"The expected head {expected} cannot be read: {error}. Give a copy of a head.json, or its hash."
            ) from error
    beside = verdict.directory / HEAD_FILE
    try:
        data = parse_json(read_regular(beside, _HEAD_MAX, follow=False))
        found.append(_Head(data, HEAD_FILE, False))
        _ = found[-1].seq
    except FileNotFoundError:
        verdict.add("note", "no_head", HEAD_FILE, "the signed head beside the log is missing")
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        found = [head for head in found if head.expected]
        verdict.add("altered", "head", HEAD_FILE, f"the head cannot be read ({error})")
    return found


class _Walk:
    """Goes through the events once, keeping only what later checks need."""

    def __init__(
        self, verdict: Verdict, heads: list[_Head], key: Ed25519PublicKey | None, wanted: str | None
    ) -> None:
        """wanted: the hash that some record must have."""
        self.verdict = verdict
        self._wanted = wanted
        self.files: dict[str, tuple[int, str, str]] = {}
        self.checkpoints: dict[str, list[Checkpoint]] = {}
        self.losses: list[tuple[int, int]] = []
        self.cycles_stated: int | None = None
        self._heads = heads
        self.key = key
        self._hash_at = {head.seq: "" for head in heads}
        self._seq = -1
        self._prev = GENESIS_PREV
        self._monotonic_us = 0
        self._clock_us: int | None = None
        self._silence_us = 0
        self._segment = 0
        self._segment_first = 0
        self._kinds = ["", ""]
        self._final = False
        self._torn = False

    def line(self, line: Line) -> None:
        """Checks one line against the one before."""
        where = f"{EVENTS_FILE} line {line.number}"
        if not line.complete:
            self._torn = True
            self.verdict.add("incomplete", "torn_line", where, line.problem)
            return
        record, real = line.record or {}, line.digest
        seq, prev, kind, fields = (record.get(key) for key in ("seq", "prev", "kind", "fields"))
        monotonic_us = record.get("monotonic_us")
        whole = type(seq) is int and type(monotonic_us) is int
        if (
            not whole
            or not isinstance(fields, dict)
            or not isinstance(prev, str)
            or not isinstance(kind, str)
        ):
            problem = line.problem or "is not a valid event record: a field is missing or has the wrong type"
            self.verdict.add("altered", "unreadable", where, problem)
            self._seq += 1
            self._prev = ""
            return
        assert type(seq) is int
        assert type(monotonic_us) is int
        where = f"{where} (seq {seq})"
        self.verdict.events += 1
        if real != record["hash"]:
            self.verdict.add(
                "altered", "changed", where, f"this {kind} record was changed: its hash does not fit"
            )
        self._check_place(where, seq, prev, kind)
        if real == self._wanted:
            self._wanted = None
        if line.problem:
            text = f"this {kind} record is invalid: {line.problem}"
            self.verdict.add("altered", "unreadable", where, text)
        if seq in self._hash_at:
            self._hash_at[seq] = record["hash"]
        self._check_time(where, kind, monotonic_us, str(record.get("utc")))
        try:
            self._take(where, seq, prev, kind, fields)
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            keys.KeyFileError,
        ) as error:
            self.verdict.add(
                "altered",
                "unreadable",
                where,
                f"this {kind} record has a missing or wrong field: {error}",
            )
        self._seq, self._prev = seq, record["hash"]
        self._kinds = [self._kinds[1], kind]

    def _check_place(self, where: str, seq: int, prev: str, kind: str) -> None:
        add = self.verdict.add
        if fault := place_fault(self._seq, self._prev, seq, prev):
            add("altered", fault[0], where, fault[1])
        if (seq == 0) != (kind == "session_start"):
            add(
                "altered",
                "genesis",
                where,
                f"a {kind} record where the chain must {'begin' if seq == 0 else 'continue'}",
            )

    def _check_time(self, where: str, kind: str, monotonic_us: int, utc: str) -> None:
        if monotonic_us < self._monotonic_us:
            self.verdict.add("altered", "time", where, "is older than the record before it")
        silence_us = monotonic_us - self._monotonic_us
        if self._silence_us and self._seq >= 0 and silence_us > self._silence_us:
            text = f"nothing was recorded for {silence_us / 1e6:.1f} s before this, not even a heartbeat"
            self.verdict.add("incomplete", "silence", where, text)
        try:
            clock_us = _utc_us(utc) - monotonic_us
        except ValueError:
            self.verdict.add("altered", "unreadable", where, f"utc is not a time: {utc}")
            return
        if monotonic_us == self._monotonic_us and self._seq >= 0 and kind != "clock":
            return  # held, because it waited behind the one before (a full disk): its system time is its own
        if self._clock_us is not None and kind != "clock" and abs(clock_us - self._clock_us) > _CLOCK_US:
            step = (clock_us - self._clock_us) / 1e6
            if self._kinds[1] != "clock":
                self.verdict.add(
                    "note", "clock", where, f"the wall clock was set by {step:+.3f} s before this record"
                )
        elif kind == "clock":
            self.verdict.add("note", "clock", where, "the wall clock was set; monotonic time is not affected")
        self._clock_us = clock_us
        self._monotonic_us = monotonic_us

    def _take(self, where: str, seq: int, prev: str, kind: str, fields: dict[str, Any]) -> None:
        """What a record says about the rest of the log."""
        if kind == "session_start":
            self._begin(where, fields)
        elif kind == "segment":
            self._check_segment(where, seq, prev, fields)
        elif kind == "loss":
            if fields["cycles"]:
                self.losses.append((int(fields["first_cycle"]), int(fields["last_cycle"])))
        elif kind == "session_end":
            self.cycles_stated = int(fields["cycles"])
            if int(fields["records_before"]) != seq:
                text = f"the expected-end record counts {fields['records_before']} records before it, there are {seq}"
                self.verdict.add("altered", "count", where, text)
        elif kind == "trace_closed":
            self._covers(Checkpoint.of(fields, where, closed=True), fields)
        elif kind == "problem":
            self.verdict.add("note", "problem", where, str(fields.get("text")))
        elif kind == "writer_orphaned":
            self.verdict.add("incomplete", "orphaned", where, str(fields.get("text")))
        if kind in ("heartbeat", "segment") and fields.get("trace"):
            self._covers(Checkpoint.of(fields["trace"], where, closed=False), fields["trace"])
        if kind != "session_start" and isinstance(fields.get("file"), dict):
            file = fields["file"]
            self.files[str(file["name"])] = (int(file["bytes"]), str(file["sha256"]), where)

    def _covers(self, checkpoint: Checkpoint, fields: dict[str, Any]) -> None:
        self.checkpoints.setdefault(str(fields["file"]), []).append(checkpoint)

    def _begin(self, where: str, fields: dict[str, Any]) -> None:
        verdict = self.verdict
        verdict.session_id, verdict.key_id = str(fields["session_id"]), str(fields["key_id"])
        for name, file in fields["files"].items():
            self.files[name] = (int(file["bytes"]), str(file["sha256"]), where)
        self._silence_us = int(float(fields["writer"]["heartbeat_s"]) * 3e6 + 2e6)
        if self.key is not None:
            verdict.key_trusted = keys.key_id(self.key) == verdict.key_id
            if not verdict.key_trusted:
                text = f"signed with key {verdict.key_id}, expected key {keys.key_id(self.key)}"
                verdict.add("altered", "wrong_key", where, text)
        else:
            self.key = keys.load_public(str(fields["public_key"]))
            if keys.key_id(self.key) != verdict.key_id:
                verdict.add(
                    "altered", "wrong_key", where, "the key's name does not belong to the key beside it"
                )

    def _check_segment(self, where: str, seq: int, prev: str, fields: dict[str, Any]) -> None:
        add = self.verdict.add
        signed = signed_part(self.verdict.session_id, fields, prev)
        if self.key is None or not keys.verify(self.key, signed, str(fields["signature"])):
            add("altered", "signature", where, f"the signature of segment {fields['segment']} does not fit")
        else:
            self.verdict.signed_through = seq - 1
        if fields["segment"] != self._segment:
            missing = f"segment {self._segment}" + (
                f" to {fields['segment'] - 1}" if fields["segment"] - 1 > self._segment else ""
            )
            add(
                "altered",
                "segments",
                where,
                f"is segment {fields['segment']}, expected {self._segment}: {missing} missing",
            )
        elif (fields["first_seq"], fields["last_seq"], fields["records"]) != (
            self._segment_first,
            seq - 1,
            seq - self._segment_first,
        ):
            stated = f"{fields['records']} records, seq {fields['first_seq']} to {fields['last_seq']}"
            add(
                "altered",
                "count",
                where,
                f"the segment states {stated}; it begins at {self._segment_first} and ends at {seq - 1}",
            )
        self._segment, self._segment_first = fields["segment"] + 1, seq + 1
        self.verdict.segments += 1
        self._final = bool(fields["final"])

    def end(self) -> None:
        """Looks at how the log stops, and compares it with the heads."""
        verdict = self.verdict
        last = f"{EVENTS_FILE} after line {verdict.events} (seq {self._seq})"
        verdict.head = {"session_id": verdict.session_id, "seq": self._seq, "hash": self._prev}
        if not verdict.events:
            verdict.add("altered", "missing", EVENTS_FILE, "holds no readable event at all")
            return
        verdict.ended = self._kinds == ["session_end", "segment"] and self._final and not self._torn
        if not verdict.ended:
            text = "the log stops without its expected-end record: the writer was killed, or the log was truncated"
            verdict.add("incomplete", "no_end", last, text)
        for head in self._heads:
            self._check_head(head, last)
        if self._wanted is not None:
            text = (
                f"no record has the expected hash {self._wanted}: it was "
                "truncated before it, rewritten, or is another log"
            )
            verdict.add("altered", "head_not_found", last, text)
        unsigned = self._seq - verdict.signed_through if self._kinds[1] != "segment" else 0
        if unsigned > 0:
            text = f"the last {unsigned} records are chained, but no signature covers them"
            verdict.add("incomplete", "unsigned_tail", last, text)

    def _check_head(self, head: _Head, last: str) -> None:
        verdict, data = self.verdict, head.data
        if data.get("session_id") != verdict.session_id:
            sessions = f"is of session {data.get('session_id')}, this log of session {verdict.session_id}"
            verdict.add("altered", "another_log", head.where, f"{sessions}: another log was put here")
            return
        fields = {key: data.get(key) for key in ("seq", "cycles", "key_id")}
        signature = str(data.get("signature"))
        if self.key is None or not keys.verify(
            self.key, signed_part(verdict.session_id, fields, str(data.get("hash"))), signature
        ):
            verdict.add("altered", "head", head.where, "its signature does not fit")
        elif head.seq > self._seq:
            lost = head.seq - self._seq
            text = f"{head.where} shows that the log continued to seq {head.seq}: {lost} records were removed"
            verdict.add("altered", "cut_off", last, text)
        elif self._hash_at[head.seq] != data["hash"]:
            text = f"at seq {head.seq} {head.where} has another hash: the log was rewritten"
            verdict.add("altered", "rewritten", f"{EVENTS_FILE} up to seq {head.seq}", text)
        else:
            verdict.signed_through = max(verdict.signed_through, head.seq)


def _utc_us(text: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text):
        raise ValueError(text)
    return utc_us(text)


def _check_file(verdict: Verdict, name: str, size: int, expected: str, where: str) -> None:
    """Whether a file beside the events has the digest that an event states; of more than `size` bytes it has not."""
    if Path(name).name != name or name in ("", ".", ".."):
        verdict.add("altered", "changed_file", name[:200], f"named in {where}, is not a plain file name")
        return
    try:
        with open_regular(verdict.directory / name, follow=False) as stream:
            running, count = hashlib.sha256(), 0
            while count <= size and (block := stream.read(MIB)):
                running.update(block)
                count += len(block)
    except FileNotFoundError:
        verdict.add("altered", "missing_file", name[:200], f"named in {where}, is not there")
        return
    except OSError as error:
        verdict.add(
            "altered", "missing_file", name[:200], f"named in {where}, cannot be read: {error.strerror}"
        )
        return
    if running.hexdigest() != expected or count > size:
        text = f"is not the file that {where} names ({count} bytes, expected {size})"
        verdict.add("altered", "changed_file", name, text)


__all__ = ["Finding", "Verdict", "read_events", "verify"]
