"""Events that waited behind later ones, as after a full disk: no evidence of a clock that was set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robolearn import keys
from robolearn.recorder.event_log import LogWriter
from robolearn.recorder.hash_chain import seal
from robolearn.review.verify import verify

BEGIN_NS, S = 1_800_000_000 * 10**9, 10**9


def written(folder: Path) -> Path:
    """A log in which an event of the first second is stored after one of the ninth."""
    genesis = {
        "session_id": "waiting",
        "deployment_id": "test",
        "mode": "automatic",
        "period_s": 0.002,
        "session": {},
        "robot": {"name": "fr3", "digest": "0"},
        "profile": {"name": "fr3", "digest": "0"},
        "joint_names": ["a", "b"],
        "software": {},
        "files": {},
        "writer": {"heartbeat_s": 10.0},
    }
    (folder / "log").mkdir()
    writer = LogWriter(
        folder / "log", genesis, keys.load_or_create_key(folder / "k.pem"), fsync=lambda _: None
    )
    writer.start(0, BEGIN_NS)
    writer.event("problem", {"text": "the disk refused writes"}, 9 * S)
    writer.event("finding", {"about": "x", "text": "it waited"}, 1 * S)
    writer.event("finding", {"about": "x", "text": "it came after"}, 10 * S)
    writer.close(11 * S, "closed", {})
    return folder / "log"


def clocks(log: Path) -> list[str]:
    return [finding.text for finding in verify(log).findings if finding.kind in ("clock", "time")]


def test_an_event_that_waited_is_no_clock_that_was_set(tmp_path):
    assert clocks(written(tmp_path)) == []


def test_nor_in_a_log_whose_events_kept_the_system_time_of_their_own(tmp_path):
    """As robolearn wrote it before: monotonic time held, system time not."""
    log = written(tmp_path)
    prev, lines = "0" * 64, []
    for line in (log / "events.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        del record["hash"]
        if record["fields"].get("text") == "it waited":
            record["utc"] = record["utc"].replace(":09.", ":01.")
        sealed, prev = seal(record | {"prev": prev})
        lines.append(sealed + b"\n")
    assert b"waited" in b"".join(lines)
    (log / "events.jsonl").write_bytes(b"".join(lines))
    assert clocks(log) == []


@pytest.mark.parametrize("step_s", [5, -5])
def test_a_clock_that_was_set_is_still_found(tmp_path, step_s):
    log = written(tmp_path)
    prev, lines = "0" * 64, []
    for line in (log / "events.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        del record["hash"]
        if record["fields"].get("text") == "it came after":
            record["utc"] = record["utc"].replace(":10.", f":{10 + step_s:02d}.")
        sealed, prev = seal(record | {"prev": prev})
        lines.append(sealed + b"\n")
    (log / "events.jsonl").write_bytes(b"".join(lines))
    assert any("the wall clock was set" in text for text in clocks(log))
