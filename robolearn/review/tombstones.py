"""What a purge has left: who removed which files of a session, when, under which class, and whether it is signed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import TypeAdapter, ValidationError

from robolearn import keys
from robolearn.files.reading import MIB, read_regular
from robolearn.recorder.hash_chain import GENESIS_PREV, TOMBSTONES_FILE, canonical, open_line
from robolearn.recorder.purge import TOMBSTONE_SCHEMA
from robolearn.review.event_fields import Retention, Whole, Word, _Fields

_MAX_BYTES = 64 * MIB


class _File(_Fields):
    name: Word
    bytes: Whole
    sha256: Word


class _Tombstone(_Fields):
    seq: Whole
    utc: Word
    who: Word
    reason: Word
    retention: Retention
    files: list[_File]
    session: dict[str, Any]
    verified: Word
    key_id: Word
    signature: Word


_TOMBSTONE = TypeAdapter(_Tombstone)


@dataclass(frozen=True)
class Tombstone:
    """One purge. files: (bytes, sha256) by name.  session: what it was.  problem: why it proves nothing, or empty."""

    where: str
    utc: str
    who: str
    reason: str
    retention: str
    days: int
    files: dict[str, tuple[int, str]]
    session: dict[str, Any]
    verified: str
    problem: str

    @property
    def text(self) -> str:
        """One sentence."""
        return (
            f"purged on {self.utc[:19]} by {self.who}, class {self.retention} ({self.days} days): {self.reason}; the "
            f"log was then {self.verified}"
        )


def read_tombstones(directory: Path, key: Ed25519PublicKey | None = None) -> list[Tombstone]:
    """The tombstones of a session, in order; none where nothing was purged.

    key: the log's; without it the key that the newest tombstone names vouches for all. Raises OSError where the file
    is there and cannot be read.
    """
    try:
        data = read_regular(directory / TOMBSTONES_FILE, _MAX_BYTES, follow=False)
    except FileNotFoundError:
        return []
    found: list[Tombstone] = []
    before = GENESIS_PREV
    for number, line in enumerate(data.split(b"\n")[:-1]):
        where = f"{TOMBSTONES_FILE} line {number + 1}"
        try:
            record, digest = open_line(line)
            stone = _TOMBSTONE.validate_python(record)
            key = key or keys.load_public(str(record["session"]["first"]["fields"]["public_key"]))
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError, keys.KeyFileError) as error:
            problem = f"is not a valid tombstone: {' '.join(str(error).split())[:200]}"
            found.append(Tombstone(where, "", "", "", "", 0, {}, {}, "", problem))
            continue
        problem = _problem(record, digest, number, before, key)
        files = {file.name: (file.bytes, file.sha256) for file in stone.files}
        found.append(
            Tombstone(
                where, stone.utc, stone.who, stone.reason, stone.retention.class_, stone.retention.days, files,
                stone.session, stone.verified, problem,
            )
        )  # fmt: skip
        before = record["hash"]
    return found


def _problem(record: dict[str, Any], digest: str, number: int, before: str, key: Ed25519PublicKey) -> str:
    signed = {name: value for name, value in record.items() if name not in ("hash", "signature")}
    if record.get("schema") != TOMBSTONE_SCHEMA:
        return f"has schema {str(record.get('schema'))[:60]}, expected {TOMBSTONE_SCHEMA}"
    if digest != record["hash"]:
        return "was changed: its hash does not fit"
    if (record["seq"], record.get("prev")) != (number, before):
        return "does not follow from the one before it: one of them was removed or replaced"
    if not keys.verify(key, canonical(signed), record["signature"]):
        return f"its signature does not fit the key of the log, {keys.key_id(key)}"
    return ""
