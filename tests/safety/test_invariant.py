"""The invariant: whatever comes in, what goes out stays within every limit, and so does every way to rest."""

from collections import Counter
from dataclasses import replace
from functools import cache

import mujoco
import numpy as np
import pytest
from adversary import Adversary, Promise, fuzz
from faults import FAULTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safety_rig import DT, Rig
from slow_checker import SlowChecker
from streams import GENERATORS
from variants import VARIANTS, monitor_of, profile_data

from robolearn.robots import load_robot
from robolearn.safety import comparisons
from robolearn.safety.inputs import Inputs
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.rest import RestReadings
from robolearn.safety.types import State, Verdict

ROBOTS = ["fr3", "ur5e", "iiwa14"]
MODES = ["automatic", "collaborative", "manual_reduced"]


CYCLES = 1000

# what must have acted at least once in the runs of this file: every rule but those of a fault inside the monitor
RULES = {
    "cycle_early", "finite", "shape", "clock", "command_age", "state_age", "state_jump", "person_age", "cycle_gap",
    "command_flood", "source", "command_jump", "command_lag", "timing", "waiting", "tracking", "stop_request",
    "enabling_device", "enabling_age", "position", "velocity",
    "acceleration", "jerk", "torque", "torque_rate", "tcp_speed", "elbow_speed", "link_speed", "contact",
    "workspace", "keep_out", "self_distance", "separation", "stopping_time", "stopping_distance",
}  # fmt: skip


def judge_of(robot, mode="automatic", variant="shipped"):
    return SlowChecker(robot, profile_data(robot.name, variant), mode, DT)


@cache
def outcome_of(name, mode, variant, faults=None, seed=None, cycles=CYCLES, only=None):
    """One run: every sample and one braking motion in fifty is judged."""
    given = 100 * ROBOTS.index(name) + 10 * MODES.index(mode) + list(VARIANTS).index(variant)
    seed = given if seed is None else seed
    kinds = None if variant == "shipped" else ["smooth"]  # with others joint rules come first
    return fuzz(
        monitor_of(name, mode, variant, DT), judge_of(load_robot(name), mode, variant), cycles, seed,
        promised=0.02, faults=faults, kinds=kinds, fault_kinds=only and [only],
    )  # fmt: skip


FAULTY = {"faults": 0.02, "cycles": 3000}
RUNS = [(name, mode, "shipped") for name in ROBOTS for mode in MODES]
RUNS += [
    (name, MODES[(k + j) % 3], variant)
    for k, name in enumerate(ROBOTS)
    for j, variant in enumerate(VARIANTS)
    if variant != "shipped"
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode", "variant"), RUNS)
def test_an_adversary_finds_nothing(name, mode, variant):
    outcome = outcome_of(name, mode, variant)
    assert outcome.violations == []
    assert outcome.counts["PASS"] > 0  # each of them bit-identical to its command, or it is a violation
    assert outcome.counts["LIMIT"] > 0
    assert outcome.promises > 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_an_adversary_with_many_faults_finds_nothing(mode):
    outcome = outcome_of("fr3", mode, "shipped", **FAULTY)
    assert outcome.violations == []
    assert all(outcome.counts[str(verdict)] > 0 for verdict in Verdict)


@pytest.mark.slow
def test_every_rule_acted_in_these_runs():
    outcomes = [
        outcome_of("ur5e", "automatic", "cell", seed=seed, cycles=1500) for seed in (3, 8)
    ]  # near boxes, itself
    outcomes.append(outcome_of("fr3", "automatic", "torque", seed=2))
    outcomes.append(outcome_of("ur5e", "automatic", "cell"))  # out of the workspace
    for seed, cycles, only in ((3, 2000, "held"), (2, 1000, "no commands")):
        outcomes.append(
            outcome_of("fr3", "automatic", "shipped", seed=seed, faults=0.01, cycles=cycles, only=only)
        )
    assert [text for outcome in outcomes for text in outcome.violations] == []
    outcomes += [outcome_of(*run) for run in RUNS]
    outcomes += [outcome_of("fr3", mode, "shipped", **FAULTY) for mode in MODES]
    acted = sum((outcome.rules for outcome in outcomes), Counter())
    assert RULES - set(acted) == set()
    faults = sum((outcome.counts for outcome in outcomes), Counter())
    assert [kind for kind in FAULTS if not faults[f"fault: {kind}"]] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "mode", "texts"),
    [
        ("cell", "automatic", ["stopping time", "stopping distance", "speed of elbow"]),
        ("contact", "collaborative", ["contact of", "on the way to rest: contact of"]),
        ("torque_rate", "automatic", ["torque rate", "on the way to rest: torque rate"]),
        ("torque", "automatic", ["torque: "]),
    ],
)
def test_the_fuzzer_finds_a_monitor_that_does_not_know_a_limit(variant, mode, texts):
    """A monitor of the shipped profile, judged by what the variant asks for: one seed, or two."""
    missed = texts
    for seed in (3, 5):
        monitor, judge = monitor_of("fr3", mode, "shipped", DT), judge_of(load_robot("fr3"), mode, variant)
        found = fuzz(monitor, judge, 1500, seed=seed, promised=0.02, kinds=["smooth"]).violations
        missed = [text for text in missed if not any(text in violation for violation in found)]
        if not missed:
            break
    assert missed == []


