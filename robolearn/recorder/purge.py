"""Removes what need not be kept any longer, and leaves a signed statement of it: a tombstone.

The retention classes are those of the records (`hash_chain.RETENTION_DAYS`). Traces are data of safety decisions: a
trace file is due so many days after the newest cycle in it. The events of a session hang together in one chain: they,
the robot, the profile and attachments are due after the longer time of interventions and versions, counted from the
last record. Nothing is removed earlier. A tombstone is stored before anything is removed.

`tombstones.jsonl`, in the session's folder, has one canonical JSON object per line: who removed which files, with
their digests, when and under which class, what the verification said before, and which session it was. Each holds the
digest of the one before it and is signed with the key of the log.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import robolearn
from robolearn import keys
from robolearn.errors import LogError
from robolearn.files.strict_json import parse_json
from robolearn.recorder.hash_chain import (
    EVENTS_FILE,
    GENESIS_PREV,
    HEAD_FILE,
    RETENTION_DAYS,
    TOMBSTONES_FILE,
    canonical,
    seal,
)
from robolearn.recorder.session_chain import session_folders

TOMBSTONE_SCHEMA = "robolearn.tombstone/1"
TRACES, EVENTS = "safety_decision_data", "intervention_and_version_log"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Due:
    """Files of one session that are due under one retention class. newest: the time of the newest record in them."""

    directory: Path
    retention: str
    newest: datetime
    files: tuple[str, ...]
    session: dict[str, Any] = field(repr=False)

    @property
    def days(self) -> int:
        """How long they had to be kept."""
        return RETENTION_DAYS[self.retention]


def due(folder: str | Path, now: datetime | None = None) -> list[Due]:
    """What may be purged in a log folder, or in the folder of one session.

    now: default the computer's time. Raises LogError where there is no log, or a clock that is behind the records.
    """
    folder = Path(folder)
    now = now or datetime.now(UTC)
    folders = [folder] if (folder / EVENTS_FILE).is_file() else session_folders(folder)
    if not folders:
        raise LogError(f"There is no safety log in {folder}, nor in a folder inside it.")
    return [item for directory in folders for item in _due_in(directory, now)]


def _due_in(directory: Path, now: datetime) -> Iterator[Due]:
    if not (directory / EVENTS_FILE).is_file():
        return  # purged to the end
    survey = _Survey(directory)
    if survey.newest > now:
        raise LogError(
            f"The log in {directory} has records of {survey.newest:%Y-%m-%d %H:%M} UTC, later than the computer's "
            f"time, {now:%Y-%m-%d %H:%M} UTC. Correct the clock: how long records were kept is counted with it."
        )
    if now - survey.newest > timedelta(days=RETENTION_DAYS[EVENTS]):
        traces = sorted(path.name for path in directory.glob("trace-*.mcap"))
        others = [name for name in (*survey.named, HEAD_FILE) if (directory / name).is_file()]
        yield Due(directory, EVENTS, survey.newest, (*traces, *others, EVENTS_FILE), survey.session)
        return
    for name, newest in sorted(survey.traces.items()):
        if (directory / name).is_file() and now - newest > timedelta(days=RETENTION_DAYS[TRACES]):
            yield Due(directory, TRACES, newest, (name,), survey.session)


class _Survey:
    """What the events of a session say: its files, and the time of the newest record in each."""

    def __init__(self, directory: Path) -> None:
        self.newest = datetime.min.replace(tzinfo=UTC)
        self.traces: dict[str, datetime] = {}
        self.named: list[str] = []
        first: dict[str, Any] = {}
        last: dict[str, Any] = {}
        try:
            with (directory / EVENTS_FILE).open("rb") as stream:
                for line in stream:
                    if line.endswith(b"\n"):
                        last = parse_json(line)
                        first = first or last
                        self._take(last["kind"], last["fields"], datetime.fromisoformat(last["utc"]))
            begun = first["fields"]
            names = ("session_id", "deployment_id", "chain", "key_id", "public_key", "robot", "profile")
            self.session = {
                "first": {"utc": first["utc"], "fields": {name: begun[name] for name in names}},
                "seq": last["seq"],
                "hash": last["hash"],
                "ended": last["kind"] == "segment" and last["fields"]["final"] is True,
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LogError(
                f"The log in {directory} cannot be purged: {EVENTS_FILE} cannot be read ({error}). Review it."
            ) from error

    def _take(self, kind: str, fields: dict[str, Any], utc: datetime) -> None:
        self.newest = max(self.newest, utc)
        trace = fields if kind == "trace_closed" else fields.get("trace")
        if isinstance(trace, dict):
            self.traces[Path(str(trace["file"])).name] = utc
        files = fields["files"] if kind == "session_start" else {}
        named = [*files, *([fields["file"]["name"]] if isinstance(fields.get("file"), dict) else [])]
        self.named += [Path(str(name)).name for name in named]


def purge(
    item: Due,
    *,
    who: str,
    key: Ed25519PrivateKey,
    reason: str = "retention period over",
    verified: str,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Stores a tombstone, then removes the files; the tombstone.

    who: a pseudonym.  key: the log's, with which the tombstone is signed.  verified: what the verification of the log
    said just before. Raises LogError; nothing is then removed.
    """
    begun = item.session["first"]["fields"]
    if not who:
        raise LogError("A purge names who makes it.")
    if keys.key_id(key) != begun["key_id"]:
        raise LogError(
            f"The log in {item.directory} was signed with key {begun['key_id']}, this key is {keys.key_id(key)}. A "
            "tombstone is signed with the key of the log."
        )
    path = item.directory / TOMBSTONES_FILE
    try:
        before = [parse_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        record = {
            "schema": TOMBSTONE_SCHEMA,
            "seq": len(before),
            "prev": before[-1]["hash"] if before else GENESIS_PREV,
            "utc": f"{now or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "who": who,
            "reason": reason,
            "retention": {"class": item.retention, "days": item.days},
            "newest_record_utc": f"{item.newest:%Y-%m-%dT%H:%M:%S.%fZ}",
            "files": [_described(item.directory / name) for name in item.files],
            "session": item.session,
            "verified": verified,
            "software": robolearn.__version__,
            "key_id": keys.key_id(key),
        }
        record["signature"] = keys.sign(key, canonical(record))
        line, _ = seal(record)
        _append(path, line + b"\n")
        for name in item.files:
            (item.directory / name).unlink()
        _sync(item.directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LogError(f"The log in {item.directory} cannot be purged: {error}.") from error
    return record


def _described(path: Path) -> dict[str, Any]:
    running, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            running.update(block)
            size += len(block)
    return {"name": path.name, "bytes": size, "sha256": running.hexdigest()}


def _append(path: Path, data: bytes) -> None:
    """Adds a line and waits until the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
