"""Command streams that try to make a monitor send something it must not, and a loop that feeds them to it.

Every generator yields what arrives in one cycle: a Command or None. It sees what was sent last, as a policy that
closes its loop over the arm would.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from robolearn.safety.types import Command, Measured, State, Surroundings, Verdict

FAR_M = 6.0


class Adversary:
    """Feeds one monitor with bad, borderline and good input, and keeps everything that went out."""

    def __init__(self, monitor, seed):
        self.monitor, self.rng = monitor, np.random.default_rng(seed)
        self.robot, self.dt = monitor.robot, monitor.period_s
        self.names = self.robot.joint_names
        self.now = float(self.rng.uniform(0.0, 1e6))
        self.counts, self.rules, self.problems = Counter(), Counter(), []
        self.sent, self.velocity = self.robot.home_rad.copy(), np.zeros(self.robot.dof)
        self.stream = None
        self.person = FAR_M
        self.lag = [self.sent] * 4
        self.kind, self.left = "", 0
        self.kinds, self.faults = list(GENERATORS), 3e-4
        monitor.check(None, self.measured(), Surroundings(FAR_M, self.now), self.now)

    def measured(self):
        """What an arm that follows four cycles late reports."""
        position = self.lag[0]
        velocity = (self.lag[1] - self.lag[0]) / self.dt
        return Measured(self.names, position, velocity, self.now)

    def run(self, cycles):
        """Some cycles more; the positions sent, [cycles, n]."""
        out = np.empty((cycles, self.robot.dof))
        for k in range(cycles):
            self.now += self.dt
            self.recover()
            self.left -= 1
            if self.stream is None or self.left < 0:
                weights = np.array([WEIGHTS[kind] for kind in self.kinds])
                self.kind = str(self.rng.choice(self.kinds, p=weights / weights.sum()))
                self.stream, self.left = (
                    GENERATORS[self.kind](self),
                    int(self.rng.exponential(LENGTHS[self.kind])),
                )
            command = next(self.stream)
            measured, surroundings, now = self.measured(), self.surroundings(), self.now
            if self.rng.random() < self.faults:
                command, measured, surroundings, now = self.corrupt(command, measured, surroundings, now)
            decision = self.monitor.check(command, measured, surroundings, now)
            self.judge(decision, command)
            out[k] = self.sent = decision.command_rad
            self.velocity = decision.velocity_rad_s
            self.lag = [*self.lag[1:], self.sent]
        return out

    def recover(self):
        """A person resets and starts again some time after a stop."""
        if self.monitor.state is State.STOPPED and self.rng.random() < 0.05:
            self.person = FAR_M
            self.monitor.reset(self.now, self.measured(), "fuzzer", "goes on")
        elif self.monitor.state is State.HOLDING and self.rng.random() < 0.2:
            answer = self.monitor.start(self.now, self.measured(), "fuzzer")
            self.counts["start" if answer.accepted else "start refused"] += 1
            self.stream = None
            if not answer.accepted and "outside" in answer.text:
                self.problems.append(answer.text)

    def surroundings(self):
        if self.rng.random() < 1e-3:
            self.person = float(self.rng.uniform(0.2, FAR_M))
        self.person = min(FAR_M, self.person + 0.002)
        return Surroundings(self.person, self.now, enabling_device=True)

    def judge(self, decision, command):
        """What must hold for every single decision."""
        self.counts[str(decision.verdict)] += 1
        self.rules.update(record.rule for record in decision.records)
        if not (decision.publish and np.isfinite(decision.command_rad).all()):
            self.problems.append(f"nothing finite to publish: {decision}")
        if decision.verdict is Verdict.PASS and (
            command is None
            or decision.command_rad.tobytes() != np.asarray(command.position_rad, float).tobytes()
        ):
            self.problems.append(f"passed, but not bit-identical ({self.kind})")
        if decision.verdict is not Verdict.PASS and not decision.records and decision.state is State.RUNNING:
            self.counts["silent"] += decision.verdict is Verdict.LIMIT
        if (
            "internal_error" in (record.rule for record in decision.records)
            and decision.state is State.STOPPING
        ):
            self.problems.append(decision.records[0].text)

    def corrupt(self, command, measured, surroundings, now):
        """One input of this cycle made unusable."""
        kind = int(self.rng.integers(14))
        position = self.sent.copy() if command is None else np.array(command.position_rad)
        bad = position.copy()
        bad[self.rng.integers(len(bad))] = self.rng.choice([np.nan, np.inf, -np.inf, 1e300, -7.0])
        make = {
            0: lambda: (Command(self.names, bad, now), measured, surroundings, now),
            1: lambda: (Command(self.names, position, now, bad * np.nan), measured, surroundings, now),
            2: lambda: (Command(self.names, position[:-1], now), measured, surroundings, now),
            3: lambda: (Command((*self.names[:-1], "other"), position, now), measured, surroundings, now),
            4: lambda: (Command(self.names, position, now - 1.0), measured, surroundings, now),
            5: lambda: (Command(self.names, position, now + 1.0), measured, surroundings, now),
            6: lambda: (Command(self.names, position, np.nan), measured, surroundings, now),
            7: lambda: (command, Measured(self.names, bad, measured.velocity_rad_s, now), surroundings, now),
            8: lambda: (command, None, surroundings, now),
            9: lambda: (command, measured, Surroundings(np.nan, now), now),
            10: lambda: (
                command,
                measured,
                Surroundings(self.person, now, stop_requested=True, enabling_device=True),
                now,
            ),
            11: lambda: (command, measured, Surroundings(None, None), now),
            12: lambda: (command, measured, surroundings, now - 0.1),
            13: lambda: (Command(self.names, position, now, source="rogue"), measured, surroundings, now),
        }
        return make[kind]()

    def command(self, position, velocity=None, stamp=None):
        return Command(self.names, position, self.now if stamp is None else stamp, velocity)


def policy(adversary, share):
    """Piecewise constant accelerations at 50 Hz, as a policy's targets after interpolation."""
    limits, rng, dt = adversary.robot.limits, adversary.rng, adversary.dt
    n = adversary.robot.dof
    top_a = np.full(n, 10.0) if limits.acceleration_rad_s2 is None else limits.acceleration_rad_s2
    position, velocity = adversary.sent.copy(), adversary.velocity.copy()
    acceleration = np.zeros(n)
    k = 0
    while True:
        if k % max(1, round(0.02 / dt)) == 0:
            wanted = rng.uniform(-1, 1, n) * limits.velocity_rad_s * share
            acceleration = np.clip((wanted - velocity) / 0.02, -top_a * share, top_a * share)
        position = position + velocity * dt + 0.5 * acceleration * dt**2
        velocity = velocity + acceleration * dt
        k += 1
        yield adversary.command(position, velocity)


