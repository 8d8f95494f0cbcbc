"""A disk that is full while an arm moves: real processes, a refusal of the operating system, and what the review says.

The loop does what `safety_node` does: a log that is not well is a request to stop, in every cycle in which it is not.
"""

from __future__ import annotations

import json
import resource
import time

import pytest
from log_sessions import Session, story
from test_safety_log import until

from robolearn.review.replay import replay
from robolearn.review.report import report_data
from robolearn.review.verify import read_events, verify
from robolearn.safety.types import State, Surroundings

FULL_S = 2.5  # beyond what the review takes for a clock that was set, and several heartbeats


class Watched(Session):
    """A session that asks for a stop while its log is not well."""

    def cycle(self, command=None, surroundings=None):
        if not self.log.healthy:
            surroundings = Surroundings(2.5, self.now_s, stop_requested=True)
        return super().cycle(command, surroundings)


def refuse(session: Session, most: int) -> None:
    """Lets the writer's files grow to `most` bytes, as a small disk would."""
    resource.prlimit(session.log.writer_pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    """A log of an arm that moved until its disk was full, was reset once there was room, and moved again."""
    folder = tmp_path_factory.mktemp("full_disk")
    session = Watched(folder / "log", folder / "log.pem")
    session.start()
    session.wave(100)
    assert session.monitor.state is State.RUNNING
    refuse(session, 1)
    running = 0
    while session.log.healthy and running < 200_000:
        session.wave(20)
        running += 20
    assert "cannot be written: File too large" in session.log.problem
    session.rest()
    assert session.monitor.state is State.STOPPED
    end = time.monotonic() + FULL_S
    while time.monotonic() < end:  # events of this time wait behind what the disk has not taken
        session.log.event("finding", about="a full disk", text="it waited")
        time.sleep(0.1)
    measured = session.measured
    refused = session.monitor.reset(session.now_s, measured, "op-7", "too early")
    session.log.event(
        "reset", now_s=session.now_s, measured=measured, who="op-7", why="too early", answer=refused
    )
    refuse(session, resource.RLIM_INFINITY)
    assert until(lambda: session.log.healthy)
    session.reset("room was made")
    session.start()
    session.wave(100)
    session.log.close()
    return session


@pytest.mark.slow
def test_the_arm_is_stopped_by_the_rule_of_a_stop_request(session):
    stops = [event["fields"] for event in read_events(session.log.directory) if event["kind"] == "stop"]
    assert [[record["rule"] for record in stop["records"]] for stop in stops] == [["stop_request"]]
    assert stops[0]["latched"] is True
    assert session.monitor.state is State.RUNNING


def test_what_happened_is_stored_and_whole(session):
    events = read_events(session.log.directory)
    assert verify(session.log.directory).intact
    waited = [event for event in events if event["fields"].get("text") == "it waited"]
    assert len(waited) >= 20
    problems = [event["fields"]["text"] for event in events if event["kind"] == "problem"]
    assert "the disk refused writes, and accepts them again" in problems


def test_the_review_finds_no_clock_that_was_set(session):
    verdict = verify(session.log.directory)
    assert [
        finding.text for finding in verdict.findings if finding.kind in ("clock", "time", "silence")
    ] == []
    assert "clock" not in [event["kind"] for event in read_events(session.log.directory)]
    page = json.dumps(report_data(session.log.directory, verdict))
    assert "clock was set" not in page
    assert "Clock set back: 0." in page


def test_the_decisions_around_it_are_reproduced(session):
    found = replay(session.log.directory)
    assert found.agrees, found.summary
    assert found.cycles > 200


def test_a_disk_that_was_never_full_says_nothing_of_one(tmp_path):
    story(tmp_path / "log", tmp_path / "log.pem", waves=20)
    kinds = [event["kind"] for event in read_events(tmp_path / "log")]
    assert "problem" not in kinds
