"""The parts of the log writer in one process: the ring, the rounds, the episodes, the files, the start."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import shutil
import signal
import struct
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mcap.reader import make_reader

from robolearn import keys
from robolearn.errors import LogError
from robolearn.recorder import safety_log as log_module
from robolearn.recorder import shm_queue as ring_module
from robolearn.recorder import writer_process as writer_module
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.episodes import Episodes
from robolearn.recorder.event_log import LogWriter, Options
from robolearn.recorder.mcap_file import (
    MAGIC,
    SCORE_TOPIC,
    AppendFile,
    Chunk,
    Flaw,
    TraceFile,
    export_cycles,
    read_trace,
)
from robolearn.recorder.safety_log import SafetyLog
from robolearn.recorder.shm_queue import Ring
from robolearn.review.verify import read_events, verify
from robolearn.safety.types import Command, Decision, Measured, Record, State, Surroundings, Verdict

SECOND = 1_000_000_000
NAMES = ("a", "b")
LAYOUT = Layout(NAMES)
GENESIS = {
    "session_id": "s1",
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


def payload(
    number, verdict=Verdict.PASS, state=State.RUNNING, latched=False, rules=(), ns=None, source=None
) -> bytes:
    records = tuple(
        Record(rule, 2.0, 1.0, margin, "1", "test", "text", where) for rule, where, margin in rules
    )
    decision = Decision(verdict, np.zeros(2), np.zeros(2), latched, state, records)
    ns = number * 2_000_000 if ns is None else ns
    commands = [] if source is None else [Command(NAMES, np.zeros(2), number * 0.002, None, source)]
    return LAYOUT.pack(number, ns, number * 0.002, commands, None, Surroundings(), decision)


def rings(capacity: int) -> tuple[Ring, Ring]:
    producer = Ring.create(capacity)
    return producer, Ring.attach(os.dup(producer.descriptor))


# -- the ring --


def test_messages_come_out_as_they_went_in_across_many_rounds():
    producer, consumer = rings(1 << 10)
    random = np.random.default_rng(0)
    sent, got = [], []
    for n in range(2000):
        message = random.bytes(int(random.integers(0, 120)))
        while not producer.push(n % 3, message):
            got += list(consumer.read(int(random.integers(1, 5))))
            consumer.commit()
        sent.append((n % 3, message))
    while consumer.unread:
        got += list(consumer.read())
    assert got == sent
    assert consumer.skip() == 0
    producer.close()
    consumer.close()


def test_what_is_read_but_not_committed_is_still_there_for_another_consumer():
    producer, consumer = rings(1 << 10)
    producer.push(ring_module.CYCLE, b"one")
    assert list(consumer.read()) == [(ring_module.CYCLE, b"one")]
    successor = Ring.attach(os.dup(producer.descriptor))
    assert list(successor.read()) == [(ring_module.CYCLE, b"one")]
    successor.commit()
    assert producer.fill == 0.0


def test_eight_bytes_left_at_the_end_are_skipped():
    producer, consumer = rings(80)
    for n in range(40):
        assert producer.push(ring_module.EVENT, bytes([n] * 8))
        assert list(consumer.read()) == [(ring_module.EVENT, bytes([n] * 8))]
        consumer.commit()


def test_a_full_ring_refuses_and_changes_nothing():
    producer, consumer = rings(256)
    accepted = 0
    while producer.push(ring_module.EVENT, b"x" * 40):
        accepted += 1
    before = producer.fill
    assert not producer.push(ring_module.EVENT, b"x" * 40)
    assert producer.fill == before
    assert len(list(consumer.read())) == accepted


@pytest.mark.parametrize("offset", [0, 4, 8, 9, 20])
def test_a_damaged_message_is_never_taken_for_one(offset):
    producer, consumer = rings(256)
    producer.push(ring_module.EVENT, b"payload of it")
    producer._data[offset] ^= 1
    assert list(consumer.read()) == []
    assert consumer.unread > 0
    assert consumer.skip() > 0
    producer.push(ring_module.EVENT, b"next")
    assert list(consumer.read()) == [(ring_module.EVENT, b"next")]


def test_both_sides_see_the_same_words():
    producer, consumer = rings(256)
    consumer.tell(ring_module.FAILED, "disk é" * 400)
    consumer.beat_ns = 7
    producer.lost = 3
    assert (producer.status, producer.beat_ns, consumer.lost) == (ring_module.FAILED, 7, 3)
    assert producer.problem.startswith("disk é")
    assert len(producer.problem.encode()) <= 1003
    consumer.tell(ring_module.WRITING)
    assert producer.problem == ""


# -- the rounds --


class Rig:
    """A writer service on a ring, with a disk that can refuse and a parent that can die."""

    def __init__(self, directory: Path, capacity: int = 1 << 16, **options) -> None:
        directory.mkdir()
        self.directory = directory
        self.refuse: int | None = None
        self.living = True
        self.now = 0
        key = keys.load_or_create_key(directory.parent / "k.pem")
        options = {"min_free_bytes": 0, **options}
        self.writer = LogWriter(directory, GENESIS, key, Options(**options), write=self.write)
        self.writer.start(0, 10**18)
        self.ring, consumer = rings(capacity)
        self.service = writer_module.Service(consumer, self.writer, lambda: self.living)

    def write(self, descriptor, data) -> int:
        if self.refuse is not None:
            raise OSError(self.refuse, os.strerror(self.refuse))
        return os.write(descriptor, data)

    def rounds(self, count: int = 1, step: int = 60_000_000) -> bool:
        going = True
        for _ in range(count):
            self.now += step
            going = going and self.service.round(self.now, 10**18 + self.now)
        return going

    def push(self, *numbers: int) -> None:
        for number in numbers:
            assert self.ring.push(ring_module.CYCLE, payload(number))

    def end(self, reason: str = "closed") -> None:
        self.ring.push(ring_module.END, json.dumps({"reason": reason, "fields": {"by": "test"}}).encode())

    def kinds(self) -> list[str]:
        return [event["kind"] for event in read_events(self.directory)]


def test_a_service_stores_what_is_pushed_and_ends_when_told(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0, 1)
    note = {"kind": "swap", "fields": {"n": 1}, "monotonic_ns": 5, "digests": {"policy": "q"}}
    rig.ring.push(ring_module.EVENT, json.dumps(note).encode())
    assert rig.rounds(3)
    assert rig.ring.status == ring_module.WRITING
    assert rig.ring.fill == 0.0
    rig.push(2)
    rig.end()
    assert not rig.rounds()
    verdict = verify(rig.directory)
    assert verdict.intact
    assert verdict.cycles == 3
    last = read_events(rig.directory)[-1]["fields"]
    assert last["digests"] == {"robot": "r", "profile": "p", "policy": "q"}


def test_an_orphaned_service_stores_the_rest_and_says_so(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0, 1)
    rig.living = False
    assert not rig.rounds()
    assert "writer_orphaned" in rig.kinds()
    assert verify(rig.directory).cycles == 2


def test_a_refusing_disk_is_told_and_nothing_is_lost(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0)
    rig.rounds(2)
    rig.refuse = errno.ENOSPC
    rig.push(1, 2)
    assert rig.rounds(3)
    assert rig.ring.status == ring_module.FAILED
    assert "cannot be written: No space left on device. The arm is held. Free some space" in rig.ring.problem
    rig.push(3)
    assert rig.rounds(20, step=SECOND)
    assert rig.ring.fill > 0
    rig.refuse = None
    rig.rounds(3)
    assert rig.ring.status == ring_module.WRITING
    rig.end()
    assert not rig.rounds(3)
    verdict = verify(rig.directory)
    assert verdict.cycles == 4
    assert verdict.intact
    assert "problem" in {finding.kind for finding in verdict.findings}


def test_a_trace_that_cannot_be_opened_does_not_cost_its_first_cycle(tmp_path, monkeypatch):
    rig = Rig(tmp_path / "log")
    open_trace = rig.writer._open_trace
    monkeypatch.setattr(
        rig.writer, "_open_trace", lambda: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    rig.push(0, 1)
    rig.rounds(2)
    assert rig.ring.status == ring_module.FAILED
    monkeypatch.setattr(rig.writer, "_open_trace", open_trace)
    rig.rounds(3)
    rig.end()
    rig.rounds(2)
    assert verify(rig.directory).cycles == 2


def test_a_rotation_that_the_disk_refuses_is_finished_later(tmp_path):
    rig = Rig(tmp_path / "log", rotate_bytes=100, heartbeat_s=0.1)
    rig.push(0)
    rig.rounds()
    rig.push(1)
    real = rig.write
    trace = rig.writer._trace
    assert trace is not None

    def refuse_the_end(descriptor, data):
        if trace.finishing and rig.refuse is None and descriptor == trace.file.descriptor:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, data)

    trace.file._write = refuse_the_end
    rig.rounds(2, step=SECOND)
    assert rig.ring.status == ring_module.FAILED
    trace.file._write = real
    rig.push(2)
    rig.rounds(3)
    rig.end()
    rig.rounds(2)
    verdict = verify(rig.directory)
    assert verdict.cycles == 3
    assert verdict.intact


def test_a_disk_that_lost_what_it_had_taken_stays_a_failure(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0)
    rig.refuse = errno.EIO
    rig.rounds(2)
    rig.refuse = None
    rig.rounds(30, step=SECOND)
    assert rig.ring.status == ring_module.FAILED
    assert "Input/output error" in rig.ring.problem
    rig.push(1)
    rig.end()
    assert not rig.rounds(2)
    verdict = verify(rig.directory)
    assert verdict.cycles == 2
    assert ["the disk reports an error" in finding.text for finding in verdict.findings] == [True]


def _shorten(directory: Path) -> None:
    (directory / "events.jsonl").write_bytes(b"")


def _replace(directory: Path) -> None:
    copy = directory / "copy"
    copy.write_bytes((directory / "trace-0001.mcap").read_bytes())
    copy.replace(directory / "trace-0001.mcap")


def _append(directory: Path) -> None:
    with (directory / "events.jsonl").open("ab") as stream:
        stream.write(b"{}\n")


def _move(directory: Path) -> None:
    directory.rename(directory.parent / "elsewhere")


@pytest.mark.parametrize(("change", "message"), [
    (_shorten, "events.jsonl has 0 bytes, but "),
    (_append, "events.jsonl has "),
    (_replace, "trace-0001.mcap was removed or replaced"),
    (lambda directory: (directory / "events.jsonl").unlink(), "events.jsonl was removed or replaced"),
    (shutil.rmtree, "events.jsonl was removed or replaced"),
    (_move, "events.jsonl was removed or replaced"),
])  # fmt: skip
def test_a_log_that_somebody_else_changes_is_a_failure_and_stays_one(tmp_path, change, message):
    rig = Rig(tmp_path / "log")
    rig.push(0)
    rig.rounds(2)
    assert rig.ring.status == ring_module.WRITING
    change(rig.directory)
    rig.rounds(2)
    assert rig.ring.status == ring_module.FAILED
    assert f"Another process changed the safety log in {rig.directory}: {message}" in rig.ring.problem
    rig.push(1)
    assert rig.rounds(30, step=SECOND)
    assert rig.ring.status == ring_module.FAILED
    assert rig.ring.fill == 0.0  # the writer goes on with what is left of it
    rig.end()
    assert not rig.rounds(2)


def test_what_comes_after_a_change_is_kept_and_the_review_sees_the_change(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0)
    rig.rounds(2)
    _shorten(rig.directory)
    rig.push(1)
    rig.end()
    assert not rig.rounds(3)
    verdict = verify(rig.directory)
    assert verdict.status == "altered"
    assert b"another process changed the log" in (rig.directory / "events.jsonl").read_bytes()


def test_an_orphan_gives_a_dead_disk_up_after_a_minute(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.refuse = errno.ENOSPC
    assert rig.rounds(3, step=SECOND)
    rig.living = False
    assert rig.rounds(59, step=SECOND)
    assert not rig.rounds(5, step=SECOND)


def test_a_message_that_never_becomes_whole_is_passed_over_with_a_loss_record(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.push(0)
    rig.ring._data[40] ^= 1
    rig.rounds(3, step=1)
    assert "loss" not in rig.kinds()
    rig.rounds(3, step=SECOND)
    rig.push(1)
    rig.rounds(2)
    rig.end()
    rig.rounds(2)
    loss = next(event["fields"] for event in read_events(rig.directory) if event["kind"] == "loss")
    assert loss["bytes"] > 0
    verdict = verify(rig.directory)
    assert [finding.kind for finding in verdict.findings if finding.weight == "altered"] == ["cycle_gap"]


def test_too_little_room_is_told(tmp_path):
    rig = Rig(tmp_path / "log", min_free_bytes=1 << 60)
    rig.rounds(3)
    assert rig.ring.status == ring_module.FAILED
    assert "MiB are free for the safety log" in rig.ring.problem


def test_a_spell_of_limiting_with_nothing_behind_it_is_recorded_by_the_next_heartbeat(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.ring.push(ring_module.CYCLE, payload(0, Verdict.LIMIT, rules=[("v", "a", -1.0)]))
    rig.rounds(3, step=SECOND)
    assert "limit" in rig.kinds()


def test_the_disk_is_not_asked_to_sync_while_it_still_does(tmp_path):
    entered, leave = threading.Event(), threading.Event()
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        entered.set()
        leave.wait(10)

    rig = Rig(tmp_path / "log", fsync_s=0.01)
    rig.writer._fsync = fsync
    rig.rounds()
    assert entered.wait(10)
    rig.rounds(5)
    assert len(calls) == 1
    leave.set()
    rig.end()
    rig.rounds()
    assert verify(rig.directory).intact


def test_an_open_spell_of_limiting_is_recorded_at_the_end(tmp_path):
    rig = Rig(tmp_path / "log")
    rig.ring.push(ring_module.CYCLE, payload(0, Verdict.LIMIT, rules=[("v", "a", -1.0)]))
    rig.end()
    rig.rounds()
    assert rig.kinds().count("limit") == 1
    assert verify(rig.directory).intact


def test_a_round_with_nothing_due_writes_nothing(tmp_path):
    rig = Rig(tmp_path / "log")
    before = (rig.directory / "events.jsonl").stat().st_size
    rig.rounds(3, step=1)
    assert (rig.directory / "events.jsonl").stat().st_size == before


# -- the process --


def order_for(directory: Path, ring: Ring, **changes) -> dict:
    directory.mkdir(exist_ok=True)
    order = {
        "directory": str(directory),
        "genesis": GENESIS,
        "ring": os.dup(ring.descriptor),
        "options": {"min_free_bytes": 0, "poll_s": 0.001, "unknown": 1},
        "parent": os.getppid(),
        "key_path": str(directory.parent / "k.pem"),
    }
    return {**order, **changes}


@pytest.fixture
def run_main(monkeypatch):
    """Runs the writer's main in this process; an empty standard input is a control process that has ended."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXFSZ)
    saved = {number: signal.getsignal(number) for number in numbers}
    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)

    def run(order: dict, *, alive: bool = False) -> int:
        monkeypatch.setattr(
            "sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(order).encode() + b"\n"))
        )
        if not alive:
            os.close(writing)
        return writer_module.main()

    yield run
    os.dup2(kept, 0)
    for number, handler in saved.items():
        signal.signal(number, handler)


