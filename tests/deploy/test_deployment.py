import shutil
import sys
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robolearn import keys
from robolearn.config import config_dir, config_path
from robolearn.deploy import serving as serve
from robolearn.deploy.deployment import (
    deployment_for,
    load_deployment,
    motion_parameters,
    node_environment,
    node_parameters,
    require_operators,
)
from robolearn.deploy.discovery import discovery_environment
from robolearn.deploy.operators import local_operator, operators_as_list
from robolearn.deploy.serving import parameter_arguments, ros_environment
from robolearn.errors import ConfigError, MissingDependency, RobotError
from robolearn.robots import load_robot


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
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    environment = ros_environment(17)
    assert environment["ROS_DOMAIN_ID"] == "17"
    assert environment["FASTRTPS_DEFAULT_PROFILES_FILE"].endswith("configs/ros2/this_machine.xml")
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SYSTEM_DEFAULT"  # as the profile has it


def test_nodes_announce_themselves_often():
    environment = ros_environment()
    period = ElementTree.parse(environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).find(".//{*}leaseAnnouncement")
    assert period is not None
    assert [part.text for part in period] == ["0", "300000000"]  # s, ns


def test_a_real_arm_keeps_to_this_machine_as_a_simulated_one_does_unless_its_deployment_says_more(
    monkeypatch,
):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    for robot in ("fr3", "ur5e", "iiwa14"):
        assert node_environment(deployment_for(robot)) == discovery_environment()
    subnet = deployment_for("fr3", changes={"discovery_range": "SUBNET", "interface": "all"})
    assert node_environment(subnet) == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    own = deployment_for("fr3", changes={"discovery_range": "SYSTEM_DEFAULT"})
    assert node_environment(own) == {}


@pytest.mark.parametrize("former", ["", "OFF"])
def test_a_discovery_range_of_before_names_what_is_expected(former):
    with pytest.raises(ConfigError, match="Input should be 'LOCALHOST', 'SUBNET' or 'SYSTEM_DEFAULT'"):
        deployment_for("fr3", changes={"discovery_range": former})


def test_operators_are_checked_when_the_deployment_is_read():
    with pytest.raises(ConfigError, match="operators: the key of 'anna' is 'AAAA'"):
        deployment_for("fr3", changes={"operators": {"anna": "AAAA"}})
    with pytest.raises(
        ConfigError, match="nobody could start this arm. Each operator runs `robolearn operate key`"
    ):
        require_operators(deployment_for("fr3"))


def test_a_simulated_arm_may_be_operated_by_this_account_and_a_real_one_by_its_operators_only(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ROBOLEARN_HOME", str(tmp_path))
    anna = Ed25519PrivateKey.generate()
    deployment = deployment_for("fr3", changes={"operators": {"anna": keys.key_id(anna)}})
    require_operators(deployment)
    listed = [f"anna={keys.key_id(anna)}"]
    assert node_parameters(deployment, "b")["safety_node"]["operators"] == listed
    (local,) = operators_as_list(local_operator())
    assert node_parameters(deployment, "b", sim=True)["safety_node"]["operators"] == [*listed, local]
    assert "operators" not in node_parameters(deployment_for("fr3"), "b")["safety_node"]
    mine = deployment_for("fr3", changes={"operators": {"me": local.partition("=")[2]}})
    assert node_parameters(mine, "b", sim=True)["safety_node"]["operators"] == [
        "me=" + local.partition("=")[2]
    ]


def test_what_wheels_leak_is_cleared_only_where_wheels_are(monkeypatch):
    wheels = "/other/lib:/other/lib/python3.12/site-packages/ros_rcl.libs:" + f"{sys.prefix}/lib"
    monkeypatch.setenv("LD_LIBRARY_PATH", wheels)
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: object())
    assert "LD_LIBRARY_PATH" not in ros_environment()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/ws/install/lib:{wheels}")
    assert ros_environment()["LD_LIBRARY_PATH"] == "/ws/install/lib"  # a workspace's own messages
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    assert ros_environment()["LD_LIBRARY_PATH"] == "/elsewhere"


