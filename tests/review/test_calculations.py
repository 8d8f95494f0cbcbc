import numpy as np
import pytest

from robolearn.errors import ProfileError
from robolearn.review.calculations import (
    contact_table,
    limits_table,
    separation_sum,
    speed_curves,
    unit_of,
    with_sensor,
)
from robolearn.robots import load_robot
from robolearn.safety.contact import REGIONS, Region, Touched, contact_speed, region
from robolearn.safety.people import Reason
from robolearn.safety.profile import NotChecked, SafetyProfile

# mR = 17.7 / 2 + 2.0 = 10.85 kg; computed from tables A.2 and A.3 by somebody else
WORKED = {
    "neck": (1.080498, 0.645348, 1.290697),
    "back_shoulders": (8.534907, 0.384225, 0.768450),
    "chest": (8.534907, 0.303081, 0.606162),
    "abdomen": (8.534907, 0.376525, 0.753049),
    "pelvis": (8.534907, 0.389676, 0.779351),
    "upper_arms_elbow": (2.350181, 0.564911, 1.129822),
    "lower_arms_wrist": (1.688716, 0.615619, 1.231237),
    "hands_fingers": (0.568559, 0.677969, 1.355937),
    "thighs_knees": (9.478742, 0.319567, 0.639135),
    "lower_legs": (9.478742, 0.172382, 0.344764),
}


@pytest.mark.parametrize(("kind", "column"), [("quasi_static", 1), ("transient", 2)])
def test_contact_speeds_match_the_worked_example(kind, column):
    table = contact_table(17.7, 2.0, kind)
    assert {row.region for row in table.rows} == set(WORKED)
    for row in table.rows:
        assert row.reduced_mass_kg == pytest.approx(WORKED[row.region][0], abs=1e-6)
        assert row.speed_m_s == pytest.approx(WORKED[row.region][column], abs=1e-6)
        assert row.limited_by == "force"
    assert next(item for item in table.inputs if item.name.startswith("mR")).value == pytest.approx(10.85)
    assert "A.2" in table.edition


def test_head_and_face_are_never_given_a_speed():
    table = contact_table(17.7, 2.0)
    assert set(table.forbidden) == {"skull_forehead", "face"}
    assert not {"skull_forehead", "face"} & {row.region for row in table.rows}
    for name in table.forbidden:
        with pytest.raises(ProfileError, match="never allowed"):
            region(name)
    with pytest.raises(ProfileError, match="Did you mean 'chest'"):
        region("chset")


def test_pressure_limits_where_the_contact_is_small():
    small = contact_speed(REGIONS["chest"], 10.85, "quasi_static", 0.5)
    assert small.limited_by == "pressure"
    assert small.force_n == pytest.approx(60.0)  # 120 N/cm^2 on 0.5 cm^2
    table = contact_table(17.7, 2.0, "quasi_static", 0.5, ["chest"])
    assert table.rows == (small,)
    assert any(item.unit == "cm^2" for item in table.inputs)


@pytest.mark.parametrize(("kind", "factor"), [("quasi_static", 1.0), ("transient", 2.0)])
def test_the_lower_of_force_and_pressure_counts(kind, factor):
    chest = REGIONS["chest"]  # 140 N, 120 N/cm^2
    even = chest.force_n / chest.pressure_n_cm2
    for area, limited_by, force in (
        (0.5 * even, "pressure", 0.5 * factor * chest.force_n),
        (2.0 * even, "force", factor * chest.force_n),
        (1000.0, "force", factor * chest.force_n),
    ):
        found = contact_speed(chest, 10.0, kind, area)
        assert found.limited_by == limited_by
        assert found.force_n == pytest.approx(force)


def test_where_force_and_pressure_allow_the_same_it_is_the_force():
    assert (
        contact_speed(Region("x", 100.0, 50.0, 1e4, 5.0, 2.0), 10.0, "quasi_static", 2.0).limited_by
        == "force"
    )


def test_an_unknown_region_is_named_as_one():
    with pytest.raises(ProfileError, match="body region 'nose'"):
        region("nose")


def test_an_infinite_mass_gives_the_lowest_speed():
    chest = REGIONS["chest"]
    assert contact_speed(chest, float("inf"), "quasi_static", None).speed_m_s == pytest.approx(
        140 / (40 * 25e3) ** 0.5
    )


