"""The one way of text to a person's terminal: whatever it holds, it is shown and not obeyed.

Names, sources, messages and paths come from files, logs and nodes of others. A control character in them could clear
the screen, set the window's title, or put up a false verdict; here it is shown as `\\u001b`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.errors import MarkupError
from rich.segment import Segment
from rich.text import Text

from robolearn.files.printable import UNPRINTABLE, printable


class Terminal(Console):
    """A rich console that shows control characters, makes no links, and takes broken markup as plain text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything that can be printed, harmless."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
                continue
            text, style = segment.text, segment.style
            if UNPRINTABLE.search(text):
                text = printable(text)
            if not self.encoding.lower().startswith("utf"):
                text = text.encode(self.encoding, "replace").decode(self.encoding)
            if style is not None and style.link:
                style = style.update_link(None)
            yield Segment(text, style)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text; markup that is none, as a stray `[/x]` in a name, is text too."""
        try:
            return super().render_str(text, **options)
        except MarkupError:
            return super().render_str(text, **{**options, "markup": False})
