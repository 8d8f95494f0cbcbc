"""`robolearn safety ...`: what is printed, whole at every width, and what is refused."""

import re

import numpy as np
import pytest
import yaml
from command_line import run
from rich.console import Console

from robolearn.cli import safety as cli_safety
from robolearn.config import config_path
from robolearn.review.calculations import tcp_masses_kg
from robolearn.robots import load_robot
from robolearn.safety.contact import REGIONS
from robolearn.safety.profile import ModeLimits, SafetyProfile


@pytest.fixture(params=[80, 120, 30])
def width(request, monkeypatch):
    monkeypatch.setattr(cli_safety, "out", Console(width=request.param))
    return request.param


def joined(text):
    """Without line breaks and blanks: what was folded is whole again."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("mode", ["manual_reduced", "automatic", "collaborative"])
@pytest.mark.parametrize("robot", ["fr3", "ur5e"])
def test_limits_prints_every_name_number_source_and_reference(capsys, width, robot, mode):
    status, out, _ = run(capsys, "safety", "limits", robot, "--mode", mode)
    profile, arm = SafetyProfile.load(robot), load_robot(robot)
    assert status == 0
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= width
    if width < 80:
        return
    for name in (*ModeLimits.model_fields, *arm.joint_names):
        assert re.search(rf"\b{name}\b", out), name
    whole = joined(out)
    limits = profile.mode(mode)
    for field in ModeLimits.model_fields:
        limit = getattr(limits, field)
        for part in ("source", "risk_assessment_ref", "not_checked", "edition"):
            assert joined(getattr(limit, part, "")) in whole, (field, part)
    assert profile.digest in whole
    assert joined(profile.risk_assessment_ref) in whole


def test_limits_prints_the_manufacturers_speed_and_curves(capsys):
    _, out, _ = run(capsys, "safety", "limits", "fr3")
    assert re.search(r"tcp_speed_max_m_s +1\.7 +3 +1\.3 +m/s", out)
    assert joined("Manufacturer: frankarobotics/docs 5f28326 robot_specifications.rst") in joined(out)
    for name in load_robot("fr3").file.limits.velocity_curves:
        assert name in out
    assert re.search(r"fr3_joint2 +2\.585 +0\.2517 +-1\.8361 +1\.8361", out)
    assert "sqrt(2 a d) - b" in out


def test_limits_says_what_is_no_number(capsys):
    _, out, _ = run(capsys, "safety", "limits", "fr3", "--mode", "collaborative")
    assert "enabling_device: not used" in out
    assert "contact.quasi_static_regions: lower_arms_wrist, hands_fingers" in out
    assert joined(
        "contact.transient_regions: chest, abdomen, pelvis, upper_arms_elbow, lower_arms_wrist"
    ) in joined(out)
    assert "contact.edition: ISO/TS 15066:2016" in out
    _, out, _ = run(capsys, "safety", "limits", "fr3", "--mode", "manual_reduced")
    assert "enabling_device: required" in out
    assert "separation: not checked" in out


def test_pfl_prints_every_input_of_every_region(capsys):
    """Check values: mR 10.85 kg (UR5e with 2 kg), speeds from the quasi-static force; computed from TS 15066 A.3."""
    status, out, _ = run(capsys, "safety", "pfl", "ur5e", "--payload-kg", "2", "--kind", "quasi_static")
    assert status == 0
    for number in ("10.85", "0.6453", "0.3031", "0.1724", "skull_forehead"):
        assert number in out
    lines = {line.split()[0]: line.split() for line in out.splitlines() if len(line.split()) == 9}
    for name, body in REGIONS.items():
        if body.contact_allowed:
            given = [body.force_n, body.pressure_n_cm2, body.stiffness_n_m, body.mass_kg, 1.0]
            assert [float(word) for word in lines[name][1:6]] == given
    assert joined(load_robot("ur5e").file.moving_mass_kg.source[:20]) in joined(out)
    assert "Pressure is NOT counted" in out


def test_pfl_with_an_area_counts_pressure(capsys):
    status, out, _ = run(capsys, "safety", "pfl", "ur5e", "--area-cm2", "0.5", "--kind", "transient")
    assert status == 0
    assert "NOT counted" not in out
    # chest: 2 x 120 N/cm^2 on 0.5 cm^2 against 1 / (1/40 + 1/8.85) kg and 25 kN/m
    assert re.search(r"chest +140 +120 +25000 +40 +2 +7\.2467 +pressure +0\.2819", out)
    # by the energy: 120 N / sqrt(40 kg 25 kN/m) against any motion, and against the lightest direction of the flange
    light, _ = tcp_masses_kg(load_robot("ur5e"))
    most = 120.0 / np.sqrt(25e3 / (1.0 / 40.0 + 1.0 / light))
    assert re.search(rf"chest +0\.2819 +0\.1200 +{most:.4f}", out)
    assert most > 0.2819


@pytest.mark.parametrize("arguments", [("pfl", "fr3"), ("separation", "fr3")])
def test_nothing_is_cut_at_any_width(capsys, width, arguments):
    status, out, _ = run(capsys, "safety", *arguments)
    assert status == 0
    assert "…" not in out
    if width >= 80:
        names = REGIONS if arguments[0] == "pfl" else ("stopping_time_extra_s", "Zr", "Sp", "2.1100")
        assert all(re.search(rf"\b{name}\b", out) for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("limits", "fr3", "--profile", "ur5e"), "is for robot 'ur5e', not for 'fr3'"),
        (("limits", "fr3", "--profile", "iiwa14"), "is for robot 'iiwa14', not for 'fr3'"),
        (("limits", "fr3", "--mode", "foo"), "Unknown mode 'foo'"),
        (("limits", "fr4"), "Did you mean 'fr3'?"),
        (
            ("pfl", "fr3", "--kind", "foo"),
            "Unknown kind of contact 'foo'. Available: quasi_static, transient",
        ),
        (("pfl", "fr3", "--payload-kg", "-3"), "payload_kg is -3"),
        (("pfl", "fr3", "--payload-kg", "nan"), "payload_kg is nan"),
        (("pfl", "fr3", "--payload-kg", "inf"), "payload_kg is inf"),
        (("pfl", "fr3", "--area-cm2", "0"), "area_cm2 is 0, expected a finite number, above 0"),
        (("pfl", "fr3", "--area-cm2", "nan"), "area_cm2 is nan"),
        (("separation", "fr3", "--speed-m-s", "-1"), "robot_speed_m_s is -1"),
        (("separation", "fr3", "--speed-m-s", "nan"), "robot_speed_m_s is nan"),
        (("separation", "fr3", "--stopping-time-s", "-0.1"), "stopping_time_s is -0.1"),
        (("separation", "fr3", "--stopping-distance-m", "inf"), "stopping_distance_m is inf"),
        (("separation", "fr3", "--mode", "foo"), "Unknown mode 'foo'"),
        (("separation", "fr3", "--resolution-m", "0.07", "--height-m", "0.2"), "needs at least 0.3 m"),
        (("separation", "fr3", "--height-m", "0.3"), "give its resolution_m as well"),
        (("separation", "fr3", "--profile", "ur5e"), "is for robot 'ur5e'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(capsys, arguments, message):
    status, out, err = run(capsys, "safety", *arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("common", "position_min_rad", "value"), [0.0] * 6, "position_min_rad has 6 numbers, the others 7"),
        (("common",), [1], "common must hold"),
        (("modes", "automatic"), [1], "modes.automatic must hold"),
    ],
)
def test_a_profile_of_the_wrong_form_is_refused_in_one_line(capsys, tmp_path, path, value, message):
    data = yaml.safe_load(config_path("safety/fr3.yaml").read_text())
    group = data
    for key in path[:-1]:
        group = group[key]
    group[path[-1]] = value
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(data))
    status, out, err = run(capsys, "safety", "limits", "fr3", "--profile", file)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_separation_works_c_of_another_sensor(capsys):
    status, out, _ = run(capsys, "safety", "separation", "fr3", "--resolution-m", "0.07", "--height-m", "0.3")
    assert status == 0
    assert re.search(r"C +1\.0800 +intrusion", out)
    assert re.search(r"Sp +2\.3400", out)


def test_separation_that_is_not_checked_says_why(capsys):
    status, out, _ = run(capsys, "safety", "separation", "fr3", "--mode", "collaborative")
    assert status == 0
    assert "separation is not checked: contact is allowed" in out
