"""The envelope by itself: what it asks of its parts, and each of its records in full."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safety_rig import DT, profile_with

from robolearn.robots import load_robot
from robolearn.safety.arm_model import ArmModel, point_speeds
from robolearn.safety.envelope import Envelope, Step, build_envelope
from robolearn.safety.mode_limits import compile_limits
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Record

ROBOT = load_robot("fr3")
ARM = ArmModel(ROBOT, {}, "parallel")
HOME = ROBOT.home_rad
NAMES = ROBOT.joint_names
AXES = np.eye(ROBOT.dof)


def envelope_with(mode="automatic", **changes):
    return Envelope(compile_limits(profile_with(**changes).mode(mode), ROBOT), ARM, DT)


def step_at(position, velocity=0.0, acceleration=0.0, joint=0):
    zero = np.zeros(ROBOT.dof)
    return Step(np.array(position), zero + velocity * AXES[joint], zero + acceleration * AXES[joint], zero)


def assess(envelope, step, person_m=None, torque_before=None):
    before = ARM.posture(step.position - step.velocity * DT)
    if torque_before is None:
        torque_before = np.zeros(ROBOT.dof)
    return envelope.assess(before, torque_before, step, person_m)


def torque_of(step):
    ARM.posture(step.position)
    return ARM.torque(step.velocity, step.acceleration)


class Asked:
    """In place of `Space`: keeps what it was asked, and finds what it is told to find."""

    ALLOWED_M_S = 0.75
    PERSON_MIN_M = 1.25

    def __init__(self, finds=None):
        self.asked, self.finds = {}, finds

    def __getattr__(self, name):
        def answer(*arguments):
            self.asked[name] = arguments
            given = {"contact_speed": self.ALLOWED_M_S, "person_min": self.PERSON_MIN_M}
            return given.get(name, f"found by {name}" if name == self.finds else None)

        return answer


STEP = step_at(HOME, velocity=-0.8, acceleration=-2.0, joint=3)


def test_space_is_asked_about_the_step_and_the_whole_way_to_rest():
    envelope = envelope_with()
    envelope.space = space = Asked()
    found = assess(envelope, STEP, person_m=2.5)
    braking = found.braking
    before, posture = ARM.posture(STEP.position - STEP.velocity * DT), ARM.posture(STEP.position)
    speeds = point_speeds(before, posture, ARM.radius, DT)
    swing = np.abs(np.array([braking.high_rad, braking.low_rad]) - HOME).max(axis=0)
    room = ARM.reach @ swing
    assert swing[3] > 0.03
    np.testing.assert_array_equal(braking.position_rad, HOME)
    np.testing.assert_array_equal(found.posture.points, posture.points)
    np.testing.assert_array_equal(found.torque_nm, torque_of(STEP))
    assert found.person_min_m == Asked.PERSON_MIN_M
    assert found.record is None
    asked = space.asked
    for given, expected in zip(asked["contact_speed"], (STEP.velocity, speeds), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-15)
    there, *numbers = asked["person_min"]
    np.testing.assert_array_equal(there.points, posture.points)
    assert numbers == pytest.approx([speeds.max(), braking.duration_s, room.max()], rel=1e-12)
    np.testing.assert_allclose(asked["speeds"][0], speeds, atol=1e-15)
    np.testing.assert_allclose(asked["contact"][0], speeds, atol=1e-15)
    assert asked["contact"][1] == Asked.ALLOWED_M_S
    there, motion, way = asked["speeds_to_rest"]
    assert (there, motion) == (found.posture, braking)
    np.testing.assert_allclose(way, swing, atol=1e-15)
    there, motion, way, around = asked["places"]
    assert (there, motion) == (found.posture, braking)
    np.testing.assert_allclose(way, swing, atol=1e-15)
    np.testing.assert_allclose(around, room, atol=1e-15)
    assert asked["person"] == (Asked.PERSON_MIN_M, 2.5)


def test_space_is_given_what_the_envelope_was_given():
    envelope = envelope_with()
    space = envelope.space
    assert (space.limits, space.arm, space.period_s) == (envelope.limits, ARM, DT)


@pytest.mark.parametrize("rule", ["speeds", "contact", "speeds_to_rest", "places", "person"])
def test_the_first_finding_is_the_record(rule):
    envelope = envelope_with(stopping_time_max_s=0.01)
    envelope.space = Asked(rule)
    assert assess(envelope, STEP).record == f"found by {rule}"


def test_a_stop_that_takes_too_long_is_found_in_full():
    envelope = envelope_with(stopping_time_max_s=0.05)
    envelope.space = Asked()
    found = assess(envelope, STEP)
    time_s, source = found.braking.duration_s, envelope.limits.source("stopping_time_max_s")
    assert time_s > 0.05
    assert found.record == Record(
        "stopping_time", time_s, 0.05, 0.05 - time_s, "s", source, f"{time_s:.4g} s is above 0.05 s"
    )


# ---- joints


def joints(envelope, step):
    envelope.space = Asked()
    return assess(envelope, step).record


def path_of(step, **changes):
    """Positions and velocities of the step and of its way to rest."""
    envelope = envelope_with(**changes)
    envelope.space = Asked()
    braking = assess(envelope, step).braking
    positions, velocities = braking.trajectory
    return np.vstack([step.position, positions]), np.vstack([step.velocity, velocities])


def bounded(sign, bound_rad, joint=2):
    """The joint range with one bound moved: the upper one for a positive sign."""
    side = "position_max_rad" if sign > 0 else "position_min_rad"
    bounds = getattr(envelope_with().limits, side).copy()
    bounds[joint] = bound_rad
    return {side: list(bounds)}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_position_that_is_left_on_the_way_to_rest_is_found_where_it_is_first(sign):
    step = step_at(HOME, velocity=sign * 1.0, joint=2)
    positions, _ = path_of(step)
    value, bound = positions[11, 2], positions[10, 2]  # exactly on the bound is inside, the next one is not
    envelope = envelope_with(**bounded(sign, bound))
    where = "above" if sign > 0 else "below"
    assert joints(envelope, step) == Record(
        "position", value, bound, -abs(value - bound), "rad", envelope.limits.source("position_max_rad"),
        f"{NAMES[2]}: {value:.5g} rad is {where} {bound:.5g} rad", NAMES[2],
    )  # fmt: skip


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_step_that_is_outside_already_is_found(sign):
    bounds = {"position_min_rad": list(HOME - 0.1), "position_max_rad": list(HOME + 0.1)}
    outside = HOME + sign * 0.1001 * AXES[4]
    record = joints(envelope_with(**bounds), step_at(outside))
    assert (record.rule, record.where, record.value) == ("position", NAMES[4], outside[4])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_rest_exactly_on_a_bound_is_inside_and_hides_no_speed(sign):
    step = step_at(HOME, velocity=sign * 1.0, joint=2)
    positions, velocities = path_of(step)
    rest = bounded(sign, positions[-1, 2])
    assert joints(envelope_with(**rest), step) is None
    fast = envelope_with().limits.velocity_max_rad_s.copy()
    fast[2] = 0.9
    envelope = envelope_with(**rest, velocity_max_rad_s=list(fast))
    where = "above" if sign > 0 else "below"
    value, bound = velocities[0, 2], sign * 0.9
    assert joints(envelope, step) == Record(
        "velocity", value, bound, -abs(value - bound), "rad/s", envelope.limits.source("velocity_max_rad_s"),
        f"{NAMES[2]}: {value:.5g} rad/s is {where} {bound:.5g} rad/s", NAMES[2],
    )  # fmt: skip


def test_a_speed_that_is_too_high_only_on_the_way_to_rest_is_found_there():
    step = step_at(HOME, velocity=0.5, acceleration=8.0, joint=2)  # it still gains speed for a while
    jerk = {"jerk_max_rad_s3": [300.0] * 7}
    _, velocities = path_of(step, **jerk)
    fast = envelope_with().limits.velocity_max_rad_s.copy()
    fast[2] = 0.55
    first = int(np.argmax(velocities[:, 2] > fast[2]))
    assert 1 < first < np.argmax(velocities[:, 2])
    record = joints(envelope_with(velocity_max_rad_s=list(fast), **jerk), step)
    assert (record.rule, record.value, record.limit) == ("velocity", velocities[first, 2], 0.55)


def test_the_manufacturers_curve_holds_where_it_is_tighter_than_the_profile():
    near = ROBOT.limits.position_max_rad.copy()
    position = HOME.copy()
    position[0] = near[0] - 0.08
    bound = ROBOT.limits.velocity_bounds(position)[1][0]
    step = step_at(position, velocity=1.05 * bound)
    envelope = envelope_with()
    assert bound < 0.9 * envelope.limits.velocity_max_rad_s[0]
    record = joints(envelope, step)
    assert record.rule == "velocity"
    assert record.limit == pytest.approx(bound)


# ---- torques


def with_torque(**values):
    """An envelope with torque limits: torque_max_nm, torque_rate_max_nm_s [n]."""
    sourced = profile_with().mode("automatic").torque_max_nm
    return envelope_with(
        **{name: sourced.model_copy(update={"value": list(value)}) for name, value in values.items()}
    )


def record_of(rule, value, limit, unit, envelope, joint):
    size, field = abs(value), {"torque": "torque_max_nm", "torque_rate": "torque_rate_max_nm_s"}[rule]
    text = f"{NAMES[joint]}: {size:.5g} {unit} is above {limit:.5g} {unit}"
    return Record(rule, value, limit, limit - size, unit, envelope.limits.source(field), text, NAMES[joint])


def test_a_steps_own_torque_is_found_in_full():
    step = step_at(HOME, acceleration=4.0, joint=1)
    torque = torque_of(step)
    limit = np.abs(torque) + 20.0
    limit[1] = abs(torque[1]) - 0.5
    envelope = with_torque(torque_max_nm=limit)
    assert joints(envelope, step) == record_of("torque", torque[1], limit[1], "Nm", envelope, 1)


def test_a_steps_own_torque_rate_is_found_in_full():
    step = step_at(HOME)
    torque = torque_of(step)
    before = torque - np.array([0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    envelope = with_torque(torque_max_nm=[1e3] * 7, torque_rate_max_nm_s=[1000.0] * 7)
    envelope.space = Asked()
    rate = (torque - before)[1] / DT
    assert assess(envelope, step, torque_before=before).record == record_of(
        "torque_rate", rate, 1000.0, "Nm/s", envelope, 1
    )
    inside = torque - 0.99 * 1000.0 * DT
    assert assess(envelope, step, torque_before=inside).record is None


BRAKED = step_at(HOME, velocity=-1.0, joint=1)  # downwards: to brake takes more torque than to hold


def torques_to_rest(step):
    positions, velocities = path_of(step)
    change = np.diff(velocities, axis=0) / DT
    torques = ARM.torques(positions[1:], velocities[1:], change)
    return np.vstack([torque_of(step), torques])


def test_a_torque_that_only_braking_takes_is_found_where_it_is_first():
    torques = torques_to_rest(BRAKED)
    limit = np.abs(torques).max(axis=0) + 20.0
    limit[1] = 0.5 * (abs(torques[0, 1]) + np.abs(torques[:, 1]).max())
    first = int(np.argmax(np.abs(torques[:, 1]) > limit[1]))
    assert first > 1
    envelope = with_torque(torque_max_nm=limit)
    found = joints(envelope, BRAKED)
    assert found.value == pytest.approx(torques[first, 1], rel=1e-9)
    assert found == record_of("torque", found.value, limit[1], "Nm", envelope, 1)
    limit[1] = np.abs(torques[:, 1]).max() + 1e-6
    assert joints(with_torque(torque_max_nm=limit), BRAKED) is None


def rates_to_rest():
    """Torques [m + 1, n], rates [m, n], limits that only the second joint breaks, and the first sample that does."""
    torques = torques_to_rest(BRAKED)
    rates = np.diff(torques, axis=0) / DT
    largest = np.abs(rates).max(axis=0)
    limit = largest + 100.0
    limit[1] = 0.5 * largest[1]
    return torques, rates, limit, int(np.argmax(np.abs(rates[:, 1]) > limit[1]))


def test_a_torque_rate_that_only_braking_takes_is_found_where_it_is_first():
    torques, rates, limit, first = rates_to_rest()
    largest = np.abs(rates).max(axis=0)
    envelope = with_torque(torque_max_nm=[1e3] * 7, torque_rate_max_nm_s=limit)
    envelope.space = Asked()
    found = assess(envelope, BRAKED, torque_before=torques[0]).record
    assert (found.rule, found.where, found.unit) == ("torque_rate", NAMES[1], "Nm/s")
    assert found.value == pytest.approx(rates[first, 1], rel=1e-6)
    envelope = with_torque(torque_max_nm=[1e3] * 7, torque_rate_max_nm_s=largest + 1e-3)
    envelope.space = Asked()
    assert assess(envelope, BRAKED, torque_before=torques[0]).record is None


def without_torque_max(rates):
    """Only the torque rate is limited, to rates [n]; the largest torque is not checked."""
    envelope = with_torque(torque_rate_max_nm_s=rates)
    mode = envelope.limits.mode.model_copy(update={"torque_max_nm": profile_not_checked()})
    envelope = Envelope(replace(envelope.limits, mode=mode), ARM, DT)
    envelope.space = Asked()
    return envelope


def profile_not_checked():
    """As the shipped profile has it for the torque rate."""
    return profile_with().mode("automatic").torque_rate_max_nm_s


def test_a_torque_rate_on_the_way_to_rest_is_found_where_no_torque_is_limited():
    torques, rates, limit, first = rates_to_rest()
    largest = np.abs(rates).max(axis=0)
    envelope = without_torque_max(limit)
    found = assess(envelope, BRAKED, torque_before=torques[0]).record
    assert found.value == pytest.approx(rates[first, 1], rel=1e-6)
    assert found == record_of("torque_rate", found.value, limit[1], "Nm/s", envelope, 1)
    inside = without_torque_max(largest + 1e-3)
    assert assess(inside, BRAKED, torque_before=torques[0]).record is None


def test_a_steps_own_torque_rate_is_found_where_no_torque_is_limited():
    step = step_at(HOME)
    torque = torque_of(step)
    envelope = without_torque_max([1000.0] * 7)
    before = torque - 3.0 * AXES[1]
    assert assess(envelope, step, torque_before=before).record == record_of(
        "torque_rate", (torque - before)[1] / DT, 1000.0, "Nm/s", envelope, 1
    )
    assert assess(envelope, step, torque_before=torque - 0.99 * 1000.0 * DT).record is None


BRAKING = step_at(HOME, velocity=-1.0, acceleration=8.0, joint=1)  # its torque changes most at the end


def test_torque_and_torque_rate_are_both_found_on_the_way_to_rest():
    torques = torques_to_rest(BRAKING)
    rates = np.abs(np.diff(torques, axis=0) / DT)
    first = int(np.argmax(rates[:, 1] > 0.9 * rates[:, 1].max()))
    assert first > 1
    rate_limit = rates.max(axis=0) + 100.0
    rate_limit[1] = 0.9 * rates[:, 1].max()
    envelope = with_torque(torque_max_nm=[1e3] * 7, torque_rate_max_nm_s=rate_limit)
    envelope.space = Asked()
    found = assess(envelope, BRAKING, torque_before=torques[0]).record
    assert (found.rule, found.limit) == ("torque_rate", rate_limit[1])
    assert abs(found.value) == pytest.approx(rates[first, 1], rel=1e-6)
    limit = np.abs(torques).max(axis=0) + 20.0
    limit[1] = np.abs(torques[1:, 1]).max() - 1e-3
    assert abs(torques[0, 1]) < limit[1]
    envelope = with_torque(torque_max_nm=limit, torque_rate_max_nm_s=rates.max(axis=0) + 100.0)
    envelope.space = Asked()
    assert assess(envelope, BRAKING, torque_before=torques[0]).record.rule == "torque"


def test_torques_that_are_not_checked_are_not():
    mode = profile_with().mode("automatic")
    envelope = envelope_with(torque_max_nm=mode.torque_rate_max_nm_s)
    assert joints(envelope, step_at(HOME, acceleration=9.0, joint=1)) is None


@pytest.mark.parametrize(("share", "looks"), [(0.5, False), (0.9, True)])
def test_braking_motions_are_looked_at_where_a_bound_comes_near_the_limit(share, looks, monkeypatch):
    found = assess(envelope_with(), BRAKED)
    swing = np.maximum(found.braking.high_rad - HOME, HOME - found.braking.low_rad).sum()
    assert 0.05 < swing < 0.2  # rad: the bound must stay below 0.7 to 0.92 of the limit
    torque_of(BRAKED)
    bound = ARM.torque_bound(np.maximum(found.braking.peak, np.abs(found.braking.ramp)))
    looked = []
    torques = ARM.torques
    monkeypatch.setattr(ARM, "torques", lambda *motion: (looked.append(1), torques(*motion))[1])
    share = 1.0 - 1.5 * swing + 0.02 if looks else share
    envelope = with_torque(torque_max_nm=bound / share)
    assert joints(envelope, BRAKED) is None
    assert bool(looked) == looks


def test_the_arm_is_left_at_the_steps_posture():
    for envelope in (with_torque(torque_max_nm=[1e3] * 7, torque_rate_max_nm_s=[1e9] * 7), envelope_with()):
        seen = []
        envelope.space = SimpleNamespace(
            contact_speed=lambda *_: np.inf, person_min=lambda *_: 0.0, contact=lambda *_: None,
            speeds_to_rest=lambda *_: None, places=lambda *_: None, person=lambda *_: None,
            speeds=lambda *_, seen=seen: seen.append(ARM.data.xpos.copy()),
        )  # fmt: skip
        assess(envelope, BRAKED, torque_before=torque_of(BRAKED))
        ARM.posture(BRAKED.position)
        np.testing.assert_array_equal(seen[0], ARM.data.xpos)


def test_the_envelope_of_a_mode_has_its_limits_its_boxes_and_the_gripper():
    mode = SafetyProfile.load("fr3").mode("automatic")
    box = mode.workspace.stay_in.model_copy(
        update={"name": "post", "min_m": (0.6, -0.1, 0.0), "max_m": (0.7, 0.1, 0.9)}
    )
    mode = mode.model_copy(update={"workspace": mode.workspace.model_copy(update={"keep_out": (box,)})})
    made = build_envelope(ROBOT, mode, 0.004, "parallel")
    assert made.period_s == 0.004
    assert made.limits.mode is mode
    assert made.limits.robot is ROBOT
    boxes = [name for name in made.space.gaps.names if name.startswith("keep_out:post - ")]
    assert len(boxes) > 5
    by_hand = ArmModel(ROBOT, {"post": (np.array(box.min_m), np.array(box.max_m))}, "parallel")
    posture = made.arm.posture(HOME)
    np.testing.assert_array_equal(posture.points, by_hand.posture(HOME).points)
    gaps = by_hand.gaps(mode.self_distance_min_m.value)
    np.testing.assert_array_equal(made.space.gaps.distances(), gaps.distances())
    without = build_envelope(ROBOT, mode, 0.004, None)
    assert len(without.arm.names) < len(made.arm.names)
