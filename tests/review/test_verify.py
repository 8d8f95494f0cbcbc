"""Tampering in every way with a real log: each found, each located, each called by its name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from log_sessions import PERIOD_S, QUICK, story

from robolearn import keys
from robolearn.errors import LogError
from robolearn.recorder.event_log import Options
from robolearn.recorder.hash_chain import seal, signed_part
from robolearn.review.verify import read_events, verify

MANY_SEGMENTS = Options(**{**vars(QUICK), "segment_events": 5})


@pytest.fixture(scope="module")
def master(tmp_path_factory) -> Path:
    """A log with stops, resets and a few segments, ended in order; and its keys."""
    for waves in (
        250,
        500,
        1000,
    ):  # a busy machine gives the log writer more events at once, in fewer segments
        root = tmp_path_factory.mktemp("log")
        story(root / "log", root / "log.pem", waves=waves, options=MANY_SEGMENTS)
        if len(segment_ends(root / "log")) >= 4:
            break
    return root


@pytest.fixture
def log(master, tmp_path) -> Path:
    shutil.copytree(master / "log", tmp_path / "log")
    return tmp_path / "log"


@pytest.fixture
def public(master) -> Path:
    return master / "log.pub"


def lines_of(log: Path) -> list[bytes]:
    return (log / "events.jsonl").read_bytes().splitlines(keepends=True)


def test_the_log_under_test_has_enough_segments(log):
    assert len(segment_ends(log)) >= 4


def put(log: Path, lines: list[bytes]) -> None:
    (log / "events.jsonl").write_bytes(b"".join(lines))


def kinds(verdict) -> set[str]:
    return {finding.kind for finding in verdict.findings}


def at_line(verdict, number: int) -> list[str]:
    return [f.kind for f in verdict.findings if f.where.startswith(f"events.jsonl line {number} ")]


def test_an_untouched_log_is_intact(log, public):
    verdict = verify(log, public, json.loads((log / "head.json").read_text()))
    assert verdict.findings == []
    assert verdict.status == "intact"
    assert verdict.intact
    assert verdict.key_trusted
    assert verdict.ended
    assert verdict.events == len(lines_of(log))
    assert verdict.signed_through == verdict.events - 1
    assert verdict.losses == 0
    assert verdict.cycles == read_events(log)[-1]["fields"]["cycles"]
    assert verdict.summary.startswith("Intact: ")
    assert not any("no public key was given" in text for text in verdict.not_shown)


def test_what_a_verification_does_not_show_is_said(log):
    verdict = verify(log)
    assert verdict.intact
    text = " ".join(verdict.not_shown)
    for part in (
        "no public key was given",
        "no head kept elsewhere",
        "wrong sensor",
        "wall clock",
        "last tenth",
    ):
        assert part in text


@pytest.mark.parametrize("number", [1, 4, 9])
def test_a_changed_record_is_located(log, number):
    lines = lines_of(log)
    seq = number - 1
    lines[seq] = lines[seq].replace(b'"utc":"2', b'"utc":"1')
    put(log, lines)
    verdict = verify(log)
    assert verdict.status == "altered"
    assert "changed" in at_line(verdict, number)
    assert f"line {number} (seq {seq})" in verdict.summary


def test_any_flipped_bit_of_the_events_is_found(log):
    original = (log / "events.jsonl").read_bytes()
    random = np.random.default_rng(0)
    for position in random.integers(0, len(original), 60):
        data = bytearray(original)
        data[position] ^= 1 << int(random.integers(0, 8))
        (log / "events.jsonl").write_bytes(data)
        line = original[:position].count(b"\n") + 1
        verdict = verify(log)
        assert not verdict.intact
        near = {f"events.jsonl line {n}" for n in (line, line + 1)}
        assert any(finding.where.split(" (")[0] in near for finding in verdict.findings), position


@pytest.mark.parametrize("kind", ["heartbeat", "segment", "trace_closed"])
@pytest.mark.parametrize("field", ["file", "bytes", "sha256", "cycles", "last_cycle"])
@pytest.mark.parametrize("value", [None, [], 2**50])
def test_a_damaged_checkpoint_of_a_trace_is_found(log, kind, field, value):
    lines = lines_of(log)
    records = [json.loads(line) for line in lines]
    number = next(
        number
        for number, record in enumerate(records, 1)
        if record["kind"] == kind and (kind == "trace_closed" or record["fields"].get("trace"))
    )
    fields = records[number - 1]["fields"]
    point = fields if kind == "trace_closed" else fields["trace"]
    if value is None:
        del point[field]
    else:
        point[field] = value
    del records[number - 1]["hash"]
    lines[number - 1] = seal(records[number - 1])[0] + b"\n"
    put(log, lines)
    verdict = verify(log)
    assert verdict.status == "altered"
    assert "chain" in at_line(verdict, number + 1)
    if value is None:
        assert "unreadable" in at_line(verdict, number)


def test_a_missing_trace_that_only_damaged_checkpoints_name_is_found(log):
    for trace in log.glob("trace-*.mcap"):
        trace.unlink()
    put(log, [line.replace(b'"sha256"', b'"sha255"') for line in lines_of(log)])
    assert verify(log).status == "altered"


def test_a_first_record_whose_key_is_none_is_found(log):
    lines = lines_of(log)
    key = json.loads(lines[0])["fields"]["public_key"].encode()
    lines[0] = lines[0].replace(key, b"*" + key[1:])
    put(log, lines)
    verdict = verify(log)
    assert verdict.status == "altered"
    assert {"changed", "unreadable"} <= set(at_line(verdict, 1))


def test_a_changed_record_with_a_new_hash_breaks_the_chain_behind_it(log):
    lines = lines_of(log)
    record = json.loads(lines[5])
    del record["hash"]
    record["fields"] = {"nothing": "to see"}
    lines[5] = seal(record)[0] + b"\n"
    put(log, lines)
    verdict = verify(log)
    assert "chain" in at_line(verdict, 7)
    assert verdict.status == "altered"


def test_a_chain_rewritten_to_its_end_fails_at_the_signatures_and_the_head(log):
    prev, lines = "0" * 64, []
    for line in lines_of(log):
        record = json.loads(line)
        del record["hash"]
        if record["seq"] == 3:
            record["utc"] = record["utc"].replace("2026", "2025")
        record["prev"] = prev
        sealed, prev = seal(record)
        lines.append(sealed + b"\n")
    put(log, lines)
    verdict = verify(log)
    assert {"signature", "rewritten"} <= kinds(verdict)
    first = next(f for f in verdict.findings if f.kind == "signature")
    assert "the signature of segment 1 does not fit" in first.text


def test_a_deleted_record_is_located(log):
    lines = lines_of(log)
    put(log, lines[:6] + lines[7:])
    verdict = verify(log)
    found = next(f for f in verdict.findings if f.kind == "missing")
    assert found.where == "events.jsonl line 7 (seq 7)"
    assert found.text == "records with seq 6 are missing before this one"


def test_an_inserted_copy_is_located(log):
    lines = lines_of(log)
    put(log, [*lines[:6], lines[4], *lines[6:]])
    verdict = verify(log)
    assert "out_of_order" in at_line(verdict, 7)


def test_a_forged_inserted_record_is_located(log):
    lines = lines_of(log)
    record = json.loads(lines[6])
    prev = record["prev"]
    forged = {key: value for key, value in record.items() if key != "hash"}
    forged.update(kind="start", fields={"who": "nobody"}, prev=prev)
    put(log, [*lines[:6], seal(forged)[0] + b"\n", *lines[6:]])
    verdict = verify(log)
    assert "out_of_order" in at_line(verdict, 8)
    assert verdict.status == "altered"


def test_two_swapped_records_are_located(log):
    lines = lines_of(log)
    lines[5], lines[6] = lines[6], lines[5]
    put(log, lines)
    verdict = verify(log)
    assert "missing" in at_line(verdict, 6)
    assert "out_of_order" in at_line(verdict, 7)


def test_a_cut_tail_is_located_by_the_head_beside_the_log(log):
    lines = lines_of(log)
    put(log, lines[:-3])
    verdict = verify(log)
    found = next(f for f in verdict.findings if f.kind == "cut_off")
    assert found.where == f"events.jsonl after line {len(lines) - 3} (seq {len(lines) - 4})"
    assert "3 records were removed" in found.text
    assert "no_end" in kinds(verdict)


def segment_ends(log: Path) -> list[int]:
    return [n for n, line in enumerate(lines_of(log), 1) if b'"kind":"segment"' in line]


def test_whole_segments_cut_with_their_head_are_found_by_the_head_kept_elsewhere(log, master, public):
    expected = json.loads((log / "head.json").read_text())
    ends = segment_ends(log)
    keep = ends[-3]
    put(log, lines_of(log)[:keep])
    (log / "head.json").unlink()
    alone = verify(log, public)
    assert alone.status != "intact"  # no expected-end record
    assert "no_end" in kinds(alone)
    verdict = verify(log, public, expected)
    assert verdict.status == "altered"
    found = next(f for f in verdict.findings if f.kind == "cut_off")
    assert found.where == f"events.jsonl after line {keep} (seq {keep - 1})"


def test_a_segment_cut_out_of_the_middle_is_located(log):
    lines = lines_of(log)
    first, second = segment_ends(log)[1:3]
    put(log, lines[:first] + lines[second:])
    verdict = verify(log)
    assert {"missing", "segments"} <= kinds(verdict)
    found = next(f for f in verdict.findings if f.kind == "missing")
    assert found.where == f"events.jsonl line {first + 1} (seq {second})"
    assert f"seq {first} to {second - 1} are missing" in found.text


def test_an_older_log_in_its_place_is_found_by_the_head_kept_elsewhere(log, master, public, tmp_path):
    story(tmp_path / "newer", master / "log.pem", waves=20)
    expected = tmp_path / "newer" / "head.json"
    verdict = verify(log, public, expected)
    assert verdict.status == "altered"
    assert kinds(verdict) == {"another_log"}
    assert verify(tmp_path / "newer", public, expected).intact


def test_a_part_of_another_session_does_not_fit(log, master, tmp_path):
    story(tmp_path / "other", master / "log.pem", waves=250)
    other = lines_of(tmp_path / "other")
    lines = lines_of(log)
    end = segment_ends(log)[1]
    put(log, lines[:end] + other[end:])
    verdict = verify(log)
    assert "chain" in at_line(verdict, end + 1)
    assert {"signature", "trace_changed"} & kinds(verdict)


def test_another_key_is_refused_by_name(log, tmp_path):
    other = keys.load_or_create_key(tmp_path / "other.pem")
    verdict = verify(log, keys.public_text(other))
    assert verdict.status == "altered"
    assert not verdict.key_trusted
    found = next(f for f in verdict.findings if f.kind == "wrong_key")
    assert found.where == "events.jsonl line 1 (seq 0)"
    assert keys.key_id(other) in found.text


def test_a_log_signed_anew_by_another_key_passes_only_without_the_right_key(log, public, tmp_path):
    """Whoever makes up a whole log is found by the key alone; the verdict says when that was not checked."""
    other = keys.load_or_create_key(tmp_path / "other.pem")
    prev, lines, session = "0" * 64, [], ""
    for line in lines_of(log):
        record = json.loads(line)
        del record["hash"]
        fields = record["fields"]
        if record["kind"] == "session_start":
            fields["public_key"], fields["key_id"] = keys.public_text(other), keys.key_id(other)
            session = fields["session_id"]
        record["prev"] = prev
        if record["kind"] == "segment":
            fields["key_id"] = keys.key_id(other)
            fields["signature"] = keys.sign(other, signed_part(session, fields, prev))
        sealed, prev = seal(record)
        lines.append(sealed + b"\n")
    put(log, lines)
    (log / "head.json").unlink()
    assert verify(log).status == "intact"
    assert any("only consistent with the key inside it" in text for text in verify(log).not_shown)
    assert "wrong_key" in kinds(verify(log, public))


def test_a_torn_last_line_is_incomplete_and_located(log):
    data = (log / "events.jsonl").read_bytes()
    (log / "head.json").unlink()
    (log / "events.jsonl").write_bytes(data[:-20])
    verdict = verify(log)
    assert verdict.status == "incomplete"
    assert {"torn_line", "no_end"} <= kinds(verdict)


def trace_of(log: Path) -> Path:
    return log / "trace-0001.mcap"


def test_any_flipped_bit_of_the_trace_is_found_and_located(log):
    original = trace_of(log).read_bytes()
    random = np.random.default_rng(1)
    for position in random.integers(0, len(original), 25):
        data = bytearray(original)
        data[position] ^= 1 << int(random.integers(0, 8))
        trace_of(log).write_bytes(data)
        verdict = verify(log)
        assert verdict.status == "altered", position
        found = next(f for f in verdict.findings if f.kind == "trace_changed")
        first, last = (int(word) for word in found.where.split("bytes ")[1].split(" (")[0].split(" to "))
        assert first <= position < last


def test_a_cut_trace_is_located(log):
    data = trace_of(log).read_bytes()
    trace_of(log).write_bytes(data[: len(data) // 2])
    verdict = verify(log)
    found = next(f for f in verdict.findings if f.kind == "trace_cut")
    assert found.where.startswith(f"trace-0001.mcap from byte {len(data) // 2} on (after cycle ")
    assert {"cycle_count", "trace_flaw"} <= kinds(verdict)


def test_bytes_after_the_trace_are_found(log):
    with trace_of(log).open("ab") as stream:
        stream.write(b"more")
    verdict = verify(log)
    assert {"trace_tail", "trace_flaw"} <= kinds(verdict)
    assert verdict.status == "altered"


def test_a_missing_and_an_added_trace_are_found(log):
    trace_of(log).rename(log / "trace-0002.mcap")
    verdict = verify(log)
    assert {f.kind: f.where for f in verdict.findings if "trace" in f.kind} == {
        "missing_trace": "trace-0001.mcap",
        "uncovered_trace": "trace-0002.mcap",
    }


@pytest.mark.parametrize("name", ["robot.yaml", "profile.yaml"])
def test_a_changed_or_missing_file_of_the_session_is_found(log, name):
    (log / name).write_bytes((log / name).read_bytes() + b"\n")
    verdict = verify(log)
    assert {f.kind: f.where for f in verdict.findings} == {"changed_file": name}
    (log / name).unlink()
    assert {f.kind: f.where for f in verify(log).findings} == {"missing_file": name}


def test_a_changed_head_is_found(log):
    head = json.loads((log / "head.json").read_text())
    (log / "head.json").write_text(json.dumps({**head, "cycles": 1}))
    assert kinds(verify(log)) == {"head"}
    (log / "head.json").write_text("no head")
    assert kinds(verify(log)) == {"head"}
    (log / "head.json").unlink()
    verdict = verify(log)
    assert kinds(verdict) == {"no_head"}
    assert verdict.intact


def test_a_log_that_begins_later_is_found(log):
    put(log, lines_of(log)[1:])
    verdict = verify(log)
    assert "missing" in at_line(verdict, 1)
    assert verdict.status == "altered"


def test_an_empty_log_and_no_log_at_all(log, tmp_path):
    put(log, [])
    verdict = verify(log)
    assert verdict.status == "altered"
    assert "no readable event" in verdict.summary
    with pytest.raises(LogError, match="No safety log in .*events.jsonl cannot be read"):
        verify(tmp_path / "nothing")
    with pytest.raises(LogError, match="No safety log"):
        read_events(tmp_path / "nothing")
    with pytest.raises(LogError, match="expected head .* cannot be read.*head.json"):
        verify(log, expected_head=tmp_path / "nothing")


def test_garbage_lines_are_called_unreadable_and_left_out_of_the_review(log):
    lines = lines_of(log)
    lines[4] = b"garbage\n"
    put(log, lines)
    assert any(f.kind == "unreadable" and f.where == "events.jsonl line 5" for f in verify(log).findings)
    assert [event["seq"] for event in read_events(log)] == [n for n in range(len(lines)) if n != 4]


def test_the_cycles_in_the_trace_are_the_cycles_of_the_session(log):
    counted = read_events(log)[-1]["fields"]["cycles"]
    assert verify(log).cycles == counted
    assert counted * PERIOD_S > 1.0
