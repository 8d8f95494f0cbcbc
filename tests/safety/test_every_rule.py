"""Every rule of the table, in both directions: what it forbids has the effect that the table says, the rest does not.

A rule is added in `robolearn/safety/rules.py`, and its case here: how to break it, and how to stay just inside.
"""

import itertools

import numpy as np
import pytest
from safety_rig import DT, Rig, profile_with
from variants import change, chosen, monitor_of, profile_data

from robolearn.review.limits_table import _INSTEAD
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import ModeLimits, SafetyProfile, Separation
from robolearn.safety.rules import BY_NAME, RULES, Effect, Margin, Stage, in_order
from robolearn.safety.types import State, Verdict

NAN = np.nan


def ready(mode="automatic", profile=None, variant=None, robot="fr3"):
    """A rig that runs and has passed one command; variant: with a profile of `variants`."""
    rig = Rig(robot, profile=profile, mode=mode, start=False)
    if variant is not None:
        rig.monitor = monitor_of(robot, mode, variant, DT)
        rig.idle(11)
    assert rig.start().accepted
    assert rig.cycle(rig.position).verdict is Verdict.PASS, rig.decision.records
    return rig


def hand(rig, **changes):
    """A cycle with good inputs, but for the changes: of command_, state_, around_ fields, or the whole of them."""
    parts = {"command": {}, "state": {}, "around": {}}
    for key, value in changes.items():
        part, _, field = key.partition("_")
        parts[part][field] = value
    now = rig.now + DT
    command = rig.command(rig.position, stamp_s=now) if "command" not in changes else changes["command"]
    if parts["command"] and "command" not in changes:
        command = rig.command(**({"position_rad": rig.position, "stamp_s": now} | parts["command"]))
    measured = changes["state"] if "state" in changes else rig.measured(**({"stamp_s": now} | parts["state"]))
    stamps = {"person_stamp_s": now, "enabling_stamp_s": now}
    around = changes["around"] if "around" in changes else rig.around(**(stamps | parts["around"]))
    return rig.cycle(command, measured=measured, around=around)


def hands(**changes):
    return lambda rig: hand(rig, **changes)


def fast(rig, speed, joints=None, seconds=0.6):
    """The decisions of a motion toward a joint speed; the first in which anything acted, or the last."""
    decisions = rig.move(seconds, speed, joints)
    return next((one for one in decisions if one.records), decisions[-1])


def toward(rig, joint, sign, speed=0.5, seconds=4.0):
    return fast(rig, sign * speed, [joint], seconds)


def early(share):
    def make(rig):
        rig.monitor.check([], rig.measured(), rig.around(), rig.now)  # uses up what was saved
        rig.now += share * DT
        return rig.monitor.check([], rig.measured(), rig.around(), rig.now)

    return make


def away(seconds):
    def make(rig):
        rig.now += seconds - DT
        return hand(rig)

    return make


def internal(broken):
    def make(rig):
        if broken:
            rig.monitor._inputs.commands = lambda *_: 1 / 0
        return hand(rig)

    return make


def at_rest(make):
    """Before a start."""
    return lambda: (Rig(start=False), make)


def pushed(far):
    def make(rig):
        rig.push(rig.position + far)
        return rig.decision

    return make


def booted(cycles):
    def make(rig):
        rig.monitor = SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT)
        return rig.idle(cycles)

    return make


def person_walks_up(distance):
    return lambda rig: hand(rig, around_person_distance_m=distance)


def running(make, **given):
    return lambda: (ready(**given), make)


def off(far):
    """The arm stays behind by `far` rad, little by little."""

    def make(rig):
        for k in range(1, 101):
            decision = hand(rig, state_position_rad=rig.robot.home_rad + far * k / 100)
            if decision.records:
                break
        return decision

    return make


def lag(far):
    """The first command after a start is far away."""

    def make():
        rig = Rig()
        return rig, lambda rig: hand(rig, command_position_rad=rig.position + far)

    return make


def repeated(gap_s):
    """No command for a while."""

    def make(rig):
        for _ in range(round(gap_s / DT)):
            decision = rig.cycle(None)
        return decision

    return make


def beside(joint, room):
    """A profile in which one joint may go only as far as `room` beyond home."""
    rig = Rig(start=False)
    high = rig.monitor.limits.position_max_rad.copy()
    high[joint] = rig.robot.home_rad[joint] + room
    return profile_with(position_max_rad=tuple(high))


