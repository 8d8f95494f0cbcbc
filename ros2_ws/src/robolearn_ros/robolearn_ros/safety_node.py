"""The safety monitor as a process of its own, sole publisher to the arm's controller.

Every cycle: take every message, ask the monitor, publish what it decided, record it. It never goes silent: without
a start it holds, on an error in the loop it brakes. Services reset, start, stop and change the mode; they are carried
out between two cycles.
"""

from __future__ import annotations

import math
import queue
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import JointState, Range
from std_msgs.msg import Bool, Float64, Float64MultiArray
from std_srvs.srv import Trigger

from robolearn.deploy.command_grid import CONTROLLERS, check_command_grid
from robolearn.deploy.deployment import profile_line
from robolearn.recorder.safety_log import SafetyLog
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile, Separation
from robolearn.safety.types import Answer, Command, Decision, Measured, State, Surroundings, Verdict
from robolearn_ros.arm import GRIPPER_COMMAND_TOPIC, arm_topics
from robolearn_ros.loop import Loop, Samples, StampClock
from robolearn_ros.messages import (
    JointReader,
    Polled,
    command,
    distance_m,
    joint_state,
    misfits,
    qos,
    time_message,
)
from robolearn_ros.node import ERROR, OK, PHASE, RT_PRIORITY, STATS_PATH, WARN, loop_values, run_node, status
from robolearn_ros.parameters import Parameter, declare

PARAMETERS = (
    Parameter("robot", "fr3", "robot name or robot YAML"),
    Parameter("profile", "", "safety profile; empty for the robot's own"),
    Parameter("mode", "automatic", "mode at the start", "", None, None,
              ("manual_reduced", "automatic", "collaborative")),
    Parameter("rate_hz", 500.0, "rate of checking and of commands to the arm", "Hz", 50, 1000),
    Parameter("state_topic", "", "joint states; empty for the fastest that the robot file names"),
    Parameter("command_topic", "", "the position controller; empty for the robot file's"),
    Parameter("controller", "forward", "what takes commands: a forward controller, or robolearn's (interpolates)",
              "", None, None, CONTROLLERS),
    Parameter("controller_rate_hz", 0.0, "rate at which a forward controller takes them; 0 for the robot file's",
              "Hz", 0, 10000),
    Parameter("policy_topic", "/robolearn/policy_command", "commands of the policy"),
    Parameter("person_topic", "/robolearn/person_range", "distance from the robot's base to the nearest person"),
    Parameter("log_dir", "", "new or empty folder of the safety log; empty for no log"),
    Parameter("log_key", "", "key file that signs the log; empty for the default"),
    Parameter("deployment_id", "not stated", "what this installation is called in the log"),
    Parameter("operator", "operator", "pseudonym recorded with reset, start and mode; may be changed while running",
              read_only=False),
    Parameter("reset_reason", "service call", "why, recorded with a reset; may be changed while running",
              read_only=False),
    replace(PHASE, default=0.6),
    RT_PRIORITY,
    STATS_PATH,
)  # fmt: skip

QUEUE = 50  # messages of one topic that may wait for one cycle
SERVICE_WAIT_S = 1.0
DECISION_PERIOD_NS = 100_000_000

Request = tuple[Callable[[float], Answer], "queue.SimpleQueue[Answer]"]


