"""The controller's parameters from a profile, and its source for a workspace."""

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.config import config_dir
from robolearn.deploy.controller import (
    NAME,
    controller_parameters,
    controller_source,
    controller_yaml,
    copy_source,
)
from robolearn.errors import ConfigError, ProfileError
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile


def made(name="fr3", **how):
    return controller_parameters(load_robot(name), SafetyProfile.load(name), **how)


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_the_limits_are_the_profiles_and_so_is_the_digest(name):
    profile, parameters = SafetyProfile.load(name), made(name)
    assert parameters["profile_digest"] == profile.digest
    assert parameters["joints"] == list(load_robot(name).joint_names)
    for key in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3", "position_max_rad"):
        widest = np.max([getattr(mode, key).array for mode in profile.modes.values()], axis=0)
        np.testing.assert_array_equal(parameters[key], widest)


def test_a_mode_that_is_narrower_does_not_narrow_the_controller():
    text = (config_dir() / "safety" / "fr3.yaml").read_text()
    slow = (
        "modes:\n  manual_reduced:\n    velocity_max_rad_s: {value: [1, 1, 1, 1, 1, 1, 1], source: here, "
        "trust: integrator, risk_assessment_ref: RA}\n"
    )
    profile = SafetyProfile.from_data(
        yaml.safe_load(text.replace("modes:\n  manual_reduced:\n", slow)), "x", "0"
    )
    assert profile.modes["manual_reduced"].velocity_max_rad_s.value[0] == 1.0
    assert controller_parameters(load_robot("fr3"), profile)["velocity_max_rad_s"][0] == 2.62


def test_every_parameter_that_is_written_is_one_that_the_controller_declares():
    source = (controller_source() / "src" / "stream_controller.cpp").read_text()
    for name in made(interface="effort"):
        assert f'"{name}"' in source, name


def test_efforts_need_limits_that_somebody_states():
    parameters = made(interface="effort")
    assert parameters["torque_max_nm"] == [87.0] * 4 + [12.0] * 3
    assert (
        parameters["torque_rate_max_nm_s"] == [1000.0] * 7
    )  # the manufacturer's, which the profile does not check
    assert all(value > 0.0 for value in parameters["damping_nm_s_rad"])
    with pytest.raises(ConfigError, match=r"torque_rate_max_nm_s.*manufacturer of ur5e publishes none"):
        made("ur5e", interface="effort")
    with pytest.raises(ConfigError, match="velocity"):
        made(interface="velocity")
    with pytest.raises(ProfileError, match="for robot 'ur5e'"):
        controller_parameters(load_robot("fr3"), SafetyProfile.load("ur5e"))


def test_the_file_is_what_a_controller_manager_reads():
    data = yaml.safe_load(controller_yaml(made(stream_rate_hz=250.0), update_rate_hz=500))
    assert data["controller_manager"]["ros__parameters"][NAME] == {
        "type": "robolearn_controller/StreamController",
        "update_rate": 500,
    }
    parameters = data[NAME]["ros__parameters"]
    assert parameters["stream_rate_hz"] == 250.0
    assert parameters["delay_s"] == 0.016
    assert all(isinstance(value, float) for value in parameters["jerk_max_rad_s3"])


def test_the_source_is_copied_into_a_workspace(tmp_path):
    to = copy_source(tmp_path)
    assert (to / "package.xml").is_file()
    (to / "old.txt").write_text("")
    copy_source(tmp_path)
    assert not (to / "old.txt").exists()
    (tmp_path / "other" / NAME).mkdir(parents=True)
    with pytest.raises(ConfigError, match="not a copy"):
        copy_source(tmp_path / "other")
    with pytest.raises(ConfigError, match="is not a folder"):
        copy_source(tmp_path / "none")


def test_the_command(tmp_path):
    out = tmp_path / "controller.yaml"
    done = CliRunner().invoke(app, ["controller", "fr3", "--output", str(out), "--copy-to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert yaml.safe_load(out.read_text())[NAME]["ros__parameters"] == made()
    assert (tmp_path / NAME / "CMakeLists.txt").is_file()
    shown = CliRunner().invoke(app, ["controller", "fr3", "--interface", "effort", "--update-rate", "1000"])
    assert yaml.safe_load(shown.stdout)[NAME]["ros__parameters"] == made(interface="effort")
