import json
import subprocess
import sys

import pytest

from robolearn.cli import app as cli
from robolearn.cli import doctor
from robolearn.cli.doctor import Diagnosis, Finding
from robolearn.deploy.deployment import deployment_for
from robolearn.deploy.keystore import create_keystore
from robolearn.deploy.ros_policies import rights


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return end.value.code or 0, capsys.readouterr().out


FINE = Finding("A", "ok", "there")
LACKS = Finding("B", "optional", "not there", "add [b]")
BROKEN = Finding("C", "missing", "not there", "install c")


def test_only_something_required_makes_a_machine_unfit():
    assert Diagnosis((FINE, LACKS)).fit
    assert not Diagnosis((FINE, BROKEN)).fit


@pytest.mark.parametrize(("findings", "status"), [((FINE, LACKS), 0), ((FINE, BROKEN), 1)])
def test_the_command_says_what_and_what_to_do(capsys, monkeypatch, findings, status):
    monkeypatch.setattr(doctor, "diagnose", lambda folder, deploy: Diagnosis(findings))
    code, out = run(capsys, "doctor")
    assert code == status
    assert findings[1].what in out
    assert findings[1].todo in out
    assert out.endswith("Everything required is present.\n" if status == 0 else "Missing: C.\n")
    code, out = run(capsys, "doctor", "--json")
    assert code == status
    assert json.loads(out)["fit"] is (status == 0)
    assert json.loads(out)["findings"][1]["todo"] == findings[1].todo


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path):
    diagnosis = doctor.diagnose(tmp_path)
    assert diagnosis.fit, diagnosis.findings
    assert len(diagnosis.findings) == len(doctor.CHECKS) + 3
    assert all(finding.todo for finding in diagnosis.findings if finding.state != "ok")
    assert all(finding.found for finding in diagnosis.findings)


