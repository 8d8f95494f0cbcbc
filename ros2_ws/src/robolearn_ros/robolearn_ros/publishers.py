"""Who else speaks on the topics that decide what an arm does: counted, named, and a reason to stop.

Every input of the monitor has one publisher. A second one on the controller's topic always stops: the monitor no
longer decides alone what the arm does. On the other topics it stops unless the node was told that it may be there
(`exclusive_publishers` is false, which a demonstration with faults needs); then it is only reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.node import Node

CONTROLLER = "controller"


class PublisherWatch:
    """Looks at the ROS graph. One entry per topic: what is wrong there, empty where nothing is."""

    def __init__(
        self,
        node: Node,
        command_topic: str,
        inputs: Mapping[str, str],
        *,
        exclusive: bool,
        guard: Callable[[], bytes | None] = lambda: None,
        listener: str = "",
    ):
        """command_topic: this node publishes on it itself.  inputs: what is read, such as `policy` -> its topic.

        guard: the id of its brake guard's publisher, which stands ready on command_topic; empty
            while it starts, when the arm cannot be started yet; None without one.
        listener: full name of the controller's node, which must read command_topic; empty: anybody will do.
        """
        self._listener = listener
        self._guard = guard
        self._node, self._command_topic = node, command_topic  # full names
        self._inputs, self._exclusive = dict(inputs), exclusive
        self.findings: dict[str, str] = {}

    def look(self) -> dict[str, str]:
        """The findings of now, by the name of the topic; also kept in `findings`."""
        found = {CONTROLLER: self._others_on_command_topic()}
        found |= {name: self._too_many(topic) for name, topic in self._inputs.items()}
        self.findings = found
        return found

    @property
    def stops(self) -> str:
        """Why the arm must not move, by the last look; empty where it may."""
        return "; ".join(
            text for name, text in self.findings.items() if text and (self._exclusive or name == CONTROLLER)
        )

    @property
    def deaf(self) -> str:
        """Why the arm's controller cannot hear this monitor; empty if it can."""
        topic = self._command_topic
        if not self._listener:
            heard = self._node.count_subscribers(topic) > 0
            return "" if heard else f"no subscriber on {topic}: is the controller active?"
        readers = self._node.get_subscriptions_info_by_topic(topic)
        if any(f"{one.node_namespace.rstrip('/')}/{one.node_name}" == self._listener for one in readers):
            return ""
        others = sorted({one.node_name for one in readers} - {self._node.get_name()})
        heard = f" ({_names(others)} does, and is not a controller)" if others else ""
        return f"{self._listener} does not subscribe to {topic}{heard}: is the controller active?"

    def _others_on_command_topic(self) -> str:
        guard = self._guard()
        if guard == b"":  # its publisher is seen before it is known which one that is
            return ""
        found = self._node.get_publishers_info_by_topic(self._command_topic)
        others = [one.node_name for one in found if guard is None or bytes(one.endpoint_gid) != guard]
        own = self._node.get_name()
        if own in others:
            others.remove(own)
        if not others:
            return ""
        return (
            f"{len(others)} other publisher(s) on {self._command_topic}: this monitor is not the only source of "
            f"commands ({_names(others)})"
        )

    def _too_many(self, topic: str) -> str:
        publishers = self._publishers(topic)
        if len(publishers) < 2:
            return ""
        return f"{len(publishers)} publishers on {topic}, expected one ({_names(publishers)})"

    def _publishers(self, topic: str) -> list[str]:
        return [found.node_name for found in self._node.get_publishers_info_by_topic(topic)]


def _names(nodes: list[str]) -> str:
    """Names of nodes, at most five: a flooded graph does not flood the log."""
    shown = sorted(nodes)[:5]
    return ", ".join(shown) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
