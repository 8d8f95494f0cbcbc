"""A stranger on another machine, here a network namespace: it reaches the nodes only where a deployment says so."""

import os
import shutil
import subprocess
import sys

import pytest

from robolearn.deploy.discovery import discovery_environment
from robolearn.deploy.serving import free_domain, ros_environment

pytestmark = pytest.mark.ros

HERE, THERE, LINK = "192.168.77.1", "192.168.77.2", "rlhere"
TALK = """
import sys, time, rclpy
from std_msgs.msg import String
from robolearn_ros.messages import Polled, qos
own, other, seconds = sys.argv[1:]
rclpy.init()
node = rclpy.create_node("talks_" + own)
publisher = node.create_publisher(String, "/" + own, qos(10))
heard = Polled(node, String, "/" + other, qos(10))
until, got = time.monotonic() + float(seconds), False
while time.monotonic() < until:
    publisher.publish(String(data=own))
    if heard.take() and not got:
        got, until = True, min(until, time.monotonic() + 1.0)
    time.sleep(0.05)
print("heard" if got else "silent")
"""


def ip(*words, check=True):
    subprocess.run(["ip", *words], check=check, capture_output=True)


@pytest.fixture(scope="module")
def machine():
    """The name of a namespace that is linked with this one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and iproute2")
    name = f"robolearn-{os.getpid()}"
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", "rlthere", "netns", name)
        ip("addr", "add", f"{HERE}/24", "dev", LINK)
        ip("link", "set", LINK, "up")
        ip("-n", name, "addr", "add", f"{THERE}/24", "dev", "rlthere")
        ip("-n", name, "link", "set", "rlthere", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("link", "del", LINK, check=False)
        ip("netns", "del", name, check=False)


def heard(machine, environment, seconds):
    """What a node here, and a stranger there who states this machine as a peer, hear of each other."""
    domain = free_domain()
    plain = {
        name: value
        for name, value in ros_environment(domain, {}).items()
        if not name.endswith("DEFAULT_PROFILES_FILE")
    }
    theirs = plain | {"ROS_STATIC_PEERS": HERE, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    talk = [sys.executable, "-c", TALK]
    with subprocess.Popen(
        ["ip", "netns", "exec", machine, *talk, "there", "here", str(seconds)], env=theirs, stdout=subprocess.PIPE,
        text=True,
    ) as stranger:  # fmt: skip
        own = subprocess.run(
            [*talk, "here", "there", str(seconds)], env=plain | environment, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        there, _ = stranger.communicate(timeout=60)
    return own.stdout.strip(), there.strip()


def test_by_default_nobody_on_another_machine_is_heard_or_hears(machine):
    assert heard(machine, discovery_environment(), 4.0) == ("silent", "silent")


def test_ros_2s_own_localhost_would_let_it_in(machine):
    """Why the default is a profile: were this to fail, ROS 2's own variable would do."""
    assert heard(machine, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, 20.0) == ("heard", "heard")


def test_a_stated_host_on_a_named_interface_is_heard_and_hears(machine):
    assert heard(machine, discovery_environment("LOCALHOST", [THERE], LINK), 20.0) == ("heard", "heard")
