"""Foresight: what a replay is told beforehand changes no decision, no braking motion and no margin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from adversary import Adversary
from safety_rig import DT, Rig, profile_with

from robolearn.robots import load_robot
from robolearn.safety import foresight
from robolearn.safety.braking import plan_braking, plan_each
from robolearn.safety.envelope import Envelope
from robolearn.safety.foresight import Foresight
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import State, Verdict

FIELDS = ("rest", "sign", "speed", "ramp", "peak", "jerk", "t1", "t2", "t3", "travel_rad", "low_rad", "high_rad",
          "slowest_rad_s", "fastest_rad_s")  # fmt: skip


class Recorded:
    """A monitor whose calls are kept, with their answers."""

    def __init__(self, monitor):
        self._monitor, self.calls = monitor, []

    def __getattr__(self, name):
        found = getattr(self._monitor, name)
        if name not in ("check", "reset", "start", "set_mode"):
            return found

        def call(*arguments):
            answer = found(*arguments)
            self.calls.append((name, arguments, answer, inside(self._monitor)))
            return answer

        return call


def inside(monitor):
    """What the monitor holds ready behind the last sample, bit for bit."""
    follower = monitor._filter
    if follower is None:
        return None
    braking, step = follower.braking
    fields = b"".join(np.ascontiguousarray(getattr(braking, name)).tobytes() for name in FIELDS)
    sent = follower.sent
    kept = (sent.position, sent.velocity, sent.acceleration, follower._torque)
    return (
        fields,
        braking.duration_s,
        step,
        follower._person_min_m,
        b"".join(part.tobytes() for part in kept),
    )


def same(decision, other):
    """Two decisions are the same, bit for bit."""
    plain = replace(decision, command_rad=None, velocity_rad_s=None, stop_report=None)
    assert plain == replace(other, command_rad=None, velocity_rad_s=None, stop_report=None)
    for name in ("command_rad", "velocity_rad_s"):
        assert getattr(decision, name).tobytes() == getattr(other, name).tobytes()
    assert (decision.stop_report is None) == (other.stop_report is None)


def replayed(calls, monitor, block=300):
    """Every call again, after what each block of cycles sent was told: the same answers, the same state."""
    cycles = [answer for name, _, answer, _ in calls if name == "check"]
    empty = np.full(monitor.robot.dof, np.nan)
    sent = np.array([found.command_rad if found.publish else empty for found in cycles])
    followed = np.array(
        [found.state is State.RUNNING and found.verdict is not Verdict.STOP for found in cycles]
    )
    number = 0
    for name, arguments, answer, held in calls:
        if name == "check":
            if number % block == 0:
                monitor.foresee(sent[number : number + block], followed[number : number + block])
            number += 1
            same(monitor.check(*arguments), answer)
        else:
            assert getattr(monitor, name)(*arguments) == answer
        assert inside(monitor) == held


def count_finds(monkeypatch):
    """[asked, found], counted from now on."""
    counts, find = [0, 0], Foresight.find

    def counted(self, *arguments):
        found = find(self, *arguments)
        counts[0] += 1
        counts[1] += found is not None
        return found

    monkeypatch.setattr(Foresight, "find", counted)
    return counts


@pytest.mark.parametrize(
    ("robot", "mode", "seed"),
    [("fr3", "automatic", 1), ("fr3", "collaborative", 2), ("ur5e", "automatic", 3), ("iiwa14", "collaborative", 4)],
)  # fmt: skip
def test_a_hostile_session_comes_out_the_same_with_foresight(robot, mode, seed, monkeypatch):
    arm, profile = load_robot(robot), SafetyProfile.load(robot)
    recorded = Recorded(SafetyMonitor(arm, profile, mode, DT))
    adversary = Adversary(recorded, seed)
    adversary.run(4000)
    counts = count_finds(monkeypatch)
    replayed(recorded.calls, SafetyMonitor(arm, profile, mode, DT))
    assert counts[1] > 300


def running(**changes):
    """A rig that has not begun, so that its recorder sees all."""
    rig = Rig(profile=profile_with(**changes), start=False)
    rig.monitor = Recorded(SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT))
    rig.idle(12)
    assert rig.start().accepted
    return rig


def found_share(rig, monkeypatch, block=50):
    """Which share of the assessments of a calm motion was foreseen, all of it coming out the same."""
    rig.move(0.6, 0.3)
    counts = count_finds(monkeypatch)
    monitor = SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT)
    replayed(rig.monitor.calls, monitor, block)
    return counts[1] / counts[0]


def test_nearly_all_of_a_calm_motion_is_foreseen(monkeypatch):
    assert found_share(running(), monkeypatch) > 0.95


def test_blocks_of_one_cycle_are_enough(monkeypatch):
    assert found_share(running(), monkeypatch, block=1) > 0.95


def test_without_limits_of_torque_all_is_foreseen_too(monkeypatch):
    why = SafetyProfile.load("fr3").mode("automatic").torque_rate_max_nm_s
    assert found_share(running(torque_max_nm=why), monkeypatch) > 0.95


def test_without_separation_all_is_foreseen_too(monkeypatch):
    rate = SafetyProfile.load("fr3").mode("automatic").torque_rate_max_nm_s
    assert found_share(running(separation=rate), monkeypatch) > 0.95


def test_where_torque_rates_are_limited_nothing_is_foreseen(monkeypatch):
    torque = SafetyProfile.load("fr3").mode("automatic").torque_max_nm
    rate = torque.model_copy(update={"value": (1000.0,) * 7})
    assert found_share(running(torque_rate_max_nm_s=rate), monkeypatch) == 0.0


@pytest.mark.parametrize(
    "changes",
    [{"torque_max_nm": (40.0, 60.0, 30.0, 40.0, 12.0, 12.0, 12.0)}, {"stopping_distance_max_m": 1e-3},
     {"stopping_time_max_s": 0.02}, {"self_distance_min_m": 0.1365}],
)  # fmt: skip
def test_a_step_near_a_limit_is_left_to_the_monitor(changes, monkeypatch):
    rig = running(**changes)
    assert found_share(rig, monkeypatch) < 0.9


def test_a_person_is_compared_with_what_was_foreseen(monkeypatch):
    rig = running()
    rig.move(0.3, 0.3)
    rig.person = 1.2
    rig.move(0.1, 0.3)
    assert rig.decision.verdict is Verdict.STOP
    counts = count_finds(monkeypatch)
    replayed(rig.monitor.calls, SafetyMonitor(rig.robot, rig.monitor.profile, "automatic", DT))
    assert counts[1] > 100


def test_nothing_of_a_resting_arm_is_looked_at(monkeypatch):
    rig = running()
    monkeypatch.setattr(foresight, "plan_each", lambda *_: pytest.fail("looked at"))
    rig.monitor.foresee(np.tile(rig.position, (50, 1)), np.zeros(50, bool))


def test_samples_that_no_monitor_sent_never_reach_the_arms_model(monkeypatch):
    rig = running()
    envelope: Envelope = rig.monitor._envelope
    seen = Foresight(envelope)
    monkeypatch.setattr(seen._arm, "motion", lambda *_: pytest.fail("computed"))
    rng = np.random.default_rng(0)
    for scale in (10.0, 1e6, 1e300, np.inf, np.nan):
        seen.take(scale * rng.standard_normal((20, 7)), np.ones(20, bool))
    seen.take(rig.position + rng.uniform(-0.2, 0.2, (20, 7)), np.ones(20, bool))  # a hundred rad/s
    assert seen._known == {}


def test_many_braking_motions_are_those_of_one_at_a_time():
    rng = np.random.default_rng(0)
    shape, n = (4000, 7), 7
    scale = 10.0 ** rng.uniform(-6, 1, shape)
    position, velocity = rng.uniform(-3, 3, shape), scale * rng.standard_normal(shape)
    acceleration = 10.0 ** rng.uniform(-3, 2, shape) * rng.standard_normal(shape)
    velocity[:400], acceleration[200:600] = 0.0, 0.0
    velocity[600:650], acceleration[600:650] = -0.0, -0.0
    most, jerk = rng.uniform(1, 20, n), rng.uniform(100, 10000, n)
    table = plan_each(position, velocity, acceleration, most, jerk, DT)
    for k in range(len(position)):
        one = plan_braking(position[k], velocity[k], acceleration[k], most, jerk, DT)
        for name, values in zip(FIELDS, table[:, k], strict=True):
            assert getattr(one, name).tobytes() == values.tobytes(), name
