"""The event chain: one canonical JSON object per line, each holding the digest of the one before it.

A line is the RFC 8785 form of {cycle, fields, hash, kind, monotonic_us, prev, retention, seq, utc}:
seq counts 0, 1, 2, ... without gaps; prev is the hash of the line before (64 zeros for the first); hash is the
SHA-256 of the RFC 8785 form of the same object without `hash`. The first record is `session_start`, which names
the session, the deployment and the digests of robot and profile, so that no two sessions share a chain.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import rfc8785

from robolearn.errors import LogError
from robolearn.files.strict_json import check_depth

SCHEMA = "robolearn.safety_log/2"
EVENTS_FILE = "events.jsonl"
HEAD_FILE = "head.json"
TOMBSTONES_FILE = "tombstones.jsonl"
GENESIS_PREV = "0" * 64
_INTEGER_MAX = 2**53 - 1

# Days from the record on, and the essential requirements the record speaks to. The classes and their lengths follow
# Regulation (EU) 2023/1230, Annex III Part B, 1.2.1 first list (f): five years for interventions and versions,
# second list (b): one year for safety-related decisions.
RETENTION_DAYS = {"intervention_and_version_log": 1826, "safety_decision_data": 366}
_VERSION = "intervention_and_version_log"
_DECISION = "safety_decision_data"
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "session_start": (_VERSION, ("1.1.9", "1.2.1(f)")),
    "session_end": (_VERSION, ("1.2.1(f)",)),
    "config": (_VERSION, ("1.1.9", "1.2.1(f)")),
    "attach": (_VERSION, ("1.1.9", "1.2.1(f)")),
    "swap": (_VERSION, ("1.1.9", "1.2.1(f)")),
    "command_source": (_VERSION, ("1.1.9", "1.2.1(f)")),
    "start": (_VERSION, ("1.2.3",)),
    "reset": (_VERSION, ("1.2.3", "1.2.4.3")),
    "mode": (_VERSION, ("1.2.5",)),
    "stop": (_DECISION, ("1.2.1(b)", "1.2.4.2")),
    "stop_cause": (_DECISION, ("1.2.1(b)",)),
    "stop_report": (_DECISION, ("1.2.1(b)", "1.2.4.2")),
    "limit": (_DECISION, ("1.2.1(a)", "1.2.1(b)")),
    "loss": (_DECISION, ("1.2.1(b)",)),
    "finding": (_DECISION, ("1.2.1(b)",)),
    "ood_score": (_DECISION, ("1.2.1(b)",)),
    "policy_inputs": (_DECISION, ("1.2.1(b)",)),
    "wrench_frame": (_DECISION, ("1.2.1(b)",)),
    "stop_request": (_DECISION, ("1.2.1(b)", "1.2.4.1")),
    "test": (_VERSION, ("1.1.2(e)",)),
    "clock": (_DECISION, ("1.2.1(b)",)),
    "problem": (_DECISION, ("1.2.1(b)",)),
    "trace_closed": (_DECISION, ("1.2.1(b)",)),
    "heartbeat": (_DECISION, ("1.2.1(b)",)),
    "segment": (_VERSION, ("1.1.9",)),
    "writer_orphaned": (_VERSION, ("1.2.1(b)",)),
}


def canonical(value: Any) -> bytes:
    """The RFC 8785 form: the same bytes for the same value, on every machine."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise LogError(f"Not JSON that RFC 8785 can write: {error}. Pass `plain(value)`.") from error


def plain(value: Any) -> Any:
    """Any field as JSON: arrays as lists, dataclasses as objects, bytes as hex; as strings NaN, infinities and
    numbers above 2^53.

    What is none of these is written as its `repr`, so that a strange field never stops the log.
    """
    if value is None or (isinstance(value, (bool, str)) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, int):
        return value if abs(value) <= _INTEGER_MAX else str(value)
    if isinstance(value, float):
        # Above 2^53 RFC 8785 writes a float like an integer that no reader could take back: a string as well.
        return value if math.isfinite(value) and abs(value) <= _INTEGER_MAX else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # numpy, which this module leaves to those who need it
        return plain(value.tolist())
    return repr(value)