def bang(adversary):
    """Accelerations at the limit, now and then reversed, a hair over it or under it."""
    limits, rng, dt = adversary.robot.limits, adversary.rng, adversary.dt
    n = adversary.robot.dof
    top = np.full(n, 10.0) if limits.acceleration_rad_s2 is None else limits.acceleration_rad_s2
    over = rng.choice([1 - 1e-9, 1.0, 1 + 1e-9, 1 + 1e-3, 1.3])
    position, velocity, sign = adversary.sent.copy(), adversary.velocity.copy(), rng.choice([-1.0, 1.0], n)
    while True:
        flip = rng.random(n) < 0.02
        sign = np.where(flip, -sign, sign)
        velocity = np.clip(velocity + sign * top * over * dt, -limits.velocity_rad_s, limits.velocity_rad_s)
        position = position + velocity * dt
        yield adversary.command(position, velocity if rng.random() < 0.9 else None)


def straight(adversary):
    """All joints at a constant share of their speed for ever: into position limits, walls and the arm itself."""
    rng, n = adversary.rng, adversary.robot.dof
    wanted = rng.uniform(-1, 1, n) * adversary.robot.limits.velocity_rad_s * rng.choice([0.1, 0.5, 1.0, 1.1])
    wanted *= rng.random(n) < 0.6
    position, velocity = adversary.sent.copy(), adversary.velocity.copy()
    while True:
        velocity = velocity + np.clip(wanted - velocity, -4.0 * adversary.dt, 4.0 * adversary.dt)
        position = position + velocity * adversary.dt
        yield adversary.command(position, velocity)


