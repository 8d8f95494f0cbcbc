"""Contact with a person: which mass is felt, which regions count, and what the monitor makes of both."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from safety_rig import Rig, profile_with
from test_regions import CHEST, ROBOT, Rails, space_of
from variants import profile_data

from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety.contact import ContactLimit, ContactSpeed, Touched, contact_speed, region, two_mass_kg
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import State, Verdict

# chest, short contact, force alone: 280 N, 25 kN/m, 40 kg
SHORT = Touched([("chest", "transient")], None)
AGAINST_10_KG = 280.0 / np.sqrt(8.0 * 25e3)  # 1 / (1 / 40 + 1 / 10) = 8 kg
LIGHT_KG, HEAVY_KG = 40.0 / 39.0, 40.0  # reduced masses of 1 kg and of 20 kg


@pytest.mark.parametrize(
    ("model", "light", "heavy", "floor"),
    [
        ("kinetic_energy", 280.0 / np.sqrt(25e3), 280.0 / np.sqrt(20.0 * 25e3), 0.28),
        ("iso_ts_15066", AGAINST_10_KG, AGAINST_10_KG, AGAINST_10_KG),
        ("stricter", AGAINST_10_KG, 280.0 / np.sqrt(20.0 * 25e3), 0.28),
    ],
)
def test_each_model_allows_its_own_speed_and_the_stricter_the_lower_of_both(model, light, heavy, floor):
    limit = ContactLimit(SHORT, model, 10.0)
    allowed = limit.speeds(np.array([LIGHT_KG, HEAVY_KG]))
    assert allowed.shape == (2,)
    np.testing.assert_allclose(allowed, [light, heavy], rtol=1e-12)
    assert limit.floor_m_s == pytest.approx(floor, rel=1e-12)
    assert limit.constant == (model == "iso_ts_15066")
    assert (limit.energy_floor_m_s, limit.two_mass_m_s) == pytest.approx((0.28, AGAINST_10_KG), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "kind", "area_cm2", "force_n", "by"),
    [
        ("chest", "transient", None, 280.0, "force"),
        ("chest", "quasi_static", None, 140.0, "force"),
        ("chest", "transient", 1.0, 240.0, "pressure"),
        ("chest", "transient", 2.0, 280.0, "force"),
        ("thighs_knees", "transient", 1.0, 440.0, "force"),  # 220 N and 220 N/cm2: both allow as much
    ],
)
def test_the_formula_by_hand(name, kind, area_cm2, force_n, by):
    body = region(name)
    reduced = {"chest": 8.0, "thighs_knees": 75.0 / 8.5}[name]  # against 10 kg
    speed = force_n / np.sqrt(reduced * {"chest": 25e3, "thighs_knees": 50e3}[name])
    near = pytest.approx
    assert contact_speed(body, 10.0, kind, area_cm2) == ContactSpeed(
        name, near(force_n), by, near(reduced), near(speed)
    )


def test_regions_that_do_not_exist_or_must_not_be_touched_are_refused():
    with pytest.raises(ProfileError, match=r"Unknown body region 'chist'.*Did you mean 'chest'"):
        region("chist")
    with pytest.raises(ProfileError, match="Contact with the region 'face' is never allowed"):
        region("face")


def test_the_mass_of_a_region_counts_in_which_is_the_tightest():
    both = Touched([("chest", "transient"), ("hands_fingers", "quasi_static")], None)
    at_1_kg, at_100_kg = both.speeds(np.array([1.0, 100.0]))
    assert at_1_kg == pytest.approx(140.0 * np.sqrt((1.0 / 0.6 + 1.0) / 75e3))
    assert both.tightest(at_1_kg) == ("hands_fingers", "quasi_static")
    assert both.tightest(at_100_kg) == ("chest", "transient")


def test_the_mass_of_the_technical_specification_is_half_of_what_moves_and_the_payload():
    assert two_mass_kg(17.7, 2.0) == pytest.approx(10.85)


def test_the_region_the_kind_and_the_model_that_allow_least_are_named():
    # hands 0.6 kg, 75 kN/m, 140 N clamped; chest 40 kg, 25 kN/m, 280 N short: equal speeds near 1.2 kg
    both = Touched([("chest", "transient"), ("hands_fingers", "quasi_static")], None)
    for mass, named in [(0.5, "hands_fingers"), (10.0, "chest"), (np.inf, "chest")]:
        assert both.tightest(float(both.speeds(np.array(mass))))[0] == named
    limit = ContactLimit(both, "stricter", 10.0)
    assert (
        limit.reason(float(limit.speeds(np.array(0.5))))
        == "chest, transient, by iso_ts_15066: mR = M / 2 + mL"
    )
    heavy = float(limit.speeds(np.array(40.0)))
    assert limit.reason(heavy) == "chest, transient, by kinetic_energy: mR = 2 E / v^2 + mL"
    alone = ContactLimit(both, "kinetic_energy", 10.0)
    assert alone.reason(float(alone.speeds(np.array(0.5)))).startswith(
        "hands_fingers, quasi-static, by kinetic"
    )
    two_mass = alone.two_mass_m_s
    assert two_mass is not None
    assert "by kinetic_energy" in alone.reason(two_mass)


def test_a_region_may_be_clamped_and_touched_shortly_in_one_mode_and_the_lower_speed_holds():
    robot = load_robot("fr3")
    short = CHEST.model_copy(update={"model": "iso_ts_15066"})
    both = short.model_copy(update={"quasi_static_regions": ("chest",)})
    clamped = both.model_copy(update={"transient_regions": ()})
    assert both.contacts == (("chest", "transient"), ("chest", "quasi_static"))
    speeds = [one.speed(robot).floor_m_s for one in (short, both, clamped)]
    assert speeds[1] == speeds[2] == pytest.approx(0.5 * speeds[0], rel=1e-12)
    assert both.speed(robot).reason(speeds[1]).startswith("chest, quasi-static")


def test_the_mass_of_the_specification_allows_the_fr3_what_the_formula_of_pfl_does():
    data = profile_data("fr3", "contact")
    limit = SafetyProfile.from_data(data, "fr3", "0").mode("automatic").contact.speed(load_robot("fr3"))
    # lower legs, clamped: 130 N, 60 kN/m, 75 kg; half of the arm's moving mass, and 1 kg
    moving_kg = load_robot("fr3").moving_mass_kg
    assert moving_kg is not None
    mass = moving_kg / 2.0 + 1.0
    by_hand = 130.0 / np.sqrt(60e3 / (1.0 / 75.0 + 1.0 / mass))
    assert limit.two_mass_m_s == pytest.approx(by_hand, rel=1e-12)
    assert by_hand == pytest.approx(0.18962, rel=1e-4)


# ---- in a profile


def collaborative(**changes):
    data = profile_data("fr3")
    contact = {**data["modes"]["collaborative"]["contact"], **changes}
    data["modes"]["collaborative"]["contact"] = {k: v for k, v in contact.items() if v is not None}
    return SafetyProfile.from_data(data, "fr3", "0")


def test_a_profile_that_names_no_model_gets_the_stricter_of_both():
    assert collaborative(model=None).mode("collaborative").contact.model == "stricter"
    assert collaborative(model="kinetic_energy").mode("collaborative").contact.model == "kinetic_energy"


def test_a_contact_without_any_region_is_refused():
    with pytest.raises(
        ProfileError, match="at least one body region under transient_regions or quasi_static"
    ):
        collaborative(transient_regions=None, quasi_static_regions=[])
    one = collaborative(transient_regions=None).mode("collaborative").contact
    assert one.contacts == (("lower_arms_wrist", "quasi_static"), ("hands_fingers", "quasi_static"))


@pytest.mark.parametrize("model", ["stricter", "iso_ts_15066"])
def test_a_model_that_needs_the_moving_mass_is_refused_for_an_arm_that_does_not_state_it(model):
    robot = load_robot("fr3")
    profile = collaborative(model=model)
    profile.check_against(robot)
    robot = replace(robot, moving_mass_kg=None)
    with pytest.raises(
        ProfileError, match=f"mode collaborative: contact.model '{model}' needs moving_mass_kg"
    ):
        profile.check_against(robot)
    other = collaborative(model="kinetic_energy")
    other.check_against(robot)
    assert other.mode("collaborative").contact.speed(robot).two_mass_m_s is None


# ---- in space


def test_the_constant_model_takes_no_energy():
    arm = Rails(levers=(9.0, 9.0))
    space = space_of(arm, contact=CHEST.model_copy(update={"model": "iso_ts_15066"}))
    del arm.asked[:]
    allowed = 240.0 / np.sqrt(8.0 * 25e3)
    assert space.contact_speed(np.array([9.0, 9.0]), np.full(6, 9.0)) == pytest.approx(allowed, rel=1e-12)
    several = space.contact_speeds(np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 6), 9.0))
    np.testing.assert_allclose(several, [allowed] * 2, rtol=1e-12)
    assert arm.asked == []


def test_every_model_is_shown_whichever_holds():
    # slow motion, 5/3 kg of 40 kg: as in test_regions, 1.2 m/s
    velocity, speeds = np.array([0.2, -0.4]), np.array([0.0, 0.25, 1.0, 0.5, 0.0, 0.125])
    energy = 0.5 * (5.0 / 3.0 - 0.75) * 0.5**2
    expected = {"kinetic_energy": 1.2, "iso_ts_15066": 240.0 / np.sqrt(8.0 * 25e3)}
    for model, holds in [("stricter", "iso_ts_15066"), *((one, one) for one in expected)]:
        space = space_of(Rails(energies=[energy]), contact=CHEST.model_copy(update={"model": model}))
        assert space.contact_speed(velocity, speeds) == pytest.approx(expected[holds], rel=1e-12)
        assert space.contact_speed_by_model(velocity, speeds) == pytest.approx(expected, rel=1e-12)
        slow = space.contact_speed_by_model(velocity, 0.2 * speeds)
        assert slow == pytest.approx({**expected, "kinetic_energy": 0.24}, rel=1e-12)
    assert space_of().contact_speed_by_model(velocity, speeds) == {}
    ROBOT.moving_mass_kg, kept = None, ROBOT.moving_mass_kg
    try:
        space = space_of(Rails(energies=[energy]), contact=CHEST)
        assert list(space.contact_speed_by_model(velocity, speeds)) == ["kinetic_energy"]
    finally:
        ROBOT.moving_mass_kg = kept


def test_the_stricter_of_both_holds_for_each_step():
    arm = Rails(energies=[0.5 * (40.0 / 3.0 - 0.75) * 0.5**2, 1e-3])
    space = space_of(arm, contact=CHEST.model_copy(update={"model": "stricter"}))
    velocities = np.array([[0.2, -0.4], [-0.2, 0.4]])
    speeds = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 0.0]])
    allowed = space.contact_speeds(np.zeros((2, 2)), velocities, speeds)
    np.testing.assert_allclose(allowed, [0.48, 240.0 / np.sqrt(8.0 * 25e3)], rtol=1e-12)


# ---- in the monitor


def run_at(model, joints, speed_rad_s):
    """The last decision and every record of contact of a rig that moves some joints at a speed."""
    contact = SafetyProfile.from_data(profile_data("fr3", "contact"), "fr3", "0").mode("automatic").contact
    contact = contact.model_copy(update={"model": model})
    rig = Rig(profile=profile_with(command_lag_max_rad=3.0, contact=contact))
    decisions = rig.move(1.0, speed_rad_s, joints=joints)
    assert rig.monitor.state is State.RUNNING
    found = [record for decision in decisions for record in decision.records if record.rule == "contact"]
    return SimpleNamespace(last=decisions[-1], found=found)


def test_a_light_wrist_is_limited_by_the_mass_of_the_specification_and_passes_by_its_energy():
    wrist, speed = [4], 1.0
    light = run_at("kinetic_energy", wrist, speed)
    assert light.found == []
    assert light.last.verdict is Verdict.PASS
    for model in ("stricter", "iso_ts_15066"):
        held = run_at(model, wrist, speed)
        assert held.found[0].limit == pytest.approx(0.18962, rel=1e-4)
        assert held.found[0].text.endswith("(lower_legs, quasi-static, by iso_ts_15066: mR = M / 2 + mL)")


def test_joints_that_work_against_each_other_are_limited_by_their_energy():
    """Shoulder and elbow: the hand hardly moves, the arm does."""
    both, speed = [1, 3], 0.46
    half = run_at("iso_ts_15066", both, speed)
    assert half.found == []
    assert half.last.verdict is Verdict.PASS
    for model in ("stricter", "kinetic_energy"):
        held = run_at(model, both, speed)
        assert held.found[0].limit == pytest.approx(0.172, abs=0.003)
        assert "lower_legs, quasi-static, by kinetic_energy" in held.found[0].text
