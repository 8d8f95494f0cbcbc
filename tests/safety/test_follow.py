"""The sent sequence by itself: its parts against numbers worked by hand, the follower before a simple envelope."""

from types import SimpleNamespace

import numpy as np
import pytest
from safety_rig import DT, profile_with

from robolearn.robots import load_robot
from robolearn.safety.arm_model import ArmModel
from robolearn.safety.braking import BRAKING_SHARE, plan_braking
from robolearn.safety.envelope import Assessment, Envelope
from robolearn.safety.follow import CommandFilter, Sent, SentPositionWindow, approach, largest_share
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.stream import Target
from robolearn.safety.types import Record, Verdict

ROBOT = load_robot("fr3")
ARM = ArmModel(ROBOT, {}, "parallel")
HOME, N, NAMES = ROBOT.home_rad, ROBOT.dof, ROBOT.joint_names
NUMBERS = {
    "tracking_delay_max_s": 0.005, "tracking_error_max_rad": 0.01, "command_lag_max_rad": 0.2,
    "acceleration_max_rad_s2": [8.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0],
    "jerk_max_rad_s3": [4000.0, 5000.0, 5000.0, 5000.0, 5000.0, 5000.0, 5000.0],
}  # fmt: skip
LIMITS = compile_limits(profile_with(**NUMBERS).mode("automatic"), ROBOT)


def joint(value, index=0):
    return np.eye(N)[index] * value


class Judge:
    """In place of `Envelope`: plans the braking motion of every step, and finds what it is told to find."""

    foresight = None

    def __init__(self, finds=lambda step: None, limits=LIMITS):
        self.limits, self.finds, self.steps, self.asked = limits, finds, [], []
        self.arm = SimpleNamespace(
            posture=lambda q: ("posture", *q), torque=lambda v, a: np.concatenate((v, a))
        )
        self.space = SimpleNamespace(person=lambda least, there: (least, there))

    def assess(self, before, torque_before, step, person_m):
        self.steps.append(step)
        self.asked.append((before, torque_before, person_m))
        braking = plan_braking(
            step.position, step.velocity, step.acceleration, LIMITS.acceleration_max_rad_s2,
            LIMITS.jerk_max_rad_s3, DT,
        )  # fmt: skip
        posture, person_min = ("posture", *step.position), float(len(self.steps))
        return Assessment(braking, posture, step.velocity + 1.0, person_min, self.finds(step))


def follower(finds=lambda step: None):
    judge = Judge(finds)
    return CommandFilter(HOME, judge, DT), judge


def target(position, velocity=0.0, *, exact=True, extrapolated_s=0.0):
    return Target(np.asarray(position, float), np.zeros(N) + velocity, exact, extrapolated_s)


# ---- what was sent


def test_steps_are_backward_differences():
    sent = Sent(HOME, DT)
    first = sent.after(HOME + joint(0.001))
    np.testing.assert_array_equal(first.position, HOME + joint(0.001))
    np.testing.assert_allclose(first.velocity, joint(0.5), atol=1e-9)
    np.testing.assert_allclose(first.acceleration, joint(250.0), atol=1e-6)
    np.testing.assert_allclose(first.jerk, joint(125_000.0), atol=1e-3)
    np.testing.assert_array_equal(sent.position, HOME)  # nothing went out yet
    sent.send(first)
    second = sent.after(HOME + joint(0.003))
    np.testing.assert_allclose(second.velocity, joint(1.0), atol=1e-9)
    np.testing.assert_allclose(second.acceleration, joint(250.0), atol=1e-6)
    np.testing.assert_allclose(second.jerk, joint(0.0), atol=1e-3)


def test_what_a_caller_does_to_its_position_later_changes_nothing():
    home, position = HOME.copy(), HOME + joint(0.001)
    sent = Sent(home, DT)
    step = sent.after(position)
    sent.send(step)
    home += 1.0
    position += 1.0
    np.testing.assert_array_equal(sent.position, HOME + joint(0.001))


@pytest.mark.parametrize(("delay_s", "kept"), [(0.0, 1), (0.004, 3), (0.005, 4)])
def test_the_band_spans_the_samples_within_the_delay(delay_s, kept):
    tracker = SentPositionWindow(HOME, delay_s, DT)
    for low, high in zip(*tracker.band(), strict=True):
        assert low == high
    for k in range(1, 10):
        tracker.add(HOME + joint(float(k)) - joint(float(k), 1))
        oldest = max(k - kept + 1, 0)
        low, high = tracker.band()
        np.testing.assert_array_equal(low, HOME + joint(float(oldest)) - joint(float(k), 1))
        np.testing.assert_array_equal(high, HOME + joint(float(k)) - joint(float(oldest), 1))


