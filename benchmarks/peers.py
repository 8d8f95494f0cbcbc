"""Four published command filters and robolearn's monitor on the same command streams: `python benchmarks/peers.py`.

The streams are those of `tests/safety/adversary.py` with fixed seeds, open loop: every filter gets the same commands.
What goes out is judged by `tests/safety/slow_checker.py`, which shares no code with any of the filters.
`--markdown docs/explain/peers.md` writes the table there.

The peers are rewritten here from their sources, named in each docstring; every filter is given the same limits, those
of the profile and the robot file. The arm follows perfectly and reports what was sent last: the kindest case for
filters that start from the measurement.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "safety"))

from slow_checker import SlowChecker  # noqa: E402
from streams import GENERATORS  # noqa: E402

from robolearn.robots import load_robot  # noqa: E402
from robolearn.safety.braking import plan_braking  # noqa: E402
from robolearn.safety.mode_limits import compile_limits  # noqa: E402
from robolearn.safety.monitor import SafetyMonitor  # noqa: E402
from robolearn.safety.profile import SafetyProfile  # noqa: E402
from robolearn.safety.types import Command, Measured, State, Surroundings  # noqa: E402

STREAMS = ("calm", "brisk", "full", "over", "straight", "wander", "steps", "noise")
SAME_RAD = 1e-9  # a command changed by no more counts as unaltered
LOOK_SAMPLES, LOOK_PATH = (
    20,
    5,
)  # braking is judged from every 20th sample sent, at every fifth sample of its path
LOOK_COMMANDS = 5  # and from every fifth command, at every sample
SPARE = 0.999  # of a limit: a stream that rides on it exactly is not "inside"
ROUNDING = 1e-6  # of a limit: no filter but the monitor was made to be exact to the last bits
LIBFRANKA_MARGIN = 1e-3  # kLimitEps, taken off every limit there
MARKS = "<!-- peers: written by `python benchmarks/peers.py --markdown` -->", "<!-- /peers -->"


# ---- the formulas; all arrays [n], rad, rad/s, rad/s2, rad/s3


def clamp(command, low, high):
    """Each joint into its position range. NaN stays NaN, as with `np.clip` and `std::clamp`."""
    return np.clip(command, low, high)


def relative_clamp(goal, present, largest):
    """LeRobot: present + min(max(goal - present, -largest), largest). NaN stays NaN there, too.

    Source: huggingface/lerobot 012cb08 src/lerobot/robots/utils.py, `ensure_safe_goal_position`; `present` is read
    from the motors (send_action). `largest` is `max_relative_target`: a number for the user to choose, None (off) by
    default. LeRobot works in degrees or per cent of the range; the formula has no unit.
    """
    return present + np.clip(goal - present, -largest, largest)


def saturate(command, previous, velocity, low, high, velocity_max, acceleration_max, dt):
    """ros2_control: the position range, and one step of min(v_max, |v| + a_max dt) dt around the previous command.

    velocity: the measured one. Source: ros-controls/ros2_control 057d367 joint_limits/src/joint_limits_helpers.cpp,
    `compute_position_limits`, used by `JointSaturationLimiter<JointControlInterfacesData>` (1d0e078
    joint_range_limiter.cpp) for a position interface. Jerk is limited there on jerk interfaces only. That NaN is
    handed on as it is: pull request 3320 of that repository; the code after it was not read.
    """
    step = np.minimum(velocity_max, np.abs(velocity) + acceleration_max * dt) * dt
    lower = np.maximum(np.minimum(previous - step, high), low)
    upper = np.minimum(np.maximum(previous + step, lower), high)
    return np.clip(command, np.minimum(lower, upper), np.maximum(lower, upper))


def limit_rate(command, last, velocity, acceleration, lower, upper, acceleration_max, jerk_max, dt):
    """libfranka: jerk clamped, then acceleration, so that the velocity stays in [lower, upper]; then integrated.

    last, velocity, acceleration: of the last command. Raises ValueError for NaN and infinity, as libfranka throws.
    Source: frankaemika/libfranka 7cf2b97 src/rate_limiting.cpp, `limitRate` for joint positions. That file has one
    velocity limit +-v; that lower and upper stand in its place since the FR3 is documented (docs.ros.org, libfranka,
    function limitRate), its C++ body was not read, only a port to Rust by others, which does just that. dt is
    kDeltaT, 1 ms there, here the period of the stream.
    """
    if not np.isfinite(command).all():
        raise ValueError("Commanding value is infinite or NaN.")
    wanted = (command - last) / dt
    jerk = ((wanted - velocity) / dt - acceleration) / dt
    acceleration = acceleration + np.clip(jerk, -jerk_max, jerk_max) * dt
    ratio = jerk_max / acceleration_max
    highest = np.minimum(ratio * (upper - velocity), acceleration_max)
    lowest = np.maximum(ratio * (lower - velocity), -acceleration_max)
    return last + (velocity + np.maximum(np.minimum(acceleration, highest), lowest) * dt) * dt


# ---- the filters: one call per period, a command in, what goes out; None in: no command came


class Peer:
    """A formula with the state it needs. Where no command comes, the last one holds."""

    title = "plain clamp"
    latched = False

    def __init__(self, setup):
        self.limits, self.dt = setup.limits, setup.period_s
        self.sent = self.command = setup.robot.home_rad.copy()
        self.velocity, self.acceleration = np.zeros_like(self.sent), np.zeros_like(self.sent)

    def __call__(self, command):
        self.command = self.command if command is None else command.position_rad
        sent = self.limited(self.command)
        velocity = (sent - self.sent) / self.dt
        self.acceleration, self.velocity, self.sent = (velocity - self.velocity) / self.dt, velocity, sent
        return sent

    def limited(self, command):
        return clamp(command, self.limits.position_min_rad, self.limits.position_max_rad)


class LeRobot(Peer):
    title = "LeRobot"

    def limited(self, command):
        return relative_clamp(command, self.sent, self.limits.velocity_max_rad_s * self.dt)


class Ros2Control(Peer):
    title = "ros2_control"

    def limited(self, command):
        limits = self.limits
        return saturate(
            command, self.sent, self.velocity, limits.position_min_rad, limits.position_max_rad,
            limits.velocity_max_rad_s, limits.acceleration_max_rad_s2, self.dt,
        )  # fmt: skip


class Libfranka(Peer):
    title = "libfranka"

    def limited(self, command):
        lower, upper = self.limits.velocity_bounds(self.sent)
        return limit_rate(
            command, self.sent, self.velocity, self.acceleration,
            lower + LIBFRANKA_MARGIN, upper - LIBFRANKA_MARGIN,
            self.limits.acceleration_max_rad_s2 - LIBFRANKA_MARGIN,
            self.limits.jerk_max_rad_s3 - LIBFRANKA_MARGIN, self.dt,
        )  # fmt: skip


class Monitor:
    """robolearn's monitor, started at home; nobody resets it after a stop. A person is 6 m away."""

    title = "robolearn"

    def __init__(self, setup):
        self.robot, self.now, self.dt = setup.robot, -20.0 * setup.period_s, setup.period_s
        self.monitor = SafetyMonitor(setup.robot, setup.profile, setup.mode, self.dt)
        self.sent, self.velocity = setup.robot.home_rad.copy(), np.zeros(setup.robot.dof)
        for _ in range(20):  # until the arm's position is known
            self.now += self.dt
            self.monitor.check((), self.measured(), Surroundings(6.0, self.now), self.now)
        assert self.monitor.start(self.now, self.measured(), "peers").accepted

    @property
    def latched(self):
        return self.monitor.state in (State.STOPPING, State.STOPPED)

    def measured(self):
        return Measured(self.robot.joint_names, self.sent, self.velocity, self.now)

    def __call__(self, command):
        self.now += self.dt
        decision = self.monitor.check([command], self.measured(), Surroundings(6.0, self.now), self.now)
        self.sent, self.velocity = decision.command_rad, decision.velocity_rad_s
        return self.sent


