"""Command streams that try to make a monitor send something it must not, and a loop that feeds them to it.

The arm follows what is sent four cycles late, holds it while nothing is sent, and is now and then pushed, or forged.
`streams` has what a policy sends, `faults` what else goes wrong. Whatever was sent comes back as motions, each from
rest, for the checker to judge.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from faults import FAULTS, Given
from streams import GENERATORS, LENGTHS, WEIGHTS, reordered

from robolearn.safety.types import Measured, State, Surroundings, Verdict

NEAR_M, WALK_FROM_M, FAR_M = 0.85, 3.15, 6.65  # of persons: C is 0.85 m in the packaged profiles
BURST = 2  # samples more than periods that may go out in any time
SILENT = (
    "standstill",
    "cycle_gap",
    "state_age",
    "state_jump",
    "clock",
    "finite",
    "shape",
)  # why nothing goes out


@dataclass
class Promise:
    """The braking motion kept ready behind a sample that went out: see `SlowChecker.judge_promises`."""

    sent: np.ndarray
    path: np.ndarray
    person_m: float | None


class Adversary:
    """Feeds one monitor with bad, borderline and good input, and keeps everything that went out.

    promised: the share of samples, drawn by chance, whose braking motion is kept in `promises`.
    rules: how often each acted on a running arm: limited it in a cycle, or stopped it.
    """

    def __init__(self, monitor, seed, promised=0.0):
        self.monitor, self.rng = monitor, np.random.default_rng(seed)
        self.robot, self.dt, self.limits = monitor.robot, monitor.period_s, monitor.limits
        self.names = self.robot.joint_names
        self.now = float(self.rng.uniform(0.0, 1e6))
        self.counts, self.rules, self.problems = Counter(), Counter(), []
        self.sent, self.velocity = self.robot.home_rad.copy(), np.zeros(self.robot.dof)
        self.last = np.repeat(self.sent[None], 3, axis=0)  # samples sent
        self.motions, self.silent = [], True
        self.published = deque(maxlen=40)  # when samples went out
        self.stream = None
        self.person, self.walk = FAR_M, 0.0
        self.lag = [self.sent] * 4
        self.kind, self.left = "", 0
        self.kinds, self.faults, self.early = list(GENERATORS), 3e-4, 2e-3
        self.fault_kinds, self.deck = list(FAULTS), []  # kinds of faults, and those still to come
        self.stuck_cycles = 6000  # without commands being followed: no fault lasts that long
        self.promised, self.promises = promised, []
        self.chance = np.random.default_rng(seed)  # apart, so that looking at promises changes no stream
        self.shuffle = None  # a generator of its own: every message comes with its joints in another order
        self.frozen = (None, 0)  # a reading that comes again and again, and how often still
        self.forged = (np.zeros(self.robot.dof), 0)  # what readings are off by, and how often still
        self.pushed = None  # where somebody pushes the arm to, which rests
        self.since_gap, self.stuck, self.answer = 0, 0, ""
        self.newest, self.wanted = -np.inf, None  # the newest command since the start: its stamp, and itself
        for _ in range(round(self.limits.mode.rest_readings_min.value) + 1):
            self.now += self.dt
            self.call(Given([], self.measured(), self.surroundings(), self.now))

    @property
    def acceleration(self):
        """Of the samples sent."""
        return np.diff(self.last, 2, axis=0)[0] / self.dt**2

    def measured(self):
        """What an arm that follows four cycles late reports."""
        again, left = self.frozen
        if left:
            self.frozen = (again, left - 1)
            return again
        position, velocity = self.lag[0], (self.lag[1] - self.lag[0]) / self.dt
        off, left = self.forged
        if left:
            self.forged = (off, left - 1)
            position, velocity = position + off, np.zeros_like(position)
        return Measured(self.names, position, velocity, self.now)

    def run(self, cycles):
        """Some cycles more; the motions sent in them: each (history [3, n], samples [k, n])."""
        self.motions = [(self.last.copy(), [])] if not self.silent else []
        for _ in range(cycles):
            self.now += self.dt
            self.since_gap += 1
            self.recover()
            given = self.given()
            if self.rng.random() < self.faults:
                self.corrupt(given)
            if self.shuffle is not None:
                given.commands = [reordered(command, self.shuffle) for command in given.commands]
                given.measured = reordered(given.measured, self.shuffle)
            self.call(given)
            self.move_arm()
            if self.rng.random() < self.early:
                self.call_early()
            self.stuck = 0 if self.monitor.state is State.RUNNING else self.stuck + 1
            if self.stuck == self.stuck_cycles:
                self.problems.append(f"{self.stuck} cycles without a start that is accepted: {self.answer}")
        return [(history, np.array(sent)) for history, sent in self.motions if sent]

    def given(self):
        """What comes in without a fault."""
        self.left -= 1
        if self.stream is None or self.left < 0:
            weights = np.array([WEIGHTS[kind] for kind in self.kinds])
            self.kind = str(self.rng.choice(self.kinds, p=weights / weights.sum()))
            self.stream, self.left = (
                GENERATORS[self.kind](self),
                int(self.rng.exponential(LENGTHS[self.kind])),
            )
        commands = next(self.stream)
        return Given(list(commands), self.measured(), self.surroundings(), self.now)

    def corrupt(self, given):
        """One fault. The kinds come in turn on a running arm, so that each comes once before any comes again."""
        if self.monitor.state is State.RUNNING:
            self.deck = self.deck or list(self.rng.permutation(self.fault_kinds))
            kind = str(self.deck.pop())
        else:
            kind = str(self.rng.choice(self.fault_kinds))
        given.expected = FAULTS[kind](self, given)
        self.counts[f"fault: {kind}"] += 1

    def call(self, given):
        """One call of the monitor, and what must hold of its decision."""
        running = self.monitor.state is State.RUNNING
        decision = self.monitor.check(given.commands, given.measured, given.surroundings, given.now)
        rules = [record.rule for record in decision.records]
        for command in given.commands:
            if command.stamp_s >= self.newest:
                self.newest, self.wanted = command.stamp_s, command
        self.judge(decision, rules)
        if running:
            self.rules.update(rules)
        if given.expected and running and given.expected not in rules and "cycle_early" not in rules:
            self.problems.append(f"not stopped by {given.expected}: {decision}")
        if decision.publish:
            self.send(decision)
            if self.chance.random() < self.promised:
                self.keep_promise(decision, given.surroundings)
        elif "cycle_early" not in rules:
            self.silent = True
        return decision

    def send(self, decision):
        """The arm's controller gets one more sample: in the motion under way, or from rest after silence."""
        place = decision.command_rad
        if self.silent:
            away = float(np.abs(place - self.lag[0]).max())
            if away > self.limits.mode.tracking_error_max_rad.value:
                self.problems.append(f"what is held first is {away:.3g} rad from the arm")
            if not (np.array_equal(place, self.sent) or np.array_equal(place, self.lag[0])):
                self.problems.append(f"what is held first was neither sent nor measured: {decision}")
            self.motions.append((np.repeat(place[None], 3, axis=0), []))
            self.last, self.silent = np.repeat(place[None], 3, axis=0), False
        self.motions[-1][1].append(place)
        self.sent, self.velocity = place, decision.velocity_rad_s
        self.last = np.vstack([self.last[1:], place])
        self.published.append(self.now)
        passed, count = self.published[-1] - self.published[0], len(self.published)
        if count > 1 and passed < (count - 1 - BURST) * self.dt * 0.99:
            self.problems.append(f"{count} samples in {passed * 1e3:.3f} ms")

    def call_early(self):
        """Calls that come too soon, with commands that go on, and now and then a request to stop."""
        self.counts["early calls"] += 1
        for _ in range(int(self.rng.integers(1, 12))):
            self.now += float(self.rng.choice([0.0, 1e-9, 0.05, 0.3])) * self.dt
            given = self.given()
            given.surroundings = self.surroundings(stop_requested=bool(self.rng.random() < 0.02))
            self.call(given)

    def move_arm(self):
        """The arm a cycle later: where it was sent, or where it is pushed."""
        target = self.sent
        if self.pushed is not None:
            most = 0.5 * self.limits.velocity_possible_rad_s * self.dt
            target = self.lag[-1] + np.clip(self.pushed - self.lag[-1], -most, most)
        self.lag = [*self.lag[1:], target]

    def keep_promise(self, decision, surroundings):
        follower = self.monitor._filter
        path = follower._braking.trajectory[0][follower._step :]
        person = surroundings.person_distance_m if decision.verdict is not Verdict.STOP else None
        self.promises.append(Promise(self.last, path, person))

    def recover(self):
        """A person resets and starts again some time after a stop; now and then somebody pushed the arm before."""
        if self.monitor.state is State.STOPPED and self.rng.random() < 0.2:
            self.person, self.walk = FAR_M, 0.0
            answer = self.monitor.reset(self.now, self.measured(), "fuzzer", "goes on")
            self.answer = answer.text
            self.counts["reset" if answer.accepted else "reset refused"] += 1
            if answer.accepted:
                self.pushed = None
                if "had been moved" in answer.text:
                    self.counts["reset of a moved arm"] += 1
                    self.silent = True  # another motion begins, at rest
            elif self.pushed is not None and self.rng.random() < 0.1:
                self.pushed = self.sent  # it is brought back
        elif self.monitor.state is State.HOLDING and self.rng.random() < 0.2:
            answer = self.monitor.start(self.now, self.measured(), "fuzzer")
            self.answer = answer.text
            self.counts["start" if answer.accepted else "start refused"] += 1
            self.stream, self.newest = None, -np.inf
            if answer.accepted:
                self.pushed = None
            if not answer.accepted and "outside" in answer.text and self.pushed is None:
                self.problems.append(answer.text)

    def surroundings(self, **changes):
        """Nobody for the most part; then somebody who is there at once, or who walks in, turns and walks out."""
        chance = self.rng.random()
        if chance < 3e-4:
            self.person, self.walk = float(self.rng.uniform(NEAR_M, FAR_M)), 1.0
        elif chance < 1.3e-3:
            self.person, self.walk = min(self.person, WALK_FROM_M), -float(self.rng.uniform(0.1, 1.6))
        elif chance < 5e-3 and self.person < FAR_M:
            self.walk = float(self.rng.uniform(-1.6, 1.6))
        self.person = min(FAR_M, max(NEAR_M, self.person + self.walk * self.dt))
        told = {"enabling_device": True, "enabling_stamp_s": self.now} | changes
        return Surroundings(self.person, self.now, **told)

    def judge(self, decision, rules):
        """What must hold for every single decision."""
        self.counts[str(decision.verdict)] += 1
        if decision.publish:
            if not np.isfinite(decision.command_rad).all():
                self.problems.append(f"nothing finite to publish: {decision}")
        elif not set(rules) & {*SILENT, "cycle_early"} or decision.command_rad.size:
            self.problems.append(f"silent without a reason: {decision}")
        if decision.verdict is Verdict.PASS and (
            self.wanted is None or decision.command_rad.tobytes() != self.in_order(self.wanted).tobytes()
        ):
            self.problems.append(f"passed, but not bit-identical ({self.kind})")
        if decision.verdict is Verdict.LIMIT and not decision.records:
            self.problems.append(f"limited without a record ({self.kind})")
        if "internal_error" in rules and decision.state is State.STOPPING:
            self.problems.append(decision.records[0].text)

    def in_order(self, message):
        """The positions of a message in the robot's order of joints, looked up by name."""
        by_name = dict(zip(message.joint_names, np.asarray(message.position_rad, float), strict=True))
        return np.array([by_name[name] for name in self.names])


