"""A simulated gripper with the interface of its manufacturer's driver, for `sim_node`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from robolearn.robots import Gripper
from robolearn_ros.gripper_driver import finger_width, interface_of, require_messages
from robolearn_ros.messages import qos
from robolearn_ros.simulated_hand import SimulatedHand

STATE_RATE_HZ = 30.0  # of franka_gripper
LOOK_RATE_HZ = 100.0


class GripperMock:
    """Serves on a node of the caller's; the physics asks it for a set point at each step, from another thread."""

    def __init__(self, node: Node, gripper: Gripper, width_m: float):
        """Raises ConfigError where the gripper's file names no driver, or its messages are not installed."""
        self._ros, self._node = interface_of(gripper), node
        self._fingers = finger_width(gripper)
        self._force_max_n = gripper.grip_force_n
        self.hand = SimulatedHand(width_m, gripper.width_max_m, gripper.file.kp_n_m)
        self._waiting: list[tuple[int, Future]] = []
        serve: dict[str, Callable[[], None]] = {
            "position": self._serve_position,
            "gripper_command": self._serve_gripper_command,
            "franka": self._serve_franka,
            "schunk": self._serve_schunk,
        }
        serve[self._ros.driver]()
        self._states = node.create_publisher(JointState, self._ros.state_topic, qos(10))
        node.create_timer(1.0 / STATE_RATE_HZ, self._publish_state)
        node.create_timer(1.0 / LOOK_RATE_HZ, self._look)

    def step(self, dt_s: float, measured_m: float) -> float:
        """The set point of the drive, m."""
        return self.hand.step(dt_s, measured_m)

    def _publish_state(self) -> None:
        position = self._fingers.position(self.hand.measured_m)
        names = self._fingers.joints
        message = JointState(name=names, position=[position] * len(names), velocity=[0.0] * len(names))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(message)

    async def _carry_out(self, target_m: float, speed_m_s: float, force_n: float, grasp: bool) -> str:
        number = self.hand.begin(target_m, speed_m_s, force_n, grasp=grasp)
        future = Future()
        self._waiting.append((number, future))
        return str(await future)

    def _look(self) -> None:
        """Answer clients that wait for a command that has ended, or that another has replaced."""
        for entry in list(self._waiting):
            number, future = entry
            outcome = self.hand.outcome if number == self.hand.number else "replaced"
            if outcome:
                self._waiting.remove(entry)
                future.set_result(outcome)

    # -- what each driver speaks --

    def _serve_position(self) -> None:
        def on_command(message: Float64MultiArray) -> None:
            if len(message.data) == len(self._fingers.joints):
                names = self._fingers.joints
                width = self._fingers.width_m(names, list(message.data)) or 0.0
                self.hand.begin(width, self._ros.speed_m_s, self._ros.force_n, grasp=True)

        self._node.create_subscription(Float64MultiArray, self._ros.command, on_command, qos(1))

    def _serve_gripper_command(self) -> None:
        require_messages(
            "control_msgs", "A simulated gripper action controller", "apt: ros-jazzy-control-msgs"
        )
        from control_msgs.action import GripperCommand  # pyright: ignore[reportMissingImports]

        async def execute(handle: Any) -> Any:
            command = handle.request.command
            joint = self._fingers.joints[0]
            width = self._fingers.width_m([joint], [command.position]) or 0.0
            # The controller goes on pressing where an object stalls it, as a grasp does.
            outcome = await self._carry_out(width, self._ros.speed_m_s, command.max_effort, True)
            position = self._fingers.position(self.hand.measured_m)
            reached = abs(self.hand.measured_m - width) < 0.003
            if outcome == "replaced":
                handle.abort()
            else:
                handle.succeed()
            return GripperCommand.Result(
                position=position, effort=0.0, stalled=outcome == "held" and not reached, reached_goal=reached
            )

        self._server = ActionServer(
            self._node, GripperCommand, self._ros.command, execute, cancel_callback=_accept_cancel
        )

    def _serve_franka(self) -> None:
        require_messages("franka_msgs", "A simulated Franka Hand", "the workspace of franka_ros2")
        from franka_msgs.action import Grasp, Move  # pyright: ignore[reportMissingImports]

        async def move(handle: Any) -> Any:
            request = handle.request
            outcome = await self._carry_out(request.width, request.speed, 0.0, False)
            return _ended(handle, Move.Result(), "" if outcome == "reached" else f"the motion was {outcome}")

        async def grasp(handle: Any) -> Any:
            request = handle.request
            outcome = await self._carry_out(0.0, request.speed, request.force, True)
            low, high = request.width - request.epsilon.inner, request.width + request.epsilon.outer
            held = outcome == "held" and low < self.hand.measured_m < high
            return _ended(handle, Grasp.Result(), "" if held else f"nothing is held: {outcome}")

        def stop(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            self.hand.stop()
            response.success = True
            return response

        self._servers = (
            ActionServer(self._node, Move, f"{self._ros.command}/move", move),
            ActionServer(self._node, Grasp, f"{self._ros.command}/grasp", grasp),
        )
        self._node.create_service(Trigger, f"{self._ros.command}/stop", stop)

    def _serve_schunk(self) -> None:
        require_messages(
            "schunk_gripper_interfaces", "A simulated Schunk gripper", "the workspace of Schunk's driver"
        )
        from schunk_gripper_interfaces.srv import GripWithVelocity, MoveToAbsolutePositionGPE  # pyright: ignore[reportMissingImports]

        force_max_n = self._force_max_n

        async def move(request: Any, response: Any) -> Any:
            joint = self._fingers.joints[0]
            width = self._fingers.width_m([joint], [request.position]) or 0.0
            outcome = await self._carry_out(width, request.velocity, 0.0, False)
            response.success = outcome == "reached"
            response.message = "" if response.success else f"the motion was {outcome}"
            return response

        async def grip(request: Any, response: Any) -> Any:
            if not 50 <= request.force <= 100:
                response.message = f"force {request.force} % is outside 50 to 100 %"
                return response
            outcome = await self._carry_out(0.0, request.velocity, force_max_n * request.force / 100.0, True)
            response.success = outcome in ("held", "reached")
            response.workpiece_gripped = outcome == "held"
            response.no_workpiece_detected = outcome == "reached"
            response.message = "" if response.success else f"the grip was {outcome}"
            return response

        group = ReentrantCallbackGroup()  # a call that waits for its motion must not hold up what ends it
        for kind, name, call in (
            (MoveToAbsolutePositionGPE, "move_to_absolute_position", move),
            (GripWithVelocity, "grip", grip),
        ):
            self._node.create_service(kind, f"{self._ros.command}/{name}", call, callback_group=group)


def _accept_cancel(_: Any) -> CancelResponse:
    return CancelResponse.ACCEPT


def _ended(handle: Any, result: Any, problem: str) -> Any:
    """Franka's actions succeed as goals only where they do what they were asked for."""
    result.success, result.error = not problem, problem
    if problem:
        handle.abort()
    else:
        handle.succeed()
    return result
