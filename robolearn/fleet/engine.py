"""Flower's processes: starting them with TLS, node keys and no calls outward, and ending every one of them.

SuperLink and SuperNodes start children of their own, one of which leaves the process group. Each carries a token in its
environment, by which all are found and ended, also those whose parent has died.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from robolearn.errors import MissingDependency, RobolearnError
from robolearn.files.writing import replace_file
from robolearn.fleet.settings import FEDERATION_VARIABLE, NODES_FILE, SITE_VARIABLE, Folder

FLOWER = "1.42.0"  # of other versions neither the options nor the functions that the site wraps are known
TOKEN = "ROBOLEARN_FLOWER"
LINK = "federation"  # what Flower's own config calls the server
_ENDING_S = 10.0
_PR_SET_PDEATHSIG = 1
_NOT_ACTIVATED = "Exit Code: 305"  # of a SuperNode that cannot activate
_INTERRUPTED = "SuperNode terminated gracefully"  # by itself, when the server answers 401
_QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
_APP = Path(__file__).parent / "app"


class EngineError(RobolearnError):
    """Flower refused, or a process of it ended."""


def program(name: str) -> str:
    """The path of one of Flower's programs beside this Python. Raises MissingDependency where there is none."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise MissingDependency(
            "Federated training needs Flower, which wants older protobuf, typer and rich than the rest: make an "
            f"environment of its own, and there pip install 'robolearn[fleet]' (flwr=={FLOWER})."
        )
    return str(path)


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """For every process of Flower: no telemetry, no update check, its own folder, this Python's programs first."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FLWR_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
    return {
        **inherited,
        "PATH": path,
        **_QUIET,
        "FLWR_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        **(more or {}),
    }


@dataclass
class FlowerProcess:
    """A process of Flower and all that it starts. log: its output."""

    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _process: subprocess.Popen[bytes] = field(init=False, repr=False)
    _before: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as stream:
            self._before = stream.tell()  # what earlier processes wrote
            self._process = subprocess.Popen(
                list(self.command),
                env={**self.env, TOKEN: self.token},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Until it ends; its exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End all of it at once, without a word to the others: a power cut."""
        for one in holders(self.token):
            _signal(one, signal.SIGKILL)
        self._process.wait(_ENDING_S)

    def stop(self) -> None:
        """Ask every process to end, and end those that do not. Returns when none is left."""
        self._process.poll()
        for one in holders(self.token):
            _signal(one, signal.SIGTERM)
        until = time.monotonic() + _ENDING_S
        while (left := holders(self.token)) and time.monotonic() < until:
            self._process.poll()
            time.sleep(0.1)
        for one in left:
            _signal(one, signal.SIGKILL)
        try:
            self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            raise EngineError(f"Process {self.pid} of Flower does not end. Its log: {self.log}") from None

    def tail(self, lines: int = 5) -> str:
        """The end of what it wrote."""
        text = self.log.read_bytes()[self._before :].decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def holders(token: str) -> list[psutil.Process]:
    """Every process of this user that carries the token, zombies left out."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get(TOKEN) == token and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


def _end_with_parent() -> None:
    """In the child: SIGTERM when the parent process is gone, for instance killed (prctl(2), Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


@contextmanager
def ended(process: FlowerProcess) -> Iterator[FlowerProcess]:
    """Stop the process on leaving, however that happens."""
    try:
        yield process
    finally:
        process.stop()


def start_server(folder: Folder, more: Mapping[str, str] | None = None) -> FlowerProcess:
    """The SuperLink of a coordinator's folder: TLS, node keys, its database in the folder."""
    federation = folder.federation()
    command = [
        program("flower-superlink"),
        *("--ssl-ca-certfile", str(folder / "ca.crt")),
        *("--ssl-certfile", str(folder / "server.crt")),
        *("--ssl-keyfile", str(folder / "server.key")),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
        *("--host", federation.host, "--port", str(federation.port)),
        *("--database", str(folder / "flower.db")),
    ]
    home = folder / "flower"
    home.mkdir(exist_ok=True)
    if not (folder / "flower.db").exists():  # a new server knows no node
        (folder / NODES_FILE).unlink(missing_ok=True)
    write_config(home, federation.address, folder / "ca.crt")
    env = environment(home, {FEDERATION_VARIABLE: str(folder.path), **(more or {})})
    return FlowerProcess(command, env, folder / "server.log")


def start_site(folder: Folder, more: Mapping[str, str] | None = None, retries: int = 20) -> FlowerProcess:
    """The SuperNode of a site's folder, with the site's policy around every client process."""
    federation, site = folder.federation(), folder.site()
    home, shims = folder / "flower", folder / "bin"
    home.mkdir(exist_ok=True)
    shims.mkdir(exist_ok=True)
    shim = replace_file(
        shims / "flwr-clientapp",
        f"#!{sys.executable}\nfrom robolearn.fleet.guard import main\n\nmain()\n",
        mode=0o755,
    )
    env = environment(home, {SITE_VARIABLE: str(folder.path), **(more or {})})
    env["PATH"] = os.pathsep.join([str(shim.parent), env["PATH"]])
    command = [
        program("flower-supernode"),
        *("--root-certificates", str(folder / "ca.crt")),
        *("--superlink", federation.address),
        *("--auth-supernode-private-key", str(folder / "node.key")),
        *("--host", "127.0.0.1", "--port", str(site.port)),
        *("--max-retries", str(retries)),
    ]
    return FlowerProcess(command, env, folder / "site.log")


def refused_by_server(process: FlowerProcess) -> bool:
    """Whether a node that has ended did so because the server was not there, or does not know its key."""
    return _NOT_ACTIVATED in process.tail(60)


def clock_refused(process: FlowerProcess) -> bool:
    """Whether a node that has ended did so because the server refused the time that it signed; Flower's status is 0."""
    return process.status == 0 and _INTERRUPTED in process.tail(60)


def write_config(home: Path, address: str, ca: Path) -> None:
    """Flower's own config: one server, the federation's."""
    text = (
        f'[superlink]\ndefault = "{LINK}"\n\n[superlink.{LINK}]\naddress = "{address}"\n'
        f"root-certificates = {json.dumps(str(ca))}\n"
    )
    replace_file(home / "config.toml", text)


def wait_for_port(process: FlowerProcess, host: str, port: int, timeout_s: float = 60.0) -> None:
    """Until somebody listens there. Raises EngineError where the process ends before, or it takes too long."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if process.status is not None:
            raise EngineError(f"Flower ended with status {process.status}. {process.tail()}")
        if listens(host, port):
            return
        time.sleep(0.2)
    raise EngineError(f"Nothing listens on {host}:{port} after {timeout_s:g} s. Its log: {process.log}")


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def flwr(folder: Folder, *arguments: str, timeout_s: float = 120.0) -> Any:
    """One command of Flower's to the server of a coordinator's folder; its JSON. Raises EngineError."""
    command = [program("flwr"), *arguments, "--format", "json"]
    done = subprocess.run(
        command,
        env=environment(folder / "flower"),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    start = done.stdout.find("{")
    try:
        found = json.loads(done.stdout[start:])
    except ValueError:
        raise EngineError(f"Flower: {(done.stderr or done.stdout).strip()[-500:]}") from None
    if done.returncode or found.get("success") is False:
        raise EngineError(f"Flower: {found.get('error-message', found)}")
    return found


def register(folder: Folder, public_keys: Mapping[str, Path]) -> dict[str, str]:
    """Make the sites' node keys known to the running server; {node id: pseudonym}, kept in nodes.json.

    A site whose key was taken out of the folder is asked no more.
    """
    path = folder / NODES_FILE
    kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    nodes = {node: name for node, name in kept.items() if name in public_keys}
    for name, key in sorted(public_keys.items()):
        if name not in nodes.values():
            found = flwr(folder, "supernode", "register", str(key), LINK, "--name", name)
            nodes[str(found["node-id"])] = name
        replace_file(path, json.dumps(nodes) + "\n")  # after each: the server knows it from then on
    return nodes


def online(folder: Folder) -> set[str]:
    """Pseudonyms of the sites whose nodes are connected."""
    nodes = json.loads((folder / NODES_FILE).read_text(encoding="utf-8"))
    found = flwr(folder, "supernode", "list", LINK)
    return {
        nodes[str(one["node-id"])]
        for one in found["nodes"]
        if one["status"] == "online" and str(one["node-id"]) in nodes
    }


def start_run(folder: Folder) -> str:
    """Send the app and start the rounds; Flower's id of the run."""
    return str(flwr(folder, "run", str(app_folder(folder)), LINK)["run-id"])


def run_status(folder: Folder, run: str) -> str:
    """Such as `running` or `finished:completed`."""
    return str(flwr(folder, "list", LINK, "--run-id", run)["runs"][0]["status"])


def unfinished_runs(folder: Folder) -> list[str]:
    """Flower's ids of runs that have not ended; one whose server was killed counts as running for ever."""
    runs = flwr(folder, "list", LINK)["runs"]
    return [str(run["run-id"]) for run in runs if not run["status"].startswith("finished")]


def stop_run(folder: Folder, run: str) -> None:
    """End a run at the server."""
    flwr(folder, "stop", run, LINK)


def app_folder(folder: Folder) -> Path:
    """A copy of the app, in the folder: Flower builds it where it lies."""
    target = folder / "app"
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(_APP, target, ignore=shutil.ignore_patterns("__pycache__")))


@functools.cache
def app_digest() -> str:
    """SHA-256 of the app as this robolearn builds it: the same on every machine with the same robolearn."""
    with tempfile.TemporaryDirectory() as scratch:
        target = app_folder(Folder(scratch))
        done = subprocess.run(
            [program("flwr"), "build", "--app", str(target)],
            env=environment(Path(scratch)), cwd=target, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        built = list(target.glob("*.fab"))
        if done.returncode or len(built) != 1:
            raise EngineError(
                f"Flower could not build the app: {(done.stderr or done.stdout).strip()[-500:]}"
            )
        return hashlib.sha256(built[0].read_bytes()).hexdigest()
