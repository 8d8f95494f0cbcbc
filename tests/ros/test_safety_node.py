"""The safety node in this process, cycle by cycle, without a running loop."""

import time
from types import SimpleNamespace

import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from robolearn_ros.messages import joint_state, qos, time_message
from robolearn_ros.safety_node import SafetyNode
from sensor_msgs.msg import Joy, Range

from robolearn.deploy.operators import OperatorRequest
from robolearn.safety.types import State

pytestmark = pytest.mark.ros

START = OperatorRequest("start", "", "anna", "", "0123456789abcdef")
RESET = OperatorRequest("reset", "", "anna", "cell checked", "0123456789abcdef")


@pytest.fixture
def safety():
    rclpy.init(args=["--ros-args", "-p", "controller_rate_hz:=500.0"], domain_id=101)
    node = SafetyNode()
    yield node
    node.close()
    node.node.destroy_node()
    rclpy.shutdown()


def watch(safety, monkeypatch):
    """Whether a stop was requested, cycle by cycle."""
    asked, check = [], safety.monitor.check

    def checked(command, measured, surroundings, now_s):
        asked.append(surroundings.stop_requested)
        return check(command, measured, surroundings, now_s)

    monkeypatch.setattr(safety.monitor, "check", checked)
    return asked


def decisions(safety, monkeypatch):
    """What is decided, cycle by cycle."""
    told = []
    monkeypatch.setattr(safety._decisions, "tell", lambda decision, *_: told.append(decision))
    return told


class Listened:
    """A node of which the graph says that a controller listens."""

    def __init__(self, node):
        self.node = node

    def get_subscriptions_info_by_topic(self, topic):
        node, _, _ = topic.rpartition("/")
        namespace, _, name = node.rpartition("/")
        return [SimpleNamespace(node_name=name, node_namespace=namespace or "/")]

    def __getattr__(self, name):
        return getattr(self.node, name)


def hear_person(safety, monkeypatch):
    """One message of a person sensor that says 5 m."""
    message = Range(range=5.0, max_range=20.0)
    message.header.stamp = time_message(safety.clock, time.monotonic_ns())
    polled = safety.inputs.signals.polled[0]
    monkeypatch.setattr(polled, "take_numbered", lambda: [(1, message)])
    safety._take()
    monkeypatch.setattr(polled, "take_numbered", list)


def hear_policy(safety, monkeypatch):
    """One command of a policy that holds home; when it was stamped, s."""
    now_ns, home = time.monotonic_ns(), safety.robot.home_rad
    message = joint_state(time_message(safety.clock, now_ns), safety.robot.joint_names, home, 0.0 * home)
    monkeypatch.setattr(safety.inputs.commands, "take", lambda: [message])
    safety._take()
    return now_ns / 1e9


def test_an_error_in_the_cycle_asks_for_a_stop_and_the_loop_goes_on(safety, monkeypatch):
    asked, tell = watch(safety, monkeypatch), safety._decisions.tell
    monkeypatch.setattr(safety._decisions, "tell", lambda *_: 1 / 0)
    safety.tick(time.monotonic_ns())
    monkeypatch.setattr(safety._decisions, "tell", tell)
    safety.tick(time.monotonic_ns())
    safety.tick(time.monotonic_ns())
    assert asked == [False, True, False]


def test_messages_that_cannot_be_read_ask_for_a_stop_at_once(safety, monkeypatch):
    asked = watch(safety, monkeypatch)
    monkeypatch.setattr(safety, "_take", lambda: 1 / 0)
    safety.tick(time.monotonic_ns())
    assert asked == [True]


def test_messages_are_not_from_the_future_where_the_cycle_is_held_up_while_it_takes_them(safety, monkeypatch):
    def late():
        time.sleep(0.012)  # more than a profile lets a stamp be ahead
        return [
            joint_state(time_message(safety.clock, time.monotonic_ns()), robot.joint_names, home, 0.0 * home)
        ]

    robot = safety.robot
    home = robot.home_rad
    monkeypatch.setattr(safety.inputs.states, "take", late)
    told = decisions(safety, monkeypatch)
    until = time.monotonic() + 20.0
    while not (told and told[-1].publish) and time.monotonic() < until:  # until the arm's position is known
        safety.tick(time.monotonic_ns())
    assert told[-1].publish
    assert told[-1].records[0].rule == "start"


