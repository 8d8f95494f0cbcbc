"""Which steps foresight finds and what it says of them, against a slow loop over the steps, one bound after another."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from safety_rig import DT, profile_with

from robolearn.robots import load_robot
from robolearn.safety.arm_model import point_speeds
from robolearn.safety.braking import plan_braking
from robolearn.safety.envelope import TORQUE_CHANGE_PER_RAD, build_envelope
from robolearn.safety.follow import Sent
from robolearn.safety.foresight import Foresight
from robolearn.safety.profile import SafetyProfile

ROBOT = load_robot("fr3")
AUTOMATIC = SafetyProfile.load("fr3").mode("automatic")
SURE = 1.0 - 1e-12
STAY_IN = AUTOMATIC.workspace.stay_in
FIELDS = (
    "position_rad", "velocity_rad_s", "acceleration_rad_s2", "rest", "sign", "speed", "ramp", "peak", "jerk", "t1",
    "t2", "t3", "travel_rad", "low_rad", "high_rad", "slowest_rad_s", "fastest_rad_s",
    "bounds",
)  # fmt: skip


def envelope_with(**changes):
    return build_envelope(ROBOT, profile_with(**changes).mode("automatic"), DT, "parallel")


def walled(max_x_m):
    """The packaged workspace, but for one of its walls."""
    box = STAY_IN.model_copy(update={"max_m": (max_x_m, *STAY_IN.max_m[1:])})
    return AUTOMATIC.workspace.model_copy(update={"stay_in": box})


def swinging(count=160, size=0.05, at=None):
    """[m, n]: every joint swings about home or another place, more and more."""
    t = np.arange(count)[:, None] * DT
    phase = np.arange(ROBOT.dof) * 0.7
    return (ROBOT.home_rad if at is None else at) + size * t / t[-1] * np.sin(2 * np.pi * t + phase)


@dataclass
class Step:
    """A step of a path, the bounds that it keeps, and for some of them the limit that it just keeps."""

    before: Sent
    to_rad: np.ndarray
    kept: dict[str, bool]
    needs: dict[str, Any] = field(default_factory=dict)


def slow_steps(envelope, path):
    """Every step of a path from the fourth sample on, by the same bounds one at a time."""
    limits, space = envelope.limits, envelope.space
    arm = envelope.arm.another()
    sent, steps = Sent(path[0], DT), []
    for k, place in enumerate(path[1:], 1):
        step, before = sent.after(place), Sent(sent.position, DT)
        before.velocity, before.acceleration = sent.velocity, sent.acceleration
        sent.send(step)
        if k < 3:
            continue
        kept = {"usual": usual(limits, step.position, step.velocity)}
        steps.append(Step(before, place, kept))
        if not kept["usual"]:
            continue
        kept["usual"] = usual(limits, before.position, before.velocity)
        braking = plan_braking(
            place,
            step.velocity,
            step.acceleration,
            limits.acceleration_max_rad_s2,
            limits.jerk_max_rad_s3,
            DT,
        )
        swing = np.maximum(braking.high_rad - place, place - braking.low_rad)
        earlier = arm.posture(before.position)
        posture = arm.posture(place)
        fastest = point_speeds(earlier, posture, arm.radius, DT).max()
        far = arm.reach @ swing
        rates = np.maximum(-braking.slowest_rad_s, braking.fastest_rad_s)
        kept["joints"] = bool(limits.curve.allows_quickly(braking.bounds))
        kept["time"] = braking.duration_s <= limits.mode.stopping_time_max_s.value
        kept["speed"] = bool(fastest <= space.careful_m_s * SURE)
        kept["speed to rest"] = bool(arm.levers(posture, swing) @ rates <= space.careful_m_s * SURE)
        steps[-1].needs["speed to rest"] = float(arm.levers(posture, swing) @ rates)
        steps[-1].needs["walls"] = float((posture.points[:, 0] + arm.radius + far).max())  # in x
        kept["walls"] = bool((space.wall_clearances(posture) >= far[:, None] + 1e-9).all())
        kept["distance"] = bool(far[-1] <= limits.mode.stopping_distance_max_m.value)
        kept["torque"] = kept["torque to rest"] = True
        if envelope.torque_max_nm is not None:
            torque = arm.torque(step.velocity, step.acceleration)
            bound = arm.torque_bound(np.maximum(braking.peak, np.abs(braking.ramp)))
            share = (1.0 - TORQUE_CHANGE_PER_RAD * swing.sum()) * SURE
            steps[-1].needs["torque to rest"] = bound / (1.0 - TORQUE_CHANGE_PER_RAD * swing.sum())
            kept["torque"] = bool((np.abs(torque) <= envelope.torque_max_nm).all())
            kept["torque to rest"] = bool((bound <= share * envelope.torque_max_nm).all())
        gaps = arm.gaps(limits.mode.self_distance_min_m.value)
        kept["gaps"] = gaps.least(place, swing) is None
    return steps


def usual(limits, position, velocity):
    inside = (limits.position_min_rad <= position) & (position <= limits.position_max_rad)
    return bool(inside.all() and (np.abs(velocity) <= limits.velocity_possible_rad_s).all())


def found(foresight, step):
    sent = step.before
    return foresight.find(sent.position, sent.velocity, sent.acceleration, step.to_rad)


def check(envelope, path, followed=None):
    """What is foreseen of a path is what the slow loop keeps, and is what `assess` finds. Returns the loop's steps."""
    followed = np.ones(len(path), dtype=bool) if followed is None else followed
    foresight, steps = Foresight(envelope), slow_steps(envelope, path)
    foresight.take(path, followed)
    count = 0
    for step, wanted in zip(steps, followed[3:], strict=True):
        known = found(foresight, step)
        assert (known is not None) == (wanted and all(step.kept.values())), step.kept
        if known is not None:
            count += 1
            same_as_alone(envelope, step, known)
    assert len(foresight._known) == count  # none of another step
    return steps