def wander(adversary):
    """Toward a random pose in the joint range, with noise: a policy that closes its loop over what was sent."""
    limits, rng = adversary.robot.limits, adversary.rng
    low, high = limits.position_min_rad, limits.position_max_rad
    goal = rng.uniform(low - 0.05, high + 0.05)
    speed, noise = rng.uniform(0.1, 2.0), rng.choice([0.0, 1e-6, 1e-3])
    while True:
        gap = goal - adversary.sent
        velocity = np.clip(3.0 * gap, -speed, speed) + noise * rng.normal(size=len(gap))
        yield adversary.command(adversary.sent + velocity * adversary.dt, velocity)


def noise(adversary):
    """The held position with noise of any size up to a plausible jump."""
    size, anchor = 10.0 ** adversary.rng.uniform(-7, -1.3), adversary.sent.copy()
    while True:
        yield adversary.command(anchor + np.clip(size * adversary.rng.normal(size=len(anchor)), -0.09, 0.09))


def steps(adversary):
    """Steps of a plausible size, held for a while."""
    rng, target = adversary.rng, adversary.sent.copy()
    while True:
        target = target + rng.uniform(-0.095, 0.095, len(target)) * rng.random()
        for _ in range(int(rng.integers(1, 60))):
            yield adversary.command(target, np.zeros_like(target))


def ragged(adversary):
    """A good stream whose messages are late, doubled, repeated or lost."""
    rng, source = adversary.rng, policy(adversary, 0.3)
    loss, last, queue = rng.uniform(0.0, 0.4), None, []
    while True:
        queue.append(next(source))
        if rng.random() < loss:
            yield last if rng.random() < 0.5 else None
            continue
        last, queue = queue[-1], []
        yield last


GENERATORS = {
    "calm": lambda a: policy(a, 0.2),
    "brisk": lambda a: policy(a, 0.5),
    "full": lambda a: policy(a, 1.0),
    "over": lambda a: policy(a, 1.5),
    "bang": bang,
    "straight": straight,
    "wander": wander,
    "noise": noise,
    "steps": steps,
    "ragged": ragged,
}
WEIGHTS = dict(zip(GENERATORS, [1, 1, 1, 0.5, 1, 3, 4, 0.5, 1, 2], strict=True))
LENGTHS = dict.fromkeys(GENERATORS, 200) | {
    "straight": 800,
    "wander": 800,
    "calm": 800,
    "ragged": 400,
}  # cycles


@dataclass
class Outcome:
    """What a run found: texts of violations, counts of verdicts, of rules."""

    violations: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    rules: Counter = field(default_factory=Counter)


def fuzz(monitor, checker, cycles, seed, chunk=2000, progress=None):
    """Run an adversary for some cycles, every sample judged by the checker."""
    adversary, outcome = Adversary(monitor, seed), Outcome()
    history = np.repeat(adversary.sent[None], 3, axis=0)
    done = 0
    while done < cycles:
        sent = adversary.run(min(chunk, cycles - done))
        outcome.violations += [f"seed {seed}, cycle {done}+: {text}" for text in checker.judge(sent, history)]
        outcome.violations += [f"seed {seed}, cycle {done}+: {text}" for text in adversary.problems]
        adversary.problems.clear()
        history = np.concatenate([history, sent])[-3:]
        done += len(sent)
        if progress is not None:
            progress(len(sent), len(outcome.violations))
    outcome.counts, outcome.rules = adversary.counts, adversary.rules
    return outcome
