"""The nodes' own message types, where the package `robolearn_interfaces` is built; what else speaks standard types.

| name | type | beside |
|---|---|---|
| `robolearn/decision_stamped` | robolearn_interfaces/Decision | `robolearn/decision` |
| `~/request_stop` | robolearn_interfaces/Stop | `~/stop`, which takes no reason |
| `~/request_challenge` | robolearn_interfaces/Challenge | `~/challenge` |
| `~/request` | robolearn_interfaces/Operate | `~/operate` |
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node

from robolearn.deploy.operators import (
    CHALLENGE_AGE_MAX_S,
    NAME_LENGTH_MAX,
    REASON_LENGTH_MAX,
    OperatorGate,
)
from robolearn.safety.types import Answer, Decision
from robolearn_ros.clocks import Clock
from robolearn_ros.messages import qos, time_message

PACKAGE = "robolearn_interfaces"
DECISION_TOPIC = "robolearn/decision_stamped"
_SIGNED = ("schema", "verb", "mode", "reason", "challenge", "public_key", "signature")


def built() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(PACKAGE) is not None


class StampedDecisions:
    """Decisions as a message of their own, with a stamp; nothing where the package is not built."""

    def __init__(self, node: Node, robot: str, profile_digest: str, clock: Clock):
        self._clock, self._robot, self._profile_digest = clock, robot, profile_digest
        self._out = None
        if built():
            from robolearn_interfaces.msg import Decision as Message  # pyright: ignore[reportMissingImports]

            self._make = Message
            self._out = node.create_publisher(Message, DECISION_TOPIC, qos(50, latched=True))

    def tell(self, decision: Decision, mode: str, reason: str, text: str, now_ns: int) -> None:
        """One decision. reason: why a stop was asked for.  now_ns: on the node's clock."""
        if self._out is None:
            return
        message = self._make(
            robot=self._robot, mode=mode, profile_digest=self._profile_digest, state=str(decision.state),
            verdict=str(decision.verdict), latched=decision.latched, reason=reason, text=text,
            stopping_time_s=_number(decision.stopping_time_s),
            value=math.nan, limit=math.nan, margin=math.nan,
        )  # fmt: skip
        message.header.stamp = time_message(self._clock, now_ns)
        if decision.records:
            record = decision.records[0]
            for name in ("rule", "where", "unit", "source"):
                setattr(message, name, str(getattr(record, name) or ""))
            for name in ("value", "limit", "margin"):
                setattr(message, name, _number(getattr(record, name)))
        self._out.publish(message)


def serve_requests(
    node: Node,
    gate: OperatorGate,
    admit: Callable[[Mapping[str, str]], tuple[Answer, str]],
    stop: Callable[[str], Answer],
) -> None:
    """The services with types of their own; nothing where the package is not built.

    admit: carries out a signed request; its answer, and the operator's pseudonym.  stop: told who asks, and why.
    """
    if not built():
        return
    from robolearn_interfaces.srv import Challenge, Operate, Stop  # pyright: ignore[reportMissingImports]

    def on_stop(request: Any, response: Any) -> Any:
        who = _short(request.operator_name, NAME_LENGTH_MAX) or "somebody"
        answer = stop(f"{who}: {_short(request.reason, REASON_LENGTH_MAX) or 'no reason given'}")
        response.accepted, response.text = answer.accepted, answer.text
        return response

    def on_challenge(_: Any, response: Any) -> Any:
        response.challenge, response.valid_s = gate.challenge(time.monotonic()), CHALLENGE_AGE_MAX_S
        return response

    def on_request(request: Any, response: Any) -> Any:
        fields = {name: getattr(request, name) for name in _SIGNED} | {"operator": request.operator_name}
        answer, who = admit(fields)
        response.accepted, response.text, response.operator_name = answer.accepted, answer.text, who
        return response

    node.create_service(Stop, "~/request_stop", on_stop)
    node.create_service(Challenge, "~/request_challenge", on_challenge)
    node.create_service(Operate, "~/request", on_request)


def _short(text: str, longest: int) -> str:
    """Of a text from anybody, what may go into a log."""
    return "".join(c if c.isprintable() else " " for c in text[:longest]).strip()


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
