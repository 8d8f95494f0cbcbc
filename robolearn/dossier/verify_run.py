"""Is a run's audit trail as it was written, is it all there, and is the folder what it says? Every departure is named.

Checked: each record's hash and place, each signature, the head beside it, the order of starts and ends, and against
the trail the config, the metrics, every kept checkpoint, evaluation, bundle and decision in the folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from robolearn import keys
from robolearn.errors import BundleError, LogError
from robolearn.files.digests import file_sha256, folder_sha256
from robolearn.files.reading import MIB, read_regular
from robolearn.files.strict_json import parse_json
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.recorder.audit_fields import fields_fault
from robolearn.recorder.audit_trail import (
    AUDIT_FILE,
    AUDIT_HEAD_FILE,
    AUDIT_MAX,
    AUDIT_SCHEMA,
)
from robolearn.recorder.hash_chain import EVENTS_FILE, GENESIS_PREV, open_line, signed_part
from robolearn.review.verdict import Finding, gravest, place_fault

_MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    LogError,
    keys.KeyFileError,
)
NOT_SHOWN = (
    (
        "That it is the latest: a trail cut back together with its head looks the same from inside. Keep a copy of "
        f"{AUDIT_HEAD_FILE} elsewhere and give it with --head."
    ),
    "That the records are true, or the clock right: both are the training machine's own word.",
    "That a key was not misused by somebody who could read its file.",
)


@dataclass
class TrailVerdict:
    """What was found. status: intact, incomplete (a start without an end, an unsigned tail) or altered."""

    run_dir: Path
    findings: list[Finding] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    signers: Counter[str] = field(default_factory=Counter)
    run_id: str = ""
    head: dict[str, Any] = field(default_factory=dict)
    key_expected: bool = False

    def add(self, weight: Any, kind: str, where: str, text: str) -> None:
        """Note one finding."""
        self.findings.append(Finding(weight, kind, where, text))

    @property
    def status(self) -> str:
        """The gravest of the findings."""
        return gravest({finding.weight for finding in self.findings})

    @property
    def not_shown(self) -> list[str]:
        """What such a check cannot show."""
        if self.key_expected:
            return list(NOT_SHOWN)
        return [
            "Who wrote it: no key was given from outside (--key), so the trail vouches for its own.",
            *NOT_SHOWN,
        ]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The records of some kinds, in order."""
        return [record for record in self.records if record["kind"] in kinds]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": str(self.run_dir),
            "run_id": self.run_id,
            "status": self.status,
            "records": len(self.records),
            "signed_by": dict(self.signers),
            "head": self.head,
            "findings": [vars(finding) for finding in self.findings],
            "not_shown": self.not_shown,
        }


def verify_run(
    run_dir: str | Path,
    public_keys: Iterable[str | Path | Ed25519PublicKey] = (),
    expected_head: str | Path | None = None,
) -> TrailVerdict:
    """Check the trail of a run folder, and the folder against it.

    public_keys: those who may have signed; none takes the trail's own word. expected_head: a copy of
    `audit_head.json` that was kept elsewhere. Raises LogError where there is no trail, or the head is none;
    KeyFileError for a key.
    """
    verdict = TrailVerdict(Path(run_dir))
    trusted = {keys.key_id(keys.load_public(key)) for key in public_keys}
    verdict.key_expected = bool(trusted)
    _Walk(verdict, trusted).run(_read(verdict.run_dir))
    for where, head in _heads(verdict, expected_head):
        _check_head(verdict, where, head)
    _check_starts(verdict)
    _check_folder(verdict)
    return verdict


def _read(run_dir: Path) -> bytes:
    path = run_dir / AUDIT_FILE
    try:
        return read_regular(path, AUDIT_MAX, follow=False)
    except FileNotFoundError:
        if (run_dir / EVENTS_FILE).is_file():
            raise LogError(
                f"{run_dir} is a safety log: check it with `robolearn review {run_dir}`."
            ) from None
        raise LogError(
            f"There is no audit trail in {run_dir} ({AUDIT_FILE}): not a run folder, a run of an "
            "earlier robolearn, or the trail was removed."
        ) from None
    except NotADirectoryError:
        raise LogError(f"{run_dir} is a file. Give a run folder.") from None
    except OSError as error:
        raise LogError(f"Cannot read the audit trail {path}: {error.strerror}.") from None


