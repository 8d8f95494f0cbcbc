r"""Text of others on its way to a terminal or a spreadsheet: shown as text, never interpreted.

A terminal acts on control characters (ESC starts commands that clear the screen, set the title or answer for the user),
and some Unicode characters reorder the letters around them (CVE-2021-42574). They are shown as `\u001b`.
"""

from __future__ import annotations

import re
from typing import Any

# Controls but tab and newline, line and paragraph separators, marks that turn the direction of writing, lone
# surrogates, invisible tags, and the byte-order mark.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_FORMULA = re.compile("[=+\\-@\t\r\n]")


def printable(text: str) -> str:
    """The text with every character that a terminal would act on written as an escape."""
    return UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code > 0xFFFF:  # as JSON writes it
        code -= 0x10000
        return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"
    return f"\\u{code:04x}"


def spreadsheet_cell(value: Any) -> Any:
    """A value for a CSV file. Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    if not isinstance(value, str):
        return value if isinstance(value, int | float | None) else printable(str(value))
    text = printable(value)
    return f"'{text}" if _FORMULA.match(value.lstrip(" ")) else text
