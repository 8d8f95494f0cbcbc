"""The action `robolearn/reach_goal` of the policy node. Runs in the executor's thread; the loop sees only `Goals`."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from robolearn_interfaces.action import ReachGoal  # pyright: ignore[reportMissingImports]

from robolearn.errors import ConfigError
from robolearn.robots import Robot
from robolearn_ros.goals import (
    ACTION,
    HOLD_S,
    STOPPED,
    TIMEOUT_S,
    TOLERANCE_M,
    Goals,
    Reach,
    Served,
    subject_position,
)
from robolearn_ros.sources import Sources

LOOK_S = 0.02
FEEDBACK_EVERY = 5  # looks
REST_MAX_S = 3.0


class GoalServer(Goals):
    """Carries out one goal at a time; a new one replaces it. A cancelled or late one ends once the arm is at rest."""

    def __init__(self, node: Node, robot: Robot, inputs: Sources, served: Served):
        super().__init__()
        self._node, self._robot, self._inputs, self._served = node, robot, inputs, served
        self._number = 0
        self._waiting: list[Future] = []
        node.create_timer(LOOK_S, self._wake)
        self._server = ActionServer(
            node,
            ReachGoal,
            ACTION,
            self._execute,
            goal_callback=self._admit,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def _admit(self, request: ReachGoal.Goal) -> GoalResponse:
        problem = self._problem(request)
        if problem:
            self._node.get_logger().warning(f"A goal is refused: {problem}.")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _problem(self, request: ReachGoal.Goal) -> str:
        """Why a goal cannot be carried out; empty where it can."""
        sources, subject = self._served.goal_sources, request.subject
        if "goal.position" not in sources:
            return f"the policy takes no position as its goal, but {', '.join(sources) or 'none'}"
        lacking = [source for source in sources if source not in ("goal.position", "goal.orientation")]
        if lacking:
            return f"the policy's goal has more than a pose: {', '.join(lacking)}"
        if subject not in ("", "tcp") and f"pose.{subject}.position" not in self._inputs.needed:
            return f"the policy reads no pose of '{subject}'"
        if not np.isfinite([request.tolerance_m, request.hold_s, request.timeout_s]).all():
            return "a number is not finite"
        if min(request.tolerance_m, request.hold_s, request.timeout_s) < 0.0:
            return "a number is negative"
        try:
            values = self._inputs.pose_in_base("goal", request.goal)
        except ConfigError as error:
            return str(error)
        return "" if all(np.isfinite(v).all() for v in values.values()) else "the pose is not finite"

    async def _execute(self, handle: Any) -> Any:
        request = handle.request
        self._number += 1
        number = self._number
        values = self._inputs.pose_in_base("goal", request.goal)
        taken = {source: values[source] for source in self._served.goal_sources}
        reach = Reach(
            values["goal.position"],
            request.subject or "tcp",
            request.tolerance_m or TOLERANCE_M,
            request.hold_s or HOLD_S,
            request.timeout_s or TIMEOUT_S,
            self._now_s(),
        )
        self._inputs.given(taken)
        self.give(taken)
        looks = 0
        while True:
            await self._look()
            now = self._now_s()
            state = self._served.monitor_state
            done = reach.update(now, subject_position(self._served, self._robot, reach.subject))
            if number != self._number:
                handle.abort()
                return self._result(reach, ReachGoal.Result.REPLACED, "replaced by another goal")
            if handle.is_cancel_requested:
                return await self._give_up(handle, reach, number, ReachGoal.Result.CANCELED, "cancelled")
            if state in STOPPED:
                handle.abort()
                return self._end(reach, ReachGoal.Result.STOPPED, f"the safety node is {state}")
            if done and state == "running":
                handle.succeed()
                return self._end(reach, ReachGoal.Result.REACHED, "reached")
            if reach.timed_out(now):
                text = f"not reached in {reach.timeout_s:g} s; the safety node is {state or 'silent'}"
                return await self._give_up(handle, reach, number, ReachGoal.Result.TIMED_OUT, text)
            looks += 1
            if looks % FEEDBACK_EVERY == 0:
                handle.publish_feedback(self._feedback(reach, now, state))

    async def _give_up(self, handle: Any, reach: Reach, number: int, outcome: int, text: str) -> Any:
        """Brake, wait for the arm's rest, end the goal."""
        self.paused = True
        reach.brake(self._now_s())
        await self._look()  # the loop has to see it first
        while (
            not self._served.at_rest
            and number == self._number
            and reach.rest_after_s(self._now_s()) < REST_MAX_S
        ):
            await self._look()
        if outcome == ReachGoal.Result.CANCELED:
            handle.canceled()
        else:
            handle.abort()
        if not self._served.at_rest:
            text += "; the arm is not at rest"
        return self._end(reach, outcome, text)

    def _end(self, reach: Reach, outcome: int, text: str) -> Any:
        """The result; from now on goals come by topic again."""
        self.held = False
        return self._result(reach, outcome, text)

    def _result(self, reach: Reach, outcome: int, text: str) -> Any:
        now = self._now_s()
        return ReachGoal.Result(
            outcome=outcome, text=text, error_m=reach.error_m, seconds=now - reach.began_s,
            rest_after_s=reach.rest_after_s(now),
        )  # fmt: skip

    def _feedback(self, reach: Reach, now: float, state: str) -> Any:
        speeds = self._served.values.get("joint_state.velocity")
        speed = float("nan") if speeds is None else float(np.abs(speeds).max())
        return ReachGoal.Feedback(
            error_m=reach.error_m, seconds=now - reach.began_s, speed_rad_s=speed, state=state
        )

    def _now_s(self) -> float:
        return self._served.clock.now_ns() / 1e9

    async def _look(self) -> None:
        future = Future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)
