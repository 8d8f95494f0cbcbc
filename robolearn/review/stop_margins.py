"""How near the arm was to walls, boxes, itself, persons and the end of its braking, around one stop."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.review.margins import Again, Margins
from robolearn.review.statistics import Window

Columns = NDArray[np.void]
Array = NDArray[np.float64]
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
    looked = np.arange(at % step, len(rows), step)
    looked = looked[looked >= 2]
    used, margins = again.look(mode, rows[looked[:, None] + [-2, -1, 0]])
    times = rows["now_s"][looked[used]]
    series = {}
    for kind, keys in _KINDS.items():
        mine = [found for found in margins if found.key.partition(":")[0] in keys]
        if mine:
            series[kind] = _nearest(mine, times, drawn)
    return {"every": step, "series": {kind: found for kind, found in series.items() if found}}


def _nearest(mine: list[Margins], times: Array, drawn: Columns) -> dict[str, Any]:
    """Of several limits the one with the least room, in each cycle, and in all of them; empty where there is none."""
    margin = np.array([np.where(np.isnan(found.margin), np.inf, found.margin) for found in mine])
    which, known = margin.argmin(axis=0), np.isfinite(margin).any(axis=0)
    if not known.any():
        return {}
    rows = np.arange(len(times))
    value, limit = (
        np.array([getattr(found, key) for found in mine])[which, rows] for key in ("value", "limit")
    )
    cycle = int(margin.min(axis=0).argmin())
    least = {"margin": float(margin[:, cycle].min()), "where": mine[which[cycle]].where(cycle)}
    along = (_along(drawn, times[known], numbers[known]) for numbers in (value, limit))
    return dict(zip(("value", "limit"), along, strict=True)) | {"least": least}


def _along(drawn: Columns, times: Array, values: Array) -> Array:
    """Values at the drawn cycles; none before the first and after the last that was looked at."""
    return np.interp(drawn["now_s"], times, values, left=np.nan, right=np.nan)
