import numpy as np
from safety_rig import DT, Rig
from slow_checker import SlowChecker

from robolearn.config import config_path
from robolearn.safety.types import Verdict

SWING = np.array([0.3, 0.25, 0.3, 0.25, 0.4, 0.3, 0.4])
RATE = np.array([1.5, 1.2, 1.4, 1.3, 1.6, 1.5, 1.7])


def trajectory(t, ramp_s=1.0):
    """A smooth motion around home: position and velocity at t after its beginning."""
    s = np.clip(t / ramp_s, 0.0, 1.0)
    ramp = s**3 * (10 - 15 * s + 6 * s**2)
    slope = 30 * s**2 * (1 - s) ** 2 / ramp_s
    return SWING * np.sin(RATE * t) * ramp, SWING * (
        RATE * np.cos(RATE * t) * ramp + np.sin(RATE * t) * slope
    )


def play(arrivals, cycles=2000, noise_s=0.0, seed=0, velocity=True):
    """Drive a monitor with a policy on a 2 ms grid; arrivals(k) is how many of its messages came before cycle k."""
    rig, rng = Rig(), np.random.default_rng(seed)
    home, began = rig.position.copy(), rig.now
    newest, decisions, sent = None, [], []
    for k in range(1, cycles):
        count = arrivals(k, rng)
        if count:
            offset, speed = trajectory(count * DT)
            stamp = began + count * DT + noise_s * rng.uniform(-1, 1)
            newest = rig.command(home + offset, speed if velocity else None, stamp_s=stamp)
        decisions.append(rig.cycle(newest))
        sent.append(rig.decision.command_rad)
        assert newest is None or rig.decision.verdict is not Verdict.STOP, rig.decision.records
    checker = SlowChecker(rig.robot, config_path("safety/fr3.yaml"), "automatic", DT)
    assert checker.judge(np.array(sent), np.repeat(home[None], 3, axis=0)) == []
    return decisions, np.array(sent) - home


def share(decisions, verdict):
    return sum(decision.verdict is verdict for decision in decisions) / len(decisions)


def test_messages_on_time_pass_bit_identical():
    decisions, sent = play(lambda k, _: k)
    assert share(decisions, Verdict.PASS) == 1.0
    np.testing.assert_allclose(sent[-1], trajectory(1999 * DT)[0], atol=1e-12)


def test_a_message_now_and_then_late_by_a_cycle_changes_nothing_but_its_cycle():
    decisions, sent = play(lambda k, rng: k - int(k % 50 == 0))
    assert share(decisions, Verdict.PASS) > 0.97
    limited = [decision for decision in decisions if decision.verdict is Verdict.LIMIT]
    assert {record.rule for decision in limited for record in decision.records} == {"timing"}
    for k in range(0, 1999, 50):
        np.testing.assert_allclose(sent[k], trajectory((k + 1) * DT)[0], atol=1e-5)


def test_random_lateness_never_jerks_the_arm():
    """Half of the messages come a cycle late; the sent stream stays within every limit and near the path."""
    decisions, sent = play(lambda k, rng: max(0, k - int(rng.random() < 0.5)))
    times = np.arange(1, 2000)[:, None] * DT
    path = trajectory(times)[0]
    assert np.abs(sent[200:] - path[200:]).max() < 5e-3
    assert share(decisions, Verdict.LIMIT) > 0.1


def test_a_policy_that_is_late_for_good_is_followed_smoothly_at_its_new_time():
    decisions, sent = play(lambda k, _: k if k < 700 else k - 1)
    assert share(decisions[900:], Verdict.PASS) == 1.0
    np.testing.assert_allclose(sent[-1], trajectory(1998 * DT)[0], atol=1e-12)


def test_a_policy_that_is_early_for_good_is_followed_smoothly_at_its_new_time():
    decisions, sent = play(lambda k, _: k if k < 700 else k + 1)
    assert share(decisions[900:], Verdict.PASS) == 1.0
    np.testing.assert_allclose(sent[-1], trajectory(2000 * DT)[0], atol=1e-12)


def test_noise_of_the_stamps_is_rounded_away():
    decisions, _ = play(lambda k, _: k, noise_s=0.1 * DT)
    assert share(decisions, Verdict.PASS) == 1.0


def test_a_policy_at_another_rate_is_followed():
    decisions, sent = play(lambda k, _: 5 * (k // 5))
    assert share(decisions, Verdict.PASS) > 0.15
    times = np.arange(1, 2000)[:, None] * DT
    assert np.abs(sent[300:] - trajectory(times)[0][300:]).max() < 2e-2


def test_commands_without_velocity_are_carried_on_by_their_differences():
    decisions, sent = play(lambda k, _: k - int(k % 50 == 0), velocity=False)
    assert share(decisions, Verdict.PASS) > 0.9
    times = np.arange(1, 2000)[:, None] * DT
    assert np.abs(sent[200:] - trajectory(times)[0][200:]).max() < 1e-3
