"""Logs by somebody who means harm: consistent in themselves, signed with a key of their own. 101 and more of them.

`CASES` maps a name to what is done to a folder that holds an honest log. `Forge` seals the events anew, so that hash
chain, signatures, head and the digests of the trace fit whatever was changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.recorder.cycle_blocks import _HEAD as HEAD
from robolearn.recorder.cycle_blocks import BlockEncoder, _write_numbers
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.hash_chain import canonical, seal, signed_part
from robolearn.recorder.mcap_file import BLOCK_TOPIC, TOPIC, Chunk, read_trace

MAGIC = b"\x89MCAP0\r\n"
END = b"\x02" + struct.pack("<Q", 20) + b"\0" * 20 + MAGIC
TRACE = "trace-0001.mcap"
Change = Callable[["Forge"], None]


class Forge:
    """One log folder in the hands of a signer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = Ed25519PrivateKey.generate()
        lines = (folder / "events.jsonl").read_bytes().splitlines()
        self.events: list[dict[str, Any]] = [json.loads(line) for line in lines]

    @property
    def start(self) -> dict[str, Any]:
        return self.events[0]["fields"]

    def of_kind(self, *kinds: str) -> list[dict[str, Any]]:
        """The fields of the events of some kinds."""
        return [event["fields"] for event in self.events if event["kind"] in kinds]

    def layout(self) -> Layout:
        return Layout(tuple(f"fr3_joint{i}" for i in range(1, 8)))

    def messages(self) -> list[bytes]:
        parts = read_trace(self.folder / TRACE)
        return [message for part in parts if isinstance(part, Chunk) for message in part.messages]

    def trace(self, data: bytes) -> None:
        """Another trace file, and its digest in every event that names it."""
        (self.folder / TRACE).write_bytes(data)
        stated = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for event in self.events:
            for point in (event["fields"].get("trace"), event["fields"]):
                if isinstance(point, dict) and "last_cycle" in point and "sha256" in point:
                    point.update(stated)

    def file(self, name: str, data: bytes) -> None:
        """Another robot.yaml or profile.yaml, with its digest."""
        (self.folder / name).write_bytes(data)
        self.start["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if name == "profile.yaml":
            self.start["profile"]["digest"] = hashlib.sha256(data).hexdigest()

    def sign(self) -> None:
        """Chain, signatures and head anew. What has no canonical form is left to fail."""
        prev, lines, session = "0" * 64, [], self.start.get("session_id", "")
        if self.events[0]["kind"] == "session_start":
            self.start["public_key"] = keys.public_text(self.key)
            self.start["key_id"] = keys.key_id(self.key)
        for seq, event in enumerate(self.events):
            record = {key: value for key, value in event.items() if key != "hash"} | {
                "prev": prev,
                "seq": seq,
            }
            if record["kind"] == "segment" and isinstance(record["fields"], dict):
                record["fields"].update(
                    first_seq=record["fields"].get("first_seq"), key_id=keys.key_id(self.key)
                )
                signed = signed_part(str(session), record["fields"], prev)
                record["fields"]["signature"] = keys.sign(self.key, signed)
            line, prev = seal(record)
            lines.append(line + b"\n")
        (self.folder / "events.jsonl").write_bytes(b"".join(lines))
        found = {"seq": len(lines) - 1, "cycles": 0, "key_id": keys.key_id(self.key)}
        found["signature"] = keys.sign(self.key, signed_part(str(session), found, prev))
        head = {"schema": "robolearn.safety_log/1", "session_id": session, "hash": prev, **found}
        (self.folder / "head.json").write_bytes(canonical(head))


CASES: dict[str, Change] = {}


def case(name: str) -> Callable[[Change], Change]:
    """A case whose function does everything itself."""

    def add(change: Change) -> Change:
        CASES[name] = change
        return change

    return add


def signed(name: str, change: Change) -> None:
    """A case that changes and then signs."""

    def both(forge: Forge) -> None:
        change(forge)
        forge.sign()

    CASES[name] = both


def _starts() -> None:
    file = {"bytes": 1, "sha256": "0"}
    for name in ("/dev/zero", "../../../../../etc/shadow", "a\0b", "a" * 300, "", ".", "..", "sub/x"):
        signed(f"files: {name[:20]!r}", lambda f, name=name: f.start["files"].update({name: dict(file)}))
    signed("files: a list", lambda f: f.start.update(files=[1, 2]))
    signed("files: 2^52 bytes of a device", _device_file)
    for value in (0, -1, 1e-300, 1e15, "x", None, [], True, 0.05, "nan", 0.004000000001):
        signed(f"period_s = {value!r}", lambda f, value=value: f.start.update(period_s=value))
    for value in ("x", None, [], "collaborative", {"a": 1}):
        signed(f"mode = {value!r}", lambda f, value=value: f.start.update(mode=value))
    for value in ([], ["a"], None, ["fr3_joint1"] * 7, ["a"] * 100_000, "fr3"):
        signed(f"joint_names = {str(value)[:14]}", lambda f, value=value: f.start.update(joint_names=value))
    for key in (
        "session",
        "robot",
        "profile",
        "writer",
        "software",
        "clock",
        "deployment_id",
        "session_id",
        "schema",
    ):
        signed(f"start lacks {key}", lambda f, key=key: f.start.pop(key))
    signed("session null", lambda f: f.start.update(session=None))
    signed("robot name gripper path", lambda f: f.start["robot"].update(name="fr3+/etc/passwd.yaml"))
    signed("session gripper list", lambda f: f.start["session"].update(gripper=[1]))
    signed("session gripper unknown", lambda f: f.start["session"].update(gripper="../../x"))
    signed("heartbeat 1e15", lambda f: f.start["writer"].update(heartbeat_s=1e15))
    signed("heartbeat text", lambda f: f.start["writer"].update(heartbeat_s="x"))


def _device_file(forge: Forge) -> None:
    (forge.folder / "zero").symlink_to("/dev/zero")
    forge.start["files"]["zero"] = {"bytes": 2**52, "sha256": "0"}


def _event(forge: Forge, index: int, **fields: Any) -> None:
    forge.events[index].update(fields)


def _each(*kinds: str, **changes: Any) -> Change:
    def change(forge: Forge) -> None:
        for fields in forge.of_kind(*kinds):
            fields.update(changes)

    return change


def _without(key: str, *kinds: str) -> Change:
    def change(forge: Forge) -> None:
        for fields in forge.of_kind(*kinds):
            fields.pop(key, None)

    return change


def _events() -> None:
    for value in (10**15, -5, None, "9", 1.5, True, []):
        signed(f"cycle = {value!r}", lambda f, value=value: _event(f, 5, cycle=value))
    for value in (10**15, -(10**15), None, "x", 1.5):
        signed(f"stop at_cycle = {value!r}", _each("stop", at_cycle=value))
    signed("stop number text", _each("stop", stop="x"))
    signed("stop number 2^52", _each("stop", stop=2**52))
    signed("stop lacks records", _without("records", "stop"))
    for value in (None, "abc", [1], [{}], [[]]):
        signed(f"stop records = {value!r}", _each("stop", records=value))
    signed("two stops one number", _each("stop", stop=1))
    signed("stop_report report null", _each("stop_report", report=None))
    signed("stop_report report deep", _each("stop_report", report={"a": {"b": {"c": [[]]}}}))
    signed("stop_report lacks at_cycle", _without("at_cycle", "stop_report"))
    signed("reset measured null", _each("reset", "start", measured=None))
    signed("reset lacks who", _without("who", "reset", "start"))
    signed("reset lacks now_s", _without("now_s", "reset", "start"))
    signed("reset who list", _each("reset", "start", who=[1]))
    signed("reset now_s text", _each("reset", "start", now_s="later"))
    signed("reset now_s nan", _each("reset", "start", now_s="nan"))
    signed("reset answer text", _each("reset", "start", answer="ok"))
    many = {
        "joint_names": ["a"] * 100_000,
        "position_rad": [0.0] * 100_000,
        "velocity_rad_s": [],
        "stamp_s": 0.0,
    }
    signed("start measured huge", _each("start", measured=many))
    few = {"joint_names": ["a"], "position_rad": [[0.0]], "velocity_rad_s": "x", "stamp_s": None}
    signed("start measured strange", _each("start", measured=few))
    short = {"joint_names": ["a"], "position_rad": ["inf"], "velocity_rad_s": [], "stamp_s": "-inf"}
    signed("start measured short", _each("start", measured=short))
    answer = {"accepted": True, "text": ""}
    mode = {"mode": "zzz", "who": "x", "now_s": 1.0, "answer": answer}
    signed("mode event unknown", lambda f: _event(f, 6, kind="mode", fields=dict(mode)))
    signed("mode event without mode", lambda f: _event(f, 6, kind="mode", fields={"answer": answer}))
    signed("mode event list", lambda f: _event(f, 6, kind="mode", fields={"mode": [1], "answer": answer}))
    for value in ([1], None, "x", {"class": [], "days": {}}):
        signed(f"retention = {value!r}", lambda f, value=value: _event(f, 6, retention=value))
    for value in ({"a": 1}, None, "", "=cmd|'/c calc'!A1", "\x1b[2J", "k" * 10_000, "__class__"):
        signed(f"kind = {str(value)[:24]!r}", lambda f, value=value: _event(f, 6, kind=value))
    for value in (
        "=1+1",
        "",
        None,
        5,
        "9999-99-99T99:99:99.999999Z",
        "+2026-01-01",
        "0001-01-01T00:00:00.000000Z",
    ):
        signed(f"utc = {value!r}", lambda f, value=value: _event(f, 6, utc=value))
    for value in (-1, None, "x", 10**15):
        signed(f"monotonic_us = {value!r}", lambda f, value=value: _event(f, 6, monotonic_us=value))
    signed("fields deep 40", lambda f: f.events[6]["fields"].update(x=json.loads("[" * 40 + "]" * 40)))
    signed("fields deep 300", lambda f: f.events[6]["fields"].update(x=json.loads("[" * 300 + "]" * 300)))
    signed("fields a list", lambda f: _event(f, 6, kind="test", fields=[1]))
    loss = {"cycles": 10**15, "first_cycle": 0, "last_cycle": 10**15}
    signed("loss range 1e15", lambda f: _event(f, 6, kind="loss", fields=dict(loss)))
    signed("loss backwards", lambda f: _event(f, 6, kind="loss", fields={**loss, "last_cycle": -5}))
    signed("command_source list", _each("command_source", source=[1]))
    signed("command_source digest list", _each("command_source", policy_digest=[1]))
    signed("swap without fields", lambda f: _event(f, 6, kind="swap", fields={}))
    signed(
        "swap file strange", lambda f: _event(f, 6, kind="swap", fields={"file": {"name": [], "bytes": "x"}})
    )
    signed("limit strange", lambda f: _event(f, 6, kind="limit", fields={"records": {"a": 1}}))
    signed("limit records many", lambda f: _event(f, 6, kind="limit", fields={"records": [1] * 50_000}))
    signed("heartbeat cycles text", _each("heartbeat", "segment", "session_end", cycles="many"))
    signed("heartbeat cycles 2^52", _each("heartbeat", "segment", "session_end", cycles=2**52))
    signed("trace name traversal", _each_trace(file="../../../../dev/zero"))
    signed("trace bytes -1", _each_trace(bytes=-1))
    signed("trace bytes 2^52", _each_trace(bytes=2**52))
    signed("trace cycles list", _each_trace(cycles=[1]))
    signed("a test of 5 MB", lambda f: _event(f, 6, kind="test", fields={"t": "x" * 5_000_000}))
    signed("no start", lambda f: f.events.pop(0))
    signed("two starts", lambda f: f.events.insert(3, json.loads(json.dumps(f.events[0]))))
    signed("ten thousand stops", _many_stops)
    signed("a thousand modes", _many_modes)
    signed("ten thousand sources", _many_sources)


def _each_trace(**changes: Any) -> Change:
    def change(forge: Forge) -> None:
        for event in forge.events:
            if isinstance(event["fields"].get("trace"), dict):
                event["fields"]["trace"].update(changes)

    return change


def _more(forge: Forge, kind: str, make: Callable[[int], dict[str, Any]], count: int = 10_000) -> None:
    like = {key: value for key, value in forge.events[6].items() if key not in ("kind", "fields")}
    forge.events[7:7] = [{**like, "kind": kind, "fields": make(k)} for k in range(count)]


def _many_stops(forge: Forge) -> None:
    _more(forge, "stop", lambda k: {"stop": k, "at_cycle": k, "records": [], "latched": True})


def _many_modes(forge: Forge) -> None:
    modes, answer = ("automatic", "collaborative"), {"accepted": True, "text": ""}
    _more(forge, "mode", lambda k: {"mode": modes[k % 2], "who": "x", "now_s": 1.0, "answer": answer}, 1000)


def _many_sources(forge: Forge) -> None:
    _more(forge, "command_source", lambda k: {"source": f"s{k}", "policy_digest": None})


@case("a line 100,000 deep")
def _deep_line(forge: Forge) -> None:
    lines = (forge.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines.insert(6, b"[" * 100_000 + b"]" * 100_000 + b"\n")
    (forge.folder / "events.jsonl").write_bytes(b"".join(lines))


@case("a line of 17 MiB")
def _long_line(forge: Forge) -> None:
    lines = (forge.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines.insert(6, b'{"a":"' + b"x" * (17 << 20) + b'"}\n')
    (forge.folder / "events.jsonl").write_bytes(b"".join(lines))


@case("a number of 5,000 digits")
def _long_number(forge: Forge) -> None:
    lines = (forge.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines.insert(6, b'{"hash":"x","a":' + b"9" * 5000 + b"}\n")
    (forge.folder / "events.jsonl").write_bytes(b"".join(lines))


@case("not UTF-8")
def _not_utf8(forge: Forge) -> None:
    lines = (forge.folder / "events.jsonl").read_bytes().splitlines(keepends=True)
    lines.insert(6, b'{"hash":"\xff\xfe"}\n')
    lines.insert(7, b'{"hash":"\\ud800"}\n')
    (forge.folder / "events.jsonl").write_bytes(b"".join(lines))


def _special(name: str, kind: str) -> Change:
    def change(forge: Forge) -> None:
        path = forge.folder / name
        path.unlink(missing_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "directory":
            path.mkdir()
        else:
            path.symlink_to(path)

    return change


def _files() -> None:
    for name in ("robot.yaml", "profile.yaml", TRACE, "trace-0002.mcap", "head.json"):
        for kind in ("fifo", "device", "directory", "loop"):
            CASES[f"{name}: {kind}"] = _special(name, kind)
    head = {"a list": b"[1]", "deep": b"[" * 100_000, "seq 1e400": b'{"seq":1e400}', "seq text": b'{"seq":"x"}',
            "large": b" " * (2 << 20), "empty": b""}  # fmt: skip
    for name, data in head.items():
        CASES[f"head.json: {name}"] = lambda f, data=data: (f.folder / "head.json").write_bytes(data)
    profile = lambda f: (f.folder / "profile.yaml").read_text()  # noqa: E731
    robot = lambda f: (f.folder / "robot.yaml").read_text()  # noqa: E731
    deep = "\nx: " + "[" * 20_000 + "]" * 20_000
    bomb = (
        "[&a [x,x,x]"
        + "".join(f", &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(8))
        + "]"
    )
    stored = {
        "profile.yaml: alias bomb": ("profile.yaml", lambda f: f"title: {bomb}\n" + profile(f)),
        "profile.yaml: deep": ("profile.yaml", lambda f: profile(f) + deep),
        "profile.yaml: loose": ("profile.yaml", lambda f: profile(f).replace("value: 0.6", "value: 600")),
        "profile.yaml: slow": ("profile.yaml", lambda f: profile(f).replace("[10, 10,", "[0.1, 0.1,")),
        "profile.yaml: another arm": (
            "profile.yaml",
            lambda f: profile(f).replace("robot: fr3", "robot: ur5e"),
        ),
        "profile.yaml: empty": ("profile.yaml", lambda f: ""),
        "robot.yaml: deep": ("robot.yaml", lambda f: robot(f) + deep),
        "robot.yaml: alias bomb": ("robot.yaml", lambda f: f"label: {bomb}\n" + robot(f)),
        "robot.yaml: huge mass": (
            "robot.yaml",
            lambda f: robot(f).replace("mass_kg: 2.3966", "mass_kg: 1e308"),
        ),
        "robot.yaml: NaN": ("robot.yaml", lambda f: robot(f).replace("mass_kg: 2.3966", "mass_kg: .nan")),
        "robot.yaml: mjcf /etc/passwd": ("robot.yaml", lambda f: _model_file("/etc/passwd")),
        "robot.yaml: mjcf ../../x": ("robot.yaml", lambda f: _model_file("../../x.xml")),
        "robot.yaml: mjcf profile": ("robot.yaml", lambda f: _model_file("profile.yaml")),
    }
    for name, (file, make) in stored.items():
        signed(name, lambda f, file=file, make=make: f.file(file, make(f).encode()))
    for name, text in _MODELS.items():
        CASES[f"model: {name}"] = lambda f, text=text: _with_model(f, text)


_MODELS = {
    "include device": '<mujoco><include file="/dev/zero"/></mujoco>',
    "mesh device": '<mujoco><asset><mesh name="a" file="/dev/zero"/></asset></mujoco>',
    "hfield": '<mujoco><asset><hfield name="a" nrow="60000" ncol="60000" size="1 1 1 1"/></asset></mujoco>',
    "replicate": '<mujoco><worldbody><replicate count="1000000000"><geom size="1"/></replicate></worldbody></mujoco>',
    "entities": '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)) + "]><mujoco>&j;</mujoco>",
    "deep": "<mujoco>" + "<a>" * 50_000 + "</a>" * 50_000 + "</mujoco>",
    "wrong": "<mujoco><worldbody><body name='x'/></worldbody></mujoco>",
}  # fmt: skip


def _model_file(path: str) -> str:
    numbers = "value: [1.0], source: s, trust: memory"
    limits = "\n".join(
        f"  {key}: {{{numbers}}}" for key in ("position_max_rad", "velocity_rad_s", "torque_nm")
    )
    return (
        "schema: robolearn.robot/1\nname: fr3\nlabel: x\njoint_names: [fr3_joint1]\n"
        f"model: {{mjcf: {path}, flange_body: x}}\nlimits:\n"
        f"  position_min_rad: {{value: [-1.0], source: s, trust: memory}}\n{limits}\n"
    )


def _with_model(forge: Forge, text: str) -> None:
    (forge.folder / "own.xml").write_text(text)
    forge.file("robot.yaml", _model_file("own.xml").encode())
    forge.sign()


def _record(opcode: int, body: bytes) -> bytes:
    return bytes([opcode]) + struct.pack("<Q", len(body)) + body


def _channel(number: int, topic: str) -> bytes:
    text = struct.pack("<I", len(topic)) + topic.encode()
    head = struct.pack("<HH", number, 1) + text
    return _record(4, head + struct.pack("<I", 3) + b"cdr" + struct.pack("<I", 0))


def _message(channel: int, data: bytes) -> bytes:
    return _record(5, struct.pack("<HIQQ", channel, 0, 0, 0) + data)


BEGIN = MAGIC + _channel(1, TOPIC) + _channel(2, BLOCK_TOPIC)


def _block(encoded: bytes, first: int, cycles: int) -> bytes:
    head = struct.pack("<4sQII", b"\x00\x01\x00\x00", first, cycles, len(encoded))
    return _message(2, head + encoded)


def _zeros(megabytes: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    block = b"\0" * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def _remade(change: Callable[[int, bytes], bytes]) -> Change:
    """Every message changed and stored as it is."""

    def make(forge: Forge) -> None:
        messages = [_message(1, change(number, message)) for number, message in enumerate(forge.messages())]
        forge.trace(BEGIN + b"".join(messages) + END)

    return make


def _trace(data: bytes) -> Change:
    return lambda forge: forge.trace(data)


def _with_block(change: Callable[[bytes], bytes], cycles: int | None = None) -> Change:
    """All cycles after the first in one block, which is changed."""

    def make(forge: Forge) -> None:
        first, *others = forge.messages()
        block = change(BlockEncoder(first, 7, 0.002).encode(others))
        stated = len(others) if cycles is None else cycles
        forge.trace(BEGIN + _message(1, first) + _block(block, 1, stated) + END)

    return make


def _states(name: str, value: float) -> Change:
    """A block whose head states something else."""

    def change(block: bytes) -> bytes:
        names = ("joints", "rows", "checksum", "text", "packed", "period")
        fields = dict(zip(names, HEAD.unpack_from(block), strict=True)) | {name: value}
        return HEAD.pack(*fields.values()) + block[HEAD.size :]

    return _with_block(change, int(value) if name == "rows" else None)


def _garbled(seed: int) -> Change:
    """A block with bytes of no meaning in it."""

    def change(block: bytes) -> bytes:
        random, data = np.random.default_rng(seed), bytearray(block)
        for at in random.integers(HEAD.size, len(data), 20):
            data[at] = random.integers(0, 256)
        return bytes(data)

    return _with_block(change)


def _one_long_rest(forge: Forge) -> None:
    """Four thousand cycles that end in the same 30 MB, which are spelled out once."""
    first = forge.messages()[0]
    encoder, rows, size = BlockEncoder(first, 7, 0.002), 4096, 30 << 20
    words, tails, _ = encoder._stretch.parts([first] * rows)
    raw, _, naturals = encoder._model(words)
    text, bits = _write_numbers(raw, naturals)
    index = bytes([255]) + bytes(rows - 1)
    text = raw.tobytes() + text + tails.T.tobytes() + index + struct.pack("<I", size) + b"x" * size
    packed = encoder._zstd.compress(text) + encoder._zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    head = HEAD.pack(7, rows, 0, len(text), len(packed), 0.002)
    forge.trace(BEGIN + _message(1, first) + _block(head + packed + bits, 1, rows) + END)


def _endless_unary(block: bytes) -> bytes:
    """Sixty megabytes of zeros behind the numbers."""
    return block + bytes(60 << 20)


def _bomb(forge: Forge) -> None:
    packed = _zeros(1024)
    head = HEAD.pack(7, 4096, 0, 2**32 - 1, len(packed), 0.002)
    forge.trace(BEGIN + _message(1, forge.messages()[0]) + _block(head + packed, 1, 4096) + END)


STATED: dict[str, tuple[float, ...]] = {
    "joints": (0, 6, 64, 65535),
    "rows": (0, 1, 4097, 65535),
    "text": (0, 2**31, 2**32 - 1),
    "packed": (0, 2**32 - 1),
    "checksum": (0,),
    "period": (0.0, float("nan"), 1e308),
}


def _traces() -> None:
    signed("trace: block of a gigabyte of zeros", _bomb)
    signed("a block with 60 MB of zeros behind it", _with_block(_endless_unary))
    signed("trace: block with no cycle before it", _trace(BEGIN + _block(b"\0" * 24, 0, 4096) + END))
    signed("trace: a chunk", _trace(BEGIN + _record(6, b"\0" * 100) + END))
    signed("trace: empty", _trace(b""))
    signed("trace: only magic", _trace(MAGIC))
    signed("trace: record of 2^63 bytes", _trace(MAGIC + b"\x05" + struct.pack("<Q", 1 << 63)))
    signed("trace: record of 2^30 bytes", _trace(MAGIC + b"\x05" + struct.pack("<Q", 1 << 30) + b"x"))
    signed("trace: channel cut", _trace(MAGIC + _record(4, b"\1") + END))
    signed("trace: message cut", _trace(BEGIN + _record(5, b"\1") + _record(5, b"\1\0") + END))
    for size in (0, 11, 19, 400):
        signed(f"trace: message of {size} bytes", _trace(BEGIN + _message(1, b"\0" * size) + END))
    short = b"".join(_message(1, b"\0\1\0\0" + struct.pack("<Q", i) + b"\0" * 8) for i in range(500))
    signed("trace: 500 messages too short", _trace(BEGIN + short + END))
    for field, values in STATED.items():
        for value in values:
            signed(f"trace: block states {field} {value}", _states(field, value))
    signed("trace: one long rest in every cycle", _one_long_rest)
    for seed in range(12):
        signed(f"trace: block garbled {seed}", _garbled(seed))
    _cycles()


def _cycles() -> None:
    fixed = Layout(tuple("abcdefg")).fixed_bytes
    count = struct.pack("<I", 1) + b"\0" + b"\0" * (-(fixed + 5) % 4) + b"\xff\xff\xff\xff" + b"\0" * 64
    last = struct.pack("<Q", 2**64 - 1)
    ninth = {
        "records 2^32-1": lambda m: m[:fixed] + count,
        "source 2^32-1": lambda m: m[:fixed] + b"\xff\xff\xff\xff" + m[fixed + 4 :],
        "cut": lambda m: m[: fixed + 3],
        "verdict 200": lambda m: m[: fixed - 8] + b"\xc8" + m[fixed - 7 :],
        "state 200": lambda m: m[: fixed - 7] + b"\xc8" + m[fixed - 6 :],
        "enabling 200": lambda m: m[: fixed - 4] + b"\xc8" + m[fixed - 3 :],
        "another verdict": lambda m: m[: fixed - 8] + bytes([2 - m[fixed - 8]]) + m[fixed - 7 :],
        "odd deep": lambda m: m[: fixed - 2] + b"\1\0" + _rest(b"[" * 100_000),
        "odd names": lambda m: m[: fixed - 2] + b"\1\0" + _rest(b'{"command":{"names":5}}'),
        "odd shape": lambda m: m[: fixed - 2] + b"\1\0" + _rest(_odd_shape()),
        "cycle 2^64-1": lambda m: m[:4] + last + m[12:],
        "cycle 2^52": lambda m: m[:4] + struct.pack("<Q", 2**52) + m[12:],
        "time 2^63": lambda m: m[:12] + last + m[20:],
    }
    for name, change in ninth.items():
        signed(f"trace: {name}", _remade(lambda i, m, change=change: change(m) if i == 9 else m))
    huge = struct.pack("<d", 1e308) * ((fixed - 28) // 8)
    kept = struct.pack("<d", 5.0) + struct.pack("<d", 1e308) * ((fixed - 36) // 8)
    later = {
        "all NaN": lambda m: m[:20] + b"\xff" * (fixed - 28) + m[fixed - 8 :],
        "huge floats": lambda m: m[:20] + huge + m[fixed - 8 :],
        "huge but time": lambda m: m[:20] + kept + m[fixed - 8 :],
    }
    for name, change in later.items():
        signed(f"trace: {name}", _remade(lambda i, m, change=change: change(m) if i > 20 else m))
    signed("trace: all cycles 0", _remade(lambda i, m: m[:4] + b"\0" * 8 + m[12:]))
    sources = _remade(lambda i, m: m[:fixed] + _rest(b"", f"source {i}".encode()))
    signed("trace: a source for each cycle", sources)


def _rest(odd: bytes, source: bytes = b"policy") -> bytes:
    """What follows the fixed part: source, no records, odd inputs."""
    buffer = bytearray(Layout(tuple("abcdefg")).fixed_bytes - 4)
    begin = len(buffer)
    for text in (source, None, odd):
        buffer += b"\0" * (-len(buffer) % 4)
        buffer += struct.pack("<I", 0) if text is None else struct.pack("<I", len(text) + 1) + text + b"\0"
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<iI", -1, 0)
    return bytes(buffer[begin:])


def _odd_shape() -> bytes:
    array = {"shape": [2**40, 2**40], "bytes": "00" * 8}
    return json.dumps(
        {"measured": {"names": [], "position": array, "velocity": None, "stamp": "0x1p+9999"}}
    ).encode()


_starts()
_events()
_files()
_traces()
