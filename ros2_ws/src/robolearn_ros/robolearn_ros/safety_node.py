"""The safety monitor as a process of its own, sole publisher to the arm's controller.

Every cycle: take every message, ask the monitor, publish what it decided, record it. It never goes silent: without
a start it holds, on an error in the loop it brakes. Operators reset, start and change the mode, anybody may stop
(`operator_service`); calls are carried out between two cycles.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from robolearn.deploy.command_grid import check_command_grid
from robolearn.deploy.deployment import profile_line
from robolearn.deploy.operators import OperatorGate, OperatorRequest, operators_from_list
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile
from robolearn.safety.types import Answer, State, Surroundings
from robolearn_ros.arm import SENT_TOPIC, arm_topics
from robolearn_ros.arm_output import GuardOptions, arm_output
from robolearn_ros.cell_io import GripperRelay, WrenchInput
from robolearn_ros.decision_report import DecisionReport, NodeLog
from robolearn_ros.handshake import Handshake, meet_controller
from robolearn_ros.loop import Loop
from robolearn_ros.loop_calls import LoopCalls
from robolearn_ros.messages import joint_state, qos, time_message
from robolearn_ros.monitor_diagnostics import MonitorDiagnostics
from robolearn_ros.monitor_inputs import MonitorInputs
from robolearn_ros.node import run_node
from robolearn_ros.ood import OodRecord
from robolearn_ros.operator_service import OperatorService
from robolearn_ros.parameters import declare
from robolearn_ros.policy_inputs import InputsRecord
from robolearn_ros.publishers import PublisherWatch
from robolearn_ros.safety_parameters import PARAMETERS, check_clock, expected_controller
from robolearn_ros.session_log import open_session
from robolearn_ros.sim_clock import node_clock
from robolearn_ros.status_gates import StatusGates, real_driver

SIMULATED = "use_sim_time: every time is a simulator's, by /clock; nothing here is evidence about a real arm"
SILENT_S = 0.2  # without a joint state: at this node's end the arm's standstill will not be seen any more


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
        self.log = open_session(p, self.robot, self.profile, self.clock)
        self._ending = ""  # why this node has been asked to end
        self.calls = LoopCalls()
        self._stop_asked = ""
        self.streaming = False  # whether decided samples go out; from the first start on
        self._stream_asked = p["stream_before_start"]
        self._sent_ns = 0  # grid time of the last sample that went out
        self._sent_to_rest = True  # the newest sample was sent with no velocity, or none was
        self._connect(p)
        # The guard's grid is in real time: an arm on simulated time would be braked with other accelerations.
        guarded = p["brake_guard"] and not self.clock.simulated
        guard = GuardOptions(1.0 / p["rate_hz"], p["rt_priority"]) if guarded else None
        self.output.connect(self.robot.dof, guard)
        self.node.get_logger().info(profile_line(self.profile, self.monitor.mode))
        if self.clock.simulated:
            self.node.get_logger().warning(SIMULATED)

    def _connect(self, p: dict[str, Any]) -> None:
        node = self.node
        self.said = NodeLog(node)
        self.diagnostics = MonitorDiagnostics(node, self.loop, self.monitor, self.log, self.said)
        ahead_max_s = self.monitor.limits.mode.clock_ahead_max_s.value
        self.inputs = MonitorInputs(node, self.robot, self.clock, p, ahead_max_s, self._found)
        wrench_topic = p["wrench_topic"] or arm_topics(self.robot, node.get_namespace()).wrench
        self._wrench = WrenchInput(node, wrench_topic, self.clock)
        self._gripper = GripperRelay(node, self.robot.gripper.width_max_m)
        self._ood = OodRecord(node, self.log.event)
        self._policy_inputs = InputsRecord(node, self.log.event, 1.0 / p["rate_hz"])
        self._sent = node.create_publisher(JointState, SENT_TOPIC, qos(10))
        self._decisions = DecisionReport(node, self.said, self.robot.name, self.profile.digest, self.clock)
        self.publishers = PublisherWatch(
            node,
            self.output.topic,
            self.inputs.topics,
            exclusive=p["exclusive_publishers"],
            guard=lambda: self.output.guard_gid,
            listener=self._controller.node if p["check_controller"] else "",
        )
        self.gates = StatusGates(node, self.robot) if p["status_gates"] else None
        for text in self.gates.unwatched if self.gates is not None else ():
            self._found("status", f"not watched: {text}")
        self.handshake = Handshake(node, self._controller) if p["check_controller"] else None
        gate = OperatorGate(operators_from_list(p["operators"]))
        if gate.empty:
            node.get_logger().warning("operators is empty: nobody can start this arm. Set `operators`.")
        OperatorService(
            node, gate, self._carry_out, lambda why: self.calls.ask(lambda now_s: self._stop(now_s, why)),
            lambda text: self.log.event("finding", about="operator", text=text),
        )  # fmt: skip
        node.create_timer(1.0, self._report)
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
                self.diagnostics.note(
                    "output", f"{reason}; the brake guard has braked the arm. Start the nodes again"
                )

    def stand(self, problem: str) -> None:
        """No cycle is due while a simulator's clock stands. The monitor stops with the first one that is."""
        self.diagnostics.note("clock", problem)
        if self.monitor.state is State.RUNNING:
            self._stop_because(problem)
        self.calls.refuse(f"Nothing is decided now: {problem}.")

    def _cycle(self, tick_ns: int) -> None:
        try:
            self._take()
        except Exception as error:
            self._stop_because(f"reading messages failed: {type(error).__name__}: {error}")
        # After the messages: were the cycle held up before them, the newest would seem to come from the future.
        now_ns, began_ns = self.clock.now_ns(), time.monotonic_ns()
        now_s = now_ns / 1e9
        self.calls.carry_out(now_s, self._stop_because)
        surroundings, inputs = self._surroundings(), self.inputs
        decision = self.monitor.check(inputs.arrived, inputs.measured, surroundings, now_s)
        self.diagnostics.check_time.add(time.monotonic_ns() - began_ns)
        asked, self._stop_asked = self._stop_asked or self.log.not_recorded, ""
        stamp = time_message(self.clock, tick_ns)
        if decision.publish and self.streaming:
            self.output.send(tick_ns, decision, self.monitor)
            self._sent_ns = tick_ns
            published_ns = self.clock.now_ns()
            if inputs.measured is not None and inputs.measured_new:
                self.diagnostics.latency.add(published_ns - round(inputs.measured.stamp_s * 1e9))
            if inputs.arrived and self.monitor.state is State.RUNNING:
                self.diagnostics.command_latency.add(published_ns - round(inputs.arrived[-1].stamp_s * 1e9))
            if not self.output.silent:
                self._sent.publish(
                    joint_state(stamp, self._controller.joints, decision.command_rad, decision.velocity_rad_s)
                )
        self._sent_to_rest = not (decision.publish and decision.velocity_rad_s.any())
        self._gripper.relay(self.monitor.state is State.RUNNING)
        recorded = self.log.cycles
        cycle = self.loop.index if recorded is None else recorded
        self._ood.take(lambda: cycle)
        self._policy_inputs.take(cycle, self.monitor.state)
        self.log.cycle(now_s, inputs.arrived, inputs.measured, surroundings, decision, self._wrench.newest)
        self.diagnostics.note("log", self.log.not_recorded)
        self._decisions.tell(decision, self.monitor.mode, asked, now_ns)

    def _take(self) -> None:
        """Every message that came since the last cycle."""
        self.inputs.take()
        if self._wrench.take() and self._wrench.polled is not None:
            self.log.event("wrench_frame", topic=self._wrench.polled.topic, frame_id=self._wrench.frame_id)
        self._take_status()
        problem = self.inputs.signals.take(self.clock.now_ns() / 1e9, self.monitor.state is State.RUNNING)
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
        return self.inputs.signals.surroundings(bool(self._stop_asked or self.log.not_recorded))

    # -- services --

    def _carry_out(self, request: OperatorRequest) -> Answer:
        """An operator's request, admitted by its signature (executor thread)."""
        call = {"start": self._start, "reset": self._reset, "mode": self._set_mode}[request.verb]
        if request.verb == "start" and self.monitor.state is State.HOLDING:
            problem = self._meet_controller()
            if problem:
                return self._refuse("start", problem)
        return self.calls.ask(lambda now_s: call(now_s, request))

    def _meet_controller(self) -> str:
        """Why the arm's controller cannot be commanded; by the executor's thread, while nothing moves."""

        def record(text: str) -> None:
            self.log.event("finding", about="controller", text=text)

        return meet_controller(
            self.handshake, self._controller.kind, lambda: self.calls.ask(self._begin_stream), record
        )

    def _begin_stream(self, now_s: float) -> Answer:
        """Send the held position from now on, at rest."""
        unready = self._unready(now_s)
        self.streaming |= not unready
        return Answer(not unready, unready)

    def _reset(self, now_s: float, request: OperatorRequest) -> Answer:
        lasting = self._lasting() if self.monitor.state is State.STOPPED else ""
        if lasting:
            return self._refuse("reset", lasting)
        who, why = request.operator, request.reason or "no reason given"
        answer = self.monitor.reset(now_s, self.inputs.measured, who, why)
        self.log.event(
            "reset",
            now_s=now_s,
            measured=self.inputs.measured,
            who=who,
            key=request.key_id,
            why=why,
            answer=answer,
        )
        return answer

    def _start(self, now_s: float, request: OperatorRequest) -> Answer:
        # The monitor refuses a latched stop, whatever else is missing.
        unready = self._unready(now_s) if self.monitor.state is State.HOLDING else ""
        if unready:
            return self._refuse("start", unready)
        who = request.operator
        answer = self.monitor.start(now_s, self.inputs.measured, who)
        self.log.event(
            "start", now_s=now_s, measured=self.inputs.measured, who=who, key=request.key_id, answer=answer
        )
        if answer.accepted:
            self.inputs.forget_commands()
            self.streaming = True
        return answer

    def _unready(self, now_s: float) -> str:
        """What a start lacks that is not for the monitor to judge; empty where it lacks nothing."""
        return (
            self._lasting()
            or (real_driver(self.node, self.robot) if self.clock.simulated else "")
            or self.publishers.deaf
            or self.inputs.on_other_clock(now_s)
            or self.inputs.unheard(now_s, self.monitor.limits.mode)
            or self.output.problem
        )

    def _refuse(self, about: str, reason: str) -> Answer:
        """A refusal by this node, before the monitor is asked."""
        self.log.event("finding", about=about, text=reason)
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
        self.log.event("mode", now_s=now_s, mode=mode, who=who, key=request.key_id, answer=answer)
        return answer

    def _stop_because(self, reason: str) -> None:
        if not self._stop_asked and self.monitor.state is State.RUNNING:
            self.log.event("stop_request", reason=reason)
        self._stop_asked = reason

    def _lasting(self) -> str:
        """What would stop the arm again at once after a reset and a start; empty if nothing would."""
        if self._ending:
            return f"this node is ending ({self._ending})."
        self.publishers.look()  # new publishers are noticed before a start, not after it
        return (
            self.log.problem or self.publishers.stops or (self.gates.closed if self.gates is not None else "")
        )

    # -- the end --

    def rest(self, reason: str) -> bool:
        """Brake to rest, whatever the arm does at that moment."""
        if not self._ending:
            self._ending = reason
            self.log.event("finding", about="ending", text=f"{reason}; the monitor is {self.monitor.state}")
            self.said.warning(f"Ending: {reason}. The monitor is {self.monitor.state}.")
        if self.monitor.state is State.RUNNING:
            self._stop_because(f"the safety node is ending ({reason})")
            return False
        return self.monitor.state is not State.STOPPING or self._unseen_rest

    @property
    def _unseen_rest(self) -> bool:
        """A stop was sent to its end, and no joint state comes that could show the arm's standstill."""
        return self._sent_to_rest and self.clock.now_ns() - self.inputs.heard_ns > SILENT_S * 1e9

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
        self._policy_inputs.write()
        how = "the arm was sent to rest"
        if self.monitor.state is State.RUNNING or not self._sent_to_rest:
            how = "the arm was not sent to rest"
        elif self.monitor.state is State.STOPPING:
            how += ", and its standstill was not seen"
        self.log.close(f"the safety node was ended: {self._ending or 'an error'}; {how}")

    # -- around it --

    def _found(self, about: str, text: str) -> None:
        """Record a finding, and say it."""
        self.log.event("finding", about=about, text=text)
        self.said.warning(f"{text[:1].upper()}{text[1:]}.")

    def _watch_publishers(self) -> None:
        for name, text in self.publishers.look().items():
            self.diagnostics.note(name, text)
        if self.publishers.stops:
            self._stop_because(self.publishers.stops)
        self.diagnostics.note("arm", self.publishers.deaf)
        if self._stream_asked and not self.streaming:
            problem = self.handshake.check() if self.handshake is not None else ""
            self.diagnostics.note("stream", problem)
            self.streaming = self.streaming or not problem
        self.diagnostics.note("clock", self.clock.fault)

    def _watch_fit(self) -> None:
        """Publishers and subscribers that cannot connect because of type or quality of service."""
        gates = self.gates.polled if self.gates is not None else ()
        read = (
            *self.inputs.polled, self._gripper.polled, self._ood.polled, self._policy_inputs.polled, *gates,
        )  # fmt: skip
        given = [text for topic in read for text in topic.misfits()]
        self.diagnostics.note("fit", "; ".join(given + self.output.misfits()))

    def _report(self) -> None:
        """Once a second, by the executor's thread."""
        self._watch_fit()
        self._ood.write()
        self._policy_inputs.write()
        self.diagnostics.publish()

    def statistics(self) -> dict[str, Any]:
        """Loop, check and latency."""
        return self.diagnostics.statistics()


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(SafetyNode, args)


if __name__ == "__main__":
    sys.exit(main())