# ---- the way to a target


def test_a_small_gap_closes_by_a_third_per_period():
    sent = Sent(HOME, DT)
    gap = joint(3e-6) - joint(1.5e-6, 3)
    np.testing.assert_allclose(approach(sent, HOME + gap, np.zeros(N), LIMITS) - HOME, gap / 3.0, atol=1e-15)


def test_a_large_gap_closes_at_the_pace_of_its_slowest_joint_along_the_straight_line():
    sent, gap = Sent(HOME, DT), joint(-0.16) + joint(0.01, 2)
    pace = np.sqrt(2.0 * 0.3 * 8.0 * 0.16)  # m/s: joint 1 is slower than joint 3 in its own share
    share = pace * DT / 0.16
    assert share < np.sqrt(2.0 * 0.3 * 10.0 * 0.01) * DT / 0.01
    np.testing.assert_allclose(
        approach(sent, HOME + gap, np.zeros(N), LIMITS) - HOME, share * gap, rtol=1e-12
    )


def test_a_target_that_moves_is_met_where_it_will_be():
    sent, velocity = Sent(HOME, DT), joint(0.4) - joint(0.2, 4)
    there = HOME + velocity * DT
    np.testing.assert_allclose(approach(sent, there, velocity, LIMITS), there, atol=1e-15)
    gap = joint(3e-6, 6)
    np.testing.assert_allclose(approach(sent, there + gap, velocity, LIMITS), there + gap / 3.0, atol=1e-15)


def shares(way, sent=None, base=None, limits=LIMITS):
    sent = sent or Sent(HOME, DT)
    base = HOME if base is None else base
    return largest_share(sent, base, base + way, limits)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_largest_share_is_that_of_the_tightest_limit(sign):
    assert shares(joint(0.0)) == 1.0
    assert shares(sign * joint(1e-9)) == 1.0
    assert shares(sign * np.full(N, 1e-9)) == 1.0
    # from rest at rest: jerk first
    assert shares(sign * joint(1e-4)) == pytest.approx(4000.0 * DT**3 / 1e-4, rel=2e-6)
    assert shares(sign * joint(1e-4, 1)) == pytest.approx(5000.0 * DT**3 / 1e-4, rel=2e-6)
    both = shares(sign * (joint(1e-4) + joint(2e-4, 1)))
    assert both == pytest.approx(5000.0 * DT**3 / 2e-4, rel=2e-6)


def loose(**changes):
    """Limits of which only the changed ones matter within a step."""
    wide = {"jerk_max_rad_s3": [1e12] * N, "acceleration_max_rad_s2": [1e9] * N}
    wide |= {"velocity_max_rad_s": [1e6] * N}
    return compile_limits(profile_with(**(wide | changes)).mode("automatic"), ROBOT)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("field", "limit", "power"),
    [("velocity_max_rad_s", 0.5, 1), ("acceleration_max_rad_s2", 5.0, 2), ("jerk_max_rad_s3", 900.0, 3)],
)
def test_each_rate_bounds_the_share_by_its_own_power_of_the_period(field, limit, power, sign):
    limits = loose(**{field: [limit] * N})
    sent, base = Sent(HOME, DT), HOME + joint(sign * 0.25 * limit * DT**power, 2)
    way = joint(sign * limit * DT**power, 2)
    assert shares(way, sent, base, limits) == pytest.approx(BRAKING_SHARE - 0.25, rel=1e-9)
    # the other way the base's own rate is room, and a share is never above 1
    assert shares(-way, sent, base, limits) == 1.0
    assert shares(-2.0 * way, sent, base, limits) == pytest.approx(0.5 * (BRAKING_SHARE + 0.25), rel=1e-9)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_positions_bound_the_share(sign):
    side = "position_max_rad" if sign > 0 else "position_min_rad"
    bounds = getattr(LIMITS, side).copy()
    bounds[2] = sign * 0.4
    limits = loose(**{side: list(bounds)})
    base = HOME.copy()
    base[2] = sign * 0.1
    assert shares(joint(sign * 0.6, 2), Sent(base, DT), base, limits) == pytest.approx(0.5, rel=2e-6)
    base[2] = sign * 0.5  # beyond the bound already: no share of more of it
    assert shares(joint(sign * 0.6, 2), Sent(base, DT), base, limits) == 0.0
    assert (
        shares(joint(1e-3), Sent(base, DT), base, limits) == 1.0
    )  # a joint that stays takes nothing from others


# ---- the follower


