"""An incident is frozen once: the window's cycles and events, versions, digests, a signature."""

import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from log_sessions import story

from robolearn import keys
from robolearn.cli import app as cli
from robolearn.dossier.incident import freeze
from robolearn.errors import LogError
from robolearn.files.digests import file_sha256
from robolearn.recorder.hash_chain import canonical, open_line
from robolearn.review.verify import read_events

KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    story(folder / "safety", folder / "k.pem", waves=60)
    return folder / "safety"


def test_the_folder_has_the_window_and_its_digests_signed(log, tmp_path):
    out = tmp_path / "incident"
    events = read_events(log)
    took_s = 1e-6 * (events[-1]["monotonic_us"] - events[0]["monotonic_us"])  # as fast as this machine is
    about = freeze(log, out, KEY, seconds=took_s / 5)
    whole = freeze(log, tmp_path / "whole", KEY, seconds=1e6)
    written = json.loads((out / "incident.json").read_bytes())
    assert written == json.loads(json.dumps(about))
    assert {"events.jsonl", "cycles.mcap", "robot.yaml", "profile.yaml"} == set(written["files"])
    for name, digest in written["files"].items():
        assert file_sha256(out / name) == digest
    signature = written.pop("signature")
    assert keys.verify(KEY, canonical(written), signature)
    stop = [event for event in events if event["kind"] == "stop"][-1]
    assert (written["event"]["seq"], written["event"]["hash"]) == (stop["seq"], stop["hash"])
    assert 0 < written["cycles"] < whole["cycles"]
    assert written["verification"]["status"] == "intact"
    lines = [open_line(line) for line in (out / "events.jsonl").read_bytes().splitlines()]
    assert all(real == record["hash"] for record, real in lines)
    assert lines[0][0]["kind"] == "session_start"


def test_any_event_may_be_the_middle_and_nothing_is_overwritten(log, tmp_path):
    about = freeze(log, tmp_path / "first", KEY, seq=1, seconds=1e6)
    assert about["event"]["seq"] == 1
    assert len((tmp_path / "first/events.jsonl").read_bytes().splitlines()) == len(read_events(log))
    with pytest.raises(LogError, match="already exists"):
        freeze(log, tmp_path / "first", KEY)
    with pytest.raises(LogError, match="has no event with seq 100000"):
        freeze(log, tmp_path / "second", KEY, seq=100_000)
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError, match="Cannot write"):
        freeze(log, tmp_path / "file" / "x", KEY)


@pytest.mark.parametrize("seconds", [0.0, -3.0, float("nan"), float("inf"), 1e9])
def test_an_excerpt_of_no_length_is_refused_and_nothing_is_written(log, tmp_path, seconds):
    with pytest.raises(LogError, match="length of the excerpt"):
        freeze(log, tmp_path / "x", KEY, seconds=seconds)
    assert not (tmp_path / "x").exists()


def test_the_command_says_first_that_a_log_was_altered(log, tmp_path, capsys):
    altered = shutil.copytree(log, tmp_path / "log")
    for folder, status in ((log, 0), (changed(altered), 1)):
        with pytest.raises(SystemExit) as end:
            cli.main(["incident", str(folder), "-o", str(tmp_path / f"out-{status}")])
        said = capsys.readouterr().out
        assert (end.value.code, said.startswith("WARNING: the log is altered")) == (status, bool(status))
        assert (tmp_path / f"out-{status}" / "incident.json").is_file()


def changed(folder):
    """The log with one number changed."""
    events = folder / "events.jsonl"
    text = events.read_bytes()
    events.write_bytes(text.replace(b'"cycle":0', b'"cycle":1', 1))
    return folder
