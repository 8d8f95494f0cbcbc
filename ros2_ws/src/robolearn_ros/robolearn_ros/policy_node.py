"""Serves a policy bundle: named measurements in, a smooth command stream out, at the arm's rate.

A lifecycle node. Configure verifies the bundle and checks it against the live arm by name; activate starts at rest
where the arm is held; deactivate brakes and holds. It moves only while the safety node says `running`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from robolearn.deploy.claim import Claim
from robolearn.errors import BundleError, RobolearnError
from robolearn.policy.bundle import PolicyBundle
from robolearn.policy.runtime import PolicyRuntime
from robolearn.safety.command_source import after_swap
from robolearn_ros.arm import arm_topics
from robolearn_ros.clocks import out_of_date
from robolearn_ros.driver import Go, PolicyDriver
from robolearn_ros.goal_action import goal_action
from robolearn_ros.joint_state_check import check_rate, joint_state_periods
from robolearn_ros.lifecycle import Lifecycle
from robolearn_ros.loop import Loop, Samples
from robolearn_ros.messages import JointReader, Polled, joint_state, qos, time_message
from robolearn_ros.monitor_listener import MonitorListener
from robolearn_ros.node import (
    ERROR,
    OK,
    WARN,
    called,
    loop_values,
    process_age_s,
    run_node,
    status,
)
from robolearn_ros.ood import OodReport
from robolearn_ros.parameters import declare
from robolearn_ros.policy_inputs import InputsReport
from robolearn_ros.policy_parameters import PARAMETERS
from robolearn_ros.served_bundle import command_source, load_served, revoked_since
from robolearn_ros.sim_clock import node_clock
from robolearn_ros.sources import Sources
from robolearn_ros.wrench_reader import WrenchReader

REST_S = 2.0  # for the stream to come to rest before it ends


class PolicyNode:
    """Topics, lifecycle and loop around one policy driver."""

    def __init__(self) -> None:
        self.node = Lifecycle(self)
        self._p = p = declare(self.node, PARAMETERS)
        self.refusal = ""
        self.revoked = ""  # why the bundle that is served may no longer be: it brakes and holds, for good
        self.clock = node_clock(self.node)
        self.loop = Loop(p["command_rate_hz"], p["rt_priority"], p["phase"], self.clock)
        self._aside = self.loop.aside()
        self._ending = False
        self._active = False
        self._driver: PolicyDriver | None = None
        self._bundle, self.robot = load_served(p["bundle"], p)
        self._staged: tuple[PolicyBundle, PolicyDriver] | None = None
        self._source = ""
        self.node.create_service(Trigger, "~/stage", self._stage)
        self._reader = JointReader(self.robot.joint_names, self.clock, p["joint_prefix"])
        topics = arm_topics(self.robot, self.node.get_namespace())
        self._state_rate_hz = p["state_rate_hz"] or topics.rate_of(p["state_topic"] or topics.best_state)
        self._states = Polled(
            self.node, JointState, p["state_topic"] or topics.best_state, topics.state_qos(10)
        )
        self._monitor = MonitorListener(self.node, self.robot.dof)
        commanded = self.node.resolve_topic_name("robolearn/policy_command")
        self._claim = Claim("serves a policy", commanded, self.node.context.get_domain_id())
        sensor = WrenchReader(self.robot, p["wrench_topic"] or topics.wrench, p["wrench_frames"], self.clock)
        self._inputs = Sources(self.node, p["base_frame"], p["slot_topics"], sensor)
        self._goals = goal_action(self.node, self.robot, self._inputs, self)
        self._gripper: Publisher | None = None
        self._out = self.node.create_publisher(JointState, "robolearn/policy_command", qos(10))
        self._ood = OodReport(self.node)
        self._inputs_report = InputsReport(self.node)
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self._reporter = self.node.create_timer(1.0, self._publish_diagnostics)
        self._starter = self.node.create_timer(0.2, self._autostart)
        if not p["autostart"]:
            self._starter.cancel()
        self._values: dict[str, Any] = {}
        self._state_s = -np.inf
        self._slow_told = 0
        self._at_rest = True  # nothing moves that this node streams; false within a cycle, which may end that
        self._rested = True  # so it was at the end of the last cycle
        self.observation_age = Samples()

    # -- lifecycle (executor thread) --

    def configure(self) -> None:
        """Verify, warm up, and look at the joint states that come: names, rate, numbers."""
        self._bundle, _ = load_served(self._p["bundle"], self._p)
        driver = self._make_driver(self._bundle)
        m = self._bundle.manifest
        self._inputs.expect((*m.slots, *m.goal_slots))
        if any(output.name == "gripper_width_target" for output in m.outputs) and self._gripper is None:
            self._gripper = self.node.create_publisher(Float64, "robolearn/policy_gripper", qos(1))
        self._look_at_arm(m.control_hz)
        self._driver, self._source = driver, command_source(self._bundle)

    def _make_driver(self, bundle: PolicyBundle) -> PolicyDriver:
        runtime = PolicyRuntime(bundle)
        runtime.warm_up()
        return PolicyDriver(runtime, self._p["command_rate_hz"], self._aside)

    def _stage(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Verify and warm up the bundle in `staged_bundle`; the loop swaps it in. A bad one changes nothing."""
        del request
        path = self.node.get_parameter("staged_bundle").get_parameter_value().string_value
        try:
            bundle, _ = load_served(path, self._p)
            lacking = self._inputs.lacks((*bundle.manifest.slots, *bundle.manifest.goal_slots))
            if self._driver is None or lacking:
                need = f"it reads {', '.join(lacking)} too" if lacking else "the node is not configured"
                raise BundleError(
                    f"'{bundle.manifest.name}' cannot be swapped in: {need}. Configure the node with it."
                )
            self._staged = bundle, self._make_driver(bundle)
        except RobolearnError as error:
            response.success, response.message = False, str(error)
            return response
        when = (
            "now"
            if self._p["swap_in_motion"]
            else "as soon as the arm is at rest, and the arm needs a start then"
        )
        response.success, response.message = True, f"{bundle.manifest.name} is staged: it takes over {when}."
        return response

    def _look_at_arm(self, control_hz: float) -> None:
        """Raises RobotError where joint states do not come, lack a joint, or come too slowly; faster is only said."""
        periods_s = joint_state_periods(self.node, self._states, self._reader, self._misfits)
        whose = (
            "the parameter state_rate_hz" if self._p["state_rate_hz"] else f"robot file '{self.robot.name}'"
        )
        faster = check_rate(self._states.topic, periods_s, control_hz, self._state_rate_hz, whose)
        if faster:
            self.node.get_logger().warning(faster)

    def _misfits(self) -> list[str]:
        return [*self._states.misfits(), *self._inputs.misfits()]

    def activate(self) -> None:
        """Run from the next control period on, if the monitor follows."""
        self._active = True

    def deactivate(self) -> None:
        """Brake; the stream goes on at rest, so that the arm is held."""
        self._active = False

    def cleanup(self) -> None:
        """Brake, then end the stream; a monitor that is running then stops for want of commands."""
        self._active = False
        deadline = time.monotonic() + REST_S
        while not self._at_rest and time.monotonic() < deadline:
            time.sleep(0.005)
        self._driver = None
        passed = self.loop.index + 2  # a cycle under way may still publish
        while self.loop.index < passed and time.monotonic() < deadline + REST_S:
            time.sleep(0.001)

    def shut_down(self) -> None:
        """As `cleanup`; from then on nothing is published, and no transition leads out of it."""
        self._starter.cancel()
        self._reporter.cancel()
        self.cleanup()

    def _autostart(self) -> None:
        """Configure and activate once it is possible; try again while the arm is not there."""
        if self._ending:
            return
        if self._driver is None:
            self.node.trigger_configure()
        if self._driver is not None:
            self._starter.cancel()
            self.node.trigger_activate()
            name = self._bundle.manifest.name
            self.node.get_logger().info(
                f"active: {name}, digest {self._bundle.digest[:12]}, {process_age_s():.1f} s after the process began"
            )

    # -- the cycle --

    def tick(self, tick_ns: int) -> None:
        """Take messages, drive, publish. An error here ends the stream; the safety node then stops the arm."""
        driver = self._driver
        self._at_rest = driver is None or not self._monitor.holds
        if driver is None:
            self._rested = True
            return
        self._take()
        if not self._monitor.holds:
            self._rested = self._at_rest
            return
        driver.settle()
        self._ood.publish(driver.take_ood_scores())
        self._inputs_report.publish(driver.take_inputs(), self._bundle.digest)
        go = self._go(self.clock.now_ns(), driver)
        if self._staged is not None:
            driver, go = self._swap(driver, go)
        position, velocity = driver.command(self.loop.index, go, self._monitor.held_rad, self._values)
        newest = command_source(self._bundle)
        if not self._monitor.follows:  # whatever comes next needs a start, which is then this bundle's own
            self._source = newest
        elif driver.computed:
            self._source = after_swap(self._source, newest)
        stamp = time_message(self.clock, tick_ns)
        self._out.publish(joint_state(stamp, self.robot.joint_names, position, velocity, self._source))
        if self._gripper is not None and driver.gripper_width_m is not None and driver.running:
            self._gripper.publish(Float64(data=driver.gripper_width_m))
        # Another thread ends the stream and waits for this: it is checked before the policy's thread goes on.
        self._at_rest = self._rested = go is not Go.RUN and (go is Go.HOLD or driver.at_rest)
        driver.advance(self.loop.index, go, self._values)

    def _swap(self, driver: PolicyDriver, go: Go) -> tuple[PolicyDriver, Go]:
        """Put the staged policy in: at rest, under its own name, or moving; `tick` names it once it computes."""
        assert self._staged is not None
        in_motion = self._p["swap_in_motion"]
        if go is not Go.HOLD and not in_motion and (driver.running or not driver.at_rest):
            return driver, Go.BRAKE
        (bundle, staged), self._staged = self._staged, None
        try:
            staged.take_over(driver, self._values)
        except BundleError as error:
            self.refusal = str(error)
            return driver, go
        self._bundle, self._driver, self.revoked = bundle, staged, ""
        if not in_motion:
            self._source = command_source(bundle)
        self.node.get_logger().info(f"swapped: {bundle.manifest.name}, digest {bundle.digest[:12]}")
        return staged, go

    def _go(self, now_ns: int, driver: PolicyDriver) -> Go:
        if not self._monitor.follows_at(now_ns):
            return Go.HOLD
        if (
            not self._active
            or self._ending
            or self.revoked
            or not self._inputs.complete
            or self._goals.paused
        ):
            return Go.BRAKE
        age_s = now_ns / 1e9 - self._state_s
        self.observation_age.add(round(age_s * 1e9))
        limit = self._p["observation_age_max_s"]
        problem = out_of_date("the newest joint state", age_s, limit, self.clock)
        problem = problem or self._inputs.late(self._bundle.manifest.slots, now_ns / 1e9, limit)
        if problem:
            driver.problem = problem
        return Go.RUN

    def _take(self) -> None:
        now_ns = self.clock.now_ns()
        for message in self._states.take():
            if self._reader.missing(message):
                continue
            measured = self._reader.measured(message)
            if self._reader.derived and not np.isfinite(measured.velocity_rad_s).all():
                continue  # the first message: there is no velocity yet
            self._values["joint_state.position"] = measured.position_rad
            self._values["joint_state.velocity"] = measured.velocity_rad_s
            self._state_s = measured.stamp_s
            self._monitor.measured(measured.position_rad, now_ns)
        self._monitor.take(now_ns)
        self._values |= self._goals.merge(self._inputs.take())

    def stand(self, problem: str) -> None:
        """Nothing is streamed while a simulator's clock stands; diagnostics say so."""
        del problem

    # -- around it --

    @property
    def values(self) -> dict[str, Any]:
        """The newest value of each source."""
        return self._values

    @property
    def monitor_state(self) -> str:
        """The monitor's state by its newest decision; empty before the first."""
        return self._monitor.state

    @property
    def at_rest(self) -> bool:
        """Whether nothing moved that this node streams, by the last cycle that ended.

        Looked at by a timer, whose period may stay in step with the cycles and always fall within one.
        """
        return self._rested

    @property
    def goal_sources(self) -> tuple[str, ...]:
        """The sources of the served bundle's goals."""
        return tuple(slot.source for slot in self._bundle.manifest.goal_slots)

    def _publish_diagnostics(self) -> None:
        driver, bundle = self._driver, self._bundle
        self._look_for_revocation(bundle)
        values = loop_values(self.loop) | {
            "bundle": Path(bundle.path or "").name,
            "digest": bundle.digest,
            "policy_running": bool(driver and driver.running),
        }
        values |= self._inputs.felt()
        values |= {f"observation_age_us_{k}": v for k, v in self.observation_age.summary_us().items()}
        if driver is not None:
            values |= {f"inference_us_{k}": v for k, v in driver.inference.summary_us().items()}
        standing = self.clock.fault if self.clock.simulated else ""
        problem = standing or self.revoked or self.refusal or (driver.problem if driver else "not configured")
        problem = problem or self._inputs.problem or ". ".join(self._misfits()) or self._unheard()
        level, text = (ERROR, problem) if problem else (OK, "serving")
        slow = self._slow(driver)
        scores, unlike = self._ood.take()
        values |= scores
        if not problem and (slow or unlike):
            level, text = WARN, "; ".join(filter(None, (slow, unlike)))
        if not problem and not self._inputs.complete:
            level, text = WARN, f"waiting for {', '.join(self._inputs.missing)}"
        message = DiagnosticArray(
            status=[status(f"{called(self.node)}: policy", level, text, self.robot.name, values)]
        )
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _look_for_revocation(self, bundle: PolicyBundle) -> None:
        """Whether the bundle that is served has been revoked since, or that can no longer be read."""
        if self.revoked:
            return
        why = revoked_since(bundle)
        if why:
            self.revoked = f"the policy brakes and holds: {why}"
            self.node.get_logger().error(self.revoked)

    def _unheard(self) -> str:
        """Says so where the safety node was heard once and is silent now."""
        silent_s = self._monitor.silent_s(self.clock.now_ns())
        if not silent_s:
            return ""
        return (
            f"the safety node has been silent for {silent_s:.1f} s: the arm is held by its last command. "
            "Start the safety node again, then reset and start"
        )

    def _slow(self, driver: PolicyDriver | None) -> str:
        """Says so where the policy took longer than its period since the last report."""
        if driver is None:
            return ""
        slow, self._slow_told = driver.slow - self._slow_told, driver.slow
        period_ms = 1e3 / self._bundle.manifest.control_hz
        longest_ms = driver.inference.largest / 1e6
        return (
            f"the policy took longer than its period of {period_ms:g} ms {slow} times, {longest_ms:.0f} ms at most"
            if slow > 0
            else ""
        )

    def rest(self, reason: str) -> bool:
        """Brake the stream; True once it is at rest, or the monitor does not follow it."""
        del reason
        self._ending = True
        return self._driver is None or self._at_rest

    def close(self) -> None:
        """End the policy's thread, and let another process serve a policy."""
        self._claim.release()
        self._aside.shutdown(cancel_futures=True)

    def statistics(self) -> dict[str, Any]:
        """Loop, inference and observation age."""
        inference = self._driver.inference.summary_us() if self._driver else {}
        return {
            **self.loop.summary(),
            "inference_us": inference,
            "observation_age_us": self.observation_age.summary_us(),
        }


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return run_node(PolicyNode, args)


if __name__ == "__main__":
    sys.exit(main())