def test_it_begins_at_rest_and_keeps_a_braking_motion_ready():
    follow, judge = follower()
    np.testing.assert_array_equal(follow.position_rad, HOME)
    np.testing.assert_array_equal(follow.velocity_rad_s, np.zeros(N))
    assert follow.stopping_time_s == 0.0
    assert follow.remaining_travel().tolist() == [0.0] * N
    (step,) = judge.steps
    np.testing.assert_array_equal(step.position, HOME)
    (asked,) = judge.asked
    assert asked[0] == ("posture", *HOME)
    np.testing.assert_array_equal(asked[1], np.zeros(2 * N))
    assert asked[2] is None
    assert follow.person(2.5) == (1.0, 2.5)


def speed_up(follow, cycles=60, acceleration=2.0):
    """Exact targets from rest on, jerk and acceleration inside their limits; the positions sent."""
    position, velocity, path = follow.position_rad.copy(), 0.0, []
    for k in range(cycles):
        velocity += acceleration * min((k + 1) / 10, 1.0) * DT
        position = position + joint(velocity * DT)
        assert follow.follow(target(position, joint(velocity)), 3.0) == (Verdict.PASS, ())
        np.testing.assert_array_equal(follow.position_rad, position)
        path.append(position)
    return path


def test_targets_inside_go_out_as_they_are_and_what_was_found_is_kept():
    follow, judge = follower()
    path = speed_up(follow, 3)
    assert len(judge.steps) == 4
    before, torque, person_m = judge.asked[-1]
    assert before == ("posture", *path[1])
    np.testing.assert_array_equal(torque, judge.steps[-2].velocity + 1.0)
    assert person_m == 3.0
    assert follow.person(9.0) == (4.0, 9.0)
    braking = plan_braking(
        path[-1], judge.steps[-1].velocity, judge.steps[-1].acceleration, LIMITS.acceleration_max_rad_s2,
        LIMITS.jerk_max_rad_s3, DT,
    )  # fmt: skip
    assert follow.stopping_time_s == braking.duration_s > 0.0
    np.testing.assert_allclose(follow.remaining_travel(), braking.trajectory[0][-1] - path[-1], atol=1e-15)
    np.testing.assert_array_equal(follow.velocity_rad_s, judge.steps[-1].velocity)


@pytest.mark.parametrize(("late_s", "text"), [
    (0.0015, "no new command for this cycle: the last one is extrapolated by 1.50 ms"),
    (-0.0015, "this cycle is before the newest command: that is extrapolated back by 1.50 ms"),
])  # fmt: skip
def test_a_target_that_is_extrapolated_goes_out_and_is_said(late_s, text):
    follow, _ = follower()
    verdict, records = follow.follow(target(HOME, exact=False, extrapolated_s=late_s), None)
    assert verdict is Verdict.LIMIT
    assert records == (Record("timing", late_s, 0.0, -0.0015, "s", "robolearn", text),)


def test_without_a_command_it_waits_at_rest():
    follow, _ = follower()
    verdict, records = follow.follow(None, None)
    assert verdict is Verdict.STOP
    assert records == (
        Record("waiting", 0.0, 1.0, -1.0, "1", "robolearn", "no command came since the start"),
    )
    np.testing.assert_array_equal(follow.position_rad, HOME)


def test_braking_goes_along_the_motion_that_was_kept_and_counts_down():
    follow, judge = follower()
    speed_up(follow)
    braking = plan_braking(
        follow.position_rad, judge.steps[-1].velocity, judge.steps[-1].acceleration,
        LIMITS.acceleration_max_rad_s2, LIMITS.jerk_max_rad_s3, DT,
    )  # fmt: skip
    path, _ = braking.trajectory
    for k, expected in enumerate(path):
        assert follow.stopping_time_s == pytest.approx(braking.duration_s - k * DT)
        np.testing.assert_allclose(follow.remaining_travel(), path[-1] - follow.position_rad, atol=1e-12)
        moving = follow.brake()
        np.testing.assert_allclose(follow.position_rad, expected, atol=1e-12)
        assert moving
    assert follow.stopping_time_s == 0.0
    still = [follow.brake() for _ in range(4)]
    assert not still[-1]
    np.testing.assert_allclose(follow.position_rad, path[-1], atol=1e-12)


def test_after_braking_samples_the_posture_and_torque_are_those_of_the_last_one():
    follow, judge = follower()
    speed_up(follow)
    follow.brake()
    sent = follow.sent
    follow.assess(sent.after(follow.position_rad), 4.0)
    before, torque, person_m = judge.asked[-1]
    assert before == ("posture", *sent.position)
    np.testing.assert_array_equal(torque, np.concatenate((sent.velocity, sent.acceleration)))
    assert person_m == 4.0