def test_the_process_serves_until_its_parent_ends(tmp_path, run_main):
    ring = Ring.create(1 << 14)
    ring.push(ring_module.CYCLE, payload(0))
    assert run_main(order_for(tmp_path / "log", ring)) == 0
    assert ring.status == ring_module.ENDED
    assert verify(tmp_path / "log", tmp_path / "k.pub").cycles == 1


def test_the_process_notices_another_parent(tmp_path, run_main):
    ring = Ring.create(1 << 14)
    assert run_main(order_for(tmp_path / "log", ring, parent=1 << 30), alive=True) == 0
    assert "writer_orphaned" in [event["kind"] for event in read_events(tmp_path / "log")]


def test_the_process_ends_when_told(tmp_path, run_main, monkeypatch):
    ring = Ring.create(1 << 14)
    end = json.dumps({"reason": "closed", "fields": {}}).encode()
    monkeypatch.setattr(writer_module.time, "sleep", lambda _: ring.push(ring_module.END, end))
    pem = base64.b64encode(keys.private_pem(keys.load_or_create_key(tmp_path / "k.pem"))).decode()
    order = order_for(tmp_path / "log", ring, key_pem=pem)
    del order["key_path"]
    assert run_main(order, alive=True) == 0
    assert verify(tmp_path / "log", tmp_path / "k.pub").intact