def separation(**values):
    numbers = SafetyProfile.load("fr3").mode("automatic").separation
    return numbers.model_copy(
        update={
            name: getattr(numbers, name).model_copy(update={"value": value}) for name, value in values.items()
        }
    )


def test_the_protective_distance_matches_the_worked_example():
    numbers = separation(
        human_speed_m_s=1.6, reaction_time_s=0.1, stopping_time_extra_s=0.0, intrusion_distance_m=0.2,
        sensor_uncertainty_m=0.05, robot_uncertainty_m=0.01,
    )  # fmt: skip
    worked = separation_sum(numbers, 1.0, 0.3, 1.0 * 0.3 / 2)  # constant deceleration from 1 m/s
    assert worked.terms.human_m == pytest.approx(0.64)
    assert worked.terms.reaction_m == pytest.approx(0.10)
    assert worked.terms.stopping_m == pytest.approx(0.15)
    assert worked.total_m == pytest.approx(1.15)
    assert {item.name for item in worked.inputs} >= {"human_speed_m_s", "robot_speed_m_s"}
    assert all(item.source for item in worked.inputs)


def test_what_the_arm_needs_beyond_its_command_counts_at_full_speed():
    without, extra = (
        separation_sum(separation(stopping_time_extra_s=extra), 0.5, 0.2, 0.05).total_m
        for extra in (0.0, 0.1)
    )
    assert extra - without == pytest.approx(0.1 * (1.6 + 0.5))


def test_another_sensor_brings_its_own_c():
    numbers = with_sensor(separation(), "parallel", 0.07, 0.3)
    assert (numbers.intrusion_distance_m.value, numbers.sensor.height_m.value) == (pytest.approx(1.08), 0.3)
    inputs = {item.name: item for item in separation_sum(numbers, 1.0, 0.3, 0.15).inputs}
    assert inputs["C from the sensor"].value == pytest.approx(1.08)
    assert inputs["sensor.height_m"].value == 0.3
    curtain = with_sensor(separation(), "orthogonal", 0.03)
    assert curtain.intrusion_distance_m.value == pytest.approx(0.128)
    assert "sensor.height_m" not in {item.name for item in separation_sum(curtain, 1.0, 0.3, 0.15).inputs}
    for given in (("parallel", 0.0, 0.3), ("parallel", 0.07, -1.0), ("parallel", 0.07, 0.1), ("side", 0.07)):
        with pytest.raises(ProfileError):
            with_sensor(separation(), *given)


def test_the_sensor_is_in_the_table_of_limits():
    robot, profile = load_robot("fr3"), SafetyProfile.load("fr3")
    rows = {row.field: row for row in limits_table(robot, profile, "automatic")}
    assert rows["separation.sensor.resolution_m"].value == 0.07
    assert (
        rows["separation.sensor.intrusion_distance_m"].value == rows["separation.intrusion_distance_m"].value
    )
    assert rows["separation.sensor.approach"].text == "parallel"
    assert "separation.intrusion_below_sensor" not in rows
    mode = profile.mode("automatic")
    reason = Reason(reason="a fence", source="plan", trust="integrator", risk_assessment_ref="RA-1")
    other = NotChecked(not_checked="a camera", risk_assessment_ref="RA-2")
    numbers = mode.separation.model_copy(update={"intrusion_below_sensor": reason, "sensor": other})
    changed = mode.model_copy(update={"separation": numbers})
    profile = profile.model_copy(update={"modes": {**profile.modes, "automatic": changed}})
    rows = {row.field: row for row in limits_table(robot, profile, "automatic")}
    assert (rows["separation.intrusion_below_sensor"].text, rows["separation.intrusion_below_sensor"].source) == (
        "a fence", "plan"
    )  # fmt: skip
    assert (rows["separation.sensor"].text, rows["separation.sensor"].risk_assessment_ref) == (
        "not checked",
        "RA-2",
    )
    assert "C from the sensor" not in {item.name for item in separation_sum(numbers, 1.0, 0.3, 0.15).inputs}


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
@pytest.mark.parametrize("mode", ["manual_reduced", "automatic", "collaborative"])
def test_the_limits_table_has_every_number_with_its_margin(name, mode):
    robot, profile = load_robot(name), SafetyProfile.load(name)
    rows = limits_table(robot, profile, mode)
    fields = {row.field.split(".")[0] for row in rows}
    assert fields >= {"position_min_rad", "tcp_speed_max_m_s", "workspace", "command_age_max_s"}
    for row in rows:
        assert row.source
        assert row.risk_assessment_ref
        assert row.margin is None or row.margin >= 0.0
    velocities = [row for row in rows if row.field == "velocity_max_rad_s"]
    assert [row.where for row in velocities] == list(robot.joint_names)
    assert all(row.manufacturer == pytest.approx(row.value) for row in velocities)
    assert all(row.unit == "rad/s" for row in velocities)


