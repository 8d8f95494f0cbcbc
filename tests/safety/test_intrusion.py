"""C of the separation distance: from the sensor, and whether a profile's C fits the sensor that it states."""

import pytest
from variants import profile_data

from robolearn.errors import ProfileError
from robolearn.safety.iso_13855 import intrusion_distance_m, lowest_height_m
from robolearn.safety.profile import SafetyProfile

ORIGIN = {"source": "s", "trust": "integrator", "risk_assessment_ref": "r"}


@pytest.mark.parametrize(
    ("resolution_m", "expected"),
    [(0.010, 0.0), (0.014, 0.0), (0.030, 0.128), (0.040, 0.208), (0.041, 0.85), (0.070, 0.85)],
)
def test_at_right_angles_c_follows_from_the_resolution(resolution_m, expected):
    assert intrusion_distance_m("orthogonal", resolution_m) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("height_m", "expected"), [(0.3, 1.08), (0.5, 1.0), (0.874, 0.8504), (0.875, 0.85), (1.0, 0.85)]
)
def test_above_the_floor_c_follows_from_the_height(height_m, expected):
    assert intrusion_distance_m("parallel", 0.07, height_m) == pytest.approx(expected)


def test_a_coarse_sensor_is_mounted_higher():
    assert lowest_height_m(0.07) == pytest.approx(0.3)
    assert lowest_height_m(0.04) == 0.0
    assert intrusion_distance_m("parallel", 0.05, 0.0) == pytest.approx(1.2)
    with pytest.raises(
        ProfileError, match=r"height_m is 0.29, but a resolution of 0.07 m needs at least 0.3 m"
    ):
        intrusion_distance_m("parallel", 0.07, 0.29)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("orthogonal", 0.07, 0.3), "approach 'orthogonal' has no use for height_m"),
        (("parallel", 0.07, None), "approach 'parallel' needs height_m"),
        (("paralel", 0.07, 0.3), "Unknown approach 'paralel'.*Did you mean 'parallel'"),
    ],
)
def test_what_does_not_fit_the_approach_is_refused(given, message):
    with pytest.raises(ProfileError, match=message):
        intrusion_distance_m(*given)


# ---- in a profile


def separation(c_m=0.85, below=None, **sensor):
    """Of a profile with another C and another sensor."""
    data = profile_data("fr3")
    numbers = data["common"]["separation"]
    numbers["intrusion_distance_m"]["value"] = c_m
    numbers["sensor"] = sensor["sensor"] if "sensor" in sensor else {**numbers["sensor"], **sensor}
    if below is not None:
        numbers["intrusion_below_sensor"] = {"reason": below, **ORIGIN}
    return SafetyProfile.from_data(data, "fr3", "0").mode("automatic").separation


@pytest.mark.parametrize("robot", ["fr3", "ur5e", "iiwa14"])
def test_c_of_every_packaged_profile_is_that_of_its_sensor(robot):
    numbers = SafetyProfile.load(robot).mode("automatic").separation
    assert numbers.sensor.intrusion_distance_m == numbers.intrusion_distance_m.value == 0.85
    assert numbers.intrusion_below_sensor is None


def test_a_c_below_that_of_the_sensor_is_refused_and_one_above_is_not():
    with pytest.raises(
        ProfileError, match=r"intrusion_distance_m is 0.2, but C = max.*gives 0.85 m"
    ) as refused:
        separation(0.2)
    assert "say under intrusion_below_sensor {reason" in str(refused.value)
    with pytest.raises(ProfileError, match="intrusion_distance_m is 0.8499"):
        separation(0.8499)
    assert separation(0.85).intrusion_distance_m.value == 0.85
    assert separation(1.5).intrusion_distance_m.value == 1.5
    with pytest.raises(ProfileError, match="gives 1.08 m"):
        separation(0.85, height_m={"value": 0.3, **ORIGIN})


def test_a_c_below_that_of_the_sensor_needs_a_reason_with_a_source():
    reason = separation(0.2, below="a fence holds hands back").intrusion_below_sensor
    assert reason is not None
    assert reason.reason == "a fence holds hands back"
    with pytest.raises(ProfileError, match="intrusion_below_sensor has a reason, but .* is not below"):
        separation(0.85, below="a fence holds hands back")
    data = profile_data("fr3")
    data["common"]["separation"]["intrusion_distance_m"]["value"] = 0.2
    data["common"]["separation"]["intrusion_below_sensor"] = {"reason": "because"}
    with pytest.raises(ProfileError, match="intrusion_below_sensor"):
        SafetyProfile.from_data(data, "fr3", "0")


def test_a_sensor_that_is_mounted_too_low_is_refused():
    with pytest.raises(ProfileError, match=r"separation.*sensor: height_m is 0.2, but"):
        separation(2.0, height_m={"value": 0.2, **ORIGIN})


def test_a_sensor_to_which_no_formula_applies_says_so():
    other = {"not_checked": "a camera over the cell", "risk_assessment_ref": "RA"}
    assert separation(0.2, sensor=other).sensor.not_checked == "a camera over the cell"
    with pytest.raises(ProfileError, match="is not below: sensor is not checked"):
        separation(0.2, below="less", sensor=other)
    data = profile_data("fr3")
    del data["common"]["separation"]["sensor"]
    with pytest.raises(ProfileError, match="sensor"):
        SafetyProfile.from_data(data, "fr3", "0")


def test_a_fine_light_curtain_needs_less():
    curtain = {"approach": "orthogonal", "resolution_m": {"value": 0.03, **ORIGIN}, **ORIGIN}
    assert separation(0.128, sensor=curtain).sensor.height_m is None
    with pytest.raises(ProfileError, match=r"C = max\(0, 8 \(d - 14\)\).* gives 0.128 m"):
        separation(0.127, sensor=curtain)