def test_nothing_is_published_before_a_first_measurement(safety, monkeypatch):
    assert safety.monitor.state is State.HOLDING
    told = decisions(safety, monkeypatch)
    safety.tick(time.monotonic_ns())
    assert not told[0].publish
    assert safety.diagnostics.latency.count == 0


def test_a_service_call_that_fails_is_answered_and_stops(safety, monkeypatch):
    asked, reply = watch(safety, monkeypatch), safety.calls.put(lambda _: 1 / 0)
    safety.tick(time.monotonic_ns())
    assert asked == [True]
    answer = reply.get_nowait()
    assert not answer.accepted
    assert "ZeroDivisionError" in answer.text


def test_whoever_cannot_be_heard_on_the_enabling_device_is_named(safety):
    stranger = rclpy.create_node("stranger")
    stranger.create_publisher(Joy, "/robolearn/enabling_device", qos(1, reliable=False))
    until = time.monotonic() + 10.0
    while "fit" not in safety.diagnostics.problems and time.monotonic() < until:
        safety._watch_fit()
        time.sleep(0.05)
    stranger.destroy_node()
    expected = "stranger and this node have incompatible QoS on /robolearn/enabling_device"
    assert expected in safety.diagnostics.problems["fit"]


def test_stop_at_rest_has_nothing_to_do(safety):
    answer = safety._stop(1.0)
    assert answer.accepted
    assert "Nothing moves" in answer.text


def test_no_start_while_no_controller_listens(safety):
    answer = safety._start(1.0, START)
    assert not answer.accepted
    assert "/forward_position_controller does not subscribe to" in answer.text
    assert safety.monitor.state is State.HOLDING


def test_no_start_before_the_person_sensor_was_heard(safety, monkeypatch):
    monkeypatch.setattr(safety.publishers, "_node", Listened(safety.node))
    answer = safety._start(1.0, START)
    assert answer.text == "No start: nothing was received from the person sensor on /robolearn/person_range."
    assert safety.monitor.state is State.HOLDING
    hear_person(safety, monkeypatch)
    heard_s = hear_policy(safety, monkeypatch)
    monkeypatch.setattr(type(safety.output), "problem", "")  # the guard has had no time to start
    assert "no position of the arm" in safety._start(heard_s, START).text


def test_no_start_while_no_policy_is_heard(safety, monkeypatch):
    monkeypatch.setattr(safety.publishers, "_node", Listened(safety.node))
    hear_person(safety, monkeypatch)
    topic = "/robolearn/policy_command"
    answer = safety._start(time.monotonic(), START)
    assert answer.text == f"No start: no command has come on {topic} yet: is the policy node running?"
    heard_s = hear_policy(safety, monkeypatch)
    wait_s = safety.monitor.limits.mode.first_command_wait_max_s.value
    monkeypatch.setattr(type(safety.output), "problem", "")  # the guard has had no time to start
    assert "no position of the arm" in safety._start(heard_s + wait_s - 1e-6, START).text  # beside rounding
    answer = safety._start(heard_s + wait_s + 1.0, START)
    assert answer.text == f"No start: no command has come on {topic} for 3.0 s: is the policy node running?"
    assert safety.monitor.state is State.HOLDING
    safety.monitor._state = State.STOPPED
    assert safety._start(heard_s + wait_s + 1.0, START).text.endswith("the monitor is stopped. Reset first.")