@pytest.mark.parametrize(("rule", "slower"), [("workspace", 1.0), ("tcp_speed", 0.98 * 0.1 / 0.4)])
@pytest.mark.parametrize(("refused", "share"), [(1, 1.0), (2, 0.7), (3, 0.4), (4, 0.1)])
def test_what_is_refused_is_replaced_by_less_of_the_way(rule, slower, refused, share):
    finding = Record(rule, 0.4, 0.1, -0.3, "m/s", "test", "test")
    answers = iter(())

    def judged(step):
        del step
        return next(answers, None)

    follow, judge = follower(judged)
    speed_up(follow)
    sent, velocity = follow.sent, follow.velocity_rad_s.copy()
    there = follow.position_rad + velocity * DT + joint(1e-6, 2)
    base = follow._braking.trajectory[0][0]
    wanted = sent.position + slower * (approach(sent, there, velocity, LIMITS) - sent.position)
    largest = largest_share(sent, base, wanted, LIMITS)
    assert 0.0 < largest <= 1.0
    answers = iter([finding] * refused)
    assert follow.follow(target(there, velocity), 7.0) == (Verdict.LIMIT, (finding,))
    assert [asked[2] for asked in judge.asked[-refused - 1 :]] == [7.0] * (refused + 1)
    np.testing.assert_allclose(follow.position_rad, base + largest * share * (wanted - base), atol=1e-14)
    assert follow._step == 0  # with a braking motion of its own


def test_a_step_beyond_the_joint_limits_is_refused_in_full():
    follow, judge = follower()
    asked = len(judge.steps)
    jump = joint(1e-4)
    verdict, records = follow.follow(target(HOME + jump), None)
    assert verdict is Verdict.LIMIT
    value, limits = jump[0] / DT**2, LIMITS
    acceleration, jerk = records
    expected = Record(
        "acceleration", pytest.approx(value), 8.0, pytest.approx(8.0 - value), "rad/s^2",
        limits.source("acceleration_max_rad_s2"), f"{NAMES[0]}: 25 rad/s^2 is above 8 rad/s^2", NAMES[0],
    )  # fmt: skip
    assert acceleration == expected
    assert jerk == Record(
        "jerk", pytest.approx(value / DT), 4000.0, pytest.approx(4000.0 - value / DT), "rad/s^3",
        limits.source("jerk_max_rad_s3"), f"{NAMES[0]}: 12500 rad/s^3 is above 4000 rad/s^3", NAMES[0],
    )  # fmt: skip
    assert len(judge.steps) == asked + 1  # the target itself was not looked at further
    assert 0.0 < (follow.position_rad - HOME)[0] < 1e-4


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_position_and_a_speed_beyond_their_limits_are_found_in_full(sign):
    side = "position_max_rad" if sign > 0 else "position_min_rad"
    bounds = getattr(LIMITS, side).copy()
    bounds[2] = HOME[2] + sign * 0.001
    limits = loose(**{side: list(bounds), "velocity_max_rad_s": [0.9] * N})
    follow = CommandFilter(HOME, Judge(limits=limits), DT)
    value = (HOME + sign * joint(0.002, 2))[2]
    verdict, (position, speed) = follow.follow(target(HOME + sign * joint(0.002, 2)), None)
    assert verdict is Verdict.LIMIT
    where = "above" if sign > 0 else "below"
    assert position == Record(
        "position", value, bounds[2], pytest.approx(-0.001), "rad", limits.source("position_max_rad"),
        f"{NAMES[2]}: {value:.5g} rad is {where} {bounds[2]:.5g} rad", NAMES[2],
    )  # fmt: skip
    assert speed == Record(
        "velocity", pytest.approx(sign), sign * 0.9, pytest.approx(-0.1), "rad/s",
        limits.source("velocity_max_rad_s"), f"{NAMES[2]}: {sign:.5g} rad/s is {where} {sign * 0.9:.5g} rad/s",
        NAMES[2],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("over", "verdict"), [(5e-10, Verdict.PASS), (1e-6, Verdict.LIMIT), (0.5, Verdict.LIMIT)]
)
@pytest.mark.parametrize(("field", "power"), [("acceleration_max_rad_s2", 2), ("jerk_max_rad_s3", 3)])
def test_rates_may_exceed_their_limits_by_rounding_and_no_more(field, power, over, verdict):
    assert HOME[0] == 0.0  # so that positions are not rounded
    follow = CommandFilter(HOME, Judge(limits=loose(**{field: [8.0] * N})), DT)
    assert follow.follow(target(HOME + joint(8.0 * (1.0 + over) * DT**power)), None)[0] is verdict