def digest(data: bytes) -> str:
    """SHA-256 as hex."""
    return hashlib.sha256(data).hexdigest()


def utc_text(utc_ns: int) -> str:
    """RFC 3339 with microseconds."""
    stamp = datetime.fromtimestamp(utc_ns // 1_000_000_000, tz=UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{utc_ns % 1_000_000_000 // 1000:06d}Z"


def utc_us(text: str) -> int:
    """What `utc_text` wrote, in microseconds. Raises ValueError for what is no time."""
    stamp = datetime.fromisoformat(text)
    return int(stamp.replace(microsecond=0).timestamp()) * 1_000_000 + stamp.microsecond


def seal(record: dict[str, Any]) -> tuple[bytes, str]:
    """The line (without newline) for a record that lacks its hash, and that hash."""
    value = digest(canonical(record))
    return canonical({**record, "hash": value}), value


def open_line(line: bytes) -> tuple[dict[str, Any], str]:
    """The record on a line, and the digest its content really has.

    Raises ValueError, with the reason, for what is not a JSON object in canonical form or lacks its hash.
    """
    check_depth(line)
    record = json.loads(line)  # a key given twice, or NaN, is not a canonical form
    if not isinstance(record, dict) or not isinstance(record.get("hash"), str):
        raise ValueError("no record with a hash")
    try:
        written = rfc8785.dumps(record)
    except rfc8785.CanonicalizationError as error:
        raise ValueError(f"not in canonical form: {error}") from error
    if written != line:
        raise ValueError("not in canonical form")
    # The hash is taken out of the text instead of writing the record again: half the work, the same bytes.
    before, found, after = line.rpartition(b',"hash":"' + record["hash"].encode() + b'"')
    if not found:
        raise ValueError("no record with a hash")
    return record, digest(before + after)


class Chain:
    """The growing end of a chain: gives each record its place.

    kinds, days: retention class of each kind of record, and its length; another kind has the first class of `days`.
    seq, prev: where a chain that another process began goes on; monotonic time then starts anew.
    """

    def __init__(
        self,
        kinds: Mapping[str, tuple[str, tuple[str, ...]]] = KINDS,
        days: Mapping[str, int] = RETENTION_DAYS,
        *,
        seq: int = 0,
        prev: str = GENESIS_PREV,
    ) -> None:
        self.seq = seq
        self.prev = prev
        self._kinds, self._days = kinds, days
        self._monotonic_us = 0

    def append(
        self, kind: str, fields: dict[str, Any], *, cycle: int, monotonic_ns: int, utc_ns: int
    ) -> bytes:
        """The next line, newline included.

        monotonic_ns never runs backwards inside a chain: an event that waited behind later ones (a full disk)
        gets their time. utc_ns, of the same moment, moves by as much: a clock that was set looks otherwise.
        Both are of the same whole microsecond, so that their difference is the same in every record until then.
        """
        retention, requirements = self._kinds.get(kind, (next(iter(self._days)), ()))
        held_us = max(0, self._monotonic_us - monotonic_ns // 1000)
        self._monotonic_us = monotonic_ns // 1000 + held_us
        line, self.prev = seal(
            {
                "seq": self.seq,
                "prev": self.prev,
                "kind": kind,
                "cycle": cycle,
                "monotonic_us": self._monotonic_us,
                "utc": utc_text(utc_ns - monotonic_ns % 1000 + 1000 * held_us),
                "retention": {
                    "class": retention,
                    "days": self._days[retention],
                    "ehsr": list(requirements),
                },
                "fields": fields,
            }
        )
        self.seq += 1
        return line + b"\n"


def signed_part(session_id: str, fields: dict[str, Any], prev: str, schema: str = SCHEMA) -> bytes:
    """What a segment's or a head's signature covers: the session, every field but the signature, the chain so far."""
    body = {key: value for key, value in fields.items() if key != "signature"}
    return canonical({"schema": schema, "session_id": session_id, "fields": body, "prev": prev})
