"""What the fuzzer throws bytes at: each parser of files of others, and what it may answer.

A target returns, or raises what a caller of the parser handles: a RobolearnError, or a ValueError where its
docstring says so. Anything else is a finding, as are a hang and more memory than the fuzzer allows.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.config import apply_overrides, build, config_dir, scalar
from robolearn.deploy.deployment import Deployment
from robolearn.dossier.lineage import lineage
from robolearn.dossier.page import write_dossier
from robolearn.dossier.verify_run import verify_run
from robolearn.errors import RobolearnError
from robolearn.files.printable import UNPRINTABLE, printable
from robolearn.files.strict_json import parse_json
from robolearn.files.strict_yaml import dump_yaml, parse_yaml
from robolearn.learn.gates import require_gate, subject_of
from robolearn.policy.approval import Approval, decide
from robolearn.policy.archive import pack, unpack
from robolearn.policy.bundle import Manifest, PolicyBundle, write_bundle
from robolearn.policy.graph import check_graph
from robolearn.recorder.audit_trail import AUDIT_FILE, AuditTrail, chain_fault
from robolearn.recorder.cycle_codec import Layout
from robolearn.recorder.hash_chain import open_line, seal
from robolearn.recorder.mcap_file import Chunk, read_trace
from robolearn.review.event_fields import malformed
from robolearn.review.review import UNEXPECTED, review_log
from robolearn.robots import load_robot
from robolearn.robots.consistency import contradictions
from robolearn.robots.schema import RobotFile
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Surroundings

KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
GRAPH = b"\x3a\x00"  # an ONNX model with one graph, which has no operator


def yaml_text(data: bytes) -> None:
    """Any YAML: what is read can be written and read again."""
    found = parse_yaml(data, "f")
    assert parse_yaml(dump_yaml(found.data), "f").data == found.data


def override(data: bytes) -> None:
    """Overrides on the command line."""
    text = data.decode("utf-8", "replace")
    scalar(text)
    build(Deployment, apply_overrides({"robot": "fr3", "deployment_id": "x"}, text.split("\n")))


def profile(data: bytes) -> None:
    """A safety profile, whole or as one mode's change to the packaged one."""
    document = parse_yaml(data, "f")
    if "schema" in document.data:
        SafetyProfile.from_data(document.data, "f", "0" * 64, document).check_against(load_robot("fr3"))
        return
    packaged = parse_yaml((config_dir() / "safety" / "fr3.yaml").read_bytes(), "f").data
    packaged["modes"]["automatic"].update(document.data)
    SafetyProfile.from_data(packaged, "f", "0" * 64).check_against(load_robot("fr3"))


def robot(data: bytes) -> None:
    """A robot file, whole or as changes to the packaged one."""
    document = parse_yaml(data, "f")
    found = document.data
    if "schema" not in found:
        found = parse_yaml(load_robot("fr3").path.read_bytes(), "f").data | found
    contradictions(build(RobotFile, found, "f", document.line))


def bundle(data: bytes) -> None:
    """A bundle, byte by byte."""
    PolicyBundle.from_bytes(data)