def test_the_manufacturers_tcp_speed_is_in_the_table():
    rows = {row.field: row for row in limits_table(load_robot("fr3"), SafetyProfile.load("fr3"), "automatic")}
    tcp, elbow = rows["tcp_speed_max_m_s"], rows["elbow_speed_max_m_s"]
    assert (tcp.value, tcp.manufacturer, tcp.margin) == (1.7, 3.0, pytest.approx(1.3))
    assert "robot_specifications" in tcp.manufacturer_source
    assert (elbow.manufacturer, elbow.margin, elbow.manufacturer_source) == (None, None, "")
    assert "sets A and B" in rows["position_min_rad"].manufacturer_source
    rows = limits_table(load_robot("iiwa14"), SafetyProfile.load("iiwa14"), "automatic")
    assert next(row for row in rows if row.field == "tcp_speed_max_m_s").manufacturer is None


def test_what_is_no_number_is_in_the_table_in_words():
    rows = {
        row.field: row for row in limits_table(load_robot("fr3"), SafetyProfile.load("fr3"), "collaborative")
    }
    for field, words in (
        ("enabling_device", "not used"),
        ("contact.model", "stricter: both models hold"),
        ("contact.quasi_static_regions", "lower_arms_wrist, hands_fingers"),
        (
            "contact.transient_regions",
            "chest, abdomen, pelvis, upper_arms_elbow, lower_arms_wrist, hands_fingers",
        ),
    ):
        assert rows[field].text == words
        assert rows[field].risk_assessment_ref == "RA-DEMO-FR3/contact"
        assert rows[field].trust == "integrator"
    assert "TS 15066" in rows["contact.edition"].text
    automatic = limits_table(load_robot("fr3"), SafetyProfile.load("fr3"), "automatic")
    assert "PMC5117641" in next(row for row in automatic if row.field == "separation.edition").text


def test_the_manufacturers_speed_curves():
    first, second = speed_curves(load_robot("fr3"))
    assert (first.name, second.name) == ("set_A_docs_2025", "set_B_legacy")
    assert first.decel_rad_s2[:2] == (6.0, 2.585)
    assert first.offset_rad_s[1] == 0.2517
    assert (first.position_min_rad[3], first.position_max_rad[3]) == (-3.077, -0.1169)
    assert first.source
    assert first.trust == "primary"
    assert speed_curves(load_robot("ur5e")) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "transiemt"}, "Did you mean 'transient'"),
        ({"moving_mass_kg": 0.0}, "moving_mass_kg is 0, expected a finite number, above 0"),
        ({"moving_mass_kg": float("inf")}, "moving_mass_kg is inf"),
        ({"payload_kg": -1e-9}, "payload_kg is -1e-09, expected a finite number, zero or above"),
        ({"payload_kg": float("nan")}, "payload_kg is nan"),
        ({"area_cm2": 0.0}, "area_cm2 is 0"),
        ({"area_cm2": -1.0}, "area_cm2 is -1"),
        ({"regions": ["face"]}, "never allowed"),
        ({"regions": ["nose"]}, "Unknown body region"),
    ],
)
def test_impossible_inputs_of_a_contact_are_refused(changes, message):
    contact_table(17.7, 0.0)
    with pytest.raises(ProfileError, match=message):
        contact_table(**({"moving_mass_kg": 17.7, "payload_kg": 2.0} | changes))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", [-1e-9, float("nan"), float("inf")])
def test_impossible_inputs_of_a_separation_are_refused(place, wrong):
    values = [0.0, 0.0, 0.0]
    assert separation_sum(separation(), *values).total_m > 0.0
    values[place] = wrong
    with pytest.raises(ProfileError, match="expected a finite number, zero or above"):
        separation_sum(separation(), *values)


def test_a_contact_table_has_what_the_edition_says_of_each_region():
    table = contact_table(17.7, 2.0, "transient", mass_source="scales", mass_trust="primary")
    assert [body.name for body in table.bodies] == [row.region for row in table.rows]
    assert [table.factor(body) for body in table.bodies] == [2.0] * 10
    assert contact_table(17.7, 2.0, "quasi_static").factor(table.bodies[0]) == 1.0
    assert (table.inputs[0].source, table.inputs[0].trust) == ("scales", "primary")
    assert not table.pressure
    assert contact_table(17.7, 2.0, area_cm2=1.0).pressure


