"""What else goes wrong around a monitor, one fault at a time: inputs that are unusable, forged, late or too many.

A fault changes what comes in this cycle, and names the rule that must stop a running arm because of it, or None where
that depends on more.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from streams import reordered

from robolearn.safety.profile import Separation
from robolearn.safety.types import Command, Measured, State, Surroundings

FAULTS = {}
NOT_NUMBERS = (np.nan, np.inf, -np.inf)
FAST_RAD_S = 0.1  # no arm goes on at such a speed out of rest
AHEAD_S = (0.011, 1.0, 30.0, 1e9, 1e300)  # beyond what the shipped profiles allow a stamp to be ahead


@dataclass
class Given:
    """What comes in one cycle, and the rule that must stop a running arm because of it."""

    commands: list[Command]
    measured: Measured
    surroundings: Surroundings
    now: float
    expected: str | None = None


def fault(kind):
    def add(make):
        FAULTS[kind] = make
        return make

    return add


def command(adversary, given, **changes):
    """The command of this cycle, or one in its place, changed."""
    values = {
        "joint_names": adversary.names,
        "position_rad": np.array(given.commands[-1].position_rad)
        if given.commands
        else adversary.sent.copy(),
        "stamp_s": given.now,
    }
    return Command(**(values | changes))


def spoilt(adversary, values, bad=None):
    """The values with one of them bad."""
    out = np.array(values, float)
    out[adversary.rng.integers(len(out))] = adversary.rng.choice(NOT_NUMBERS) if bad is None else bad
    return out


# -- no numbers, in every field --


@fault("command position")
def _(a, g):
    bad = spoilt(a, a.sent, a.rng.choice([*NOT_NUMBERS, 1e300, -7.0]))
    g.commands = [command(a, g, position_rad=bad)]
    return None if np.isfinite(bad).all() else "finite"


@fault("command velocity")
def _(a, g):
    g.commands = [command(a, g, velocity_rad_s=spoilt(a, a.sent))]
    return "finite"


@fault("command stamp")
def _(a, g):
    g.commands = [command(a, g, stamp_s=float(a.rng.choice(NOT_NUMBERS)))]
    return "finite"


@fault("state position")
def _(a, g):
    bad = spoilt(a, g.measured.position_rad, a.rng.choice([*NOT_NUMBERS, 1e300, -70.0]))
    g.measured = replace(g.measured, position_rad=bad, stamp_s=g.now)
    return "state_jump" if np.isfinite(bad).all() else "finite"


@fault("state velocity")
def _(a, g):
    g.measured = replace(g.measured, velocity_rad_s=spoilt(a, g.measured.velocity_rad_s))
    return "finite"


@fault("state stamp")
def _(a, g):
    g.measured = replace(g.measured, stamp_s=float(a.rng.choice(NOT_NUMBERS)))
    return "finite"


@fault("person")
def _(a, g):
    field = str(a.rng.choice(["person_distance_m", "person_stamp_s"]))
    g.surroundings = replace(g.surroundings, **{field: float(a.rng.choice(NOT_NUMBERS))})
    return "finite" if isinstance(a.limits.mode.separation, Separation) else None


@fault("enabling stamp")
def _(a, g):
    g.surroundings = replace(g.surroundings, enabling_stamp_s=float(a.rng.choice(NOT_NUMBERS)))
    return "finite" if a.limits.mode.enabling_device.value == "required" else None


@fault("clock is not a number")
def _(a, g):
    g.now = float(a.rng.choice(NOT_NUMBERS))
    return "finite"


# -- stamps from the future, and from the past --


@fault("command ahead")
def _(a, g):
    g.commands = [command(a, g, stamp_s=g.now + a.rng.choice(AHEAD_S))]
    return "clock"


@fault("state ahead")
def _(a, g):
    g.measured = replace(g.measured, stamp_s=g.now + a.rng.choice(AHEAD_S))
    return "clock"


@fault("person ahead")
def _(a, g):
    g.surroundings = replace(g.surroundings, person_stamp_s=g.now + a.rng.choice(AHEAD_S))
    return "clock" if isinstance(a.limits.mode.separation, Separation) else None


@fault("enabling ahead")
def _(a, g):
    g.surroundings = replace(g.surroundings, enabling_stamp_s=g.now + a.rng.choice(AHEAD_S))
    return "clock" if a.limits.mode.enabling_device.value == "required" else None


@fault("clock leaps")
def _(a, g):
    """One call at a time from the future; the ones after it are on time again."""
    g.now = g.now + a.rng.choice([1.0, 1e3, 1e9])
    a.since_gap = 0
    return "cycle_gap"


@fault("clock goes back")
def _(a, g):
    g.now -= 0.1
    return "clock"


@fault("old command")
def _(a, g):
    g.commands = [command(a, g, stamp_s=g.now - 0.1)]


@fault("out of order")
def _(a, g):
    """The message before the newest one comes after it."""
    if a.newest - a.dt <= a.monitor._started_s:
        return None
    g.commands = [command(a, g, stamp_s=a.newest - a.dt)]
    return "clock"


@fault("two with one stamp")
def _(a, g):
    if np.isfinite(a.newest):
        g.commands = [command(a, g, position_rad=a.sent + 1e-3, stamp_s=a.newest)]


@fault("state goes back")
def _(a, g):
    if a.frozen[1]:  # one that stands still may have a stamp that is older still
        return None
    g.measured = replace(g.measured, stamp_s=g.now - 2.5 * a.dt)
    return "clock"


@fault("old person")
def _(a, g):
    g.surroundings = replace(g.surroundings, person_stamp_s=g.now - 1.0)
    return "person_age" if isinstance(a.limits.mode.separation, Separation) else None


@fault("old enabling device")
def _(a, g):
    g.surroundings = replace(g.surroundings, enabling_stamp_s=g.now - 1.0)
    return "enabling_age" if a.limits.mode.enabling_device.value == "required" else None


# -- something is missing, or not what it should be --


@fault("joint missing")
def _(a, g):
    g.commands = [command(a, g, position_rad=a.sent[:-1])]
    return "shape"


@fault("joint unknown")
def _(a, g):
    g.commands = [command(a, g, joint_names=(*a.names[:-1], "other"))]
    return "shape"


@fault("state without a joint")
def _(a, g):
    g.measured = replace(g.measured, joint_names=a.names[:-1], position_rad=g.measured.position_rad[:-1])
    return "shape"


@fault("no state")
def _(a, g):
    g.measured = None
    return "state_age"


@fault("state stands still")
def _(a, g):
    a.frozen = (g.measured, round(0.1 / a.dt))


@fault("no person sensor")
def _(a, g):
    g.surroundings = replace(g.surroundings, person_distance_m=None, person_stamp_s=None)
    return "person_age" if isinstance(a.limits.mode.separation, Separation) else None


@fault("not enabled")
def _(a, g):
    g.surroundings = replace(g.surroundings, enabling_device=[None, False][a.rng.integers(2)])
    return "enabling_device" if a.limits.mode.enabling_device.value == "required" else None


@fault("stop request")
def _(a, g):
    g.surroundings = replace(g.surroundings, stop_requested=True)
    return "stop_request"


@fault("reordered")
def _(a, g):
    g.commands = [reordered(one, a.rng) for one in g.commands]
    g.measured = reordered(g.measured, a.rng)


# -- several commands in one cycle --


@fault("rogue")
def _(a, g):
    g.commands = [command(a, g, source="rogue")]


@fault("rogue between good ones")
def _(a, g):
    if not np.isfinite(a.newest):
        return None
    stamps = np.linspace(max(a.newest, g.now - 0.5 * a.dt), g.now, 4)[1:]
    g.commands = [command(a, g, stamp_s=float(stamp)) for stamp in stamps]
    g.commands[1] = replace(g.commands[1], source="rogue")
    return "source"


@fault("no number between good ones")
def _(a, g):
    good = [command(a, g, stamp_s=g.now - 1e-4 * k) for k in (2, 1, 0)]
    good[1] = replace(good[1], position_rad=spoilt(a, a.sent))
    g.commands = good
    return None if a.newest > good[0].stamp_s else "finite"


@fault("flood")
def _(a, g):
    g.commands = [command(a, g)] * (1 + round(a.limits.mode.commands_per_cycle_max.value))
    return "command_flood"


@fault("jump")
def _(a, g):
    g.commands = [command(a, g, position_rad=a.sent + 0.15)]


# -- the arm is elsewhere, or the monitor was --


@fault("arm elsewhere")
def _(a, g):
    g.measured = replace(g.measured, position_rad=g.measured.position_rad + 0.4, stamp_s=g.now)
    return "state_jump"


@fault("forged states")
def _(a, g):
    """For a while every joint state shows the arm somewhere else, at rest."""
    if a.silent or a.since_gap * a.dt < 2.0:
        return None  # an arm that was not seen for a while may be elsewhere indeed
    off = np.zeros(len(a.sent))
    off[a.rng.integers(len(off))] = a.rng.choice([-1, 1]) * a.rng.choice([0.2, 0.8, 25.0, 1e6])
    a.forged = (off, int(a.rng.integers(1, 400)))
    g.measured = a.measured()
    return None if a.frozen[1] else "state_jump"


@fault("forged reset")
def _(a, g):
    """A reset with a joint state that is not the arm's."""
    if a.monitor.state is not State.STOPPED or a.silent:
        return
    lie = a.measured().position_rad.copy()
    lie[a.rng.integers(len(lie))] += a.rng.choice([-1, 1]) * a.rng.choice([0.2, 25.0, np.nan])
    answer = a.monitor.reset(a.now, Measured(a.names, lie, np.zeros(len(lie)), a.now), "intruder", "a lie")
    a.counts["forged reset"] += 1
    if answer.accepted and a.since_gap * a.dt > 2.0:
        a.problems.append(f"a reset was accepted with a forged joint state: {answer.text}")


