"""What is past its retention time, and nothing earlier, can be removed; a signed tombstone stays."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from log_sessions import QUICK, Session

from robolearn import keys
from robolearn.errors import LogError
from robolearn.recorder import purge as purge_module
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE
from robolearn.recorder.purge import due, purge
from robolearn.recorder.session_chain import entries
from robolearn.review.tombstones import read_tombstones
from robolearn.review.verify import verify
from robolearn.safety.types import Decision, State, Surroundings, Verdict

DAY_S = 86_400
YEAR, FIVE_YEARS = timedelta(days=367), timedelta(days=1827)
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
NAMES = ("a", "b")


def written(directory: Path, key: Path, days: int = 3, *, closed: bool = True) -> Path:
    """A log of some days with a trace file for each, begun in 2020. A cycle and a heartbeat every hour."""
    directory.mkdir(parents=True)
    (directory / "robot.yaml").write_bytes(b"robot")
    signing = keys.load_or_create_key(key)
    genesis = {
        "session_id": directory.name, "mode": "automatic", "session": {}, "software": {}, "deployment_id": "d",
        "joint_names": list(NAMES), "period_s": 0.002,
        "chain": {"number": 1, "previous": None}, "robot": {"name": "r", "digest": "r"},
        "profile": {"name": "p", "digest": "p"}, "writer": {"heartbeat_s": 3600.0},
        "files": {"robot.yaml": purge_module._described(directory / "robot.yaml")},
    }  # fmt: skip
    writer = LogWriter(
        directory, genesis, signing, Options(rotate_s=DAY_S, heartbeat_s=3600.0, segment_s=7200.0)
    )
    epoch_ns = int(BEGIN.timestamp()) * 10**9
    writer.start(0, epoch_ns)
    decision = Decision(Verdict.PASS, np.zeros(2), np.zeros(2), False, State.RUNNING)
    layout = Layout(NAMES)
    for hour in range(days * 24):
        now_ns = hour * 3600 * 10**9
        writer.cycle(layout.pack(hour, now_ns, hour * 3600.0, (), None, Surroundings(), decision))
        if hour == 2:
            (directory / "note.txt").write_bytes(b"n")
            writer.event("attach", {"file": purge_module._described(directory / "note.txt")}, now_ns)
        writer.tick(now_ns, epoch_ns + now_ns)
    if closed:
        writer.close(days * DAY_S * 10**9, "closed", {})
    else:
        writer.flush()
    return directory


def files_of(items) -> list[tuple[str, str]]:
    return [(item.retention, name) for item in items for name in item.files]


def test_nothing_is_due_before_its_time_and_traces_are_due_first(tmp_path):
    written(tmp_path / "logs" / "a", tmp_path / "k.pem")
    traces = ["trace-0001.mcap", "trace-0002.mcap", "trace-0003.mcap"]
    assert due(tmp_path / "logs", BEGIN + timedelta(days=366)) == []
    first = due(tmp_path / "logs", BEGIN + timedelta(days=367, hours=2))
    assert files_of(first) == [("safety_decision_data", traces[0])]
    assert first[0].days == 366
    assert (first[0].newest - BEGIN) // timedelta(hours=1) == 24
    later = due(tmp_path / "logs" / "a", BEGIN + timedelta(days=3) + YEAR)
    assert files_of(later) == [("safety_decision_data", name) for name in traces]
    assert len(due(tmp_path / "logs", BEGIN + timedelta(days=3) + FIVE_YEARS - timedelta(days=2))) == 3
    (last,) = due(tmp_path / "logs", BEGIN + timedelta(days=3) + FIVE_YEARS)
    assert last.retention == "intervention_and_version_log"
    assert last.files == (*traces, "robot.yaml", "note.txt", "head.json", EVENTS_FILE)


def test_a_purged_trace_leaves_a_tombstone_and_the_log_stays_intact(tmp_path):
    log, key = written(tmp_path / "logs" / "a", tmp_path / "k.pem"), keys.load_key(tmp_path / "k.pem")
    for item in due(log, BEGIN + timedelta(days=369))[:2]:
        purge(item, who="op-7", key=key, verified=verify(log).status, reason="a year is over")
    assert [path.name for path in log.glob("trace-*")] == ["trace-0003.mcap"]
    verdict = verify(log, tmp_path / "k.pub")
    assert verdict.intact, verdict.findings
    assert (verdict.cycles, verdict.purged, verdict.losses) == (22, 50, 0)
    assert "22 cycles and 50 purged" in verdict.summary
    purged = [finding for finding in verdict.findings if finding.kind == "purged"]
    assert [finding.where for finding in purged] == ["trace-0001.mcap", "trace-0002.mcap"]
    assert (
        "by op-7, class safety_decision_data (366 days): a year is over; the log was then intact"
        in purged[0].text
    )
    first, second = read_tombstones(log, keys.load_public(tmp_path / "k.pub"))
    assert (first.problem, second.problem) == ("", "")
    assert due(log, BEGIN + timedelta(days=369)) == []


def test_a_log_that_is_purged_to_the_end_keeps_its_place_in_the_chain(tmp_path):
    log, key = written(tmp_path / "logs" / "a", tmp_path / "k.pem"), keys.load_key(tmp_path / "k.pem")
    (before,) = entries(tmp_path / "logs")
    (item,) = due(tmp_path / "logs", BEGIN + timedelta(days=3) + FIVE_YEARS)
    stone = purge(item, who="op-7", key=key, verified="intact", now=BEGIN + timedelta(days=3) + FIVE_YEARS)
    assert stone["utc"].startswith("2025-01-")
    assert [path.name for path in log.iterdir()] == [TOMBSTONES_FILE]
    (after,) = entries(tmp_path / "logs")
    assert after.purged
    assert (after.session_id, after.number, after.seq, after.hash, after.ended) == (
        before.session_id, before.number, before.seq, before.hash, True,
    )  # fmt: skip
    assert due(tmp_path / "logs", BEGIN + timedelta(days=9000)) == []
    with pytest.raises(LogError, match="was purged: tombstones.jsonl records by whom"):
        verify(log)


def test_the_traces_of_a_session_that_goes_on_can_be_purged(tmp_path):
    log = written(tmp_path / "a", tmp_path / "k.pem", closed=False)
    items = due(log, BEGIN + timedelta(days=367, hours=12))
    assert files_of(items) == [("safety_decision_data", "trace-0001.mcap")]
    purge(items[0], who="op-7", key=keys.load_key(tmp_path / "k.pem"), verified="incomplete")
    verdict = verify(log)
    assert verdict.status == "incomplete"
    assert not [finding for finding in verdict.findings if finding.weight == "altered"]


def test_who_may_not_purge_is_told_and_nothing_is_removed(tmp_path):
    log, key = written(tmp_path / "a", tmp_path / "k.pem"), keys.load_key(tmp_path / "k.pem")
    item = due(log, BEGIN + timedelta(days=367, hours=2))[0]
    with pytest.raises(LogError, match="names who makes it"):
        purge(item, who="", key=key, verified="intact")
    other = keys.load_or_create_key(tmp_path / "other.pem")
    with pytest.raises(LogError, match="A tombstone is signed with the key of the log"):
        purge(item, who="op-7", key=other, verified="intact")
    (log / TOMBSTONES_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogError, match="cannot be purged"):
        purge(item, who="op-7", key=key, verified="intact")
    (log / TOMBSTONES_FILE).unlink()
    (log / TOMBSTONES_FILE).write_bytes(b"no json\n")
    with pytest.raises(LogError, match="cannot be purged"):
        purge(item, who="op-7", key=key, verified="intact")
    assert (log / "trace-0001.mcap").is_file()
    assert not (tmp_path / "elsewhere").exists()


def test_the_tombstone_is_stored_before_anything_is_removed(tmp_path, monkeypatch):
    log, key = written(tmp_path / "a", tmp_path / "k.pem"), keys.load_key(tmp_path / "k.pem")
    item = due(log, BEGIN + timedelta(days=367, hours=2))[0]

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LogError, match="Input/output error"):
        purge(item, who="op-7", key=key, verified="intact")
    monkeypatch.undo()
    assert (log / "trace-0001.mcap").is_file()
    # The tombstone says so, the file is there: nothing is wrong, and the next purge removes it.
    assert verify(log).intact
    (again,) = due(log, BEGIN + timedelta(days=367, hours=2))
    purge(again, who="op-7", key=key, verified="intact")
    assert verify(log).intact
    assert not (log / "trace-0001.mcap").exists()


def test_a_folder_without_logs_a_broken_log_and_a_wrong_clock_are_said(tmp_path):
    with pytest.raises(LogError, match="There is no safety log in"):
        due(tmp_path)
    log = written(tmp_path / "a", tmp_path / "k.pem")
    with pytest.raises(LogError, match="Correct the clock"):
        due(log, BEGIN)
    path = log / EVENTS_FILE
    path.write_bytes(path.read_bytes() + b"torn")
    assert due(log) != []
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(LogError, match="cannot be purged: events.jsonl cannot be read"):
        due(log)


def test_a_session_of_today_is_not_due(tmp_path):
    session = Session(tmp_path / "logs" / "s", tmp_path / "log.pem", options=QUICK)
    session.cycle()
    session.log.close()
    assert due(tmp_path / "logs") == []


# -- what a forger would do --


@pytest.fixture
def purged(tmp_path) -> Path:
    log = written(tmp_path / "a", tmp_path / "k.pem")
    for item in due(log, BEGIN + timedelta(days=369))[:2]:
        purge(item, who="op-7", key=keys.load_key(tmp_path / "k.pem"), verified="intact")
    return log


def altered(log: Path) -> dict[str, str]:
    verdict = verify(log)
    assert verdict.status == "altered"
    return {finding.kind: finding.text for finding in verdict.findings if finding.weight == "altered"}


def test_a_trace_that_is_missing_without_a_tombstone_is_altered(purged):
    (purged / TOMBSTONES_FILE).unlink()
    assert "is not there" in altered(purged)["missing_trace"]


def test_a_changed_tombstone_is_found(purged):
    path = purged / TOMBSTONES_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0].replace(b"op-7", b"op-8") + lines[1])
    assert altered(purged)["tombstone"] == "was changed: its hash does not fit"
    path.write_bytes(lines[1])
    assert "does not follow from the one before" in altered(purged)["tombstone"]
    path.write_bytes(b"{}\n" + lines[1])
    texts = [finding.text for finding in verify(purged).findings if finding.kind == "tombstone"]
    assert "is not a valid tombstone" in texts[0]


def resealed(log: Path, change) -> None:
    """The first tombstone changed and sealed anew, as somebody without the key could; the second left out."""
    path = log / TOMBSTONES_FILE
    record = json.loads(path.read_bytes().splitlines()[0])
    record.pop("hash")
    change(record)
    line, _ = purge_module.seal(record)
    path.write_bytes(line + b"\n")


def test_a_tombstone_that_the_key_of_the_log_did_not_sign_is_found(purged):
    resealed(purged, lambda record: record.update(who="op-8"))
    assert "its signature does not fit the key of the log" in altered(purged)["tombstone"]
    resealed(purged, lambda record: record.update(schema="robolearn.tombstone/9"))
    assert "expected robolearn.tombstone/1" in altered(purged)["tombstone"]


def test_a_tombstone_of_another_log_or_of_another_file_is_found(tmp_path):
    key = tmp_path / "k.pem"
    one, other = written(tmp_path / "one", key), written(tmp_path / "other", key)
    item = due(one, BEGIN + timedelta(days=367, hours=2))[0]
    (one / "trace-0001.mcap").write_bytes(b"another file altogether")
    purge(item, who="op-7", key=keys.load_key(key), verified="intact")
    assert "another digest" in altered(one)["purged_another"]
    (other / "trace-0001.mcap").unlink()
    (other / TOMBSTONES_FILE).write_bytes((one / TOMBSTONES_FILE).read_bytes())
    found = altered(other)
    assert "belongs to another session" in found["tombstone"]
    assert "missing_trace" in found


def test_tombstones_that_cannot_be_read_are_said(purged):
    (purged / TOMBSTONES_FILE).unlink()
    (purged / TOMBSTONES_FILE).mkdir()
    assert "cannot be read" in altered(purged)["tombstone"]
