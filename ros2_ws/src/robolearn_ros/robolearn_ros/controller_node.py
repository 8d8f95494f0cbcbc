"""The node of a simulated controller: what ros2_control would show of a real one, for `robolearn_ros.handshake`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from robolearn.deploy.arm_controller import ACTIVE, ROBOLEARN, TRAJECTORY, ExpectedController
from robolearn_ros.messages import qos
from robolearn_ros.node import OK, status
from robolearn_ros.parameters import fix_clock

MANAGER = "controller_manager"
ACTIVITY = f"{MANAGER}: Controllers Activity"
REPORT_S = 0.2  # a controller manager reports at 1 Hz


def controller_parameters_of(expected: ExpectedController, update_rate_hz: float) -> dict[str, Any]:
    """The parameters of a controller that is as expected, apart from use_sim_time, which every node has."""
    interface = (
        {"command_interfaces": ["position"]}
        if expected.kind == TRAJECTORY
        else {"interface_name": "position"}
    )
    found = {"joints": list(expected.joints), **interface, "update_rate": round(update_rate_hz)}
    if expected.kind == ROBOLEARN:
        found |= {
            "topic": expected.topic,
            "stream_rate_hz": expected.stream_rate_hz,
            "profile_digest": expected.profile_digest,
        }
    return found


class ControllerNode:
    """Parameters by services, and the state as a controller manager reports it. `node` is the caller's to spin.

    state: of its lifecycle, may be changed at any time; None reports nothing.
    """

    def __init__(
        self,
        full_name: str,
        parameters: Mapping[str, Any],
        context: Context | None = None,
        sim_time: bool = False,
    ):
        """full_name: such as /lbr/forward_position_controller.  parameters: None leaves one undeclared.

        sim_time: what its parameter use_sim_time says.
        """
        namespace, _, name = full_name.rpartition("/")
        # Arguments of the process, such as its node name, are those of another node.
        self.node = Node(
            name,
            namespace=namespace or "/",
            context=context,
            use_global_arguments=False,
            parameter_overrides=[Parameter("use_sim_time", value=sim_time)],
        )
        fix_clock(self.node)
        for key, value in parameters.items():
            if value is not None:
                self.node.declare_parameter(key, value)
        self.state: str | None = ACTIVE
        self._reports = self.node.create_publisher(DiagnosticArray, "/diagnostics", qos(10))
        self._status = self.node.create_publisher(DiagnosticStatus, "~/status", qos(1, latched=True))
        self._told: tuple[str, str] | None = None
        self.node.create_timer(REPORT_S, self.report)

    def report(self) -> None:
        """The controller manager's report of now."""
        if self.state is None:
            return
        pair = KeyValue(key=self.node.get_name(), value=self.state)
        message = DiagnosticArray(status=[DiagnosticStatus(level=OK, name=ACTIVITY, values=[pair])])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._reports.publish(message)

    def tell(self, state: str, refused: str) -> None:
        """What robolearn_controller says of itself, on change."""
        if (state, refused) != self._told:
            self._told = state, refused
            values = {"state": state, "not_followed_because": refused}
            name = f"robolearn_controller: {self.node.get_name()}"
            self._status.publish(status(name, OK, state, "", values))