@pytest.mark.slow
def test_the_fuzzer_finds_a_monitor_that_takes_the_other_model_of_contact():
    known, asked = monitor_of("fr3", "automatic", "contact_energy", DT), "contact_iso"
    judge = judge_of(load_robot("fr3"), "automatic", asked)
    found = fuzz(known, judge, 1500, seed=3, promised=0.02, kinds=["smooth"]).violations
    assert any("contact of" in violation for violation in found)
    assert all("contact of" in violation for violation in found)


def hold_at_once(monitor, patch):
    """Whatever a single joint state says is held after a reset, at once."""
    patch.setattr(RestReadings, "unclear", lambda *_: None)
    patch.setattr(RestReadings, "elsewhere", lambda *_: None)
    patch.setattr(
        RestReadings, "add", lambda rest, reading, _: setattr(rest, "_newest", reading.position_rad)
    )
    patch.setattr(RestReadings, "motion", lambda *_: None)
    patch.setattr(RestReadings, "forget", lambda *_: None)
    patch.setattr(Inputs, "_jump", lambda *_: None)


def brake_on_after_gaps(monitor, patch):
    """The braking motion goes on from the old speed, whatever the arm did in a gap."""
    patch.setattr(
        monitor,
        "_lose_position",
        lambda gap, reading: monitor._begin_stop(gap, reading) if monitor._stop is None else None,
    )


def take_every_call(monitor, patch):
    """A sample goes out in every call."""
    tick = monitor._clock.tick
    patch.setattr(monitor._clock, "tick", lambda *given: tick(*given)._replace(early=None))


def keep_before_judging(monitor, patch):
    """The newest stamp of a joint state is kept before it is looked at."""
    inputs, judge = monitor._inputs, monitor._inputs.reading

    def reading(measured, limits, now_s, keep=True):
        found = judge(measured, limits, now_s, keep)
        if keep and measured is not None and np.isfinite(measured.stamp_s):
            newest = max(measured.stamp_s, inputs._state.stamp_s)
            inputs._state = inputs._state._replace(stamp_s=newest)
        return found

    patch.setattr(inputs, "reading", reading)


def look_at_the_newest(monitor, patch):
    """Of several commands only the newest is looked at."""
    select = monitor._inputs.commands
    patch.setattr(monitor._inputs, "commands", lambda arrived, *more: select(list(arrived)[-1:], *more))


def follow_no_number(monitor, patch):
    """What is not a number is clamped, as arithmetic does it."""
    patch.setattr(comparisons, "finite", lambda *_: None)


FORMER = [
    (hold_at_once, ["forged states", "stop request"], "from the arm"),
    (brake_on_after_gaps, ["gap"], "neither sent nor measured"),
    (take_every_call, [], "samples in"),
    (keep_before_judging, ["state ahead"], "without a start that is accepted"),
    (look_at_the_newest, ["rogue between good ones"], "not stopped by source"),
    (look_at_the_newest, ["no number between good ones"], "not stopped by finite"),
    (look_at_the_newest, ["flood"], "not stopped by command_flood"),
    (follow_no_number, ["command position"], "not stopped by finite"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "kinds", "said"), FORMER, ids=lambda value: getattr(value, "__name__", None)
)
def test_the_fuzzer_finds_the_faults_that_there_were(monkeypatch, spoil, kinds, said):
    """A monitor with one of them again; each was once found by somebody else, outside what the fuzzer then did."""
    monitor = monitor_of("fr3", "automatic", "shipped", DT)
    adversary = Adversary(monitor, seed=3)
    adversary.kinds, adversary.fault_kinds, adversary.stuck_cycles = ["smooth"], kinds or ["reordered"], 500
    adversary.faults, adversary.early = 0.02, 0.02 if not kinds else 0.0
    spoil(monitor, monkeypatch)
    for _ in range(8):
        adversary.run(400)
        if any(said in problem for problem in adversary.problems):
            return
    raise AssertionError(f"not found in 3,200 cycles: {adversary.problems}")


