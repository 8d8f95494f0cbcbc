"""The three nodes on a simulated arm at 1 kHz whose controller interpolates: robolearn_controller, or trajectories."""

import signal

import numpy as np
import pytest
import rclpy
import ros_standin
from robolearn_ros.observer import Observer

from robolearn.deploy.exercise import exercise
from robolearn.deploy.serving import Serving, free_domain
from robolearn.robots import load_robot

pytestmark = pytest.mark.ros

RATE_HZ = 250.0
GOALS = [[0.5, 0.2, 0.4], [0.45, -0.3, 0.5]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return ros_standin.export_reaching(tmp_path_factory.mktemp("bundle"))


def serve(folder, bundle, domain=None, controller="robolearn"):
    serving = Serving(folder, rate_hz=RATE_HZ, domain_id=domain or free_domain())
    serving.start("sim_node", robot="fr3", rate_hz=1000.0, controller=controller, stream_rate_hz=RATE_HZ,
                  person_sensor=False)  # fmt: skip
    serving.start_safety(log_dir=None, controller=controller)
    serving.start_policy(bundle.path, state_rate_hz=1000.0)
    return serving


@pytest.fixture
def seen():
    """What an operator sees and can call, on a domain of its own."""
    domain = free_domain()
    rclpy.init(domain_id=domain)
    observer = Observer(load_robot("fr3"))
    observer.domain = domain
    yield observer
    observer.node.destroy_node()
    rclpy.try_shutdown()


def test_goals_are_reached_through_it_and_every_stop_and_start_passes(bundle, tmp_path):
    with serve(tmp_path, bundle) as serving:
        result = exercise(serving, GOALS, timeout_s=90.0)
        codes = serving.stop()
        statistics = serving.statistics()["sim_node"]
    assert [goal["reached"] for goal in result["goals"]] == [True, True], result
    assert all(fault["again"]["reached"] for fault in result["faults"]), result
    assert set(codes.values()) == {0}
    assert statistics["controller_malformed"] == 0
    assert statistics["controller_samples_received"] > 1000
    assert statistics["command_acceleration_rad_s2"]["ticks"] > 1000
    assert statistics["command_acceleration_rad_s2"]["max"] <= 10.0


@pytest.mark.parametrize("controller", ["robolearn", "trajectory"])
def test_the_arm_brakes_when_the_safety_node_is_killed_in_motion(controller, seen, bundle, tmp_path):
    with serve(tmp_path, bundle, seen.domain, controller) as serving:
        seen.wait("A start", lambda: seen.call("start")[0], 30.0)
        for _ in range(10):  # a busy machine may stop it before it moves
            seen.send_goal(np.array(GOALS[0]))
            seen.wait("Motion", lambda: seen.speed_rad_s > 0.4 or seen.state == "stopped", 30.0)
            if seen.speed_rad_s > 0.4:
                break
            seen.wait("A reset", lambda: seen.call("reset")[0] and seen.call("start")[0], 30.0)
        serving.nodes["safety_node"].send(signal.SIGKILL)
        seen.wait("Rest", lambda: seen.speed_rad_s < 0.01, 10.0)
        serving.stop()
        statistics = serving.statistics()["sim_node"]
    if controller == "trajectory":
        assert statistics["largest_command_step_rad"] < 0.005
        # One wake-up that is late by a period makes a step of speed: which FR3's published limits refuse.
        assert statistics["command_acceleration_rad_s2"]["p90"] <= 20.0
        assert statistics["refused_commands"] == 0
        return
    assert statistics["controller_state"] == "stopped"
    assert statistics["controller_reason"] == "the stream ended"
    assert statistics["controller_braked_from_rad_s"] > 0.1
    assert statistics["command_acceleration_rad_s2"]["max"] <= 10.0