class _Walk:
    """Goes through the lines once."""

    def __init__(self, verdict: TrailVerdict, trusted: set[str]):
        self.verdict, self._trusted = verdict, trusted
        self._seq, self._prev = -1, GENESIS_PREV
        self._segment, self._first, self._kind = 0, 0, ""

    def run(self, data: bytes) -> None:
        """Every line, and how they end."""
        *lines, rest = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            self._line(f"{AUDIT_FILE} line {number}", line)
        add, last = self.verdict.add, f"{AUDIT_FILE} after line {len(lines)}"
        if rest:
            add("incomplete", "torn_line", last, "the last line is incomplete")
        if not self.verdict.records:
            add("altered", "missing", AUDIT_FILE, "holds no readable record at all")
        elif self._kind != "segment":
            add(
                "incomplete",
                "unsigned_tail",
                last,
                "the last records are chained, but no signature covers them",
            )
        self.verdict.head = {"run_id": self.verdict.run_id, "seq": self._seq, "hash": self._prev}

    def _line(self, where: str, line: bytes) -> None:
        add = self.verdict.add
        try:
            record, real = open_line(line)
            seq, prev, kind, fields = (record[name] for name in ("seq", "prev", "kind", "fields"))
            fault = fields_fault(kind, fields)
            if type(seq) is not int or not isinstance(record["utc"], str) or fault:
                raise ValueError(fault or "a field is of another type")
        except (ValueError, KeyError) as error:
            add("altered", "unreadable", where, f"is not a valid record: {error}")
            self._seq, self._prev = self._seq + 1, ""
            return
        where = f"{where} (seq {seq}, {kind})"
        if real != record["hash"]:
            add("altered", "changed", where, "this record was changed: its hash does not fit")
        if misplaced := place_fault(self._seq, self._prev, seq, prev):
            add("altered", misplaced[0], where, misplaced[1])
        if (seq == 0) != (kind == "trail_start"):
            add("altered", "genesis", where, "the trail must begin with trail_start, and only there")
        try:
            self._take(where, seq, prev, kind, fields)
        except _MALFORMED as error:
            add("altered", "unreadable", where, f"has a missing or wrong field: {error}")
        self._seq, self._prev, self._kind = seq, record["hash"], kind
        self.verdict.records.append({**record, "where": where})

    def _take(self, where: str, seq: int, prev: str, kind: str, fields: dict[str, Any]) -> None:
        verdict = self.verdict
        if kind == "trail_start":
            if fields["schema"] != AUDIT_SCHEMA:
                raise ValueError(f"schema {fields['schema']}, this robolearn reads {AUDIT_SCHEMA}")
            verdict.run_id = str(fields["run_id"])
        if kind == "torn":
            verdict.add("note", "torn", where, f"an unfinished line of {fields['bytes']} bytes was removed")
        if kind != "segment":
            return
        public, name = str(fields["public_key"]), str(fields["key_id"])
        verdict.signers[name] += 1
        signed = signed_part(verdict.run_id, fields, prev, AUDIT_SCHEMA)
        if fields["run_id"] != verdict.run_id or not keys.verify(public, signed, str(fields["signature"])):
            verdict.add("altered", "signature", where, "its signature does not fit")
        if keys.key_id(keys.load_public(public)) != name:
            verdict.add("altered", "wrong_key", where, "the key's name does not belong to the key beside it")
        elif self._trusted and name not in self._trusted:
            text = f"signed with key {name}, expected {', '.join(sorted(self._trusted))}"
            verdict.add("altered", "wrong_key", where, text)
        if (fields["segment"], fields["first_seq"], fields["last_seq"]) != (
            self._segment,
            self._first,
            seq - 1,
        ):
            verdict.add(
                "altered", "segments", where, f"segment {self._segment} was expected here, from {self._first}"
            )
        self._segment, self._first = int(fields["segment"]) + 1, seq + 1


