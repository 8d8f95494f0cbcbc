"""A MuJoCo arm, in real time or on a clock of its own (`clock_rate`), that speaks what the real arm's driver speaks.

It stands behind a forward command controller, which has no time-out: the last value is held for ever, as on a real arm.
With `controller: trajectory` it plays joint trajectories by their stamps; with `controller: robolearn` it runs
robolearn_controller's own C++ filter, once a tick, on the sent commands. The controller's node is there as well, with
its parameters and its state.
It stands for the arm and its cell; a simulated person sensor belongs to the cell.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import JointState, Range
from std_msgs.msg import Float64, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robolearn.deploy.arm_controller import (
    KINDS,
    ROBOLEARN,
    TRAJECTORY,
    ExpectedController,
    controller_node,
    controller_topic,
)
from robolearn.deploy.arm_names import prefixed
from robolearn.deploy.claim import Claim
from robolearn.deploy.shipped_controllers import Points, TrajectoryPlayer
from robolearn.policy.sources import GRIPPER_WIDTH, find_source
from robolearn.robots import load_robot
from robolearn.safety.profile import SafetyProfile
from robolearn.sim.plant import Wiring, load_plant
from robolearn_ros.arm import GRIPPER_COMMAND_TOPIC, SENT_TOPIC, arm_topics
from robolearn_ros.clocks import ScaledClock, StampClock
from robolearn_ros.controller_node import ControllerNode, controller_parameters_of
from robolearn_ros.gripper_mock import GripperMock
from robolearn_ros.loop import Loop
from robolearn_ros.messages import Polled, joint_state, qos, time_message, wrench_message
from robolearn_ros.node import OK, PHASE, RT_PRIORITY, STATS_PATH, WARN, called, loop_values, run_node, status
from robolearn_ros.parameters import Parameter, declare
from robolearn_ros.sim_clock import TOPIC
from robolearn_ros.simulated_controller import SimulatedController
from robolearn_ros.simulation import Arm, Trajectory

PARAMETERS = (
    Parameter("robot", "fr3", "robot name or robot YAML"),
    Parameter("task", "", "task whose scene is simulated, such as reach; empty for a bare floor"),
    Parameter("rate_hz", 500.0, "rate of physics, raw joint states and command updates", "Hz", 50, 1000),
    Parameter("joint_prefix", "", "prefix of the driver's joint names"),
    Parameter("state_topic", "", "joint states at the driver's slow rate; empty for the robot file's"),
    Parameter("raw_state_topic", "", "joint states at rate_hz; empty for the robot file's"),
    Parameter("command_topic", "", "commands of the position controller; empty for the robot file's"),
    Parameter("base_frame", "base", "frame of the object poses"),
    Parameter("wrench_topic", "", "wrench at the TCP, where the task's policy reads it; empty for the robot file's"),
    Parameter("person_sensor", True, "publish a simulated person sensor"),
    Parameter("person_topic", "robolearn/person_range", "topic of the simulated person sensor"),
    Parameter(
        "person_distance_m", 5.0, "distance that the simulated person sensor reports; may be changed while running",
        "m", 0, 20, read_only=False,
    ),
    Parameter("position_noise_rad", 0.0, "standard deviation of measured joint positions", "rad", 0, 0.1),
    Parameter("velocity_noise_rad_s", 0.0, "standard deviation of measured joint velocities", "rad/s", 0, 1),
    Parameter("state_delay_s", 0.0, "delay of the published joint states", "s", 0, 0.2),
    Parameter("damping_share", 1.0, "joint damping of the plant, relative to the model", "", 0, 100),
    Parameter("gain_share", 1.0, "servo stiffness of the plant, relative to the model", "", 0.1, 10),
    Parameter("effort", False, "publish the torques of the drives with the joint states"),
    Parameter("plant", "", "simulate another arm than the model: a name in configs/plants, or a YAML"),
    Parameter("controller", "forward", "simulated controller: forward, trajectory or robolearn", "", None, None, KINDS),
    Parameter("mock_gripper", False, "speak as the driver of the arm's gripper does (`ros` in its file), in "
              "place of taking openings on gripper_position_controller/commands"),
    Parameter("profile", "", "safety profile whose limits robolearn's controller has; empty for the robot's own"),
    Parameter("stream_rate_hz", 500.0, "rate of the commands that robolearn's controller follows", "Hz", 50, 1000),
    Parameter("clock_rate", 0.0, "simulate on a clock of its own, this many times as fast as real time, and publish it "
              "on /clock; 0 for real time and no /clock", "", 0, 10),
    Parameter("clock_paused", False, "pause that clock; may be changed while running", read_only=False),
    Parameter("seed", 0, "seed of the noise and of the task's start", "", 0, 2**31 - 1),
    PHASE,
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip

PERSON_RATE_HZ = 20.0
CLOCK_RATE_HZ = 200.0  # of messages on /clock, in this arm's own time
LOOK_S = 0.05  # how often it is looked whether the clock is to be paused
POSE_RATE_HZ = 50.0
SILENT_NS = 200_000_000  # no commands come any more
WAIT_FOR_SILENCE_NS = 3_000_000_000


class SimNode:
    """Arm, topics and loop."""

    def __init__(self) -> None:
        self.node = Node("sim_node")
        p = declare(self.node, PARAMETERS, "it is the simulator; with clock_rate it publishes /clock itself")
        self.robot = load_robot(p["robot"])
        self.clock = self._own_clock(p["clock_rate"])
        self.loop = Loop(p["rate_hz"], p["rt_priority"], p["phase"], self.clock)
        plant = load_plant(p["plant"], self.robot) if p["plant"] else None
        self.arm = Arm(self.robot, 1.0 / p["rate_hz"], p["task"], p["seed"], plant)
        self._wiring = None if plant is None else Wiring(self.robot, plant, p["seed"])
        self._target = self.arm.target_rad.copy()
        self._effort = p["effort"]
        self.arm.change_plant(p["damping_share"], p["gain_share"])
        self._base_frame = p["base_frame"]
        topics = arm_topics(self.robot, self.node.get_namespace())
        self._joints = prefixed(self.robot.joint_names, p["joint_prefix"])
        raw_topic = p["raw_state_topic"] or topics.fast_state
        claimed = self.node.resolve_topic_name(raw_topic or p["state_topic"] or topics.state)
        self._claim = Claim("simulates an arm", claimed, self.node.context.get_domain_id())
        self._slow = self.node.create_publisher(JointState, p["state_topic"] or topics.state, qos(10))
        self._raw = (
            self.node.create_publisher(JointState, raw_topic, topics.state_qos(10)) if raw_topic else None
        )
        command_topic = self.node.resolve_topic_name(p["command_topic"] or topics.command)
        self._standin = self._controller_node(p, command_topic)
        self.other_nodes = (self._standin.node,)
        self._commands = Polled(self._standin.node, Float64MultiArray, command_topic, qos(10))
        self._step_s = 1.0 / p["rate_hz"]
        self._mock = (
            GripperMock(self.node, self.robot.gripper, self.arm.gripper_width_m)
            if p["mock_gripper"]
            else None
        )
        self._gripper = (
            Polled(self.node, Float64MultiArray, GRIPPER_COMMAND_TOPIC, qos(10))
            if self._mock is None
            else None
        )
        self._trajectories = Polled(
            self._standin.node, JointTrajectory, controller_topic(TRAJECTORY, command_topic), qos(10)
        )
        self._trajectory: tuple[Trajectory, int] | None = None
        self._player = (
            TrajectoryPlayer(1.0 / p["rate_hz"], self.arm.target_rad)
            if p["controller"] == TRAJECTORY
            else None
        )
        self._width = (
            self.node.create_publisher(Float64, find_source(GRIPPER_WIDTH).topic.lstrip("/"), qos(10))
            if self._mock is None  # else the gripper node tells it, from the fingers
            else None
        )
        self._poses = {
            name: self.node.create_publisher(PoseStamped, f"robolearn/pose/{name}", qos(10))
            for name in self.arm.objects()
        }
        wrench_topic = p["wrench_topic"] or topics.wrench
        self._wrench = (
            self.node.create_publisher(WrenchStamped, wrench_topic, qos(10))
            if wrench_topic and self.arm.wrench is not None
            else None
        )
        self._clock_every = max(1, round(p["rate_hz"] / CLOCK_RATE_HZ))
        self._pose_every = max(1, round(p["rate_hz"] / POSE_RATE_HZ))
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self._person = None
        if p["person_sensor"]:
            self._person = self.node.create_publisher(Range, p["person_topic"], qos(10))
            self.node.create_timer(1.0 / (PERSON_RATE_HZ * (p["clock_rate"] or 1.0)), self._publish_person)
        self.node.create_timer(1.0, self._publish_diagnostics)
        self._slow_every = max(1, round(p["rate_hz"] / topics.state_rate_hz)) if self._raw else 1
        self._noise = np.array([p["position_noise_rad"], p["velocity_noise_rad_s"]])
        self._random = np.random.default_rng(p["seed"])
        late_s = 0.0 if plant is None else plant.measurement_delay_s
        self._delay = round((p["state_delay_s"] + late_s) * p["rate_hz"])
        self._waiting: list[JointState] = []
        self.refused = 0
        self.largest_step_rad = 0.0
        self._last_target = self.arm.target_rad.copy()
        self._commanded_ns = self._asked_ns = 0
        self.acceleration = CommandAcceleration(p["rate_hz"], self.robot.dof)
        self.controller: SimulatedController | None = None
        if p["controller"] == ROBOLEARN:
            self.controller = SimulatedController(
                self._standin.node, self.robot, p["profile"], rate_hz=p["rate_hz"], stream_rate_hz=p["stream_rate_hz"],
                position_rad=self.arm.target_rad, joints=self._joints, topic=self.node.resolve_topic_name(SENT_TOPIC),
                clock=self.clock,
            )  # fmt: skip

    def _own_clock(self, rate: float) -> ScaledClock | StampClock:
        """The clock of this arm; one that is not the system's is published on /clock, and may be paused."""
        self._clock_out = None
        if rate == 0.0:
            return StampClock()
        clock = ScaledClock(rate)
        self._clock_out = self.node.create_publisher(ClockMessage, TOPIC, qos(10))
        self._clock_claim = Claim("publishes /clock", TOPIC, self.node.context.get_domain_id())

        def look() -> None:
            clock.paused = bool(self.node.get_parameter("clock_paused").value)

        self.node.create_timer(LOOK_S, look)
        return clock

    def stand(self, problem: str) -> None:
        """Paused: nothing moves, and nothing is published."""
        del problem

    def tick(self, tick_ns: int) -> None:
        """Apply commands, step the physics, publish."""
        if self._clock_out is not None and self.loop.index % self._clock_every == 0:
            self._clock_out.publish(ClockMessage(clock=time_message(self.clock, self.clock.now_ns())))
        for message in self._commands.take():
            self._commanded_ns = tick_ns
            if self.controller is None and self._player is None:
                self._trajectory = None
                self._apply(np.array(message.data, float))
        for message in self._gripper.take() if self._gripper is not None else ():
            if len(message.data) != 1 or not self.arm.command_gripper(message.data[0]):
                self.refused += 1
        if self._mock is not None:
            self.arm.command_gripper(self._mock.step(self._step_s, self.arm.gripper_width_m))
        for message in self._trajectories.take():
            self._commanded_ns = tick_ns
            self._follow(message, tick_ns)
        if self._trajectory is not None:
            trajectory, start_ns = self._trajectory
            self._apply(trajectory.sample((tick_ns - start_ns) / 1e9))
        if self._player is not None:
            self._apply(self._player.step(tick_ns / 1e9))
        if self.controller is not None:
            self._apply(self.controller.step(tick_ns))
            self._standin.tell(self.controller.filter.state, self.controller.filter.refused)
        self.acceleration.add(self.arm.target_rad)
        if self._wiring is not None:
            self.arm.command(self._wiring.command(tick_ns / 1e9, self._target))
        self.arm.step()
        position, velocity = self.arm.position_rad, self.arm.velocity_rad_s
        effort = self.arm.effort_nm if self._effort else None
        if self._wiring is not None:
            seen = self._wiring.measure(tick_ns / 1e9, position, velocity, self.arm.effort_nm)
            position, velocity, effort = seen["position_rad"], seen["velocity_rad_s"], seen["effort"]
            tick_ns = round(1e9 * seen["stamp_s"])
        if self._noise.any():
            noise = self._random.normal(size=(2, len(position))) * self._noise[:, None]
            position, velocity = position + noise[0], velocity + noise[1]
        stamp = time_message(self.clock, tick_ns)
        if self.loop.index % self._pose_every == 0:
            self._publish_cell(stamp)
        if self._wrench is not None and self.arm.wrench is not None:
            self._wrench.publish(wrench_message(stamp, *self.arm.wrench))
        effort = effort if self._effort else None
        message = joint_state(stamp, self._joints, position, velocity, effort=effort)
        if self._delay:
            self._waiting.append(message)
            if len(self._waiting) <= self._delay:
                return
            message = self._waiting.pop(0)
        if self._raw is not None:
            self._raw.publish(message)
        if self.loop.index % self._slow_every == 0:
            self._slow.publish(_with_gripper(message, self.arm.gripper_width_m))

    def rest(self, reason: str) -> bool:
        """The arm ends last: once no commands come any more, or after a while."""
        del reason
        if self.clock.fault:  # paused: time does not pass
            return True
        now_ns = self.clock.now_ns()
        self._asked_ns = self._asked_ns or now_ns
        silent = now_ns - self._commanded_ns > SILENT_NS
        return silent or now_ns - self._asked_ns > WAIT_FOR_SILENCE_NS

    def close(self) -> None:
        """Let another simulated arm take this one's place."""
        self._claim.release()
        if self._clock_out is not None:
            self._clock_claim.release()

    def statistics(self) -> dict[str, Any]:
        """Loop statistics and what was commanded."""
        return {
            **self.loop.summary(),
            "refused_commands": self.refused,
            "largest_command_step_rad": self.largest_step_rad,
            "command_acceleration_rad_s2": self.acceleration.summary(),
            **(self.controller.values() if self.controller is not None else {}),
            **(
                {"command_to_hardware_us": self.controller.latency.summary_us()}
                if self.controller is not None
                else {}
            ),
        }

    def _apply(self, target: np.ndarray) -> None:
        if not self.arm.command(target):
            self.refused += 1
            return
        self._target = target
        self.largest_step_rad = max(self.largest_step_rad, float(np.abs(target - self._last_target).max()))
        self._last_target = target

    def _follow(self, message: JointTrajectory, now_ns: int) -> None:
        """Take a trajectory as a joint trajectory controller does: by joint name, in place of the one before."""
        names, points = list(message.joint_names), message.points
        if sorted(names) != sorted(self._joints) or not points:
            self.refused += 1
            return
        order = [names.index(name) for name in self._joints]
        times = np.array([p.time_from_start.sec + p.time_from_start.nanosec / 1e9 for p in points])
        lengths = {len(p.positions) for p in points} | {
            len(p.velocities) for p in points if len(p.velocities)
        }
        if (
            lengths != {len(order)}
            or times[0] < (0.0 if self._player else 1e-9)
            or (np.diff(times) <= 0.0).any()
        ):
            self.refused += 1
            return
        positions = np.array([p.positions for p in points])[:, order]
        with_velocity = all(len(p.velocities) for p in points)
        velocities = np.array([p.velocities for p in points])[:, order] if with_velocity else None
        if self._player is not None:
            if velocities is None:
                self.refused += 1
                return
            stamp = message.header.stamp
            begin_s = (
                self.clock.monotonic_s(stamp.sec, stamp.nanosec)
                if stamp.sec or stamp.nanosec
                else now_ns / 1e9
            )
            self._player.push(Points(begin_s, times, positions, velocities), now_ns / 1e9)
            return
        self._trajectory = Trajectory(self.arm.target_rad.copy(), times, positions, velocities), now_ns

    def _controller_node(self, p: dict[str, Any], command_topic: str) -> ControllerNode:
        kind, digest = p["controller"], ""
        if kind == ROBOLEARN:
            digest = SafetyProfile.load(p["profile"] or self.robot.arm).digest
        expected = ExpectedController(
            kind=kind,
            node=controller_node(kind, command_topic),
            topic=controller_topic(kind, command_topic, self.node.resolve_topic_name(SENT_TOPIC)),
            joints=self._joints,
            stream_rate_hz=p["stream_rate_hz"],
            profile_digest=digest,
        )
        return ControllerNode(
            expected.node, controller_parameters_of(expected, p["rate_hz"]), sim_time=self.clock.simulated
        )

    def _publish_cell(self, stamp: Time) -> None:
        """What a camera and the gripper would tell."""
        if self._width is not None:
            self._width.publish(Float64(data=self.arm.gripper_width_m))
        for name, (position, turn) in self.arm.objects().items():
            message = PoseStamped()
            message.header.stamp, message.header.frame_id = stamp, self._base_frame
            point, q = message.pose.position, message.pose.orientation
            point.x, point.y, point.z = (float(x) for x in position)
            q.w, q.x, q.y, q.z = (float(x) for x in turn)
            self._poses[name].publish(message)

    def _publish_person(self) -> None:
        assert self._person is not None
        message = Range(
            radiation_type=Range.INFRARED,
            min_range=0.0,
            max_range=20.0,
            range=self.node.get_parameter("person_distance_m").get_parameter_value().double_value,
        )
        message.header.stamp = time_message(self.clock, self.clock.now_ns())
        message.header.frame_id = self._base_frame
        self._person.publish(message)

    def _publish_diagnostics(self) -> None:
        values = loop_values(self.loop) | {
            "refused_commands": self.refused,
            "largest_command_step_rad": self.largest_step_rad,
        }
        if self.controller is not None:
            values |= self.controller.values()
        level, text = (
            (WARN, f"{self.refused} commands were not finite joint targets")
            if self.refused
            else (OK, "running")
        )
        message = DiagnosticArray(
            status=[status(f"{called(self.node)}: arm", level, text, self.robot.name, values)]
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)


