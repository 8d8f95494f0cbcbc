"""What follows the fixed part of a packed cycle: names, rules that acted, odd inputs, further commands."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robolearn.safety.types import Command, Record

_KEPT, _KEPT_BYTES = 64, 600


class Rest(NamedTuple):
    """The variable part. source: of the command in the columns.  odd: inputs that did not fit them, by name.

    command_index: which command the decision is about, -1 for none.  others: the other commands, without joint names,
    blank where `odd` has them.
    """

    source: str
    records: tuple[Record, ...]
    odd: dict[str, Any]
    command_index: int
    others: tuple[Command, ...]


def note(names: Any, position: Any, velocity: Any, stamp: Any) -> dict[str, Any]:
    """Inputs of an unexpected shape, kept exactly where they are numbers and as their repr where they are not."""
    return {
        "names": [str(name) for name in names] if isinstance(names, (list, tuple)) else repr(names),
        "position": note_array(position),
        "velocity": note_array(velocity),
        "stamp": struct.pack("<d", stamp).hex(),
    }


def note_array(value: Any) -> Any:
    """An array as JSON, bit for bit; what is not a number as its repr; None as None."""
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return {"repr": repr(value)}
    return {"shape": list(array.shape), "bytes": array.tobytes().hex()}


def unnote_array(value: Any) -> Any:
    """What `note_array` noted: the array, or the text."""
    if value is None or "repr" in value:
        return None if value is None else value["repr"]
    return np.frombuffer(bytes.fromhex(value["bytes"])).reshape(value["shape"]).copy()


def unnote(noted: dict[str, Any]) -> tuple[tuple[str, ...], Any, Any, float]:
    """Names, position, velocity and stamp, as `note` noted them."""
    position, velocity = unnote_array(noted["position"]), unnote_array(noted["velocity"])
    (stamp,) = struct.unpack("<d", bytes.fromhex(noted["stamp"]))
    return tuple(noted["names"]), position, velocity, stamp


def _text(buffer: bytearray, text: str) -> None:
    data = text.encode("utf-8") + b"\0"
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(data)) + data


def _floats(buffer: bytearray, values: NDArray[np.float64] | None) -> None:
    data = b"" if values is None else values.tobytes()
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(data) // 8)
    buffer += (b"\0" * (-len(buffer) % 8) if data else b"") + data


_PLAIN_RESTS: dict[tuple[str, int, int], bytes] = {}


def pack_rest(
    source: str,
    records: tuple[Record, ...],
    odd: dict[str, Any],
    index: int,
    others: Sequence[Command],
    at: int,
) -> bytes:
    """The bytes of a `Rest`. `at`: where they begin, because CDR aligns from the start of the message."""
    usual = not records and not odd and not others
    if usual and (source, index, at) in _PLAIN_RESTS:
        return _PLAIN_RESTS[source, index, at]
    buffer = bytearray(at)
    _text(buffer, source)
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<I", len(records))
    for record in records:
        buffer += b"\0" * (-len(buffer) % 8) + struct.pack("<ddd", record.value, record.limit, record.margin)
        for text in (record.rule, record.unit, record.source, record.text, record.where):
            _text(buffer, text)
    _text(buffer, json.dumps(odd) if odd else "")
    buffer += b"\0" * (-len(buffer) % 4) + struct.pack("<iI", index, len(others))
    for other in others:
        buffer += b"\0" * (-len(buffer) % 8) + struct.pack("<d", other.stamp_s)
        _text(buffer, other.source)
        _floats(buffer, other.position_rad)
        _floats(buffer, other.velocity_rad_s)
    rest = bytes(buffer[at:])
    if usual and len(_PLAIN_RESTS) < _KEPT:
        _PLAIN_RESTS[source, index, at] = rest
    return rest


_KNOWN: dict[tuple[bytes, int], Rest] = {}


def unpack_rest(data: bytes, start: int) -> Rest:
    """What `pack_rest` packed. start: where the data begins. Raises struct.error or ValueError for anything else."""
    known = _KNOWN.get((data, start))
    if known is None:
        known = _unpack(bytes(start) + data, start)
        if len(_KNOWN) < _KEPT and len(data) < _KEPT_BYTES:
            _KNOWN[data, start] = known
    return known


def _unpack(body: bytes, at: int) -> Rest:

    def text() -> str:
        nonlocal at
        at += -at % 4
        (size,) = struct.unpack_from("<I", body, at)
        at += 4 + size
        return body[at - size : at - 1].decode("utf-8", "replace")

    def floats() -> NDArray[np.float64]:
        nonlocal at
        at += -at % 4
        (count,) = struct.unpack_from("<I", body, at)
        at += 4
        at += -at % 8 if count else 0
        at += 8 * count
        return np.frombuffer(body[at - 8 * count : at]).copy()

    source = text()
    at += -at % 4
    (count,) = struct.unpack_from("<I", body, at)
    at += 4
    records = []
    for _ in range(count):
        at += -at % 8
        value, limit, margin = struct.unpack_from("<ddd", body, at)
        at += 24
        rule, unit, origin, words, where = text(), text(), text(), text(), text()
        records.append(Record(rule, value, limit, margin, unit, origin, words, where))
    odd = text()
    at += -at % 4
    index, count = struct.unpack_from("<iI", body, at)
    at += 8
    others = []
    for _ in range(count):
        at += -at % 8
        (stamp,) = struct.unpack_from("<d", body, at)
        at += 8
        name, position, velocity = text(), floats(), floats()
        others.append(Command((), position, stamp, velocity if velocity.size else None, name))
    return Rest(source, tuple(records), json.loads(odd) if odd else {}, index, tuple(others))
