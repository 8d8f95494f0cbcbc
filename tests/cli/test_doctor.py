import json
import subprocess
import sys

import pytest

from robolearn.cli import app as cli
from robolearn.cli import doctor
from robolearn.cli.doctor import Diagnosis, Finding


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
    monkeypatch.setattr(doctor, "diagnose", lambda folder: Diagnosis(findings))
    code, out = run(capsys, "doctor")
    assert code == status
    assert findings[1].what in out
    assert findings[1].todo in out
    code, out = run(capsys, "doctor", "--json")
    assert code == status
    assert json.loads(out)["fit"] is (status == 0)
    assert json.loads(out)["findings"][1]["todo"] == findings[1].todo


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path):
    diagnosis = doctor.diagnose(tmp_path)
    assert diagnosis.fit, diagnosis.findings
    assert len(diagnosis.findings) == len(doctor.CHECKS) + 1
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


def test_a_key_that_others_may_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    assert doctor.signing_key().state == "ok"
    file = tmp_path / "keys" / "robolearn.pem"
    file.parent.mkdir()
    file.write_text("no key")
    file.chmod(0o644)
    finding = doctor.signing_key()
    assert finding.state == "missing"
    assert "may be read by others" in finding.found


def test_a_full_disk_or_a_folder_that_is_not_there(monkeypatch, tmp_path):
    assert doctor.disk(tmp_path / "nowhere").state == "missing"
    monkeypatch.setattr(doctor, "DISK_FREE_MIN_GB", 1e9)
    assert doctor.disk(tmp_path).state == "optional"