def test_a_check_that_is_not_made_is_in_the_table():
    rows = limits_table(load_robot("fr3"), SafetyProfile.load("fr3"), "automatic")
    contact = next(row for row in rows if row.field == "contact")
    assert contact.value is None
    assert contact.source.startswith("not checked")


def test_planes_and_boxes_are_in_the_table():
    from robolearn.safety.profile import Box, Plane

    profile = SafetyProfile.load("fr3")
    origin = {"source": "s", "trust": "integrator", "risk_assessment_ref": "r"}
    workspace = profile.mode("automatic").workspace.model_copy(
        update={
            "planes": (Plane(name="wall", normal=(0, 1, 0), offset_m=-1.0, **origin),),
            "keep_out": (Box(name="camera", min_m=(0, 0, 0), max_m=(1, 1, 1), **origin),),
        }
    )
    modes = {"automatic": profile.mode("automatic").model_copy(update={"workspace": workspace})}
    rows = limits_table(load_robot("fr3"), profile.model_copy(update={"modes": modes}), "automatic")
    assert next(row for row in rows if row.field == "workspace.plane").where == "wall"
    assert len([row for row in rows if row.field == "workspace.keep_out"]) == 6


@pytest.mark.parametrize(("field", "unit"), [("a_rad_s3", "rad/s^3"), ("b_max_m_s", "m/s"), ("torque_max_nm", "Nm"),
                                             ("x_max_rad", "rad"), ("contact", "1"), ("age_max_s", "s")])  # fmt: skip
def test_units_are_read_from_the_key(field, unit):
    assert unit_of(field) == unit


# force N, lowest pressure N/cm^2 of the region's places, stiffness N/mm, mass kg, factor for short contact
TABLE = {
    "skull_forehead": (130, 110, 150, 4.4, None),
    "face": (65, 110, 75, 4.4, None),
    "neck": (150, 140, 50, 1.2, 2),
    "back_shoulders": (210, 160, 35, 40, 2),
    "chest": (140, 120, 25, 40, 2),
    "abdomen": (110, 140, 10, 40, 2),
    "pelvis": (180, 210, 25, 40, 2),
    "upper_arms_elbow": (150, 190, 30, 3, 2),
    "lower_arms_wrist": (160, 180, 40, 2, 2),
    "hands_fingers": (140, 190, 75, 0.6, 2),
    "thighs_knees": (220, 220, 50, 75, 2),
    "lower_legs": (130, 210, 60, 75, 2),
}


def test_the_table_of_body_regions():
    found = {
        name: (body.force_n, body.pressure_n_cm2, body.stiffness_n_m / 1e3, body.mass_kg, body.transient)
        for name, body in REGIONS.items()
    }
    assert found == TABLE


def test_the_lowest_speed_of_all_regions_counts_for_each_mass():
    # hands: 0.6 kg, 75 kN/m, 280 N; chest: 40 kg, 25 kN/m, 240 N by pressure; abdomen: 40 kg, 10 kN/m, 220 N
    several = Touched([(name, "transient") for name in ("hands_fingers", "chest", "abdomen")], 1.0)
    # 240 / sqrt(40 * 25000) against an arm of any mass; 0.6 and 0.2 kg are 0.15 kg together: 280 / sqrt(0.15 * 75000)
    np.testing.assert_allclose(several.speeds(np.array([np.inf, 0.2])), [0.24, 2.6398653], rtol=1e-7)
    assert several.speeds(np.array(0.2)) == pytest.approx(2.6398653, rel=1e-7)


@pytest.mark.parametrize(
    ("kind", "area_cm2", "force_n"), [("quasi_static", 1.0, 120.0), ("transient", 2.0, 280.0)]
)
def test_the_kind_and_the_area_of_a_contact_count(kind, area_cm2, force_n):
    allowed = Touched([("chest", kind)], area_cm2).speeds(np.array([np.inf]))
    np.testing.assert_allclose(allowed, [force_n / 1000.0], rtol=1e-12)  # sqrt(40 kg * 25 kN/m)


def test_the_head_may_not_be_touched():
    with pytest.raises(ProfileError, match="'face' is never allowed"):
        Touched([("chest", "transient"), ("face", "transient")], None)
