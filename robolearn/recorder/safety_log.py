"""The safety log, as the control process sees it: push a cycle, push an event, ask whether it is well.

Pushing costs a few microseconds and no system call: the bytes go into a ring in shared memory, and the log writer, a
process of its own that also holds the signing key, does the rest
(`robolearn.recorder.writer_process`). Nothing here blocks.
`cycle` answers False when the record of that cycle is not kept, or the writer is not well: the caller holds the arm.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import robolearn
from robolearn import keys
from robolearn.config import config_path
from robolearn.errors import ConfigError, LogError
from robolearn.recorder import shm_queue as ring_module
from robolearn.recorder.clocks import system_offset_ns
from robolearn.recorder.cycle_codec import Layout, Wrench
from robolearn.recorder.event_log import Options
from robolearn.recorder.hash_chain import EVENTS_FILE, TOMBSTONES_FILE, plain
from robolearn.recorder.session_chain import chain_fields
from robolearn.recorder.shm_queue import Ring
from robolearn.robots import Robot
from robolearn.robots.gripper_files import split_robot
from robolearn.robots.robot import robot_from_file
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Command, Decision, Measured, Surroundings

ROBOT_FILE = "robot.yaml"
PROFILE_FILE = "profile.yaml"
_WRITER = "import sys; from robolearn.recorder.writer_process import main; sys.exit(main())"
_LOOK_NS = 50_000_000
_STALL_NS = 2_000_000_000


class SafetyLog:
    """The log of one session in one directory. Open with `SafetyLog.open`, end with `close` or a `with` block."""

    def __init__(
        self, directory: Path, layout: Layout, ring: Ring, process: subprocess.Popen[bytes], session_id: str
    ):
        self.directory = directory
        self.session_id = session_id
        self._layout = layout
        self._ring = ring
        self._process = process
        self._number = 0
        self._lost = 0
        self._lost_first = 0
        self._problem = ""
        self._next_look_ns = 0
        self._closed = False
        self._lost_total = 0

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        robot: Robot,
        profile: SafetyProfile,
        session: dict[str, Any],
        signing_key: str | Path | Ed25519PrivateKey | None = None,
        robot_file: str | Path | None = None,
        profile_file: str | Path | None = None,
        options: Options | None = None,
        capacity_bytes: int = 8 << 20,
        start_timeout_s: float = 10.0,
    ) -> SafetyLog:
        """Starts the log writer and returns when it has stored and signed the first event.

        The first event names the session before this one of the same deployment (`session_chain`).

        directory: new or empty.
        session: `mode` and `period_s` (a replay builds the monitor from them), and what else identifies the session:
            `deployment_id`, `robot_serial`, `policy_digest`, `risk_assessment_ref`, `operator` (a pseudonym) ...
        signing_key: the path of a key file (made if missing; this process never reads it), or a key; default
            `<key directory>/log.pem`.
        robot_file, profile_file: what `load_robot` and `SafetyProfile.load` were given, needed where that was a path.
        capacity_bytes: the ring; at 1 kHz and 7 joints 8 MiB hold about 16 s.
        Raises LogError.
        """
        directory = Path(directory)
        genesis = _genesis(robot, profile, session)
        files = {
            ROBOT_FILE: _source_of_robot(robot, robot_file),
            PROFILE_FILE: _source_of_profile(profile, profile_file),
        }
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise LogError(
                    f"{directory} is not empty. Every session needs its own directory: choose a new one."
                )
            for name, data in files.items():
                (directory / name).write_bytes(data)
        except OSError as error:
            raise LogError(f"Cannot make the log directory {directory}: {error.strerror}.") from error
        options = options or Options()
        genesis["chain"] = chain_fields(directory, genesis["deployment_id"])
        genesis["writer"] = dataclasses.asdict(options)
        genesis["files"] = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
        }
        ring = Ring.create(capacity_bytes & ~7)
        order = {
            "directory": str(directory.resolve()),
            "genesis": plain(genesis),
            "ring": ring.descriptor,
            "options": genesis["writer"],
            "parent": os.getpid(),
            **_key_order(signing_key),
        }
        process = _start_writer(order, ring)
        log = cls(directory, Layout(tuple(robot.joint_names)), ring, process, genesis["session_id"])
        log._wait_until_ready(start_timeout_s)
        return log

    def _wait_until_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._ring.status == ring_module.STARTING and self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
                break
            time.sleep(0.002)
        if self._ring.status != ring_module.WRITING:
            problem = self._ring.problem or f"it was not ready within {timeout_s:g} s"
            self._process.wait()
            self._release()
            raise LogError(f"The safety log in {self.directory} cannot be opened: {problem}")

    # -- every cycle --

    def cycle(
        self,
        now_s: float,
        commands: Sequence[Command],
        measured: Measured | None,
        surroundings: Surroundings,
        decision: Decision,
        wrench: Wrench | None = None,
    ) -> bool:
        """Records one cycle, with all commands that arrived in it. wrench: the newest one, where a sensor tells it.

        Returns False if the arm must be held, because this cycle is not recorded or the log has a problem.

        The events `command_source`, `stop`, `stop_cause` and `limit` are derived from the cycles;
        `stop_report` is taken from the decision. Call it from one thread, right after `monitor.check`.
        """
        now_ns = time.monotonic_ns()
        number = self._number
        self._number = number + 1
        payload = self._layout.pack(number, now_ns, now_s, commands, measured, surroundings, decision, wrench)
        # After an overflow nothing is pushed until there is room for a good while, and then the loss record first: no
        # cycle stands behind a gap without a word about the gap.
        held = self._lost and not (self._ring.fill < 0.5 and self._push_loss())
        stored = not held and self._ring.push(ring_module.CYCLE, payload)
        if not stored:
            if not self._lost:
                self._lost_first = number
            self._lost += 1
            self._ring.lost += 1
        if decision.stop_report is not None:
            self.event("stop_report", now_s=now_s, at_cycle=number, report=decision.stop_report)
        if now_ns >= self._next_look_ns:
            self._look(now_ns)
        return stored and not self._problem and self._ring.status == ring_module.WRITING

    def _push_loss(self) -> bool:
        found = {
            "cycles": self._lost,
            "first_cycle": self._lost_first,
            "last_cycle": self._lost_first + self._lost - 1,
            "text": "the queue to the log writer was full; the arm was held",
        }
        if self.event("loss", **found):
            self._lost = 0
            return True
        return False

    def _look(self, now_ns: int) -> None:
        """Whether the writer lives and moves; a system call, so not in every cycle."""
        self._next_look_ns = now_ns + _LOOK_NS
        code = self._process.poll()
        if code is not None:
            ended = f"The log writer of {self.directory} ended (exit status {code})."
            self._problem = f"{ended} The arm is held. Start a new session."
        elif now_ns - self._ring.beat_ns > _STALL_NS:
            silent_s = (now_ns - self._ring.beat_ns) / 1e9
            self._problem = (
                f"The log writer of {self.directory} has not moved for {silent_s:.1f} s. The arm is held."
            )
        else:
            self._problem = ""

    # -- now and then --

    def event(self, kind: str, /, **fields: Any) -> bool:
        """Records one event; any thread. False where the queue is full. Arrays and dataclasses become JSON.

        For a replay to follow, `reset`, `start` and `mode` carry what the monitor was given: `now_s`, `measured`
        (the Measured), `who`, `why`, `mode`, and its `answer`; record them before the next cycle.
        """
        return self._push_event(kind, plain(fields), {})

    def attach(
        self, kind: str, name: str, data: bytes, *, digests: dict[str, str] | None = None, **fields: Any
    ) -> bool:
        """Stores a file beside the log and an event (`config`, `swap`, `attach`) with its digest.

        digests: what the following segments name as in force, for example {"profile": digest}. Raises LogError.
        """
        path = self.directory / name
        if Path(name).name != name or name in (EVENTS_FILE, TOMBSTONES_FILE) or name.startswith("trace-"):
            raise LogError(
                f"'{name}' is not a file name for an attachment. Use a plain name, such as profile-2.yaml."
            )
        try:
            with path.open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            raise LogError(
                f"{path} already exists; files in a log are never replaced. Choose another name."
            ) from None
        except OSError as error:
            raise LogError(f"Cannot write {path}: {error.strerror}.") from error
        file = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return self._push_event(kind, plain({**fields, "file": file}), digests or {})

    def _push_event(self, kind: str, fields: dict[str, Any], digests: dict[str, str]) -> bool:
        message = {"kind": kind, "fields": fields, "monotonic_ns": time.monotonic_ns(), "digests": digests}
        return self._ring.push(ring_module.EVENT, json.dumps(message).encode())

    @property
    def healthy(self) -> bool:
        """Whether cycles are being stored; while False, `problem` says why and the arm is held."""
        return not self.problem

    @property
    def problem(self) -> str:
        """Description of the problem; empty if there is none."""
        if self._closed:
            return f"The safety log in {self.directory} is closed."
        self._look(time.monotonic_ns())
        if self._problem or self._ring.status == ring_module.WRITING:
            return self._problem
        return self._ring.problem or "The log writer is not writing."

    @property
    def counts(self) -> dict[str, int]:
        """Cycles seen and cycles that could not be kept, so far."""
        return {"cycles": self._number, "lost": self._ring.lost if not self._closed else self._lost_total}

    @property
    def writer_pid(self) -> int:
        """The log writer's process."""
        return self._process.pid

    def close(self, reason: str = "closed", timeout_s: float = 15.0, **fields: Any) -> None:
        """Closes the log: expected-end record, last digests, final signature. A second call does nothing.

        Raises LogError if the writer could not close it; the stored part still verifies.
        """
        if self._closed:
            return
        if self._lost:
            self._push_loss()
        ending = json.dumps({"reason": reason, "fields": plain(fields)}).encode()
        deadline = time.monotonic() + timeout_s
        while not self._ring.push(ring_module.END, ending) and self._process.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        try:
            code: int | None = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = None
        ended = code == 0 and self._ring.status == ring_module.ENDED
        problem = self._ring.problem
        self._release()
        if not ended:
            raise LogError(f"The safety log in {self.directory} was not closed properly. {problem}".rstrip())

    def _release(self) -> None:
        self._closed = True
        self._lost_total = self._ring.lost
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reason = "closed" if error is None else f"the control program failed: {type(error).__name__}: {error}"
        self.close(reason)


