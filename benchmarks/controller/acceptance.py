"""Acceptance of robolearn_controller in a real controller manager at 1 kHz.

    colcon build --packages-up-to robolearn_controller_acceptance  # in a workspace of ros2_control
    source install/setup.bash
    python benchmarks/controller/acceptance.py --load 8

A sender at 500 Hz moves joint 1 of a recording arm as a sine with a peak of 0.9 rad/s and kills itself at a peak.
Expected of robolearn_controller: acceleration that the arm gets p99 at most 10 rad/s2, at most 20; after the kill at
most 10 rad/s2, at rest within 0.3 s. `--controller forward` shows what a forward command controller does.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from robolearn.deploy.controller import NAME, SENT_TOPIC, TYPE, controller_parameters
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile

MANAGER_HZ = 1000
PEAK_RAD_S = 0.9
RATE_RAD_S = 1.0  # of the sine
RISE_S = 2.0


def path(t, home):
    """Positions [n] at time t: at rest for 1.5 s, then a sine of joint 1 that grows for two seconds."""
    position = home.copy()
    u = min(max((t - 1.5) / RISE_S, 0.0), 1.0)
    share = u**3 * (10 - 15 * u + 6 * u**2)
    position[0] += share * PEAK_RAD_S / RATE_RAD_S * np.sin(RATE_RAD_S * (t - 1.5))
    return position


def send(rate_hz, seconds, priority, kind):
    """The sender, a process of its own: ends by SIGKILL at a peak of the speed after `seconds`."""
    import rclpy
    from rclpy.node import Node
    from robolearn_ros.clocks import StampClock
    from robolearn_ros.loop import Loop
    from robolearn_ros.messages import joint_state, qos, time_message
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    robot = load_robot("fr3")
    rclpy.init()
    node, clock = Node("sender"), StampClock()
    sent = node.create_publisher(JointState, SENT_TOPIC, qos(10))
    forward = node.create_publisher(Float64MultiArray, "/forward_position_controller/commands", qos(1))
    end_s = 1.5 + np.ceil(seconds / (2 * np.pi)) * 2 * np.pi / RATE_RAD_S
    topic = "/forward_position_controller/commands" if kind == "forward" else SENT_TOPIC
    while not node.count_subscribers(topic):  # discovery may take seconds
        time.sleep(0.1)
    time.sleep(0.5)
    before, before_s = robot.home_rad, -1.0 / rate_hz
    loop = Loop(rate_hz, priority)
    for tick_ns in loop:
        t = loop.index / rate_hz
        if t >= end_s:
            print(time.monotonic_ns(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        position = path(t, robot.home_rad)
        if kind == "forward":
            forward.publish(Float64MultiArray(data=position.tolist()))
        velocity = (position - before) / (t - before_s)
        sent.publish(joint_state(time_message(clock, tick_ns), robot.joint_names, position, velocity))
        before, before_s = position, t


def urdf(robot, record):
    """A chain of joints behind the recording hardware."""
    links, joints = ['<link name="l0"/>'], []
    for k, name in enumerate(robot.joint_names):
        links.append(f'<link name="l{k + 1}"/>')
        low, high = robot.limits.position_min_rad[k], robot.limits.position_max_rad[k]
        joints.append(
            f'<joint name="{name}" type="revolute"><parent link="l{k}"/><child link="l{k + 1}"/><axis xyz="0 0 1"/>'
            f'<limit lower="{low}" upper="{high}" velocity="10" effort="100"/></joint>'
        )
    hardware = "".join(
        f'<joint name="{name}"><command_interface name="position"/><state_interface name="position">'
        f'<param name="initial_value">{home}</param></state_interface><state_interface name="velocity"/></joint>'
        for name, home in zip(robot.joint_names, robot.home_rad, strict=True)
    )
    return (
        f'<robot name="arm">{"".join(links)}{"".join(joints)}<ros2_control name="arm" type="system"><hardware>'
        f"<plugin>robolearn_controller_acceptance/RecordingSystem</plugin>"
        f'<param name="record">{record}</param></hardware>{hardware}</ros2_control></robot>'
    )


def executable(name):
    """An executable of controller_manager in the sourced workspace."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":"):
        found = Path(prefix) / "lib" / "controller_manager" / name
        if found.is_file():
            return str(found)
    raise SystemExit(f"{name} is in no AMENT_PREFIX_PATH: source the workspace of ros2_control first.")


