"""`robolearn operate` and `robolearn security`: what they run, in which environment, and what they say."""

import subprocess

import pytest

from robolearn import keys
from robolearn.cli import app as cli
from robolearn.cli import operate as cli_operate
from robolearn.cli import security as cli_security
from robolearn.deploy import security

CELL = "robot: fr3\ndeployment_id: cell 7\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path / "home"))
    for name in (security.ENABLE, security.STRATEGY, security.KEYSTORE, security.ENCLAVE):
        monkeypatch.delenv(name, raising=False)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def started(monkeypatch):
    """The processes that would have been started: (words, environment)."""
    seen = []

    def keep(command, *, env, check):
        seen.append((command[3:], env))
        return subprocess.CompletedProcess(command, 1 if "reset" in command else 0)

    monkeypatch.setattr(cli_operate, "require_ros", lambda: None)
    monkeypatch.setattr(cli_operate.subprocess, "run", keep)
    return seen


@pytest.mark.parametrize(("given", "expected"), [
    (["start"], ["start"]),
    (["stop"], ["stop"]),
    (["status"], ["status"]),
    (["mode", "collaborative", "--as", "anna"], ["--operator", "anna", "mode", "collaborative"]),
    (["start", "--reason", "shift 2"], ["--reason", "shift 2", "start"]),
    (["goal", "0.5", "-0.25", "0.4"], ["goal", "--", "0.5", "-0.25", "0.4"]),
])  # fmt: skip
def test_a_request_is_one_process_on_this_machine(capsys, started, given, expected):
    status, _, _ = run(capsys, "operate", *given)
    assert status == 0
    ((words, environment),) = started
    assert words == expected
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("this_machine.xml")
    assert security.ENCLAVE not in environment


def test_what_the_safety_node_refuses_is_exit_status_1(capsys, started):
    assert run(capsys, "operate", "reset")[0] == 1


def test_a_deployment_gives_the_environment_and_a_key_its_path(capsys, started, tmp_path, monkeypatch):
    (tmp_path / "cell.yaml").write_text(
        CELL + "discovery_range: SUBNET\ninterface: all\nsecurity_keystore: keys\n"
    )
    asked = []
    monkeypatch.setattr(cli_operate, "require_security", lambda environment, nodes: asked.append(nodes))
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "operate", "start", "--deploy", "cell.yaml", "--key", "anna.pem")[0] == 0
    ((words, environment),) = started
    assert words == ["--key", str(tmp_path / "anna.pem"), "start"]
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert environment["ROS_SECURITY_ENCLAVE_OVERRIDE"] == "/robolearn/operator"
    assert environment["ROS_SECURITY_KEYSTORE"] == str(tmp_path / "keys")
    assert asked == [["operator"]]


def test_a_key_is_shown_as_the_line_for_a_deployment_file(capsys, tmp_path):
    status, out, err = run(capsys, "operate", "key")
    key = keys.load_key(tmp_path / "home" / "keys" / "operator.pem")
    assert status == 0
    assert out == f'NAME: "{keys.public_text(key)}"\n'
    assert f"key id {keys.key_id(key)}; replace NAME with your pseudonym." in err
    assert run(capsys, "operate", "key")[1] == out
    status, _, err = run(capsys, "operate", "key", "--key", tmp_path / "anna.pem")
    assert status == 2
    assert "create a key there with --new-key" in err
    assert run(capsys, "operate", "key", "--key", tmp_path / "anna.pem", "--new-key")[0] == 0
    assert (tmp_path / "anna.pem").stat().st_mode & 0o777 == 0o600


def test_a_keystore_is_made_and_checked(capsys, tmp_path, monkeypatch):
    (tmp_path / "cell.yaml").write_text(CELL + "command_topic: /cell/commands\n")
    made = tmp_path / "keys"
    status, out, _ = run(
        capsys, "security", "init", made, "--deploy", tmp_path / "cell.yaml", "--domain", "7"
    )
    assert status == 0
    assert "/robolearn/safety_node" in out
    assert f"{made}: keys for ROS_DOMAIN_ID 7, 730 days." in out
    permissions = (made / "enclaves" / "robolearn" / "safety_node" / "permissions.xml").read_text()
    assert "rt/cell/commands" in permissions
    assert "<id>7</id>" in permissions
    monkeypatch.setattr(cli_security, "require_ros", lambda: None)
    for problem, expected in (("", 0), ("no domain for you", 1)):
        monkeypatch.setattr(cli_security, "middleware_problem", lambda environment, said=problem: said)
        status, out, _ = run(capsys, "security", "check", made)
        assert status == expected
        assert (f"wrong: {problem}" if problem else "a node joined with security enforced") in out
    (made / "enclaves" / "robolearn" / "viewer" / "key.pem").chmod(0o644)
    status, out, _ = run(capsys, "security", "check", made)
    assert status == 1
    assert "enclave /robolearn/viewer: key.pem is readable by other accounts" in out
    status, out, _ = run(capsys, "security", "check", tmp_path)
    assert status == 1
    assert "is not a keystore, or holds no enclave" in out


@pytest.mark.parametrize(("variable", "domain"), [(None, "0"), ("42", "42")])
def test_the_domain_is_that_of_the_environment(capsys, tmp_path, monkeypatch, variable, domain):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    if variable is not None:
        monkeypatch.setenv("ROS_DOMAIN_ID", variable)
    status, out, _ = run(capsys, "security", "init", tmp_path / "keys", "--robot", "ur5e")
    assert status == 0
    assert f"keys for ROS_DOMAIN_ID {domain}," in out


@pytest.mark.parametrize(("arguments", "message"), [
    (("security", "init", "{}/keys", "--domain", "400"), "The domain id is 400, expected 0 to 232."),
    (("security", "init", "{}"), "is not empty. Choose a new folder, or add --renew"),
    (("security", "init", "{}/keys", "--robot", "fr4"), "Did you mean 'fr3'?"),
    (("operate", "start", "--deploy", "nowhere.yaml"), "No config file 'nowhere.yaml'"),
])  # fmt: skip
def test_a_mistake_is_one_line_and_exit_status_2(capsys, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    status, _, err = run(capsys, *(word.format(tmp_path) for word in arguments))
    assert status == 2
    assert message in err
    assert "Traceback" not in err
