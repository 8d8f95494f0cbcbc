"""The Franka Hand behind franka_gripper: its actions move and grasp, one at a time, and its service stop."""

from __future__ import annotations

from typing import Any

from franka_msgs.action import Grasp as GraspAction  # pyright: ignore[reportMissingImports]
from franka_msgs.action import Move as MoveAction  # pyright: ignore[reportMissingImports]
from rclpy.action import ActionClient
from rclpy.node import Node
from std_srvs.srv import Trigger

from robolearn.robots import Gripper
from robolearn_ros.gripper_driver import interface_of
from robolearn_ros.gripper_plan import Grasp, Motion


class FrankaDriver:
    """A command of the other kind stops the one under way first; one of the same kind waits for its end."""

    grasps = True

    def __init__(self, node: Node, gripper: Gripper):
        ros = interface_of(gripper)
        self._ros, self._width_max_m = ros, gripper.width_max_m
        self._move = ActionClient(node, MoveAction, f"{ros.command}/move")
        self._grasp = ActionClient(node, GraspAction, f"{ros.command}/grasp")
        self._stop = node.create_client(Trigger, f"{ros.command}/stop")
        self._under_way: type[Any] | None = None
        self._stopping = False
        self._failed = False
        self.problem = ""

    @property
    def busy(self) -> bool:
        """False while an action of either kind is under way, too: `send` decides what becomes of it."""
        return self._stopping

    def ready(self) -> bool:
        """Whether both actions and the service have been found."""
        lacking = [
            name
            for name, there in (
                ("move", self._move.server_is_ready()),
                ("grasp", self._grasp.server_is_ready()),
                ("stop", self._stop.service_is_ready()),
            )
            if not there
        ]
        self.problem = f"{self._ros.command} lacks {', '.join(lacking)}" if lacking else ""
        return not lacking

    def send(self, motion: Motion) -> bool:
        """Send a goal, or stop what is under way so that a later call can."""
        if not self.ready():
            return False
        if self._under_way is not None:
            if self._under_way is not type(motion):
                self._stopping = True
                self._stop.call_async(Trigger.Request()).add_done_callback(self._stopped)
            return False
        self._under_way = type(motion)
        if isinstance(motion, Grasp):
            # Whatever is there is to be held: any opening counts as success.
            goal: Any = GraspAction.Goal(width=0.0, speed=self._ros.speed_m_s, force=self._ros.force_n)
            goal.epsilon.inner, goal.epsilon.outer = self._width_max_m, self._width_max_m
            sending = self._grasp.send_goal_async(goal)
        else:
            sending = self._move.send_goal_async(
                MoveAction.Goal(width=motion.width_m, speed=self._ros.speed_m_s)
            )
        sending.add_done_callback(self._accepted)
        return True

    def take_failed(self) -> bool:
        """Whether an action was rejected or failed since the last call."""
        failed, self._failed = self._failed, False
        return failed

    def _stopped(self, future: Any) -> None:
        del future
        self._stopping = False

    def _accepted(self, future: Any) -> None:
        handle = future.result()
        if handle is None or not handle.accepted:
            self._end(f"{self._ros.command} rejected a goal")
            return
        handle.get_result_async().add_done_callback(self._ended)

    def _ended(self, future: Any) -> None:
        answer = future.result()
        result = answer.result if answer is not None else None
        self._end("" if result is not None and result.success else f"{self._ros.command}: {_why(result)}")

    def _end(self, problem: str) -> None:
        self._under_way = None
        self._failed, self.problem = bool(problem), problem


def _why(result: Any) -> str:
    return (result.error if result is not None else "") or "the action failed"