def test_the_order_of_the_joints_in_a_message_changes_nothing():
    """The same stream twice, once with the joints of every message in another order: the same goes out."""
    sent = []
    for shuffle in (None, np.random.default_rng(1)):
        adversary = Adversary(monitor_of("fr3", "automatic", "shipped", DT), seed=21)
        adversary.shuffle = shuffle
        sent.append(np.concatenate([samples for _, samples in adversary.run(600)]))
        assert adversary.problems == []
        assert adversary.counts["PASS"] > 0
    assert sent[0].tobytes() == sent[1].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(GENERATORS))
def test_every_kind_of_stream_is_survived(kind):
    robot = load_robot("fr3")
    adversary = Adversary(SafetyMonitor(robot, SafetyProfile.load("fr3"), period_s=DT), seed=5)
    adversary.kinds = [kind]
    assert judge_of(robot).judge_motions(adversary.run(600)) == []
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


@pytest.mark.slow
@given(commands)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_commands_breaks_a_limit(sequence):
    rig, judge = RIGS.setdefault("fr3", (Rig(), judge_of(load_robot("fr3"))))
    if rig.monitor.state is not State.RUNNING:
        rig.coast()
        if rig.monitor.state is State.STOPPED:
            for _ in range(30):  # longer than command_age_max_s: until then a bad command counts as the cause
                rig.cycle(None)
            assert rig.reset().accepted
        assert rig.start().accepted
    history = np.repeat(rig.position[None], 3, axis=0)
    velocity, acceleration = rig.monitor._filter.sent.velocity, rig.monitor._filter.sent.acceleration
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
        ("torque_max_nm", [20.0] * 7, "torque: "),
        ("torque_rate_max_nm_s", [10.0] * 7, "torque rate: "),
        ("tcp_speed_max_m_s", 0.1, "speed of tcp"),
        ("elbow_speed_max_m_s", 0.01, "speed of elbow"),
        ("link_speed_max_m_s", 0.1, "speed of gripper"),
        ("self_distance_min_m", 0.4, "near"),
    ],
)
def test_the_checker_finds_broken_numbers(key, value, text):
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


CONTACT = {
    "transient_regions": ["chest", "hands_fingers"], "model": "kinetic_energy",
    "contact_area_cm2": {"value": 4.0}, "payload_kg": {"value": 0.0},
}  # fmt: skip


def test_the_checkers_contact_speeds_are_those_of_worked_examples():
    """UR5e with 2 kg: half of its 17.7 kg that move, and the payload, are 10.85 kg."""
    judge = judge_of(load_robot("fr3"))
    for region, transient in [("neck", 1.290697), ("chest", 0.606162), ("hands_fingers", 1.355937)]:
        judge.limits["contact"] = {**CONTACT, "transient_regions": [region]}
        assert judge.contact_speed(10.85) == pytest.approx(transient, rel=1e-6)
        judge.limits["contact"] |= {"transient_regions": [], "quasi_static_regions": [region]}
        assert judge.contact_speed(10.85) == pytest.approx(transient / 2.0, rel=1e-6)
    judge.limits["contact"] = {**CONTACT, "contact_area_cm2": {"value": 0.5}}
    # the pressure is less there: 120 N/cm^2 * 0.5 cm^2 of 140 N
    assert judge.contact_speed(10.85) == pytest.approx(0.606162 * 60.0 / 140.0, rel=1e-6)


def test_the_checker_finds_a_contact_that_is_too_fast():
    judge = judge_of(load_robot("fr3"))
    judge.limits["contact"] = CONTACT
    assert judge.judge(ride(0, 2.0)) == []
    judge.limits["contact"] = CONTACT | {"payload_kg": {"value": 1e6}}
    # against such a mass the chest's own 40 kg count: 2 * 140 N / sqrt(40 kg * 25 N/mm) = 0.28 m/s
    fast = judge.judge(ride(0, 2.0))
    tcp = next(text for text in fast if "contact of tcp" in text)
    assert tcp.excess == pytest.approx(2.0 * np.hypot(*TCP_HOME_M[:2]) - 0.28, rel=0.01)


def test_the_checker_takes_each_model_of_contact_and_the_stricter_where_none_is_named():
    judge, fast = judge_of(load_robot("fr3")), {}
    wrist = ride(4, 3.0)  # light: by its energy it may be faster than half of the arm
    for model in ("kinetic_energy", "iso_ts_15066", "stricter", None):
        contact = {**CONTACT, "transient_regions": [], "quasi_static_regions": ["lower_legs"], "model": model}
        judge.limits["contact"] = {key: value for key, value in contact.items() if value is not None}
        excess = [text.excess for text in judge.judge(wrist) if "contact of" in text]
        fast[model] = max(excess, default=0.0)
    assert fast["stricter"] == fast[None] == fast["iso_ts_15066"] > fast["kinetic_energy"] + 0.1