@functools.cache
def _parts() -> dict[str, bytes]:
    """The parts of an honest bundle."""
    slot = {"name": "joint_position", "shape": [2], "unit": "rad", "source": "joint_state.position"}
    outputs = [
        {**slot, "name": f"joint_{what}_target", "source": "policy"} for what in ("position", "velocity")
    ]
    about = {
        "schema": "robolearn.bundle/1",
        "name": "two",
        "robot": "two",
        "robot_digest": "0",
        "task": "two/reach",
        "joint_names": ["a", "b"],
        "control_hz": 50,
        "slots": [slot],
        "goal_slots": [],
        "memory_slots": [],
        "outputs": outputs,
        "limits_assumed": {"velocity_rad_s": [1, 2]},
        "training": {"steps": 1},
        "evaluation": {"success": 0.5},
        "code": {"version": "0", "git_commit": None},
        "created_utc": "",
        "digests": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "two.robolearn"
        write_bundle(path, Manifest.model_validate_json(json.dumps(about)), GRAPH, "card", KEY)
        return unpack(path.read_bytes(), "seed")


@functools.cache
def honest_log() -> Path:
    """A short session, recorded once in a process."""
    from log_sessions import Session

    folder = Path(tempfile.mkdtemp(prefix="robolearn-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    session = Session(folder / "log", folder / "k.pem")
    session.cycle()
    session.start()
    session.wave(8)
    session.mode("collaborative")
    session.cycle(None, Surroundings(2.5, session.now_s, stop_requested=True))
    session.rest(60)
    session.reset("a test")
    session.log.event("finding", about="x", text="y")
    session.log.close()
    return folder / "log"


def manifest(data: bytes) -> None:
    """A manifest that is signed, whole or as changes to an honest one."""
    body = data
    if data[:1] == b"+":
        body = rfc8785.dumps(json.loads(_parts()["manifest.json"]) | dict(parse_json(data[1:])))
    signature = {
        "algorithm": "Ed25519",
        "key_id": keys.key_id(KEY),
        "public_key": keys.public_text(KEY),
        "signature": keys.sign(KEY, body),
        "signed": "manifest.json",
    }
    parts = _parts() | {"manifest.json": body, "signature.json": rfc8785.dumps(signature)}
    PolicyBundle.from_bytes(pack(parts)).inspect()
    Manifest.from_bytes(body, "f")


def signature(data: bytes) -> None:
    """signature.json of a bundle, and an approval beside it."""
    with contextlib.suppress(ValueError):
        Approval.model_validate_json(data).valid  # noqa: B018
    PolicyBundle.from_bytes(pack(_parts() | {"signature.json": data}))


def graph(data: bytes) -> None:
    """An ONNX graph, before ONNX Runtime sees it."""
    check_graph(data, "f")


def key(data: bytes) -> None:
    """A public key, and a key file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "k.pem"
        path.write_bytes(data)
        path.chmod(0o600)
        for load in (keys.load_key, keys.load_public):
            with contextlib.suppress(keys.KeyFileError):
                load(path)
    keys.load_public(data.decode("latin-1"))


def event(data: bytes) -> None:
    """One line of a log, and the same as a sealed record."""
    with contextlib.suppress(ValueError):
        record, _ = open_line(data)
        malformed(record)
    found = parse_json(data)
    if isinstance(found, dict):
        malformed(found)


def terminal(data: bytes) -> None:
    """Text on its way to a terminal."""
    assert not UNPRINTABLE.search(printable(data.decode("utf-8", "surrogatepass")))


def trace(data: bytes) -> None:
    """A trace file, and every cycle in it."""
    layout = Layout(("a", "b"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace-0001.mcap"
        path.write_bytes(data)
        for part in read_trace(path):
            if isinstance(part, Chunk):
                kept, _ = layout.plausible(part.messages)
                for message in kept:
                    try:
                        layout.decoded(message)
                    except RobolearnError:
                        continue
                    layout.source(message)


def log(data: bytes) -> None:
    """A log whose events from the second on have other fields: JSON objects, one on a line, sealed in a chain."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "log"
        shutil.copytree(honest_log(), copy)
        lines = (copy / "events.jsonl").read_bytes().splitlines()
        changed, prev = [lines[0] + b"\n"], json.loads(lines[0])["hash"]
        for line, more in zip(lines[1:], [*data.split(b"\n"), *[b""] * len(lines)], strict=False):
            record = json.loads(line)
            if more:
                found = parse_json(more)
                if isinstance(found, dict):
                    record |= {name: value for name, value in found.items() if name != "fields"}
                    fields = found.get("fields", {})
                    record["fields"] = record["fields"] | fields if isinstance(fields, dict) else fields
            record.pop("hash", None)
            sealed, prev = seal(record | {"prev": prev})
            changed.append(sealed + b"\n")
        (copy / "events.jsonl").write_bytes(b"".join(changed))
        with np.errstate(all="ignore"):
            review = review_log(copy)
        assert not any(UNEXPECTED in text for text in review.not_done.values()), review.not_done


@functools.cache
def honest_trail() -> Path:
    """A run folder with a trail that has a record of most kinds."""
    folder = Path(tempfile.mkdtemp(prefix="robolearn-trail-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    named, digest = {"name": "x", "sha256": "0" * 64}, "0" * 64
    inputs = {
        "config": {"task": "fr3/reach", "gates": {}}, "config_sha256": digest, "robot": named,
        "acceptance": {"file": "a.yaml", "sha256": digest, "thresholds": {"source": "us", "success_min": 0.5}},
        "task": {**named, "file": "t.py"}, "data": [{"path": "d", "sha256": digest}],
        "calibration": {"path": "c", "sha256": digest, "logs": [{"source": "l", "sha256": digest}]},
        "code": {"robolearn": "0", "sha256": digest},
        "environment": {"python": "3", "sha256": digest, "installed": {"numpy": "2"}},
    }  # fmt: skip
    trail, policy = AuditTrail(folder, KEY), {"policy_sha256": digest}
    trail.record("inputs", inputs)
    trail.record("start", {"start": 1, "resumed_from": 0})
    trail.record("checkpoint", {"iteration": 1, "checkpoint_sha256": digest, **policy})
    trail.record("end", {"outcome": "finished", "iteration": 1})
    trail.record("evaluation", {"file": "evaluation.json", "sha256": digest})
    trail.record("export", {"bundle": named, "acceptance": {"status": "passed"}, **policy})
    given = decide(KEY, "promote", "run", digest, "who").model_dump(mode="json", by_alias=True)
    trail.record("decision", given)
    success = {"episodes": 90, "successes": 80, "rate": 80 / 90, "low": 0.8, "high": 0.95}
    strata = [{"name": "a", "episodes": 40, "successes": 30, "rate": 0.75}]
    evaluation = {"iteration": 1, "success": success, "strata": strata, "peaks": {}}
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    (folder / "config.yaml").write_text("task: fr3/reach\n")
    return folder


def trail(data: bytes) -> None:
    """An audit trail whose records have other fields, sealed in a chain; an evaluation; what is made of both."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(honest_trail(), run)
        lines = (run / AUDIT_FILE).read_bytes().splitlines()
        changed, prev = [], "0" * 64
        for line, more in zip(lines, [*data.split(b"\n"), *[b""] * len(lines)], strict=False):
            record = json.loads(line)
            found = parse_json(more) if more else {}
            if isinstance(found, dict):
                record["fields"] |= found
            record.pop("hash", None)
            sealed, prev = seal(record | {"prev": prev})
            changed.append(sealed + b"\n")
        (run / AUDIT_FILE).write_bytes(b"".join(changed))
        more = data.split(b"\n")[-1]
        if more:
            (run / "evaluation.json").write_bytes(more)
        verify_run(run).to_json()
        list(lineage(run).lines())
        chain_fault(run)
        for gate in ("train", "promote", "export"):
            with contextlib.suppress(RobolearnError):
                require_gate(run, gate, subject_of(run, gate))
        with np.errstate(all="ignore"):
            write_dossier(run, Path(folder) / "dossier.html")


_ALL = (
    yaml_text,
    override,
    profile,
    robot,
    bundle,
    manifest,
    signature,
    graph,
    key,
    event,
    terminal,
    trace,
    log,
    trail,
)
TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in _ALL}


def handled(target: Callable[[bytes], None], data: bytes) -> None:
    """The target on some bytes; what its callers handle is no finding."""
    with contextlib.suppress(RobolearnError, ValueError):
        target(data)
