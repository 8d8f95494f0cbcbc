"""Brakes an arm whose safety node was killed: the second process that knows the last verified braking motion.

A forward command controller holds the last position that it was given: an arm at 0.9 rad/s is asked to stand still
within one period. This process waits for the end of the safety node, and where that came without an order, sends
the braking motion that was kept ready, sample by sample, on the safety node's own time grid, from the next one on.

It is started by the safety node, decides nothing, and ends with it. It cannot help where the computer itself fails, or
where the safety node hangs without ending.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64MultiArray

from robolearn.deploy.ending import ENDING_SIGNALS
from robolearn.safety.braking import Braking, plan_braking
from robolearn_ros.clocks import sleep_until_ns
from robolearn_ros.guard_memory import ENDED, FAILED, READY, STARTING, GuardMemory, Plan
from robolearn_ros.loop import request_real_time
from robolearn_ros.messages import qos

Vector = NDArray[np.float64]

LATE_PERIODS = 1.0  # an arm that was held for longer has stopped already: it is not set in motion again
LINGER_S = 0.3  # after the last sample, until it has been delivered
END_S = 2.0
LOOK_S = 0.05


def node_name(safety_pid: int) -> str:
    """The guard's name in the ROS graph."""
    return f"brake_guard_{safety_pid}"


class BrakeGuard:
    """The safety node's end: starts the process, tells it before each sample how to brake, and ends it."""

    def __init__(self, topic: str, joints: int, period_s: float, rt_priority: int):
        """topic: of the arm's controller, resolved. By the thread that runs the control loop."""
        self._memory = GuardMemory.create(joints)
        words = [
            str(self._memory.descriptor),
            str(joints),
            topic,
            repr(period_s),
            str(rt_priority),
            str(os.getpid()),
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robolearn_ros.brake_guard", *words],
            stdin=subprocess.DEVNULL,
            pass_fds=(self._memory.descriptor,),
            start_new_session=True,
        )
        self.sent = self._memory.sent

    def plan(
        self, tick_ns: int, sample_rad: Vector, ahead: tuple[Braking, int], limits: tuple[Vector, Vector]
    ) -> None:
        """Before a sample goes out; `sent` after it. ahead: the braking motion, and how much of it was sent."""
        self._memory.plan(tick_ns, sample_rad, *ahead, limits)

    @property
    def gid(self) -> bytes:
        """Its publisher in the ROS graph. A name would not do: it is known later than the publisher is."""
        return self._memory.gid

    @property
    def problem(self) -> str:
        """Why the guard does not watch; empty while it does."""
        code = self._process.poll()
        if code is not None:
            return f"the brake guard has ended (exit status {code}). {self._memory.text}".rstrip()
        return "the brake guard is not ready yet" if self._memory.status == STARTING else self._memory.text

    def brake(self) -> None:
        """Let the guard brake now: the safety node runs, but can send nothing more. By the control loop's thread."""
        self._memory.unlock(brake=True)

    def end(self) -> None:
        """Let the guard end, without waiting for it: the arm is at rest, or the guard has taken over."""
        with contextlib.suppress(OSError):  # not this thread's any more, after `brake` or a first call
            self._memory.unlock()

    def close(self) -> None:
        """End the guard, and wait until it has; one that is still starting, which takes seconds, is killed."""
        starting = self._memory.status == STARTING and not self._memory.gid
        self.end()
        if starting:  # it has no order to brake, and would only end
            self._process.kill()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def remaining(plan: Plan, period_s: float) -> Iterator[Vector]:
    """The samples [n] rad still to be sent after a plan's own, to the one at rest."""
    braking = plan_braking(
        plan.position_rad, plan.velocity_rad_s, plan.acceleration_rad_s2, plan.acceleration_max_rad_s2,
        plan.jerk_max_rad_s3, period_s,
    )  # fmt: skip
    position = plan.sample_rad
    for index in range(plan.step + 1, braking.samples + 1):
        position = position + period_s * braking.velocity(period_s * index)
        yield position


def brake(plan: Plan, period_s: float, send: Callable[[Vector], None], now_ns: int) -> str:
    """Send what remains of a braking motion on its grid; what was done, in words."""
    samples, period_ns = list(remaining(plan, period_s)), round(period_s * 1e9)
    if not samples:
        return "the safety node ended while the arm was at rest: nothing was sent"
    late_ns = now_ns - (plan.tick_ns + period_ns)
    if late_ns > LATE_PERIODS * period_ns:
        return f"the safety node ended, and {late_ns / 1e6:.1f} ms passed before that was known: nothing was sent"
    due = plan.tick_ns
    if not plan.sent:  # killed around sending: once more does no harm, the controller holds it anyway
        send(plan.sample_rad)
    elif late_ns > 0:  # a period late, the motion goes on where it was, and no sample is left out
        due += late_ns
    for sample in samples:
        due += period_ns
        sleep_until_ns(due)
        send(sample)
    return f"the safety node ended in motion: {len(samples)} samples of its braking motion were sent, to rest"


def _gid(node: Node, topic: str) -> bytes:
    """Of this node's own publisher."""
    own = [one for one in node.get_publishers_info_by_topic(topic) if one.node_name == node.get_name()]
    return bytes(own[0].endpoint_gid) if own else b""


def main(args: list[str] | None = None) -> int:
    """The process: wait, and brake where the safety node ended without an order."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("descriptor", int), ("joints", int), ("topic", str), ("period_s", float)):
        parser.add_argument(name, type=kind)
    parser.add_argument("rt_priority", type=int)
    parser.add_argument("safety_pid", type=int)
    given = parser.parse_args(args)
    for number in ENDING_SIGNALS:  # it ends with the safety node, not before it
        signal.signal(number, signal.SIG_IGN)
    memory = GuardMemory(given.descriptor, given.joints)
    try:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        # Nothing but the one publisher: under SROS 2 it has the safety node's permissions, which name topics.
        silent = [Parameter("start_type_description_service", value=False)]
        node = Node(
            node_name(given.safety_pid), start_parameter_services=False, enable_rosout=False,
            parameter_overrides=silent,
        )  # fmt: skip
        publisher = node.create_publisher(Float64MultiArray, given.topic, qos(1))
    except Exception as error:
        memory.say(FAILED, f"the brake guard cannot start: {error}")
        return 1

    def send(sample: Vector) -> None:
        publisher.publish(Float64MultiArray(data=sample.tolist()))

    request_real_time(min(given.rt_priority + 1, 95) if given.rt_priority else 0)
    gc.collect()
    gc.freeze()
    memory.publishes_as(_gid(node, given.topic))
    killed = None
    while killed is None and publisher.get_subscription_count() == 0:  # without a subscriber
        time.sleep(LOOK_S)
        killed = memory.ended()
    if killed is None:
        memory.say(READY)
        killed = memory.wait()
    now_ns = time.monotonic_ns()
    plan = memory.read()
    if killed and plan is not None:
        text = brake(plan, given.period_s, send, now_ns)
        sys.stderr.write(f"brake guard: {text}\n")
        time.sleep(LINGER_S)
        memory.say(ENDED, text)
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