SLOW = {"velocity_max_rad_s": (0.3,) * 7}


def torque_rate(limit):
    """A profile with a torque rate that the jerk limit does not keep by itself."""
    data = profile_data("fr3", "torque_rate")
    change(data, torque_rate_max_nm_s=chosen([limit] * 7))
    return SafetyProfile.from_data(data, "fr3-torque_rate", "0" * 64)


JOLT = 399 * DT**3 * np.array([1, -1, 1, 1, 1, 1, 1])  # all joints at the jerk limit of that profile, almost


def quick_cartesian(**speeds):
    """Cartesian speeds, of which only the given ones are low."""
    wide = {"tcp_speed_max_m_s": 3.0, "elbow_speed_max_m_s": 3.0, "link_speed_max_m_s": 9.0}
    return profile_with(**(wide | speeds))


# What breaks each rule, and what is just inside it: a rig, and what to do with it, whose decision counts.
CASES = {
    "cycle_early": (running(early(0.5)), running(early(1.0))),
    "finite": (running(hands(command_position_rad=np.full(7, NAN))), running(hands())),
    "clock": (
        running(lambda rig: hand(rig, state_stamp_s=rig.now + DT + 0.0101)),
        running(lambda rig: hand(rig, state_stamp_s=rig.now + DT + 0.0099)),
    ),
    "cycle_gap": (running(away(0.0301)), running(away(0.0299))),
    "shape": (running(hands(state_position_rad=np.zeros(6))), running(hands())),
    "state_age": (running(hands(state=None)), running(hands())),
    "state_jump": (
        running(lambda rig: hand(rig, state_position_rad=rig.position + 0.0253 * np.eye(7)[0])),
        running(lambda rig: hand(rig, state_position_rad=rig.position + 0.0252 * np.eye(7)[0])),
    ),
    "stop_request": (running(hands(around_stop_requested=True)), running(hands())),
    "enabling_device": (
        running(hands(around_enabling_device=False), mode="manual_reduced"),
        running(hands(around_enabling_device=True), mode="manual_reduced"),
    ),
    "enabling_age": (
        running(lambda rig: hand(rig, around_enabling_stamp_s=rig.now + DT - 0.301), mode="manual_reduced"),
        running(lambda rig: hand(rig, around_enabling_stamp_s=rig.now + DT - 0.299), mode="manual_reduced"),
    ),
    "person_age": (
        running(lambda rig: hand(rig, around_person_stamp_s=rig.now + DT - 0.301)),
        running(lambda rig: hand(rig, around_person_stamp_s=rig.now + DT - 0.299)),
    ),
    "command_flood": (
        running(lambda rig: hand(rig, command=[rig.command(rig.position, stamp_s=rig.now + DT)] * 21)),
        running(lambda rig: hand(rig, command=[rig.command(rig.position, stamp_s=rig.now + DT)] * 20)),
    ),
    "source": (running(hands(command_source="rogue")), running(hands(command_source="policy"))),
    "command_jump": (
        running(lambda rig: hand(rig, command_position_rad=rig.position + 0.1001)),
        running(lambda rig: hand(rig, command_position_rad=rig.position + 0.0999)),
    ),
    "command_age": (running(repeated(0.054)), running(repeated(0.048))),
    "waiting": (at_rest(lambda rig: (rig.start(), rig.cycle(None))[1]), running(hands())),
    "timing": (running(repeated(DT)), running(hands())),
    "tracking": (running(off(0.101)), running(off(0.0999))),
    "command_lag": (lag(0.201), lag(0.199)),
    "position": (
        running(lambda rig: toward(rig, 0, 1), profile=beside(0, 0.2)),
        running(lambda rig: toward(rig, 0, 1, seconds=0.3), profile=beside(0, 0.2)),
    ),
    "velocity": (
        running(lambda rig: fast(rig, 0.31, [6]), profile=profile_with(**SLOW)),
        running(lambda rig: fast(rig, 0.29, [6]), profile=profile_with(**SLOW)),
    ),
    "acceleration": (
        running(lambda rig: hand(rig, command_position_rad=rig.position + 10.01 * DT**2)),
        running(lambda rig: hand(rig, command_position_rad=rig.position + 9.99 * DT**2)),
    ),
    "jerk": (
        running(
            lambda rig: hand(rig, command_position_rad=rig.position + 1001 * DT**3),
            profile=profile_with(jerk_max_rad_s3=(1000.0,) * 7),
        ),
        running(
            lambda rig: hand(rig, command_position_rad=rig.position + 999 * DT**3),
            profile=profile_with(jerk_max_rad_s3=(1000.0,) * 7),
        ),
    ),
    "torque": (
        running(lambda rig: toward(rig, 1, 1, 0.6), variant="torque"),
        running(lambda rig: fast(rig, 0.05, [6]), variant="torque"),
    ),
    "torque_rate": (
        running(lambda rig: hand(rig, command_position_rad=rig.position + JOLT), profile=torque_rate(500.0)),
        running(
            lambda rig: hand(rig, command_position_rad=rig.position + JOLT / 9), profile=torque_rate(500.0)
        ),
    ),
    "tcp_speed": (
        running(lambda rig: fast(rig, 0.5, [0]), profile=quick_cartesian(tcp_speed_max_m_s=0.1)),
        running(lambda rig: fast(rig, 0.3, [0]), profile=quick_cartesian(tcp_speed_max_m_s=0.1)),
    ),
    "elbow_speed": (
        running(lambda rig: fast(rig, 0.5, [1]), profile=quick_cartesian(elbow_speed_max_m_s=0.1)),
        running(lambda rig: fast(rig, 0.2, [1]), profile=quick_cartesian(elbow_speed_max_m_s=0.1)),
    ),
    "link_speed": (
        running(lambda rig: fast(rig, 0.5, [0]), profile=quick_cartesian(link_speed_max_m_s=0.1)),
        running(lambda rig: fast(rig, 0.1, [0]), profile=quick_cartesian(link_speed_max_m_s=0.1)),
    ),
    "contact": (
        running(lambda rig: fast(rig, 1.0, [0]), mode="automatic", variant="contact"),
        running(lambda rig: fast(rig, 0.1, [0]), mode="automatic", variant="contact"),
    ),
    "workspace": (
        running(lambda rig: toward(rig, 1, 1)),
        running(lambda rig: toward(rig, 1, 1, seconds=0.3)),
    ),
    "keep_out": (
        running(lambda rig: toward(rig, 1, 1, 0.3), variant="cell"),
        running(lambda rig: toward(rig, 0, 1, 0.1, 0.1), variant="cell"),
    ),
    "self_distance": (
        running(lambda rig: toward(rig, 3, -1), profile=profile_with(self_distance_min_m=0.1)),
        running(lambda rig: toward(rig, 3, -1, seconds=0.3), profile=profile_with(self_distance_min_m=0.1)),
    ),
    "stopping_distance": (
        running(lambda rig: fast(rig, 1.0, [0]), profile=profile_with(stopping_distance_max_m=0.01)),
        running(lambda rig: fast(rig, 0.2, [0]), profile=profile_with(stopping_distance_max_m=0.01)),
    ),
    "separation": (running(person_walks_up(0.9)), running(person_walks_up(2.0))),
    "stopping_time": (
        running(lambda rig: fast(rig, 1.0, [0]), profile=profile_with(stopping_time_max_s=0.08)),
        running(lambda rig: fast(rig, 0.5, [0]), profile=profile_with(stopping_time_max_s=0.08)),
    ),
    "standstill": (at_rest(booted(10)), at_rest(booted(11))),
    "start": (at_rest(hands()), running(hands())),
    "drift": (at_rest(pushed(0.0501)), at_rest(pushed(0.0499))),
    "internal_error": (running(internal(True)), running(internal(False))),
}


