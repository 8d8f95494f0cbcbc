"""`robolearn sysid` on a real safety log: verified first, fitted, written; nothing is written where it is refused."""

import json

import numpy as np
import pytest
from plant_session import plant_log
from recorded import truth
from typer.testing import CliRunner

from robolearn.cli.app import app
from robolearn.data.motion_file import read_motion
from robolearn.errors import ConfigError, DataError, LogError
from robolearn.learn.train_config import train_config
from robolearn.robots import load_robot
from robolearn.robots.calibration import read_calibration


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sysid")
    plant = plant_log(folder / "log", folder / "key.pem", "ur5e")
    return folder / "log", plant


def test_a_safety_log_becomes_a_calibration(log, tmp_path):
    folder, plant = log
    target = tmp_path / "ur5e.calibration.yaml"
    outcome = _run("sysid", "fit", folder, "--robot", "ur5e", "-o", target)
    assert outcome.exit_code == 0, outcome.output
    calibration, robot = read_calibration(target), load_robot("ur5e")
    assert calibration.logs[0].verified is True
    assert calibration.measurement_delay is not None
    right = truth(robot, plant)
    for j, name in enumerate(robot.joint_names):
        lag = calibration.quantity("lag", name)
        assert lag.estimate == pytest.approx(right["lag"][j], rel=2e-3)
        assert lag.interval[0] <= lag.estimate <= lag.interval[1]
    assert calibration.command_delay.estimate_s == pytest.approx(0.012, abs=3e-3)
    page = target.with_suffix(".html").read_text("utf-8")
    assert "Held-out error" in page
    assert "<script" not in page
    assert json.loads(target.with_suffix(".json").read_text())["explained"] is True

    config = train_config(
        "ur5e/reach", overrides=[f"calibration={target}", "env.randomization.action_delay_ms=[1,2]"]
    )
    assert config.task == f"{target}/reach"
    assert config.env["randomization"]["action_delay_ms"] == [1, 2]
    assert set(config.env["randomization"]["joint_friction_scale"]) == set(robot.joint_names)
    assert config.ranges_from["action_delay_ms"] == "the run's config"
    assert config.ranges_from["joint_friction_scale"].startswith("fit: 95 % interval")
    assert config.ranges_from["actuator_gain_scale"] == "default of the task: not identified"
    assert train_config(config.task, overrides=[f"calibration={target}"]).task == config.task
    with pytest.raises(ConfigError, match="is for 'ur5e', not for 'fr3'"):
        train_config("fr3/reach", overrides=[f"calibration={target}"])


def test_a_log_that_was_altered_is_refused_and_nothing_is_written(log, tmp_path):
    folder, _ = log
    altered = tmp_path / "log"
    altered.mkdir()
    for path in folder.iterdir():
        (altered / path.name).write_bytes(path.read_bytes())
    trace = next(altered.glob("trace-*.mcap"))
    data = bytearray(trace.read_bytes())
    data[len(data) // 2] ^= 1
    trace.write_bytes(bytes(data))
    target = tmp_path / "x.calibration.yaml"
    outcome = _run("sysid", "fit", altered, "--robot", "ur5e", "-o", target)
    assert isinstance(outcome.exception, LogError)
    assert "does not verify" in str(outcome.exception)
    assert "--unverified" in str(outcome.exception)
    assert not list(tmp_path.glob("x.*"))


def test_another_arm_and_what_is_no_recording_are_refused(log, tmp_path):
    folder, _ = log
    outcome = _run("sysid", "fit", folder, "--robot", "fr3", "-o", tmp_path / "x.yaml")
    assert isinstance(outcome.exception, DataError)
    assert "is of the arm 'ur5e', not of 'fr3'" in str(outcome.exception)
    outcome = _run("sysid", "fit", tmp_path, "--robot", "ur5e")
    assert "is not a safety log" in str(outcome.exception)
    outcome = _run("sysid", "fit", folder, "--robot", "ur5e", "--effort-unit", "lbft")
    assert "Unknown effort unit 'lbft'" in str(outcome.exception)
    assert not list(tmp_path.iterdir())


def test_a_motion_is_computed_and_checked(tmp_path):
    path = tmp_path / "excite.mcap"
    outcome = _run("sysid", "excite", "ur5e", "-o", path, "--duration", "8", "--rate", "100")
    assert outcome.exit_code == 0, outcome.output
    assert "passed all 801 samples unchanged" in outcome.output.replace("\n", " ")
    motion, robot = read_motion(path), load_robot("ur5e")
    assert motion.joint_names == robot.joint_names
    assert motion.position_rad[0] == pytest.approx(robot.home_rad)
    assert motion.position_rad[-1] == pytest.approx(robot.home_rad)
    assert (np.abs(motion.velocity_rad_s[[0, -1]]) < 1e-3).all()
    assert (np.ptp(motion.position_rad, axis=0) > 0.02).all()
    assert motion.about["robot_digest"] == robot.digest
