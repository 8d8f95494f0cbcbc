"""The estimate of a simulator's time, fed by hand: no clock is read, and no time passes."""

import math

import numpy as np
import pytest
from robolearn_ros.clocks import NS, ScaledClock, StampClock, other_clock
from robolearn_ros.sim_time import CORRECT_MAX, RESET_GAP_NS, SimTime

MS = 1_000_000


class Simulator:
    """Messages on /clock, and the looks of a loop, each ms of real time. late_ms: of each message, by a generator."""

    def __init__(self, rate=1.0, hz=200.0, late_ms=None, wall_ns=50 * NS):
        self.time, self.rate, self.hz = SimTime(), rate, hz
        self.wall_ns, self.sim_ns, self._due_ns = wall_ns, 0.0, 0.0
        self.late_ms, self._underway = late_ms or (lambda: 0.2), []
        self.seen = []  # (wall, this node's time)

    def run(self, seconds, rate=None, silent=False):
        self.rate = self.rate if rate is None else rate
        for _ in range(round(seconds * 1000)):
            self.wall_ns += MS
            self.sim_ns += self.rate * MS
            if not silent and self.sim_ns >= self._due_ns:
                self._due_ns = self.sim_ns + NS / self.hz
                arrival_ns = self.wall_ns + round(self.late_ms() * MS)
                self._underway.append((arrival_ns, round(self.sim_ns)))
            while self._underway and self._underway[0][0] <= self.wall_ns:
                self.time.add(*self._underway.pop(0))
            self.time.look(self.wall_ns)
            self.seen.append((self.wall_ns, self.time.now_ns(self.wall_ns)))
        return self

    def set(self, seconds):
        """The simulator's time, by a jump."""
        self.sim_ns, self._due_ns = seconds * NS, 0.0

    @property
    def error_s(self):
        return (self.time.now_ns(self.wall_ns) - self.sim_ns - self.time.base_ns) / NS


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0, 2.0, 8.0])
def test_time_goes_on_between_messages_at_the_simulators_rate(rate):
    simulator = Simulator(rate, hz=100.0 / rate).run(2.0)
    assert simulator.time.problem == ""
    assert simulator.time.rate == pytest.approx(rate, rel=1e-3)
    assert abs(simulator.error_s) < 1e-3 * max(rate, 1.0)
    ahead_ns = simulator.time.now_ns(simulator.wall_ns) + 10 * MS
    due_ns = simulator.time.wall_ns(ahead_ns) - simulator.wall_ns
    assert due_ns == pytest.approx(10 * MS / rate, rel=0.02)


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_messages_that_come_late_by_chance_move_the_time_by_little(rate):
    random = np.random.default_rng(7)
    last = [0.0]

    def late():  # most are quick, one in ten waits for up to 40 ms; a queue keeps their order
        last[0] = max(
            0.2 + (random.uniform(0, 40) if random.random() < 0.1 else random.exponential(0.3)), last[0] - 5
        )
        return last[0]

    simulator = Simulator(rate, late_ms=late).run(1.0)
    errors = []
    for _ in range(500):
        simulator.run(0.01)
        errors.append(abs(simulator.error_s))
        assert simulator.time.problem == ""
    assert max(errors) < 0.004 * max(rate, 1.0)


def test_time_never_runs_backwards_and_is_corrected_by_a_tenth_of_its_rate_at_most():
    simulator = Simulator(1.0).run(1.0)
    for rate in (0.9, 1.1, 0.95, 1.0):
        simulator.run(1.0, rate)
    assert simulator.time.problem == ""
    steps = np.diff([own for _, own in simulator.seen[600:]]) / MS
    assert steps.min() > 0.9 * (1 - CORRECT_MAX) - 0.01
    assert steps.max() < 1.1 * (1 + CORRECT_MAX) + 0.01


def test_nothing_is_known_before_the_simulator_was_seen_for_a_while():
    time = SimTime()
    assert time.problem == "nothing has come on /clock"
    assert time.wall_ns(0) is None
    assert time.now_ns(9 * NS) == 0
    assert math.isnan(time.rate)
    simulator = Simulator(1.0).run(0.25)
    assert "not seen for long enough yet" in simulator.time.problem
    assert simulator.run(0.2).time.problem == ""


@pytest.mark.parametrize("repeats", [False, True])
def test_a_pause_is_named_and_time_stands_until_it_goes_on(repeats):
    simulator = Simulator(0.5).run(1.0)
    before_ns = simulator.time.now_ns(simulator.wall_ns)
    simulator.run(0.3, rate=0.0, silent=not repeats)
    assert "paused, or has ended: /clock has stood at 0." in simulator.time.problem
    stands_ns = simulator.time.now_ns(simulator.wall_ns)
    assert before_ns <= stands_ns < before_ns + 0.1 * NS
    simulator.run(30.0, silent=True)
    assert simulator.time.now_ns(simulator.wall_ns) == stands_ns
    simulator.run(1.0, rate=0.5)
    assert simulator.time.problem == ""
    assert simulator.time.base_ns == 0
    assert abs(simulator.error_s) < 1e-3