def test_a_process_that_cannot_start_says_why(tmp_path, run_main):
    ring = Ring.create(1 << 14)
    order = order_for(tmp_path / "log", ring)
    (tmp_path / "log" / "events.jsonl").write_text("")
    assert run_main(order) == 2
    assert ring.status == ring_module.FAILED
    assert "The log writer cannot start: " in ring.problem
    assert "File exists" in ring.problem


# -- episodes --


def seen(*cycles: bytes, close_at: int | None = None, force: bool = False) -> list[tuple[str, dict]]:
    episodes = Episodes(LAYOUT)
    found = []
    for number, data in enumerate(cycles):
        found += list(episodes.see(number, data))
    found += list(episodes.close(10**18 if close_at is None else close_at, force))
    return found


def test_nothing_follows_from_cycles_that_pass():
    assert seen(*(payload(n) for n in range(10))) == []


def test_a_spell_of_limiting_is_one_event_with_the_worst_of_each_rule_and_place():
    limited = [payload(n, Verdict.LIMIT, rules=[("v", "a", -n / 10), ("v", "b", -1.0)]) for n in range(3)]
    [(kind, found)] = seen(*limited)
    assert kind == "limit"
    assert (found["first_cycle"], found["last_cycle"], found["cycles"]) == (0, 2, 3)
    assert found["duration_s"] == pytest.approx(0.004)
    assert [(r["where"], r["margin"], r["cycles"]) for r in found["records"]] == [
        ("a", -0.2, 3),
        ("b", -1.0, 3),
    ]


