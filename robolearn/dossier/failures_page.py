"""The failures of an evaluation on the dossier's page: what the decisions before each of them came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robolearn.config import first_fault
from robolearn.errors import DataError

DRAWN = 20  # failed episodes with a picture; the table has all
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[dict[str, Share], Field(max_length=256)]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Episode(_Open):
    episode: int = Field(ge=0)
    length_s: float = Field(ge=0)
    times_s: list[float] = Field(max_length=100)
    shares: Shares
    decisions: list[dict[str, list[float]]] = Field(max_length=100)


class _Failures(_Open):
    played: int = Field(gt=0)
    failed: int = Field(ge=0)
    counted: int = Field(ge=0)
    seed: int
    episodes: list[_Episode] = Field(max_length=1000)
    shares: Shares
    succeeded: Shares


def _read(data: Mapping[str, Any]) -> _Failures:
    """Validated: the file is untrusted. Raises DataError."""
    try:
        return _Failures.model_validate(data)
    except ValidationError as error:
        place, fault = first_fault(error)
        raise DataError(f"failures.json: {place}: {fault}.") from None


def failure_items(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """For a point of Annex IV; none where failures were not explained."""
    if not data:
        return []
    found = _read(data)
    head = f"{len(found.episodes)} of {found.failed} in {found.played:,} episodes played again (seed {found.seed})"
    if found.failed != found.counted:
        head += f"; the evaluation counted {found.counted}: later episodes, or rounding of another program"
    items = [("failures explained", head)]
    if found.episodes:
        items.append(("their decisions come from", _ranked(found.shares)))
        items.append(("those of episodes that succeeded", _ranked(found.succeeded) or "no episode succeeded"))
    return items


def _ranked(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{slot} {share:.0%}" for slot, share in sorted(shares.items(), key=lambda one: -one[1]))


def failures_section(data: Mapping[str, Any], bars: Callable[[Mapping[str, float]], str]) -> str:
    """The section of the page. bars: draws values by slot."""
    found = _read(data)
    lead = (
        "Each failed episode of the evaluation, its decisions in the last two seconds: attribution beside what the "
        f"policy observes on average where it succeeds. {len(found.episodes)} of {found.failed} failures in "
        f"{found.played:,} episodes. Attributions do not say why, nor that another decision would have succeeded."
    )
    rows = "".join(
        f'<tr><td class="key">{one.episode}</td><td>{one.length_s:.2f} s</td>'
        f"<td>{escape(_ranked(one.shares))}</td></tr>"
        for one in found.episodes
    )
    table = f"<table><tr><th>episode</th><th>ended after</th><th>from</th></tr>{rows}</table>" if rows else ""
    drawn = "".join(_picture(one, bars) for one in found.episodes[:DRAWN])
    return f'<section><h2>Failures</h2><p class="lead">{escape(lead)}</p>{table}{drawn}</section>'


def _picture(one: _Episode, bars: Callable[[Mapping[str, float]], str]) -> str:
    """The last decision of a failed episode, to the action entry that it moved most."""
    if not one.decisions or not all(one.decisions[-1].values()):
        return ""
    last = one.decisions[-1]
    entries = min(len(values) for values in last.values())
    strongest = max(range(entries), key=lambda a: sum(abs(values[a]) for values in last.values()))
    values = {slot: numbers[strongest] for slot, numbers in last.items()}
    at = f"{one.times_s[-1]:.2f} s" if one.times_s else "its end"
    return f"<h3>Episode {one.episode}, at {at}: to action entry {strongest}, signed</h3>{bars(values)}"
