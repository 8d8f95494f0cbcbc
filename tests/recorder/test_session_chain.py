"""Each session names the one before it, whatever lies in the folder beside them."""

import io
import json
import shutil
import signal
from pathlib import Path

import pytest
from log_sessions import QUICK, Session

from robolearn.recorder import session_chain
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE
from robolearn.recorder.session_chain import chain_fields, entries, entry_of, log_folder, session_folders
from robolearn.review.verify import read_events


def session(folder: Path, name: str, *, closed: bool = True) -> Session:
    made = Session(folder / name, folder.parent / "log.pem", options=QUICK)
    made.cycle()
    if closed:
        made.log.close()
    return made


def chain_of(directory: Path) -> dict:
    return read_events(directory)[0]["fields"]["chain"]


@pytest.mark.slow
def test_sessions_are_numbered_and_name_the_last_record_of_the_one_before(tmp_path):
    folder = tmp_path / "logs"
    for name in ("b", "a", "c/safety"):
        session(folder, name)
    assert chain_of(folder / "b") == {"number": 1, "previous": None}
    last = read_events(folder / "b")[-1]
    assert chain_of(folder / "a") == {
        "number": 2,
        "previous": {
            "number": 1,
            "session_id": read_events(folder / "b")[0]["fields"]["session_id"],
            "directory": "b",
            "seq": last["seq"],
            "hash": last["hash"],
            "ended": True,
        },
    }
    assert chain_of(folder / "c" / "safety")["previous"]["directory"] == "a"
    found = entries(folder)
    assert [(entry.number, entry.directory.name, entry.ended) for entry in found] == [
        (1, "b", True), (2, "a", True), (3, "safety", True),
    ]  # fmt: skip
    assert session_folders(folder) == [folder / "a", folder / "b", folder / "c" / "safety"]


def test_a_session_that_was_killed_is_named_as_far_as_it_got(tmp_path):
    folder = tmp_path / "logs"
    killed = session(folder, "killed", closed=False)
    killed.log._process.send_signal(signal.SIGKILL)
    killed.log._process.wait()
    killed.log._release()
    with (folder / "killed" / EVENTS_FILE).open("ab") as stream:
        stream.write(b'"a line that was not')
    session(folder, "next")
    named = chain_of(folder / "next")["previous"]
    last = read_events(folder / "killed")[-1]
    assert (named["seq"], named["hash"], named["ended"]) == (last["seq"], last["hash"], False)


def test_another_deployment_in_the_same_folder_has_a_chain_of_its_own(tmp_path):
    session(tmp_path / "logs", "a")
    assert chain_fields(tmp_path / "logs" / "b", "test-cell")["number"] == 2
    assert chain_fields(tmp_path / "logs" / "b", "another cell") == {"number": 1, "previous": None}
    assert entries(tmp_path / "logs", "another cell") == []


def test_the_log_folder_is_the_one_around_the_sessions():
    assert log_folder(Path("/runs/serve/20261203/safety")) == Path("/runs/serve")
    assert log_folder(Path("/runs/serve/20261203")) == Path("/runs/serve")


@pytest.mark.parametrize("lines", [
    [b""], [b"no json\n"], [b"[]\n"], [b"[" * 2000 + b"\n"], [b"{}\n", b"{}\n"],
    [b'{"fields": {"session_id": "s", "deployment_id": "d", "chain": {"number": 1}}, "utc": "u"}\n'],
    [(b'{"fields": {"session_id": "s", "deployment_id": "d", "chain": {"number": 1, "previous": {"number": "x", '
     b'"session_id": "s", "directory": "d", "seq": 1, "hash": "h", "ended": true}}}, "utc": "u", "seq": 0, '
     b'"hash": "h", "kind": "segment"}\n')],
])  # fmt: skip
def test_what_is_no_session_is_passed_over(tmp_path, lines):
    (tmp_path / "logs" / "x").mkdir(parents=True)
    (tmp_path / "logs" / "x" / EVENTS_FILE).write_bytes(b"".join(lines))
    assert entry_of(tmp_path / "logs" / "x") is None
    assert entries(tmp_path / "logs") == []
    assert chain_fields(tmp_path / "logs" / "y", "d")["number"] == 1


@pytest.mark.parametrize("line", [b"{}\n", b"torn", b'{"session": {}}\n'])
def test_tombstones_that_are_none_make_no_session(tmp_path, line):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / TOMBSTONES_FILE).write_bytes(line)
    assert entry_of(tmp_path / "x") is None
    shutil.rmtree(tmp_path / "x")
    assert entry_of(tmp_path / "x") is None


def test_a_long_log_is_read_from_its_end(tmp_path):
    session(tmp_path / "logs", "a")
    path = tmp_path / "logs" / "a" / EVENTS_FILE
    *first, last = path.read_bytes().splitlines(keepends=True)
    event = json.loads(last)
    filler = json.dumps({**event, "kind": "note", "fields": {"text": "x" * 3000}}).encode() + b"\n"
    path.write_bytes(b"".join([*first, *[filler] * 1000, b"no json at all\n", last, b"torn"]))
    entry = entry_of(tmp_path / "logs" / "a")
    assert entry is not None
    assert (entry.seq, entry.hash, entry.ended) == (event["seq"], event["hash"], True)
    path.write_bytes(b"".join([*first, last.replace(b'"final":true', b'"final":1')]))
    found = entry_of(tmp_path / "logs" / "a")
    assert found is not None
    assert not found.ended


def test_the_last_whole_record_is_found_behind_a_line_that_is_none():
    assert session_chain._last_record(io.BytesIO(b'{"seq": 1}\n{"seq": \n[2]\n{"seq": 3')) == {"seq": 1}
    with pytest.raises(ValueError, match="no record"):
        session_chain._last_record(io.BytesIO(b"nothing\n"))


def test_a_session_that_names_the_one_before_it_in_another_way_is_none():
    named = {"number": "1", "session_id": "a", "directory": "d", "seq": 1, "hash": "h", "ended": True}
    with pytest.raises(TypeError, match="wrong reference"):
        session_chain._previous(named)
    assert session_chain._previous(named | {"number": 1})["number"] == 1
