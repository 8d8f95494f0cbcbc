"""Hundreds of logs by a hostile signer: each gets its verdict first, and no traceback, no hang, bounded memory."""

from __future__ import annotations

import resource
import shutil
import warnings
from pathlib import Path

import pytest
from hostile_logs import CASES, Forge
from log_sessions import Session

from robolearn.recorder.event_log import Options
from robolearn.review import limits_table, stop_margins
from robolearn.review.review import UNEXPECTED, review_log
from robolearn.safety.types import Surroundings

QUIET = Options(min_free_bytes=0, flush_s=0.01, fsync_s=1.0, heartbeat_s=0.05, segment_s=0.1, poll_s=0.002)
# What no log of robolearn holds, whoever signed it. Of the rest some are strange, and consistent.
NEVER = (
    "files: ",
    "joint_names",
    "trace: ",
    "robot.yaml",
    "profile.yaml",
    "model: ",
    "head.json",
    "a line",
    "a number",
    "not UTF-8",
    "fields deep 300",
    "fields a list",
    "no start",
    "two starts",
    "stop records",
    "session null",
)
MEMORY_BYTES = 512 << 20  # that one review may add


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A short session with a stop, a reset and a start."""
    root = tmp_path_factory.mktemp("honest")
    session = Session(root / "log", root / "log.pem", options=QUIET)
    session.cycle()
    session.start()
    session.wave(60)
    session.cycle(None, Surroundings(2.5, session.now_s, stop_requested=True))
    session.rest(200)
    session.reset("it was a test")
    session.cycle()
    session.start()
    session.wave(20)
    session.log.event("finding", about="x", text="nothing")
    session.log.event("test", text="a button was pressed")
    session.log.close()
    return root / "log"


@pytest.fixture(autouse=True)
def few_looks(monkeypatch):
    """What is computed again takes most of the time, and a few cycles of it show as much."""
    again = limits_table.look_again

    def fewer(statistics, *rest):
        statistics.looks = statistics.looks[:3]
        again(statistics, *rest)

    monkeypatch.setattr("robolearn.review.report.look_again", fewer)
    monkeypatch.setattr("robolearn.review.report.LOOKS", 10)
    assert stop_margins.LOOKS


@pytest.fixture
def bounded_memory():
    """An allocation beyond the budget fails, as it would on a small computer."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_the_honest_log_passes(honest):
    assert review_log(honest).passed


def test_signing_anew_changes_nothing(honest, tmp_path):
    shutil.copytree(honest, tmp_path / "log")
    Forge(tmp_path / "log").sign()
    assert review_log(tmp_path / "log").passed


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_log_gets_its_verdict_and_no_traceback(honest, tmp_path, name, bounded_memory):
    folder = tmp_path / "log"
    shutil.copytree(honest, folder)
    CASES[name](Forge(folder))
    verdicts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        review = review_log(folder, tmp_path / "report.html", on_verdict=verdicts.append)
    assert verdicts == [review.verdict]
    said = [review.verdict.summary, *review.not_done.values()]
    assert not any(UNEXPECTED in text for text in said)
    assert not any("MemoryError" in text for text in said)
    assert not (name.startswith(NEVER) and review.passed)
    assert (review.report is None) == ("report" in review.not_done)
