"""A log folder as a whole: every session is there, or its tombstone says why not."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from log_sessions import QUICK, Session
from typer.testing import CliRunner

from robolearn import keys
from robolearn.cli.app import app
from robolearn.errors import LogError
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE
from robolearn.recorder.purge import due, purge
from robolearn.recorder.session_chain import entries
from robolearn.review.sessions import is_log_folder, review_sessions, session_line

RUN = CliRunner()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """Four sessions in `logs`, the third one unfinished, and their key."""
    folder = tmp_path_factory.mktemp("chain")
    for number in range(1, 5):
        session = Session(folder / "logs" / f"s{number}" / "safety", folder / "log.pem", options=QUICK)
        for _ in range(3):
            session.cycle()
        if number == 3:
            session.log._process.kill()
            session.log._process.wait()
            session.log._release()
        else:
            session.log.close()
    return folder


@pytest.fixture
def logs(recorded, tmp_path) -> Path:
    shutil.copytree(recorded, tmp_path / "copy")
    return tmp_path / "copy" / "logs"


def kinds(found) -> list[tuple[str, str]]:
    return [(finding.kind, finding.where) for finding in found.findings]


def test_every_session_is_reviewed_in_order(logs):
    seen = []
    found = review_sessions(logs, public_key=logs.parent / "log.pub", on_session=seen.append)
    assert seen == found.sessions
    assert [session.number for session in found.sessions] == [1, 2, 3, 4]
    assert [session.passed for session in found.sessions] == [True, True, False, True]
    assert found.findings == []
    assert not found.passed  # the third was killed
    assert "4 sessions: 3 passed, 1 failed; none missing between them" in found.summary
    assert (logs / "s1" / "safety" / "report.html").is_file()
    assert "Incomplete" in found.sessions[2].text
    assert session_line(found.sessions[0]).plain.startswith("   1  ")
    assert json.dumps(found.to_json())
    assert "Sessions" in found.__rich__().plain


@pytest.mark.parametrize(("gone", "text"), [
    (["s2"], "session 2 is missing before this one"),
    (["s1"], "session 1 is missing before this one"),
    (["s1", "s2"], "sessions 1 to 2 are missing before this one"),
])  # fmt: skip
def test_a_session_that_is_missing_is_found(logs, gone, text):
    for name in gone:
        shutil.rmtree(logs / name)
    found = review_sessions(logs)
    assert not found.passed
    assert found.findings[0].kind == "missing_session"
    assert text in found.findings[0].text


def test_a_session_that_was_copied_beside_is_found(logs):
    shutil.copytree(logs / "s2", logs / "s2b")
    found = review_sessions(logs)
    assert ("session_number", "s2b/safety") in kinds(found)


def test_another_session_in_the_place_of_one_is_found(logs, tmp_path):
    session = Session(tmp_path / "elsewhere" / "s1" / "safety", logs.parent / "log.pem", options=QUICK)
    session.cycle()
    session.log.close()
    shutil.rmtree(logs / "s1")
    shutil.copytree(tmp_path / "elsewhere" / "s1", logs / "s1")
    found = review_sessions(logs)
    assert kinds(found) == [("another_session", "s2/safety")]
    assert "it was replaced by another" in found.findings[0].text


def test_a_session_that_was_cut_after_the_next_had_begun_is_found(logs):
    path = logs / "s1" / "safety" / EVENTS_FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    (logs / "s1" / "safety" / "head.json").unlink()
    assert kinds(review_sessions(logs)) == [("rewritten_session", "s2/safety")]


def changed(path: Path, number: int | None, previous: bool) -> None:
    """The first event with another place in the chain. (Its hash does not fit any more; that is another finding.)"""
    first, *others = path.read_bytes().splitlines(keepends=True)
    event = json.loads(first)
    event["fields"]["chain"]["number"] = number
    if not previous:
        event["fields"]["chain"]["previous"] = None
    path.write_bytes(json.dumps(event).encode() + b"\n" + b"".join(others))


def test_a_session_that_says_something_else_of_its_place_is_found(logs):
    changed(logs / "s2" / "safety" / EVENTS_FILE, 2, previous=False)
    assert ("session_number", "s2/safety") in kinds(review_sessions(logs))
    shutil.rmtree(logs / "s1")
    changed(logs / "s3" / "safety" / EVENTS_FILE, 1, previous=True)
    shutil.rmtree(logs / "s2")
    assert ("session_number", "s3/safety") in kinds(review_sessions(logs))


def test_a_session_whose_beginning_cannot_be_read_is_found(logs):
    path = logs / "s2" / "safety" / EVENTS_FILE
    path.write_bytes(b"{\n" + path.read_bytes())
    found = review_sessions(logs)
    assert ("unreadable_session", "s2/safety") in kinds(found)
    assert ("missing_session", "s3/safety") in kinds(found)


def test_sessions_that_ran_at_once_are_noted(logs, monkeypatch):
    first, second, *_ = entries(logs)
    path = second.directory / EVENTS_FILE
    text = path.read_bytes()
    named = json.loads(text.splitlines()[0])["fields"]["chain"]["previous"]
    lines = (first.directory / EVENTS_FILE).read_bytes().splitlines()
    earlier = json.loads(lines[named["seq"] - 1])
    path.write_bytes(
        text.replace(named["hash"].encode(), earlier["hash"].encode()).replace(
            f'"seq":{named["seq"]},"session_id"'.encode(), f'"seq":{earlier["seq"]},"session_id"'.encode()
        )
    )
    found = review_sessions(logs)
    assert ("overlap", "s2/safety") in kinds(found)


def test_two_deployments_in_one_folder_are_two_chains(logs):
    for name in ("s1", "s2", "s3", "s4"):
        path = logs / name / "safety" / EVENTS_FILE
        shutil.copytree(logs / name, logs / f"t{name}")
        path = logs / f"t{name}" / "safety" / EVENTS_FILE
        path.write_bytes(path.read_bytes().replace(b"test-cell", b"other-cell"))
    assert [
        finding for finding in review_sessions(logs).findings if finding.kind != "rewritten_session"
    ] == []


def test_a_head_kept_elsewhere_is_compared_with_its_session(logs, tmp_path):
    head = json.loads((logs / "s2" / "safety" / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(head))
    found = review_sessions(logs, expected_head=tmp_path / "head.json")
    assert [s.review["head_checked"] for s in found.sessions if s.review] == [False, True, False, False]
    last = json.loads((logs / "s4" / "safety" / "head.json").read_text())["hash"]
    assert review_sessions(logs, expected_head=last).sessions[3].passed
    assert not review_sessions(logs, expected_head="0" * 64).sessions[3].passed
    (tmp_path / "head.json").write_text(json.dumps({**head, "session_id": "gone"}))
    found = review_sessions(logs, expected_head=tmp_path / "head.json")
    assert ("missing_session", "the expected head") in kinds(found)
    (tmp_path / "head.json").write_text("no head")
    with pytest.raises(LogError, match="cannot be read"):
        review_sessions(logs, expected_head=tmp_path / "head.json")


def purge_all(logs: Path, name: str) -> None:
    (item,) = due(logs / name / "safety", datetime.now(UTC) + timedelta(days=1827))
    purge(item, who="op-7", key=keys.load_key(logs.parent / "log.pem"), verified="intact")


def test_a_session_that_was_purged_is_not_missing(logs):
    purge_all(logs, "s1")
    purge_all(logs, "s2")
    found = review_sessions(logs, public_key=logs.parent / "log.pub")
    assert found.findings == []
    assert [session.passed for session in found.sessions] == [True, True, False, True]
    assert found.sessions[0].text.startswith("Purged: purged on ")
    assert "by op-7, class intervention_and_version_log (1826 days)" in found.sessions[0].text


def test_a_tombstone_that_somebody_else_signed_is_no_excuse(logs, tmp_path):
    purge_all(logs, "s1")
    other = keys.load_or_create_key(tmp_path / "other.pem")
    assert other
    found = review_sessions(logs, public_key=tmp_path / "other.pub")
    assert not found.sessions[0].passed
    assert "its signature does not fit" in found.sessions[0].text
    path = logs / "s1" / "safety" / TOMBSTONES_FILE
    path.write_bytes(path.read_bytes().replace(b"op-7", b"op-8"))
    assert "was changed" in review_sessions(logs).sessions[0].text


def test_a_log_that_cannot_be_reviewed_does_not_keep_the_others(logs):
    path = logs / "s2" / "safety" / EVENTS_FILE
    path.write_bytes(path.read_bytes().replace(b"robolearn.safety_log/2", b"robolearn.safety_log/1"))
    found = review_sessions(logs)
    assert len(found.sessions) == 4
    assert not found.sessions[1].passed


def test_a_folder_without_logs_is_said(tmp_path):
    assert not is_log_folder(tmp_path)
    with pytest.raises(LogError, match="There is no safety log in"):
        review_sessions(tmp_path)


def test_the_command_reviews_a_log_folder(logs):
    result = RUN.invoke(app, ["review", str(logs)])
    assert result.exit_code == 1
    assert "4 sessions: 3 passed, 1 failed" in result.stdout
    shutil.rmtree(logs / "s4")
    shutil.rmtree(logs / "s3")
    assert RUN.invoke(app, ["review", str(logs)]).exit_code == 0
    result = RUN.invoke(app, ["review", str(logs), "--json"])
    assert json.loads(result.stdout)["passed"]
    assert isinstance(RUN.invoke(app, ["review", str(logs), "--output", "x"]).exception, LogError)


def test_the_command_lists_and_exports(logs, tmp_path):
    result = RUN.invoke(app, ["log", "list", str(logs)])
    assert result.exit_code == 0
    assert "s3/safety" in result.stdout
    assert "not ended" in result.stdout
    rows = json.loads(RUN.invoke(app, ["log", "list", str(logs), "--json"]).stdout)
    assert [row["number"] for row in rows] == [1, 2, 3, 4]
    assert isinstance(RUN.invoke(app, ["log", "list", str(tmp_path)]).exception, LogError)
    out = tmp_path / "cycles.mcap"
    result = RUN.invoke(app, ["log", "export", str(logs / "s1" / "safety"), str(out)])
    assert "3 cycles" in result.stdout
    assert out.stat().st_size > 1000
    for path in (out, tmp_path / "none" / "x.mcap"):
        assert isinstance(
            RUN.invoke(app, ["log", "export", str(logs / "s1" / "safety"), str(path)]).exception, LogError
        )


def test_the_command_purges_only_when_it_is_told_to(logs, monkeypatch):
    assert "No records are past their retention time." in RUN.invoke(app, ["log", "purge", str(logs)]).stdout
    now = datetime.now(UTC) + timedelta(days=1827)
    monkeypatch.setattr("robolearn.cli.log.due", lambda folder: due(folder, now))
    log, words = logs / "s1" / "safety", ["log", "purge", str(logs / "s1" / "safety")]
    result = RUN.invoke(app, words)
    assert "Would remove" in result.stdout
    assert "Nothing was removed" in result.stdout
    assert (log / EVENTS_FILE).is_file()
    words += ["--yes", "--who", "op-7", "--key", str(logs.parent / "log.pem")]
    result = RUN.invoke(app, words)
    assert "Removed" in result.stdout, result.exception
    assert [path.name for path in log.iterdir()] == [TOMBSTONES_FILE]
    other = logs / "s2" / "safety"
    text = (other / EVENTS_FILE).read_bytes()
    (other / EVENTS_FILE).write_bytes(text.replace(b"op-7", b"op-8"))
    words[2] = str(other)
    result = RUN.invoke(app, words)
    assert isinstance(result.exception, LogError)
    assert "Keep altered logs as evidence" in str(result.exception)
    assert (other / EVENTS_FILE).is_file()
