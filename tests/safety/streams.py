"""What a policy may send: every generator yields the commands that arrive in one cycle, mostly one.

It sees what was sent last, as a policy that closes its loop over the arm would.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robolearn.safety.types import Command


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


def command(adversary, position, velocity=None, stamp=None):
    """Of now, in the robot's order."""
    return Command(adversary.names, position, adversary.now if stamp is None else stamp, velocity)


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
        yield [command(adversary, position, velocity)]


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
        yield [command(adversary, position, velocity if rng.random() < 0.9 else None)]


def straight(adversary):
    """All joints at a constant share of their speed for ever: into position limits, walls and the arm itself."""
    rng, n = adversary.rng, adversary.robot.dof
    wanted = rng.uniform(-1, 1, n) * adversary.limits.velocity_max_rad_s * rng.choice([0.1, 0.5, 1.0, 1.1])
    wanted *= rng.random(n) < 0.6
    position, velocity = adversary.sent.copy(), adversary.velocity.copy()
    while True:
        velocity = velocity + np.clip(wanted - velocity, -4.0 * adversary.dt, 4.0 * adversary.dt)
        position = position + velocity * adversary.dt
        yield [command(adversary, position, velocity)]


def wander(adversary):
    """Toward a random pose in the joint range, with noise: a policy that closes its loop over what was sent."""
    limits, rng = adversary.limits, adversary.rng
    low, high = limits.position_min_rad, limits.position_max_rad
    goal = rng.uniform(low - 0.05, high + 0.05)
    speed, noise = rng.uniform(0.1, 2.0), rng.choice([0.0, 1e-6, 1e-3])
    while True:
        gap = goal - adversary.sent
        velocity = np.clip(3.0 * gap, -speed, speed) + noise * rng.normal(size=len(gap))
        yield [command(adversary, adversary.sent + velocity * adversary.dt, velocity)]


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
        yield [command(adversary, adversary.sent + velocity * dt, velocity)]


def noise(adversary):
    """The held position with noise of any size up to a plausible jump."""
    size, anchor = 10.0 ** adversary.rng.uniform(-7, -1.3), adversary.sent.copy()
    while True:
        yield [
            command(adversary, anchor + np.clip(size * adversary.rng.normal(size=len(anchor)), -0.09, 0.09))
        ]


def steps(adversary):
    """Steps of a plausible size, held for a while."""
    rng, target = adversary.rng, adversary.sent.copy()
    while True:
        target = target + rng.uniform(-0.095, 0.095, len(target)) * rng.random()
        for _ in range(int(rng.integers(1, 60))):
            yield [command(adversary, target, np.zeros_like(target))]


def ragged(adversary):
    """A good stream whose messages are late, several at once, repeated or lost."""
    rng, source = adversary.rng, policy(adversary, 0.3)
    late, lost, last, queue = rng.uniform(0.0, 0.4), rng.uniform(0.0, 0.2), None, []
    while True:
        queue += next(source)
        if len(queue) < 10 and rng.random() < late:
            yield [last] if last is not None and rng.random() < 0.5 else []
            continue
        arrived = [command for command in queue if rng.random() > lost]
        last, queue = (arrived[-1] if arrived else last), []
        yield arrived


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
