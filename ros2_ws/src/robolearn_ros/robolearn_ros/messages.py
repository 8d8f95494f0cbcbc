"""Between ROS messages and plain values: polled subscriptions, quality of service, joint states, stamps."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import WrenchStamped
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import JointState, Range

from robolearn.deploy.arm_names import prefixed
from robolearn.recorder.cycle_codec import Wrench
from robolearn.robots.wrench_frames import TCP
from robolearn.safety.types import Command, Measured
from robolearn_ros.clocks import Clock

Vector = NDArray[np.float64]
M = TypeVar("M")
Numbered = tuple[int, M]  # a publisher's number of a message, and the message

_INFINITE_NS = 2**62
DERIVED_OVER_S = (
    0.01  # velocities from positions: short against any motion, long against a sensor's resolution
)


def qos(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    """Keep-last quality of service; latched: a late subscriber still gets the last message."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def misfits(node: Node, topic: str, kind: type[Any], profile: QoSProfile, *, reading: bool) -> list[str]:
    """Why those at the other end of a topic can never talk with this node: another type or quality of service.

    reading: whether this node subscribes (the others publish) or publishes.
    """
    expected, found = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}", []
    look = node.get_publishers_info_by_topic if reading else node.get_subscriptions_info_by_topic
    for other in look(topic):
        found_profile = _stated(other.qos_profile)
        pair = (found_profile, profile) if reading else (profile, found_profile)
        verdict, reason = qos_check_compatible(*pair)
        if other.topic_type != expected:
            found.append(f"{other.node_name} has {topic} as {other.topic_type}, expected {expected}")
        elif verdict == QoSCompatibility.ERROR:
            why = reason.removeprefix("ERROR: ").rstrip(";")
            found.append(f"{other.node_name} and this node have incompatible QoS on {topic}: {why}")
    return found


def _stated(profile: QoSProfile) -> QoSProfile:
    """A discovered profile without the times in it that are infinite: one's own profile leaves those out."""
    stated = copy.copy(profile)
    for name in ("deadline", "lifespan", "liveliness_lease_duration"):
        if getattr(profile, name).nanoseconds >= _INFINITE_NS:
            setattr(stated, name, Duration())
    return stated


class NeverExecuted(CallbackGroup):
    """Keeps a subscription or client out of every executor, so that only its owner takes what comes."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Never."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Nothing was executed."""


class Polled(Generic[M]):
    """A subscription whose messages are taken by the control loop, oldest first, without an executor."""

    def __init__(self, node: Node, kind: type[M], topic: str, profile: QoSProfile):
        self.topic, self.depth, self._kind = node.resolve_topic_name(topic), profile.depth, kind
        self._node, self._profile = node, profile
        self._subscription = node.create_subscription(
            kind, topic, _ignore, profile, callback_group=NeverExecuted()
        )

    def misfits(self) -> list[str]:
        """Publishers of this topic whose messages can never come, and why."""
        return misfits(self._node, self.topic, self._kind, self._profile, reading=True)

    def take(self) -> list[M]:
        """Every message that came since the last call, at most the queue's depth."""
        return [message for _, message in self.take_numbered()]

    def take_numbered(self) -> list[Numbered[M]]:
        """The same, each with the number that the middleware gave it: per publisher, one higher with each message."""
        return [
            (info["publication_sequence_number"] or 0, message) for info, message in self.take_with_info()
        ]

    def take_with_info(self) -> list[tuple[Mapping[str, Any], M]]:
        """The same, each with what the middleware tells of it."""
        messages: list[tuple[Mapping[str, Any], M]] = []
        handle = self._subscription.handle
        with handle:
            while len(messages) < self.depth:
                taken = handle.take_message(self._kind, False)
                if taken is None:
                    break
                message, info = taken
                messages.append((info, message))
        return messages


def time_message(clock: Clock, time_ns: int) -> Time:
    """The stamp of a moment on a node's clock."""
    sec, nanosec = clock.stamp(time_ns)
    return Time(sec=sec, nanosec=nanosec)


def joint_state(
    stamp: Time,
    names: Sequence[str],
    position: Vector,
    velocity: Vector,
    frame_id: str = "",
    effort: Vector | None = None,
) -> JointState:
    """A JointState message; effort in Nm, empty for None."""
    message = JointState(name=names, position=position.tolist(), velocity=velocity.tolist())
    if effort is not None:
        message.effort = effort.tolist()
    message.header.stamp = stamp
    message.header.frame_id = frame_id
    return message


