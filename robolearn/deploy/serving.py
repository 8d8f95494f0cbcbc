"""Starts and stops the ROS 2 nodes as processes, without the launch system. Does not import rclpy.

with Serving(run_dir, robot="fr3") as serving:
    serving.start_sim()
    serving.start_safety(log_dir=run_dir / "safety")
    serving.start_policy("fr3-reach.robolearn")
    serving.wait_until_active()
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from robolearn.deploy.arm_names import full_namespace
from robolearn.deploy.discovery import discovery_environment
from robolearn.deploy.ending import Ending, SignalsHeld, lifeline
from robolearn.deploy.operators import local_operator, operators_as_list
from robolearn.deploy.security import enclave_environment, require_middleware
from robolearn.errors import MissingDependency, RobolearnError

GRACE_S = {"safety_node": 25.0}  # it brakes (5 s at most), and ends its log (15 s at most)
OTHERS_GRACE_S = 8.0
_ORDER = (
    "policy_node",
    "motion_node",
    "safety_node",
)  # asked to end at once; everything else afterwards, the arm last
_WHEELS = "ros_wheels_bootstrapper"
_INSTALL = (
    "ROS 2 is not installed in this Python environment: pip install 'robolearn[ros]', or, where ROS 2 came from apt, "
    "source /opt/ros/jazzy/setup.bash first."
)


class ServingError(RobolearnError):
    """A node did not start or ended by itself; the message holds its last words."""


class EndAsked(Exception):
    """This process was asked to end while it waited for its nodes; the message says by what."""


def require_ros() -> None:
    """Raises MissingDependency where rclpy or the nodes are not installed, ConfigError where none could start."""
    if importlib.util.find_spec("rclpy") is None:
        raise MissingDependency(_INSTALL)
    if importlib.util.find_spec("robolearn_ros") is None:
        raise MissingDependency(
            "The package robolearn_ros is not installed: pip install robolearn, or build ros2_ws and source it."
        )
    require_middleware()


def ros_environment(domain_id: int | None = None, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a node process, in a domain of its own if one is given.

    changes: in place of what this process has, from `node_environment`; None: this machine only, and security as this
        process has it.
    """
    environment = dict(os.environ)
    if importlib.util.find_spec(_WHEELS) is not None:
        # ROS 2 from wheels sets these for each process itself; those of another environment would be wrong here.
        _drop_wheels_libraries(environment)
        environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # idle helpers of numpy only disturb
    # Over shared memory Fast DDS lets a publisher wait a third of a second for a starved reader that just appeared.
    environment.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    environment |= discovery_environment() if changes is None else changes
    if domain_id is not None:
        environment["ROS_DOMAIN_ID"] = str(domain_id)
    return environment


def _drop_wheels_libraries(environment: dict[str, str]) -> None:
    """Leave in LD_LIBRARY_PATH what a sourced workspace has added, such as message packages built with colcon."""
    given = [part for part in environment.pop("LD_LIBRARY_PATH", "").split(os.pathsep) if part]
    wheels = {part for part in given if re.search(r"/site-packages/ros_[^/]*\.libs$", part)}
    wheels |= {part.split("/lib/python")[0] + "/lib" for part in wheels} | {str(Path(sys.prefix) / "lib")}
    kept = [part for part in given if part not in wheels]
    if kept:
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(kept)


def free_domain() -> int:
    """A ROS 2 domain, 1 to 100, in which nothing on this machine takes part at this moment.

    Participants of domain d listen on UDP ports 7400 + 250 d + 10 + 2 k (DDS interoperability protocol, 9.6.1.1).
    """
    domains = list(range(1, 101))
    random.SystemRandom().shuffle(domains)
    return next((domain for domain in domains if _unused(domain)), domains[0])


def _unused(domain: int) -> bool:
    for participant in range(8):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7410 + 250 * domain + 2 * participant))
            except OSError:
                return False
    return True


def parameter_arguments(parameters: Mapping[str, Any]) -> list[str]:
    """`--ros-args` for parameters; text is quoted so that a number in it stays text, None is left out."""
    arguments = ["--ros-args"]
    for name, value in parameters.items():
        if value is not None and value != []:  # rcl cannot read an empty list; it is every list's default
            text = str(value) if isinstance(value, Path) else value
            arguments += ["-p", f"{name}:={json.dumps(text)}"]
    return arguments


