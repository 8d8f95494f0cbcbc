"""Whether an ONNX graph is one that a robot may run: what it is made of, read without running any of it.

A policy is a fixed chain of operators. Loops and branches, functions, operators of other vendors and tensors in other
files are refused: the first never ends if its condition says so, the others are unsigned code and files.
Format: onnx/onnx.proto (protocol buffers, wire format of protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator

from robolearn.errors import BundleError

NODES_MAX = 20_000
_DOMAINS = ("", "ai.onnx")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_OP, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def check_graph(data: bytes, where: str) -> None:
    """Raises BundleError where the graph is none, or holds what a policy does not need."""
    try:
        graphs = [value for number, value in _fields(data) if number == _MODEL_GRAPH]
        if len(graphs) != 1:
            raise _refused(where, f"it holds {len(graphs)} graphs, expected one")
        for number, _ in _fields(data):
            if number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
                raise _refused(where, "it holds functions or training steps of its own")
        count = 0
        for number, value in _fields(_part(graphs[0])):
            if number == _GRAPH_NODE:
                count += 1
                if count > NODES_MAX:
                    raise _refused(where, f"it has more than {NODES_MAX:,} operators")
                _check_node(_part(value), where)
            elif number == _GRAPH_INITIALIZER:
                _check_tensor(_part(value), where)
    except ValueError as error:
        raise _refused(where, f"it is not an ONNX graph ({error})") from None


def _check_node(node: bytes, where: str) -> None:
    fields = list(_fields(node))
    name = next(
        (_part(value).decode("ascii", "replace") for number, value in fields if number == _NODE_OP), ""
    )
    for number, value in fields:
        if number == _NODE_DOMAIN and _part(value).decode("ascii", "replace") not in _DOMAINS:
            raise _refused(where, f"operator '{name[:60]}' is not one of ONNX itself")
        if number == _NODE_ATTRIBUTE:
            for kind, part in _fields(_part(value)):
                if kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    raise _refused(where, f"operator '{name[:60]}' holds a graph of its own, as loops do")
                if kind in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                    _check_tensor(_part(part), where)


def _check_tensor(tensor: bytes, where: str) -> None:
    for number, value in _fields(tensor):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
            raise _refused(where, "it keeps numbers in another file")


def _part(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a part must be")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number, and a whole number or the bytes. Raises ValueError for what is none."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError("it was cut")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it was cut")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _refused(where: str, why: str) -> BundleError:
    return BundleError(f"{where}: 'policy.onnx' is not run: {why}. Export the policy again.")
