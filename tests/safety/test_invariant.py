"""The invariant: whatever comes in, what goes out stays within every limit, and so does every way to rest."""

import numpy as np
import pytest
from adversary import GENERATORS, Adversary, fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safety_rig import DT, Rig
from slow_checker import SlowChecker

from robolearn.config import config_path
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import State, Verdict

ROBOTS = ["fr3", "ur5e", "iiwa14"]
MODES = ["automatic", "collaborative", "manual_reduced"]


def judge_of(robot, mode="automatic"):
    return SlowChecker(robot, config_path(f"safety/{robot.name}.yaml"), mode, DT)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ROBOTS)
def test_an_adversary_finds_nothing(name, mode):
    robot = load_robot(name)
    outcome = fuzz(
        SafetyMonitor(robot, SafetyProfile.load(name), mode, DT), judge_of(robot, mode), 1500, seed=11
    )
    assert outcome.violations == []
    assert outcome.counts["PASS"] + outcome.counts["LIMIT"] + outcome.counts["STOP"] >= 1500


@pytest.mark.parametrize("kind", list(GENERATORS))
def test_every_kind_of_stream_is_survived(kind):
    robot = load_robot("fr3")
    adversary = Adversary(SafetyMonitor(robot, SafetyProfile.load("fr3"), period_s=DT), seed=5)
    adversary.kinds = [kind]
    history = np.repeat(adversary.sent[None], 3, axis=0)
    assert judge_of(robot).judge(adversary.run(600), history) == []
    assert adversary.problems == []


@pytest.mark.parametrize("name", ROBOTS)
def test_commands_well_inside_all_limits_pass_bit_identical(name):
    """Half of every joint limit around home, jerk-limited: nothing may be touched."""
    rig, rng = Rig(name), np.random.default_rng(4)
    amplitude = rng.uniform(0.05, 0.15, rig.robot.dof)
    rate = rng.uniform(1.0, 3.0, rig.robot.dof)
    home = rig.position.copy()
    for k in range(1500):
        t = k * DT
        s = min(t, 1.0)
        ramp, slope = s**3 * (10 - 15 * s + 6 * s**2), 30 * s**2 * (1 - s) ** 2
        position = home + amplitude * np.sin(rate * t) * ramp
        velocity = amplitude * (rate * np.cos(rate * t) * ramp + np.sin(rate * t) * slope)
        decision = rig.cycle((position, velocity))
        assert decision.verdict is Verdict.PASS, decision.records
        assert decision.command_rad.tobytes() == position.tobytes()


