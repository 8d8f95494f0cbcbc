"""A wrench in a sensor's frame at the TCP: axes, lever, sign, and frames that nobody explains."""

import numpy as np
import pytest

from robolearn.errors import ConfigError
from robolearn.robots import load_robot
from robolearn.robots.kinematics import frames, rotation_from_rpy
from robolearn.robots.wrench_frames import sensor_places

FORCE, TORQUE = np.array([3.0, -8.0, 15.0]), np.array([0.2, 0.1, -0.3])


def test_a_wrench_at_the_tcp_stays_as_it_is():
    force, torque = sensor_places(load_robot("fr3"), {})["tcp"].at_tcp(FORCE, TORQUE)
    np.testing.assert_array_equal(force, FORCE)
    np.testing.assert_array_equal(torque, TORQUE)


@pytest.mark.parametrize("name", ["fr3", "ur5e", "iiwa14"])
def test_a_wrench_at_the_flange_has_the_same_power_as_at_the_tcp(name):
    """For any motion, force times speed and torque times turn rate are one number, wherever the wrench is told."""
    robot = load_robot(name)
    q = robot.home_rad + 0.1
    flange, tcp = frames(robot, q, gripper=None), frames(robot, q)
    speeds = np.random.default_rng(0).normal(size=robot.dof)
    told = flange.rotation @ FORCE @ (flange.linear @ speeds) + flange.rotation @ TORQUE @ (
        flange.angular @ speeds
    )
    force, torque = sensor_places(robot, {"tool0": "flange"})["tool0"].at_tcp(FORCE, TORQUE)
    read = tcp.rotation @ force @ (tcp.linear @ speeds) + tcp.rotation @ torque @ (tcp.angular @ speeds)
    assert read == pytest.approx(told, rel=1e-9)
    assert abs(told) > 0.1


def test_a_driver_that_tells_the_reaction_is_reversed():
    places = sensor_places(load_robot("fr3"), {"a": "flange", "b": "flange reversed"})
    for one, other in zip(places["a"].at_tcp(FORCE, TORQUE), places["b"].at_tcp(FORCE, TORQUE), strict=True):
        np.testing.assert_allclose(one, -other)


def test_a_robot_file_says_where_its_sensor_is(tmp_path):
    text = load_robot("ur5e").path.read_text()
    frame = "{sensor: {at: flange, xyz_m: [0.01, 0.0, 0.03], rpy_rad: [0.0, 0.0, 1.5707963267948966]}}"
    path = tmp_path / "own.yaml"
    path.write_text(text.replace("\nros:\n", f"\nros:\n  wrench_frames: {frame}\n"))
    robot = load_robot(path)
    flange, sensor = (sensor_places(robot, {"at_flange": "flange"})[name] for name in ("at_flange", "sensor"))
    turn = rotation_from_rpy([0.0, 0.0, np.pi / 2])
    in_flange = turn @ FORCE
    expected = flange.at_tcp(in_flange, turn @ TORQUE + np.cross([0.01, 0.0, 0.03], in_flange))
    for found, wanted in zip(sensor.at_tcp(FORCE, TORQUE), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_a_place_that_is_none_is_named():
    with pytest.raises(ConfigError, match="'tool0' is at 'wrist', expected one of tcp, flange"):
        sensor_places(load_robot("fr3"), {"tool0": "wrist"})