@pytest.mark.parametrize("file", sorted((config_dir() / "deploy").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_packaged_deployment_loads_and_asks_for_approval(file):
    deployment = load_deployment(f"deploy/{file.name}")
    assert deployment.robot == {"ros2_control": "my_arm.yaml"}.get(file.stem, file.stem)
    assert deployment.require_approval
    assert deployment.state_rate_hz == 0.0
    if file.stem != "ros2_control":
        assert node_parameters(deployment, "b.robolearn")["policy_node"]["require_approval"]


def test_a_deployment_with_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'rate_hz'"):
        load_deployment("deploy/fr3.yaml", ["rate_h=1"])


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """A folder with an arm of one's own, its profile and its deployment file; the working directory is another."""
    folder = tmp_path / "cell"
    folder.mkdir()
    shutil.copy(load_robot("fr3").path, folder / "my_arm.yaml")
    shutil.copy(config_path("safety/fr3.yaml"), folder / "my_cell.yaml")
    shutil.copy(config_path("deploy/ros2_control.yaml"), folder / "my_deploy.yaml")
    monkeypatch.chdir(tmp_path)
    return folder


def test_an_arm_of_ones_own_is_found_beside_its_deployment_file(cell):
    found = deployment_for(str(cell / "my_arm.yaml"), cell / "my_deploy.yaml")
    assert found.robot == str(cell / "my_arm.yaml")
    assert found.profile == str(cell / "my_cell.yaml")
    assert deployment_for(deploy=cell / "my_deploy.yaml") == found
    assert deployment_for(deploy=cell / "my_deploy.yaml", changes={"profile": "fr3"}).profile == "fr3"
    given = node_parameters(found, "b.robolearn", sim=True)
    assert {node["robot"] for node in given.values()} == {found.robot}
    assert list(given) == ["sim_node", "safety_node", "policy_node"]


@pytest.mark.parametrize("robot", ["ros2_control", "my_arm.yaml"])
def test_for_an_arm_without_a_deployment_file_it_is_said_what_to_copy(cell, monkeypatch, robot):
    monkeypatch.chdir(cell)
    template = config_dir() / "deploy" / "ros2_control.yaml"
    with pytest.raises(ConfigError) as caught:
        deployment_for(robot)
    assert f"No deployment file is known for the arm '{robot}'. Copy {template}" in str(caught.value)
    assert "--deploy my_deploy.yaml" in str(caught.value)


def test_a_deployment_file_of_another_arm_is_refused(cell):
    with pytest.raises(ConfigError, match="is for robot .*my_arm.yaml', but robot 'ur5e' was given"):
        deployment_for("ur5e", cell / "my_deploy.yaml")
    with pytest.raises(RobotError, match="Did you mean 'fr3'"):
        deployment_for("fr4")


def test_the_simulated_arm_speaks_as_the_deployment_expects(cell):
    topics = {"state_topic": "/mine", "person_topic": "/person", "base_frame": "cell"}
    given = node_parameters(deployment_for("fr3", changes=topics), "b.robolearn", sim=True)
    assert given["sim_node"]["raw_state_topic"] == given["policy_node"]["state_topic"] == "/mine"
    assert given["sim_node"]["person_topic"] == given["safety_node"]["person_topic"] == "/person"
    assert given["sim_node"]["base_frame"] == given["policy_node"]["base_frame"] == "cell"
    assert given["policy_node"]["state_rate_hz"] == given["sim_node"]["rate_hz"] == 500.0
    assert given["policy_node"]["require_approval"] is False
    slow = node_parameters(deployment_for("fr3", changes={"state_topic": "/joint_states"}), "b", sim=True)
    assert slow["sim_node"]["raw_state_topic"] == ""
    assert slow["policy_node"]["state_rate_hz"] == 0.0  # the robot file's


def test_simulated_time_is_given_to_every_node_and_the_simulated_arm_publishes_it():
    simulator = deployment_for("", "deploy/ur5e.yaml", {"use_sim_time": True, "robot": "ur5e+robotiq_2f85"})
    given = node_parameters(simulator, "b")
    assert {name: p.get("use_sim_time") for name, p in given.items()} == dict.fromkeys(
        ("safety_node", "gripper_node", "policy_node"), True
    )
    given = node_parameters(simulator, "b", sim=True)
    assert given["sim_node"]["clock_rate"] == 1.0
    assert "use_sim_time" not in given["sim_node"]
    assert motion_parameters(simulator, "m")["motion_node"]["use_sim_time"] is True
    plain = node_parameters(deployment_for("ur5e"), "b", sim=True)
    assert not any({"use_sim_time", "clock_rate"} & set(p) for p in plain.values())


def test_simulated_time_is_refused_for_an_arm_that_cannot_be_asked_whether_it_is_simulated():
    changes = {"use_sim_time": True, "check_controller": False}
    with pytest.raises(ConfigError, match="use_sim_time needs check_controller"):
        node_parameters(deployment_for("ur5e", changes=changes), "b")


def test_a_place_that_no_sensor_frame_has_is_refused_before_any_node_starts():
    with pytest.raises(
        ConfigError, match="'tool0' is at 'nonsense', expected one of tcp, flange, tcp reversed"
    ):
        node_parameters(
            deployment_for("fr3", changes={"wrench_frames": {"tool0": "nonsense"}}), "b.robolearn"
        )
