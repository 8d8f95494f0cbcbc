"""What takes a calibration: inspect, train, export, eval and serve; with another robot file it is refused."""

import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from robolearn.cli.app import app, main
from robolearn.deploy.deployment import deployment_for, node_parameters
from robolearn.env.task import load_task
from robolearn.errors import CalibrationError, ConfigError
from robolearn.learn.train_config import train_config
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.export import export_policy
from robolearn.robots import load_robot
from robolearn.robots.calibration import Base, Calibration, LogUsed, Quantity, write_calibration

ROBOT = load_robot("ur5e")


def _calibration(path, digest=ROBOT.digest):
    kp = 0.8 * ROBOT.servo.kp_nm_rad[0]
    quantity = Quantity(
        name="stiffness of shoulder_pan_joint", kind="stiffness", joint="shoulder_pan_joint", unit="Nm/rad",
        nominal=ROBOT.servo.kp_nm_rad[0], status="identified", estimate=kp, interval=(0.99 * kp, 1.01 * kp),
    )  # fmt: skip
    servo = ROBOT.servo.model_copy(update={"kp_nm_rad": [kp, *ROBOT.servo.kp_nm_rad[1:]]})
    made = Calibration(
        base=Base(robot="ur5e", file="ur5e", digest=ROBOT.digest), made_utc="2026-11-28T00:00:00+00:00",
        robolearn="0.1.0", logs=[LogUsed(source="a log", digest="a" * 64, duration_s=30.0, verified=True)],
        timestep_s=0.002, effort=True, explained=True, quantities=[quantity], servo=servo,
        ranges={"actuator_gain_scale": {"shoulder_pan_joint": (0.99, 1.01)}},
        ranges_from={"actuator_gain_scale": "fit: 95 % interval of stiffness over its value, 1 joints"},
    )  # fmt: skip
    written = write_calibration(made, path)
    path.write_text(path.read_text().replace(ROBOT.digest, digest))
    return written


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    calibration = _calibration(folder / "ur5e.calibration.yaml")
    task = load_task(f"{folder / 'ur5e.calibration.yaml'}/reach")
    bundle = export_policy(
        task, lambda observation: 0.1 * observation[: task.robot.dof], folder / "still.robolearn", name="still",
        training={"config": {"task": "ur5e/reach"}}, evaluation={}, signing_key=Ed25519PrivateKey.generate(),
    )  # fmt: skip
    return folder, calibration, bundle


def test_the_manifest_names_the_calibration(exported):
    _, calibration, bundle = exported
    again = PolicyBundle.load(bundle.path)
    assert again.manifest.calibration == calibration.summary()
    assert again.manifest.calibration["digest"] == calibration.digest
    assert again.manifest.robot_digest == ROBOT.digest
    assert f"calibrated: ur5e.calibration.yaml, sha256 {calibration.digest}" in again.inspect()


def test_a_calibration_is_inspected(exported):
    folder, calibration, _ = exported
    path = str(folder / "ur5e.calibration.yaml")
    said = CliRunner().invoke(app, ["inspect", path]).output
    assert f"sha256 {calibration.digest}" in said
    assert re.search(
        r"stiffness of shoulder_pan_joint: 48000 Nm/rad \(47520 to 48480, nominal 6e\+04\)", said
    )
    data = json.loads(CliRunner().invoke(app, ["inspect", path, "--json"]).output)
    assert data["calibration_digest"] == calibration.digest
    assert data["base"]["digest"] == ROBOT.digest


def test_a_bundle_is_evaluated_on_a_calibration_and_on_a_plant(exported, tmp_path):
    folder, _, bundle = exported
    for more, name in (
        (["--robot", str(folder / "ur5e.calibration.yaml")], "still-evaluation.json"),
        (["--plant", "ur5e-loaded"], "still-ur5e-loaded-evaluation.json"),
    ):
        words = ["eval", str(bundle.path), "--episodes", "4", "--no-shifts", "-o", str(tmp_path), *more]
        outcome = CliRunner().invoke(app, words)
        assert outcome.exit_code == 0, outcome.output
        written = json.loads((tmp_path / name).read_text())
        assert written["success"]["episodes"] == 4
        assert written.get("plant") == (None if "--robot" in more else "ur5e-loaded")


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "{path}"],
        ["eval", "{bundle}", "--robot", "{path}", "--episodes", "4"],
        ["train", "{path}/reach", "total_steps=16384"],
        ["train", "ur5e/reach", "calibration={path}", "total_steps=16384"],
        ["serve", "{bundle}", "--robot", "{path}", "--sim"],
        ["sysid", "fit", "{folder}", "--robot", "{path}"],
        ["view", "{path}/reach", "--output", "x.mp4"],
    ],
    ids=" ".join,
)
def test_a_calibration_of_another_robot_file_is_refused_everywhere(
    exported, words, tmp_path, capsys, monkeypatch
):
    _, _, bundle = exported
    monkeypatch.chdir(tmp_path)
    _calibration(tmp_path / "other.calibration.yaml", "f" * 64)
    given = {"path": tmp_path / "other.calibration.yaml", "bundle": bundle.path, "folder": tmp_path}
    with pytest.raises(SystemExit) as end:
        main([word.format(**given) for word in words])
    assert end.value.code == 2
    assert "was made with another robot file 'ur5e'" in capsys.readouterr().err.replace("\n", " ")
    assert [file.name for file in tmp_path.iterdir()] == ["other.calibration.yaml"]


def test_a_calibrated_arm_is_served_with_the_deployment_of_its_arm(exported):
    folder, _, _ = exported
    path = str(folder / "ur5e.calibration.yaml")
    served, plain = deployment_for(path), deployment_for("ur5e")
    assert served == plain.model_copy(update={"robot": path})
    nodes = node_parameters(served, "b.robolearn", sim=True)
    assert {node["robot"] for node in nodes.values()} == {path}


def test_a_robot_file_is_no_calibration(tmp_path):
    path = tmp_path / "arm.yaml"
    path.write_text(ROBOT.path.read_text())
    outcome = CliRunner().invoke(app, ["inspect", str(path)])
    assert isinstance(outcome.exception, ConfigError)
    with pytest.raises(ConfigError, match="is a robot file, not a calibration"):
        train_config("ur5e/reach", overrides=[f"calibration={path}"])
    with pytest.raises(CalibrationError):
        load_robot(_damaged(tmp_path / "x.calibration.yaml"))


def _damaged(path):
    _calibration(path)
    path.write_text(path.read_text().replace("kp_nm_rad", "kp_nm"))
    return path
