"""The monitor's limits hold on the grid of the arm's controller, or the deployment is refused."""

import pytest

from robolearn.config import config_dir
from robolearn.deploy.command_grid import check_command_grid
from robolearn.deploy.deployment import deployment_for, load_deployment, node_parameters
from robolearn.errors import ConfigError
from robolearn.robots import load_robot, robot_names

FR3 = load_robot("fr3")


@pytest.mark.parametrize(
    ("rate_hz", "controller", "controller_rate_hz"),
    [
        (1000.0, "forward", 0.0),
        (500.0, "forward", 500.0),
        (500.0, "robolearn", 0.0),
        (333.0, "robolearn", 1000.0),
        (1000.0 * (1 + 1e-7), "forward", 0.0),
    ],
)
def test_the_rate_of_the_controller_or_one_that_interpolates_is_taken(
    rate_hz, controller, controller_rate_hz
):
    check_command_grid(FR3, rate_hz, controller, controller_rate_hz)


@pytest.mark.parametrize(
    ("rate_hz", "controller_rate_hz", "said"),
    [
        (500.0, 0.0, "takes them at 1000 Hz (the robot file of fr3)"),
        (1000.0, 500.0, "takes them at 500 Hz (controller_rate_hz)"),
        (999.0, 0.0, "sent at 999 Hz"),
    ],
)
def test_a_forward_controller_at_another_rate_is_refused(rate_hz, controller_rate_hz, said):
    with pytest.raises(ConfigError) as refused:
        check_command_grid(FR3, rate_hz, "forward", controller_rate_hz)
    assert said in str(refused.value)
    assert "controller: robolearn" in str(refused.value)


def test_an_arm_without_a_ros_interface_says_no_rate(tmp_path):
    check_command_grid(type("Arm", (), {"ros": None})(), 500.0, "forward")


@pytest.mark.parametrize("name", robot_names())
def test_every_packaged_deployment_holds_on_its_grid_real_or_simulated(name):
    deployment = load_deployment(f"deploy/{name}.yaml")
    safety = node_parameters(deployment, "b.robolearn")["safety_node"]
    assert (safety["controller"], safety["controller_rate_hz"]) == (deployment.controller, 0.0)
    simulated = node_parameters(deployment, "b.robolearn", sim=True)
    assert simulated["safety_node"]["controller"] == "forward"
    assert simulated["safety_node"]["controller_rate_hz"] == simulated["sim_node"]["rate_hz"]


def test_a_deployment_whose_controller_repeats_samples_is_refused():
    with pytest.raises(ConfigError, match="takes them at 1000 Hz"):
        node_parameters(deployment_for("fr3", changes={"controller": "forward"}), "b.robolearn")
    with pytest.raises(ConfigError, match="'forward', 'trajectory' or 'robolearn'"):
        deployment_for("fr3", changes={"controller": "joint_trajectory"})


def test_a_shipped_controller_that_breaks_the_manufacturers_limits_is_refused_with_its_figures():
    fast = {"controller": "forward", "rate_hz": 1000.0}
    with pytest.raises(ConfigError) as refused:
        node_parameters(deployment_for("fr3", changes=fast), "b.robolearn")
    assert "controller is 'forward', but forward_command_controller/ForwardCommandController" in str(
        refused.value
    )
    assert "breaks the acceleration limit of fr3, 10 rad/s2 (emulated: p50" in str(refused.value)
    assert node_parameters(deployment_for("fr3", changes=fast), "b.robolearn", sim=True)  # nothing real moves
    with pytest.raises(ConfigError, match=r"JointTrajectoryController breaks .* Use robolearn_controller"):
        node_parameters(deployment_for("fr3", changes={"controller": "trajectory"}), "b.robolearn")


@pytest.mark.parametrize("name", ["ur5e", "iiwa14"])
@pytest.mark.parametrize("controller", ["forward", "trajectory"])
def test_a_shipped_controller_of_an_arm_without_published_limits_is_taken(name, controller):
    safety = node_parameters(deployment_for(name, changes={"controller": controller}), "b.robolearn")[
        "safety_node"
    ]
    assert safety["controller"] == controller
    assert safety["check_controller"] is True
    assert safety["stream_before_start"] is False


def test_every_packaged_file_says_what_its_controller_is():
    for file in (config_dir() / "deploy").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        assert "\ncontroller: " in text
        assert "\ncontroller_rate_hz: " in text
