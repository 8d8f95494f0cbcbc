"""Asks the safety node for a start, a reset or a mode, signed with an operator's key; and for a stop, without one.

client = OperatorClient(node, key)
call = client.call("start")
while not call.done():       # the caller spins the node as it does anyway
    rclpy.spin_once(node)
accepted, text = call.result()
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from std_srvs.srv import Trigger

from robolearn.deploy.operators import signed_request
from robolearn_ros.operator_service import operate_request

SAFETY_NODE = "safety_node"
Answer = tuple[bool, str]  # whether it was accepted, and why


class OperatorClient:
    """Clients of the safety node's services on a node of the caller's."""

    def __init__(self, node: Node, key: Ed25519PrivateKey | None, operator: str = ""):
        """key: None for a stop only.  operator: a pseudonym; empty for the one that the node knows the key by."""
        self._key, self._operator = key, operator
        self._stop = node.create_client(Trigger, f"{SAFETY_NODE}/stop")
        self._challenge = node.create_client(Trigger, f"{SAFETY_NODE}/challenge")
        self._operate = node.create_client(SetParametersAtomically, f"{SAFETY_NODE}/operate")

    def ready(self, verb: str) -> bool:
        """Whether the services that a verb needs have been found."""
        clients = (self._stop,) if verb == "stop" else (self._challenge, self._operate)
        return all(client.service_is_ready() for client in clients)

    def call(self, verb: str, *, mode: str = "", reason: str = "") -> OperatorCall:
        """Begin a call: `stop`, `start`, `reset` or `mode`. Raises OperatorError for text that cannot be sent."""
        return OperatorCall(self._steps(verb, mode, reason))

    def _steps(self, verb: str, mode: str, reason: str) -> Iterator[Any]:
        """Yields futures, each waited for; returns the answer."""
        if verb == "stop":
            answer = yield self._stop.call_async(Trigger.Request())
            return answer.success, answer.message
        if self._key is None:
            return False, f"A {verb} needs an operator's key."
        challenge = yield self._challenge.call_async(Trigger.Request())
        fields = signed_request(
            self._key, verb, challenge.message, mode=mode, operator=self._operator, reason=reason
        )
        answer = yield self._operate.call_async(operate_request(fields))
        return answer.result.successful, answer.result.reason


class OperatorCall:
    """A call on its way."""

    def __init__(self, steps: Iterator[Any]):
        self._steps = steps
        self._future: Any = None
        self._answer: Answer | None = None
        self._advance(None)

    def done(self) -> bool:
        """Whether the answer is there; goes on with the call where its next step can be taken."""
        if self._answer is None and self._future.done():
            self._advance(self._future.result())
        return self._answer is not None

    def result(self) -> Answer:
        """The answer, once `done`."""
        assert self._answer is not None
        return self._answer

    def _advance(self, value: Any) -> None:
        try:
            self._future = self._steps.send(value)  # type: ignore[attr-defined]
        except StopIteration as end:
            self._answer = end.value
