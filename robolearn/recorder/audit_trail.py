"""The audit trail of a training run: `audit.jsonl` in its folder, the chain of `hash_chain` with one writer at a time.

Every call of `record` adds its records and a signed `segment` over the chain so far, in one write that reaches the
disk before it returns. The signed head beside it, `audit_head.json`, is replaced each time: a copy of it kept
elsewhere shows later whether the trail was cut. Several processes and people may write one after the other; each
segment names its key. `cycle` of a record is the training's iteration.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import LogError
from robolearn.files.reading import MIB, open_regular, read_regular
from robolearn.files.writing import replace_file
from robolearn.recorder.audit_fields import fields_fault
from robolearn.recorder.hash_chain import GENESIS_PREV, Chain, canonical, open_line, plain, signed_part

AUDIT_SCHEMA = "robolearn.audit/1"
AUDIT_FILE = "audit.jsonl"
AUDIT_HEAD_FILE = "audit_head.json"
AUDIT_MAX = 256 * MIB
# Regulation (EU) 2024/1689, Art. 18: technical documentation is kept for ten years.
AUDIT_RETENTION_DAYS = {"technical_documentation": 3653}
AUDIT_EVENTS = {
    "trail_start": "schema and id of the run; the first record",
    "inputs": "before the first step: resolved config, thresholds, digests of robot, task, calibration, data, code",
    "start": "a start or a resume: iteration, versions, machine, command",
    "checkpoint": "a checkpoint was written: digests of its files, of the policy's arrays and of the metrics so far",
    "interruption": "a start ended before the run was complete, with the reason",
    "end": "a start ended normally: outcome and iteration",
    "evaluation": "an evaluation: results, policy, and digest of its file",
    "export": "a bundle was written: its digest, the policy's, and whether the thresholds were met",
    "explanation": "an explanation of the policy, and the digest of its file",
    "ood": "an out-of-distribution score fitted to an evaluation, and the digest of its file",
    "robustness": "success under shifts beyond the trained ranges, and the digest of its file",
    "sweep": "success over one quantity at a time beyond its trained range, and the digest of its file",
    "decision": "a person's signed decision at a gate",
    "torn": "an incomplete line of a killed writer was removed",
    "segment": "a signature over all records so far, and its key",
}
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = dict.fromkeys(AUDIT_EVENTS, ("technical_documentation", ()))
_TAIL = 16 * MIB


class AuditTrail:
    """The growing trail of one run folder."""

    def __init__(self, run_dir: str | Path, key: Ed25519PrivateKey):
        self.run_dir, self._key = Path(run_dir), key

    @property
    def path(self) -> Path:
        """The file."""
        return self.run_dir / AUDIT_FILE

    def record(self, kind: str, fields: dict[str, Any], *, iteration: int = 0) -> dict[str, Any]:
        """Add a record and sign; `{run_id, seq, hash}` of where the chain then stands.

        The first record of a folder begins the trail. Raises LogError where the file cannot be written, or its last
        record is not as robolearn writes it; nothing is then added.
        """
        try:
            with self._locked() as descriptor:
                return self._append(descriptor, kind, plain(fields), iteration)
        except OSError as error:
            raise LogError(f"Cannot write the audit trail {self.path}: {error.strerror}.") from error

    def _append(self, descriptor: int, kind: str, fields: dict[str, Any], iteration: int) -> dict[str, Any]:
        size, last, torn = self._tail(descriptor)
        run_id = str(last["fields"]["run_id"]) if last else uuid.uuid4().hex
        chain = Chain(
            _KINDS,
            AUDIT_RETENTION_DAYS,
            seq=last["seq"] + 1 if last else 0,
            prev=last["hash"] if last else GENESIS_PREV,
        )
        first, lines = chain.seq, []

        def add(kind: str, fields: dict[str, Any]) -> None:
            now, utc = time.monotonic_ns(), time.time_ns()
            lines.append(chain.append(kind, fields, cycle=iteration, monotonic_ns=now, utc_ns=utc))

        if last is None:
            add("trail_start", {"schema": AUDIT_SCHEMA, "run_id": run_id})
        if torn:
            add("torn", {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()})
        add(kind, fields)
        stated = {
            "run_id": run_id,
            "segment": last["fields"]["segment"] + 1 if last else 0,
            "first_seq": first,
            "last_seq": chain.seq - 1,
            "key_id": keys.key_id(self._key),
            "public_key": keys.public_text(self._key),
        }
        add("segment", self._signed(run_id, stated, chain.prev))
        self._write(descriptor, size, b"".join(lines))
        where = {"run_id": run_id, "seq": chain.seq - 1, "hash": chain.prev}
        self._write_head(where)
        return where

    def _signed(self, run_id: str, fields: dict[str, Any], prev: str) -> dict[str, Any]:
        return {
            **fields,
            "signature": keys.sign(self._key, signed_part(run_id, fields, prev, AUDIT_SCHEMA)),
        }

    def _write(self, descriptor: int, size: int, data: bytes) -> None:
        """Add data after `size` bytes, what follows them removed; all of it, or none."""
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise

    def _write_head(self, where: dict[str, Any]) -> None:
        fields = {
            "seq": where["seq"],
            "key_id": keys.key_id(self._key),
            "public_key": keys.public_text(self._key),
        }
        head = {
            "schema": AUDIT_SCHEMA,
            "run_id": where["run_id"],
            "hash": where["hash"],
            **self._signed(where["run_id"], fields, where["hash"]),
        }
        replace_file(self.run_dir / AUDIT_HEAD_FILE, canonical(head))

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, of which this process alone is the writer."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _tail(self, descriptor: int) -> tuple[int, dict[str, Any] | None, bytes]:
        """Bytes of whole lines, the segment that ends them (None in an empty file), and what follows unfinished.

        A line and its segment are written together: what a killed writer left without its segment is unfinished too.
        """
        end = os.lseek(descriptor, 0, os.SEEK_END)
        begin = max(0, end - _TAIL)
        data = os.pread(descriptor, _TAIL, begin)
        whole = data[: data.rfind(b"\n") + 1]
        while whole:
            line = whole[whole.rfind(b"\n", 0, -1) + 1 :]
            try:
                record, real = open_line(line[:-1])
                intact = real == record["hash"]
                if intact and record["kind"] == "segment":
                    return begin + len(whole), record, data[len(whole) :]
            except (ValueError, KeyError):
                intact = False
            if not intact:
                break
            whole = whole[: -len(line)]
        if whole or begin:
            raise LogError(
                f"The audit trail {self.path} has an invalid end, so nothing is added to "
                f"it. Check it with `robolearn verify {self.run_dir}`."
            )
        return 0, None, data


def read_trail(run_dir: str | Path) -> list[dict[str, Any]]:
    """The records of a run's trail; empty where it has none. Stops at a line that is not a record, or lacks a field.

    Neither chain nor signatures are checked: see `chain_fault`.

    Raises LogError where there is a file that cannot be read.
    """
    path, records = Path(run_dir) / AUDIT_FILE, []
    try:
        data = read_regular(path, AUDIT_MAX, follow=False)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LogError(f"Cannot read the audit trail {path}: {error.strerror}.") from None
    for line in data.splitlines():
        try:
            record = open_line(line)[0]
        except ValueError:
            break
        whole = isinstance(record.get("seq"), int) and isinstance(record.get("utc"), str)
        if not whole or fields_fault(record.get("kind"), record.get("fields")):
            break
        records.append(record)
    return records


def run_id(run_dir: str | Path) -> str | None:
    """The id of the run in a folder, from the first line of its trail; None where it has none that can be read."""
    try:
        with open_regular(Path(run_dir) / AUDIT_FILE, follow=False) as stream:
            return str(open_line(stream.readline(MIB).rstrip(b"\n"))[0]["fields"]["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chain_fault(run_dir: str | Path) -> str:
    """What is wrong with a trail's records, chain or signatures, in words; empty where nothing is, or without a trail.

    The quick look before something relies on a trail. Raises LogError where the file cannot be read.
    """
    path = Path(run_dir) / AUDIT_FILE
    if not path.exists():
        return ""
    try:
        lines = read_regular(path, AUDIT_MAX, follow=False).splitlines()
    except OSError as error:
        raise LogError(f"Cannot read the audit trail {path}: {error.strerror}.") from None
    prev, name = GENESIS_PREV, ""
    for number, line in enumerate(lines):
        try:
            record, real = open_line(line)
            fields = record["fields"]
            name = fields["run_id"] if number == 0 else name
            if (record["seq"], record["prev"], real) != (number, prev, record["hash"]):
                return f"line {number + 1} is not the record that was written"
            if record["kind"] == "segment" and not _signature_fits(name, fields, prev):
                return f"the signature in line {number + 1} does not fit"
        except (ValueError, LookupError, TypeError, AttributeError, keys.KeyFileError) as error:
            return f"line {number + 1} is not a valid record: {error}"
        prev = record["hash"]
    return ""


def _signature_fits(run_id: str, fields: dict[str, Any], prev: str) -> bool:
    signed = signed_part(run_id, fields, prev, AUDIT_SCHEMA)
    return keys.verify(fields["public_key"], signed, fields["signature"])