commands = st.lists(
    st.tuples(
        st.sampled_from(["step", "hold", "push", "none", "nan", "old", "stop"]),
        st.lists(st.floats(-0.09, 0.09), min_size=7, max_size=7),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=8,
)


@given(commands)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_commands_breaks_a_limit(sequence):
    rig, judge = RIGS.setdefault("fr3", (Rig(), judge_of(load_robot("fr3"))))
    if rig.monitor.state is not State.RUNNING:
        rig.coast()
        if rig.monitor.state is State.STOPPED:
            assert rig.reset().accepted
        assert rig.start().accepted
    history = np.repeat(rig.position[None], 3, axis=0)
    velocity, acceleration = rig.monitor._follower.sent.velocity, rig.monitor._follower.sent.acceleration
    history[1] = rig.position - velocity * DT
    history[0] = history[1] - (velocity - acceleration * DT) * DT
    sent = []
    for kind, offset, cycles in sequence:
        target = rig.position + np.array(offset)
        for _ in range(cycles):
            around = rig.around(stop_requested=kind == "stop")
            push = 0.1 * np.array(offset)
            made = {
                "step": rig.command(target, np.zeros(7), stamp_s=rig.now + DT),
                "push": rig.command(rig.position + push, push / DT, stamp_s=rig.now + DT),
                "none": None,
                "nan": rig.command(np.full(7, np.nan), stamp_s=rig.now + DT),
                "old": rig.command(rig.position, stamp_s=rig.now - 1.0),
            }
            command = made.get(kind, rig.command(rig.position, np.zeros(7), stamp_s=rig.now + DT))
            decision = rig.cycle(command, around=around)
            assert np.isfinite(decision.command_rad).all()
            sent.append(decision.command_rad)
    while rig.monitor.state is State.STOPPING:
        sent.append(rig.cycle(None).command_rad)
    assert judge.judge(np.array(sent), history) == []


RIGS = {}


@pytest.mark.parametrize("seed", range(3))
def test_the_promised_braking_motion_keeps_every_limit_at_any_moment(seed):
    """Not only the stops that happen: at every tenth cycle the way to rest that is kept ready is judged."""
    robot = load_robot("fr3")
    monitor, judge = SafetyMonitor(robot, SafetyProfile.load("fr3"), period_s=DT), judge_of(robot)
    adversary = Adversary(monitor, seed=100 + seed)
    sent = np.repeat(adversary.sent[None], 3, axis=0)
    for _ in range(60):
        sent = np.concatenate([sent, adversary.run(10)])
        follower = monitor._follower
        promised = follower._braking.trajectory[0][follower._step :]
        if len(promised):
            assert judge.judge(promised, sent[-3:]) == []


# ---- the checker itself: it must see what is wrong


def ride(joint, speed, cycles=400):
    """A jerk-free run of one joint [cycles, 7] from home, and back to rest."""
    k = np.linspace(0, 1, cycles)
    shape = k**3 * (10 - 15 * k + 6 * k**2)
    q = np.repeat(load_robot("fr3").home_rad[None], cycles, axis=0)
    q[:, joint] += speed * cycles * DT / 1.875 * shape
    return q


def test_the_checker_finds_nothing_in_a_good_ride():
    assert judge_of(load_robot("fr3")).judge(ride(0, 0.5)) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda q: q.__setitem__((200, 3), np.nan), "not finite"),
        (lambda q: q.__setitem__((slice(None), 1), np.linspace(q[0, 1], 1.9, len(q))), "position"),
        (lambda q: q.__setitem__((slice(200, None), 0), q[200:, 0] + 0.02), "velocity"),
        (lambda q: q.__setitem__((slice(200, None), 0), q[200:, 0] + 1e-4), "acceleration"),
        (lambda q: q.__setitem__((200, 0), q[200, 0] + 2e-5), "jerk"),
    ],
)
def test_the_checker_finds_what_was_broken(change, text):
    q = ride(0, 0.5)
    change(q)
    assert any(text in found for found in judge_of(load_robot("fr3")).judge(q))


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("tcp_speed_max_m_s", 0.1, "speed of tcp"),
        ("elbow_speed_max_m_s", 0.01, "speed of elbow"),
        ("link_speed_max_m_s", 0.1, "speed of gripper"),
        ("self_distance_min_m", 0.4, "near"),
    ],
)
def test_the_checker_finds_broken_numbers_in_space(key, value, text):
    judge = judge_of(load_robot("fr3"))
    judge.limits[key] = {"value": value}
    assert any(text in found for found in judge.judge(ride(0, 0.9)))


@pytest.mark.parametrize(
    ("workspace", "text"),
    [
        ({"stay_in": {"min_m": [-1, -1, 0.6], "max_m": [1, 1, 2]}}, "leaves the cell"),
        ({"stay_in": {"min_m": [-1, -1, 0], "max_m": [1, 0.2, 2]}}, "leaves the cell"),
        ({"planes": [{"name": "wall", "normal": [0, -1, 0], "offset_m": -0.2}]}, "beyond wall"),
        ({"keep_out": [{"name": "box", "min_m": [0.1, 0.2, 0.2], "max_m": [0.5, 0.5, 0.9]}]}, "in box"),
    ],
)
def test_the_checker_finds_broken_regions(workspace, text):
    judge = judge_of(load_robot("fr3"))
    judge.limits["workspace"] = {**judge.limits["workspace"], **workspace}
    assert any(text in found for found in judge.judge(ride(0, 1.2, 600)))


def test_the_checkers_kinematics_agree_with_the_monitors():
    robot, rng = load_robot("fr3"), np.random.default_rng(0)
    judge, monitor = judge_of(robot), SafetyMonitor(robot, SafetyProfile.load("fr3"))
    arm = monitor._envelope.arm
    q = rng.uniform(robot.limits.position_min_rad, robot.limits.position_max_rad, (20, 7))
    tcp = next(part for part in judge.parts if part["name"] == "tcp")
    turn, place = judge.frames(q)[tcp["body"]]
    for k in range(20):
        np.testing.assert_allclose(
            place[k] + turn[k] @ tcp["points"][0], arm.posture(q[k]).points[-1], atol=1e-12
        )


def test_a_policy_like_stream_is_not_cut_short():
    """The adversary's own calm stream passes for the most part: the fuzzer is not testing a wall of stops."""
    robot = load_robot("fr3")
    adversary = Adversary(SafetyMonitor(robot, SafetyProfile.load("fr3"), period_s=DT), seed=1)
    adversary.kinds, adversary.faults = ["calm"], 0.0
    adversary.run(800)
    assert adversary.counts["PASS"] > 400
