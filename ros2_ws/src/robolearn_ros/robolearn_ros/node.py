"""What every node process shares: start, an executor thread for services, a clean end, diagnostics."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robolearn.deploy.ending import Ending, SignalsHeld, watch_supervisor
from robolearn.errors import RobolearnError
from robolearn.files.printable import printable
from robolearn_ros.loop import MIDDLEWARE_BELOW, Loop, promote_other_threads, set_fifo
from robolearn_ros.parameters import Parameter

REST_MAX_S = 5.0  # from the request to end on: far above the longest braking that a profile allows
STANDING_MAX_S = (
    1.0  # the same while the clock stands, a paused simulator's: nothing can come to rest meanwhile
)

RT_PRIORITY = Parameter("rt_priority", 40, "SCHED_FIFO priority of the control loop, 0 for none", "", 0, 95)
PHASE = Parameter("phase", 0.0, "phase of this loop within the period of its clock", "periods", 0, 1)
STATS_PATH = Parameter("stats_path", "", "file for loop statistics, written as JSON at the end")

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


class ControlNode(Protocol):
    """A node with a control loop of its own."""

    @property
    def node(self) -> Node:
        """The ROS node, for services and parameters."""
        ...

    @property
    def loop(self) -> Loop:
        """The control loop."""
        ...

    def tick(self, tick_ns: int) -> None:
        """One cycle."""
        ...

    def stand(self, problem: str) -> None:
        """In place of a cycle, again and again while the loop's clock stands. problem: why."""
        ...

    def rest(self, reason: str) -> bool:
        """After a request to end, before each cycle: bring to rest what moves. True once nothing does."""
        ...

    def close(self) -> None:
        """Release what the node holds; the loop has ended."""
        ...

    def statistics(self) -> dict[str, Any]:
        """What `stats_path` gets."""
        ...


class CallbackNode:
    """A ControlNode whose executor's thread does all the work, and that leaves everything as it is at its end."""

    def tick(self, tick_ns: int) -> None:
        """The executor's thread does the work."""

    def stand(self, problem: str) -> None:
        """Nothing is due while the clock stands."""

    def rest(self, reason: str) -> bool:
        """Nothing of this node's moves."""
        del reason
        return True

    def close(self) -> None:
        """Nothing to release."""


def run_node(make: Callable[[], ControlNode], args: list[str] | None = None) -> int:
    """Run a node until a signal asks it to end, or its supervisor has ended; what moves is brought to rest first.

    Returns the exit status: 0 ended, 1 ended but something was left unfinished, 2 wrong parameters or files.
    """
    ending = Ending()
    SignalsHeld(ending.ask).hold()  # to the very end: a late signal must not cut the closing of a log short
    watch_supervisor(os.environ, ending.ask)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        control = make()
    except RobolearnError as error:
        sys.stderr.write(printable(str(error)) + "\n")
        rclpy.try_shutdown()
        return 2
    if ending:
        sys.stderr.write(f"Stopped before the node was ready: {ending.reason}.\n")
        control.rest(ending.reason)  # nothing moves yet; its log says why it ends
        _close(control)
        rclpy.try_shutdown()
        return 1
    return _run(control, ending)


def _run(control: ControlNode, ending: Ending) -> int:
    """The executor's thread and the control loop, until an end was asked for and nothing moves. The exit status."""
    executor = SingleThreadedExecutor()
    for node in (control.node, *getattr(control, "other_nodes", ())):
        executor.add_node(node)
    if control.loop.priority > MIDDLEWARE_BELOW:
        promote_other_threads(control.loop.priority - MIDDLEWARE_BELOW)
    below = max(control.loop.priority - 2 * MIDDLEWARE_BELOW, 1) if control.loop.priority else 0
    ended = threading.Event()
    # Ends the thread from within: Executor.shutdown takes away what a thread that still spins is about to use.
    end = control.node.create_guard_condition(ended.set)
    thread = threading.Thread(target=_serve, args=(executor, below, ended), name="executor", daemon=True)
    thread.start()
    moving = False
    try:
        moving = not _tick_until_rest(control, ending)
    finally:
        end.trigger()
        thread.join(2.0)
        executor.shutdown(timeout_sec=1.0)
        _write_statistics(control)
        problem = _close(control)
        rclpy.try_shutdown()
    return 1 if problem or moving else 0


def _tick_until_rest(control: ControlNode, ending: Ending) -> bool:
    """Tick until an end was asked for and the node is at rest; False where it was not in REST_MAX_S."""
    asked_s = 0.0
    for tick_ns in control.loop:
        if ending:
            if control.rest(ending.reason):
                return True
            asked_s = asked_s or time.monotonic()
            most_s = STANDING_MAX_S if tick_ns is None else REST_MAX_S
            if time.monotonic() - asked_s > most_s:
                why = f"; {control.loop.clock.fault}" if tick_ns is None else ""
                sys.stderr.write(
                    f"Not at rest {most_s:g} s after the request to end ({ending.reason}){why}.\n"
                )
                return False
        if tick_ns is None:
            control.stand(control.loop.clock.fault)
        else:
            control.tick(tick_ns)
    return True


def _close(control: ControlNode) -> str:
    """What could not be ended in order; empty where all was."""
    try:
        control.close()
    except RobolearnError as error:
        sys.stderr.write(printable(str(error)) + "\n")
        return str(error)
    return ""


def _serve(executor: SingleThreadedExecutor, priority: int, ended: threading.Event) -> None:
    # A thread that holds the interpreter while it is starved would hold up the control loop with it.
    set_fifo(priority)
    while not ended.is_set():
        try:
            executor.spin_once()
        except ExternalShutdownException:
            return
        except Exception:  # of one callback: services and diagnostics must outlive it
            traceback.print_exc()


def _write_statistics(control: ControlNode) -> None:
    path = control.node.get_parameter(STATS_PATH.name).value
    if path:
        try:
            Path(path).write_text(json.dumps(control.statistics(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:  # a full disk must not keep the node from ending in order
            sys.stderr.write(f"The statistics are not written to {path}: {error.strerror}.\n")


def process_age_s() -> float:
    """How long this process has been running, interpreter and imports included."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def called(node: Node) -> str:
    """A node as diagnostics call it: its name, below its namespace if it is in one."""
    return node.get_fully_qualified_name().lstrip("/")


def status(
    name: str, level: bytes, message: str, hardware_id: str, values: dict[str, Any]
) -> DiagnosticStatus:
    """A diagnostic status; numbers are written with six digits."""
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id, values=pairs)


def loop_values(loop: Loop) -> dict[str, Any]:
    """A loop's statistics as flat diagnostic values."""
    summary = loop.summary()
    values: dict[str, Any] = {key: summary[key] for key in ("rate_hz", "ticks", "missed", "real_time")}
    for kind in ("late_us", "work_us"):
        values |= {f"{kind}_{key}": summary[kind].get(key, 0.0) for key in ("p50", "p99", "p99.9", "max")}
    return values


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
