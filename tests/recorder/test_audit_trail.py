"""The audit trail's writer: chained, signed, one writer at a time, and never a half record."""

import json
import os
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.errors import LogError
from robolearn.recorder import audit_trail
from robolearn.recorder.audit_fields import _FIELDS, fields_fault
from robolearn.recorder.audit_trail import (
    AUDIT_EVENTS,
    AUDIT_HEAD_FILE,
    AUDIT_SCHEMA,
    AuditTrail,
    chain_fault,
    read_trail,
    run_id,
)
from robolearn.recorder.hash_chain import seal, signed_part

START, END = {"start": 1, "resumed_from": 0}, {"outcome": "finished", "iteration": 7}
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


@pytest.fixture
def trail(tmp_path):
    return AuditTrail(tmp_path / "run", KEY)


def test_records_are_chained_and_each_is_signed_at_once(trail):
    trail.record("start", START | {"odd": float("nan")})
    where = AuditTrail(trail.run_dir, OTHER).record("end", END, iteration=7)
    records = read_trail(trail.run_dir)
    assert [r["kind"] for r in records] == ["trail_start", "start", "segment", "end", "segment"]
    assert [r["seq"] for r in records] == [0, 1, 2, 3, 4]
    assert [r["prev"] for r in records] == ["0" * 64, *(r["hash"] for r in records[:-1])]
    assert records[1]["fields"] == START | {"odd": "nan"}
    assert records[3]["cycle"] == 7
    assert records[1]["retention"] == {"class": "technical_documentation", "days": 3653, "ehsr": []}
    name = records[0]["fields"]["run_id"]
    assert records[0]["fields"] == {"schema": AUDIT_SCHEMA, "run_id": name}
    assert where == {"run_id": name, "seq": 4, "hash": records[4]["hash"]}
    assert run_id(trail.run_dir) == name
    for segment, key, first in ((records[2], KEY, 0), (records[4], OTHER, 3)):
        fields = segment["fields"]
        assert (fields["first_seq"], fields["last_seq"]) == (first, segment["seq"] - 1)
        assert fields["key_id"] == keys.key_id(key)
        signed = signed_part(name, fields, segment["prev"], AUDIT_SCHEMA)
        assert keys.verify(fields["public_key"], signed, fields["signature"])


def test_the_head_beside_it_is_signed_and_says_where_the_chain_stands(trail):
    where = trail.record("start", START)
    head = json.loads((trail.run_dir / AUDIT_HEAD_FILE).read_bytes())
    assert {name: head[name] for name in where} == where
    fields = {name: head[name] for name in ("seq", "key_id", "public_key")}
    signed = signed_part(head["run_id"], fields, head["hash"], AUDIT_SCHEMA)
    assert keys.verify(KEY, signed, head["signature"])


def test_what_a_killed_writer_left_is_removed_and_said(trail):
    trail.record("start", START)
    whole = trail.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    following = _next(whole)
    for left in (
        lines[1][:20],
        following + lines[2][:9],
        following,
    ):  # torn, or whole but without its segment
        trail.path.write_bytes(whole + left)
        trail.record("end", END)
        records = read_trail(trail.run_dir)
        assert [r["kind"] for r in records] == ["trail_start", "start", "segment", "torn", "end", "segment"]
        assert records[3]["fields"]["bytes"] == len(left)
        trail.path.write_bytes(whole)


def _next(whole):
    """A record that follows, without its segment."""
    last = json.loads(whole.splitlines()[-1])
    record = {k: v for k, v in last.items() if k != "hash"} | {"seq": 3, "prev": last["hash"], "kind": "end"}
    return seal(record)[0] + b"\n"


def test_a_first_record_that_was_torn_begins_anew(trail):
    trail.run_dir.mkdir()
    trail.path.write_bytes(b'{"seq":')
    trail.record("start", START)
    assert [r["kind"] for r in read_trail(trail.run_dir)] == ["trail_start", "torn", "start", "segment"]


