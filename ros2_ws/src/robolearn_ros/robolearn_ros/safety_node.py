"""The safety monitor as a process of its own, sole publisher to the arm's controller.

Every cycle: take every message, ask the monitor, publish what it decided, record it. It never goes silent: without
a start it holds, on an error in the loop it brakes. Operators reset, start and change the mode, anybody may stop
(`operator_service`); calls are carried out between two cycles.
"""

from __future__ import annotations

import math
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.deploy.command_grid import check_command_grid
from robolearn.deploy.deployment import profile_line
from robolearn.deploy.operators import OperatorGate, OperatorRequest, operators_from_list
from robolearn.recorder.resolution import measured_on_grid
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile, Separation
from robolearn.safety.types import Answer, Command, Decision, Measured, State, Surroundings
from robolearn_ros.arm import SENT_TOPIC, arm_topics
from robolearn_ros.arm_output import GuardOptions, arm_output
from robolearn_ros.cell_io import GripperRelay, WrenchInput
from robolearn_ros.clocks import other_clock
from robolearn_ros.decision_report import DecisionReport, NodeLog
from robolearn_ros.handshake import Handshake, meet_controller
from robolearn_ros.loop import Loop, Samples
from robolearn_ros.messages import (
    JointReader,
    Polled,
    command,
    joint_state,
    qos,
    time_message,
)
from robolearn_ros.node import ERROR, OK, WARN, called, loop_values, run_node, status
from robolearn_ros.ood import OodRecord
from robolearn_ros.operator_service import OperatorService
from robolearn_ros.parameters import declare
from robolearn_ros.policy_inputs import InputsRecord
from robolearn_ros.publishers import PublisherWatch
from robolearn_ros.safety_parameters import PARAMETERS, check_clock, expected_controller, open_log
from robolearn_ros.signals import CellSignals
from robolearn_ros.sim_clock import SimClock, node_clock
from robolearn_ros.status_gates import StatusGates, real_driver

QUEUE = 50  # messages of one topic that may wait for one cycle
SERVICE_WAIT_S = 1.0
NOT_WRITTEN = "the safety log is not written"
SIMULATED = "use_sim_time: every time is a simulator's, by /clock; nothing here is evidence about a real arm"
LOG_WAIT_S, UNWELL_LOG_WAIT_S = 15.0, 2.0  # for the log's end
SILENT_S = 0.2  # without a joint state: at this node's end the arm's standstill will not be seen any more

Request = tuple[Callable[[float], Answer], "queue.SimpleQueue[Answer]"]