FILTERS = (Peer, LeRobot, Ros2Control, Libfranka, Monitor)
TITLES = [each.title for each in FILTERS]


# ---- the streams


class Setup:
    """The arm, its limits and the judge."""

    def __init__(self, period_s=0.002, name="fr3", mode="automatic"):
        self.robot, self.mode, self.period_s = load_robot(name), mode, period_s
        self.profile = SafetyProfile.load(name)
        self.limits = compile_limits(self.profile.mode(mode), self.robot)
        path = ROOT / "configs" / "safety" / f"{name}.yaml"
        self.judge = SlowChecker(self.robot, path, mode, period_s, rounding=ROUNDING)
        self.exact, self.tight = (SlowChecker(self.robot, path, mode, period_s) for _ in range(2))
        for key in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3"):
            self.tight.limits[key] = {"value": SPARE * self.tight.number(key)}


class OpenLoop:
    """What a generator sees of an adversary; `sent` is its own last command, whatever a filter makes of it."""

    def __init__(self, setup, seed):
        self.robot, self.dt, self.rng = setup.robot, setup.period_s, np.random.default_rng(seed)
        self.names, self.now = self.robot.joint_names, 0.0
        self.limits = setup.limits
        self.sent, self.velocity = self.robot.home_rad.copy(), np.zeros(self.robot.dof)

    def commands(self, kind, cycles):
        stream, commands = GENERATORS[kind](self), []
        for _ in range(cycles):
            self.now += self.dt
            (command,) = next(stream)
            self.velocity = (command.position_rad - self.sent) / self.dt
            self.sent = command.position_rad
            commands.append(command)
        return commands


