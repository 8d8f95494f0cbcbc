"""A round's messages in Flower's terms: one array and a few settings out, one array back. Needs flwr."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from robolearn.errors import RobolearnError
from robolearn.fleet.rounds import Request
from robolearn.fleet.site_policy import SiteRefuses

VECTOR, ASKED, UPDATE = "vector", "request", "update"


def content(name: str, vector: np.ndarray, request: Request | None = None) -> RecordDict:
    """A record with one float32 array, and the request where it is one."""
    records: dict[str, Any] = {name: ArrayRecord({name: Array(np.ascontiguousarray(vector, np.float32))})}
    if request is not None:
        records[ASKED] = ConfigRecord(request.to_json())
    return RecordDict(records)


def array_in(message: Message, name: str) -> np.ndarray:
    """The array of a message. Raises RobolearnError where it holds anything else or more."""
    arrays = message.content.array_records
    extra = set(message.content) - {name, ASKED}
    if set(arrays) != {name} or list(arrays[name]) != [name] or extra:
        raise RobolearnError(
            f"The message holds {sorted(message.content)}, expected one array named '{name}'."
        )
    return arrays[name][name].numpy()


def request_in(message: Message) -> Request:
    """What a site is asked to do. Raises SiteRefuses where it is asked in another version's words."""
    asked = message.content.config_records.get(ASKED)
    try:
        return Request(**dict(asked or {}))
    except TypeError as error:
        raise SiteRefuses(
            f"The coordinator asks in a way that this robolearn does not know ({error}). Install the same robolearn."
        ) from error


def asked_node(reply: Message, asked: Sequence[Message]) -> int:
    """The node that a reply answers for. asked: the messages, as sent.

    That a node is gone is said by the server, with its own number as the sender.
    """
    sent = {one.metadata.message_id: one.metadata.dst_node_id for one in asked}
    return sent.get(reply.metadata.reply_to_message_id, reply.metadata.src_node_id)


def wire_bytes(message: Message) -> bytes:
    """The content of a message as it is sent: every object of it, one after the other; of an error code and text.

    The same bytes at both ends; Flower's envelope (ids, times) comes on top.
    """
    if message.has_error():
        return f"{message.error.code} {message.error.reason}".encode()
    return b"".join(part.deflate() for part in get_all_nested_objects(message.content).values())


def holds(message: Message) -> dict[str, Any]:
    """What a message holds, record by record: kinds, shapes, sizes and zeros; of an error its code and text."""
    if message.has_error():
        return {"error": {"code": int(message.error.code), "reason": str(message.error.reason)}}
    told: dict[str, Any] = {}
    for name, record in message.content.array_records.items():
        told[name] = {key: _shape(array.numpy()) for key, array in record.items()}
    for records in (message.content.config_records, message.content.metric_records):
        for name, record in records.items():
            told[name] = {key: _kind(value) for key, value in record.items()}
    return told


def _shape(array: np.ndarray) -> str:
    """Type and shape, and how many numbers are 0: of an update those that the site did not change, or does not tell."""
    zeros = array.size - int(np.count_nonzero(array))
    return f"{array.dtype} {list(array.shape)}" + (f", {zeros} zeros" if zeros else "")


def _kind(value: Any) -> str:
    """The type of a setting, and how much of it there is: `2 x bytes, 612304 bytes`."""
    if isinstance(value, bytes):
        return f"bytes, {len(value)} bytes"
    if not isinstance(value, list):
        return type(value).__name__
    inner = type(value[0]).__name__ if value else "nothing"
    size = f", {sum(map(len, value))} bytes" if inner == "bytes" else ""
    return f"{len(value)} x {inner}{size}"