def same_as_alone(envelope, step, known):
    """What was foreseen of a step is what `assess` finds, bit for bit."""
    before = envelope.arm.posture(step.before.position)
    alone = envelope.assess(before, np.zeros(7), step.before.after(step.to_rad), None)
    assert alone.record is None
    assert known.record is None
    assert known.person_min_m == alone.person_min_m
    assert known.torque_nm.tobytes() == alone.torque_nm.tobytes()
    assert known.posture.points.tobytes() == alone.posture.points.tobytes()
    assert known.posture.rotation.tobytes() == alone.posture.rotation.tobytes()
    assert (known.braking.duration_s, known.braking.period_s) == (alone.braking.duration_s, DT)
    for name in FIELDS:
        one, other = (np.ascontiguousarray(getattr(each.braking, name)) for each in (known, alone))
        assert one.tobytes() == other.tobytes(), name


def all_kept(steps):
    return all(all(step.kept.values()) for step in steps)


def test_a_calm_motion_is_foreseen_from_the_fourth_sample_on():
    steps = check(envelope_with(), swinging())
    assert len(steps) == 157
    assert all_kept(steps)


@pytest.mark.parametrize("unchecked", ["torque_max_nm", "separation", "contact"])
def test_what_a_profile_does_not_check_does_not_keep_a_step_from_being_foreseen(unchecked):
    assert all_kept(check(envelope_with(**{unchecked: AUTOMATIC.torque_rate_max_nm_s}), swinging()))


NEAR = {
    "time": {"stopping_time_max_s": 0.025},
    "speed to rest": {"tcp_speed_max_m_s": 0.42},
    "walls": {"workspace": walled(STAY_IN.max_m[0] - 0.578)},
    "distance": {"stopping_distance_max_m": 0.007},
    "torque to rest": {"torque_max_nm": (87.0, 25.0, 87.0, 87.0, 12.0, 12.0, 12.0)},
    "joints": {"velocity_max_rad_s": (0.3,) * 7},
    "gaps": {"self_distance_min_m": 0.13},
}