def smooth(setup, cycles):
    """All joints swing around home: well inside every limit, at up to 0.6 rad/s after half a second."""
    robot, commands = setup.robot, []
    for k in range(1, cycles + 1):
        t, rate = k * setup.period_s, np.linspace(2.0, 3.0, robot.dof)
        s = min(2.0 * t, 1.0)
        ramp, slope = s**3 * (10 - 15 * s + 6 * s**2), 60 * s**2 * (1 - s) ** 2
        position = robot.home_rad + 0.2 * np.sin(rate * t) * ramp
        velocity = 0.2 * (rate * np.cos(rate * t) * ramp + np.sin(rate * t) * slope)
        commands.append(Command(robot.joint_names, position, t, velocity))
    return commands


# ---- what is measured

RULES = {  # words of the judge: what the table calls it, and its unit
    "position": ("joint position", "rad"),
    "velocity": ("joint velocity", "rad/s"),
    "acceleration": ("joint acceleration", "rad/s²"),
    "jerk": ("joint jerk", "rad/s³"),
    "torque": ("joint torque", "Nm"),
    "speed of": ("Cartesian speed", "m/s"),
    "leaves": ("cell wall", "m"),
    "near": ("distance to itself", "m"),
}


def broken(judge, home, sent):
    """Per word of RULES: in which samples [k] of a sequence sent from rest at home it is broken, and by how much."""
    found = {word: (np.zeros(len(sent), dtype=bool), 0.0) for word in RULES}
    for text in judge.judge(sent, np.repeat(home[None], 3, axis=0)):
        word = next(word for word in RULES if word in text.split(":")[0])
        samples, excess = found[word]
        found[word] = samples | text.samples, max(excess, text.excess)
    return found


def any_of(found):
    return np.any([samples for samples, _ in found.values()], axis=0)


def braking(setup, sequence, k):
    """robolearn's braking motion from sample k of a sequence [k, n] after home at rest.

    Speed and acceleration beyond their limits are cut off there first: the arm would not have followed them.
    """
    limits, dt = setup.limits, setup.period_s
    before = np.concatenate([np.repeat(setup.robot.home_rad[None], 2, axis=0), sequence[: k + 1]])[-3:]
    top_v, top_a, top_j = limits.velocity_max_rad_s, limits.acceleration_max_rad_s2, limits.jerk_max_rad_s3
    velocity = np.clip((before[2] - before[1]) / dt, -top_v, top_v)
    acceleration = np.clip(np.diff(before, 2, axis=0)[0] / dt**2, -top_a, top_a)
    return plan_braking(before[2], velocity, acceleration, top_a, top_j, dt)


def lost(setup, sent):
    """From how many of the samples looked at the arm could not have braked within joint range, cell and itself."""
    paths, owners = [], []
    for k in range(0, len(sent), LOOK_SAMPLES):
        path = np.concatenate([sent[k : k + 1], braking(setup, sent, k).trajectory[0]])
        path = np.concatenate([path[:-1:LOOK_PATH], path[-1:]])
        paths.append(path)
        owners += [k] * len(path)
    path, limits = np.concatenate(paths), setup.limits
    bad = ((path < limits.position_min_rad - SAME_RAD) | (path > limits.position_max_rad + SAME_RAD)).any(
        axis=1
    )
    for text in setup.judge.judge_space(path, path):
        bad |= text.samples
    return len(set(np.array(owners)[bad])), len(paths)


def stops_well(setup, commands, k):
    """Whether braking from command k breaks no limit: judged as a sequence, and stopping time and distance."""
    motion, mode = braking(setup, commands, k), setup.limits.mode
    if motion.duration_s > mode.stopping_time_max_s.value:
        return False
    path = np.concatenate([commands[k : k + 1], motion.trajectory[0]])
    tcp = next(part for part in setup.judge.parts if part["name"] == "tcp")
    turn, place = setup.judge.frames(path)[tcp["body"]]
    points = place + turn @ tcp["points"][0]
    if np.linalg.norm(points - points[0], axis=1).max() > mode.stopping_distance_max_m.value:
        return False
    history = np.concatenate([np.repeat(setup.robot.home_rad[None], 3, axis=0), commands[: k + 1]])[-3:]
    return not setup.judge.judge(path[1:], history) if len(path) > 1 else True