def test_a_reset_is_named_and_this_nodes_time_goes_on():
    simulator = Simulator(2.0).run(5.0)
    before_ns = simulator.time.now_ns(simulator.wall_ns)
    simulator.set(0.0)
    simulator.run(0.01)
    assert "went back by " in simulator.time.problem
    assert "was reset, or several publish it" in simulator.time.problem
    simulator.run(1.0)
    assert simulator.time.problem == ""
    assert simulator.time.base_ns > RESET_GAP_NS
    assert simulator.time.now_ns(simulator.wall_ns) > before_ns + RESET_GAP_NS
    assert abs(simulator.error_s) < 2e-3
    assert np.diff([own for _, own in simulator.seen]).min() >= 0


def test_a_jump_ahead_is_named_and_followed():
    simulator = Simulator(1.0).run(1.0)
    simulator.set(100.0)
    simulator.run(0.02)
    assert "jumped ahead by 9" in simulator.time.problem
    simulator.run(1.0)
    assert simulator.time.problem == ""
    assert simulator.time.base_ns == 0
    assert abs(simulator.error_s) < 1e-3


def test_two_simulators_on_one_topic_are_never_followed():
    time = SimTime()
    for k in range(2000):
        time.add(k * 5 * MS, k * 5 * MS + (30 * NS if k % 2 else 0))
        time.look(k * 5 * MS)
        assert time.problem
    assert time.now_ns(11 * NS) == 0


@pytest.mark.parametrize("rate", [0.01, 100.0])
def test_a_rate_out_of_range_is_named(rate):
    simulator = Simulator(rate, hz=100.0 / rate).run(1.0)
    assert f"runs at {rate:.3g} times real time, expected 0.05 to 10" in simulator.time.problem


def test_a_simulator_that_speeds_up_beyond_the_range_is_named():
    simulator = Simulator(5.0, hz=40.0).run(1.0)
    simulator.run(2.0, rate=30.0)
    assert simulator.time.problem


@pytest.mark.parametrize("time_ns", [-1, -(2**31) * NS, 1_795_885_341 * NS])
def test_a_time_that_is_no_simulators_is_named(time_ns):
    time = SimTime()
    time.add(5 * NS, time_ns)
    time.look(5 * NS)
    assert "expected a simulator's, which begins at 0" in time.problem
    assert time.wall_ns(0) is None


def test_a_simulator_that_halts_again_and_again_is_named():
    simulator, problems = Simulator(1.0).run(1.0), set()
    for _ in range(20):
        for rate, seconds in ((0.0, 0.09), (1.0, 0.05)):
            simulator.run(seconds, rate=rate)
            problems.add(simulator.time.problem)
    assert any(problems)


def test_a_scaled_clock_runs_at_its_rate_and_stands_while_paused(monkeypatch):
    now = [10 * NS]
    monkeypatch.setattr("robolearn_ros.clocks.time.monotonic_ns", lambda: now[0])
    slept = []
    monkeypatch.setattr("robolearn_ros.clocks.sleep_until_ns", slept.append)
    clock = ScaledClock(0.5)
    now[0] += 4 * NS
    assert clock.now_ns() == 2 * NS
    assert clock.sleep_until_ns(3 * NS)
    assert slept == [16 * NS]
    clock.paused = True
    now[0] += 9 * NS
    assert clock.fault == "the simulation is paused"
    assert not clock.sleep_until_ns(3 * NS)
    assert clock.now_ns() == 2 * NS
    clock.paused = False
    assert clock.fault == ""
    now[0] += 2 * NS
    assert clock.now_ns() == 3 * NS
    assert clock.monotonic_s(*clock.stamp(3_500_000_000)) == 3.5


def test_a_message_that_was_held_up_counts_as_of_when_it_was_sent():
    time, apart_ns, random = (
        SimTime(),
        3_000 * NS,
        np.random.default_rng(3),
    )  # between the clocks of two machines
    for k in range(200):
        wall_ns = k * 5 * MS
        late_ns = round((0.2 if k % 20 == 7 else random.uniform(1.0, 5.0)) * MS)
        time.add(wall_ns + late_ns, 2 * wall_ns, wall_ns + apart_ns)
        time.look(wall_ns + late_ns)
    assert time.problem == ""
    assert time.now_ns(NS) == pytest.approx(2 * NS - 0.4 * MS, abs=0.05 * MS)
    time.add(NS + 5 * MS, 2 * NS, NS)
    assert "publisher of /clock has changed" in time.problem


def test_too_few_messages_to_judge_change_nothing():
    simulator = Simulator(1.0, hz=25.0).run(1.0)
    assert simulator.time.problem == ""
    simulator.time._seen.clear()
    simulator.time.add(simulator.wall_ns + MS, round(simulator.sim_ns) + MS)
    simulator.time.look(simulator.wall_ns + 30 * MS)
    assert simulator.time.problem == ""


def test_stamps_of_another_clock_are_named():
    real, simulated = StampClock(), ScaledClock(1.0)
    assert other_clock("the newest command", 0.3, real) == ""
    assert (
        "the newest command is stamped with another clock: 1795885341 s old, and this node is on system time"
        in (other_clock("the newest command", 1_795_885_341.0, real))
    )
    assert "s in the future, and this node follows /clock" in other_clock("a command", -1e9, simulated)
