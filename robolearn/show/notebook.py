"""How things look in a notebook: rich output as HTML, embedded video, a learning curve that grows while it trains.

Needs nothing but rich until something is shown; IPython and matplotlib are imported only then.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

WIDTH = 110
_FORMAT = '<pre style="white-space:pre;overflow-x:auto;line-height:1.35;font-family:monospace">{code}</pre>'


def html(renderable: Any) -> str:
    """Anything that rich can print, as one HTML element with its styles inside."""
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_jupyter=False)
    console.print(renderable, highlight=False)
    return console.export_html(inline_styles=True, code_format=_FORMAT)


def in_notebook() -> bool:
    """Whether this Python is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return found is not None and hasattr(found, "kernel")


@dataclass(frozen=True)
class Video:
    """An mp4 file that a notebook plays; usable wherever a path is expected."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.path.read_bytes()).decode()
        return f'<video controls loop autoplay muted width="480" src="data:video/mp4;base64,{data}"></video>'


class LiveCurve:
    """Shows a training in a notebook: one figure, redrawn at most every `every_s` seconds. A `Progress`."""

    def __init__(self, task: str, every_s: float = 2.0):
        self._task, self._every_s = task, every_s
        self._rows: list[dict[str, Any]] = []
        self._handle: Any = None
        self._drawn_s = time.monotonic() - every_s

    def stage(self, text: str) -> None:
        """What is being done before the first iteration."""
        from IPython.display import HTML

        self._show(HTML(f"<pre>{self._task}: {text} ...</pre>"))

    def row(self, row: dict[str, Any]) -> None:
        """One iteration's metrics."""
        self._rows.append(row)
        if time.monotonic() >= self._drawn_s + self._every_s:
            self.draw()

    def warn(self, text: str) -> None:
        """Something the user should know."""
        from IPython.display import display

        display(text)

    def draw(self, rows: list[dict[str, Any]] | None = None) -> None:
        """Draw what has come so far, or these rows: at the end, those of the whole run, earlier starts included."""
        from robolearn.show.plots import training_figure

        self._rows = self._rows if rows is None else rows
        if self._rows:
            self._show(training_figure(self._rows, self._task))
            self._drawn_s = time.monotonic()

    def _show(self, what: Any) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display(what, display_id=True)
        else:
            self._handle.update(what)