class SafetyNode:
    """Topics, services and loop around one monitor and one log."""

    def __init__(self) -> None:
        self.node = Node("safety_node")
        p = declare(self.node, PARAMETERS)
        self.robot = load_robot(p["robot"])
        self.profile = SafetyProfile.load(p["profile"] or self.robot.name)
        check_command_grid(self.robot, p["rate_hz"], p["controller"], p["controller_rate_hz"])
        self.loop = Loop(p["rate_hz"], p["rt_priority"], p["phase"])
        self.clock = StampClock()
        self.monitor = SafetyMonitor(self.robot, self.profile, p["mode"], 1.0 / p["rate_hz"])
        self.log = self._open_log(p)
        self._reader = JointReader(self.robot.joint_names, self.clock)
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stop_asked = ""
        self._log_well = True
        self._arrived: list[Command] = []  # in this cycle
        self._command: Command | None = None  # the newest one
        self._measured: Measured | None = None
        self._person: tuple[float, float] | None = None
        self._enabled: tuple[bool, float] | None = None
        self._decision: Decision | None = None
        self._told: tuple[Any, ...] = ()
        self._told_ns = 0
        self._problems: dict[str, str] = {}
        self.check_time = Samples()
        self.latency = Samples()  # from the stamp of a joint state to the command that left knowing it
        self.command_latency = Samples()  # from the stamp of the policy's command to the arm's
        self._connect(p)
        self.node.get_logger().info(profile_line(self.profile, self.monitor.mode))

    def _connect(self, p: dict[str, Any]) -> None:
        node, topics = self.node, arm_topics(self.robot)
        self._command_topic = p["command_topic"] or topics.command
        self._policy_topic = p["policy_topic"]
        self._states = Polled(
            node, JointState, p["state_topic"] or topics.best_state, topics.state_qos(QUEUE)
        )
        self._commands = Polled(node, JointState, p["policy_topic"], qos(QUEUE))
        self._ranges = Polled(node, Range, p["person_topic"], qos(QUEUE))
        self._enabling = Polled(node, Bool, "/robolearn/enabling_device", qos(QUEUE))
        self._gripper = Polled(node, Float64, "/robolearn/policy_gripper", qos(1))
        self._gripper_out = node.create_publisher(Float64MultiArray, GRIPPER_COMMAND_TOPIC, qos(1))
        self._out_qos = qos(1)
        self._out = node.create_publisher(Float64MultiArray, self._command_topic, self._out_qos)
        self._sent = node.create_publisher(JointState, "/robolearn/sent_command", qos(10))
        self._decisions = node.create_publisher(
            DiagnosticStatus, "/robolearn/decision", qos(50, latched=True)
        )
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        calls: dict[str, Callable[[float], Answer]] = {
            "reset": self._reset,
            "start": self._start,
            "stop": self._stop,
        }
        for mode in self.profile.modes:
            calls[f"set_mode_{mode}"] = lambda now_s, mode=mode: self._set_mode(now_s, mode)
        for name, call in calls.items():
            node.create_service(
                Trigger, f"~/{name}", lambda _, response, call=call: self._ask(call, response)
            )
        node.create_timer(1.0, self._publish_diagnostics)
        node.create_timer(0.2, self._watch_publishers)

    # -- the cycle --

    def tick(self, tick_ns: int) -> None:
        """One cycle. Whatever goes wrong in it ends in a stop from the next one on, never in silence."""
        try:
            self._cycle(tick_ns)
        except Exception as error:
            self._stop_because(f"an error in the control loop: {type(error).__name__}: {error}")

    def _cycle(self, tick_ns: int) -> None:
        try:
            self._take()
        except Exception as error:
            self._stop_because(f"reading messages failed: {type(error).__name__}: {error}")
        # After the messages: were the cycle held up before them, the newest would seem to come from the future.
        now_ns = time.monotonic_ns()
        now_s = now_ns / 1e9
        self._answer(now_s)
        surroundings = self._surroundings()
        decision = self.monitor.check(self._arrived, self._measured, surroundings, now_s)
        self.check_time.add(time.monotonic_ns() - now_ns)
        self._stop_asked = ""
        stamp = time_message(self.clock, tick_ns)
        if decision.publish:
            self._out.publish(Float64MultiArray(data=decision.command_rad.tolist()))
            published_ns = time.monotonic_ns()
            if self._measured is not None and self._measured_new:
                self.latency.add(published_ns - round(self._measured.stamp_s * 1e9))
            if self._arrived and self.monitor.state is State.RUNNING:
                self.command_latency.add(published_ns - round(self._arrived[-1].stamp_s * 1e9))
            self._sent.publish(
                joint_state(stamp, self.robot.joint_names, decision.command_rad, decision.velocity_rad_s)
            )
        self._relay_gripper()
        self._record(now_s, surroundings, decision)
        self._tell(decision, now_ns, now_s)

    def _relay_gripper(self) -> None:
        """Pass on the gripper's opening while commands are followed; at a stop it keeps what it holds."""
        for message in self._gripper.take():
            if self.monitor.state is State.RUNNING and math.isfinite(message.data):
                width = min(max(message.data, 0.0), self.robot.gripper.width_max_m)
                self._gripper_out.publish(Float64MultiArray(data=[width]))

    def _take(self) -> None:
        """Every message that came since the last cycle."""
        self._measured_new, self._arrived = False, []
        for message in self._states.take():
            self._measured, self._measured_new = self._reader.measured(message), True
        self._arrived = [command(message, self.clock) for message in self._commands.take()]
        if self._arrived:
            self._command = self._arrived[-1]
        ranges = self._ranges.take()
        if ranges:  # the nearest of those that came in this cycle; NaN wins
            nearest = min(ranges, key=lambda r: -math.inf if math.isnan(r.range) else distance_m(r))
            stamp = nearest.header.stamp
            self._person = distance_m(nearest), self.clock.monotonic_s(stamp.sec, stamp.nanosec)
        for message in self._enabling.take():
            self._enabled = bool(message.data), time.monotonic_ns() / 1e9

    def _surroundings(self) -> Surroundings:
        held, held_s = self._enabled or (None, None)
        distance, stamp = self._person or (None, None)
        stop = bool(self._stop_asked) or not self._log_well
        return Surroundings(distance, stamp, stop, held, held_s)

    def _record(self, now_s: float, surroundings: Surroundings, decision: Decision) -> None:
        if self.log is None:
            return
        well = self.log.cycle(now_s, self._arrived, self._measured, surroundings, decision)
        if well != self._log_well:
            self._log_well = well
            self._note(
                "log",
                "" if well else f"the safety log is not written: {self.log.problem or 'its queue is full'}",
            )

    def _tell(self, decision: Decision, now_ns: int, now_s: float) -> None:
        """The decision on change and at 10 Hz."""
        record = decision.records[0] if decision.records else None
        key = (decision.verdict, decision.state, record and record.rule, self.monitor.mode)
        changed = key != self._told
        self._decision = decision
        if not changed and now_ns - self._told_ns < DECISION_PERIOD_NS:
            return
        self._told, self._told_ns = key, now_ns
        values: dict[str, Any] = {
            "verdict": decision.verdict,
            "state": decision.state,
            "latched": decision.latched,
            "mode": self.monitor.mode,
            "monotonic_ns": now_ns,
            "stopping_time_s": decision.stopping_time_s,
            "profile_digest": self.profile.digest,
        }
        if record is not None:
            values |= {
                "rule": record.rule,
                "where": record.where,
                "value": record.value,
                "limit": record.limit,
                "margin": record.margin,
                "unit": record.unit,
                "source": record.source,
            }
        level = {Verdict.PASS: OK, Verdict.LIMIT: WARN, Verdict.STOP: ERROR if decision.latched else WARN}
        text = record.text if record is not None else str(decision.state)
        self._decisions.publish(
            status("robolearn: decision", level[decision.verdict], text, self.robot.name, values)
        )

    # -- services --

    def _ask(self, call: Callable[[float], Answer], response: Trigger.Response) -> Trigger.Response:
        """Hand a call to the control loop and wait for its answer (executor thread)."""
        reply: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._requests.put((call, reply))
        try:
            answer = reply.get(timeout=SERVICE_WAIT_S)
        except queue.Empty:
            answer = Answer(False, "The control loop did not answer. Look at /diagnostics.")
        response.success, response.message = answer.accepted, answer.text
        return response

    def _answer(self, now_s: float) -> None:
        """Carry out what services asked for, between two cycles."""
        while not self._requests.empty():
            call, reply = self._requests.get_nowait()
            try:
                reply.put(call(now_s))
            except Exception as error:
                self._stop_because(f"a service call failed: {type(error).__name__}: {error}")
                reply.put(Answer(False, self._stop_asked))

    def _reset(self, now_s: float) -> Answer:
        who, why = self._text("operator"), self._text("reset_reason")
        answer = self.monitor.reset(now_s, self._measured, who, why)
        self._event("reset", now_s=now_s, measured=self._measured, who=who, why=why, answer=answer)
        return answer

    def _start(self, now_s: float) -> Answer:
        # A latched stop is for the monitor to refuse, whoever else is missing.
        unready = (self._deaf() or self._unheard(now_s)) if self.monitor.state is State.HOLDING else ""
        if unready:
            self._event("finding", about="start", text=unready)
            return Answer(False, f"No start: {unready}")
        who = self._text("operator")
        answer = self.monitor.start(now_s, self._measured, who)
        self._event("start", now_s=now_s, measured=self._measured, who=who, answer=answer)
        if answer.accepted:
            self._command = None
        return answer

    def _stop(self, now_s: float) -> Answer:
        del now_s
        if self.monitor.state is not State.RUNNING:
            return Answer(True, f"Nothing moves: the monitor is {self.monitor.state}.")
        self._stop_because("stop service")
        return Answer(True, "Stopping.")

    def _set_mode(self, now_s: float, mode: str) -> Answer:
        who = self._text("operator")
        answer = self.monitor.set_mode(mode, who)
        self._event("mode", now_s=now_s, mode=mode, who=who, answer=answer)
        return answer

    def _stop_because(self, reason: str) -> None:
        if not self._stop_asked and self.monitor.state is State.RUNNING:
            self._event("stop_request", reason=reason)
        self._stop_asked = reason

    # -- around it --

    def _open_log(self, p: dict[str, Any]) -> SafetyLog | None:
        if not p["log_dir"]:
            return None
        session = {
            "mode": p["mode"],
            "period_s": 1.0 / p["rate_hz"],
            "deployment_id": p["deployment_id"],
            "operator": p["operator"],
            "parameters": p,
        }
        key = Path(p["log_key"]) if p["log_key"] else None
        return SafetyLog.open(
            Path(p["log_dir"]),
            robot=self.robot,
            profile=self.profile,
            session=session,
            signing_key=key,
            profile_file=p["profile"] or None,
        )

    def _event(self, kind: str, **fields: Any) -> None:
        if self.log is not None:
            self.log.event(kind, **fields)

    def _text(self, name: str) -> str:
        return str(self.node.get_parameter(name).value)

    def _note(self, key: str, text: str) -> None:
        """Remember a problem for diagnostics, and record that it came or went; empty text ends it."""
        if self._problems.get(key, "") == text:
            return
        self._event("finding", about=key, text=text or "ended")
        self._problems = (
            {**self._problems, key: text} if text else {k: v for k, v in self._problems.items() if k != key}
        )
        if text:
            self.node.get_logger().warning(text)

    def _watch_publishers(self) -> None:
        others = self.node.count_publishers(self._command_topic) - 1
        self._note("controller", f"{others} other publisher(s) on {self._command_topic}: this monitor no longer "
                   "decides alone what the arm does" if others > 0 else "")  # fmt: skip
        policies = self.node.count_publishers(self._policy_topic)
        self._note(
            "policy", f"{policies} publishers on {self._policy_topic}, expected one" if policies > 1 else ""
        )
        states = self.node.count_publishers(self._states.topic)
        self._note(
            "states", f"{states} publishers on {self._states.topic}, expected one" if states > 1 else ""
        )
        self._note("arm", self._deaf())
        stepped = self.clock.stepped_s()
        self._note("clock", f"the system clock was moved by {stepped:.3f} s" if abs(stepped) > 0.005 else "")
        if others > 0:
            self._stop_because(f"another publisher on {self._command_topic}")

    def _deaf(self) -> str:
        """Why the arm's controller cannot hear this monitor; empty if it can."""
        if self.node.count_subscribers(self._command_topic):
            return ""
        return f"nobody listens on {self._command_topic}: is the controller active?"

    def _unheard(self, now_s: float) -> str:
        """Who must be heard before a start and is not; empty if all are.

        ROS 2 nodes that have just come up may find each other later than a first command may take after a start.
        """
        mode = self.monitor.limits.mode
        if self._person is None and isinstance(mode.separation, Separation):
            return f"nothing was received from the person sensor on {self._ranges.topic}."
        age_s = math.inf if self._command is None else now_s - self._command.stamp_s
        if age_s > mode.first_command_wait_max_s.value:
            since = f"for {age_s:.1f} s" if self._command is not None else "yet"
            return f"no command has come on {self._policy_topic} {since}: is the policy node running?"
        return ""

    def _watch_fit(self) -> None:
        """Whoever can never be heard, or never hears, because of type or quality of service."""
        read = (self._states, self._commands, self._ranges, self._enabling, self._gripper)
        given = [text for topic in read for text in topic.misfits()]
        taken = misfits(self.node, self._command_topic, Float64MultiArray, self._out_qos, reading=False)
        self._note("fit", "; ".join(given + taken))

    def _publish_diagnostics(self) -> None:
        self._watch_fit()
        values = loop_values(self.loop) | {
            "mode": self.monitor.mode,
            "state": self.monitor.state,
            "profile_digest": self.profile.digest,
            "log": str(self.log.directory) if self.log else "none",
        }
        values |= {f"check_us_{key}": value for key, value in self.check_time.summary_us().items()}
        values |= {f"state_to_command_us_{key}": value for key, value in self.latency.summary_us().items()}
        level = ERROR if self._problems else (WARN if self.log is None else OK)
        text = "; ".join(self._problems.values()) or (
            "no safety log is kept" if self.log is None else "watching"
        )
        message = DiagnosticArray(
            status=[status("safety_node: monitor", level, text, self.robot.name, values)]
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """End the log in order."""
        if self.log is not None:
            self.log.close("the safety node was ended")

    def statistics(self) -> dict[str, Any]:
        """Loop, check and latency."""
        return {
            **self.loop.summary(),
            "check_us": self.check_time.summary_us(),
            "state_to_command_us": self.latency.summary_us(),
            "policy_to_command_us": self.command_latency.summary_us(),
        }


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(SafetyNode, args)


if __name__ == "__main__":
    sys.exit(main())
