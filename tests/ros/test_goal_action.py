"""Goals by action, decisions with a stamp, and services with a reason: the nodes with `robolearn_interfaces` built."""

import json
import math
import os
import time

import built_interfaces
import numpy as np
import pytest
import ros_standin

from robolearn.deploy.operators import operator_key_path, signed_request
from robolearn.deploy.serving import Serving, free_domain
from robolearn.keys import load_or_create_key

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(not built_interfaces.can_build(), reason=built_interfaces.SKIP),
]

REST_MAX_S = 0.7
NEAR, FAR = (0.5, 0.2, 0.4), (0.45, -0.3, 0.5)


class Client:
    """An integrator's own node."""

    def __init__(self, domain):
        import rclpy
        from rclpy.action import ActionClient
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import QoSProfile
        from robolearn_interfaces.action import ReachGoal
        from robolearn_interfaces.msg import Decision
        from robolearn_interfaces.srv import Challenge, Operate, Stop
        from sensor_msgs.msg import JointState, Range

        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("integrator", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.Goal, self.Result = ReachGoal.Goal, ReachGoal.Result
        self.reach = ActionClient(self.node, ReachGoal, "robolearn/reach_goal")
        self.services = {
            kind: self.node.create_client(kind, f"safety_node/{name}")
            for kind, name in (
                (Challenge, "request_challenge"),
                (Operate, "request"),
                (Stop, "request_stop"),
            )
        }
        self.Challenge, self.Operate, self.Stop = Challenge, Operate, Stop
        self.decisions, self.speeds, self.feedback = [], [], []
        self.node.create_subscription(
            Decision, "robolearn/decision_stamped", self.decisions.append, QoSProfile(depth=50)
        )
        self.node.create_subscription(
            JointState,
            "robolearn/sent_command",
            lambda m: self.speeds.append((time.monotonic(), float(np.abs(m.velocity).max()))),
            QoSProfile(depth=50),
        )
        self.person = self.node.create_publisher(Range, "robolearn/person_range", 10)
        self.Range = Range
        self.node.create_timer(0.05, self._walk_far_away)
        self.tf = None

    def _walk_far_away(self):
        message = self.Range(radiation_type=self.Range.INFRARED, max_range=20.0, range=5.0)
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.header.frame_id = "base"
        self.person.publish(message)

    def spin(self, until, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, request):
        client = next(c for kind, c in self.services.items() if isinstance(request, kind.Request))
        self.spin(client.service_is_ready)
        future = client.call_async(request)
        self.spin(future.done)
        return future.result()

    def operate(self, verb, reason=""):
        challenge = self.call(self.Challenge.Request())
        assert challenge.valid_s == 10.0
        key = load_or_create_key(operator_key_path())
        fields = signed_request(key, verb, challenge.challenge, reason=reason)
        fields["operator_name"] = fields.pop("operator")
        return self.call(self.Operate.Request(**fields))

    def state(self):
        """The monitor's state now: of a decision that comes after this call, not of the last one heard."""
        heard = len(self.decisions)
        self.spin(lambda: len(self.decisions) > heard + 1)
        return self.decisions[-1].state

    def start(self):
        """Until the monitor runs: it refuses until it has heard of all others, and after a stop it needs a reset."""
        deadline = time.monotonic() + 60.0
        while (state := self.state()) != "running":
            answer = (
                self.operate("reset", "the test goes on") if state == "stopped" else self.operate("start")
            )
            assert time.monotonic() < deadline, (state, answer.text)
            assert not answer.accepted or answer.operator_name == "this-machine"

    def goal(self, place, frame="", **changes):
        goal = self.Goal(**changes)
        goal.goal.header.frame_id = frame
        p = goal.goal.pose.position
        p.x, p.y, p.z = place
        return goal

    def send(self, goal):
        self.start()  # again after a stop by a machine that was too busy
        self.spin(self.reach.server_is_ready)
        sending = self.reach.send_goal_async(
            goal, feedback_callback=lambda m: self.feedback.append(m.feedback)
        )
        self.spin(sending.done)
        return sending.result()

    def send_and_move(self, goal, speed_rad_s=0.3):
        """The handle of a goal on which the arm moves now; again, where a busy machine stopped it before."""
        for _ in range(5):
            handle = self.send(goal)
            ended = handle.get_result_async()
            since = len(self.speeds)
            self.spin(lambda e=ended, n=since: e.done() or any(s > speed_rad_s for _, s in self.speeds[n:]))
            if not ended.done():
                return handle
            assert ended.result().result.outcome == self.Result.STOPPED, "the goal ended before the arm moved"
        raise AssertionError("stopped five times before the arm moved")

    def result(self, handle, timeout_s=60.0):
        future = handle.get_result_async()
        self.spin(future.done, timeout_s)
        return future.result().result

    def tell_frame(self, parent, child, position):
        from geometry_msgs.msg import TransformStamped
        from tf2_msgs.msg import TFMessage

        self.tf = self.tf or self.node.create_publisher(TFMessage, "/tf", 10)
        one = TransformStamped(child_frame_id=child)
        one.header.frame_id, one.header.stamp = parent, self.node.get_clock().now().to_msg()
        one.transform.translation.x, one.transform.translation.y, one.transform.translation.z = position
        self.tf.publish(TFMessage(transforms=[one]))

    def close(self):
        self.node.destroy_node()
        self.context.shutdown()


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    built_interfaces.install_interfaces()
    folder, domain = tmp_path_factory.mktemp("goals"), free_domain()
    bundle = ros_standin.export_reaching(folder)
    with Serving(folder, rate_hz=250.0, domain_id=domain) as serving:
        serving.start_sim(person_sensor=False)
        serving.start_safety(log_dir=folder / "safety", log_key=folder / "log.pem")
        serving.start_policy(bundle.path)
        serving.wait_until_active()
        client = Client(domain)
        client.start()
        yield client, folder
        client.close()
        assert serving.stop() == {"sim_node": 0, "safety_node": 0, "policy_node": 0}
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def test_a_goal_is_carried_out_with_feedback_and_a_result(cell):
    client, _ = cell
    handle = client.send(client.goal(NEAR))
    assert handle.accepted
    result = client.result(handle)
    assert (result.outcome, result.text) == (client.Result.REACHED, "reached")
    assert result.error_m < 0.02
    errors = [f.error_m for f in client.feedback]
    assert len(errors) > 3
    assert errors[-1] < errors[0]
    assert client.feedback[-1].state == "running"


def test_a_cancelled_goal_leaves_the_arm_at_rest(cell):
    client, _ = cell
    handle = client.send_and_move(client.goal(FAR))
    cancelled_s = time.monotonic()
    cancelling = handle.cancel_goal_async()
    client.spin(cancelling.done)
    result = client.result(handle)
    assert result.outcome == client.Result.CANCELED
    assert 0.0 < result.rest_after_s < REST_MAX_S
    moving = [t for t, speed in client.speeds if t > cancelled_s and speed > 1e-3]
    assert max(moving, default=cancelled_s) - cancelled_s < REST_MAX_S
    until = time.monotonic() + 0.5
    client.spin(lambda: time.monotonic() > until)
    assert client.speeds[-1][1] < 1e-3  # and it stays there
    assert client.decisions[-1].state == "running"  # no stop was needed for it


def test_a_new_goal_replaces_the_one_before(cell):
    client, _ = cell
    first = client.send(client.goal(FAR))
    second = client.send(client.goal(NEAR))
    assert client.result(first).outcome == client.Result.REPLACED
    assert client.result(second).outcome == client.Result.REACHED


def test_a_goal_that_is_out_of_reach_times_out_at_rest(cell):
    client, _ = cell
    result = client.result(client.send(client.goal((0.5, 0.2, 0.5), tolerance_m=1e-9, timeout_s=1.0)))
    assert result.outcome == client.Result.TIMED_OUT
    assert "not reached in 1 s" in result.text
    assert result.rest_after_s < REST_MAX_S


def test_a_goal_in_another_frame_is_carried_out_in_the_base_frame(cell):
    client, _ = cell
    offset = np.array([0.3, -0.4, 0.2])
    until = time.monotonic() + 1.0

    def told():
        client.tell_frame("base", "camera", [float(x) for x in offset])
        return time.monotonic() > until

    client.spin(told)
    there = client.send(client.goal([float(x) for x in np.array(NEAR) - offset], "camera", tolerance_m=0.02))
    assert there.accepted
    assert client.result(there).outcome == client.Result.REACHED
    here = client.send(client.goal(NEAR, tolerance_m=0.021, hold_s=0.1))
    assert client.result(here).error_m < 0.021  # it is already there


@pytest.mark.parametrize("wrong", [
    {"frame": "nowhere"}, {"subject": "cube"}, {"timeout_s": -1.0}, {"tolerance_m": math.nan},
    {"place": (math.nan, 0.0, 0.0)},
])  # fmt: skip
def test_a_goal_that_cannot_be_carried_out_is_rejected(cell, wrong):
    client, folder = cell
    changes = {"place": NEAR, "frame": "", **wrong}
    assert not client.send(client.goal(changes.pop("place"), changes.pop("frame"), **changes)).accepted
    assert "A goal is refused" in (folder / "policy_node.out").read_text()


def test_a_stop_with_a_reason_is_in_decision_and_log_and_ends_the_goal(cell):
    client, folder = cell
    handle = client.send_and_move(client.goal(FAR))
    answer = client.call(client.Stop.Request(operator_name="anna", reason="a part fell\ndown"))
    assert answer.accepted
    assert client.result(handle).outcome == client.Result.STOPPED
    client.spin(lambda: client.decisions[-1].state == "stopped")
    decision = client.decisions[-1]
    assert decision.latched
    assert decision.rule == "stop_request"
    assert decision.reason == "stop service (anna: a part fell down)"
    stamp = decision.header.stamp.sec + decision.header.stamp.nanosec / 1e9
    assert stamp == pytest.approx(time.time(), abs=5.0)
    events = [json.loads(line) for line in (folder / "safety" / "events.jsonl").read_text().splitlines()]
    assert (
        "anna: a part fell down" in next(e for e in events if e["kind"] == "stop_request")["fields"]["reason"]
    )
    refused = client.call(client.Operate.Request(verb="reset"))
    assert not refused.accepted
    assert refused.operator_name == ""
    client.spin(lambda: client.operate("reset", "cell checked").accepted)  # once readings in a row show rest