def rules_of(decision):
    return [record.rule for record in decision.records]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_a_limit_a_margin_a_description_and_a_case_in_both_directions(rule):
    keys = set(ModeLimits.model_fields) | {f"separation.{key}" for key in Separation.model_fields}
    if rule.limit is None:
        assert rule.unit == "1" or rule.no_margin, "a number has a limit"
    else:
        assert rule.limit in keys
    assert rule.description
    assert (rule.margin is Margin.NONE) == bool(rule.no_margin), (
        "say where the review has the margin, or why not"
    )
    if rule.no_margin and rule.limit:
        assert _INSTEAD[rule.limit] == (rule.name, rule.no_margin)
    assert all(key in keys for key, _ in rule.parts)
    assert set(CASES) == set(BY_NAME)
    assert len(CASES[rule.name]) == 2


@pytest.mark.parametrize("name", list(CASES))
def test_what_a_rule_forbids_has_the_effect_of_the_table(name):
    rig, make = CASES[name][0]()
    decision = make(rig)
    record = next(one for one in decision.records if one.rule == name)
    rule = BY_NAME[name]
    assert record.unit == rule.unit or (name, record.unit) == ("finite", "1")
    assert record.margin <= 0.0
    assert record.text
    effects = set(rule.effects.values())
    if decision.latched:
        seen = Effect.STOP
        assert decision.verdict is Verdict.STOP
        assert decision.state in (State.STOPPING, State.STOPPED)
        assert rules_of(decision)[0] == name
    elif decision.verdict is Verdict.LIMIT:
        seen = Effect.NOTE if name == "timing" else Effect.LIMIT
    else:
        seen = Effect.WAIT
        assert decision.verdict is Verdict.STOP
        assert decision.state in (State.HOLDING, State.RUNNING)
    assert seen in effects


