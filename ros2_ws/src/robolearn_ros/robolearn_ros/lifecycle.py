"""The policy node's lifecycle: transitions are forwarded to the node's owner; a refusal is logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.lifecycle import LifecycleState as Transition

from robolearn.errors import RobolearnError


class Owner(Protocol):
    """What transitions do. Each may raise RobolearnError, which refuses it."""

    refusal: str

    def configure(self) -> None:
        """Verify the bundle, look at the live arm."""
        ...

    def activate(self) -> None:
        """Let the policy run whenever the monitor follows."""
        ...

    def deactivate(self) -> None:
        """Brake and hold."""
        ...

    def cleanup(self) -> None:
        """Brake, then end the stream."""
        ...

    def shut_down(self) -> None:
        """Brake, then end everything that is published."""
        ...


class Lifecycle(LifecycleNode):
    """Forwards transitions; a refusal is logged and leaves the state as it was."""

    def __init__(self, owner: Owner):
        self._owner = owner
        super().__init__("policy_node")

    def _try(self, call: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            call()
        except RobolearnError as error:
            self._owner.refusal = str(error)
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._owner.refusal = ""
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: Transition) -> TransitionCallbackReturn:
        """Verify the bundle, look at the live arm."""
        return self._try(self._owner.configure)

    def on_activate(self, state: Transition) -> TransitionCallbackReturn:
        """Let the policy run whenever the monitor follows."""
        return self._try(self._owner.activate)

    def on_deactivate(self, state: Transition) -> TransitionCallbackReturn:
        """Brake and hold."""
        return self._try(self._owner.deactivate)

    def on_cleanup(self, state: Transition) -> TransitionCallbackReturn:
        """Brake, then end the stream."""
        return self._try(self._owner.cleanup)

    def on_shutdown(self, state: Transition) -> TransitionCallbackReturn:
        """Brake, then end the stream and everything else that is published."""
        return self._try(self._owner.shut_down)

    def on_error(self, state: Transition) -> TransitionCallbackReturn:
        """A transition failed halfway: the stream ends, and the node can be configured again."""
        return self._try(self._owner.cleanup)
