"""An operator's requests as a process: `robolearn operate` runs it with the environment of the deployment.

python -m robolearn_ros.operate start
python -m robolearn_ros.operate goal 0.5 0.2 0.4
python -m robolearn_ros.operate status
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PointStamped
from rclpy.node import Node

from robolearn.deploy.operators import operator_key_path
from robolearn.errors import RobolearnError
from robolearn.files.printable import printable
from robolearn.keys import load_key, load_or_create_key
from robolearn.policy.sources import find_source
from robolearn_ros.messages import Polled, qos
from robolearn_ros.operator_client import OperatorClient

WAIT_S = 5.0
GOAL_TOPIC = find_source("goal.position").topic.lstrip("/")  # in the namespace of the arm
Answer = tuple[bool, str]


def ask(node: Node, options: argparse.Namespace) -> Answer:
    """Ask the safety node for a stop, or, signed, for a start, a reset or a mode; (accepted, answer)."""
    key = None
    if options.verb != "stop":
        key = load_key(options.key) if options.key else load_or_create_key(operator_key_path())
    client = OperatorClient(node, key, options.operator)
    if not _wait(node, lambda: client.ready(options.verb)):
        return False, "No safety node was found: is it running, in the same ROS_DOMAIN_ID?"
    call = client.call(options.verb, mode=getattr(options, "name", ""), reason=options.reason)
    if not _wait(node, call.done):
        return False, "No answer came."
    return call.result()


def send_goal(node: Node, position: list[float]) -> Answer:
    """Publish a goal [3] m in the base frame once somebody listens."""
    publisher = node.create_publisher(PointStamped, GOAL_TOPIC, qos(1))
    if not _wait(node, lambda: publisher.get_subscription_count() > 0):
        topic = node.resolve_topic_name(GOAL_TOPIC)
        return False, f"No subscriber on {topic}: is the policy node configured?"
    message = PointStamped()
    message.header.frame_id = "base"
    message.header.stamp = node.get_clock().now().to_msg()
    message.point.x, message.point.y, message.point.z = position
    publisher.publish(message)
    publisher.wait_for_all_acked(rclpy.duration.Duration(seconds=1))
    return True, f"Goal {position} m sent."


def read_status(node: Node) -> Answer:
    """The monitor's newest decision."""
    decisions = Polled(node, DiagnosticStatus, "robolearn/decision", qos(1, latched=True))
    found: list[DiagnosticStatus] = []

    def heard() -> bool:
        found.extend(decisions.take())
        return bool(found)

    if not _wait(node, heard):
        return False, "No decision came: is the safety node running, in the same ROS_DOMAIN_ID?"
    values = {pair.key: pair.value for pair in found[-1].values}
    return True, f"{values['state']}, {values['verdict']}: {found[-1].message} (mode {values['mode']})"


def _wait(node: Node, until: Callable[[], bool]) -> bool:
    """Spin until something holds; False where it does not in time."""
    deadline = time.monotonic() + WAIT_S
    while not until():
        if time.monotonic() > deadline:
            return False
        rclpy.spin_once(node, timeout_sec=0.02)
    return True


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--key", type=Path, help="operator's key file (default: this account's)")
    parser.add_argument("--operator", default="", help="pseudonym (default: the one your key is known by)")
    parser.add_argument("--namespace", default="", help="of the arm's nodes")
    parser.add_argument("--reason", default="", help="recorded in the safety log")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("start", "stop", "reset"):
        verbs.add_parser(name, help=f"ask the safety node for a {name}")
    verbs.add_parser("mode", help="change the mode, at rest").add_argument("name")
    verbs.add_parser("goal", help="send a goal for the TCP").add_argument(
        "position", nargs=3, type=float, help="x y z in m, base frame"
    )
    verbs.add_parser("status", help="the monitor's newest decision")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Exit status 0 accepted, 1 refused or no answer, 2 wrong input."""
    options = _options(arguments)
    rclpy.init()
    node = None
    try:
        node = Node("operate", namespace=options.namespace)
        if options.verb == "goal":
            accepted, text = send_goal(node, options.position)
        elif options.verb == "status":
            accepted, text = read_status(node)
        else:
            accepted, text = ask(node, options)
    except RobolearnError as error:
        sys.stderr.write(printable(str(error)) + "\n")
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.stdout.write(printable(text) + "\n")
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
