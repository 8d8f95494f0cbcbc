"""The one publisher that commands the arm, by the kind of its controller: claim, messages, and who brakes if it dies.

| kind | message | where this process is killed |
|---|---|---|
| forward | each sample as it stands | the brake guard brakes the arm |
| trajectory | at 50 Hz the newest samples and the braking motion after them | the controller plays that motion |
| robolearn | /robolearn/sent_command | the controller brakes |
"""

from __future__ import annotations

from typing import NamedTuple

from builtin_interfaces.msg import Duration, Time
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robolearn.deploy.arm_controller import ROBOLEARN, TRAJECTORY
from robolearn.deploy.claim import Claim
from robolearn.deploy.shipped_controllers import HorizonTrajectory, Points
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.types import Decision
from robolearn_ros.brake_guard import BrakeGuard
from robolearn_ros.clocks import Clock
from robolearn_ros.messages import misfits, qos

HORIZON_HZ = 50.0  # of trajectory messages
HORIZON_DELAY_S = 0.04  # by which their points are played behind the samples: two messages
HORIZON_OVERLAP_S = 0.02
TAIL_EVERY = 4  # of the braking motion's samples goes out: cubic pieces through them are as good, and the loop is brief


class GuardOptions(NamedTuple):
    """How the brake guard is started: the period of the samples, and the priority of the control loop."""

    period_s: float
    rt_priority: int


class ArmOutput:
    """Decided samples on their way to the arm's controller; this one leaves them to /robolearn/sent_command.

    Raises AlreadyClaimed where another process commands the arm already.
    """

    kind: type = JointState

    def __init__(self, node: Node, topic: str):
        self._node, self.topic = node, topic
        self._resolved = node.resolve_topic_name(topic)
        self._claim = Claim("commands an arm", self._resolved, node.context.get_domain_id())
        self._qos = qos(10)
        self.silent = False  # somebody else brakes the arm: nothing is sent from here any more

    def connect(self, joints: int, guard: GuardOptions | None) -> None:
        """Create what sends; by the thread that runs the control loop. guard: None for no brake guard."""
        del joints, guard

    @property
    def guard_gid(self) -> bytes | None:
        """The guard's publisher in the ROS graph; empty while the guard starts, None where there is none."""
        return None

    def send(self, tick_ns: int, decision: Decision, monitor: SafetyMonitor) -> None:
        """The decided sample of a tick."""
        del tick_ns, decision, monitor

    def hand_over(self) -> bool:
        """Nothing can be sent from here in this cycle: hand over to the brake guard. False where there is none."""
        self.silent = True
        return True

    @property
    def problem(self) -> str:
        """Why the arm would not be braked if this process were killed; empty where it would be, or need not be."""
        return ""

    def misfits(self) -> list[str]:
        """Subscribers that can never hear what is sent, and why."""
        return misfits(self._node, self.topic, self.kind, self._qos, reading=False)

    def end(self) -> None:
        """Nothing more is sent: begin to end what `close` waits for."""

    def close(self) -> None:
        """Let another process command the arm."""
        self._claim.release()