@dataclass
class Outcome:
    """What a run found: texts of violations, counts of verdicts, of rules, of braking motions judged."""

    violations: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    rules: Counter = field(default_factory=Counter)
    promises: int = 0


def fuzz(
    monitor,
    checker,
    cycles,
    seed,
    chunk=2000,
    progress=None,
    promised=0.01,
    faults=None,
    kinds=None,
    fault_kinds=None,
):
    """Run an adversary for some cycles, every sample and a share of the promises judged by the checker."""
    adversary, outcome = Adversary(monitor, seed, promised), Outcome()
    adversary.faults = adversary.faults if faults is None else faults
    adversary.kinds = adversary.kinds if kinds is None else kinds
    adversary.fault_kinds = adversary.fault_kinds if fault_kinds is None else fault_kinds
    done = 0
    while done < cycles:
        count = min(chunk, cycles - done)
        motions = adversary.run(count)
        texts = checker.judge_motions(motions) if motions else []
        texts += checker.judge_promises(adversary.promises)
        outcome.violations += [f"seed {seed}, cycle {done}+: {text}" for text in texts + adversary.problems]
        outcome.promises += len(adversary.promises)
        adversary.problems.clear()
        adversary.promises.clear()
        done += count
        if progress is not None:
            progress(count, len(outcome.violations))
    outcome.counts, outcome.rules = adversary.counts, adversary.rules
    return outcome