@pytest.mark.parametrize("change", [b'"kind":"segmenT"', b'"kind":7'])
def test_nothing_is_added_to_a_trail_whose_end_was_changed(trail, change):
    trail.record("start", START)
    altered = trail.path.read_bytes().replace(b'"kind":"segment"', change)
    trail.path.write_bytes(altered)
    with pytest.raises(LogError, match="has an invalid end.*robolearn verify"):
        trail.record("end", END)
    assert trail.path.read_bytes() == altered


def test_a_sealed_last_line_without_a_kind_is_refused(trail):
    trail.run_dir.mkdir()
    trail.path.write_bytes(seal({"seq": 0})[0] + b"\n")
    with pytest.raises(LogError, match="has an invalid end"):
        trail.record("end", END)


def test_an_end_longer_than_is_looked_at_is_refused(trail, monkeypatch):
    trail.record("start", START | {"text": "x" * 500})
    monkeypatch.setattr(audit_trail, "_TAIL", 100)
    with pytest.raises(LogError, match="has an invalid end"):
        trail.record("end", END)


def test_a_full_disk_leaves_the_trail_as_it_was(trail, monkeypatch):
    trail.record("start", START)
    before = trail.path.read_bytes()
    write = os.write

    lengths = iter([50])

    def half(descriptor, data):
        if (take := next(lengths, None)) is None:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:take])

    monkeypatch.setattr(audit_trail.os, "write", half)
    with pytest.raises(LogError, match="Cannot write the audit trail .*audit.jsonl: No space left on device"):
        trail.record("end", END)
    monkeypatch.undo()
    assert trail.path.read_bytes() == before
    trail.record("end", END)
    assert len(read_trail(trail.run_dir)) == 5


def test_reading_stops_at_what_is_no_record_and_names_what_cannot_be_read(trail, tmp_path):
    assert read_trail(tmp_path) == []
    assert run_id(tmp_path) is None
    trail.record("start", START)
    whole = trail.path.read_bytes()
    for odd in (b"{}", seal({"seq": "3"})[0], seal({"seq": 3, "utc": "", "kind": "end", "fields": {}})[0]):
        trail.path.write_bytes(whole + odd + b"\n")
        assert len(read_trail(trail.run_dir)) == 3
    trail.path.unlink()
    trail.path.mkdir()
    with pytest.raises(LogError, match="Cannot read the audit trail .*: is a directory"):
        read_trail(trail.run_dir)


def test_the_quick_look_names_the_first_line_that_is_wrong(trail):
    assert chain_fault(trail.run_dir) == ""
    trail.record("start", START)
    assert chain_fault(trail.run_dir) == ""
    lines = trail.path.read_bytes().splitlines(keepends=True)
    for changed, fault in (
        ([*lines[:1], *lines[2:]], "line 2 is not the record that was written"),
        (
            [*lines[:2], lines[2].replace(b'"fields":{', b'"fields":{"x":1,')],
            "line 3 is not a valid record: .*canonical",
        ),
        ([b"[]\n"], "line 1 is not a valid record: no record with a hash"),
        ([seal({"fields": {}})[0]], "line 1 is not a valid record: 'run_id'"),
    ):
        trail.path.write_bytes(b"".join(changed))
        assert re.match(fault, chain_fault(trail.run_dir))
    segment = {k: v for k, v in json.loads(lines[2]).items() if k != "hash"}
    segment["fields"]["first_seq"] = 1
    trail.path.write_bytes(lines[0] + lines[1] + seal(segment)[0] + b"\n")
    assert chain_fault(trail.run_dir) == "the signature in line 3 does not fit"
    trail.path.unlink()
    trail.path.mkdir()
    with pytest.raises(LogError, match="Cannot read the audit trail"):
        chain_fault(trail.run_dir)


def test_the_fields_of_a_record_are_what_is_relied_on():
    assert fields_fault("start", START) == fields_fault("something new", {}) == ""
    assert fields_fault("start", START | {"more": []}) == ""
    assert fields_fault("start", {"start": "1", "resumed_from": 0}).startswith("start: ")
    assert fields_fault("export", {"bundle": {"name": "x"}}).startswith("bundle.sha256: Field required")
    assert fields_fault(7, {}) == fields_fault("end", []) == "kind is not text, or fields are no object"
    assert set(_FIELDS) == set(AUDIT_EVENTS)
