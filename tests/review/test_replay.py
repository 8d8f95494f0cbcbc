"""Replay: the same decisions again, other ones under another profile, and every difference named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from log_sessions import QUICK, Session, story

from robolearn import robots
from robolearn.config import config_path
from robolearn.errors import LogError
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.mcap_file import Chunk, TraceFile, read_trace
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.replay import replay
from robolearn.review.stored import session_start
from robolearn.review.verify import read_events, verify
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("log")
    story(root / "log", root / "log.pem", waves=250)
    return root / "log"


def test_every_recorded_decision_comes_out_again(log):
    seen = []
    found = replay(log, progress=lambda done, total: seen.append((done, total)))
    assert found.agrees
    assert len(found) == 0
    assert list(found) == []
    assert found.rounded == 0
    assert found.cycles == verify(log).cycles
    assert found.verdicts == found.recorded_verdicts
    assert found.summary == f"All {found.cycles} recorded decisions reproduced bit-exactly."
    assert seen[-1] == (found.cycles, found.cycles)


@pytest.mark.parametrize("name", ["fr3+franka_hand", "ur5e+robotiq_2f85", "iiwa14+schunk_egk40"])
def test_an_arm_with_another_gripper_is_recorded_and_replayed_as_that(tmp_path, name):
    session = Session(tmp_path / "log", tmp_path / "log.pem", name=name)
    session.cycle()
    session.start()
    session.wave(50)
    session.rest()
    session.log.close()
    recorded = RecordedLog(tmp_path / "log").made_with
    assert (recorded.robot.name, recorded.robot.digest, recorded.note) == (name, session.robot.digest, "")
    assert verify(tmp_path / "log").intact
    assert replay(tmp_path / "log").agrees


def test_a_robot_that_draws_on_a_file_outside_the_log_is_reviewed_with_the_reviewers_own_copy(tmp_path):
    own = tmp_path / "cell"
    own.mkdir()
    folder = Path(robots.__file__).parent
    shutil.copy(folder / "grippers" / "franka_hand.yaml", own / "hand.yaml")
    (own / "fr3.yaml").write_text((folder / "fr3.yaml").read_text() + "\ngripper: hand.yaml\n")
    session = Session(tmp_path / "log", tmp_path / "log.pem", name=str(own / "fr3.yaml"))
    session.cycle()
    session.log.close()
    with pytest.raises(LogError, match=r"hand\.yaml.*Give your own copy of the robot file.*--robot"):
        _ = RecordedLog(tmp_path / "log").made_with
    assert RecordedLog(tmp_path / "log", own / "fr3.yaml").made_with.note == ""


def test_odd_commands_are_replayed_as_well(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    for _ in range(3):
        session.cycle()
    session.start()
    session.wave(50)
    names = session.robot.joint_names
    session.cycle(Command(names[::-1], session.q[::-1].copy(), session.now_s))
    session.cycle(Command(names[:3], np.zeros(3), session.now_s))
    session.rest()
    session.log.close()
    events = read_events(tmp_path / "log")
    assert [e["fields"]["records"][0]["rule"] for e in events if e["kind"] == "stop"] == ["shape"]
    assert replay(tmp_path / "log").agrees


def altered_profile(tmp_path: Path, **changes) -> Path:
    data = yaml.safe_load(Path(config_path("safety/fr3.yaml")).read_text())
    for key, value in changes.items():
        for part in (data["common"], *data["modes"].values()):
            if part and key in part:
                part[key] = {**part[key], "value": value}
    out = tmp_path / "other.yaml"
    out.write_text(yaml.safe_dump(data))
    return out


def test_another_profile_says_what_it_would_have_done(log, tmp_path):
    other = altered_profile(tmp_path, tcp_speed_max_m_s=0.1, velocity_max_rad_s=[0.2] * 7)
    found = replay(log, other)
    assert found.other_profile
    assert not found.agrees
    assert found.profile == "other"
    assert found.verdicts["LIMIT"] > found.recorded_verdicts["LIMIT"]
    assert "further stops" in found.summary
    first = found.disagreements[0]
    assert first.what == "verdict"
    assert first.recorded == "PASS"
    assert first.replayed.startswith("LIMIT (")


def test_the_same_profile_by_name_is_no_other(log):
    assert replay(log, "fr3").agrees
    assert replay(log, SafetyProfile.load("fr3")).other_profile is False


def test_a_changed_decision_is_located(log, tmp_path):
    """A trace that was rewritten so that a stop looks like a pass (the digests find that as well)."""
    shutil.copytree(log, tmp_path / "log")
    rewrite(tmp_path / "log", flip)
    found = replay(tmp_path / "log")
    assert found.total == 1
    assert found.disagreements[0].cycle == 100
    assert found.disagreements[0].what == "verdict"
    assert found.summary.startswith(f"1 of {found.cycles} decisions differ, the first in cycle 100: ")
    assert verify(tmp_path / "log").status == "altered"


def flip(number: int, data: bytearray) -> None:
    if number == 100:
        start = session_layout().fixed_bytes - 8
        data[start] = 2 - data[start]


def session_layout() -> Layout:
    return Layout(tuple(f"fr3_joint{i}" for i in range(1, 8)))


def rewrite(directory: Path, change) -> None:
    """The trace written anew, every message passed through `change(number, data)`; what is emptied is left out."""
    path = directory / "trace-0001.mcap"
    messages = [m for part in read_trace(path) if isinstance(part, Chunk) for m in part.messages]
    path.unlink()
    trace = TraceFile(path, session_layout(), 0.002, {}, os.write)
    for message in messages:
        data = bytearray(message)
        number = int.from_bytes(message[4:12], "little")
        change(number, data)
        if data:
            trace.add(number, number, bytes(data))
    trace.finish()


def test_differences_after_lost_cycles_are_marked(log, tmp_path):
    shutil.copytree(log, tmp_path / "log")
    rewrite(tmp_path / "log", lambda number, data: data.clear() if 40 <= number < 140 else None)
    found = replay(tmp_path / "log")
    assert found.cycles == verify(log).cycles - 100
    assert found.total > 0
    assert all(one.after_gap for one in found if one.cycle >= 140)


def test_a_log_that_cannot_be_replayed_says_why(log, tmp_path):
    shutil.copytree(log, tmp_path / "log")
    (tmp_path / "log" / "profile.yaml").write_text("a: b\n")
    with pytest.raises(LogError, match="The robot or the profile stored in .* cannot be loaded"):
        replay(tmp_path / "log")
    with pytest.raises(LogError, match="does not begin with session_start"):
        session_start(tmp_path, [])


def test_mode_changes_are_replayed(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem", options=QUICK)
    session.cycle()
    answer = session.monitor.set_mode("manual_reduced", "op-7")
    session.log.event("mode", mode="manual_reduced", who="op-7", now_s=session.now_s, answer=answer)
    refused = session.monitor.set_mode("flying", "op-7")
    session.log.event("mode", mode="flying", who="op-7", now_s=session.now_s, answer=refused)
    assert not refused.accepted
    for _ in range(5):
        session.cycle()
    session.start()
    session.wave(100)
    session.log.close()
    found = replay(tmp_path / "log")
    assert found.agrees, found.disagreements[:2]
