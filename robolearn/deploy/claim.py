"""What only one process of a machine may do in a ROS 2 domain: command an arm, be its policy, stand for the arm.

A claim is a listening socket in Linux's abstract namespace: the kernel gives it back when the process ends, however
that comes about, so that no stale file ever blocks a start. It holds on one machine; processes of other machines are
found by the ROS graph.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
from types import TracebackType
from typing import Self

from robolearn.errors import RobolearnError

_TRIES = 100  # how often the name of the first process is looked up for the message


class AlreadyClaimed(RobolearnError):
    """Another process of this machine does it already."""


class Claim:
    """The claim to a topic of a ROS 2 domain, held until `release` or the end of the process. Raises AlreadyClaimed."""

    def __init__(self, what: str, topic: str, domain_id: int):
        """what: in words, such as "commands the arm"; it stands in the error message of a second process."""
        name = f"robolearn/{domain_id}/{topic}/{what}"
        address = "\0robolearn-" + hashlib.sha256(name.encode()).hexdigest()[:32]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(address)
            self._socket.listen(_TRIES)
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise AlreadyClaimed(
                f"{_owner(address)} already {what} on {topic} in ROS domain {domain_id}, and there is one set of nodes "
                "for one arm. End that process first, or set another ROS_DOMAIN_ID."
            ) from None

    def release(self) -> None:
        """Let another process claim it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _owner(address: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
            pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return "Another process"
        return f"Process {pid}"