def test_neither_start_nor_reset_while_somebody_else_publishes_what_the_monitor_reads(safety, monkeypatch):
    monkeypatch.setattr(safety.publishers, "_node", Listened(safety.node))
    monkeypatch.setattr(safety.publishers, "look", lambda: None)
    found = "2 publishers on /robolearn/person_range, expected one (a, b)"
    safety.publishers.findings = {"person": found}
    assert safety._start(1.0, START).text == f"No start: {found}"
    safety.monitor._state = State.STOPPED
    assert safety._reset(1.0, RESET).text == f"No reset: {found}"
    safety.publishers.findings, safety.monitor._state = {}, State.HOLDING
    assert "Nothing to reset" in safety._reset(1.0, RESET).text


def test_a_signal_that_goes_back_while_the_arm_moves_asks_for_a_stop(safety, monkeypatch):
    hear_person(safety, monkeypatch)
    safety.monitor._state = State.RUNNING
    message = Range(range=9.0, max_range=20.0)
    message.header.stamp = time_message(safety.clock, time.monotonic_ns())
    monkeypatch.setattr(safety.inputs.signals.polled[0], "take_numbered", lambda: [(1, message)])
    safety._take()
    assert "the sequence on /robolearn/person_range went back from 1 to 1" in safety._stop_asked
    assert safety.inputs.signals.person.value == 5.0


def test_an_enabling_device_is_told_with_the_time_of_its_message(safety, monkeypatch):
    def hear(number, *buttons):
        message = Joy(buttons=list(buttons))
        message.header.stamp = time_message(safety.clock, time.monotonic_ns())
        monkeypatch.setattr(safety.inputs.signals.polled[1], "take_numbered", lambda: [(number, message)])
        safety._take()
        return safety._surroundings()

    nothing = safety._surroundings()
    assert (nothing.enabling_device, nothing.enabling_stamp_s) == (None, None)
    told = hear(1, 1)
    assert told.enabling_device is True
    assert told.enabling_stamp_s == pytest.approx(time.monotonic(), abs=5.0)
    for number, buttons in ((2, (0,)), (3, ()), (4, (2,))):
        assert hear(number, *buttons).enabling_device is False


def test_no_parameter_changes_while_the_node_runs(safety):
    for name, value in (("operator", "chief"), ("use_sim_time", True), ("mode", "collaborative")):
        (result,) = safety.node.set_parameters([Parameter(name, value=value)])
        assert not result.successful


def test_stamps_of_another_clock_are_named_before_a_start(safety, monkeypatch):
    assert safety.inputs.on_other_clock(time.monotonic()) == ""
    home = safety.robot.home_rad
    message = joint_state(
        Time(sec=12), safety.robot.joint_names, home, 0.0 * home
    )  # as of a policy on a /clock
    monkeypatch.setattr(safety.inputs.commands, "take", lambda: [message])
    safety._take()
    monkeypatch.setattr(safety.publishers, "_node", Listened(safety.node))
    said = safety._unready(time.monotonic())
    assert "the newest command on /robolearn/policy_command is stamped with another clock" in said
    assert "this node is on system time" in said


def test_an_end_waits_for_a_standstill_that_can_be_seen_and_no_longer(safety):
    safety.monitor._state, safety.inputs.heard_ns = State.STOPPING, time.monotonic_ns() - 10**9
    assert safety._sent_to_rest  # nothing was sent
    assert safety.rest("SIGINT")
    safety.inputs.heard_ns = time.monotonic_ns() + 10**10
    assert not safety.rest("SIGINT")
    safety.inputs.heard_ns, safety._sent_to_rest = 0, False
    assert not safety.rest("SIGINT")
    safety._sent_to_rest, safety.monitor._state = True, State.RUNNING
    assert not safety.rest("SIGINT")
    safety.monitor._state = State.HOLDING


def test_a_clock_that_stands_asks_for_a_stop_and_answers_requests(safety):
    safety.monitor._state, reply = State.RUNNING, safety.calls.put(safety._stop)
    safety.stand("the simulator is paused")
    assert reply.get_nowait().text == "Nothing is decided now: the simulator is paused."
    assert safety._stop_asked == "the simulator is paused"
    assert safety.diagnostics.problems["clock"] == "the simulator is paused"