def test_a_python_too_old_or_too_new_is_missing(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert doctor.python_version() == Finding("Python", "missing", "3.14.0", "use Python 3.11 to 3.13")


@pytest.mark.parametrize("check", [doctor.training, doctor.graphics_card, doctor.ros])
def test_what_is_not_installed_is_named_with_its_extra(monkeypatch, check):
    monkeypatch.setattr(doctor, "_has", lambda module: False)
    finding = check()
    assert finding.state == "optional"
    assert "pip install 'robolearn[" in finding.todo


@pytest.mark.parametrize(
    "check", [doctor.training, doctor.graphics_card, doctor.ros, doctor.real_time, doctor.rendering]
)
def test_a_probe_that_fails_shows_its_last_line(monkeypatch, check):
    monkeypatch.setattr(doctor, "_has", lambda module: True)
    monkeypatch.setattr(doctor, "_probe", lambda code: (False, "OSError: no such thing"))
    finding = check()
    assert finding.state != "ok"
    assert finding.found == "OSError: no such thing"
    assert finding.todo


def test_a_probe_runs_apart_and_may_crash(monkeypatch):
    assert doctor._probe("print('one'); print('two')") == (True, "two")
    assert doctor._probe("raise OSError('gone')") == (False, "OSError: gone")
    assert doctor._probe("import os; os.abort()")[0] is False

    def late(*arguments, **options):
        raise subprocess.TimeoutExpired("python", 1.0)

    monkeypatch.setattr(subprocess, "run", late)
    assert "no answer" in doctor._probe("pass")[1]


@pytest.mark.parametrize("check", [doctor.training, doctor.graphics_card, doctor.ros, doctor.rendering])
def test_what_is_only_slow_on_a_busy_machine_is_not_missing(monkeypatch, check):
    limits = []

    def late(*arguments, timeout, **options):
        limits.append(timeout)
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(doctor, "_has", lambda module: True)
    monkeypatch.setattr(subprocess, "run", late)
    monkeypatch.setattr("os.getloadavg", lambda: (12.0, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    finding = check()
    assert limits == [3.0 * doctor.PROBE_TIMEOUT_S]  # three processes want each processor
    assert (finding.state, finding.found) == (
        "optional",
        "no answer within 360 s; 3.0 processes per processor want to run",
    )
    assert finding.todo == "the machine is busy: retry when it is idle"


def test_a_wrong_domain_is_named_with_what_may_be_set(monkeypatch):
    monkeypatch.setattr(doctor, "_has", lambda module: True)
    monkeypatch.setenv("ROS_DOMAIN_ID", "233")
    finding = doctor.ros()
    assert finding.state == "missing"
    assert finding.found.startswith("ROS_DOMAIN_ID is 233, expected a whole number from 0 to 232")


def test_a_key_that_others_may_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    assert doctor.signing_key().state == "ok"
    file = tmp_path / "keys" / "robolearn.pem"
    file.parent.mkdir()
    file.write_text("no key")
    file.chmod(0o644)
    finding = doctor.signing_key()
    assert finding.state == "missing"
    assert "is readable by other accounts" in finding.found


def test_a_full_disk_or_a_folder_that_is_not_there(monkeypatch, tmp_path):
    assert doctor.disk(tmp_path / "nowhere").state == "missing"
    monkeypatch.setattr(doctor, "DISK_FREE_MIN_GB", 1e9)
    assert doctor.disk(tmp_path).state == "optional"


def test_what_a_deployment_asks_for_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", ())
    monkeypatch.setattr(doctor, "_security_on_offer", lambda what: FINE)
    cell = tmp_path / "cell.yaml"
    cell.write_text("robot: fr3\ndeployment_id: cell 7\n")
    found = {f.what: f for f in doctor.diagnose(tmp_path, str(cell)).findings}
    assert (found["ROS 2 discovery"].state, found["ROS 2 discovery"].found) == ("ok", "this machine only")
    assert found["Operators"].state == "missing"
    assert "nobody could start this arm" in found["Operators"].found
    cell.write_text(
        "robot: fr3\ndeployment_id: cell 7\nstatic_peers: [10.0.0.7]\noperators: {anna: 0123456789abcdef}\n"
    )
    found = {f.what: f for f in doctor.diagnose(tmp_path, str(cell)).findings}
    assert found["ROS 2 discovery"].state == "missing"
    assert "static_peers is set, but interface is not" in found["ROS 2 discovery"].found
    assert (found["Operators"].state, found["Operators"].found) == ("ok", "anna")


@pytest.mark.parametrize(
    ("days", "state", "todo"), [(5, "optional", "--renew"), (400, "ok", "off the robot's computer")]
)
def test_a_keystore_is_looked_at_and_its_end_told_in_time(tmp_path, monkeypatch, days, state, todo):
    monkeypatch.setattr(doctor, "_has", lambda module: True)
    create_keystore(tmp_path / "keys", rights(deployment_for("fr3")), 0, days=days)
    deployment = deployment_for("fr3", changes={"security_keystore": str(tmp_path / "keys")})
    monkeypatch.setattr(doctor, "require_security", lambda environment, nodes: None)
    finding = doctor.ros_security(deployment)
    assert finding.state == state
    assert finding.found.startswith("enforced; keys valid until 20")
    assert todo in finding.todo


def test_a_keystore_that_cannot_be_enforced_makes_the_machine_unfit(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_has", lambda module: True)
    deployment = deployment_for("fr3", changes={"security_keystore": str(tmp_path)})
    finding = doctor.ros_security(deployment)
    assert finding.state == "missing"
    assert "is not a keystore" in finding.found


@pytest.mark.parametrize(
    ("problem", "found"), [("", "off, available"), ("no keys", "not available: no keys")]
)
def test_without_a_keystore_it_is_told_whether_there_could_be_one(monkeypatch, problem, found):
    monkeypatch.setattr(doctor, "_has", lambda module: True)
    monkeypatch.setattr(doctor, "middleware_problem", lambda environment: problem)
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    finding = doctor.ros_security(None)
    assert finding.state == "optional"
    assert found in finding.found
    assert finding.todo
    monkeypatch.setenv("ROS_DOMAIN_ID", "kitchen")
    assert "ROS_DOMAIN_ID is 'kitchen'" in doctor.ros_security(None).found
