"""Grippers commanded as their manufacturers' drivers are: gripper node and a simulated gripper as real processes."""

import os
import time

import built_interfaces
import numpy as np
import pytest

from robolearn.deploy.serving import Serving, free_domain
from robolearn.robots import load_robot

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(not built_interfaces.can_build(), reason=built_interfaces.SKIP),
]

GRIPPERS = ("franka_hand", "robotiq_2f85", "schunk_egk40")


@pytest.fixture(scope="module", autouse=True)
def interfaces():
    """The packages of messages, in the environment of this process and of the nodes."""
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    yield built_interfaces.install_interfaces()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class Fingers:
    """Sends openings as the safety node does, and watches the measured one."""

    def __init__(self, domain):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from std_msgs.msg import Float64, Float64MultiArray

        self._make = Float64MultiArray
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node("fingers", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.out = self.node.create_publisher(Float64MultiArray, "gripper_position_controller/commands", 1)
        self.widths = []
        self.node.create_subscription(
            Float64, "robolearn/gripper_width", lambda m: self.widths.append(m.data), 10
        )

    def wait(self, until, timeout_s=60.0, target_m=None):
        deadline = time.monotonic() + timeout_s
        while not (self.widths and until(self.widths[-1])):
            assert time.monotonic() < deadline, self.widths[-5:]
            if target_m is not None:
                self.out.publish(self._make(data=[target_m]))
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.node.destroy_node()
        self.context.shutdown()


@pytest.mark.parametrize("gripper", GRIPPERS)
def test_the_opening_follows_over_the_manufacturers_own_interface(gripper, tmp_path):
    name = f"fr3+{gripper}"
    domain = free_domain()
    widest = load_robot(name).gripper.width_max_m
    with Serving(tmp_path, robot=name, rate_hz=250.0, domain_id=domain, rt_priority=0) as serving:
        serving.start_sim(person_sensor=False, mock_gripper=True)
        serving.start("gripper_node", robot=name)
        fingers = Fingers(domain)
        try:
            fingers.wait(
                lambda width: width == pytest.approx(widest, abs=2e-3)
            )  # told from the finger joints
            for target in (0.05, 0.0, 0.03, widest):
                fingers.wait(lambda width, at=target: abs(width - at) < 4e-3, target_m=target)
                until = time.monotonic() + 0.5
                fingers.wait(lambda _, until=until: time.monotonic() > until, target_m=target)
                assert abs(fingers.widths[-1] - target) < 4e-3  # and it stays there
            assert np.diff(fingers.widths).max() < 0.02  # it moved at a speed that fingers have
        finally:
            fingers.close()
        assert serving.stop() == {"sim_node": 0, "gripper_node": 0}
        assert 4 <= serving.statistics()["gripper_node"]["sent"] < 100


def test_a_gripper_whose_messages_are_not_there_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in os.environ["PYTHONPATH"].split(os.pathsep)
                                                     if "interfaces" not in p))  # fmt: skip
    with Serving(tmp_path, domain_id=free_domain(), rt_priority=0) as serving:
        node = serving.start("gripper_node", robot="fr3+franka_hand")
        assert node.wait(30.0) == 2
        assert "'franka' needs the package franka_msgs (the workspace of franka_ros2)" in node.last_words()


def test_a_gripper_without_a_driver_needs_no_node(tmp_path):
    with Serving(tmp_path, domain_id=free_domain(), rt_priority=0) as serving:
        node = serving.start("gripper_node", robot="fr3")
        assert node.wait(30.0) == 2
        assert "no gripper node is needed" in node.last_words()