class SafetyNode:
    """Topics, services and loop around one monitor and one log."""

    def __init__(self) -> None:
        self.node = Node("safety_node")
        p = declare(self.node, PARAMETERS)
        self.robot = load_robot(p["robot"])
        self.profile = SafetyProfile.load(p["profile"] or self.robot.arm)
        check_command_grid(self.robot, p["rate_hz"], p["controller"], p["controller_rate_hz"])
        self.clock = node_clock(self.node)
        check_clock(self.clock, p)
        self.loop = Loop(p["rate_hz"], p["rt_priority"], p["phase"], self.clock)
        self.monitor = SafetyMonitor(self.robot, self.profile, p["mode"], 1.0 / p["rate_hz"])
        self._controller = expected_controller(p, self.robot, self.profile, self.node, self.clock)
        self.output = arm_output(
            p["controller"],
            self.node,
            self._controller.topic,
            self._controller.joints,
            self.clock,
            p["rate_hz"],
        )
        self._ending = ""  # why this node has been asked to end
        self.log = open_log(p, self.robot, self.profile, self.clock)
        self._reader = JointReader(self.robot.joint_names, self.clock, p["joint_prefix"])
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._stop_asked = ""
        self.streaming = False  # whether decided samples go out; from the first start on
        self._stream_asked = p["stream_before_start"]
        self._derived = False  # velocities, by this node
        self._sent_ns = 0  # grid time of the last sample that went out
        self._log_problem = ""  # why cycles are not recorded
        self._arrived: list[Command] = []  # in this cycle
        self._command: Command | None = None  # the newest one
        self._measured: Measured | None = None
        self._heard_ns = 0  # when the newest joint state was taken
        self._sent_to_rest = True  # the newest sample was sent with no velocity, or none was
        self._problems: dict[str, str] = {}
        self.check_time = Samples()
        self.latency = Samples()  # from the stamp of a joint state to the command that left knowing it
        self.command_latency = Samples()  # from the stamp of the policy's command to the arm's
        self._connect(p)
        # The guard's grid is in real time: an arm on simulated time would be braked with other accelerations.
        guarded = p["brake_guard"] and not self.clock.simulated
        guard = GuardOptions(1.0 / p["rate_hz"], p["rt_priority"]) if guarded else None
        self.output.connect(self.robot.dof, guard)
        self.node.get_logger().info(profile_line(self.profile, self.monitor.mode))
        if self.clock.simulated:
            self.node.get_logger().warning(SIMULATED)

    def _connect(self, p: dict[str, Any]) -> None:
        node, topics = self.node, arm_topics(self.robot, self.node.get_namespace())
        self._policy_topic = node.resolve_topic_name(p["policy_topic"])
        self._states = Polled(
            node, JointState, p["state_topic"] or topics.best_state, topics.state_qos(QUEUE)
        )
        self._commands = Polled(node, JointState, p["policy_topic"], qos(QUEUE))
        self.signals = CellSignals(
            node, self.clock, p["person_topic"], self.monitor.limits.mode.clock_ahead_max_s.value
        )
        self._wrench = WrenchInput(node, p["wrench_topic"] or topics.wrench, self.clock)
        self._gripper = GripperRelay(node, self.robot.gripper.width_max_m)
        self._ood = OodRecord(node, self._event)
        self._inputs = InputsRecord(node, self._event, 1.0 / p["rate_hz"])
        self._sent = node.create_publisher(JointState, SENT_TOPIC, qos(10))
        self.said = NodeLog(node)
        self._decisions = DecisionReport(node, self.said, self.robot.name, self.profile.digest, self.clock)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        inputs = {"policy": self._policy_topic, "states": self._states.topic, **self.signals.topics}
        self.publishers = PublisherWatch(
            node,
            self.output.topic,
            inputs,
            exclusive=p["exclusive_publishers"],
            guard=lambda: self.output.guard_gid,
            listener=self._controller.node if p["check_controller"] else "",
        )
        self.gates = StatusGates(node, self.robot) if p["status_gates"] else None
        for text in self.gates.unwatched if self.gates is not None else ():
            self.said.warning(f"Not watched: {text}.")
            self._event("finding", about="status", text=f"not watched: {text}")
        self.handshake = Handshake(node, self._controller) if p["check_controller"] else None
        gate = OperatorGate(operators_from_list(p["operators"]))
        if gate.empty:
            node.get_logger().warning("operators is empty: nobody can start this arm. Set `operators`.")
        OperatorService(
            node, gate, self._carry_out, lambda why: self._ask(lambda now_s: self._stop(now_s, why)),
            lambda text: self._event("finding", about="operator", text=text),
        )  # fmt: skip
        node.create_timer(1.0, self._publish_diagnostics)
        node.create_timer(0.2, self._watch_publishers)

    # -- the cycle --

    def tick(self, tick_ns: int) -> None:
        """One cycle. Whatever goes wrong in it ends in a stop from the next one on, never in silence."""
        try:
            self._cycle(tick_ns)
        except Exception as error:
            reason = f"an error in the control loop: {type(error).__name__}: {error}"
            self._stop_because(reason)
            moving = self.monitor.state in (State.RUNNING, State.STOPPING)
            if moving and self._sent_ns != tick_ns and self.output.hand_over():
                self._note("output", f"{reason}; the brake guard has braked the arm. Start the nodes again")

    def stand(self, problem: str) -> None:
        """No cycle is due while a simulator's clock stands. The monitor stops with the first one that is."""
        self._note("clock", problem)
        if self.monitor.state is State.RUNNING:
            self._stop_because(problem)
        while not self._requests.empty():
            self._requests.get_nowait()[1].put(Answer(False, f"Nothing is decided now: {problem}."))

    def _cycle(self, tick_ns: int) -> None:
        try:
            self._take()
        except Exception as error:
            self._stop_because(f"reading messages failed: {type(error).__name__}: {error}")
        # After the messages: were the cycle held up before them, the newest would seem to come from the future.
        now_ns, began_ns = self.clock.now_ns(), time.monotonic_ns()
        now_s = now_ns / 1e9
        self._answer(now_s)
        surroundings = self._surroundings()
        decision = self.monitor.check(self._arrived, self._measured, surroundings, now_s)
        self.check_time.add(time.monotonic_ns() - began_ns)
        asked, self._stop_asked = self._stop_asked or self._log_problem, ""
        stamp = time_message(self.clock, tick_ns)
        if decision.publish and self.streaming:
            self.output.send(tick_ns, decision, self.monitor)
            self._sent_ns = tick_ns
            published_ns = self.clock.now_ns()
            if self._measured is not None and self._measured_new:
                self.latency.add(published_ns - round(self._measured.stamp_s * 1e9))
            if self._arrived and self.monitor.state is State.RUNNING:
                self.command_latency.add(published_ns - round(self._arrived[-1].stamp_s * 1e9))
            if not self.output.silent:
                self._sent.publish(
                    joint_state(stamp, self._controller.joints, decision.command_rad, decision.velocity_rad_s)
                )
        self._sent_to_rest = not (decision.publish and decision.velocity_rad_s.any())
        self._gripper.relay(self.monitor.state is State.RUNNING)
        cycle = self.loop.index if self.log is None else self.log.counts["cycles"]
        self._ood.take(lambda: cycle)
        self._inputs.take(cycle, self.monitor.state)
        self._record(now_s, surroundings, decision)
        self._decisions.tell(decision, self.monitor.mode, asked, now_ns)

    def _take(self) -> None:
        """Every message that came since the last cycle."""
        self._measured_new, self._arrived = False, []
        for message in self._states.take():
            self._measured = measured_on_grid(self._reader.measured(message))
            self._measured_new, self._heard_ns = True, self.clock.now_ns()
        if self._reader.derived is not self._derived:
            self._derived = self._reader.derived
            how = (
                "are derived from positions: the driver publishes none"
                if self._derived
                else "come from the driver"
            )
            self._event("finding", about="velocities", text=f"joint velocities {how}")
            self.said.warning(f"Joint velocities {how}.")
        self._arrived = [command(message, self.clock) for message in self._commands.take()]
        if self._arrived:
            self._command = self._arrived[-1]
        if self._wrench.take() and self._wrench.polled is not None:
            self._event("wrench_frame", topic=self._wrench.polled.topic, frame_id=self._wrench.frame_id)
        self._take_status()
        problem = self.signals.take(self.clock.now_ns() / 1e9, self.monitor.state is State.RUNNING)
        if problem:
            self._stop_because(problem)

    def _take_status(self) -> None:
        """What the arm's driver tells; an arm that is no longer ready stops, and after that gets no stream."""
        if self.gates is None:
            return
        self.gates.take()
        if not self.gates.closed:
            return
        if self.monitor.state is State.RUNNING:
            self._stop_because(self.gates.closed)
        elif self.monitor.state is State.STOPPED and not self._stream_asked:
            self.streaming = False  # so that nothing moves when somebody unlocks the arm

    def _surroundings(self) -> Surroundings:
        return self.signals.surroundings(bool(self._stop_asked or self._log_problem))

    def _record(self, now_s: float, surroundings: Surroundings, decision: Decision) -> None:
        if self.log is None:
            return
        well = self.log.cycle(
            now_s, self._arrived, self._measured, surroundings, decision, self._wrench.newest
        )
        if well == bool(self._log_problem):
            self._log_problem = "" if well else self._unwell_log() or f"{NOT_WRITTEN}: its queue is full"
            self._note("log", self._log_problem)

    def _unwell_log(self) -> str:
        """What is wrong with the log at this moment; empty if nothing is."""
        problem = self.log.problem if self.log is not None else ""
        return f"{NOT_WRITTEN}: {problem}" if problem else ""

    # -- services --

    def _ask(self, call: Callable[[float], Answer]) -> Answer:
        """Hand a call to the control loop and wait for its answer (executor thread)."""
        reply: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._requests.put((call, reply))
        try:
            return reply.get(timeout=SERVICE_WAIT_S)
        except queue.Empty:
            return Answer(False, "The control loop did not answer. Look at /diagnostics.")

    def _carry_out(self, request: OperatorRequest) -> Answer:
        """An operator's request, admitted by its signature (executor thread)."""
        call = {"start": self._start, "reset": self._reset, "mode": self._set_mode}[request.verb]
        if request.verb == "start" and self.monitor.state is State.HOLDING:
            problem = self._meet_controller()
            if problem:
                return self._refuse("start", problem)
        return self._ask(lambda now_s: call(now_s, request))

    def _meet_controller(self) -> str:
        """Why the arm's controller cannot be commanded; by the executor's thread, while nothing moves."""

        def record(text: str) -> None:
            self._event("finding", about="controller", text=text)

        return meet_controller(
            self.handshake, self._controller.kind, lambda: self._ask(self._begin_stream), record
        )

    def _begin_stream(self, now_s: float) -> Answer:
        """Send the held position from now on, at rest."""
        unready = self._unready(now_s)
        self.streaming |= not unready
        return Answer(not unready, unready)

    def _answer(self, now_s: float) -> None:
        """Carry out what services asked for, between two cycles."""
        while not self._requests.empty():
            call, reply = self._requests.get_nowait()
            try:
                reply.put(call(now_s))
            except Exception as error:
                self._stop_because(f"a service call failed: {type(error).__name__}: {error}")
                reply.put(Answer(False, self._stop_asked))

    def _reset(self, now_s: float, request: OperatorRequest) -> Answer:
        lasting = self._lasting() if self.monitor.state is State.STOPPED else ""
        if lasting:
            return self._refuse("reset", lasting)
        who, why = request.operator, request.reason or "no reason given"
        answer = self.monitor.reset(now_s, self._measured, who, why)
        self._event(
            "reset", now_s=now_s, measured=self._measured, who=who, key=request.key_id, why=why, answer=answer
        )
        return answer

    def _start(self, now_s: float, request: OperatorRequest) -> Answer:
        # The monitor refuses a latched stop, whatever else is missing.
        unready = self._unready(now_s) if self.monitor.state is State.HOLDING else ""
        if unready:
            return self._refuse("start", unready)
        who = request.operator
        answer = self.monitor.start(now_s, self._measured, who)
        self._event("start", now_s=now_s, measured=self._measured, who=who, key=request.key_id, answer=answer)
        if answer.accepted:
            self._command, self.streaming = None, True
        return answer

    def _unready(self, now_s: float) -> str:
        """What a start lacks that is not for the monitor to judge; empty where it lacks nothing."""
        return (
            self._lasting()
            or (real_driver(self.node, self.robot) if self.clock.simulated else "")
            or self.publishers.deaf
            or self._other_clock(now_s)
            or self._unheard(now_s)
            or self.output.problem
        )

    def _refuse(self, about: str, reason: str) -> Answer:
        """A refusal by this node, before the monitor is asked."""
        self._event("finding", about=about, text=reason)
        return Answer(False, f"No {about}: {reason}")

    def _stop(self, now_s: float, why: str = "") -> Answer:
        del now_s
        if self.monitor.state is not State.RUNNING:
            return Answer(True, f"Nothing moves: the monitor is {self.monitor.state}.")
        self._stop_because(f"stop service ({why})" if why else "stop service")
        return Answer(True, "Stopping.")

    def _set_mode(self, now_s: float, request: OperatorRequest) -> Answer:
        mode, who = request.mode, request.operator
        answer = self.monitor.set_mode(mode, who)
        self._event("mode", now_s=now_s, mode=mode, who=who, key=request.key_id, answer=answer)
        return answer

    def _stop_because(self, reason: str) -> None:
        if not self._stop_asked and self.monitor.state is State.RUNNING:
            self._event("stop_request", reason=reason)
        self._stop_asked = reason

    def _lasting(self) -> str:
        """What would stop the arm again at once after a reset and a start; empty if nothing would."""
        if self._ending:
            return f"this node is ending ({self._ending})."
        self.publishers.look()  # new publishers are noticed before a start, not after it
        return (
            self._unwell_log()
            or self.publishers.stops
            or (self.gates.closed if self.gates is not None else "")
        )

    # -- the end --

    def rest(self, reason: str) -> bool:
        """Brake to rest, whatever the arm does at that moment."""
        if not self._ending:
            self._ending = reason
            self._event("finding", about="ending", text=f"{reason}; the monitor is {self.monitor.state}")
            self.said.warning(f"Ending: {reason}. The monitor is {self.monitor.state}.")
        if self.monitor.state is State.RUNNING:
            self._stop_because(f"the safety node is ending ({reason})")
            return False
        return self.monitor.state is not State.STOPPING or self._unseen_rest

    @property
    def _unseen_rest(self) -> bool:
        """A stop was sent to its end, and no joint state comes that could show the arm's standstill."""
        return self._sent_to_rest and self.clock.now_ns() - self._heard_ns > SILENT_S * 1e9

    def close(self) -> None:
        """End the log in order, and let another process command the arm. Guard and log end at the same time."""
        self.output.end()
        try:
            self._close_log()
        finally:
            self.output.close()

    def _close_log(self) -> None:
        self.said.write()
        self._ood.write()
        self._inputs.write()
        if self.log is None:
            return
        how = "the arm was sent to rest"
        if self.monitor.state is State.RUNNING or not self._sent_to_rest:
            how = "the arm was not sent to rest"
        elif self.monitor.state is State.STOPPING:
            how += ", and its standstill was not seen"
        # A log that is not well is given less time: the process that waits for this one has a limit too.
        wait_s = UNWELL_LOG_WAIT_S if self.log.problem else LOG_WAIT_S
        self.log.close(f"the safety node was ended: {self._ending or 'an error'}; {how}", wait_s)

    # -- around it --

    def _event(self, kind: str, **fields: Any) -> None:
        if self.log is not None:
            self.log.event(kind, **fields)

    def _note(self, key: str, text: str) -> None:
        """Remember a problem for diagnostics, and record that it came or went; empty text ends it."""
        if self._problems.get(key, "") == text:
            return
        self._event("finding", about=key, text=text or "ended")
        self._problems = (
            {**self._problems, key: text} if text else {k: v for k, v in self._problems.items() if k != key}
        )
        if text:
            self.said.warning(text)

    def _watch_publishers(self) -> None:
        for name, text in self.publishers.look().items():
            self._note(name, text)
        if self.publishers.stops:
            self._stop_because(self.publishers.stops)
        self._note("arm", self.publishers.deaf)
        if self._stream_asked and not self.streaming:
            problem = self.handshake.check() if self.handshake is not None else ""
            self._note("stream", problem)
            self.streaming = self.streaming or not problem
        self._note("clock", self.clock.fault)

    def _other_clock(self, now_s: float) -> str:
        """Whose stamps are of another clock than this node's; empty where all are of it."""
        command, states, person = self._command, self._measured, self.signals.person
        stamps = {
            f"the newest joint state on {self._states.topic}": None if states is None else states.stamp_s,
            f"the newest command on {self._policy_topic}": None if command is None else command.stamp_s,
            f"the newest message on {self.signals.topics['person']}": person.stamp_s
            if person.value is not None
            else None,
        }
        found = [other_clock(what, now_s - s, self.clock) for what, s in stamps.items() if s is not None]
        return next(filter(None, found), "")

    def _unheard(self, now_s: float) -> str:
        """Who must be heard before a start and is not; empty if all are.

        ROS 2 nodes that have just come up may find each other later than a first command may take after a start.
        """
        mode = self.monitor.limits.mode
        if self.signals.person.value is None and isinstance(mode.separation, Separation):
            return f"nothing was received from the person sensor on {self.signals.topics['person']}."
        age_s = math.inf if self._command is None else now_s - self._command.stamp_s
        if age_s > mode.first_command_wait_max_s.value:
            since = f"for {age_s:.1f} s" if self._command is not None else "yet"
            return f"no command has come on {self._policy_topic} {since}: is the policy node running?"
        return ""

    def _watch_fit(self) -> None:
        """Publishers and subscribers that cannot connect because of type or quality of service."""
        gates = self.gates.polled if self.gates is not None else ()
        read = (
            self._states,
            self._commands,
            *self.signals.polled,
            self._gripper.polled,
            self._ood.polled,
            self._inputs.polled,
            *gates,
        )
        given = [text for topic in read for text in topic.misfits()]
        self._note("fit", "; ".join(given + self.output.misfits()))

    def _publish_diagnostics(self) -> None:
        self._watch_fit()
        self._ood.write()
        self._inputs.write()
        values = loop_values(self.loop) | {
            "mode": self.monitor.mode,
            "state": self.monitor.state,
            "profile_digest": self.profile.digest,
            "log": str(self.log.directory) if self.log else "none",
        }
        values |= self.clock.values() if isinstance(self.clock, SimClock) else {}
        values |= {f"check_us_{key}": value for key, value in self.check_time.summary_us().items()}
        values |= {f"state_to_command_us_{key}": value for key, value in self.latency.summary_us().items()}
        level = ERROR if self._problems else (WARN if self.log is None else OK)
        text = "; ".join(self._problems.values()) or (
            "no safety log is kept" if self.log is None else "watching"
        )
        message = DiagnosticArray(
            status=[status(f"{called(self.node)}: monitor", level, text, self.robot.name, values)]
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)

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
