"""Signals that become requests, and children that learn of their parent's end."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from robolearn.deploy.ending import (
    ENDING_SIGNALS,
    SUPERVISOR,
    Ending,
    SignalsHeld,
    lifeline,
    watch_supervisor,
)


def run(code):
    """Python in a process of its own, ended."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60.0)


def test_every_signal_that_would_end_a_process_is_a_request_while_it_is_held():
    code = """
        import os, signal
        from robolearn.deploy.ending import ENDING_SIGNALS, Ending, SignalsHeld
        for number in sorted(ENDING_SIGNALS):
            ending = Ending()
            with SignalsHeld(ending.ask) as held:
                os.kill(os.getpid(), number)
            assert held.caught == [number], number
            print(ending.reason)
    """
    done = run(code)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split("\n")
    assert {"SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGABRT", "SIGALRM", "signal 40"} <= set(
        said
    )
    assert len(said) == len(ENDING_SIGNALS) + 1
    assert not {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGCHLD} & ENDING_SIGNALS


def test_ctrl_z_does_not_stop_a_process_that_holds_signals():
    code = """
        import os, signal
        from robolearn.deploy.ending import SignalsHeld
        with SignalsHeld():
            os.kill(os.getpid(), signal.SIGTSTP)
        print("went on")
    """
    assert run(code).stdout == "went on\n"


def test_afterwards_signals_do_again_what_they_did_before():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("before"))
    try:
        with SignalsHeld() as held:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert (held.caught, heard) == ([signal.SIGUSR1], [])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == ["before"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_closed_terminal_is_ignored_under_nohup_and_ctrl_c_is_not():
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        with SignalsHeld() as held:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGINT)
        assert held.caught == [signal.SIGINT]
        assert signal.getsignal(signal.SIGHUP) is signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_in_another_thread_nothing_is_held():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def look():
        with SignalsHeld():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


HAMMER = """
    import signal
    from robolearn.deploy.ending import Ending

    ending = Ending()
    signal.signal(signal.SIGALRM, lambda *_: ending.ask("SIGALRM"))
    for k in range(20000):
        ending = Ending()
        signal.setitimer(signal.ITIMER_REAL, 1e-6 * (5 + k % 60))
        while not ending.wait(0.01):
            pass
    print(ending.reason)
"""


def test_a_signal_that_finds_this_process_about_to_wait_does_not_stop_it_for_ever():
    words = [sys.executable, "-c", textwrap.dedent(HAMMER)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "SIGALRM\n"


def test_the_first_reason_to_end_stays():
    ending = Ending()
    assert not ending
    assert not ending.wait(0.0)
    ending.ask("first")
    ending.ask("second")
    assert ending
    assert ending.wait(0.0)
    assert ending.reason == "first"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_is_asked_to_end_when_its_supervisor_has_ended_however_it_ended(how):
    code = "import time; from robolearn.deploy.ending import *; print(lifeline(), flush=True); time.sleep(60)"
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    environment = {SUPERVISOR: eval(supervisor.stdout.readline())[SUPERVISOR]}
    ending = Ending()
    watch_supervisor(environment, ending.ask)
    assert not ending.wait(0.1)
    supervisor.send_signal(how)  # and stays a zombie: nobody has waited for it
    assert ending.wait(30.0)
    assert ending.reason == f"its supervisor, process {supervisor.pid}, has ended"
    supervisor.wait()
    supervisor.stdout.close()


def test_without_pidfd_the_end_is_seen_too(monkeypatch):
    def refused(_):
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", refused)
    supervisor = subprocess.Popen(["sleep", "60"])
    ending = Ending()
    watch_supervisor({SUPERVISOR: f"{supervisor.pid}:{_began(supervisor.pid)}"}, ending.ask)
    assert not ending.wait(0.3)
    supervisor.kill()
    assert ending.wait(30.0)
    supervisor.wait()


def test_a_process_that_has_the_supervisors_id_by_chance_is_not_taken_for_it():
    ending = Ending()
    watch_supervisor({SUPERVISOR: f"{os.getpid()}:1"}, ending.ask)
    assert ending.wait(30.0)


@pytest.mark.parametrize("environment", [{}, {SUPERVISOR: ""}, {SUPERVISOR: "x:y"}, {SUPERVISOR: "12"}])
def test_without_a_supervisor_nobody_watches(environment):
    assert watch_supervisor(environment, lambda _: None) is None


def test_a_lifeline_names_this_process():
    assert lifeline() == {SUPERVISOR: f"{os.getpid()}:{_began(os.getpid())}"}
    time.sleep(0.05)
    assert lifeline() == lifeline()


def _began(pid):
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()[19]
