"""SROS 2 with real processes.

Where the middleware has DDS Security (ROS 2 from apt): the nodes of a cell work, nobody without keys sees,
publishes or calls anything, and a process with keys does what its enclave may do and no more. Where it has none (the
wheels): nothing starts that was to be protected.
"""

import subprocess
import sys

import pytest
import ros_standin

from robolearn.cli import app as cli
from robolearn.deploy import serve_command as serve
from robolearn.deploy.deployment import deployment_for
from robolearn.deploy.keystore import create_keystore
from robolearn.deploy.ros_policies import rights
from robolearn.deploy.security import enclave_environment, middleware_problem, security_environment
from robolearn.deploy.serving import Serving, free_domain, ros_environment

pytestmark = pytest.mark.ros

LOOK = """
import sys, time, rclpy
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
rclpy.init()
node = rclpy.create_node("viewer")
until = time.monotonic() + float(sys.argv[1])
seen = set()
while time.monotonic() < until and "safety_node" not in seen:
    rclpy.spin_once(node, timeout_sec=0.05)
    seen = set(node.get_node_names()) - {"viewer"}
print("nodes:", " ".join(sorted(seen)))
print("publishers:", node.count_publishers("/robolearn/decision"))

def attempt(what, make, reached):
    try:
        one = make()
        until = time.monotonic() + 3.0
        while time.monotonic() < until and not reached(one):
            rclpy.spin_once(node, timeout_sec=0.05)
        print(what + ":", "reached" if reached(one) else "alone")
    except Exception as error:
        print(what + ":", "refused", str(error).split(",")[0])

attempt("service", lambda: node.create_client(Trigger, "/safety_node/stop"), lambda one: one.service_is_ready())
attempt("command", lambda: node.create_publisher(JointState, "/robolearn/policy_command", 10),
        lambda one: one.get_subscription_count())
"""


@pytest.fixture(scope="module")
def keystore(tmp_path_factory):
    """(folder, domain)."""
    domain = free_domain()
    return create_keystore(
        tmp_path_factory.mktemp("keys") / "cell", rights(deployment_for("fr3")), domain
    ), domain


@pytest.fixture(scope="module")
def problem(keystore):
    """Why the middleware of this machine cannot enforce the keystore; empty where it can."""
    folder, domain = keystore
    environment = ros_environment(domain) | security_environment(folder)
    return middleware_problem(environment | enclave_environment("operator", environment))


def test_the_middleware_enforces_the_keystore_or_says_that_it_cannot(problem):
    assert problem == "" or "was built without DDS Security" in problem


def test_what_was_to_be_protected_is_not_served_without_protection(
    keystore, problem, tmp_path, monkeypatch, capsys
):
    if not problem:
        pytest.skip("this middleware has DDS Security")
    folder, domain = keystore
    bundle = ros_standin.export_reaching(tmp_path)
    (tmp_path / "cell.yaml").write_text(
        f"robot: fr3\ndeployment_id: cell 7\nsecurity_keystore: {folder}\nrequire_approval: false\n"
    )
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setattr(serve, "Serving", lambda *_, **__: pytest.fail("nodes were started"))
    with pytest.raises(SystemExit) as end:
        cli.main(["serve", str(bundle.path), "--sim", "--deploy", str(tmp_path / "cell.yaml")])
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "SROS 2 is required but cannot be enforced: the installed ROS 2 middleware was built without" in said
    )
    assert "Nothing was started" in said


@pytest.fixture(scope="module")
def secured(keystore, problem, tmp_path_factory):
    """The nodes of a simulated cell, each in its enclave."""
    if problem:
        pytest.skip(problem)
    folder, domain = keystore
    changes = ros_environment(domain) | security_environment(folder)
    run = tmp_path_factory.mktemp("secured")
    bundle = ros_standin.export_reaching(run)
    with Serving(run, rate_hz=250.0, domain_id=domain, changes=changes) as serving:
        serving.start_sim()
        serving.start_safety(log_dir=run / "safety", exclusive_publishers=True)
        serving.start_policy(bundle.path)
        serving.wait_until_active(60.0)
        yield serving


def looked(serving, name, seconds):
    """What a process of an enclave, or of none, finds: {what: words}."""
    environment = dict(serving.environment)
    if name:
        environment |= enclave_environment(name, environment)
    else:
        environment |= {"ROS_SECURITY_ENABLE": "false"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(seconds)], capture_output=True, text=True, env=environment, timeout=60,
        check=True,
    )  # fmt: skip
    lines = (line.partition(":") for line in done.stdout.splitlines())  # the middleware writes there too
    return {what: words for what, _, words in lines if what in ("nodes", "publishers", "service", "command")}


def operate(serving, name, *words):
    environment = serving.environment | enclave_environment(name, serving.environment)
    command = [sys.executable, "-m", "robolearn_ros.operate", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_the_own_nodes_work_and_an_operator_starts_and_stops_the_arm(secured):
    assert operate(secured, "operator", "goal", "0.5", "0.2", "0.4").returncode == 0
    started = operate(secured, "operator", "start")
    assert (started.returncode, started.stdout) == (0, "Started by this-machine.\n"), started
    status = operate(secured, "operator", "status")
    assert status.stdout.startswith("running, "), status
    assert operate(secured, "operator", "stop").returncode == 0


def test_without_keys_nobody_sees_calls_or_is_heard(secured):
    found = looked(secured, "", 4.0)
    assert found["nodes"].split() == []
    assert found["publishers"] == " 0"
    assert found["service"] == " alone"
    assert found["command"] == " alone"


def test_with_keys_a_process_sees_the_others_and_may_not_publish_beyond_its_rights(secured):
    found = looked(secured, "viewer", 15.0)
    assert {"safety_node", "policy_node", "sim_node"} <= set(found["nodes"].split())
    assert found["publishers"] == " 1"
    assert found["service"].startswith(" refused")
    assert found["command"].startswith(" refused")


def test_with_other_keys_nobody_operates_the_arm(secured):
    done = operate(secured, "viewer", "start")
    assert done.returncode != 0
    assert "Started" not in done.stdout
