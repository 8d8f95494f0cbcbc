"""rosbag2 MCAP files: joints by name, stamps of the driver, and every message that does not fit is counted."""

import numpy as np
import pytest
from mcap_ros2.writer import Writer
from plant_session import ARRAY, STATE

from robolearn.data.rosbag import read_rosbag
from robolearn.errors import DataError

JOINTS = ("a", "b")


def _state(k, names=("b", "finger", "a"), effort=(), velocity=True):
    n = len(names)
    return {
        "header": {"stamp": {"sec": 5, "nanosec": k * 2_000_000}, "frame_id": ""},
        "name": list(names),
        "position": [10.0 * k + i for i in range(n)],
        "velocity": [0.5] * n if velocity else [],
        "effort": list(effort),
    }


def _bag(path, states, commands, more=()):
    with path.open("wb") as stream:
        writer = Writer(stream)
        state = writer.register_msgdef("sensor_msgs/msg/JointState", STATE)
        array = writer.register_msgdef("std_msgs/msg/Float64MultiArray", ARRAY)
        for k, message in enumerate(states):
            at = 5_000_000_000 + k * 2_000_000 + 700_000
            writer.write_message("/joint_states", state, message, log_time=at, publish_time=at)
        for k, data in enumerate(commands):
            at = 5_000_000_000 + k * 2_000_000
            writer.write_message("/commands", array, {"data": list(data)}, log_time=at, publish_time=at)
        for topic, k, message in more:
            at = 5_000_000_000 + k * 2_000_000
            writer.write_message(topic, state, message, log_time=at, publish_time=at)
        writer.finish()
    return path


def test_joints_are_taken_by_name_and_delays_from_the_stamps(tmp_path):
    bag = _bag(tmp_path / "x.mcap", [_state(k) for k in range(4)], [(k, -k) for k in range(4)])
    motion = read_rosbag(bag, JOINTS)
    assert motion.measured.values["position_rad"].tolist() == [[10.0 * k + 2, 10.0 * k] for k in range(4)]
    assert motion.command.values["position_rad"].tolist() == [[k, -k] for k in range(4)]
    assert motion.delay_s == pytest.approx(np.full(4, 7e-4), abs=1e-6)
    assert motion.missing == ("effort", "wrench")
    assert motion.effort_unit is None
    assert motion.faults == ()


def test_effort_keeps_the_unit_it_was_given(tmp_path):
    states = [_state(k, effort=(1.0, 0.0, 2.0)) for k in range(4)]
    motion = read_rosbag(_bag(tmp_path / "x.mcap", states, [(0, 0)] * 4), JOINTS, effort_unit="Nm")
    assert motion.measured.values["effort"][0].tolist() == [2.0, 1.0]
    assert motion.effort_unit == "Nm"


def test_messages_of_other_joints_are_left_out_and_counted(tmp_path):
    states = [_state(0), _state(1, names=("b",)), _state(2)]
    motion = read_rosbag(_bag(tmp_path / "x.mcap", states, [(0, 0), (1,), (2, 2)]), JOINTS)
    assert len(motion.measured.time_s) == 2
    assert [(f.kind, f.stream, f.count) for f in motion.faults] == [
        ("other joints", "measured", 1),
        ("other joints", "command", 1),
    ]


def test_several_topics_that_fit_must_be_chosen_from(tmp_path):
    bag = _bag(
        tmp_path / "x.mcap",
        [_state(0), _state(1)],
        [(0, 0)] * 2,
        [("/slow", 0, _state(0)), ("/slow", 1, _state(1))],
    )
    with pytest.raises(DataError, match="joint states on /joint_states, /slow. Choose one: --state-topic"):
        read_rosbag(bag, JOINTS)
    assert len(read_rosbag(bag, JOINTS, state_topic="/slow").measured.time_s) == 2
    with pytest.raises(DataError, match="Unknown topic of joint states '/slo'"):
        read_rosbag(bag, JOINTS, state_topic="/slo")


def test_a_bag_without_the_arms_joints_says_what_it_has(tmp_path):
    bag = _bag(tmp_path / "x.mcap", [_state(0)], [(0, 0)])
    with pytest.raises(
        DataError, match=r"no joint states of a, z \(JointState\). Its topics: /commands, /joint_states"
    ):
        read_rosbag(bag, ("a", "z"))


def test_what_is_no_bag_is_refused(tmp_path):
    path = tmp_path / "x.mcap"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="not a rosbag2 MCAP file that can be read"):
        read_rosbag(path, JOINTS)
    with pytest.raises(DataError, match="holds 0 MCAP files"):
        read_rosbag(_empty(tmp_path), JOINTS)


def _empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
