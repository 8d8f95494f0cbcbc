"""Acceptance thresholds: what a policy must reach, written down before it is trained, in `configs/acceptance/*.yaml`.

A training names such a file (`acceptance`); its content and digest stand in the run's audit trail before the first
step. What an evaluation found is judged by that content, whatever the file has become since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from robolearn.config import Config, build, config_path, read_document
from robolearn.learn.disparity import ALPHA, disparity
from robolearn.recorder.hash_chain import plain

SCHEMA = "robolearn.acceptance/1"
PASSED, FAILED, NOT_EVALUATED, NOT_STATED = "passed", "failed", "not evaluated", "not stated"
Share = Annotated[float, Field(ge=0, le=1)]


class Acceptance(Config):
    """Thresholds of one policy; null is no threshold."""

    schema_: Annotated[Literal["robolearn.acceptance/1"], Field(alias="schema")] = SCHEMA
    source: str = Field(min_length=1, description="who set these thresholds, and why")
    episodes_min: int = Field(default=1000, ge=1, description="fresh episodes of the evaluation, at least")
    success_min: Share | None = Field(
        default=None, description="lower end of the 95 % interval of success, at least"
    )
    worst_stratum_min: Share | None = Field(
        default=None, description="success rate in the worst stratum, at least"
    )
    disparity_max: Share | None = Field(
        default=None,
        description="largest gap between a significantly worse stratum and the rest, at most",
    )
    peaks_max: dict[str, float] = Field(
        default={},
        description="largest value of any episode, by the figure's name in the evaluation, at most",
    )
    margins_min: dict[str, float] = Field(
        default={}, description="smallest value of any episode, by the figure's name, at least"
    )
    robustness_min: dict[str, Share] = Field(
        default={},
        description="lower end of the 95 % interval of success on another arm than the model, by the plant's name",
    )


@dataclass(frozen=True)
class Judged:
    """One threshold: its name, what it asks for, what was found (None: nothing), and the status."""

    name: str
    threshold: float
    found: float | None
    status: str


@dataclass(frozen=True)
class Judgement:
    """All thresholds. status: passed, failed, or not stated where there are none.

    evaluations: how many of this policy the trail has: the newest counts, and repeated tries are visible.
    """

    status: str
    rows: tuple[Judged, ...] = ()
    digest: str = ""
    stated_utc: str = ""
    evaluations: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return plain(self)

    @property
    def text(self) -> str:
        """One sentence."""
        if not self.rows:
            return "thresholds not stated"
        wrong = [
            f"{row.name} {_found(row)} (threshold {row.threshold:g})"
            for row in self.rows
            if row.status != PASSED
        ]
        what = f"{len(self.rows)} thresholds" if not wrong else "; ".join(wrong)
        tried = (
            f"; the newest of {self.evaluations} evaluations of this policy" if self.evaluations > 1 else ""
        )
        stated = f"stated {self.stated_utc or 'at no recorded time'}, sha256 {self.digest[:12]}"
        return f"{self.status}: {what}; {stated}{tried}"


def load_acceptance(name: str | Path) -> tuple[Acceptance, str]:
    """Thresholds by path or packaged name such as `acceptance/reach.yaml`, and the SHA-256 of the file.

    Raises ConfigError.
    """
    document = read_document(config_path(name))
    return build(Acceptance, document.data, str(name), document.line), document.digest


def judge(
    acceptance: Acceptance | None,
    evaluation: Mapping[str, Any],
    plants: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    digest: str = "",
    stated_utc: str = "",
) -> Judgement:
    """Compare an evaluation, as `evaluation.json` has it, with thresholds.

    plants: evaluations on other arms than the model, by the plant's name. Every threshold must be evaluated and met:
    one that nothing was found for is not evaluated, and the whole is then failed.
    """
    if acceptance is None:
        return Judgement(NOT_STATED)
    rows = tuple(_rows(acceptance, evaluation, plants or {}))
    if not rows:
        return Judgement(NOT_STATED)
    status = PASSED if all(row.status == PASSED for row in rows) else FAILED
    return Judgement(status, rows, digest, stated_utc)


def _rows(
    wanted: Acceptance, found: Mapping[str, Any], plants: Mapping[str, Mapping[str, Any]]
) -> Iterator[Judged]:
    success, strata = found.get("success"), found.get("strata") or []
    thresholds = (wanted.success_min, wanted.worst_stratum_min, wanted.disparity_max)
    if any(value is not None for value in (*thresholds, *wanted.peaks_max, *wanted.margins_min)):
        yield _at_least("episodes", wanted.episodes_min, success and success["episodes"])
    if wanted.success_min is not None:
        yield _at_least(
            "success, lower end of the 95 % interval", wanted.success_min, success and success["low"]
        )
    if wanted.worst_stratum_min is not None:
        worst = min((stratum["rate"] for stratum in strata), default=None)
        yield _at_least("success in the worst stratum", wanted.worst_stratum_min, worst)
    if wanted.disparity_max is not None:
        gap = None
        if success and strata:
            gap = disparity(success["successes"], success["episodes"], strata, ALPHA, detectable=False).gap
        yield _at_most("disparity between strata", wanted.disparity_max, gap)
    peaks = found.get("peaks") or {}
    for name, most in wanted.peaks_max.items():
        yield _at_most(f"{name}, largest", most, peaks.get(name, {}).get("max"))
    for name, least in wanted.margins_min.items():
        yield _at_least(f"{name}, smallest", least, peaks.get(name, {}).get("min"))
    for name, least in wanted.robustness_min.items():
        low = plants.get(name, {}).get("success", {}).get("low")
        yield _at_least(f"success on plant {name}, lower end of the 95 % interval", least, low)


def _at_least(name: str, least: float, found: float | None) -> Judged:
    return Judged(name, least, found, _status(found, lambda value: value >= least))


def _at_most(name: str, most: float, found: float | None) -> Judged:
    return Judged(name, most, found, _status(found, lambda value: value <= most))


def _status(found: float | None, holds: Any) -> str:
    return NOT_EVALUATED if found is None else PASSED if holds(found) else FAILED


def _found(row: Judged) -> str:
    return NOT_EVALUATED if row.found is None else f"{row.found:.4g}"
