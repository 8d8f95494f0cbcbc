"""Sessions in a row: each names the one before it, so that a missing one is found.

A log folder holds the logs of one deployment, each in a folder of its own, or in `safety` inside of one:

    runs/serve/20261203-081500/safety/events.jsonl

`session_start` of each has `chain`: its number, 1, 2, 3, ..., and of the session before it the id, the number, the
folder, and the last record (seq and hash) that was there when this one began. Removing a session in between
leaves a gap. What a purge removed has left its tombstone (`purge`), which fills it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from robolearn.files.strict_json import parse_json
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE

PLACES = ("*", "*/safety")  # of a session's folder inside a log folder
_LINE_MAX = 1 << 20


@dataclass(frozen=True)
class SessionEntry:
    """One session in a log folder, as its first and last records have it, unchecked.

    number: its place in the chain.  previous: what it says of the one before, None for the first.
    seq, hash: of the last whole record.  ended: whether the log was closed.  purged: only tombstones are left.
    """

    directory: Path
    session_id: str
    deployment_id: str
    number: int
    previous: dict[str, Any] | None
    began_utc: str
    seq: int
    hash: str
    ended: bool
    purged: bool = False


def session_folders(folder: Path) -> list[Path]:
    """Folders inside a log folder that hold a session, or its tombstones."""
    found = {
        path.parent
        for place in PLACES
        for name in (EVENTS_FILE, TOMBSTONES_FILE)
        for path in folder.glob(f"{place}/{name}")
    }
    return sorted(found)


def entries(folder: Path, deployment_id: str | None = None) -> list[SessionEntry]:
    """The sessions in a log folder that can be read, of one deployment or of all, in the order of their numbers."""
    found = [entry for path in session_folders(folder) if (entry := entry_of(path)) is not None]
    if deployment_id is not None:
        found = [entry for entry in found if entry.deployment_id == deployment_id]
    return sorted(found, key=lambda entry: (entry.deployment_id, entry.number, entry.began_utc))


def log_folder(directory: Path) -> Path:
    """The log folder that a session's folder belongs to."""
    parent = directory.absolute().parent
    return parent.parent if directory.name == "safety" else parent


def entry_of(directory: Path) -> SessionEntry | None:
    """The session in a folder; None where its first record cannot be read."""
    try:
        with (directory / EVENTS_FILE).open("rb") as stream:
            first = parse_json(stream.readline(_LINE_MAX))
            last = _last_record(stream)
            return _entry(directory, first, last["seq"], last["hash"], _has_ended(last))
    except FileNotFoundError:
        return _purged_entry(directory)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entry(directory: Path, first: dict[str, Any], seq: int, digest: str, ended: bool) -> SessionEntry:
    fields = first["fields"]
    chain = fields["chain"]
    return SessionEntry(
        directory,
        str(fields["session_id"]),
        str(fields["deployment_id"]),
        int(chain["number"]),
        None if chain["previous"] is None else _previous(chain["previous"]),
        str(first["utc"]),
        int(seq),
        str(digest),
        ended,
    )


def _previous(named: dict[str, Any]) -> dict[str, Any]:
    """What a session says of the one before it. Raises KeyError, TypeError or ValueError for anything else."""
    kinds = {"number": int, "session_id": str, "directory": str, "seq": int, "hash": str, "ended": bool}
    if not all(isinstance(named[name], kind) for name, kind in kinds.items()):
        raise TypeError("a session with a wrong reference to the previous one")
    return {name: named[name] for name in kinds}


def _has_ended(last: dict[str, Any]) -> bool:
    return last["kind"] == "segment" and last["fields"]["final"] is True


def _purged_entry(directory: Path) -> SessionEntry | None:
    """A session of which a purge left only tombstones; the newest of them says what it was."""
    try:
        with (directory / TOMBSTONES_FILE).open("rb") as stream:
            fields = _last_record(stream)["session"]
        entry = _entry(directory, fields["first"], fields["seq"], fields["hash"], bool(fields["ended"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return replace(entry, purged=True)


def _last_record(stream: BinaryIO) -> dict[str, Any]:
    """The JSON object on the last whole line of a file that is one. Raises ValueError where there is none."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LINE_MAX))
    *lines, _ = stream.read(_LINE_MAX).split(
        b"\n"
    )  # what follows the last newline was not written to its end
    for line in reversed(lines):
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            return record
    raise ValueError("no record")


def chain_fields(directory: Path, deployment_id: str) -> dict[str, Any]:
    """`chain` of a session that begins now in `directory`: its number, and the one before it in the log folder."""
    folder = log_folder(directory)
    before = entries(folder, deployment_id)
    if not before:
        return {"number": 1, "previous": None}
    last = before[-1]
    return {
        "number": last.number + 1,
        "previous": {
            "number": last.number,
            "session_id": last.session_id,
            "directory": last.directory.relative_to(folder).as_posix(),
            "seq": last.seq,
            "hash": last.hash,
            "ended": last.ended,
        },
    }
