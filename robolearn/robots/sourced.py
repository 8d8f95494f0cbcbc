"""Where a number comes from, and how far to trust it: the one form for robot files, profiles and calibrations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from robolearn.config import Config

# From the strongest:
#   primary     the manufacturer's or the standard's own publication
#   secondary   someone quoting it
#   single      one open copy, which nothing confirms
#   computed    worked out from primary numbers
#   memory      recalled, not looked up
#   integrator  chosen for one cell, confirmed by its risk assessment only
#   model       a choice of robolearn's simulation, no fact
Trust = Literal["primary", "secondary", "single", "computed", "memory", "integrator", "model"]

# Text that says something: a single space is no source.
Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]


class Sourced(Config):
    """Where something comes from and how far to trust it; a note says what a reader must know beside it."""

    source: Text
    trust: Trust
    note: str | None = None
