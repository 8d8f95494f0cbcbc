"""Reads what the arm's controller says of itself, before the first command goes to it.

Its parameters come by its parameter services, its lifecycle state from the diagnostics of the controller manager
("Controllers Activity", 1 Hz): both need no package of ros2_control here. Nothing is published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python

from robolearn.deploy.arm_controller import (
    ACTIVE,
    ROBOLEARN,
    ExpectedController,
    controller_problems,
    state_problem,
)
from robolearn.safety.types import Answer
from robolearn_ros.messages import NeverExecuted, Polled, qos

ANSWER_S = 1.0  # for the parameters
REPORT_S = 2.5  # for a report of the controller manager: they come at 1 Hz
FOLLOWS_S = 1.0  # for robolearn's controller to see the stream at rest for 0.1 s
STREAM_RESTS_S = 0.3  # the controller requires 0.1 s; used where it is unknown whether it follows
_LOOK_S = 0.005
_ACTIVITY = "Controllers Activity"


class Parameters:
    """Another node's parameters, asked for by a thread that may wait."""

    def __init__(self, node: Node, name: str):
        """name: full name of the other node."""
        self.service = f"{name}/get_parameters"
        self._client = node.create_client(GetParameters, self.service, callback_group=NeverExecuted())

    def read(self, names: tuple[str, ...], timeout_s: float = ANSWER_S) -> dict[str, Any] | None:
        """Values by name, without those that the node lacks; None where it does not answer.

        One request for each: a name that is not declared empties the whole reply.
        """
        deadline = time.monotonic() + timeout_s
        if not _wait(self._client.service_is_ready, deadline):
            return None
        handle, found, asked = self._client.handle, {}, {}
        with handle:
            for name in names:
                asked[handle.send_request(GetParameters.Request(names=[name]))] = name
            while asked and time.monotonic() < deadline:
                header, response = handle.take_response(GetParameters.Response)
                if header is None:
                    time.sleep(_LOOK_S)
                    continue
                name = asked.pop(
                    header.request_id.sequence_number, None
                )  # an answer to an earlier call is none here
                if name is not None and len(response.values) == 1:
                    found[name] = parameter_value_to_python(response.values[0])
        return None if asked else {name: value for name, value in found.items() if value is not None}


class Handshake:
    """The arm's controller, compared with what the deployment expects. All calls by one thread that may wait."""

    def __init__(self, node: Node, expected: ExpectedController):
        self.expected = expected
        self.found: dict[str, Any] = {}  # of the last check, for the record
        self._parameters = Parameters(node, expected.node)
        self._manager = Parameters(node, f"{expected.node.rpartition('/')[0]}/controller_manager")
        self._reports = Polled(node, DiagnosticArray, "/diagnostics", qos(50))
        self._status = (
            Polled(node, DiagnosticStatus, f"{expected.node}/status", qos(1, latched=True))
            if expected.kind == ROBOLEARN
            else None
        )
        self._followed: str | None = None  # why it does not follow; None: nothing came yet

    def check(self) -> str:
        """Why no command may be sent to this controller; empty where one may."""
        expected, self.found = self.expected, {}
        self._drain()  # the queue may hold reports of long ago
        found = self._parameters.read(expected.parameters)
        if found is None:
            return (
                f"{expected.node} does not answer on {self._parameters.service}: is the controller loaded? For an arm "
                "without ros2_control set check_controller to false."
            )
        if not found.get("update_rate"):  # it takes the manager's
            managers = self._manager.read(("update_rate",)) or {}
            found["update_rate"] = managers.get("update_rate")
        self.found = found
        problems = controller_problems(expected, found)
        if problems:
            return f"{expected.node} is not the controller of this deployment: {'; '.join(problems)}."
        self.found["state"] = self._state()
        problem = state_problem(expected, self.found["state"])
        return f"{problem}." if problem else ""

    def wait_until_followed(self) -> str:
        """Why robolearn's controller does not follow the resting stream; empty where it does, or it is another one."""
        if self._status is None:
            return ""
        status = self._status

        def followed() -> bool:
            for message in status.take():
                values = {pair.key: pair.value for pair in message.values}
                refused = values.get("not_followed_because", "none")
                why = "" if refused in ("", "none") else f" ({refused})"
                self._followed = "" if values.get("state") == "following" else message.message + why
            return self._followed == ""

        if _wait(followed, time.monotonic() + FOLLOWS_S):
            return ""
        why = "it reports nothing" if self._followed is None else self._followed
        return f"{self.expected.node} does not follow: {why}. Deactivate it and activate it again."

    def _state(self) -> str | None:
        """The controller's lifecycle state by a report that comes now; None where none comes in time.

        Controller managers of two arms may have one name: one that is not active counts.
        """
        states: list[str] = []

        def reported() -> bool:
            states.extend(self._read_reports())
            return bool(states)

        _wait(reported, time.monotonic() + REPORT_S)
        return next((state for state in states if state != ACTIVE), states[0] if states else None)

    def _read_reports(self) -> Iterator[str]:
        keys = (self.expected.name, f"{self.expected.name}.state")  # by the version of ros2_control
        for message in self._reports.take():
            for status in message.status:
                if status.name.endswith(_ACTIVITY):
                    yield from (pair.value for pair in status.values if pair.key in keys)

    def _drain(self) -> None:
        while self._reports.take():
            pass


def meet_controller(
    handshake: Handshake | None,
    kind: str,
    begin_stream: Callable[[], Answer],
    record: Callable[[str], None],
) -> str:
    """Why the arm's controller cannot be commanded; empty where it can, and follows a stream if it needs one.

    handshake: None where nothing is to be compared.  begin_stream: sends the held position, unless it refuses.
    record: called with what was found. Nothing is sent to a controller that is not as expected.
    """
    if handshake is not None:
        problem = handshake.check()
        record(problem or f"{handshake.expected.node}: {handshake.found}")
        if problem:
            return problem
    if kind != ROBOLEARN:
        return ""
    began = begin_stream()
    if not began.accepted:
        return began.text
    if handshake is not None:
        return handshake.wait_until_followed()
    time.sleep(STREAM_RESTS_S)
    return ""


def _wait(until: Callable[[], bool], deadline_s: float) -> bool:
    while not until():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_LOOK_S)
    return True