def stop_from(speed_rad_s, cycles=120):
    """A promise of joint 1: at a speed, and at rest half a cosine later."""
    k = np.arange(-2, cycles + 1)
    speed = speed_rad_s * np.where(k > 0, 0.5 * (1.0 + np.cos(np.pi * np.clip(k, 0, cycles) / cycles)), 1.0)
    q = np.repeat(load_robot("fr3").home_rad[None], len(k), axis=0)
    q[:, 0] += np.cumsum(speed) * DT
    return Promise(q[:3], q[3:], None)


TCP_HOME_M = np.array([0.30689, 0.0, 0.48728])  # where the next test finds it


def test_the_checker_finds_nothing_in_a_good_promise_and_the_tcp_where_it_is():
    judge = judge_of(load_robot("fr3"))
    promise = stop_from(0.5)
    assert judge.judge_promises([promise, stop_from(-0.8)]) == []
    tcp = next(part for part in judge.parts if part["name"] == "tcp")
    turn, place = judge.frames(load_robot("fr3").home_rad[None])[tcp["body"]]
    np.testing.assert_allclose((place + turn @ tcp["points"][0])[0], TCP_HOME_M, atol=1e-3)


def test_the_checker_finds_a_promise_that_does_not_end_at_rest():
    promise = stop_from(0.5)
    cut = Promise(promise.sent, promise.path[:60], None)
    assert any(
        "on the way to rest: jerk" in text for text in judge_of(load_robot("fr3")).judge_promises([cut])
    )


def test_the_checker_finds_promises_that_take_too_long_and_too_far():
    judge, promise = judge_of(load_robot("fr3")), stop_from(0.5)
    judge.limits |= {"stopping_time_max_s": {"value": 0.2}, "stopping_distance_max_m": {"value": 0.01}}
    late, far = judge.judge_promises([promise])
    assert "stopping time" in late
    # the last sample moves, at the latest, one period before the end of 120
    assert 119 * DT - 0.2 <= judge.judge_stop(promise)[0].excess <= 120 * DT - 0.2
    angle = promise.path[-1, 0] - promise.sent[-1, 0]
    way = 2.0 * np.hypot(*TCP_HOME_M[:2]) * np.sin(angle / 2.0)  # a chord about the base's axis
    assert "stopping distance" in far
    assert judge.judge_stop(promise)[1].excess == pytest.approx(way - 0.01, abs=1e-4)
    judge.limits |= {
        "stopping_time_max_s": {"value": 120 * DT},
        "stopping_distance_max_m": {"value": way + 1e-3},
    }
    assert judge.judge_promises([promise]) == []


def test_the_checker_finds_a_person_who_is_too_near():
    """Sp = 1.6 (0.1 + T + 0.1) + v (0.1 + 0.1) + the way + 0.85 + 0.1 + 0.01, after the arm's extent."""
    judge, promise = judge_of(load_robot("fr3")), stop_from(0.5)
    parts = [part for part in judge.parts if part["depth"]]
    frames = judge.frames(promise.sent[-1:])
    extent = max(
        float(np.hypot(*(frames[p["body"]][1] + frames[p["body"]][0] @ local)[0, :2])) + p["radius"]
        for p in parts
        for local in p["points"]
    )
    angle = promise.path[-1, 0] - promise.sent[-1, 0]
    moved = 2.0 * extent * np.sin(angle / 2.0)
    needed = extent + 1.6 * (0.2 + 120 * DT) + 0.5 * extent * 0.2 + moved + 0.96
    assert judge.judge_stop(replace(promise, person_m=needed)) == []
    (near,) = judge.judge_stop(replace(promise, person_m=needed - 0.05))
    assert near.startswith("separation")
    assert near.excess == pytest.approx(0.05, abs=0.01)


def test_the_checkers_dynamics_agree_with_mujocos():
    robot, rng = load_robot("fr3"), np.random.default_rng(0)
    judge = judge_of(robot)
    model = judge.model
    data, full = mujoco.MjData(model), np.zeros((model.nv, model.nv))
    q, v, a = (rng.uniform(-1, 1, (5, 7)) * size for size in (1.0, 2.0, 8.0))
    torques, inertia = judge.torques(q, v, a), judge.inertia(judge.frames(q))
    for k in range(5):
        data.qpos[:7], data.qvel[:7], data.qacc[:7] = q[k], v[k], a[k]
        mujoco.mj_inverse(model, data)
        mujoco.mj_fullM(model, data, full)
        np.testing.assert_allclose(inertia[k], full[:7, :7], atol=1e-9)
        mujoco.mj_rne(model, data, 1, bare := np.zeros(model.nv))
        np.testing.assert_allclose(torques[k], bare[:7], atol=1e-9)


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