@fault("pushed")
def _(a, g):
    """Somebody moves the arm while it is stopped, at a speed that it can have."""
    if a.monitor.state is State.STOPPED and not a.silent:
        low, high = a.limits.position_min_rad, a.limits.position_max_rad
        a.pushed = np.clip(a.sent + a.rng.uniform(-0.6, 0.6, len(a.sent)), low, high)


@fault("held")
def _(a, g):
    """Somebody or something holds the arm where it is, whatever is sent."""
    if a.monitor.state is State.RUNNING:
        a.pushed = a.lag[-1]


@fault("no commands")
def _(a, g):
    """The policy is silent for a while."""
    a.stream, a.left, g.commands = itertools.repeat(()), 60, []


@fault("gap")
def _(a, g):
    """No cycles for a while. Meanwhile the arm came to rest where it was sent last, or further on."""
    filter_ = a.monitor._filter
    rest = a.sent
    if filter_ is not None and a.rng.random() < 0.5:
        rest = filter_.position_rad + a.rng.uniform(0.0, 1.0) * filter_.remaining_travel()
    a.lag, a.since_gap, a.forged = [rest] * 4, 0, (a.sent, 0)  # after a while any place is plausible
    a.silent = True  # whatever is sent next begins at rest, where the arm is
    a.now += float(a.rng.choice([0.06, 0.5, 30.0]))
    g.now, g.measured, g.surroundings = a.now, a.measured(), a.surroundings()
    g.commands = [command(a, g)]
    return "cycle_gap"


@fault("short gap")
def _(a, g):
    """A pause that the clock allows; the arm, whose controller holds, rests when it is over."""
    speed = float(np.abs(a.velocity).max())
    a.lag, a.silent = [a.sent] * 4, a.silent or speed > FAST_RAD_S
    a.now += 0.9 * a.limits.mode.cycle_gap_max_s.value - a.dt
    g.now, g.measured, g.surroundings = a.now, a.measured(), a.surroundings()
    g.commands = [command(a, g)]
    return "cycle_gap" if speed > FAST_RAD_S else None