class JointReader:
    """Picks a robot's joints out of JointState messages by name, whatever else they hold and in whatever order.

    Where a driver tells no velocities, or NaN for each, they are derived from the positions of the last 10 ms.
    """

    def __init__(self, joint_names: tuple[str, ...], clock: Clock, prefix: str = ""):
        """joint_names: of the robot file.  prefix: what the driver puts before each."""
        self._robot_names, self._names, self._clock = joint_names, prefixed(joint_names, prefix), clock
        self.derived = False  # whether the last velocities were derived
        self._trail: deque[tuple[float, Vector]] = deque()
        self._last_names: list[str] = []
        self._order: list[int] = []
        self._picked: tuple[str, ...] = ()  # of the robot's joints those that the last message has

    def measured(self, message: JointState) -> Measured:
        """The message as a measurement, joints by the robot file's names. Missing ones stay so: the monitor names them.

        The first velocities that are derived are NaN: nothing is known of them yet.
        """
        found = list(message.name)
        if found != self._last_names:
            self._last_names = found
            self._order = [found.index(name) for name in self._names if name in found]
            pairs = zip(self._robot_names, self._names, strict=True)
            self._picked = tuple(own for own, name in pairs if name in found)
        stamp = self._clock.monotonic_s(message.header.stamp.sec, message.header.stamp.nanosec)
        names = self._picked or tuple(found)
        effort = self._pick(message.effort) if len(message.effort) else None
        position, velocity = self._pick(message.position), self._pick(message.velocity)
        told = len(velocity) > 0 and not np.isnan(velocity).all()
        self.derived = not told and len(position) == len(names)  # what has a wrong length is left as it is
        slope = self._slope(stamp, position)
        return Measured(names, position, slope if self.derived else velocity, stamp, effort)

    def _slope(self, stamp_s: float, position_rad: Vector) -> Vector:
        """The change of position [n] over the newest DERIVED_OVER_S, rad/s; NaN where there is nothing before."""
        trail = self._trail
        if trail and (stamp_s < trail[-1][0] or len(trail[-1][1]) != len(position_rad)):
            trail.clear()
        if not trail or stamp_s > trail[-1][0]:
            trail.append((stamp_s, position_rad))
        while len(trail) > 2 and stamp_s - trail[1][0] >= DERIVED_OVER_S:
            trail.popleft()
        if len(trail) < 2:
            return np.full(len(position_rad), np.nan)
        return (trail[-1][1] - trail[0][1]) / (trail[-1][0] - trail[0][0])

    def missing(self, message: JointState) -> list[str]:
        """Joints of the robot that the message lacks."""
        return [name for name in self._names if name not in message.name]

    def _pick(self, values: Any) -> Vector:
        array = np.array(values, float)
        if self._order and max(self._order) < len(array):
            return array[self._order]
        return array


def command(message: JointState, clock: Clock) -> Command:
    """A JointState on the policy's topic as a command; its frame_id says who sent it."""
    stamp = clock.monotonic_s(message.header.stamp.sec, message.header.stamp.nanosec)
    velocity = np.array(message.velocity, float) if len(message.velocity) else None
    source = message.header.frame_id or "unnamed"
    return Command(tuple(message.name), np.array(message.position, float), stamp, velocity, source)


def wrench(message: WrenchStamped, clock: Clock) -> Wrench:
    """A WrenchStamped as values."""
    force, torque = message.wrench.force, message.wrench.torque
    stamp = clock.monotonic_s(message.header.stamp.sec, message.header.stamp.nanosec)
    return Wrench(np.array([force.x, force.y, force.z]), np.array([torque.x, torque.y, torque.z]), stamp)


def wrench_message(stamp: Time, force_n: Vector, torque_nm: Vector) -> WrenchStamped:
    """A WrenchStamped at the TCP, from force and torque [3] in its axes."""
    message = WrenchStamped()
    message.header.stamp, message.header.frame_id = stamp, TCP
    for part, values in ((message.wrench.force, force_n), (message.wrench.torque, torque_nm)):
        part.x, part.y, part.z = (float(value) for value in values)
    return message


def distance_m(message: Range) -> float:
    """The distance that a Range tells: infinities as REP 117 has them, NaN stays NaN."""
    if math.isinf(message.range):
        return float(message.max_range) if message.range > 0 else 0.0
    return float(message.range)


def _ignore(message: Any) -> None:
    del message
