"""A live controller's parameters against what a deployment expects, in words."""

from dataclasses import replace

import pytest

from robolearn.deploy.arm_controller import (
    ExpectedController,
    controller_node,
    controller_problems,
    controller_topic,
    state_problem,
)

COMMANDS = "/lbr/forward_position_controller/commands"
FORWARD = ExpectedController("forward", "/lbr/forward_position_controller", COMMANDS, ("a", "b", "c"), 100.0)
TRAJECTORY = replace(FORWARD, kind="trajectory", node="/lbr/joint_trajectory_controller", rate_hz=0.0)
ROBOLEARN = replace(
    FORWARD, kind="robolearn", topic="/robolearn/sent_command", rate_hz=0.0, stream_rate_hz=100.0,
    profile_digest="0123456789abcdef",
)  # fmt: skip
GOOD = {"joints": ["a", "b", "c"], "interface_name": "position", "update_rate": 100}
PLAYS = {"joints": ["c", "a", "b"], "command_interfaces": ["position"], "update_rate": 1000}
FILTERS = {
    **GOOD, "joints": ["b", "a", "c"], "update_rate": 1000, "topic": "/robolearn/sent_command", "stream_rate_hz": 100.0,
    "profile_digest": "0123456789abcdef",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "node", "topic"),
    [
        ("forward", "/lbr/forward_position_controller", COMMANDS),
        ("trajectory", "/lbr/joint_trajectory_controller", "/lbr/joint_trajectory_controller/joint_trajectory"),
        ("robolearn", "/lbr/robolearn_controller", "/robolearn/sent_command"),
    ],
)  # fmt: skip
def test_names_follow_from_the_topic_of_the_forward_controller(kind, node, topic):
    assert controller_node(kind, COMMANDS) == node
    assert controller_topic(kind, COMMANDS) == topic


def test_a_topic_without_a_node_above_it_has_the_usual_controller_behind_it():
    assert controller_node("forward", "/commands") == "/forward_position_controller"
    assert controller_node("robolearn", "/commands") == "/robolearn_controller"


@pytest.mark.parametrize(
    ("expected", "found"),
    [(FORWARD, GOOD), (TRAJECTORY, PLAYS), (ROBOLEARN, FILTERS), (ROBOLEARN, FILTERS | {"interface_name": "effort"})],
)  # fmt: skip
def test_a_controller_that_is_as_expected_has_no_problem(expected, found):
    assert controller_problems(expected, found) == []
    assert set(found) <= set(expected.parameters)


@pytest.mark.parametrize("kind", [FORWARD, TRAJECTORY, ROBOLEARN])
@pytest.mark.parametrize("live", [None, False])
def test_the_controller_of_a_real_arm_is_refused_on_simulated_time(kind, live):
    found = {**GOOD, **PLAYS, **FILTERS, "joints": ["a", "b", "c"]}
    found |= {} if live is None else {"use_sim_time": live}
    (said,) = controller_problems(replace(kind, sim_time=True, rate_hz=0.0), found)
    assert (
        "use_sim_time is false, so it is not a simulator's: a real arm is never driven on simulated time"
        in said
    )
    assert (
        controller_problems(replace(kind, sim_time=True, rate_hz=0.0), found | {"use_sim_time": True}) == []
    )


def test_a_simulators_controller_that_compares_stamps_is_refused_on_system_time():
    found = {**PLAYS, **FILTERS, "use_sim_time": True}
    for expected in (TRAJECTORY, ROBOLEARN):
        (said,) = controller_problems(expected, found)
        assert "use_sim_time is true, and these nodes are on system time" in said
    assert controller_problems(FORWARD, GOOD | {"use_sim_time": True}) == []  # its commands have no stamps


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        (FORWARD, GOOD | {"joints": ["b", "a", "c"]},
         "joints: it has them in another order (1 is b, expected a; 2 is a, expected b)"),
        (FORWARD, GOOD | {"joints": ["a", "b"]}, "joints: it lacks c"),
        (FORWARD, GOOD | {"joints": ["a", "b", "c", "d"]}, "joints: it has d too"),
        (FORWARD, GOOD | {"joints": ["l_a", "l_b", "c"]}, "joints: it lacks a, b and has l_a, l_b too"),
        (FORWARD, GOOD | {"joints": ["a", "b", "c", "c"]}, "joints: it has a joint twice"),
        (FORWARD, GOOD | {"joints": []}, "it has no joints"),
        (FORWARD, {**GOOD, "joints": None}, "it has no joints"),
        (FORWARD, GOOD | {"interface_name": "velocity"}, "interface_name is 'velocity', expected 'position'"),
        (FORWARD, {**GOOD, "interface_name": None}, "interface_name is 'None', expected 'position'"),
        (FORWARD, GOOD | {"interface_name": "effort"}, "interface_name is 'effort', expected 'position'"),
        (FORWARD, GOOD | {"update_rate": 1000}, "update_rate is 1000 Hz, expected 100 Hz"),
        (FORWARD, GOOD | {"update_rate": 0}, "update_rate is not known, expected 100 Hz"),
        (TRAJECTORY, PLAYS | {"command_interfaces": ["effort"]},
         "command_interfaces is ['effort'], expected ['position']"),
        (TRAJECTORY, PLAYS | {"joints": ["a", "b"]}, "joints: it lacks c"),
        (ROBOLEARN, FILTERS | {"interface_name": "velocity"},
         "interface_name is 'velocity', expected 'position or effort'"),
        (ROBOLEARN, FILTERS | {"stream_rate_hz": 500.0}, "stream_rate_hz is 500.0, expected 100"),
        (ROBOLEARN, FILTERS | {"topic": "/x"}, "topic is '/x', expected '/robolearn/sent_command'"),
        (ROBOLEARN, FILTERS | {"profile_digest": ""},
         "profile_digest is empty, expected 0123456789ab: write its parameters again with `robolearn controller`"),
    ],
)  # fmt: skip
def test_what_is_not_as_expected_is_named(expected, found, said):
    assert controller_problems(expected, found) == [said]


def test_every_problem_is_named():
    found = {"joints": ["b", "a", "c"], "interface_name": "effort", "update_rate": 500}
    assert len(controller_problems(FORWARD, found)) == 3


def test_only_an_active_controller_takes_commands():
    assert state_problem(FORWARD, "active") == ""
    assert "is inactive, expected active" in state_problem(FORWARD, "inactive")
    assert "it is unknown whether" in state_problem(FORWARD, None)
