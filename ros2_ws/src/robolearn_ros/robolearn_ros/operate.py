"""An operator's calls from the command line, where `ros2 service call` is not installed.

python -m robolearn_ros.operate start
python -m robolearn_ros.operate goal 0.5 0.2 0.4
python -m robolearn_ros.operate status
"""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from rclpy.node import Node
from std_srvs.srv import Trigger

from robolearn_ros.messages import Polled, qos

WAIT_S = 5.0


def call(node: Node, name: str) -> tuple[bool, str]:
    """Call a Trigger service of the safety node; (accepted, answer)."""
    client = node.create_client(Trigger, f"/safety_node/{name}")
    if not client.wait_for_service(WAIT_S):
        return (
            False,
            f"No service /safety_node/{name}: is the safety node running, in the same ROS_DOMAIN_ID?",
        )
    future = client.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(node, future, timeout_sec=WAIT_S)
    answer = future.result()
    return (answer.success, answer.message) if answer is not None else (False, "No answer came.")


def send_goal(node: Node, position: list[float]) -> tuple[bool, str]:
    """Publish a goal [3] m in the base frame once somebody listens."""
    publisher = node.create_publisher(PointStamped, "/robolearn/goal", qos(1))
    deadline = time.monotonic() + WAIT_S
    while publisher.get_subscription_count() == 0:
        if time.monotonic() > deadline:
            return False, "Nobody listens on /robolearn/goal: is the policy node configured?"
        time.sleep(0.02)
    message = PointStamped()
    message.header.frame_id = "base"
    message.header.stamp = node.get_clock().now().to_msg()
    message.point.x, message.point.y, message.point.z = position
    publisher.publish(message)
    publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=1))
    return True, f"Goal {position} m sent."


def read_status(node: Node) -> tuple[bool, str]:
    """The monitor's newest decision."""
    decisions = Polled(node, DiagnosticStatus, "/robolearn/decision", qos(1, latched=True))
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for message in decisions.take():
            values = {pair.key: pair.value for pair in message.values}
            return True, f"{values['state']}, {values['verdict']}: {message.message} (mode {values['mode']})"
        time.sleep(0.02)
    return False, "No decision came: is the safety node running, in the same ROS_DOMAIN_ID?"


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Exit status 0 accepted, 1 refused or no answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("start", "stop", "reset"):
        verbs.add_parser(name, help=f"call /safety_node/{name}")
    verbs.add_parser("mode", help="change the mode, at rest").add_argument("name")
    verbs.add_parser("goal", help="send a goal for the TCP").add_argument(
        "position", nargs=3, type=float, help="x y z in m, base frame"
    )
    verbs.add_parser("status", help="the monitor's newest decision")
    options = parser.parse_args(arguments)
    rclpy.init()
    node = Node("operate")
    try:
        if options.verb == "goal":
            accepted, text = send_goal(node, options.position)
        elif options.verb == "status":
            accepted, text = read_status(node)
        else:
            accepted, text = call(
                node, f"set_mode_{options.name}" if options.verb == "mode" else options.verb
            )
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    sys.stdout.write(text + "\n")
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