@pytest.mark.parametrize("name", list(CASES))
def test_what_a_rule_allows_is_not_touched_by_it(name):
    rig, make = CASES[name][1]()
    decision = make(rig)
    assert name not in rules_of(decision)
    assert not decision.latched


def test_every_limit_of_a_profile_belongs_to_a_rule():
    keys = {rule.limit.partition(".")[0] for rule in RULES if rule.limit}
    keys |= {key for rule in RULES for key, _ in rule.parts}
    assert keys == set(ModeLimits.model_fields)


# ---- the order of the table is that of the checks


STOPS = {  # rules that stop, each by one change of what comes in, none of which hides another
    "cycle_gap": {"now": 1.0},
    "state_age": {"state": None},
    "stop_request": {"around_stop_requested": True},
    "enabling_device": {"around_enabling_device": False},
    "command_flood": {"flood": True},
    "tracking": {"tracking": True},
}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(STOPS, 2)))
def test_of_two_violations_the_earlier_in_the_table_is_said(first, second):
    names = [rule.name for rule in RULES]
    assert names.index(first) < names.index(second)
    rig = ready(mode="manual_reduced")
    changes = {**STOPS[first], **STOPS[second]}
    rig.now += changes.pop("now", 0.0)
    if changes.pop("tracking", False):
        rig.monitor._filter._window.add(rig.position)
        rig.monitor._filter.sent.position = rig.position + 0.3
        rig.monitor._filter._window = type(rig.monitor._filter._window)(rig.position + 0.3, 0.2, DT)
    if changes.pop("flood", False):
        changes["command"] = [rig.command(rig.position, stamp_s=rig.now + DT)] * 30
    assert rules_of(hand(rig, **changes))[0] == first


def test_the_checks_of_a_sample_are_asked_in_the_order_of_the_table():
    rig = ready()
    asked = []
    envelope = rig.monitor._envelope
    by_rule = envelope._by_rule()
    order = [rule.name for rule in RULES if Stage.MOTION in rule.effects]
    assert set(by_rule) == set(order)
    envelope._checks = tuple(
        (lambda sample, check=check: asked.append(check) or check(sample)) for check in envelope._checks
    )
    rig.cycle(rig.position)
    assert asked == list(dict.fromkeys(by_rule[name] for name in order))


STEP_CHECKS = {name: str for name, rule in BY_NAME.items() if rule.stage is Stage.STEP}


def test_checks_are_asked_in_the_order_of_the_table_each_once():
    assert in_order({**dict.fromkeys(reversed(STEP_CHECKS), str)}, Stage.STEP) == (str,)
    named = {name: (lambda value, name=name: name) for name in reversed(STEP_CHECKS)}
    assert [check(None) for check in in_order(named, Stage.STEP)] == list(STEP_CHECKS)


@pytest.mark.parametrize("wrong", ["XXpositionXX", "separation"])
def test_a_check_of_no_rule_of_its_stage_is_an_error(wrong):
    with pytest.raises(KeyError, match=wrong):
        in_order({**STEP_CHECKS, wrong: str}, Stage.STEP)


def test_a_rule_without_a_check_is_an_error():
    with pytest.raises(KeyError, match="jerk"):
        in_order({name: check for name, check in STEP_CHECKS.items() if name != "jerk"}, Stage.STEP)
