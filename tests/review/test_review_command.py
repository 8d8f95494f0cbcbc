"""`robolearn review --key --head`: what a log cannot say of itself is recognised, from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import run
from log_sessions import QUICK, story

from robolearn import keys
from robolearn.recorder.event_log import Options

MANY_SEGMENTS = Options(**{**vars(QUICK), "segment_events": 5})


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Three logs: two of one key, an older and a newer one, and a third of another key; the keys beside them."""
    root = tmp_path_factory.mktemp("kept")
    story(root / "older", root / "log.pem", waves=40, options=MANY_SEGMENTS)
    story(root / "newer", root / "log.pem", waves=40, options=MANY_SEGMENTS)
    story(root / "forged", root / "other.pem", waves=40, options=MANY_SEGMENTS)
    return root


@pytest.fixture
def log(kept, tmp_path) -> Path:
    """A copy of the newer log, under the name by which a reviewer knows it."""
    shutil.copytree(kept / "newer", tmp_path / "log")
    return tmp_path / "log"


def head_hash(log: Path) -> str:
    return json.loads((log / "head.json").read_text())["hash"]


def cut(log: Path, segments: int) -> None:
    """The last segments are gone, and the head beside the log with them."""
    lines = (log / "events.jsonl").read_bytes().splitlines(keepends=True)
    ends = [n for n, line in enumerate(lines, 1) if b'"kind":"segment"' in line]
    (log / "events.jsonl").write_bytes(b"".join(lines[: ends[-1 - segments]]))
    (log / "head.json").unlink()


def put(log: Path, other: Path) -> None:
    shutil.rmtree(log)
    shutil.copytree(other, log)


def words(text: str) -> str:
    return " ".join(text.split())


def test_what_was_not_checked_is_said(capsys, log):
    status, out, _ = run(capsys, "review", log)
    assert status == 0
    assert "not checked: it is from the log itself. Check it with --key" in words(out)
    assert "not compared with a copy kept elsewhere. Compare it with --head" in words(out)
    assert head_hash(log)[:40] in out.replace("\n", "")


@pytest.mark.parametrize("form", ["file", "hash", "HASH"])
def test_a_log_of_the_key_and_the_head_given_passes_and_says_so(capsys, kept, log, tmp_path, form):
    shutil.copy(log / "head.json", tmp_path / "kept.json")
    head = {"file": tmp_path / "kept.json", "hash": head_hash(log), "HASH": head_hash(log).upper()}[form]
    status, out, _ = run(capsys, "review", log, "--key", kept / "log.pub", "--head", head)
    assert status == 0
    assert "checked: matches the given key" in words(out)
    assert "compared with the one given" in words(out)
    status, out, _ = run(capsys, "review", log, "--key", kept / "log.pub", "--head", head, "--json")
    found = json.loads(out)
    assert (found["key_checked"], found["key_as_expected"], found["head_checked"]) == (True, True, True)
    assert found["head"]["hash"] == head_hash(log)
    assert not any("no public key" in text or "no head kept" in text for text in found["not_shown"])


@pytest.mark.parametrize("form", ["file", "hash"])
def test_an_older_log_in_its_place_is_recognised(capsys, kept, log, form):
    head = kept / "newer" / "head.json" if form == "file" else head_hash(log)
    put(log, kept / "older")
    assert run(capsys, "review", log, "--key", kept / "log.pub")[0] == 0  # it looks the same from inside
    status, out, _ = run(capsys, "review", log, "--key", kept / "log.pub", "--head", head)
    assert status == 1
    assert ("another log was put here" if form == "file" else "no record has the expected hash") in words(out)


def test_a_log_signed_with_another_key_is_recognised(capsys, kept, log):
    put(log, kept / "forged")
    assert run(capsys, "review", log)[0] == 0  # it vouches for its own key
    status, out, _ = run(capsys, "review", log, "--key", kept / "log.pub")
    assert status == 1
    expected = keys.key_id(keys.load_public(kept / "log.pub"))
    assert f"expected key {expected}" in words(out)
    assert "checked: NOT the given key" in words(out)
    found = json.loads(run(capsys, "review", log, "--key", kept / "log.pub", "--json")[1])
    assert (found["key_checked"], found["key_as_expected"]) == (True, False)
    assert not any("no public key was given" in text for text in found["not_shown"])


@pytest.mark.parametrize("form", ["file", "hash"])
def test_segments_cut_off_with_their_head_are_recognised(capsys, kept, log, form):
    head = kept / "newer" / "head.json" if form == "file" else head_hash(log)
    cut(log, segments=1)
    status, out, _ = run(capsys, "review", log, "--head", head)
    assert status == 1
    assert ("were removed" if form == "file" else "truncated before it") in words(out)
    assert "Integrity Altered" in words(out)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--key", "nowhere.pub", "Cannot read the public key"),
        ("--key", "README", "Not an Ed25519 public key"),
        ("--head", "nowhere.json", "Give a copy of a head.json, or its hash"),
        ("--head", "abc123", "Give a copy of a head.json, or its hash"),
        ("--head", "README", "Give a copy of a head.json, or its hash"),
    ],
)
def test_a_key_or_head_that_is_none_is_refused_in_one_line(
    capsys, log, tmp_path, monkeypatch, option, value, message
):
    monkeypatch.chdir(tmp_path)
    Path("README").write_text("neither\n")
    status, _, err = run(capsys, "review", log, option, value)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