@pytest.mark.parametrize("name", list(NEAR))
def test_a_step_that_one_bound_does_not_clear_is_left_to_the_monitor(name):
    steps = check(envelope_with(**NEAR[name]), swinging())
    broken = [[bound for bound, kept in step.kept.items() if not kept] for step in steps]
    assert [name] in broken  # and no other bound
    assert [] in broken


@pytest.mark.parametrize("name", ["speed to rest", "walls", "torque to rest"])
def test_a_step_that_just_keeps_a_limit_is_left_to_the_monitor_which_rounds_otherwise(name):
    least = slow_steps(envelope_with(), swinging())[100].needs[name]
    if name == "torque to rest":
        changes = {"torque_max_nm": (87.0, float(least[1]), 87.0, 87.0, 12.0, 12.0, 12.0)}
    else:
        changes = {"tcp_speed_max_m_s": least} if name == "speed to rest" else {"workspace": walled(least)}
    step = check(envelope_with(**changes), swinging())[100]
    assert [bound for bound, kept in step.kept.items() if not kept] == [name]


def test_a_step_from_a_place_out_of_range_is_left_to_the_monitor():
    most = envelope_with().limits.position_max_rad[3]
    path = np.tile(ROBOT.home_rad, (20, 1))
    path[:, 3] = most + 1e-5 - 4e-4 * (np.arange(20) - 4)  # back in range with the sixth sample
    steps = check(envelope_with(), path)
    assert [bound for bound, kept in steps[2].kept.items() if not kept] == ["usual"]
    assert all_kept(steps[5:])


@pytest.mark.parametrize("size", [10.0, 1e6, np.inf, np.nan])
def test_steps_that_no_arm_makes_are_not_foreseen_and_those_after_them_are(size):
    path = swinging()
    path[60] = path[60] * size
    foresight, steps = Foresight(envelope_with()), slow_steps(envelope_with(), swinging())
    assert found(foresight, steps[0]) is None  # nothing was taken yet
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        foresight.take(path, np.ones(len(path), bool))
    known = [found(foresight, step) is not None for step in steps]
    assert not any(known[57:60])
    assert all(known[:57])
    assert all(known[61:])


def test_only_steps_of_followed_commands_are_foreseen():
    followed = np.random.default_rng(0).random(160) < 0.3
    check(envelope_with(), swinging(), followed)
    check(envelope_with(), swinging(), np.arange(160) == 3)


def test_nothing_is_foreseen_where_rates_of_torque_are_limited():
    rate = AUTOMATIC.torque_max_nm.model_copy(update={"value": (1e6,) * 7})
    foresight = Foresight(envelope_with(torque_rate_max_nm_s=rate))
    foresight.take(swinging(), np.ones(160, bool))
    assert foresight._known == {}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 50])
def test_blocks_go_on_where_the_one_before_ended_and_replace_it(size):
    envelope, path = envelope_with(), swinging(60)
    foresight, steps = Foresight(envelope), slow_steps(envelope, path)
    for begin in range(0, 60, size):
        block = slice(begin, begin + size)
        foresight.take(path[block], np.ones(len(path[block]), bool))
        known = [k for k, step in enumerate(steps, 3) if found(foresight, step) is not None]
        assert known == list(range(max(begin, 3), min(begin + size, 60)))
        for k in known:
            same_as_alone(envelope, steps[k - 3], found(foresight, steps[k - 3]))


def test_a_step_is_found_by_all_that_it_depends_on():
    foresight, steps = Foresight(envelope_with()), slow_steps(envelope_with(), swinging())
    foresight.take(swinging(), np.ones(160, bool))
    sent, to = steps[50].before, steps[50].to_rad
    given = [sent.position, sent.velocity, sent.acceleration, to]
    assert foresight.find(*given) is not None
    for k in range(4):
        other = [value + (1e-12 if at == k else 0.0) for at, value in enumerate(given)]
        assert foresight.find(*other) is None