FINDING = Record("workspace", 1.0, 0.0, -1.0, "m", "test", "test")


def moving_and_refused():
    """A follower at speed before a judge who from now on refuses every step, and the braking motion it keeps."""
    follow, judge = follower()
    speed_up(follow)
    judge.finds = lambda step: FINDING
    return follow, judge, follow._braking


def test_where_nothing_helps_it_brakes():
    follow, judge, braking = moving_and_refused()
    asked = len(judge.steps)
    position, velocity = follow.position_rad.copy(), follow.velocity_rad_s.copy()
    verdict, records = follow.follow(target(position + velocity * DT, velocity), None)
    assert (verdict, records) == (Verdict.LIMIT, (FINDING,))
    np.testing.assert_allclose(follow.position_rad, braking.trajectory[0][0], atol=1e-15)
    assert len(judge.steps) == asked + 1 + 4  # the target, and four shares of the way to it
    ways = [step.position[0] - braking.trajectory[0][0][0] for step in judge.steps[-4:]]
    np.testing.assert_allclose(np.array(ways) / ways[0], [1.0, 0.7, 0.4, 0.1], rtol=1e-6)
    assert follow._braking is braking


def test_rest_that_is_refused_keeps_the_motion_before():
    follow, judge, kept = moving_and_refused()
    assert follow.settle() is FINDING
    assert follow._braking is kept
    judge.finds = lambda step: None
    assert follow.settle() is None
    assert follow._braking is not kept


# ---- tracking and lag


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_measured_position_is_near_what_was_sent_within_the_delay(sign):
    follow, _ = follower()
    path = speed_up(follow, 200)
    low, high = path[-4], path[-1]
    assert high[0] - low[0] > 0.002
    near = follow.position_rad
    assert follow.tracking(near + sign * joint(0.0099, 3)) is None
    assert follow.tracking(low - joint(0.0099)) is None  # late, as an arm is
    measured = near + sign * joint(0.0101, 3)
    bound = (near + sign * joint(0.01, 3))[3]
    where = "above" if sign > 0 else "below"
    assert follow.tracking(measured) == Record(
        "tracking", measured[3], pytest.approx(bound), pytest.approx(-0.0001, rel=1e-6), "rad",
        LIMITS.source("tracking_error_max_rad"),
        f"{NAMES[3]}: {measured[3]:.5g} rad is {where} {bound:.5g} rad", NAMES[3],
    )  # fmt: skip
    assert follow.tracking(-near).rule == "tracking"
    behind = follow.tracking(low - joint(0.0101))
    assert behind.limit == pytest.approx(low[0] - 0.01)


def test_a_target_is_not_far_from_what_was_sent():
    follow, _ = follower()
    assert follow.lag(target(HOME + joint(0.1999, 5))) is None
    found = follow.lag(target(HOME - joint(0.25, 5)))
    assert found == Record(
        "command_lag", pytest.approx(-0.25), 0.2, pytest.approx(-0.05), "rad",
        LIMITS.source("command_lag_max_rad"), f"{NAMES[5]}: 0.25 rad is above 0.2 rad", NAMES[5],
    )  # fmt: skip


# ---- with the arm's own envelope


def test_the_real_envelope_gives_the_same_first_step():
    follow = CommandFilter(HOME, Envelope(LIMITS, ARM, DT), DT)
    assert follow.follow(target(HOME), 6.0) == (Verdict.PASS, ())
    np.testing.assert_array_equal(follow.position_rad, HOME)


def test_what_was_sent_is_judged_by_measurement_target_and_person_in_the_order_of_the_rules():
    filter_, _ = follower()
    filter_.envelope.space = SimpleNamespace(
        person=lambda least, there: (
            None if there is None else Record("separation", there, least, 0, "m", "", "")
        )
    )
    far, ahead = HOME + joint(0.02), target(HOME + joint(0.3))
    assert filter_.following(None, None, None) is None
    assert filter_.following(HOME, target(HOME), None) is None
    assert filter_.following(far, ahead, 1.0).rule == "tracking"
    assert filter_.following(far, None, None).rule == "tracking"
    assert filter_.following(HOME, ahead, 1.0).rule == "command_lag"
    assert filter_.following(None, ahead, None).rule == "command_lag"
    assert filter_.following(HOME, target(HOME), 1.25).rule == "separation"
    assert filter_.following(None, None, 1.25).value == 1.25
