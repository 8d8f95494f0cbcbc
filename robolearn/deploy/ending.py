"""How processes end together: signals become requests, and a child learns of its parent's end.

A process that moves an arm, or supervises one that does, must not die where a signal finds it. `SignalsHeld` turns
every signal that can be caught into a request that the process carries out itself. `lifeline` names the supervisor in
a child's environment; the child's `watch_supervisor` asks it to end when that process is gone, killed or not.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

SUPERVISOR = (
    "ROBOLEARN_SUPERVISOR"  # environment variable: process id, and its start in clock ticks since boot
)
_LOOK_S = 0.2  # where the kernel has no pidfd

_STOPPED_FROM_TERMINAL = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_HARMLESS = {
    signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGXFSZ,
}  # fmt: skip
_OF_A_BROKEN_PROGRAM = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip
_NOT_CAUGHT = {signal.SIGKILL, signal.SIGSTOP}
_ALWAYS = {signal.SIGINT, signal.SIGTERM}
ENDING_SIGNALS = frozenset(
    signal.valid_signals() - _STOPPED_FROM_TERMINAL - _HARMLESS - _OF_A_BROKEN_PROGRAM - _NOT_CAUGHT
)
"""Every signal that ends a process unless it is caught, apart from SIGKILL and those of a broken program."""


class Ending:
    """Whether this process has been asked to end, and why. The first reason stays."""

    def __init__(self) -> None:
        self.reason = ""
        # Its put is reentrant. An Event's set is not: a signal that finds its waiter inside the lock waits for ever.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ask(self, reason: str) -> None:
        """Ask this process to end; any thread, or a signal handler."""
        if not self.reason:
            self.reason = reason
        self._asked.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Whether the process has been asked to end, at the latest after timeout_s."""
        if not self.reason:
            with contextlib.suppress(queue.Empty):
                self._asked.get(timeout=timeout_s)
        return bool(self.reason)

    def __bool__(self) -> bool:
        return bool(self.reason)


class SignalsHeld:
    """While it is entered, signals ask instead of ending this process, and Ctrl-Z does not stop it.

    `caught` holds their numbers. What was ignored stays so, as under nohup, apart from SIGINT and SIGTERM.
    Main thread only: elsewhere it changes nothing, as Python handles signals in the main thread.
    """

    def __init__(self, ask: Callable[[str], None] = lambda _: None):
        self._ask = ask
        self._before: dict[int, Any] = {}
        self.caught: list[int] = []

    def __enter__(self) -> Self:
        return self.hold()

    def hold(self) -> Self:
        """Hold them from now on."""
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                if number in _ALWAYS or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
            for number in _STOPPED_FROM_TERMINAL:
                self._before[number] = signal.signal(number, signal.SIG_IGN)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.caught.append(number)
        try:
            name = signal.Signals(number).name
        except ValueError:  # a real-time signal
            name = f"signal {number}"
        self._ask(name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()


def lifeline() -> dict[str, str]:
    """What a child's environment carries so that it ends when this process has ended."""
    return {SUPERVISOR: f"{os.getpid()}:{_began(os.getpid())}"}


def watch_supervisor(environment: Mapping[str, str], ask: Callable[[str], None]) -> threading.Thread | None:
    """A thread that asks this process to end once the supervisor named in its environment is gone; None without one.

    A second process with the supervisor's id is recognised by its time of start.
    """
    given = environment.get(SUPERVISOR, "")
    pid, _, began = given.partition(":")
    if not (pid.isdigit() and began.isdigit()):
        return None

    def watch() -> None:
        _await_end(int(pid), int(began))
        ask(f"its supervisor, process {pid}, has ended")

    thread = threading.Thread(target=watch, name="supervisor", daemon=True)
    thread.start()
    return thread


def _await_end(pid: int, began: int) -> None:
    """Return once the process that began then has ended; a zombie has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        descriptor = None  # an old kernel, or a container that does not allow it
    try:
        while _began(pid) == began:
            if descriptor is None:
                time.sleep(_LOOK_S)
                continue
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _began(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None where there is none, or it is a zombie."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