def test_a_quiet_time_ends_a_spell_and_a_long_one_is_cut():
    one = [payload(0, Verdict.LIMIT), payload(1, ns=SECOND), payload(2, Verdict.LIMIT, ns=SECOND + 1)]
    assert [kind for kind, _ in seen(*one)] == ["limit", "limit"]
    two = [payload(0, Verdict.LIMIT), payload(1, Verdict.LIMIT, ns=SECOND)]
    assert [found["cycles"] for _, found in seen(*two)] == [1, 1]
    long = [payload(n, Verdict.LIMIT, ns=n * SECOND // 10) for n in range(80)]
    assert [found["cycles"] for _, found in seen(*long)] == [51, 29]
    short = [payload(0, Verdict.LIMIT), payload(1)]
    assert seen(*short, close_at=0) == []
    assert [kind for kind, _ in seen(*short, close_at=0, force=True)] == ["limit"]


def test_the_first_and_every_new_source_of_commands_is_an_event():
    old, new = "policy:" + "a" * 64, "policy:" + "b" * 64
    found = seen(
        payload(0),
        payload(1, source=old),
        payload(2, source=old),
        payload(3),
        payload(4, source=old),
        payload(5, source=f"{old}+{new}"),
        payload(6, Verdict.STOP, State.STOPPING, latched=True, source="rogue" * 100),
    )
    assert [kind for kind, _ in found] == ["command_source"] * 3 + ["stop"]
    assert found[0][1] == {
        "source": old,
        "policy_digest": "a" * 64,
        "before": None,
        "at_cycle": 1,
        "now_s": 0.002,
        "state": "running",
    }
    assert (found[1][1]["policy_digest"], found[1][1]["before"]) == ("b" * 64, old)
    assert (found[2][1]["source"], found[2][1]["policy_digest"]) == (("rogue" * 100)[:300], None)
    assert found[2][1]["state"] == "stopping"


def test_two_publishers_in_turn_do_not_fill_the_log_while_nothing_is_followed():
    still = {"verdict": Verdict.STOP, "state": State.HOLDING}
    turns = [payload(n, **still, ns=n * SECOND // 100, source="ab"[n % 2]) for n in range(300)]
    found = seen(*turns, payload(300, ns=3 * SECOND, source="c"), payload(301, ns=3 * SECOND, source="d"))
    sources = [fields["source"] for kind, fields in found if kind == "command_source"]
    assert sources == ["a", "b", "a", "c", "d"]


def test_a_stop_is_one_event_and_each_further_rule_one_more():
    stopping = {"verdict": Verdict.STOP, "state": State.STOPPING, "latched": True}
    found = seen(
        payload(0, Verdict.LIMIT),
        payload(1, **stopping, rules=[("age", "", -1.0)]),
        payload(2, **stopping, rules=[("age", "", -2.0)]),
        payload(3, **stopping, rules=[("drift", "a", -2.0)]),
        payload(4, **stopping),
        payload(5, Verdict.STOP, State.HOLDING),
        payload(6),
        payload(7, Verdict.STOP, State.HOLDING),
    )
    assert [kind for kind, _ in found] == ["limit", "stop", "stop_cause", "stop"]
    assert found[1][1]["at_cycle"] == 1
    assert found[1][1]["records"][0]["rule"] == "age"
    assert found[2][1]["records"][0]["rule"] == "drift"
    assert found[3][1]["stop"] == 2


def test_a_stop_right_after_a_reset_is_an_event_of_its_own(tmp_path):
    rig = Rig(tmp_path / "log")
    stopped = {
        "verdict": Verdict.STOP,
        "state": State.STOPPED,
        "latched": True,
        "rules": [("drift", "a", -1.0)],
    }
    for number, answer in enumerate(({"accepted": True}, {"accepted": False}, None, {"accepted": True})):
        rig.ring.push(ring_module.CYCLE, payload(number, **stopped))
        note = {"kind": "reset", "fields": {"answer": answer}, "monotonic_ns": 5, "digests": {}}
        rig.ring.push(ring_module.EVENT, json.dumps(note).encode())
    rig.ring.push(ring_module.CYCLE, payload(4, **stopped))
    rig.end()
    rig.rounds(2)
    stops = [event["fields"]["at_cycle"] for event in read_events(rig.directory) if event["kind"] == "stop"]
    assert stops == [0, 1, 4]


# -- files --


def test_a_file_goes_on_at_the_byte_where_the_disk_refused(tmp_path):
    room = [3]

    def write(descriptor, data) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "full")
        count = os.write(descriptor, bytes(data[: room[0]]))
        room[0] -= count
        return count

    file = AppendFile(tmp_path / "f", write)
    file.write(b"abcdef")
    with pytest.raises(OSError, match="full"):
        file.flush()
    assert (file.size, file.stored) == (6, 3)
    file.write(b"gh")
    room[0] = 100
    file.close()
    assert (tmp_path / "f").read_bytes() == b"abcdefgh"


def parts_of(path: Path) -> list[Chunk | Flaw]:
    return list(read_trace(path))


@pytest.fixture
def whole(tmp_path) -> tuple[Path, bytes, list[Chunk]]:
    """A trace of a plain cycle and two blocks: its path, its bytes, its parts."""
    path = tmp_path / "t.mcap"
    trace = TraceFile(path, LAYOUT, 0.002, {}, os.write)
    for number in range(7):
        trace.add(number, number, payload(number))
        if number % 3 == 0:
            trace.flush()
    trace.finish()
    parts = parts_of(path)
    assert all(isinstance(part, Chunk) for part in parts)
    return path, path.read_bytes(), parts  # type: ignore[return-value]


def test_damaged_traces_are_read_as_far_as_they_go(whole):
    path, data, (first, second, third) = whole
    assert [len(part.messages) for part in (first, second, third)] == [1, 3, 3]
    assert [LAYOUT.unpack(message).number for part in whole[2] for message in part.messages] == list(range(7))

    def flaws(data: bytes) -> list[str]:
        path.write_bytes(data)
        return [part.text for part in parts_of(path) if isinstance(part, Flaw)]

    def changed(at: int, new: bytes) -> bytes:
        return data[:at] + new + data[at + len(new) :]

    assert flaws(data) == []
    assert flaws(b"x" + data[1:]) == ["does not begin as an MCAP file"]
    assert flaws(data[: third.end]) == ["stops without an end record"]
    assert flaws(data[: third.end - 5]) == ["stops in the middle of a record"]
    assert flaws(data[: -len(MAGIC)]) == ["has bytes after its end, or lacks the closing mark"]
    # Every block after a damaged one needs it, up to the next plain cycle.
    needs = "a block that depends on missing or damaged data"
    assert flaws(changed(second.end - 1, bytes([data[second.end - 1] ^ 255])))[1:] == [needs]
    assert flaws(data[: first.start] + data[first.end :]) == [needs, needs]
    head = second.start + 9 + 22
    assert flaws(changed(head + 4, b"\x05")) == ["a block with wrong cycle numbers", needs]
    assert flaws(changed(head + 12, b"\x05")) == ["a block with wrong cycle numbers", needs]
    assert flaws(changed(head + 16, b"\x05")) == ["a block with a wrong size", needs]
    assert flaws(changed(second.start + 1, struct.pack("<Q", 1 << 40))) == ["stops in the middle of a record"]
    old = data[: first.start] + b"\x06" + struct.pack("<Q", 4) + b"rest" + data[first.start :]
    assert flaws(old) == [
        "a chunk of cycles, as robolearn.safety_log/1 had them: this robolearn reads blocks"
    ]
    short = b"\x05" + struct.pack("<Q", 24) + data[head - 22 : head + 2]
    assert "unpack_from requires" in flaws(data[: second.start] + short + data[second.end :])[0]


def test_a_plain_cycle_comes_once_a_second_and_the_rest_in_blocks(tmp_path):
    trace = TraceFile(tmp_path / "t.mcap", LAYOUT, 0.002, {}, os.write)
    for number in range(1, 1101):
        trace.add(number, number, payload(number))
        if number % 25 == 0:
            trace.flush()
    trace.finish()
    sizes = [len(part.messages) for part in parts_of(tmp_path / "t.mcap") if isinstance(part, Chunk)]
    assert sizes == [1, 24, *[25] * 19, 1, 24, *[25] * 19, 1, 24, *[25] * 3]
    assert trace.unpacked == 0


def test_many_cycles_or_large_ones_do_not_wait_for_a_flush(tmp_path):
    trace = TraceFile(tmp_path / "t.mcap", LAYOUT, 0.002, {}, os.write)
    for number in range(4096):
        trace.add(number, number, payload(number))
    before = trace.file.size
    assert before > 1000
    large = Measured(("x" * 3_000_000,), np.zeros(1), np.zeros(1), 0.0)
    decision = Decision(Verdict.PASS, np.zeros(2), np.zeros(2), False, State.RUNNING)
    data = LAYOUT.pack(4096, 0, 0.0, (), large, Surroundings(), decision)
    trace.add(4096, 0, data)
    assert trace.file.size == before
    trace.add(4097, 0, LAYOUT.pack(4097, 0, 0.0, (), large, Surroundings(), decision))
    assert trace.file.size > before
    trace.finish()
    found = [
        message
        for part in parts_of(tmp_path / "t.mcap")
        if isinstance(part, Chunk)
        for message in part.messages
    ]
    assert len(found) == 4098
    assert found[4096] == data


@pytest.mark.parametrize("fault", [lambda *_: b"other", lambda *_: 1 / 0])
def test_cycles_that_the_codec_does_not_give_back_are_stored_plain_and_said(tmp_path, monkeypatch, fault):
    disk_writer = LogWriter(tmp_path, GENESIS, keys.load_or_create_key(tmp_path / "k.pem"), Options())
    disk_writer.start(0, 10**18)
    monkeypatch.setattr("robolearn.recorder.mcap_file.BlockEncoder.encode", fault)
    for number in range(20):
        disk_writer.cycle(payload(number))
    disk_writer.tick(SECOND, 10**18 + SECOND)
    monkeypatch.undo()
    for number in range(20, 40):
        disk_writer.cycle(payload(number))
    disk_writer.close(2 * SECOND, "closed", {})
    found = [part for part in parts_of(tmp_path / "trace-0001.mcap") if isinstance(part, Chunk)]
    assert [message for part in found for message in part.messages] == [
        payload(number) for number in range(40)
    ]
    problems = [event["fields"]["text"] for event in read_events(tmp_path) if event["kind"] == "problem"]
    assert problems == ["19 cycles could not be packed and are stored as they are"]


def test_an_export_holds_every_cycle_as_it_is(tmp_path):
    writer = LogWriter(
        tmp_path, GENESIS, keys.load_or_create_key(tmp_path / "k.pem"), Options(rotate_bytes=1)
    )
    writer.start(0, 10**18)
    for number in range(50):
        writer.cycle(payload(number))
        writer.tick(number * SECOND // 10, 10**18 + number * SECOND // 10)
    writer.close(5 * SECOND, "closed", {})
    assert len(list(tmp_path.glob("trace-*.mcap"))) > 1
    (tmp_path / "trace-0009.mcap").write_bytes(b"no trace")
    assert export_cycles(tmp_path, tmp_path / "all.mcap", LAYOUT, 10**18) == 50
    with (tmp_path / "all.mcap").open("rb") as stream:
        messages = [message for _, _, message in make_reader(stream).iter_messages()]
    assert [message.data for message in messages] == [payload(number) for number in range(50)]
    assert messages[3].log_time == 10**18 + 3 * 2_000_000
    some = {"first_ns": 3 * 2_000_000, "last_ns": 7 * 2_000_000}
    assert export_cycles(tmp_path, tmp_path / "some.mcap", LAYOUT, **some) == 5


def test_an_export_holds_the_policys_scores_beside_their_cycles(tmp_path):
    writer = LogWriter(tmp_path, GENESIS, keys.load_or_create_key(tmp_path / "k.pem"), Options())
    writer.start(0, 10**18)
    for number in range(5):
        writer.cycle(payload(number))
    writer.close(SECOND, "closed", {})
    scores = [(1, 0.25), (1, 0.5), (3, 7.0), (99, 1.0)]
    assert export_cycles(tmp_path, tmp_path / "all.mcap", LAYOUT, scores=scores) == 5
    with (tmp_path / "all.mcap").open("rb") as stream:
        found = [
            (message.log_time, struct.unpack("<d", message.data[4:])[0])
            for _, channel, message in make_reader(stream).iter_messages()
            if channel.topic == SCORE_TOPIC
        ]
    assert found == [(2_000_000, 0.25), (2_000_000, 0.5), (6_000_000, 7.0)]


# -- the control side where something is wrong --


class Stuck:
    """A writer process that does nothing, until it is killed."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.stdin = None
        self.pid = 0
        self.deaf = True

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.code = -9

    def terminate(self) -> None:
        if not self.deaf:
            self.code = -15

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            raise log_module.subprocess.TimeoutExpired("writer", timeout or 0.0)
        return self.code


def stuck_log(directory: Path, status: int = ring_module.WRITING, capacity: int = 1 << 12) -> SafetyLog:
    ring = Ring.create(capacity)
    ring.tell(status)
    return SafetyLog(directory, LAYOUT, ring, Stuck(), "s1")  # type: ignore[arg-type]


def test_a_writer_that_never_gets_ready_is_killed(tmp_path):
    log = stuck_log(tmp_path, ring_module.STARTING)
    with pytest.raises(LogError, match="cannot be opened: it was not ready within 0 s"):
        log._wait_until_ready(0.0)


@pytest.mark.parametrize("deaf", [True, False])
def test_a_writer_that_does_not_end_is_made_to(tmp_path, deaf):
    log = stuck_log(tmp_path)
    log._process.deaf = deaf  # type: ignore[attr-defined]
    with pytest.raises(LogError, match="was not closed properly"):
        log.close(timeout_s=0.0)
    assert not log.healthy


def test_a_full_queue_does_not_hang_the_close(tmp_path):
    log = stuck_log(tmp_path, capacity=256)
    while log.event("note", text="x"):
        pass
    with pytest.raises(LogError, match="was not closed properly"):
        log.close(timeout_s=0.0)


def test_a_writer_that_says_nothing_of_its_trouble_still_counts_as_one(tmp_path):
    log = stuck_log(tmp_path, ring_module.FAILED)
    log._ring.beat_ns = 1 << 62
    assert log.problem == "The log writer is not writing."


def test_a_close_waits_for_room(tmp_path, monkeypatch):
    log = stuck_log(tmp_path, capacity=256)
    while log.event("note", text="x"):
        pass
    consumer = Ring.attach(os.dup(log._ring.descriptor))

    def make_room(seconds: float) -> None:
        list(consumer.read())
        consumer.commit()
        consumer.tell(ring_module.ENDED)
        log._process.code = 0  # type: ignore[attr-defined]

    monkeypatch.setattr(log_module.time, "sleep", make_room)
    log.close()
    assert not log.healthy


def test_a_loss_that_finds_no_room_is_tried_again(tmp_path):
    log = stuck_log(tmp_path, capacity=400)
    log._ring.beat_ns = 1 << 62
    decision = Decision(Verdict.PASS, np.zeros(2), np.zeros(2), False, State.RUNNING)
    kept = [log.cycle(0.0, (), None, Surroundings(), decision) for _ in range(6)]
    assert kept[0]
    assert not kept[-1]
    assert log._push_loss() is False
    assert log.counts["lost"] == kept.count(False)


def test_a_writer_that_cannot_be_started_is_said(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOENT, "No such file")

    monkeypatch.setattr(log_module.subprocess, "Popen", refuse)
    with pytest.raises(LogError, match="The log writer cannot be started"):
        log_module._start_writer({}, SimpleNamespace(descriptor=0))  # type: ignore[arg-type]


def test_an_attachment_that_cannot_be_written_is_said(tmp_path):
    log = stuck_log(tmp_path / "gone")
    with pytest.raises(LogError, match="Cannot write .*policy.txt: No such file"):
        log.attach("swap", "policy.txt", b"")
