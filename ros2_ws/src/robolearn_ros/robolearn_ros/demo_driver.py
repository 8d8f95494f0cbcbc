"""Exercises an arm that is being served: goals one after another, then faults, each followed by reset and start.

    python -m robolearn_ros.demo_driver --goals goals.json --out result.json

Writes one JSON object per line to standard output as it goes. Where it needs a process killed or started again it
asks its parent process, by a line {"request": ..., "node": ...}, and waits for a line on standard input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from sensor_msgs.msg import JointState

from robolearn.deploy.ending import watch_supervisor
from robolearn.errors import RobolearnError
from robolearn.robots import load_robot
from robolearn.robots.kinematics import forward
from robolearn_ros.loop import set_fifo
from robolearn_ros.messages import qos
from robolearn_ros.observer import DriverError, Observer, Seen, Told, Vector

TOLERANCE_M = 0.02
HOLD_S = 0.5
GOAL_TIMEOUT_S = 8.0
MOVING_RAD_S = 0.3  # a fault is injected while a joint is at least this fast
STANDSTILL_RAD_S = 0.02
ACCEPTED_WITHIN_S = 10.0
TRIES = 5  # of a goal and of a fault, where an unexpected stop came first
STAYS_RAD = 0.01
HELD_WITHIN_S = (
    1.8  # from a fault to standstill: 0.8 s by the table of faults, and a second for a busy machine
)
WALK_M_S = 1.6
PERSON_FAR_M, PERSON_NEAR_M = 5.0, 0.3
PRIORITY = 5  # it stands for a person sensor: on a busy machine it must not fall silent
STOPPED = ("stopping", "stopped")


class Driver:
    """The sequence. Every result is a plain dict, ready for JSON."""

    def __init__(self, observer: Observer, goals: list[Vector], tell: Callable[[dict[str, Any]], None]):
        self.seen, self.goals, self.tell = observer, goals, tell
        self._again = cycle(goals)
        self.reached: list[dict[str, Any]] = []
        self.recovered: list[dict[str, Any]] = []
        self.unexpected: list[dict[str, Any]] = []

    def run(self, faults: bool) -> dict[str, Any]:
        """Everything, in order. Where something does not come, what was found until then and the error."""
        found = {"goals": self.reached, "faults": self.recovered, "unexpected_stops": self.unexpected}
        try:
            self.prepare()
            for index, goal in enumerate(self.goals):
                self.reached.append(self.reach(goal, index))
            for rule, fault in self._faults() if faults else ():
                self.recovered.append(self._until(rule, fault))
        except RobolearnError as error:
            self.tell({"event": "error", "text": str(error)})
            return {**found, "passed": False, "error": str(error)}
        passed = all(r["reached"] for r in self.reached) and all(f["passed"] for f in self.recovered)
        return {**found, "passed": passed}

    def prepare(self) -> None:
        """Wait for arm, monitor and policy, then start."""
        s = self.seen
        s.wait("A joint state", lambda: bool(s.track), 20.0)
        s.wait("A decision of the monitor", lambda: bool(s.told), 20.0)
        s.wait("A command of the policy", self._policy_alive, 30.0)
        # A monitor that has just come up has not heard of all others yet, and refuses until it has.
        self.tell({"event": "started", "text": self._call("start")})

    def reach(self, goal: Vector, index: int | None = None) -> dict[str, Any]:
        """Send a goal and wait until the TCP has stayed within 2 cm of it for half a second.

        After an unexpected stop the time begins anew, a few times.
        """
        s = self.seen
        s.send_goal(goal)
        began, inside, error = time.monotonic(), None, np.inf
        tries = 1
        while time.monotonic() - began < GOAL_TIMEOUT_S:
            s.step()
            now = time.monotonic()
            error = float(np.linalg.norm(s.tcp_m - goal))
            inside = None if error > TOLERANCE_M else inside or now
            if inside is not None and now - inside >= HOLD_S:
                break
            if s.state in STOPPED:
                self._recover_unexpected()
                inside = None
                if tries < TRIES:
                    began, tries = time.monotonic(), tries + 1
        reached = inside is not None and time.monotonic() - inside >= HOLD_S
        result = {
            "goal_m": [round(float(x), 4) for x in goal],
            "reached": reached,
            "seconds": round((inside or time.monotonic()) - began, 3),
            "error_m": round(error, 4),
        }
        if index is not None:
            self.tell({"event": "goal", "index": index + 1, "count": len(self.goals), **result})
        return result

    # -- faults --

    def _faults(self) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
        """Each fault, and the rule that has to stop it."""
        return [
            ("command_age", self.killed),
            ("finite", self.nan),
            ("command_jump", self.jump),
            ("separation", self.person),
        ]

    def _until(self, rule: str, fault: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A fault; again where the stop was by another rule, which no fault called for."""
        for _ in range(TRIES):
            result = fault()
            if result["rule"] == rule:
                self.tell({"event": "recovered", **result})
                return result
            self._unexpected(result["rule"], result["text"])
        raise DriverError(
            f"'{result['what']}' was to be stopped by the rule {rule}; {TRIES} times another came first."
        )

    def killed(self) -> dict[str, Any]:
        """The policy's process dies by SIGKILL while the arm moves."""

        def inject() -> float:
            return self._ask("kill", "policy_node")["monotonic_ns"] / 1e9

        def mend() -> None:
            self._ask("start", "policy_node")
            self.seen.wait("A command of the restarted policy", self._policy_alive, 30.0)

        return self._fault("killed", "policy process killed with SIGKILL", inject, mend)

    def nan(self) -> dict[str, Any]:
        """A rogue publisher sends NaN in the policy's name."""
        return self._rogue("nan", "rogue publisher sends NaN", float("nan"))

    def jump(self) -> dict[str, Any]:
        """A rogue publisher sends a command that is one radian away, in the policy's name."""
        return self._rogue("jump", "rogue publisher sends a step of 1 rad", 1.0)

    def person(self) -> dict[str, Any]:
        """A person walks up to the arm at 1.6 m/s, to 0.3 m."""
        s = self.seen
        at_stop: list[float] = []

        def inject() -> float:
            began, told = time.monotonic(), len(s.told)
            s.person_told.clear()
            while s.person_m > PERSON_NEAR_M:
                s.person_m = max(PERSON_FAR_M - WALK_M_S * (time.monotonic() - began), PERSON_NEAR_M)
                s.step()
                if s.state in STOPPED and not at_stop:
                    at_stop.append(s.person_m)
                if s.state == "running" and s.speed_rad_s < MOVING_RAD_S / 3:
                    s.send_goal(next(self._again))
            needed = [t.limit for t in s.told[told:] if t.state in STOPPED and t.rule == "separation"]
            closer = [sent_s for sent_s, distance in s.person_told if needed and distance < needed[0]]
            return closer[0] if closer else began

        def mend() -> None:
            s.person_m = PERSON_FAR_M
            until = time.monotonic() + 0.3
            s.wait("The person's leaving", lambda: time.monotonic() > until, 1.0)

        result = self._fault("person", "a person walks up to 0.3 m", inject, mend)
        result["person_at_stop_m"] = round(at_stop[0], 2) if at_stop else PERSON_NEAR_M
        return result

    def _rogue(self, name: str, what: str, offset: float) -> dict[str, Any]:
        s = self.seen
        publisher = s.node.create_publisher(JointState, "robolearn/policy_command", qos(10))
        until = time.monotonic() + 0.5
        s.wait("Discovery of the rogue publisher", lambda: time.monotonic() > until, 2.0)

        def inject() -> float:
            message, real = s.message(JointState), s.policy_command
            assert real is not None
            message.header.frame_id, message.name, message.velocity = (
                real.header.frame_id,
                real.name,
                real.velocity,
            )
            message.position = [float(x) + offset for x in real.position]
            now = time.monotonic()
            publisher.publish(message)
            return now

        def mend() -> None:
            s.node.destroy_publisher(publisher)

        return self._fault(name, what, inject, mend)

    def _fault(
        self, name: str, what: str, inject: Callable[[], float], mend: Callable[[], None]
    ) -> dict[str, Any]:
        """Move, inject, watch the stop, see that it is latched, mend, reset, start, reach a goal again."""
        s = self.seen
        self.tell({"event": "fault", "name": name, "what": what})
        self._move()
        del s.track[:-1]
        from_decision = len(s.told)
        fault_s = inject()
        s.wait(f"A stop after '{what}'", lambda: s.state == "stopped", 10.0)
        stop = next((told for told in s.told[from_decision:] if told.state in STOPPED), s.told[-1])
        result = {"name": name, "what": what, **self._measure(s.track, fault_s, stop)}
        accepted, why = s.call("start")
        mend()
        result["latched"] = not accepted and self._stays()
        result["start_without_reset"] = why
        result |= self._reset_and_start(what)
        result["again"] = self.reach(next(self._again))
        in_time = result["standstill_after_s"] <= HELD_WITHIN_S
        result["passed"] = bool(result["latched"] and in_time and result["again"]["reached"])
        return result

    def _measure(self, track: list[Seen], fault_s: float, stop: Told) -> dict[str, Any]:
        """The stop in numbers: delays from the fault, speeds and travel after it."""
        after = [seen for seen in track if seen.time_s >= fault_s]
        moving = [seen.time_s for seen in after if np.abs(seen.velocity_rad_s).max() > STANDSTILL_RAD_S]
        tcp = np.array([forward(self.seen.robot, seen.position_rad)[0] for seen in after[::5]])
        times = np.array([seen.time_s for seen in after[::5]])
        speed = np.linalg.norm(np.diff(tcp, axis=0), axis=1) / np.diff(times)
        stopping = tcp[times >= stop.time_s]
        return {
            "rule": stop.rule,
            "text": stop.text,
            "stop_after_s": round(stop.time_s - fault_s, 4),
            "standstill_after_s": round(max([*moving, fault_s]) - fault_s, 4),
            "standstill_after_stop_s": round(max([*moving, stop.time_s]) - stop.time_s, 4),
            "peak_joint_speed_rad_s": round(max(float(np.abs(x.velocity_rad_s).max()) for x in after), 3),
            "peak_tcp_speed_m_s": round(float(speed.max(initial=0.0)), 3),
            "tcp_travel_after_stop_m": round(
                float(np.linalg.norm(np.diff(stopping, axis=0), axis=1).sum()), 4
            ),
        }

    # -- helpers --

    def _move(self) -> None:
        """Get the arm moving toward a goal."""
        s = self.seen
        for _ in range(2 * len(self.goals)):
            s.send_goal(next(self._again))
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                s.step()
                if s.speed_rad_s > MOVING_RAD_S and s.state == "running":
                    return
                if s.state in STOPPED:
                    self._recover_unexpected()
                    break
        raise DriverError("The arm did not move: the policy does not follow its goals.")

    def _stays(self) -> bool:
        """Whether the arm stays where it is, whatever the policy sends, for a third of a second."""
        s = self.seen
        began, until = len(s.track) - 1, time.monotonic() + 0.33
        s.wait("A third of a second", lambda: time.monotonic() > until, 1.0)
        rest = s.track[began].position_rad
        moved = max(float(np.abs(x.position_rad - rest).max()) for x in s.track[began:])
        return s.state == "stopped" and moved < STAYS_RAD

    def _policy_alive(self) -> bool:
        return time.monotonic() - self.seen.policy_seen_s < 0.1

    def _recover_unexpected(self) -> None:
        """A stop that no fault called for: kept as a finding, then work goes on."""
        s = self.seen
        last = s.told[-1]
        s.wait("Standstill", lambda: s.state == "stopped", 10.0)
        self._unexpected(last.rule, last.text)
        self._reset_and_start(last.text)

    def _unexpected(self, rule: str, text: str) -> None:
        finding = {"event": "unexpected_stop", "rule": rule, "text": text}
        self.unexpected.append(finding)
        self.tell(finding)

    def _reset_and_start(self, cause: str) -> dict[str, str]:
        """What an operator does once the arm stands still; the answers by call."""
        s = self.seen
        s.wait("Standstill", lambda: s.speed_rad_s < STANDSTILL_RAD_S, 5.0)
        return {call: self._call(call, f" after a stop ({cause})") for call in ("reset", "start")}

    def _call(self, name: str, when: str = "") -> str:
        """Call a service until it is accepted. Raises DriverError where it is not in time."""
        s, until = self.seen, time.monotonic() + ACCEPTED_WITHIN_S
        accepted, text = s.call(name)
        while not accepted and time.monotonic() < until:
            for _ in range(10):
                s.step()
            accepted, text = s.call(name)
        if not accepted:
            raise DriverError(f"The monitor refused to {name}{when} for {ACCEPTED_WITHIN_S:g} s: {text}")
        return text

    def _ask(self, request: str, node: str) -> dict[str, Any]:
        """Have the parent process kill or start a process."""
        self.tell({"request": request, "node": node})
        return json.loads(sys.stdin.readline())


def main(arguments: list[str] | None = None) -> int:
    """Entry point. Exit status: 0 all passed, 1 not all, 2 something did not come."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot", default="fr3")
    parser.add_argument("--goals", type=Path, required=True, help="JSON list of [x, y, z] in m, base frame")
    parser.add_argument("--out", type=Path, required=True, help="where the result goes, JSON")
    parser.add_argument("--no-faults", action="store_true", help="goals only")
    options = parser.parse_args(arguments)
    goals = [np.array(goal, float) for goal in json.loads(options.goals.read_text(encoding="utf-8"))]
    watch_supervisor(os.environ, lambda _: os._exit(1))  # it moves nothing by itself
    rclpy.init()
    set_fifo(PRIORITY)
    observer = Observer(load_robot(options.robot))
    driver = Driver(observer, goals, _print)
    try:
        result = driver.run(faults=not options.no_faults)
    finally:
        observer.node.destroy_node()
        rclpy.try_shutdown()
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 2 if "error" in result else int(not result["passed"])


def _print(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