def _genesis(robot: Robot, profile: SafetyProfile, session: dict[str, Any]) -> dict[str, Any]:
    """The fields of the first event: what this session is, and by which versions it was made."""
    for key in ("mode", "period_s"):
        if key not in session:
            raise LogError(
                f"The session lacks '{key}': a replay needs mode and period_s to build the monitor."
            )
    return {
        "session_id": uuid.uuid4().hex,
        "deployment_id": str(session.get("deployment_id", "not stated")),
        "mode": session["mode"],
        "period_s": session["period_s"],
        "session": {k: v for k, v in session.items() if k not in ("mode", "period_s", "deployment_id")},
        "robot": {"name": robot.name, "digest": robot.digest},
        "profile": {"name": profile.name, "digest": profile.digest},
        "joint_names": list(robot.joint_names),
        "software": _software(),
        "clock": {"boot_to_utc_s": system_offset_ns() / 1e9},
    }


def _software() -> dict[str, str]:
    found = {
        "robolearn": robolearn.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for package in ("numpy", "mujoco", "mujoco-core", "mcap", "cryptography"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _source_of_robot(robot: Robot, file: str | Path | None) -> bytes:
    """The bytes of the robot file, which must still give the robot in use; another gripper is in the robot's name."""
    path = Path(file) if file is not None else robot.path
    if robot_from_file(path, split_robot(robot.name)[1]).digest != robot.digest:
        raise LogError(f"{path} differs from the robot in use: it was changed since. Load the robot again.")
    return path.read_bytes()


def _source_of_profile(profile: SafetyProfile, file: str | Path | None) -> bytes:
    """The bytes of the profile's file: the one whose digest the profile states."""
    name = str(file if file is not None else profile.name)
    try:
        path = config_path(name if name.endswith((".yaml", ".yml")) else f"safety/{name}.yaml")
    except ConfigError as error:
        raise LogError(
            f"The file of profile '{profile.name}' is not found. Pass profile_file=. ({error})"
        ) from None
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != profile.digest:
        raise LogError(
            f"{path} is not the file that profile '{profile.name}' ({profile.digest[:12]}...) was loaded from, or "
            "was changed since. Pass profile_file=, or load it again."
        )
    return data


def _key_order(signing_key: str | Path | Ed25519PrivateKey | None) -> dict[str, str]:
    if isinstance(signing_key, Ed25519PrivateKey):
        return {"key_pem": base64.b64encode(keys.private_pem(signing_key)).decode()}
    path = Path(signing_key) if signing_key is not None else keys.key_directory() / "log.pem"
    return {"key_path": str(path.absolute())}


def _start_writer(order: dict[str, Any], ring: Ring) -> subprocess.Popen[bytes]:
    """The writer in a session of its own: a Ctrl-C or a signal to our group does not reach it."""
    environment = dict(os.environ)
    source = str(Path(robolearn.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (source, environment.get("PYTHONPATH"))))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WRITER],
            stdin=subprocess.PIPE,
            pass_fds=(ring.descriptor,),
            env=environment,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    except OSError as error:
        raise LogError(f"The log writer cannot be started: {error}.") from error
    return process
