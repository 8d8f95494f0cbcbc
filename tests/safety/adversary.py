"""Command streams that try to make a monitor send something it must not, and a loop that feeds them to it.

Every generator yields what arrives in one cycle: a Command or None. It sees what was sent last, as a policy that
closes its loop over the arm would.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from robolearn.safety.types import Command, Measured, State, Surroundings, Verdict

FAR_M = 6.0


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
        self.stream = None
        self.person, self.walk = FAR_M, 0.0
        self.lag = [self.sent] * 4
        self.kind, self.left = "", 0
        self.kinds, self.faults = list(GENERATORS), 3e-4
        self.deck = []  # kinds of faults still to come
        self.promised, self.promises = promised, []
        self.chance = np.random.default_rng(seed)  # apart, so that looking at promises changes no stream
        self.shuffle = None  # a generator of its own: every message comes with its joints in another order
        self.frozen = (None, 0)  # a reading that comes again and again, and how often still
        self.newest = -np.inf  # stamp of the newest command since the start
        monitor.check((), self.measured(), Surroundings(FAR_M, self.now), self.now)

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
            expected = None
            if self.rng.random() < self.faults:
                expected, command, measured, surroundings, now = self.corrupt(
                    command, measured, surroundings, now
                )
            if self.shuffle is not None:
                command, measured = reordered(command, self.shuffle), reordered(measured, self.shuffle)
            running = self.monitor.state is State.RUNNING
            decision = self.monitor.check([] if command is None else [command], measured, surroundings, now)
            self.judge(decision, command)
            if running:
                self.rules.update(record.rule for record in decision.records)
            if expected and running and not any(record.rule == expected for record in decision.records):
                self.problems.append(f"not stopped by {expected}: {decision}")
            if command is not None and np.isfinite(command.stamp_s):
                self.newest = max(self.newest, command.stamp_s)
            out[k] = self.sent = decision.command_rad
            self.velocity = decision.velocity_rad_s
            self.lag, self.last = [*self.lag[1:], self.sent], np.vstack([self.last[1:], self.sent])
            if self.chance.random() < self.promised:
                self.keep_promise(decision, surroundings)
        return out

    def keep_promise(self, decision, surroundings):
        follower = self.monitor._follower
        path = follower._braking.trajectory[0][follower._step :]
        person = surroundings.person_distance_m if decision.verdict is not Verdict.STOP else None
        self.promises.append(Promise(self.last, path, person))

    def recover(self):
        """A person resets and starts again some time after a stop."""
        if self.monitor.state is State.STOPPED and self.rng.random() < 0.05:
            self.person, self.walk = FAR_M, 0.0
            self.monitor.reset(self.now, self.measured(), "fuzzer", "goes on")
        elif self.monitor.state is State.HOLDING and self.rng.random() < 0.2:
            answer = self.monitor.start(self.now, self.measured(), "fuzzer")
            self.counts["start" if answer.accepted else "start refused"] += 1
            self.stream, self.newest = None, -np.inf
            if not answer.accepted and "outside" in answer.text:
                self.problems.append(answer.text)

    def surroundings(self):
        """Nobody for the most part; then somebody who is there at once, or who walks in, turns and walks out."""
        chance = self.rng.random()
        if chance < 3e-4:
            self.person, self.walk = float(self.rng.uniform(0.2, FAR_M)), 1.0
        elif chance < 1.3e-3:
            self.person, self.walk = min(self.person, 2.5), -float(self.rng.uniform(0.1, 1.6))
        elif chance < 5e-3 and self.person < FAR_M:
            self.walk = float(self.rng.uniform(-1.6, 1.6))
        self.person = min(FAR_M, max(0.2, self.person + self.walk * self.dt))
        return Surroundings(self.person, self.now, enabling_device=True)

    def judge(self, decision, command):
        """What must hold for every single decision."""
        self.counts[str(decision.verdict)] += 1
        if not (decision.publish and np.isfinite(decision.command_rad).all()):
            self.problems.append(f"nothing finite to publish: {decision}")
        if decision.verdict is Verdict.PASS and (
            command is None or decision.command_rad.tobytes() != self.in_order(command).tobytes()
        ):
            self.problems.append(f"passed, but not bit-identical ({self.kind})")
        if decision.verdict is Verdict.LIMIT and not decision.records:
            self.problems.append(f"limited without a record ({self.kind})")
        if (
            "internal_error" in (record.rule for record in decision.records)
            and decision.state is State.STOPPING
        ):
            self.problems.append(decision.records[0].text)

    def in_order(self, message):
        """The positions of a message in the robot's order of joints, looked up by name."""
        by_name = dict(zip(message.joint_names, np.asarray(message.position_rad, float), strict=True))
        return np.array([by_name[name] for name in self.names])

    def corrupt(self, command, measured, surroundings, now):
        """One input of this cycle made unusable, or usable but unusual.

        Before the inputs the rule that must stop a running arm because of it, or None.
        """
        if self.monitor.state is State.RUNNING:  # each kind once before any comes again
            self.deck = self.deck or list(self.rng.permutation(FAULTS))
            kind = str(self.deck.pop())
        else:
            kind = str(self.rng.choice(FAULTS))
        position = self.sent.copy() if command is None else np.array(command.position_rad)
        bad = position.copy()
        bad[self.rng.integers(len(bad))] = self.rng.choice([np.nan, np.inf, -np.inf, 1e300, -7.0])
        rule = None
        if kind == "bad command":
            rule = None if np.isfinite(bad).all() else "finite"
            command = Command(self.names, bad, now)
        elif kind == "bad velocity":
            command, rule = Command(self.names, position, now, bad * np.nan), "finite"
        elif kind == "joint missing":
            command, rule = Command(self.names, position[:-1], now), "shape"
        elif kind == "joint unknown":
            command, rule = Command((*self.names[:-1], "other"), position, now), "shape"
        elif kind == "old command":
            command = Command(self.names, position, now - 0.1)
        elif kind == "command ahead":
            command, rule = Command(self.names, position, now + 1.0), "clock"
        elif kind == "no stamp":
            command, rule = Command(self.names, position, np.nan), "finite"
        elif kind == "bad state":
            measured = Measured(self.names, bad, measured.velocity_rad_s, now)
        elif kind == "no state":
            measured, rule = None, "state_age"
        elif kind == "state goes back" and not self.frozen[1]:
            # one that stands still may have a stamp that is older still
            back = Measured(self.names, measured.position_rad, measured.velocity_rad_s, now - 2.0 * self.dt)
            measured, rule = back, "clock"
        elif kind == "state stands still":
            self.frozen = (measured, round(0.1 / self.dt))
        elif kind == "person unclear":
            surroundings = Surroundings(np.nan, now, enabling_device=True)
        elif kind == "no person sensor":
            surroundings = Surroundings(None, None, enabling_device=True)
        elif kind == "old person":
            surroundings = Surroundings(self.person, now - 1.0, enabling_device=True)
        elif kind == "not enabled":
            surroundings = Surroundings(self.person, now)
        elif kind == "stop request":
            surroundings = Surroundings(self.person, now, stop_requested=True, enabling_device=True)
            rule = "stop_request"
        elif kind == "clock goes back":
            now, rule = now - 0.1, "clock"
        elif kind == "gap":
            self.now = now = now + 0.5
            command, measured = Command(self.names, position, now), self.measured()
            surroundings, rule = Surroundings(self.person, now, enabling_device=True), "cycle_gap"
        elif kind == "rogue":
            command = Command(self.names, position, now, source="rogue")
        elif kind == "jump":
            command = Command(self.names, position + 0.15, now)
        elif kind == "two with one stamp" and np.isfinite(self.newest):
            command = Command(self.names, position + 1e-3, self.newest)
        elif kind == "arm elsewhere":
            velocity = measured.velocity_rad_s
            measured, rule = Measured(self.names, measured.position_rad + 0.4, velocity, now), "tracking"
        elif kind == "out of order" and self.newest - self.dt > self.monitor._started_s:
            # the message before the newest one comes after it
            command, rule = Command(self.names, position, self.newest - self.dt), "clock"
        elif kind == "reordered":
            command, measured = reordered(command, self.rng), reordered(measured, self.rng)
        self.counts[f"fault: {kind}"] += 1
        return rule, command, measured, surroundings, now

    def command(self, position, velocity=None, stamp=None):
        return Command(self.names, position, self.now if stamp is None else stamp, velocity)


