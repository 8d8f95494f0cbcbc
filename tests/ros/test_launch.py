"""The launch files start every node, with what an integrator wrote once in a deployment file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import launch_standin
import pytest
import ros_standin
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.config import config_path
from robolearn.deploy.deployment import launch_arguments, load_deployment, node_parameters
from robolearn.deploy.ending import SUPERVISOR
from robolearn.deploy.serving import free_domain
from robolearn.policy.approval import approve

LAUNCH = Path(__file__).parents[2] / "ros2_ws" / "src" / "robolearn_ros" / "launch"
CELL = """
robot: fr3
deployment_id: cell 7
rate_hz: 250.0
mode: manual_reduced
state_topic: /cell/joint_states
state_rate_hz: 900.0
command_topic: /cell/commands
person_topic: /cell/person
base_frame: cell
slot_topics: {goal: /cell/goal}
observation_age_max_s: 0.02
trusted_keys: [0a0a]
approver_keys: ["1234", 0b0b]
operator: operator-3
controller: robolearn
rt_priority: 0
discovery_range: SUBNET
interface: all
operators: {anna: 0123456789abcdef}
wrench_frames: {tool0: flange}
"""


def listed(name, *words, cwd=None):
    """{node: [parameters, environment]} of a launch file; what it says where it fails."""
    command = [sys.executable, launch_standin.__file__, "--list", str(LAUNCH / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("arm", ["fr3", "ur5e", "iiwa14"])
def test_an_arms_launch_file_gives_its_nodes_the_parameters_of_its_packaged_deployment(arm):
    given = listed(f"{arm}.launch.py", "bundle:=b.robolearn", "log_dir:=new")
    deployment = load_deployment(f"deploy/{arm}.yaml")
    expected = node_parameters(deployment, "b.robolearn", log_dir="new")
    assert {name: parameters for name, (parameters, _) in given.items()} == expected
    assert list(given) == ["safety_node", "policy_node"]
    assert given["safety_node"][0]["rate_hz"] == {"iiwa14": 100.0}.get(arm, 500.0)
    assert given["policy_node"][0]["command_rate_hz"] == {"iiwa14": 100.0}.get(arm, 500.0)
    assert given["policy_node"][0]["require_approval"]


def test_what_stands_in_a_deployment_file_reaches_the_nodes(tmp_path):
    (tmp_path / "my_fr3.yaml").write_text(CELL)
    given = listed("fr3.launch.py", "deploy:=my_fr3.yaml", "bundle:=b.robolearn", cwd=tmp_path)
    safety, policy = given["safety_node"], given["policy_node"]
    assert safety[1] == policy[1]
    assert safety[1].pop(SUPERVISOR)
    assert safety[1]["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    log = Path(safety[0].pop("log_dir"))
    assert log.name == "safety"
    assert log.parents[1] == tmp_path / "runs" / "launch"
    assert safety[0] == {
        "robot": "fr3", "joint_prefix": "", "rt_priority": 0, "profile": "", "mode": "manual_reduced", "rate_hz": 250.0,
        "state_topic": "/cell/joint_states", "command_topic": "/cell/commands", "person_topic": "/cell/person",
        "controller": "robolearn", "controller_name": "", "controller_rate_hz": 0.0, "check_controller": True,
        "stream_before_start": False, "status_gates": True,
        "wrench_topic": "", "deployment_id": "cell 7", "operator": "operator-3", "operators": ["anna=0123456789abcdef"],
    }  # fmt: skip
    assert policy[0] == {
        "robot": "fr3", "joint_prefix": "", "rt_priority": 0, "bundle": "b.robolearn", "command_rate_hz": 250.0,
        "state_topic": "/cell/joint_states", "state_rate_hz": 900.0, "base_frame": "cell",
        "slot_topics": ["goal=/cell/goal"], "wrench_topic": "", "wrench_frames": ["tool0=flange"],
            "observation_age_max_s": 0.02, "trusted_keys": ["0a0a"],
        "require_approval": True, "approver_keys": ["1234", "0b0b"], "approvals_needed": 1,
    }  # fmt: skip


def test_a_robot_and_a_profile_beside_the_deployment_file_are_found_from_anywhere(tmp_path):
    shutil.copy(
        Path(sys.modules["robolearn"].__file__).parent / "robots" / "fr3.yaml", tmp_path / "my_arm.yaml"
    )
    shutil.copy(config_path("safety/fr3.yaml"), tmp_path / "my_cell.yaml")
    text = config_path("deploy/ros2_control.yaml").read_text()
    text = text.replace("controller: forward", "controller: robolearn")  # the FR3 takes no forward controller
    (tmp_path / "my_deploy.yaml").write_text(text)
    given = listed("policy.launch.py", f"deploy:={tmp_path / 'my_deploy.yaml'}", "bundle:=b.robolearn")
    assert given["safety_node"][0]["robot"] == str(tmp_path / "my_arm.yaml")
    assert given["safety_node"][0]["profile"] == str(tmp_path / "my_cell.yaml")


def test_arguments_of_a_launch_go_before_the_file():
    words = [
        "bundle:=b.robolearn",
        "mode:=manual_reduced",
        "rate_hz:=250",
        "controller_rate_hz:=250",
        "operator:=7",
        "require_approval:=false",
    ]
    given = listed("ur5e.launch.py", *words, "approver_keys:=[abcd]")
    assert given["safety_node"][0]["mode"] == "manual_reduced"
    assert given["safety_node"][0]["rate_hz"] == 250.0
    assert given["safety_node"][0]["operator"] == "7"
    assert given["policy_node"][0]["require_approval"] is False
    assert given["policy_node"][0]["approver_keys"] == ["abcd"]


def test_no_log_is_kept_only_where_that_is_asked_for():
    assert listed("fr3.launch.py", "bundle:=b", "log_dir:=none")["safety_node"][0]["log_dir"] == ""


@pytest.mark.parametrize(("name", "words", "message"), [
    ("fr3.launch.py", ["bundle:=b", "mod:=manual_reduced"],
     "Unknown launch argument 'mod'. Available: "),
    ("policy.launch.py", ["bundle:=b", "mod:=manual_reduced"], "Did you mean 'mode'?"),
    ("sim_demo.launch.py", ["bundle:=b", "sim_:=true"], "Did you mean 'sim'?"),
    ("policy.launch.py", ["robot:=fr3"], "Launch argument 'bundle' is missing"),
    ("policy.launch.py", ["bundle:=b", "robot:=fr4"], "Unknown robot 'fr4'"),
    ("policy.launch.py", ["bundle:=b", "robot:=ros2_control"], "No deployment file is known for the arm"),
    ("fr3.launch.py", ["bundle:=b", "deploy:=deploy/ur5e.yaml"], "for robot 'ur5e', but robot 'fr3' was given"),
    ("fr3.launch.py", ["bundle:=b", "rate_hz:=5"], "key 'rate_hz' is 5"),
    ("fr3.launch.py", ["bundle:=b", "discovery_range:=SUBNET"], "interface is not set"),
    ("fr3.launch.py", ["bundle:=b", "security_keystore:=/nowhere"], "/nowhere is not a keystore: it has no folder"),
    ("fr3.launch.py", ["bundle:=b", "sim:=perhaps"], "'sim' is 'perhaps', expected true or false"),
    ("fr3.launch.py", ["bundle:=b", "approver_keys:=["], "key 'approver_keys' is '[': Input should be a valid list"),
])  # fmt: skip
def test_a_wrong_argument_is_said_in_one_line(name, words, message):
    said = listed(name, *words)
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_every_key_of_a_deployment_has_a_meaning_among_the_arguments():
    assert all(launch_arguments().values())
    assert {"deploy", "bundle", "log_dir", "sim", "approver_keys", "slot_topics"} <= set(launch_arguments())


@pytest.mark.ros
def test_sim_demo_is_launched_and_its_policy_becomes_active(tmp_path):
    bundle = ros_standin.export_reaching(tmp_path)
    said = launched(tmp_path, "sim_demo.launch.py", f"bundle:={bundle.path}", "rate_hz:=250", "log_dir:=log")
    assert "Safety profile: fr3, mode automatic, sha256 " in said
    assert (tmp_path / "log" / "events.jsonl").is_file()


@pytest.mark.ros
def test_an_approved_bundle_is_launched_from_a_deployment_file(tmp_path):
    """The nodes of a real arm; the simulated one is launched beside them as its driver would be."""
    bundle, key = ros_standin.export_reaching(tmp_path), Ed25519PrivateKey.generate()
    approve(bundle.path, key, "reviewer-7")
    text = config_path("deploy/fr3.yaml").read_text().replace("rate_hz: 500.0", "rate_hz: 250.0", 1)
    text = text.replace("state_rate_hz: 0.0", "state_rate_hz: 250.0")
    (tmp_path / "my_fr3.yaml").write_text(
        text.replace("approver_keys: []", f"approver_keys: [{keys.key_id(key)!r}]")
    )
    arm = [sys.executable, "-m", "robolearn_ros.sim_node", "--ros-args", "-p", "rate_hz:=250.0"]
    words = ["deploy:=my_fr3.yaml", f"bundle:={bundle.path}"]
    launched(tmp_path, "fr3.launch.py", *words, beside=arm)


@pytest.mark.ros
@pytest.mark.parametrize("killed", ["policy_node", "safety_node", "sim_node"])
def test_one_nodes_death_ends_the_launch(tmp_path, killed):
    """With -s it shows after how long; what `ros2 launch` itself adds is some hundredths of a second."""
    bundle = ros_standin.export_reaching(tmp_path)
    words = [f"bundle:={bundle.path}", "rate_hz:=250", "log_dir:=log"]
    launched(tmp_path, "sim_demo.launch.py", *words, killed=killed)


def launched(folder, name, *words, beside=None, killed=None):
    """What the nodes of a launch file say; all are up before Ctrl-C, or before one is killed."""
    environment = os.environ | {"ROS_DOMAIN_ID": str(free_domain()), "ROBOLEARN_HOME": str(folder / "home")}
    out, command = (
        folder / "launch.out",
        [sys.executable, launch_standin.__file__, str(LAUNCH / name), *words],
    )
    other = subprocess.Popen(beside, env=environment) if beside else None
    try:
        with out.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60.0
        while not all(text in out.read_text() for text in ("active: reach-by-hand", "Safety profile: ")):
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < deadline, out.read_text()
            time.sleep(0.1)
        if killed is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            assert process.wait(30.0) == 0, out.read_text()
        else:
            nodes = children(process.pid)
            began = time.monotonic()
            os.kill(nodes[killed], signal.SIGKILL)
            assert process.wait(30.0) == signal.SIGKILL, out.read_text()
            print(f"{killed} killed: the launch ended after {time.monotonic() - began:.2f} s")
            assert not any(Path(f"/proc/{pid}").exists() for pid in nodes.values())
    finally:
        if other is not None:
            other.terminate()
            other.wait(10.0)
    return out.read_text()


def children(pid):
    """{node: process id} of a launch."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        found |= {
            word.removeprefix("robolearn_ros."): int(child) for word in words if "robolearn_ros." in word
        }
    return found
