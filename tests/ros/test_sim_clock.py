"""Policy and safety node on a simulator's clock at half and twice real time, as real processes."""

import time

import numpy as np
import pytest
import rclpy
import ros_standin
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from robolearn_ros.observer import Observer
from robolearn_ros.sim_clock import SimClock
from rosgraph_msgs.msg import Clock

from robolearn.deploy.serving import Serving, free_domain
from robolearn.recorder.cycle_codec import Layout
from robolearn.review.recorded_log import RecordedLog
from robolearn.review.replay import cycles
from robolearn.review.review import review_log
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile

pytestmark = pytest.mark.ros

GOALS = ([0.5, 0.2, 0.4], [0.45, -0.3, 0.5])
PAUSED = "the simulator is paused, or has ended"
NEAR_M = 0.02


class Operator(Observer):
    """Sends goals, resets and starts where the arm stopped, and pauses the simulator."""

    def __init__(self):
        super().__init__(load_robot("fr3"), sim_time=True)
        self.refusals, self.publishes_person = set(), False  # the simulated cell has its own
        self._set = self.node.create_client(SetParameters, "/sim_node/set_parameters")

    def run(self, timeout_s=60.0):
        """Until the monitor follows the policy."""
        end = time.monotonic() + timeout_s
        while self.state != "running":
            assert time.monotonic() < end, (self.state, self.refusals, self.told[-1:])
            if self.state in ("stopped", "holding"):
                accepted, text = self.call("reset" if self.state == "stopped" else "start")
                if not accepted:
                    self.refusals.add(text)
            for _ in range(20):
                self.step()

    def reach(self, goal, timeout_s=90.0):
        """A goal, however often a busy machine stops the arm on its way."""
        self.send_goal(np.array(goal))
        end = time.monotonic() + timeout_s
        while np.linalg.norm(self.tcp_m - goal) > NEAR_M:
            assert time.monotonic() < end, (self.state, self.tcp_m, self.refusals)
            self.run()
            self.step()

    def pause(self, paused):
        value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=paused)
        self.wait("sim_node's parameters", self._set.service_is_ready, 20.0)
        answer = self._set.call_async(
            SetParameters.Request(parameters=[Parameter(name="clock_paused", value=value)])
        )
        self.wait("an answer", answer.done, 10.0)
        assert answer.result().results[0].successful


@pytest.fixture(scope="module", params=[0.5, 2.0], ids=["half", "twice"])
def session(request, tmp_path_factory):
    """(simulator's time over real time, Hz in its time, folder, what the safety node wrote, exit codes)."""
    factor, folder = request.param, tmp_path_factory.mktemp("sim_clock")
    rate_hz, domain = {0.5: 250.0, 2.0: 150.0}[factor], free_domain()
    bundle = ros_standin.export_reaching(folder)
    with Serving(folder, rate_hz=rate_hz, domain_id=domain) as serving:
        serving.start_sim(clock_rate=factor)
        serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem", use_sim_time=True)
        serving.start_policy(bundle.path, use_sim_time=True)
        serving.wait_until_active(60.0)
        rclpy.init(domain_id=domain)
        operator = Operator()
        try:
            operator.wait("a joint state", lambda: bool(operator.track), 20.0)
            for goal in GOALS:
                operator.reach(goal)
            operator.run()
            operator.pause(True)
            operator.wait(
                "the pause's end", lambda: PAUSED in serving.nodes["safety_node"].output.read_text(), 10.0
            )
            refused = operator.call("start")
            operator.pause(False)
            operator.wait("a stop", lambda: operator.state == "stopped", 20.0)
            operator.reach(GOALS[0])
            codes = serving.stop()
        finally:
            operator.node.destroy_node()
            rclpy.shutdown()
        return factor, rate_hz, folder, refused, serving.nodes["safety_node"].output.read_text(), codes


def recorded(folder):
    return list(cycles(folder / "safety", Layout(load_robot("fr3").joint_names)))


def test_every_goal_is_reached_and_the_nodes_end_in_order(session):
    assert session[5] == {"sim_node": 0, "safety_node": 0, "policy_node": 0}  # the fixture reached them


def test_cycles_keep_their_period_in_the_simulators_time(session):
    factor, rate_hz, folder, *_ = session
    log = recorded(folder)
    assert np.median(np.diff([cycle.now_s for cycle in log])) == pytest.approx(1 / rate_hz, rel=0.05)
    wall_s = np.diff([cycle.monotonic_ns for cycle in log]) / 1e9
    assert np.median(wall_s) == pytest.approx(1 / (rate_hz * factor), rel=0.05)


def test_what_was_sent_keeps_its_limits_in_the_simulators_time(session):
    _, rate_hz, folder, *_ = session
    limits = SafetyProfile.load("fr3").mode("automatic")
    log, fastest = recorded(folder), 0.0
    for one, two, three in zip(log, log[1:], log[2:], strict=False):
        if not (one.decision.publish and two.decision.publish and three.decision.publish):
            continue
        # Cycles that a busy machine left out are left out on the controller's side too.
        if three.now_s - one.now_s > 3.0 / rate_hz:
            continue
        first, second = (
            b.decision.command_rad - a.decision.command_rad for a, b in ((one, two), (two, three))
        )
        fastest = max(fastest, np.abs(second).max() * rate_hz)
        assert (np.abs(second) * rate_hz <= limits_of(limits, "velocity_max_rad_s") + 1e-6).all()
        assert (
            np.abs(second - first) * rate_hz**2 <= limits_of(limits, "acceleration_max_rad_s2") + 1e-3
        ).all()
    assert fastest > 0.2  # of an arm that was driven slowly this would say nothing


def limits_of(mode, name):
    return np.array(getattr(mode, name).value)


def test_a_pause_is_a_stop_that_says_so_and_a_start_is_refused_meanwhile(session):
    accepted, text = session[3]
    assert not accepted
    assert PAUSED in text
    events = RecordedLog(session[2] / "safety").events
    assert any(event["kind"] == "stop" for event in events)  # which the fixture waited for
    found = [
        e["fields"]["text"] for e in events if e["kind"] == "finding" and e["fields"]["about"] == "clock"
    ]
    assert any(PAUSED in text for text in found)
    assert found[-1] == "ended"


def test_log_and_review_say_that_the_time_was_simulated(session):
    found = review_log(session[2] / "safety")
    assert found.verdict.findings == []
    assert found.replayed.agrees
    assert found.simulated_time
    assert found.to_json()["simulated_time"] is True
    assert "No evidence about a real arm" in found.rest_text().plain
    assert "use_sim_time: every time is a simulator's" in session[4]
    assert '"simulated_time":true' in found.report.read_text()


def test_two_publishers_of_a_clock_are_never_followed():
    rclpy.init(domain_id=free_domain())
    node = Node("follower")
    try:
        clock, outs = SimClock(node), [node.create_publisher(Clock, "/clock", 10)]
        began = time.monotonic()

        def look(seconds):
            end, states = time.monotonic() + seconds, []
            while time.monotonic() < end:
                now_ns = round((time.monotonic() - began) * 1e9)
                for out in outs:
                    out.publish(Clock(clock=Time(sec=now_ns // 10**9, nanosec=now_ns % 10**9)))
                clock.take()
                states.append(clock.fault)
                time.sleep(0.005)
            return states

        assert "" in look(3.0)
        outs.append(node.create_publisher(Clock, "/clock", 10))
        look(1.5)
        assert set(look(1.5)) == {"there are 2 publishers on /clock, expected one"}
    finally:
        node.destroy_node()
        rclpy.shutdown()