FAULTS = [
    "bad command", "bad velocity", "joint missing", "joint unknown", "old command", "command ahead", "no stamp",
    "bad state", "no state", "state goes back", "state stands still", "person unclear", "no person sensor",
    "old person", "not enabled", "stop request", "clock goes back", "gap", "rogue", "jump",
    "two with one stamp", "arm elsewhere", "out of order", "reordered",
]  # fmt: skip


def reordered(message, rng):
    """The same message with its joints in another order; None stays None."""
    if message is None:
        return None
    order = rng.permutation(len(message.joint_names))
    velocity = message.velocity_rad_s
    return replace(
        message,
        joint_names=tuple(message.joint_names[k] for k in order),
        position_rad=np.asarray(message.position_rad)[order],
        velocity_rad_s=None if velocity is None else np.asarray(velocity)[order],
    )


def policy(adversary, share):
    """Piecewise constant accelerations at 50 Hz, as a policy's targets after interpolation."""
    limits, rng, dt = adversary.limits, adversary.rng, adversary.dt
    n, top_a = adversary.robot.dof, adversary.limits.acceleration_max_rad_s2
    position, velocity = adversary.sent.copy(), adversary.velocity.copy()
    acceleration = np.zeros(n)
    k = 0
    while True:
        if k % max(1, round(0.02 / dt)) == 0:
            wanted = rng.uniform(-1, 1, n) * limits.velocity_max_rad_s * share
            acceleration = np.clip((wanted - velocity) / 0.02, -top_a * share, top_a * share)
        position = position + velocity * dt + 0.5 * acceleration * dt**2
        velocity = velocity + acceleration * dt
        k += 1
        yield adversary.command(position, velocity)


