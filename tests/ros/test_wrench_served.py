"""A policy that feels, served on a simulated arm: the wrench must come, in a frame that is known, and keep coming."""

import time

import pytest
import rclpy
import ros_standin
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import WrenchStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from robolearn_ros.messages import qos
from robolearn_ros.operator_client import OperatorClient
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.operators import operator_key_path
from robolearn.deploy.serving import Serving, free_domain
from robolearn.keys import load_or_create_key

pytestmark = pytest.mark.ros


class Cell:
    """Between the simulated arm's sensor and the policy: hands its messages on in a frame, or not (None)."""

    def __init__(self, domain_id):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.node = Node("cell", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.frame, self.frames_sent, self.told, self.policy = None, set(), "", {}
        self._out = self.node.create_publisher(WrenchStamped, "/cell/wrench", qos(10))
        self.goal = self.node.create_publisher(Float64MultiArray, "/robolearn/goal/force_limit", qos(1))
        self.node.create_subscription(WrenchStamped, "/sensor/wrench", self._relay, qos(10))
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, qos(10))
        self.operator = OperatorClient(self.node, load_or_create_key(operator_key_path()))

    def _relay(self, message):
        self.frames_sent.add(message.header.frame_id)
        if self.frame is not None:
            message.header.frame_id = self.frame
            self._out.publish(message)

    def _hear(self, message):
        for status in message.status:
            if status.name.endswith("policy"):
                self.told = status.message
                self.policy = {pair.key: pair.value for pair in status.values}

    def wait(self, what, condition, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.told}"
            self.executor.spin_once(timeout_sec=0.02)

    def start(self):
        """Start, as often as it takes: this machine may be busy."""
        for verb in ("reset", "start"):
            self.wait("services", lambda verb=verb: self.operator.ready(verb))
            call = self.operator.call(verb)
            self.wait("an answer", call.done)
        return call.result()


def test_the_wrench_must_come_in_a_known_frame_and_keep_coming(tmp_path):
    bundle, domain = ros_standin.export_feeling(tmp_path), free_domain()
    cell = Cell(domain)
    try:
        with Serving(tmp_path, rate_hz=250.0, domain_id=domain) as serving:
            serving.start_sim(task="connector_insert", wrench_topic="/sensor/wrench")
            serving.start_safety(log_dir=None)
            serving.start_policy(bundle.path, wrench_topic="/cell/wrench", wrench_frames=["sensor=tcp"])
            cell.wait("what is missing", lambda: "/cell/wrench" in cell.told)
            assert "waiting for" in cell.told
            assert "/robolearn/goal/force_limit" in cell.told
            cell.goal.publish(Float64MultiArray(data=[25.0]))
            cell.frame = "elsewhere"
            cell.wait(
                "a refusal", lambda: "it came in frame 'elsewhere', known are 'sensor', 'tcp'" in cell.told
            )
            assert cell.frames_sent == {"tcp"}
            cell.frame = "sensor"
            cell.wait("all inputs", lambda: cell.told == "serving")
            cell.wait("a start", lambda: cell.start()[0])
            cell.wait("that it runs", lambda: cell.policy.get("policy_running") == "True")
            cell.frame = None
            cell.wait("that it is late", lambda: "the newest wrench is" in cell.told)
            cell.wait("that it brakes", lambda: cell.policy.get("policy_running") == "False")
            assert "at most 50 are allowed" in cell.told
    finally:
        cell.node.destroy_node()
        cell.context.try_shutdown()
