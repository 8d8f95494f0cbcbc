"""The second process that brakes an arm whose safety node was killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from robolearn_ros import brake_guard
from robolearn_ros.brake_guard import LATE_PERIODS, brake, remaining
from robolearn_ros.guard_memory import READY, STARTING, GuardMemory

from robolearn.safety.braking import plan_braking

PERIOD_S = 0.002
N = 3
LIMITS = np.array([10.0, 7.5, 5.0]), np.array([5000.0, 3000.0, 800.0])


def planned(speed=0.9):
    """A sample in motion and the braking motion behind it."""
    position, velocity = np.array([0.1, -0.4, 1.2]), np.array([speed, -0.5 * speed, 0.0])
    return position, plan_braking(position, velocity, np.array([1.0, 0.0, -2.0]), *LIMITS, PERIOD_S)


def memory_with(*, step=0, sent=True, tick_ns=0, speed=0.9):
    memory = GuardMemory.create(N)
    position, braking = planned(speed)
    path, _ = braking.trajectory
    memory.plan(tick_ns, position if step == 0 else path[step - 1], braking, step, LIMITS)
    if sent:
        memory.sent()
    return memory, position, path


def test_memory_that_goes_while_it_is_locked_does_not_break_the_next():
    program = """
    from robolearn_ros.guard_memory import GuardMemory
    for joints in 7, 7000, 70_000:  # larger each time: none finds room where the one before was
        memory = GuardMemory.create(joints)
        del memory  # its mutex is still this thread's
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    assert ended.returncode == 0


@pytest.mark.parametrize("step", [0, 1, 40])
def test_what_remains_is_the_monitors_own_braking_motion(step):
    memory, position, path = memory_with(step=step)
    plan = memory.read()
    assert plan is not None
    assert (plan.number, plan.step, plan.sent) == (1, step, True)
    left = np.array(list(remaining(plan, PERIOD_S)))
    assert np.abs(left - path[step:]).max() < 1e-12
    sequence = np.vstack([position, path[:step], left, left[-1:]])
    acceleration = np.diff(sequence, n=2, axis=0)[step:] / PERIOD_S**2
    assert (np.abs(acceleration) <= 1.001 * LIMITS[0]).all()


def test_a_plan_that_was_not_finished_leaves_the_one_before():
    memory, position, _ = memory_with()
    other, braking = planned(0.1)
    kept = memory._words
    memory._words = np.zeros_like(kept)  # the process is killed before the last store
    memory._words[:] = kept
    memory.plan(5, other + 1.0, braking, 0, LIMITS)
    memory._words = kept
    plan = memory.read()
    assert plan is not None
    assert np.array_equal(plan.sample_rad, position)


def test_a_sample_that_was_planned_but_perhaps_not_sent_is_known_as_such():
    memory, _, _ = memory_with(sent=False)
    plan = memory.read()
    assert plan is not None
    assert not plan.sent
    assert GuardMemory.create(N).read() is None


def on_time(monkeypatch):
    """Samples with the time at which each was sent, on a clock that only sleeping moves."""
    now, out = [0], []

    def sleep(deadline_ns):
        now[0] = max(now[0], deadline_ns)

    monkeypatch.setattr(brake_guard, "sleep_until_ns", sleep)
    return out, lambda sample: out.append((now[0], sample))


def test_it_sends_on_the_safety_nodes_grid_from_the_next_sample_on(monkeypatch):
    memory, _, path = memory_with(tick_ns=10_000_000)
    out, send = on_time(monkeypatch)
    said = brake(memory.read(), PERIOD_S, send, 10_500_000)
    assert [t for t, _ in out] == [12_000_000 + 2_000_000 * i for i in range(len(path))]
    assert np.abs(np.array([sample for _, sample in out]) - path).max() < 1e-12
    assert (
        said
        == f"the safety node ended in motion: {len(path)} samples of its braking motion were sent, to rest"
    )


def test_a_sample_that_was_perhaps_not_sent_goes_first(monkeypatch):
    memory, position, path = memory_with(sent=False, tick_ns=10_000_000)
    out, send = on_time(monkeypatch)
    brake(memory.read(), PERIOD_S, send, 10_100_000)
    assert np.array_equal(out[0][1], position)
    assert len(out) == len(path) + 1


def test_a_little_late_no_sample_is_left_out_and_too_late_nothing_is_sent(monkeypatch):
    memory, _, path = memory_with(tick_ns=10_000_000)
    out, send = on_time(monkeypatch)
    brake(memory.read(), PERIOD_S, send, 12_700_000)
    assert [t for t, _ in out] == [12_700_000 + 2_000_000 * i for i in range(len(path))]
    out.clear()
    said = brake(memory.read(), PERIOD_S, send, 12_000_001 + round(LATE_PERIODS * 2_000_000))
    assert (out, said) == (
        [],
        "the safety node ended, and 2.0 ms passed before that was known: nothing was sent",
    )


def test_at_rest_nothing_is_sent(monkeypatch):
    memory = GuardMemory.create(N)
    rest = np.zeros(N)
    memory.plan(0, rest, plan_braking(rest, rest, rest, *LIMITS, PERIOD_S), 0, LIMITS)
    memory.sent()
    out, send = on_time(monkeypatch)
    assert "at rest: nothing was sent" in brake(memory.read(), PERIOD_S, send, 0)
    assert out == []


OWNER = """
    import os, sys, time
    from robolearn_ros.guard_memory import GuardMemory
    memory = GuardMemory.create(3)
    os.set_inheritable(memory.descriptor, True)
    os.dup2(memory.descriptor, 50)
    print(os.getpid(), flush=True)
    if sys.stdin.readline() == "unlock\\n":
        memory.unlock()
        time.sleep(60)
    time.sleep(60)
"""


@pytest.mark.parametrize(("how", "killed"), [("kill", True), ("abort", True), ("unlock", False)])
def test_the_kernel_tells_how_the_safety_node_ended(how, killed):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdin is not None
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        memory = GuardMemory(os.open(f"/proc/{pid}/fd/50", os.O_RDWR), N)
        assert memory.ended() is None
        if how == "unlock":
            owner.stdin.write("unlock\n")
            owner.stdin.flush()
        else:
            os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGABRT)
        assert memory.wait() is killed
        owner.kill()


def test_the_guard_says_how_it_is():
    memory = GuardMemory.create(N)
    assert (memory.status, memory.text) == (STARTING, "")
    memory.say(READY, "é" * 2000)
    assert memory.status == READY
    assert memory.text.startswith("éé")
    memory.unlock()
    assert memory.ended() is False
    assert time.monotonic() > 0


def test_a_guard_that_is_still_starting_is_not_waited_for():
    guard = brake_guard.BrakeGuard("/forward_position_controller/commands", N, PERIOD_S, 0)
    guard.close()
    assert guard._process.returncode == -signal.SIGKILL