def bang(adversary):
    """Accelerations at the limit, now and then reversed, a hair over it or under it."""
    limits, rng, dt = adversary.limits, adversary.rng, adversary.dt
    n, top, fast = adversary.robot.dof, limits.acceleration_max_rad_s2, limits.velocity_max_rad_s
    over = rng.choice([1 - 1e-9, 1.0, 1 + 1e-9, 1 + 1e-3, 1.3])
    position, velocity, sign = adversary.sent.copy(), adversary.velocity.copy(), rng.choice([-1.0, 1.0], n)
    while True:
        flip = rng.random(n) < 0.02
        sign = np.where(flip, -sign, sign)
        velocity = np.clip(velocity + sign * top * over * dt, -fast, fast)
        position = position + velocity * dt
        yield adversary.command(position, velocity if rng.random() < 0.9 else None)


def straight(adversary):
    """All joints at a constant share of their speed for ever: into position limits, walls and the arm itself."""
    rng, n = adversary.rng, adversary.robot.dof
    wanted = rng.uniform(-1, 1, n) * adversary.limits.velocity_max_rad_s * rng.choice([0.1, 0.5, 1.0, 1.1])
    wanted *= rng.random(n) < 0.6
    position, velocity = adversary.sent.copy(), adversary.velocity.copy()
    while True:
        velocity = velocity + np.clip(wanted - velocity, -4.0 * adversary.dt, 4.0 * adversary.dt)
        position = position + velocity * adversary.dt
        yield adversary.command(position, velocity)


