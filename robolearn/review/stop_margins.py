"""How near the arm was to walls, boxes, itself, persons and the end of its braking, around one stop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.review.margins import Again, Margin
from robolearn.review.statistics import Window

Columns = NDArray[np.void]
LOOKS, LOOKS_ALL = 120, 6000  # cycles looked at around one stop, and around all stops of a log
_KINDS = {
    "walls": ("workspace.stay_in", "workspace.planes"),
    "keep_out": ("workspace.keep_out",),
    "links": ("self_distance_min_m",),
    "person": ("separation",),
    "way_to_rest": ("stopping_distance_max_m",),
}


def nearness(window: Window, drawn: Columns, mode: str, again: Again, most: int) -> dict[str, Any]:
    """Per kind of distance its values, limits and margins at the drawn cycles, and where it was least.

    most: cycles to look at; between them the values go along straight lines. Kinds that do not apply are left out.
    """
    rows = np.concatenate(window.parts)
    step = max(1, -(-len(rows) // most))
    at = int(np.searchsorted(rows["cycle"], window.at_cycle))
    times: dict[str, list[float]] = {}
    found: dict[str, list[Margin]] = {}
    for k in range(at % step, len(rows), step):
        margins = again.look(mode, rows[k - 2 : k + 1]) if k >= 2 else []
        for kind, keys in _KINDS.items():
            mine = [margin for margin in margins if margin.key.partition(":")[0] in keys]
            if mine:
                times.setdefault(kind, []).append(float(rows["now_s"][k]))
                found.setdefault(kind, []).append(min(mine, key=lambda margin: margin.margin))
    series = {}
    for kind, margins in found.items():
        worst = min(margins, key=lambda margin: margin.margin)
        series[kind] = {
            "value": _along(drawn, times[kind], [margin.value for margin in margins]),
            "limit": _along(drawn, times[kind], [margin.limit for margin in margins]),
            "least": {"margin": worst.margin, "where": worst.where},
        }
    return {"every": step, "series": series}


def _along(drawn: Columns, times: list[float], values: list[float]) -> NDArray[np.float64]:
    """Values at the drawn cycles; none before the first and after the last that was looked at."""
    return np.interp(drawn["now_s"], times, values, left=np.nan, right=np.nan)