def run(options):
    """One run: (what was recorded [cycles, 1 + n], when the sender was killed, ns)."""
    robot, profile = load_robot("fr3"), SafetyProfile.load("fr3")
    kind = options.controller
    name = NAME if kind == "robolearn" else "forward_position_controller"
    with tempfile.TemporaryDirectory() as folder:
        record, parameters = Path(folder) / "record.bin", Path(folder) / "parameters.yaml"
        own = {
            "robolearn": controller_parameters(robot, profile, stream_rate_hz=options.rate)
            | ({"delay_s": options.delay} if options.delay else {}),
            "forward": {"joints": list(robot.joint_names), "interface_name": "position"},
        }[kind]
        types = {"robolearn": TYPE, "forward": "forward_command_controller/ForwardCommandController"}
        manager = {"update_rate": MANAGER_HZ, name: {"type": types[kind]}}
        parameters.write_text(yaml.safe_dump({
            "controller_manager": {"ros__parameters": manager}, name: {"ros__parameters": own},
        }))  # fmt: skip
        environment = os.environ | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        quiet = None if options.verbose else subprocess.DEVNULL
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
        describe = subprocess.Popen(
            [sys.executable, __file__, "--describe", urdf(robot, record)], env=environment
        )
        node = subprocess.Popen([executable("ros2_control_node"), "--ros-args", "--params-file", str(parameters)],
                                env=environment, stderr=quiet, stdout=quiet)  # fmt: skip
        try:
            spawn = [executable("spawner"), name, "--param-file", str(parameters)]
            spawn += ["--controller-manager-timeout", "60"]
            subprocess.run(spawn, env=environment, check=True, timeout=120, stdout=quiet)
            arguments = ["--send", str(options.rate), str(options.seconds), str(options.priority), kind]
            sender = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True,
                                    text=True, check=False)  # fmt: skip
            if sender.returncode != -signal.SIGKILL:
                raise SystemExit(sender.stderr)
            killed_ns = int(sender.stdout.split()[-1])
            time.sleep(2.0)
        finally:
            for process in (*busy, describe):
                process.kill()
            node.send_signal(signal.SIGINT)
            node.wait(30)
        columns = [("ns", np.int64), ("position", np.float64, robot.dof)]
        return np.fromfile(record, np.dtype(columns)), killed_ns


def describe(text):
    """Publish the robot description for the controller manager."""
    import rclpy
    from rclpy.node import Node
    from robolearn_ros.messages import qos
    from std_msgs.msg import String

    rclpy.init()
    node = Node("describe")
    publisher = node.create_publisher(String, "/robot_description", qos(1, latched=True))
    publisher.publish(String(data=text))
    rclpy.spin(node)


def judge(rows, killed_ns, kind):
    """Print the figures; whether they are as expected."""
    position, step = rows["position"], 1.0 / MANAGER_HZ
    acceleration = np.abs(np.diff(position, 2, axis=0)).max(axis=1) / step**2
    speed = np.abs(np.diff(position, axis=0))[1:].max(axis=1) / step
    ns = rows["ns"][2:]
    moving = (speed > 1e-6) & (ns < killed_ns)
    after = ns >= killed_ns
    p50, p90, p99 = np.percentile(acceleration[moving], [50, 90, 99])
    largest = acceleration[moving].max()
    still = np.flatnonzero(after & (speed > 1e-6))
    rest_s = (ns[still[-1]] - killed_ns) / 1e9 if len(still) else 0.0
    at_kill = speed[np.searchsorted(ns, killed_ns)]
    late = int((np.diff(rows["ns"]) > 1.5e9 / MANAGER_HZ).sum())
    print(f"{kind}: {moving.sum()} cycles in motion, {late} of {len(rows)} cycles late by half a period or more, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"  acceleration rad/s2: p50 {p50:.2f}, p90 {p90:.2f}, p99 {p99:.2f}, max {largest:.2f}")
    print(
        f"  sender killed at {at_kill:.2f} rad/s: at most {acceleration[after].max():.2f} rad/s2, "
        f"at rest after {rest_s:.3f} s"
    )
    return p99 <= 10.0 and largest <= 20.0 and acceleration[after].max() <= 10.0 and rest_s <= 0.3


def main():
    """Entry point: 0 where all is as expected."""
    if sys.argv[1:2] == ["--send"]:
        rate, seconds, priority, kind = sys.argv[2:]
        send(float(rate), float(seconds), int(priority), kind)
    elif sys.argv[1:2] == ["--describe"]:
        describe(sys.argv[2])
    else:
        parser = argparse.ArgumentParser(
            description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--controller", choices=("robolearn", "forward"), default="robolearn")
        parser.add_argument("--rate", type=float, default=500.0, help="of the sender, Hz")
        parser.add_argument("--seconds", type=float, default=20.0, help="of motion")
        parser.add_argument(
            "--delay", type=float, default=0.0, help="delay_s of the controller; 0 for its own"
        )
        parser.add_argument("--load", type=int, default=0, help="busy processes beside it")
        parser.add_argument("--priority", type=int, default=40, help="SCHED_FIFO of the sender, 0 for none")
        parser.add_argument("--verbose", action="store_true")
        options = parser.parse_args()
        sys.exit(0 if judge(*run(options), options.controller) else 1)


if __name__ == "__main__":
    main()