class CommandAcceleration:
    """The targets of the newest ticks, and how hard they accelerate any joint, by differences on the loop's grid."""

    def __init__(self, rate_hz: float, joints: int, capacity: int = 1 << 17):
        self._rate = rate_hz
        self._ring = np.zeros((capacity, joints))
        self._count = 0

    def add(self, position_rad: np.ndarray) -> None:
        """The target [n] of one more tick."""
        self._ring[self._count % len(self._ring)] = position_rad
        self._count += 1

    def summary(self) -> dict[str, float]:
        """p50, p90, p99 and largest of the ticks with motion, rad/s2; empty without motion."""
        begin = self._count % len(self._ring) if self._count > len(self._ring) else 0
        kept = np.roll(self._ring, -begin, axis=0)[: self._count]
        if len(kept) < 3:
            return {}
        acceleration = np.abs(np.diff(kept, 2, axis=0)).max(axis=1) * self._rate**2
        moved = acceleration[acceleration > 1e-3]
        if not len(moved):
            return {}
        p50, p90, p99 = np.percentile(moved, [50, 90, 99])
        return {"p50": p50, "p90": p90, "p99": p99, "max": float(moved.max()), "ticks": len(moved)}


def _with_gripper(message: JointState, width_m: float) -> JointState:
    """What the slow topic of a real arm tells: its joints and the fingers'."""
    full = JointState(header=message.header, name=[*message.name, "gripper_left", "gripper_right"])
    full.position = [*message.position, width_m / 2, width_m / 2]
    full.velocity = [*message.velocity, 0.0, 0.0]
    if len(message.effort):
        full.effort = [*message.effort, 0.0, 0.0]
    return full


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(SimNode, args)


if __name__ == "__main__":
    sys.exit(main())
