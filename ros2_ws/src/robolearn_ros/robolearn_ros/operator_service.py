"""The safety node's services for people: anybody may stop the arm; start, reset and mode need an operator's key.

| service | type | who |
|---|---|---|
| `~/stop` | std_srvs/Trigger | anybody |
| `~/challenge` | std_srvs/Trigger | anybody: a text to be signed, valid for ten seconds, once |
| `~/operate` | rcl_interfaces/SetParametersAtomically | an operator: a signed request's fields, as named strings |

The services run in the executor's thread; `carry_out` hands an admitted request to the control loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from std_srvs.srv import Trigger

from robolearn.deploy.operators import OperatorError, OperatorGate, OperatorRequest
from robolearn.safety.types import Answer
from robolearn_ros.own_messages import serve_requests

REPORT_PERIOD_S = 1.0  # of refusals: repeated requests do not fill the log


class OperatorService:
    """Admits what a known operator signed, and refuses everything else."""

    def __init__(
        self,
        node: Node,
        gate: OperatorGate,
        carry_out: Callable[[OperatorRequest], Answer],
        stop: Callable[[str], Answer],
        refused: Callable[[str], None],
    ):
        """stop: told who asks and why, where it is known.

        refused: called with the reason of a refusal, at most once in REPORT_PERIOD_S.
        """
        self._gate, self._carry_out, self._stop, self._refused = gate, carry_out, stop, refused
        self._reported_s = -REPORT_PERIOD_S
        node.create_service(Trigger, "~/stop", self._on_stop)
        node.create_service(Trigger, "~/challenge", self._on_challenge)
        node.create_service(SetParametersAtomically, "~/operate", self._on_operate)
        serve_requests(node, gate, self._admit, stop)
        # What the monitor follows is fixed when the node starts; rclpy's own parameters are no exception.
        node.add_on_set_parameters_callback(_closed)

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        answer = self._stop("")
        response.success, response.message = answer.accepted, answer.text
        return response

    def _on_challenge(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, self._gate.challenge(time.monotonic())
        return response

    def _on_operate(
        self, request: SetParametersAtomically.Request, response: SetParametersAtomically.Response
    ) -> SetParametersAtomically.Response:
        try:
            fields = _fields(request)
        except OperatorError as error:
            self._report(str(error))
            answer = Answer(False, str(error))
        else:
            answer, _ = self._admit(fields)
        response.result = SetParametersResult(successful=answer.accepted, reason=answer.text)
        return response

    def _admit(self, fields: Mapping[str, str]) -> tuple[Answer, str]:
        """Carry out a request that is signed as it must be; the answer, and whose it was, empty where it is refused."""
        try:
            admitted = self._gate.admit(fields, time.monotonic())
        except OperatorError as error:
            self._report(str(error))
            return Answer(False, str(error)), ""
        return self._carry_out(admitted), admitted.operator

    def _report(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._reported_s >= REPORT_PERIOD_S:
            self._reported_s = now_s
            self._refused(text)


def operate_request(fields: dict[str, str]) -> SetParametersAtomically.Request:
    """A signed request as the service takes it."""
    value = [
        ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text) for text in fields.values()
    ]
    return SetParametersAtomically.Request(
        parameters=[Parameter(name=name, value=v) for name, v in zip(fields, value, strict=True)]
    )


def _fields(request: SetParametersAtomically.Request) -> dict[str, str]:
    """The fields of a request. Raises OperatorError for a field that is not text, or is there twice."""
    fields: dict[str, str] = {}
    for parameter in request.parameters:
        if parameter.value.type != ParameterType.PARAMETER_STRING or parameter.name in fields:
            raise OperatorError("Each field of a request must be text and occur once.")
        fields[parameter.name] = parameter.value.string_value
    return fields


def _closed(_: Any) -> SetParametersResult:
    return SetParametersResult(
        successful=False,
        reason="The safety node's parameters are fixed while it runs. Change the deployment file and restart.",
    )