def good_until(setup, commands, judge):
    """How many commands [k, n] of a stream come before the first that breaks a limit or can no longer brake.

    judge: `setup.exact`, or `setup.tight` for a thousandth to spare in joint speed, acceleration and jerk.
    """
    bad = any_of(broken(judge, setup.robot.home_rad, commands))
    end = int(np.argmax(bad)) if bad.any() else len(commands)
    checked = 0
    for k in [*range(0, end - 1, LOOK_COMMANDS), *([end - 1] if end else [])]:
        if not stops_well(setup, commands, k):
            return next((i for i in range(checked, k) if not stops_well(setup, commands, i)), k)
        checked = k + 1
    return end


@dataclass
class Tally:
    """Of one filter on one kind of stream: samples by rule broken, and what became of the commands."""

    samples: int = 0
    rules: Counter = field(default_factory=Counter)
    worst: dict = field(default_factory=dict)
    cannot_brake: int = 0
    looked: int = 0
    altered: int = 0
    good: int = 0
    needless: int = 0
    roomy: int = 0  # good with a thousandth to spare
    needless_roomy: int = 0
    other_bits: int = 0  # of these
    stopped: int = 0


def tallies(setup, cycles, seeds):
    """One Tally per filter and kind of stream, and how many streams of a kind there are."""
    result = {(title, kind): Tally() for title in TITLES for kind in STREAMS}
    for kind in STREAMS:
        for seed in range(seeds):
            stream = OpenLoop(setup, [STREAMS.index(kind), seed]).commands(kind, cycles)
            commands = np.array([command.position_rad for command in stream])
            good = [good_until(setup, commands, judge) for judge in (setup.exact, setup.tight)]
            for make in FILTERS:
                each = make(setup)
                sent = np.array([each(command) for command in stream])
                count(setup, result[make.title, kind], commands, sent, good, each.latched)
        print(f"{kind} done", file=sys.stderr)
    return result


def count(setup, tally, commands, sent, good, latched):
    found = broken(setup.judge, setup.robot.home_rad, sent)
    altered = np.abs(sent - commands).max(axis=1) > SAME_RAD
    bits = (sent.view(np.int64) != commands.view(np.int64)).any(axis=1)
    cannot, looked = lost(setup, sent)
    tally.samples += len(sent)
    tally.rules.update({word: int(samples.sum()) for word, (samples, _) in found.items()})
    tally.worst = {word: max(excess, tally.worst.get(word, 0.0)) for word, (_, excess) in found.items()}
    tally.rules["any"] += int(any_of(found).sum())
    tally.cannot_brake += cannot
    tally.looked += looked
    tally.altered += int(altered.sum())
    tally.good += good[0]
    tally.needless += int(altered[: good[0]].sum())
    tally.roomy += good[1]
    tally.needless_roomy += int(altered[: good[1]].sum())
    tally.other_bits += int(bits[: good[1]].sum())
    tally.stopped += latched


def stop_of(setup, make, last):
    """What a filter sends in 2 s after 0.8 s of a good stream, with `last` from then on: a short text."""
    each, dt = make(setup), setup.period_s
    begin = round(0.8 / dt)
    stream = smooth(setup, begin)
    sent = [each(command) for command in stream]
    try:
        sent += [each(last(stream[-1], (begin + 1 + k) * dt)) for k in range(round(2.0 / dt))]
    except ValueError:
        return "throws; nothing goes out"
    sent = np.array(sent)
    if not np.isfinite(sent).all():
        return "sends NaN"
    acceleration = np.abs(np.diff(sent, 2, axis=0)[begin - 2 :]).max() / dt**2
    jerk = np.abs(np.diff(sent, 3, axis=0)[begin - 3 :]).max() / dt**3
    moving = np.flatnonzero(np.abs(np.diff(sent, axis=0)).max(axis=1) > SAME_RAD)[-1]
    rests_s = (
        moving + 2 - (begin - 1)
    ) * dt  # sample moving + 1 was the last to move, the next one is at rest
    when = f"rests after {1e3 * rests_s:.0f} ms" if rests_s < 1.9 else "still moves after 2 s"
    return f"{when}, {acceleration:.0f} rad/s², {jerk:,.0f} rad/s³"