def _heads(verdict: TrailVerdict, expected: str | Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if expected is not None:
        try:
            yield "the expected head", parse_json(read_regular(expected, MIB))
        except (OSError, ValueError) as error:
            raise LogError(f"The expected head {expected} cannot be read: {error}.") from None
    try:
        yield AUDIT_HEAD_FILE, parse_json(read_regular(verdict.run_dir / AUDIT_HEAD_FILE, MIB, follow=False))
    except FileNotFoundError:
        verdict.add("altered", "no_head", AUDIT_HEAD_FILE, "the signed head beside the trail is missing")
    except (OSError, ValueError) as error:
        verdict.add("altered", "head", AUDIT_HEAD_FILE, f"cannot be read: {error}")


def _check_head(verdict: TrailVerdict, where: str, head: dict[str, Any]) -> None:
    last = f"{AUDIT_FILE} after seq {verdict.head['seq']}"
    try:
        seq, public = int(head["seq"]), str(head["public_key"])
        fields = {name: head[name] for name in ("seq", "key_id", "public_key")}
        signed = signed_part(head["run_id"], fields, head["hash"], AUDIT_SCHEMA)
        valid = keys.verify(public, signed, str(head["signature"]))
        stated, name = str(head["hash"]), keys.key_id(keys.load_public(public))
    except _MALFORMED as error:
        verdict.add("altered", "head", where, f"is not a valid head: {error}")
        return
    by_seq = {record["seq"]: record["hash"] for record in verdict.records}
    if not valid:
        verdict.add("altered", "head", where, "its signature does not fit")
    elif name not in verdict.signers:
        verdict.add("altered", "head", where, f"is signed with key {name}, which signed nothing in the trail")
    elif head["run_id"] != verdict.run_id:
        verdict.add(
            "altered", "another_trail", where, f"is of run {head['run_id']}, this trail of {verdict.run_id}"
        )
    elif seq > verdict.head["seq"]:
        lost = seq - verdict.head["seq"]
        verdict.add(
            "altered", "cut_off", last, f"{where} shows that the trail went on to seq {seq}: {lost} were cut"
        )
    elif by_seq.get(seq) != stated:
        verdict.add(
            "altered", "rewritten", f"{AUDIT_FILE} up to seq {seq}", f"{where} has another hash there"
        )
    elif where == AUDIT_HEAD_FILE and seq != verdict.head["seq"]:
        verdict.add(
            "incomplete", "old_head", where, f"stands at seq {seq}, the trail at {verdict.head['seq']}"
        )


def _check_starts(verdict: TrailVerdict) -> None:
    """Inputs before each start, an end after each."""
    open_start, before = "", ""
    for record in verdict.of("inputs", "start", "end", "interruption"):
        kind, where = record["kind"], record["where"]
        if kind == "start":
            if open_start:
                text = (
                    "the start before it has no end: its process was killed, or the record was never written"
                )
                verdict.add("note", "no_end", where, text)
            if before != "inputs":
                verdict.add("altered", "no_inputs", where, "no record of the inputs stands before this start")
            open_start = where
        elif kind != "inputs":
            open_start = ""
        before = kind
    if open_start:
        text = "this start has no end: it is going on, or its process was killed"
        verdict.add("incomplete", "no_end", open_start, text)


def _check_folder(verdict: TrailVerdict) -> None:
    """The files of the run folder against what the trail says of them."""
    try:
        _check_config(verdict)
        _check_metrics(verdict)
        _check_checkpoints(verdict)
        _check_evaluations(verdict)
        _check_bundles(verdict)
    except _MALFORMED as error:
        verdict.add("altered", "unreadable", AUDIT_FILE, f"a record has a missing or wrong field: {error}")


def _sha256(path: Path, size: int | None = None) -> str | None:
    try:
        return file_sha256(path, size)
    except OSError:
        return None


def _check_config(verdict: TrailVerdict) -> None:
    stated = [record["fields"]["config_sha256"] for record in verdict.of("inputs")]
    found = _sha256(verdict.run_dir / "config.yaml")
    if stated and found is None:
        verdict.add("altered", "missing_file", "config.yaml", "is not there, but the trail has its digest")
    elif stated and found != stated[-1]:
        verdict.add(
            "altered", "changed_file", "config.yaml", "is not the one that the newest start was made with"
        )
    try:
        starts = len(json.loads((verdict.run_dir / "run.json").read_bytes())["starts"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        verdict.add("altered", "changed_file", "run.json", f"cannot be read: {error}")
        return
    recorded = len(verdict.of("start"))
    if starts != recorded:
        verdict.add("altered", "starts", "run.json", f"names {starts} starts, the trail {recorded}")


def _check_metrics(verdict: TrailVerdict) -> None:
    stated = [r["fields"]["metrics"] for r in verdict.of("checkpoint") if r["fields"].get("metrics")]
    if stated and _sha256(verdict.run_dir / "metrics.jsonl", stated[-1]["bytes"]) != stated[-1]["sha256"]:
        text = f"its first {stated[-1]['bytes']} bytes are not those of the newest checkpoint's record"
        verdict.add("altered", "changed_file", "metrics.jsonl", text)


def _check_checkpoints(verdict: TrailVerdict) -> None:
    stated: dict[int, str] = {}
    for record in verdict.of("checkpoint", "start"):
        fields = record["fields"]
        iteration = fields.get("iteration", fields.get("resumed_from"))
        if fields.get("checkpoint_sha256"):
            stated[int(iteration)] = fields["checkpoint_sha256"]
    root = verdict.run_dir / "checkpoints"
    running = any(finding.kind == "no_end" and finding.weight == "incomplete" for finding in verdict.findings)
    for path in sorted(path for path in root.glob("*") if path.is_dir() and path.name.isdigit()):
        where = f"checkpoints/{path.name}"
        if int(path.name) not in stated:
            weight = "incomplete" if running else "altered"
            verdict.add(weight, "unknown_file", where, "is not in the trail")
        elif folder_sha256(path) != stated[int(path.name)]:
            verdict.add(
                "altered", "changed_file", where, "is not the checkpoint that the trail has the digest of"
            )


def _check_evaluations(verdict: TrailVerdict) -> None:
    recorded = verdict.of("evaluation", "explanation", "ood", "robustness", "sweep")
    newest = {record["fields"]["file"]: record["fields"]["sha256"] for record in recorded}
    patterns = (
        "*evaluation.json",
        "explanation.json",
        "failures.json",
        "ood.json",
        "*robustness.json",
        "*sweep.json",
    )
    for path in sorted(path for pattern in patterns for path in verdict.run_dir.glob(pattern)):
        if path.name not in newest:
            verdict.add("altered", "unknown_file", path.name, "is not in the trail")
        elif _sha256(path) != newest[path.name]:
            verdict.add(
                "altered", "changed_file", path.name, "is not the file that the trail has the digest of"
            )


def _check_bundles(verdict: TrailVerdict) -> None:
    exported = {record["fields"]["bundle"]["sha256"] for record in verdict.of("export")}
    by_seq = {record["seq"]: record["hash"] for record in verdict.records}
    for path in sorted(verdict.run_dir.glob(f"*{SUFFIX}")):
        try:
            bundle = PolicyBundle.load(path)
        except BundleError as error:
            verdict.add("altered", "changed_file", path.name, str(error))
            continue
        if bundle.digest not in exported:
            verdict.add("altered", "unknown_file", path.name, "no export in the trail made this bundle")
        said = bundle.manifest.training.get("audit") or {}
        if said.get("run_id") == verdict.run_id and by_seq.get(said.get("seq")) != said.get("hash"):
            text = f"its manifest names seq {said.get('seq')} of the trail with another hash: the trail was rewritten"
            verdict.add("altered", "rewritten", path.name, text)
