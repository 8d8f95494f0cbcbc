"""Ends the nodes of an arm in every way and at every moment, and looks at what was sent last and at who is left.

    python tests/ros/endings.py --count 100        one line for each ending; exit status 1 where one was out of order

A way is (whom, signal, phase): whom the signal reaches, by `robolearn serve` or by a launch, and what the arm does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle, islice, product
from pathlib import Path
from typing import Any

import launch_standin
import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from robolearn_ros.messages import Polled, qos
from robolearn_ros.operator_client import OperatorClient
from sensor_msgs.msg import JointState

from robolearn.deploy.operators import operator_key_path
from robolearn.deploy.serving import free_domain, ros_environment
from robolearn.keys import load_or_create_key

LAUNCH = Path(__file__).parents[2] / "ros2_ws/src/robolearn_ros/launch/sim_demo.launch.py"
MARK = "ROBOLEARN_ENDINGS_MARK"
NODES = ("sim_node", "safety_node", "policy_node")
GOALS = ((0.5, 0.25, 0.4), (0.45, -0.25, 0.5))
MOVING_RAD_S = 0.3
AT_REST_RAD_S = 0.001
NOT_REACHED = "the phase was not reached"
UP_S, END_S = 60.0, 30.0  # on a machine that is busy with other things


@dataclass(frozen=True)
class Way:
    """How one session is ended. whom: serve, launch (the process), terminal (its group), a node, log_writer,
    lifecycle. by: serve or launch, who started the nodes."""

    whom: str
    number: signal.Signals
    phase: str
    by: str = "serve"

    def __str__(self) -> str:
        return f"{self.by}: {self.whom} {self.number.name} {self.phase}"


@dataclass
class Outcome:
    """What was seen. speed_rad_s: of the last sample sent; None where none ever was. left: who was still there."""

    way: Way
    moving_rad_s: float = 0.0
    speed_rad_s: float | None = None
    left: list[str] = field(default_factory=list)
    took_s: float = 0.0  # until every process had ended
    held_s: float = 0.0  # until the last sample in motion
    log: str = ""  # the reason in the log's last event
    said: str = ""
    problems: list[str] = field(default_factory=list)


class Watcher:
    """One node in a thread: what is sent to the arm, what the monitor decides, an operator's goals and calls."""

    def __init__(self, domain_id: int):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node = Node("watcher", context=self.context)
        self._sent = Polled(self.node, JointState, "/robolearn/sent_command", qos(500))
        self._policy = Polled(self.node, JointState, "/robolearn/policy_command", qos(500))
        self._decisions = Polled(self.node, DiagnosticStatus, "/robolearn/decision", qos(50, latched=True))
        self._operator = OperatorClient(self.node, load_or_create_key(operator_key_path()))
        self._goals = self.node.create_publisher(PointStamped, "/robolearn/goal", qos(1))
        # stamp, position, velocity
        self.sent: deque[tuple[float, np.ndarray, np.ndarray]] = deque(maxlen=4000)
        self.moved_s = 0.0  # when a sample in motion came last
        self.policy_s = 0.0  # when the policy was heard last
        self.state, self.text = "", ""
        self._closing = False
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            self._executor.spin_once(timeout_sec=0.0)
            now = time.monotonic()
            for message in self._sent.take():
                stamp = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
                self.sent.append((stamp, np.array(message.position), np.array(message.velocity)))
                if np.abs(message.velocity).max() > AT_REST_RAD_S:
                    self.moved_s = now
            if self._policy.take():
                self.policy_s = now
            for message in self._decisions.take():
                self.state = {pair.key: pair.value for pair in message.values}["state"]
                self.text = message.message
            time.sleep(0.002)

    @property
    def speed_rad_s(self) -> float | None:
        """Of the sample sent last, by what it says of itself and by its distance from the one before."""
        if len(self.sent) < 2:
            return None
        (t0, p0, _), (t1, p1, v1) = self.sent[-2], self.sent[-1]
        return max(float(np.abs(v1).max()), float(np.abs(p1 - p0).max()) / max(t1 - t0, 1e-4))

    def wait(self, until: Any, timeout_s: float) -> bool:
        """Whether something holds in time."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def ask(self, kind: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """The answer of a service; None where none came."""
        client = self.node.create_client(kind, name)
        if not self.wait(client.service_is_ready, timeout_s):
            return None
        future = client.call_async(request)
        return future.result() if self.wait(future.done, timeout_s) else None

    def call(self, verb: str) -> tuple[bool, str]:
        """Ask the safety node for a start, a stop or a reset."""
        if not self.wait(lambda: self._operator.ready(verb), 10.0):
            return False, "no safety node"
        call = self._operator.call(verb)
        return call.result() if self.wait(call.done, 10.0) else (False, "no answer")

    def stop(self) -> None:
        """Ask for a stop, and do not wait for the answer."""
        self.wait(lambda: self._operator.ready("stop"), 10.0)
        self._operator.call("stop")

    def start(self) -> str:
        """Start the arm, again while the nodes are still finding each other. What was answered last, or empty."""
        text, deadline = "", time.monotonic() + UP_S
        while time.monotonic() < deadline:
            if self.state == "stopped":
                self.call("reset")
            accepted, text = self.call("start")
            if accepted or self.state == "running":
                return ""
            time.sleep(0.25)
        return text

    def move(self) -> bool:
        """Goals back and forth until the arm moves fast enough."""
        for goal in GOALS * 6:
            if self.state in ("stopped", "holding") and self.start():
                return False
            message = PointStamped()
            message.header.frame_id = "base"
            message.header.stamp = self.node.get_clock().now().to_msg()
            message.point.x, message.point.y, message.point.z = goal
            self._goals.publish(message)
            if self.wait(lambda: self.state == "running" and (self.speed_rad_s or 0.0) > MOVING_RAD_S, 1.5):
                return True
        return False

    def close(self) -> None:
        """End the thread and the node."""
        self._closing = True
        self._thread.join(5.0)
        self.node.destroy_node()
        self.context.shutdown()


class Session:
    """The nodes of a simulated arm, started by `robolearn serve` or by a launch, in a domain of their own."""

    def __init__(self, bundle: Path, folder: Path, by: str, rate_hz: float = 250.0):
        self.folder, self.by, self.mark = folder, by, uuid.uuid4().hex
        self.domain = free_domain()
        self.output = folder / "said.txt"
        environment = ros_environment(self.domain) | {
            MARK: self.mark,
            "PYTHONUNBUFFERED": "1",
        }
        if by == "serve":
            command = [sys.executable, "-m", "robolearn", "serve", str(bundle), "--robot", "fr3", "--sim"]
            command += ["--rate", str(rate_hz), "--log", str(folder / "serve")]
        else:
            runner = os.environ.get(
                "ROBOLEARN_ROS2_LAUNCH", f"{sys.executable} {launch_standin.__file__}"
            ).split()
            words = [f"bundle:={bundle}", f"rate_hz:={rate_hz}", f"log_dir:={folder / 'safety'}"]
            command = [*runner, str(LAUNCH), *words]
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=folder,
                start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        """What the nodes and whoever started them have written."""
        files = [self.output, *self.folder.glob("serve/*/*.out")]
        return "\n".join(file.read_text(errors="replace") for file in files)

    def up(self) -> bool:
        """Whether the policy is active."""
        deadline = time.monotonic() + UP_S
        while "active: " not in self.said():
            if time.monotonic() > deadline or self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def processes(self) -> dict[int, str]:
        """Every process of this session that still runs, by id: node, log_writer, or its command."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = _kind(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def pid(self, name: str) -> int | None:
        """The process of a node."""
        return next((pid for pid, kind in self.processes().items() if kind == name), None)

    def send(self, whom: str, number: signal.Signals) -> None:
        """Send a signal to a process of this session, or to the group of the terminal in which it runs."""
        if whom == "terminal":
            os.killpg(self.process.pid, number)
        elif whom in ("serve", "launch"):
            self.process.send_signal(number)
        else:
            pid = self.pid(whom)
            if pid is not None:
                os.kill(pid, number)

    def ended(self, outcome: Outcome) -> bool:
        """Whether every process has ended in time; `robolearn serve`, where it was not killed, as the last one."""
        deadline, watched = time.monotonic() + END_S, self.by == "serve"
        while True:
            supervised = self.process.poll() is None
            left = self.processes()
            if not supervised and watched:
                watched = False
                if left and (outcome.way.whom, outcome.way.number) != ("serve", signal.SIGKILL):
                    outcome.problems.append(f"serve ended before {', '.join(left.values())}")
            if not supervised and not left:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def log_end(self) -> str:
        """The reason that the log's last event but the signature gives; empty where it has no end."""
        for file in (
            *self.folder.glob("serve/*/safety/events.jsonl"),
            *self.folder.glob("safety/events.jsonl"),
        ):
            events = [json.loads(line) for line in file.read_text().splitlines()]
            return next((event["fields"]["reason"] for event in events if event["kind"] == "session_end"), "")
        return ""

    def clear(self) -> None:
        """Kill whoever is left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def _kind(words: list[str]) -> str:
    line = " ".join(words)
    if "writer_process" in line:
        return "log_writer"
    return next((name for name in NODES if f"robolearn_ros.{name}" in line or line.endswith(name)
                 or f"/{name} " in line), line[:60])  # fmt: skip


def end(bundle: Path, folder: Path, way: Way, rate_hz: float = 250.0, seed: int = 0) -> Outcome:
    """Bring a session into a phase, end it in one way, and say what was seen."""
    outcome = Outcome(way)
    folder.mkdir(parents=True)
    session = Session(bundle, folder, way.by, rate_hz)
    watcher = Watcher(session.domain)
    try:
        problem = _reach(session, watcher, way, seed)
        if problem:
            outcome.problems.append(f"{NOT_REACHED}: {problem}")
        outcome.moving_rad_s = watcher.speed_rad_s or 0.0
        began = time.monotonic()
        _act(session, watcher, way, outcome)
        if not session.ended(outcome):
            outcome.left = list(session.processes().values())
        outcome.took_s = time.monotonic() - began
        time.sleep(0.1)
        outcome.speed_rad_s = watcher.speed_rad_s
        outcome.held_s = max(watcher.moved_s - began, 0.0)
    finally:
        watcher.close()
        session.clear()
    outcome.log, outcome.said = session.log_end(), session.said()
    _judge(outcome)
    return outcome


def _reach(session: Session, watcher: Watcher, way: Way, seed: int) -> str:
    """Wait for the phase; what was wrong, or empty."""
    if way.phase == "start-up":
        time.sleep(random.Random(seed).uniform(0.05, 3.0))
        return ""
    if not session.up():
        return "the policy did not become active: " + session.said()[-500:]
    if not watcher.wait(lambda: watcher.state == "holding", 20.0):
        return f"the monitor is {watcher.state}"
    if way.phase == "held":
        return ""
    if problem := watcher.start():
        return problem
    if not watcher.move():
        return f"it does not move: {watcher.state}, {watcher.text}"
    if way.phase in ("braking", "stopped"):
        watcher.stop()
        wanted = ("stopping",) if way.phase == "braking" else ("stopped",)
        if not watcher.wait(lambda: watcher.state in wanted, 5.0):
            return f"the monitor is {watcher.state}"
    return ""


def _act(session: Session, watcher: Watcher, way: Way, outcome: Outcome) -> None:
    """The end itself."""
    if way.whom == "lifecycle":
        request = ChangeState.Request(transition=Transition(label="shutdown"))
        if not watcher.ask(ChangeState, "/policy_node/change_state", request).success:
            outcome.problems.append("the shutdown was refused")
        silent_from = time.monotonic()
        state = watcher.ask(GetState, "/policy_node/get_state", GetState.Request()).current_state.label
        if state != "finalized":
            outcome.problems.append(f"the policy node is {state}")
        watcher.wait(lambda: watcher.state == "stopped", 5.0)
        time.sleep(0.3)
        if watcher.policy_s > silent_from + 0.1:  # what was on its way has come by then
            outcome.problems.append("a finalized node still publishes")
        _check_rest(watcher, outcome)
        session.send("serve", signal.SIGTERM)
    elif way.whom == "log_writer":
        session.send(way.whom, way.number)
        killed = way.number == signal.SIGKILL  # anything else it leaves to the safety node
        stopped = watcher.wait(lambda: watcher.state in ("stopping", "stopped"), 3.0 if killed else 0.5)
        if way.phase == "moving" and stopped != killed:
            outcome.problems.append(f"the monitor is {watcher.state}: {watcher.text}")
        if killed:
            watcher.wait(lambda: watcher.state in ("stopped", "holding"), 5.0)
            _check_rest(watcher, outcome)
        session.send("serve", signal.SIGTERM)
    else:
        session.send(way.whom, way.number)
        if way.whom in ("serve", "terminal") and way.phase == "moving":
            time.sleep(0.05)
            session.send(way.whom, way.number)  # an impatient second one


def _check_rest(watcher: Watcher, outcome: Outcome) -> None:
    speed = watcher.speed_rad_s
    if speed is None or speed > AT_REST_RAD_S:
        outcome.problems.append(f"sent at {speed} rad/s before the end")


def _judge(outcome: Outcome) -> None:
    way, problems = outcome.way, outcome.problems
    if outcome.left:
        problems.append(f"left behind: {', '.join(outcome.left)}")
    if outcome.speed_rad_s is not None and not outcome.speed_rad_s <= AT_REST_RAD_S:
        problems.append(f"the last sample was sent at {outcome.speed_rad_s:.4f} rad/s")
    if way.phase != "start-up":
        if outcome.speed_rad_s is None:
            problems.append("nothing was ever sent")
        if (way.whom, way.number) != (
            "log_writer",
            signal.SIGKILL,
        ) and "the arm was sent to rest" not in outcome.log:
            problems.append(f"the log ends with '{outcome.log}'")
    # Killed while it starts, Python writes where it was.
    if "Traceback" in outcome.said and way.phase != "start-up":
        problems.append("a traceback: " + outcome.said[outcome.said.index("Traceback") :][-600:])


def every_way() -> list[Way]:
    """The whole matrix: every process, every signal of a user, every phase.

    And what cannot be caught, where somebody else can still brake.
    """
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    phases = ("start-up", "held", "moving", "braking", "stopped")
    ways = []
    for phase in phases:
        ways += [Way(whom, number, phase) for whom, number in product(("serve", *NODES), caught)]
        ways += [Way(whom, signal.SIGKILL, phase) for whom in ("serve", "policy_node", "sim_node")]
        ways += [Way("launch", number, phase, "launch") for number in (*caught, signal.SIGKILL)]
        ways += [Way("terminal", number, phase, "launch") for number in caught]
    ways += [Way("policy_node", number, "moving", "launch") for number in (signal.SIGTERM, signal.SIGKILL)]
    ways += [Way("lifecycle", signal.SIGTERM, phase) for phase in ("held", "moving", "stopped")]
    for phase in ("held", "moving"):
        ways += [Way("log_writer", number, phase) for number in (signal.SIGTERM, signal.SIGKILL)]
    return ways


def _make_bundle(folder: Path) -> Path:
    import ros_standin  # and with it JAX

    path = ros_standin.export_reaching(folder).path
    assert path is not None
    return Path(path)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count", type=int, default=100, help="endings, in motion first; 0 for the whole matrix"
    )
    parser.add_argument("--rate", type=float, default=500.0, help="Hz of the nodes")
    parser.add_argument("--bundle", type=Path, help="a bundle for the FR3; one is made without")
    parser.add_argument("--only", default="", help="ways whose name holds this text")
    options = parser.parse_args()
    ways = [way for way in every_way() if options.only in str(way)]
    if options.count:
        moving = [way for way in ways if way.phase == "moving"]
        ways = list(islice(cycle(moving or ways), options.count))
    bad = 0
    with tempfile.TemporaryDirectory(prefix="robolearn-endings-") as folder:
        bundle = options.bundle or _make_bundle(Path(folder))
        for number, way in enumerate(ways, 1):
            outcome = end(bundle, Path(folder) / str(number), way, options.rate, seed=number)
            if any(
                problem.startswith(NOT_REACHED) for problem in outcome.problems
            ):  # a machine that was too busy
                outcome = end(bundle, Path(folder) / f"{number}-again", way, options.rate, seed=number)
            bad += bool(outcome.problems)
            speed = "nothing" if outcome.speed_rad_s is None else f"{outcome.speed_rad_s:.6f} rad/s"
            print(
                f"{number:3d} {way!s:45s} from {outcome.moving_rad_s:.2f} rad/s: last sent {speed}, rest after "
                f"{outcome.held_s:.2f} s, ended after {outcome.took_s:.1f} s: "
                + ("; ".join(outcome.problems) or "in order"),
                flush=True,
            )
    print(f"{len(ways) - bad} of {len(ways)} endings in order")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
