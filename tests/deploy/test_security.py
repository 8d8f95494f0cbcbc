"""If SROS 2 is required and cannot be enforced, nothing starts, and says why."""

import pytest

from robolearn.deploy import security
from robolearn.deploy.deployment import (
    deployment_for,
    load_deployment,
    motion_parameters,
    node_environment,
    node_parameters,
)
from robolearn.deploy.keystore import create_keystore
from robolearn.deploy.ros_policies import rights
from robolearn.deploy.security import enclave_environment, require_security, security_environment
from robolearn.errors import ConfigError

NODES = ("safety_node", "policy_node")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (security.ENABLE, security.STRATEGY, security.KEYSTORE, security.ENCLAVE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory):
    return create_keystore(tmp_path_factory.mktemp("keys") / "cell", rights(deployment_for("fr3")), 42)


def test_a_keystore_is_enforced_and_each_node_gets_its_enclave(keystore):
    environment = security_environment(keystore)
    assert environment == {
        "ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(keystore),
    }  # fmt: skip
    assert enclave_environment("safety_node", environment) == {
        "ROS_SECURITY_ENCLAVE_OVERRIDE": "/robolearn/safety_node"
    }
    assert security_environment("") == enclave_environment("safety_node", {}) == {}


def test_the_keystore_of_a_deployment_lies_beside_its_file(tmp_path, monkeypatch):
    (tmp_path / "cell.yaml").write_text("robot: fr3\ndeployment_id: cell 7\nsecurity_keystore: keys\n")
    monkeypatch.chdir("/")
    deployment = load_deployment(tmp_path / "cell.yaml")
    assert deployment.security_keystore == str(tmp_path / "keys")
    assert node_environment(deployment)["ROS_SECURITY_KEYSTORE"] == str(tmp_path / "keys")
    assert "ROS_SECURITY_ENABLE" not in node_environment(deployment_for("fr3"))


def test_without_it_nothing_is_required():
    require_security({}, NODES)


@pytest.mark.parametrize("given", [{}, {"ROS_SECURITY_STRATEGY": "Permissive"}])
def test_security_that_lets_nodes_without_keys_start_is_refused(monkeypatch, given):
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    with pytest.raises(
        ConfigError, match="a node without keys would start without security. Set it to Enforce"
    ):
        require_security(given, NODES)


def test_a_keystore_without_the_nodes_enclaves_is_refused(tmp_path, keystore):
    with pytest.raises(ConfigError, match="is not a keystore.* Nothing was started"):
        require_security(security_environment(tmp_path), NODES)
    with pytest.raises(ConfigError, match="enclave /robolearn/painter lacks identity_ca.cert.pem"):
        require_security(security_environment(keystore), ["painter"])


def test_every_node_that_is_started_has_an_enclave(monkeypatch, tmp_path, keystore):
    monkeypatch.setattr(security, "middleware_problem", lambda _: "")
    deployment = deployment_for("fr3")
    for nodes in (
        node_parameters(deployment, "b", sim=True),
        motion_parameters(deployment, "m.mcap", sim=True),
    ):
        require_security(security_environment(keystore), nodes)
    enforced = security_environment(keystore)
    assert enclave_environment("motion_node", enforced) == enclave_environment("policy_node", enforced)
    grip = deployment_for("fr3+franka_hand")
    other = create_keystore(tmp_path / "cell", rights(grip), 42)
    assert "gripper_node" in node_parameters(grip, "b")
    require_security(security_environment(other), node_parameters(grip, "b"))


def test_what_the_middleware_says_is_passed_on(monkeypatch, keystore):
    monkeypatch.setattr(security, "middleware_problem", lambda environment: environment[security.ENCLAVE])
    with pytest.raises(ConfigError, match="cannot be enforced: /robolearn/safety_node. Nothing was started"):
        require_security(security_environment(keystore), NODES)


def test_a_node_that_hangs_is_a_problem(monkeypatch):
    monkeypatch.setattr(security, "_PROBE", "import time; time.sleep(9)")
    monkeypatch.setattr(security, "PROBE_TIMEOUT_S", 0.2)
    assert security.middleware_problem({}) == "a node did not start within 0.2 s"


def test_whatever_else_the_middleware_says_is_its_last_line(monkeypatch):
    monkeypatch.setattr(security, "_PROBE", "import sys; sys.exit('no\\nno permission for this domain')")
    assert security.middleware_problem({}) == "the middleware refuses: no permission for this domain"


@pytest.mark.parametrize("domain", ["kitchen", "-1", "233", "1e2"])
def test_a_domain_that_is_none_is_refused(monkeypatch, domain):
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    with pytest.raises(
        ConfigError, match=f"ROS_DOMAIN_ID is '?{domain}'?, expected a whole number from 0 to 232"
    ):
        security.require_middleware()


def test_only_another_middleware_is_tried(monkeypatch):
    tried = []

    def problem(environment):
        tried.append(environment["RMW_IMPLEMENTATION"])
        return "the middleware refuses: no such library"

    monkeypatch.setattr(security, "middleware_problem", problem)
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    security.require_middleware()
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    security.require_middleware()
    assert tried == []
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_pigeon_cpp")
    with pytest.raises(
        ConfigError, match="RMW_IMPLEMENTATION is 'rmw_pigeon_cpp', and no node starts with it: the"
    ):
        security.require_middleware()
    assert tried == ["rmw_pigeon_cpp"]
