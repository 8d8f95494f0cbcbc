"""The policy's out-of-distribution scores in a log, from its `ood_score` events: how often, how high, when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

_SAMPLES = 1000  # of the course that the page draws


def ood_scores(events: Iterable[dict[str, Any]]) -> Iterator[tuple[int, float]]:
    """(cycle in which it came, score) of every recorded score, in order; what is no number is infinite."""
    for event in events:
        if event["kind"] == "ood_score":
            for cycle, score in zip(event["fields"]["cycles"], event["fields"]["scores"], strict=False):
                value = float(score)
                yield cycle, math.inf if math.isnan(value) else value


def ood_summary(events: list[dict[str, Any]], period_s: float) -> dict[str, Any] | None:
    """What the page shows; None where the log has no scores.

    count, above: scores, and those above 1, also ones that came too fast to be kept one by one. largest: with its
    cycle. course: the largest score of each stretch, [t_s, score].
    """
    kept = list(ood_scores(events))
    if not kept:
        return None
    fields = [event["fields"] for event in events if event["kind"] == "ood_score"]
    at, largest = max(kept, key=lambda one: one[1])
    stretch = -(-len(kept) // _SAMPLES)
    parts = (kept[k : k + stretch] for k in range(0, len(kept), stretch))
    peaks = (max(part, key=lambda one: one[1]) for part in parts)
    return {
        "count": sum(one["count"] for one in fields),
        "above": sum(one["above"] for one in fields),
        "largest": largest if math.isfinite(largest) else None,
        "largest_cycle": at,
        "first_above": next((cycle for cycle, score in kept if not score <= 1.0), None),
        "course": [[cycle * period_s, score if math.isfinite(score) else None] for cycle, score in peaks],
    }


def ood_text(found: dict[str, Any]) -> str:
    """One line about `ood_summary`."""
    largest = "infinite" if found["largest"] is None else f"{found['largest']:.3g}"
    where = f"largest {largest}, in cycle {found['largest_cycle']}"
    if not found["above"]:
        return f"{found['count']:,} scores, none above the threshold; {where}"
    first = f"the first in cycle {found['first_above']}"
    return f"{found['above']:,} of {found['count']:,} above the threshold, {first}; {where}"
