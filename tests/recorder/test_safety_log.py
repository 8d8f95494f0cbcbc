"""The log as a whole: overflow, a full disk, a killed control process, a killed writer, rotation, attachments."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from log_sessions import QUICK, Session, story

from robolearn import keys
from robolearn.config import config_path
from robolearn.errors import LogError
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.recorder.safety_log import SafetyLog
from robolearn.review.verify import read_events, verify
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Decision, State, Surroundings, Verdict

TESTS = Path(__file__).parent.parent


def until(true, seconds: float = 10.0) -> bool:
    """Waits for something another process does."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def kinds_of(directory: Path) -> list[str]:
    return [event["kind"] for event in read_events(directory)]


def test_a_session_from_open_to_close(tmp_path):
    session = story(tmp_path / "log", tmp_path / "log.pem", waves=60)
    events = read_events(tmp_path / "log")
    kinds = [event["kind"] for event in events]
    assert session.kept == session.log.counts["cycles"]
    assert session.log.counts["lost"] == 0
    assert kinds[0] == "session_start"
    assert kinds[-2:] == ["session_end", "segment"]
    assert kinds.count("stop") >= 2
    assert kinds.count("reset") == 2
    start = events[0]["fields"]
    assert start["deployment_id"] == "test-cell"
    assert start["robot"]["digest"] == session.robot.digest
    assert start["profile"]["digest"] == session.profile.digest
    assert start["session"]["operator"] == "op-7"
    assert (tmp_path / "log" / "profile.yaml").read_bytes() != b""
    stop = next(event["fields"] for event in events if event["kind"] == "stop")
    assert stop["records"][0]["rule"] == "finite"
    assert stop["commanded"] == ["nan"] * 7
    segments = [event["fields"] for event in events if event["kind"] == "segment"]
    assert all(segment["digests"]["profile"] == session.profile.digest for segment in segments)
    assert verify(tmp_path / "log", tmp_path / "log.pub").intact