def wander(adversary):
    """Toward a random pose in the joint range, with noise: a policy that closes its loop over what was sent."""
    limits, rng = adversary.limits, adversary.rng
    low, high = limits.position_min_rad, limits.position_max_rad
    goal = rng.uniform(low - 0.05, high + 0.05)
    speed, noise = rng.uniform(0.1, 2.0), rng.choice([0.0, 1e-6, 1e-3])
    while True:
        gap = goal - adversary.sent
        velocity = np.clip(3.0 * gap, -speed, speed) + noise * rng.normal(size=len(gap))
        yield adversary.command(adversary.sent + velocity * adversary.dt, velocity)


def smooth(adversary):
    """From what was sent last, inside every limit of joint rates: only the other rules are left to act."""
    limits, rng, dt = adversary.limits, adversary.rng, adversary.dt
    top_a, top_j = 0.9 * limits.acceleration_max_rad_s2, 0.9 * limits.jerk_max_rad_s3
    n, fast, left, goal = adversary.robot.dof, limits.velocity_max_rad_s, 0, None
    low, high = limits.position_min_rad, limits.position_max_rad
    while True:
        if left <= 0:
            left, size = int(rng.exponential(0.5) / dt), rng.choice([0.1, 0.3, 1.0])
            goal = rng.uniform(low - 0.2, high + 0.2) if rng.random() < 0.6 else None
            drift = size * rng.uniform(-1, 1, n) * fast * (rng.random(n) < 0.7)
        left -= 1
        wanted = drift if goal is None else np.clip(5.0 * (goal - adversary.sent), -size * fast, size * fast)
        velocity, acceleration = adversary.velocity, np.clip(adversary.acceleration, -top_a, top_a)
        gap = wanted - velocity
        # the acceleration from which the jerk limit leads to 0 just as the gap closes
        aimed = np.clip(np.sign(gap) * np.sqrt(top_j * np.abs(gap)), -top_a, top_a)
        acceleration = acceleration + np.clip(aimed - acceleration, -top_j * dt, top_j * dt)
        velocity = velocity + acceleration * dt
        yield adversary.command(adversary.sent + velocity * dt, velocity)


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
    "smooth": smooth,
    "noise": noise,
    "steps": steps,
    "ragged": ragged,
}
WEIGHTS = dict(zip(GENERATORS, [1, 1, 1, 0.5, 1, 3, 4, 8, 0.5, 1, 2], strict=True))
LENGTHS = dict.fromkeys(GENERATORS, 100) | {
    "straight": 300,
    "wander": 300,
    "smooth": 300,
    "calm": 300,
    "ragged": 200,
}  # cycles


@dataclass
class Outcome:
    """What a run found: texts of violations, counts of verdicts, of rules, of braking motions judged."""

    violations: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    rules: Counter = field(default_factory=Counter)
    promises: int = 0


def fuzz(monitor, checker, cycles, seed, chunk=2000, progress=None, promised=0.01, faults=None, kinds=None):
    """Run an adversary for some cycles, every sample and a share of the promises judged by the checker."""
    adversary, outcome = Adversary(monitor, seed, promised), Outcome()
    adversary.faults = adversary.faults if faults is None else faults
    adversary.kinds = adversary.kinds if kinds is None else kinds
    history = adversary.last
    done = 0
    while done < cycles:
        sent = adversary.run(min(chunk, cycles - done))
        texts = checker.judge(sent, history) + checker.judge_promises(adversary.promises)
        outcome.violations += [f"seed {seed}, cycle {done}+: {text}" for text in texts + adversary.problems]
        outcome.promises += len(adversary.promises)
        adversary.problems.clear()
        adversary.promises.clear()
        history = np.concatenate([history, sent])[-3:]
        done += len(sent)
        if progress is not None:
            progress(len(sent), len(outcome.violations))
    outcome.counts, outcome.rules = adversary.counts, adversary.rules
    return outcome