ENDS = {
    "the stream ends": lambda last, now: None,
    "it turns to NaN": lambda last, now: Command(last.joint_names, last.position_rad * np.nan, now),
}


def cost_us(setup, make, cycles=2000):
    """Median time of one call on a good stream."""
    each, times = make(setup), []
    for command in smooth(setup, cycles):
        began = time.perf_counter()
        each(command)
        times.append(time.perf_counter() - began)
    return 1e6 * float(np.median(times))


# ---- the table


def share(part, whole):
    """Per cent of samples; 0 only where there is none."""
    if part == 0:
        return "0"
    per_cent = 100.0 * part / whole
    return f"{per_cent:.1f} %" if per_cent >= 0.1 else "under 0.1 %"


def row(*cells):
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def summed(result):
    """One Tally per filter over all kinds of stream."""
    total = {}
    for title in TITLES:
        parts, whole = [result[title, kind] for kind in STREAMS], Tally()
        for part in parts:
            for name, value in vars(part).items():
                if name != "worst":
                    setattr(whole, name, getattr(whole, name) + value)
        whole.worst = {word: max(part.worst[word] for part in parts) for word in RULES}
        total[title] = whole
    return total


def rule_cell(tally, word):
    text = share(tally.rules[word], tally.samples)
    return f"{text} (by {tally.worst[word]:.2g})" if tally.rules[word] else text


def table(name, rows):
    """A line, and a table with one column per filter; rows: (label, one cell per filter)."""
    head = (row("", *TITLES), row(*["---"] * (len(TITLES) + 1)))
    return "\n".join([f"{name}:", "", *head, *(row(label, *cells) for label, cells in rows)])


def markdown(setup, cycles, seeds):
    """The tables as Markdown."""
    result = tallies(setup, cycles, seeds)
    total = list(summed(result).values())
    samples, streams = total[0].samples, len(STREAMS) * seeds
    good, roomy = total[0].good, total[0].roomy
    rules = [
        (f"{name}, {unit}", [rule_cell(each, word) for each in total]) for word, (name, unit) in RULES.items()
    ]
    rules.append(("any of these", [share(each.rules["any"], samples) for each in total]))
    rules.append(("could not have braked", [share(each.cannot_brake, each.looked) for each in total]))
    commands = [
        ("altered, of all", [share(each.altered, samples) for each in total]),
        (f"altered needlessly, of {good:,}", [each.needless for each in total]),
        (f"the same with a thousandth to spare, of {roomy:,}", [each.needless_roomy for each in total]),
        (f"of these not bit-identical, of {roomy:,}", [each.other_bits for each in total]),
        (f"streams stopped for good, of {streams}", [each.stopped for each in total]),
    ]
    kinds = []
    for kind in STREAMS:
        each_filter = [result[title, kind] for title in TITLES]
        parts = [(share(t.rules["any"], t.samples), share(t.altered, t.samples)) for t in each_filter]
        kinds.append((kind, [f"{breaks} / {altered}" for breaks, altered in parts]))
    ends = [(name, [stop_of(setup, make, last) for make in FILTERS]) for name, last in ENDS.items()]
    costs = [("median, µs", [f"{cost_us(setup, make):.0f}" for make in FILTERS])]
    good_ones = (
        f"Of the {samples:,} commands, of which {good:,} come before their stream first breaks a limit"
    )
    runs = f"{seeds} streams a kind of {cycles} cycles of {1e3 * setup.period_s:g} ms"
    machine = f"{platform.machine()}, cores shared with other work"
    return "\n\n".join((
        table(f"Of {samples:,} samples sent in {streams} streams, these break a limit (by at most)", rules),
        table(f"{good_ones} or can no longer brake", commands),
        table("By kind of stream, samples that break a limit / commands altered", kinds),
        table("What goes out where a good stream ends in mid-motion (largest acceleration, jerk)", ends),
        table("Time of one call, all in Python", costs),
        f"`{setup.robot.name}`, mode {setup.mode}, {runs}; {machine}.",
    ))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000, help="of each stream")
    parser.add_argument("--seeds", type=int, default=3, help="of each kind of stream")
    parser.add_argument("--period", type=float, default=0.002, help="of the streams and every filter, s")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table between its marks there"
    )
    options = parser.parse_args()
    text = markdown(Setup(options.period), options.cycles, options.seeds)
    print(text)
    if options.markdown is not None:
        before, rest = options.markdown.read_text().split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        options.markdown.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