class ForwardOutput(ArmOutput):
    """To a forward controller, which holds the last value for ever: with a brake guard behind it."""

    kind = Float64MultiArray

    def __init__(self, node: Node, topic: str):
        super().__init__(node, topic)
        self._guard: BrakeGuard | None = None

    def connect(self, joints: int, guard: GuardOptions | None) -> None:
        """Create the publisher, and start the guard; by the thread that runs the control loop."""
        self._qos = qos(1)
        self._out = self._node.create_publisher(Float64MultiArray, self.topic, self._qos)
        if guard is not None:
            self._guard = BrakeGuard(self._resolved, joints, *guard)

    @property
    def guard_gid(self) -> bytes | None:
        """The guard's publisher in the ROS graph."""
        return self._guard.gid if self._guard is not None else None

    def send(self, tick_ns: int, decision: Decision, monitor: SafetyMonitor) -> None:
        """The decided sample; the guard first learns how to brake after it."""
        if self.silent:
            return
        message, ahead = Float64MultiArray(data=decision.command_rad.tolist()), monitor.braking
        if self._guard is None or ahead is None:
            self._out.publish(message)
            return
        limits = monitor.limits.acceleration_max_rad_s2, monitor.limits.jerk_max_rad_s3
        self._guard.plan(tick_ns, decision.command_rad, ahead, limits)
        self._out.publish(message)
        self._guard.sent()

    def hand_over(self) -> bool:
        """Nothing can be sent from here in this cycle: let the guard brake. False where there is none."""
        if self._guard is None or self.silent:
            return self.silent
        self.silent = True
        self._guard.brake()
        return True

    @property
    def problem(self) -> str:
        """Why the guard would not brake the arm."""
        return self._guard.problem if self._guard is not None else ""

    def end(self) -> None:
        """Let the guard end, without waiting for it."""
        if self._guard is not None:
            self._guard.end()

    def close(self) -> None:
        """End the guard, and let another process command the arm."""
        if self._guard is not None:
            self._guard.close()
        super().close()


class TrajectoryOutput(ArmOutput):
    """To a trajectory controller: points with absolute stamps, which overlap those of the message before."""

    kind = JointTrajectory

    def __init__(self, node: Node, topic: str, joint_names: tuple[str, ...], clock: Clock, rate_hz: float):
        super().__init__(node, topic)
        self._names, self._clock, self._period_s = list(joint_names), clock, 1.0 / rate_hz
        self._every, self._count = max(1, round(rate_hz / HORIZON_HZ)), 0
        self._horizon: HorizonTrajectory | None = None

    def connect(self, joints: int, guard: GuardOptions | None) -> None:
        """Create the publisher. Each message ends in a braking motion: no guard is needed."""
        self._qos = qos(1)
        self._out = self._node.create_publisher(JointTrajectory, self.topic, self._qos)

    def send(self, tick_ns: int, decision: Decision, monitor: SafetyMonitor) -> None:
        """Take the decided sample; every twentieth of a second publish."""
        if self.silent:
            return
        if self._horizon is None:
            limits = monitor.limits.acceleration_max_rad_s2, monitor.limits.jerk_max_rad_s3
            overlap_s = max(HORIZON_OVERLAP_S, self._period_s)
            self._horizon = HorizonTrajectory(*limits, self._period_s, HORIZON_DELAY_S, overlap_s)
            self._samples = 2 + round((HORIZON_DELAY_S + overlap_s) / self._period_s)
        self._horizon.push(tick_ns / 1e9, decision.command_rad)
        self._count += 1
        if self._count % self._every == 0 and (points := self._horizon.points()) is not None:
            self._out.publish(self._message(points))

    def _message(self, points: Points) -> JointTrajectory:
        message = JointTrajectory(joint_names=self._names)
        sec, nanosec = self._clock.stamp(round(points.stamp_s * 1e9))
        message.header.stamp = Time(sec=sec, nanosec=nanosec)
        last = len(points.times_s) - 1
        for k in range(last + 1):
            if k > self._samples and (last - k) % TAIL_EVERY:
                continue
            position, velocity = points.positions_rad[k], points.velocities_rad_s[k]
            ns = round(points.times_s[k] * 1e9)
            after = Duration(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)
            one = JointTrajectoryPoint(
                positions=position.tolist(), velocities=velocity.tolist(), time_from_start=after
            )
            message.points.append(one)
        return message


def arm_output(
    kind: str, node: Node, topic: str, joint_names: tuple[str, ...], clock: Clock, rate_hz: float
) -> ArmOutput:
    """The output to a kind of controller. joint_names: as it calls them."""
    if kind == ROBOLEARN:
        return ArmOutput(node, topic)
    if kind == TRAJECTORY:
        return TrajectoryOutput(node, topic, joint_names, clock, rate_hz)
    return ForwardOutput(node, topic)