class NodeProcess:
    """One node: its process and the file with everything it wrote."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], output: Path):
        self.name, self.output = name, output
        self._arguments, self._environment = list(arguments), dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, again if it has ended."""
        with self.output.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"robolearn_ros.{self.name}", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches us, and we end the nodes in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._running.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.exit_code is None:
            self._running.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None where it still runs after timeout_s."""
        try:
            return self._running.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            return None

    def last_words(self, lines: int = 8) -> str:
        """The end of its output."""
        text = self.output.read_text(encoding="utf-8", errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


class Serving:
    """The ROS 2 nodes of one arm. Each writes to `<run_dir>/<node>.out`, and its loop statistics to `<node>.json`."""

    def __init__(
        self,
        run_dir: str | Path,
        *,
        robot: str = "fr3",
        rate_hz: float = 500.0,
        domain_id: int | None = None,
        rt_priority: int = 40,
        changes: Mapping[str, str] | None = None,
        namespace: str = "",
        ending: Ending | None = None,
    ):
        """changes: of the nodes' environment, as `ros_environment` has it.  namespace: of the nodes.

        ending: once it is asked for, `start`, `check` and the waits raise EndAsked.
        """
        require_ros()
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.robot, self.rate_hz, self.rt_priority = robot, float(rate_hz), rt_priority
        # A node whose supervisor is gone, killed or not, brakes and ends by itself.
        self.environment = ros_environment(domain_id, changes) | lifeline()
        self._namespace = full_namespace(namespace)
        self.nodes: dict[str, NodeProcess] = {}
        self._ending = Ending() if ending is None else ending

    def start_sim(self, **parameters: Any) -> NodeProcess:
        """A simulated arm, at rate_hz unless it says otherwise."""
        parameters.setdefault("rate_hz", self.rate_hz)
        return self.start("sim_node", robot=self.robot, **parameters)

    def start_safety(self, *, log_dir: str | Path | None, **parameters: Any) -> NodeProcess:
        """The safety monitor, and its log in a new or empty folder.

        Its operator is this account's, unless operators says otherwise. On a simulated arm a second publisher of an
        input is only reported, unless exclusive_publishers says otherwise: faults are injected there. The arm's
        controller is taken to run at rate_hz, unless controller_rate_hz says otherwise.
        """
        parameters.setdefault("operators", operators_as_list(local_operator()))
        parameters.setdefault("exclusive_publishers", "sim_node" not in self.nodes)
        parameters.setdefault("controller_rate_hz", self.rate_hz)
        parameters.setdefault(
            "status_gates", "sim_node" not in self.nodes
        )  # a simulated arm has no such topics
        log = str(log_dir) if log_dir is not None else ""
        return self.start("safety_node", robot=self.robot, rate_hz=self.rate_hz, log_dir=log, **parameters)

    def start_policy(self, bundle: str | Path, **parameters: Any) -> NodeProcess:
        """The policy. On a simulated arm no approval is required, unless require_approval is set.

        Joint states are expected at rate_hz, unless state_rate_hz says otherwise.
        """
        parameters.setdefault("require_approval", "sim_node" not in self.nodes)
        parameters.setdefault("state_rate_hz", self.rate_hz)
        return self.start("policy_node", bundle=str(bundle), command_rate_hz=self.rate_hz, **parameters)

    def start(self, name: str, **parameters: Any) -> NodeProcess:
        """One node of robolearn_ros by module name."""
        self._go_on()
        parameters = {
            "rt_priority": self.rt_priority,
            "stats_path": str(self.run_dir / f"{name}.json"),
            **parameters,
        }
        output = self.run_dir / f"{name}.out"
        output.unlink(missing_ok=True)
        environment = self.environment | enclave_environment(name, self.environment)
        arguments = parameter_arguments(parameters)
        arguments += ["-r", f"__ns:={self._namespace}"] if self._namespace else []
        node = NodeProcess(name, arguments, environment, output)
        self.nodes[name] = node
        return node

    def check(self) -> None:
        """Raises ServingError if a node has ended by itself, EndAsked if this process is to end."""
        self._go_on()
        for node in self.nodes.values():
            if node.exit_code is not None:
                raise ServingError(f"{node.name} ended with status {node.exit_code}:\n{node.last_words()}")

    def _go_on(self) -> None:
        if self._ending:
            raise EndAsked(self._ending.reason)

    def wait(self, timeout_s: float) -> None:
        """Wait, at the longest until this process is asked to end."""
        self._ending.wait(timeout_s)

    def wait_for_output(self, name: str, text: str, timeout_s: float = 20.0) -> None:
        """Wait until a node has written a text. Raises ServingError if it ends, or the time runs out, first."""
        node = self.nodes[name]
        deadline = time.monotonic() + timeout_s
        while text not in node.output.read_text(encoding="utf-8", errors="replace"):
            self.check()
            if time.monotonic() > deadline:
                raise ServingError(f"{name} was not ready within {timeout_s:g} s:\n{node.last_words()}")
            time.sleep(0.02)

    def wait_until_active(self, timeout_s: float = 20.0) -> None:
        """Wait until the policy node has found the arm and is active."""
        self.wait_for_output("policy_node", "active: ", timeout_s)

    def kill(self, name: str) -> None:
        """SIGKILL one node and wait for its end."""
        node = self.nodes[name]
        node.send(signal.SIGKILL)
        node.wait(OTHERS_GRACE_S)

    def restart(self, name: str) -> NodeProcess:
        """Start a node that has ended again, with the same parameters."""
        node = self.nodes[name]
        node.start()
        return node

    def stop(self) -> dict[str, int | None]:
        """End every node: SIGTERM, after a grace SIGKILL. Returns the exit codes by name; a second call the same.

        The monitor brakes the arm to rest before it ends; the arm ends last, so that it is held while the rest goes
        down. A signal meanwhile does not cut this short.
        """
        with SignalsHeld() as held:
            first = [self.nodes[name] for name in _ORDER if name in self.nodes]
            self._end(first)
            self._end([node for node in self.nodes.values() if node not in first])
        for number in held.caught:  # now they may do what they do otherwise
            signal.raise_signal(number)
        return {name: node.exit_code for name, node in self.nodes.items()}

    def _end(self, nodes: Sequence[NodeProcess]) -> None:
        """Ask some nodes to end at the same time, and wait until they have."""
        for node in nodes:
            node.send(signal.SIGTERM)
        for node in nodes:
            if node.wait(GRACE_S.get(node.name, OTHERS_GRACE_S)) is None:
                node.send(signal.SIGKILL)
                node.wait(OTHERS_GRACE_S)

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Loop statistics by node name, of nodes that ended normally."""
        found = {}
        for name in self.nodes:
            file = self.run_dir / f"{name}.json"
            if file.is_file():
                found[name] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