def test_a_closed_log_says_so_and_closes_twice(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    session.cycle()
    session.log.close()
    session.log.close()
    assert not session.log.healthy
    assert "is closed" in session.log.problem
    assert session.log.counts == {"cycles": 1, "lost": 0}


def test_a_failing_program_closes_its_log_and_says_why(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    session.cycle()
    with pytest.raises(RuntimeError, match="broken"), session.log:
        raise RuntimeError("broken")
    end = next(e["fields"] for e in read_events(tmp_path / "log") if e["kind"] == "session_end")
    assert end["reason"] == "the control program failed: RuntimeError: broken"
    assert verify(tmp_path / "log").intact


def open_log(directory: Path, **changes) -> SafetyLog:
    arguments = {
        "robot": load_robot("fr3"),
        "profile": SafetyProfile.load("fr3"),
        "session": {"mode": "automatic", "period_s": 0.002},
        "signing_key": directory.parent / "log.pem",
        "options": QUICK,
    }
    return SafetyLog.open(directory, **{**arguments, **changes})


@pytest.mark.slow
def test_a_log_is_not_opened_where_it_could_not_be_trusted(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("x")
    with pytest.raises(LogError, match="not empty. Every session needs its own directory"):
        open_log(tmp_path / "used")
    with pytest.raises(LogError, match="lacks 'period_s'"):
        open_log(tmp_path / "a", session={"mode": "automatic"})
    with pytest.raises(LogError, match="Cannot make the log directory"):
        open_log(tmp_path / "used" / "file" / "log")
    (tmp_path / "bad.pem").write_text("no key")
    (tmp_path / "bad.pem").chmod(0o600)
    with pytest.raises(
        LogError, match="cannot be opened: The log writer cannot start: .*bad.pem is not a private key"
    ):
        open_log(tmp_path / "b", signing_key=tmp_path / "bad.pem")
    other = tmp_path / "other.yaml"
    other.write_text("a: b\n")
    with pytest.raises(LogError, match="not the file that profile 'fr3'"):
        open_log(tmp_path / "c", profile_file=other)
    own = tmp_path / "own.yaml"
    own.write_bytes(Path(config_path("safety/fr3.yaml")).read_bytes())
    with pytest.raises(LogError, match="The file of profile 'own' is not found. Pass profile_file="):
        open_log(tmp_path / "e", profile=SafetyProfile.load(own))
    open_log(tmp_path / "f", profile=SafetyProfile.load(own), profile_file=own).close()
    open_log(tmp_path / "g", profile_file="fr3").close()
    moved = tmp_path / "moved.yaml"
    facts = load_robot("fr3").path.read_bytes()
    moved.write_bytes(facts + b"\n# a comment changes no fact\n")
    open_log(tmp_path / "h", robot_file=moved).close()
    moved.write_bytes(facts.replace(b"2.62", b"2.61"))
    with pytest.raises(LogError, match="differs from the robot in use"):
        open_log(tmp_path / "d", robot_file=moved)


def test_a_key_may_be_given_as_it_is(tmp_path):
    key = keys.load_or_create_key(tmp_path / "k.pem")
    open_log(tmp_path / "log", signing_key=key).close()
    assert verify(tmp_path / "log", key.public_key()).key_trusted


def test_attachments_are_named_by_digest_and_never_replaced(tmp_path):
    log = open_log(tmp_path / "log")
    assert log.attach("swap", "policy.txt", b"policy", digests={"policy": "ab"}, who="op-7")
    for name in ("../x", "events.jsonl", "trace-1.mcap", "a/b"):
        with pytest.raises(LogError, match="not a file name for an attachment"):
            log.attach("attach", name, b"")
    with pytest.raises(LogError, match="already exists"):
        log.attach("attach", "policy.txt", b"other")
    log.close()
    events = read_events(tmp_path / "log")
    swap = next(event["fields"] for event in events if event["kind"] == "swap")
    assert swap["who"] == "op-7"
    assert swap["file"]["name"] == "policy.txt"
    assert events[-1]["fields"]["digests"]["policy"] == "ab"
    (tmp_path / "log" / "policy.txt").write_bytes(b"Policy")
    assert [finding.kind for finding in verify(tmp_path / "log").findings] == ["changed_file"]


def test_overflow_is_answered_counted_and_admitted(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem", capacity_bytes=64 << 10)
    os.kill(session.log.writer_pid, signal.SIGSTOP)
    for _ in range(400):
        session.cycle()
    kept, seen = session.kept, session.log.counts["cycles"]
    assert 0 < kept < seen
    assert session.log.counts["lost"] == seen - kept
    os.kill(session.log.writer_pid, signal.SIGCONT)
    assert until(lambda: session.log._ring.fill < 0.1)
    session.cycle()
    assert session.kept == kept + 1
    session.log.close()
    losses = [event["fields"] for event in read_events(tmp_path / "log") if event["kind"] == "loss"]
    assert [(loss["first_cycle"], loss["last_cycle"], loss["cycles"]) for loss in losses] == [
        (kept, seen - 1, seen - kept)
    ]
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert verdict.losses == seen - kept
    assert [finding.kind for finding in verdict.findings] == ["loss"]


def test_loss_up_to_the_end_is_admitted_too(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem", capacity_bytes=64 << 10)
    os.kill(session.log.writer_pid, signal.SIGSTOP)
    for _ in range(400):
        session.cycle()
    os.kill(session.log.writer_pid, signal.SIGCONT)
    assert until(lambda: session.log._ring.fill < 0.1)
    session.log.close()
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert verdict.losses == session.log.counts["lost"] > 0


def test_a_writer_that_does_not_move_is_noticed(tmp_path, monkeypatch):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    monkeypatch.setattr("robolearn.recorder.safety_log._STALL_NS", 50_000_000)
    os.kill(session.log.writer_pid, signal.SIGSTOP)
    assert until(lambda: not session.log.healthy)
    assert "has not moved for" in session.log.problem
    session.cycle()
    assert session.kept == 0
    os.kill(session.log.writer_pid, signal.SIGCONT)
    assert until(lambda: session.log.healthy)
    session.log.close()
    assert verify(tmp_path / "log").intact


def test_a_killed_writer_is_noticed_and_loses_what_was_not_flushed_only(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    session.start()
    session.wave(100)
    assert until(lambda: session.log._ring.fill == 0.0)  # everything so far has reached the operating system
    kept = session.kept
    os.kill(session.log.writer_pid, signal.SIGKILL)
    assert until(lambda: "ended (exit status -9)" in session.log.problem)
    session.cycle()
    assert session.kept == kept
    with pytest.raises(LogError, match="was not closed properly"):
        session.log.close()
    verdict = verify(tmp_path / "log", tmp_path / "log.pub")
    assert verdict.status == "incomplete"
    assert {"no_end"} <= {finding.kind for finding in verdict.findings}
    assert not [finding for finding in verdict.findings if finding.weight == "altered"]
    assert verdict.cycles == kept


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 7, 300])
def test_a_control_process_killed_at_any_moment_leaves_everything_it_pushed(tmp_path, after):
    program = f"""
import sys, os, signal
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from log_sessions import Session
session = Session(Path({str(tmp_path / "log")!r}), Path({str(tmp_path / "log.pem")!r}))
session.start()
session.wave({after})
os.write(1, f"{{session.log.writer_pid}} {{session.kept}}".encode())
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    writer, kept = map(int, done.stdout.split())
    assert kept >= after
    assert until(lambda: not Path(f"/proc/{writer}").exists() or _is_zombie(writer))
    verdict = verify(tmp_path / "log", tmp_path / "log.pub")
    assert verdict.cycles == kept
    assert verdict.status == "incomplete"
    assert [finding.kind for finding in verdict.findings] == ["orphaned"]
    assert verdict.ended
    assert verdict.signed_through == verdict.events - 1
    end = next(event["fields"] for event in read_events(tmp_path / "log") if event["kind"] == "session_end")
    assert end["reason"] == "control process gone"


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.05, 0.21])
def test_both_processes_killed_leave_a_log_that_verifies_up_to_there(tmp_path, after_s):
    program = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from log_sessions import Session
session = Session(Path({str(tmp_path / "log")!r}), Path({str(tmp_path / "log.pem")!r}))
session.start()
session.wave(200)
while session.log._ring.fill:
    pass
print(session.log.writer_pid, session.kept, flush=True)
while True:
    session.wave(1)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as control:
        writer, kept = map(int, control.stdout.readline().split())
        time.sleep(after_s)
        os.kill(writer, signal.SIGKILL)
        control.kill()
    verdict = verify(tmp_path / "log", tmp_path / "log.pub")
    assert verdict.status == "incomplete"
    assert "no_end" in {finding.kind for finding in verdict.findings}
    assert not [finding for finding in verdict.findings if finding.weight == "altered"]
    assert verdict.cycles >= kept >= 200


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_does_not_end_the_writer_before_the_control_process(tmp_path, number):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    session.cycle()
    os.kill(session.log.writer_pid, number)
    time.sleep(0.1)
    for _ in range(20):
        session.cycle()
    assert session.log.healthy
    session.log.close("closed by its own process")
    end = next(event["fields"] for event in read_events(tmp_path / "log") if event["kind"] == "session_end")
    assert end["reason"] == "closed by its own process"
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert verdict.cycles == 21


def test_ctrl_c_does_not_reach_the_writer(tmp_path):
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    os.kill(session.log.writer_pid, signal.SIGINT)
    session.cycle()
    assert session.kept == 1
    session.log.close()
    assert verify(tmp_path / "log").intact


def test_too_little_room_holds_the_arm_before_the_disk_is_full(tmp_path):
    options = Options(**{**vars(QUICK), "min_free_bytes": 1 << 60})
    session = Session(tmp_path / "log", tmp_path / "log.pem", options=options)
    assert until(lambda: not session.log.healthy)
    assert "MiB are free for the safety log" in session.log.problem
    assert "The arm is held. Free some space" in session.log.problem
    session.cycle()
    assert session.kept == 0
    session.log.close()
    assert verify(tmp_path / "log").intact


def test_a_file_size_limit_of_the_system_holds_the_arm(tmp_path):
    """A refusal by the real operating system, through the real processes."""
    session = Session(tmp_path / "log", tmp_path / "log.pem")
    resource.prlimit(session.log.writer_pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    session.start()
    session.wave(300)
    assert until(lambda: "cannot be written: File too large" in session.log.problem)
    kept = session.kept
    session.cycle()
    assert session.kept == kept
    resource.prlimit(session.log.writer_pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert until(lambda: session.log.healthy)
    session.log.close()
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert [finding.kind for finding in verdict.findings] == ["problem"]
    assert verdict.cycles == session.log.counts["cycles"]


class Disk:
    """Writes like the system, and refuses as told: after so many more bytes, with an error number."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.error = errno.ENOSPC

    def write(self, descriptor: int, data) -> int:
        if self.room is None:
            return os.write(descriptor, data)
        if self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        count = os.write(descriptor, bytes(data[: self.room]))
        self.room -= count
        return count


SECOND = 1_000_000_000
NAMES = ("a", "b")
LAYOUT = Layout(NAMES)


def payload(number: int, verdict=Verdict.PASS, state=State.RUNNING, latched=False) -> bytes:
    decision = Decision(verdict, np.zeros(2), np.zeros(2), latched, state)
    return LAYOUT.pack(number, number * 2_000_000, number * 0.002, (), None, Surroundings(), decision)


def writer_on(directory: Path, disk: Disk, **options) -> LogWriter:
    directory.mkdir()
    genesis = {
        "session_id": "s1",
        "deployment_id": "d",
        "joint_names": list(NAMES),
        "period_s": 0.002,
        "mode": "automatic",
        "session": {},
        "software": {},
        "robot": {"name": "r", "digest": "r"},
        "profile": {"name": "p", "digest": "p"},
        "files": {},
        "writer": {"heartbeat_s": 1.0},
    }
    key = keys.load_or_create_key(directory.parent / "k.pem")
    writer = LogWriter(directory, genesis, key, Options(**options), write=disk.write)
    writer.start(0, 10**18)
    return writer


@pytest.mark.parametrize("room", [0, 1, 40, 700, 3000])
def test_a_full_disk_keeps_every_byte_in_order_until_there_is_room_again(tmp_path, room):
    disk = Disk()
    writer = writer_on(tmp_path / "log", disk)
    disk.room = room
    refused = 0
    for number in range(1500):
        if number == 700:
            disk.room = None
        if refused < 1 or disk.room is None:
            writer_cycle(writer, number)
        now = number * 2_000_000
        try:
            writer.tick(now, 10**18 + now)
        except OSError:
            refused += 1
    assert refused > 0
    writer.close(3 * SECOND, "closed", {})
    verdict = verify(tmp_path / "log")
    assert [f for f in verdict.findings if f.kind not in ("cycle_gap",)] == []
    assert verdict.ended


def writer_cycle(writer: LogWriter, number: int) -> None:
    with contextlib.suppress(OSError):  # the trace file cannot be made on a full disk
        writer.cycle(payload(number))


@pytest.mark.parametrize("cycles", [0, 100])
def test_a_full_disk_at_the_end_is_overcome_by_closing_again(tmp_path, cycles):
    disk = Disk()
    writer = writer_on(tmp_path / "log", disk)
    for number in range(cycles):
        writer.cycle(payload(number))
    disk.room = 500
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            writer.close(SECOND, "closed", {})
    disk.room = None
    writer.close(SECOND, "closed", {})
    assert verify(tmp_path / "log").intact
    assert kinds_of(tmp_path / "log").count("session_end") == 1


def test_trace_files_rotate_and_verify_across(tmp_path):
    disk = Disk()
    writer = writer_on(tmp_path / "log", disk, rotate_bytes=1000)
    for number in range(3000):
        writer.cycle(payload(number))
        writer.tick(number * 2_000_000, 10**18 + number * 2_000_000)
    writer.close(6 * SECOND, "closed", {})
    names = sorted(path.name for path in (tmp_path / "log").glob("trace-*.mcap"))
    assert names[:2] == ["trace-0001.mcap", "trace-0002.mcap"]
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert verdict.cycles == 3000
    (tmp_path / "log" / names[0]).rename(tmp_path / "x")
    (tmp_path / "log" / names[1]).rename(tmp_path / "log" / names[0])
    (tmp_path / "x").rename(tmp_path / "log" / names[1])
    assert {finding.kind for finding in verify(tmp_path / "log").findings} >= {
        "trace_changed",
        "cycle_gap",
        "cycle_order",
    }


def test_a_step_of_the_wall_clock_is_recorded(tmp_path):
    writer = writer_on(tmp_path / "log", Disk())
    writer.tick(SECOND, 10**18 + SECOND)
    writer.tick(2 * SECOND, 10**18 + 5 * SECOND)
    writer.tick(3 * SECOND, 10**18 + 6 * SECOND)
    writer.close(3 * SECOND, "closed", {})
    events = read_events(tmp_path / "log")
    steps = [event["fields"]["step_s"] for event in events if event["kind"] == "clock"]
    assert steps == [3]
    verdict = verify(tmp_path / "log")
    assert verdict.intact
    assert [finding.kind for finding in verdict.findings] == ["clock"]


def test_silence_is_found(tmp_path):
    writer = writer_on(tmp_path / "log", Disk())
    writer.tick(SECOND, 10**18 + SECOND)
    writer.tick(20 * SECOND, 10**18 + 20 * SECOND)
    writer.close(20 * SECOND, "closed", {})
    verdict = verify(tmp_path / "log")
    assert verdict.status == "incomplete"
    assert [finding.kind for finding in verdict.findings] == ["silence"]
    assert "nothing was recorded for 19.0 s" in verdict.findings[0].text


def test_a_failing_fsync_is_reported(tmp_path):
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "log").mkdir()
    genesis = {
        "session_id": "s",
        "joint_names": list(NAMES),
        "period_s": 0.002,
        "mode": "automatic",
        "session": {},
        "software": {},
        "robot": {"name": "r", "digest": "r"},
        "profile": {"name": "p", "digest": "p"},
        "files": {},
        "writer": {"heartbeat_s": 1.0},
    }
    key = keys.load_or_create_key(tmp_path / "k.pem")
    writer = LogWriter(tmp_path / "log", genesis, key, Options(), fsync=fsync)
    writer.start(0, 10**18)
    writer.tick(SECOND, 10**18 + SECOND)
    assert until(lambda: writer._syncing is not None and writer._syncing.done())
    with pytest.raises(OSError, match="Input/output"):
        writer.tick(2 * SECOND, 10**18 + 2 * SECOND)


def test_segments_come_after_so_many_events_and_soon_after_a_stop(tmp_path):
    writer = writer_on(tmp_path / "log", Disk(), segment_events=10, heartbeat_s=1000.0, segment_s=1000.0)
    for number in range(25):
        writer.event("note", {"n": number}, number)
        writer.tick(number, 10**18)
    writer.cycle(payload(0))
    writer.cycle(payload(1, Verdict.STOP, State.STOPPING, True))
    writer.tick(4_000_000, 10**18 + 4_000_000)
    before = writer._segment
    writer.tick(4_000_000 + SECOND // 10, 10**18 + SECOND // 10)
    assert writer._segment == before + 1
    writer.close(SECOND, "closed", {})
    segments = [
        event["fields"]["records"] for event in read_events(tmp_path / "log") if event["kind"] == "segment"
    ]
    assert segments[1] == 10
    assert verify(tmp_path / "log").intact


def test_a_trace_file_is_not_used_for_longer_than_a_day(tmp_path):
    writer = writer_on(tmp_path / "log", Disk(), rotate_s=2.0)
    for number in range(2000):
        writer.cycle(payload(number))
        writer.tick(number * 2_000_000, 10**18 + number * 2_000_000)
    writer.close(4 * SECOND, "closed", {})
    assert len(list((tmp_path / "log").glob("trace-*.mcap"))) == 2
    verdict = verify(tmp_path / "log")
    assert verdict.intact, verdict.findings
    assert verdict.cycles == 2000


def test_a_trace_opens_with_the_mcap_library(tmp_path):
    from mcap.reader import make_reader

    session = story(tmp_path / "log", tmp_path / "log.pem", waves=30)
    with (tmp_path / "log" / "trace-0001.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        plain = list(reader.iter_messages(topics=["/robolearn/cycle"]))
        blocks = list(reader.iter_messages(topics=["/robolearn/cycle_block"]))
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(plain) + len(blocks)
    counts = [int.from_bytes(message.data[12:16], "little") for _, _, message in blocks]
    assert len(plain) + sum(counts) == session.log.counts["cycles"]
    schema, channel, message = plain[0]
    assert schema is not None
    assert (schema.name, schema.encoding, channel.message_encoding) == (
        "robolearn_msgs/msg/Cycle",
        "ros2msg",
        "cdr",
    )
    assert b"float64[7] sent_position_rad" in schema.data
    assert b"float64[3] wrench_force_n" in schema.data
    assert Layout(session.robot.joint_names).unpack(message.data).number == 0
    head = json.loads((tmp_path / "log" / "head.json").read_text())
    assert head["seq"] == read_events(tmp_path / "log")[-1]["seq"]
