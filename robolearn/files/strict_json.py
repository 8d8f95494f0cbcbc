"""JSON of others within a budget: depth, length of numbers, no NaN. The caller bounds the number of bytes."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The value of a JSON text. Raises ValueError, with the reason, for what is none or exceeds the budget.

    A key that is given twice, NaN, an infinity and an integer of more than 4,300 digits are refused.
    """
    check_depth(data, max_depth)
    try:
        return json.loads(data, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {max_depth} levels") from None


def check_depth(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Raises ValueError where brackets nest deeper than max_depth. Takes no recursion."""
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return  # the usual case, at the speed of C
    depth = 0
    for token in _TOKENS.finditer(data):
        first = data[token.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise ValueError(f"nested deeper than {max_depth} levels")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:80]!r} is given twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")
