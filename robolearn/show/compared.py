"""Two evaluations over the same episodes, and one evaluation by strata, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robolearn.errors import ConfigError
from robolearn.files.writing import replace_file
from robolearn.learn.disparity import Paired, disparity, paired
from robolearn.learn.evaluation import Evaluation
from robolearn.learn.run import EVALUATED_AT_ONCE
from robolearn.show.evaluated import Evaluated


@dataclass(frozen=True)
class Compared:
    """A paired comparison, its sentence, and the file that has it."""

    found: Paired
    text: str
    file: Path


def check_comparable(episodes: int, policy: str | None, video: bool) -> None:
    """Raise ConfigError for what cannot be compared episode by episode."""
    if episodes > EVALUATED_AT_ONCE:
        raise ConfigError(
            f"--against compares at most {EVALUATED_AT_ONCE:,} episodes, the first of each environment, because "
            "later ones depend on the policy. For more episodes, use another --seed."
        )
    if policy is not None or video:
        raise ConfigError("--against cannot be combined with --policy or --video.")


def compare(a: Evaluated, b: Evaluated, path_a: Path, path_b: Path) -> Compared:
    """Compare two policies over the same episodes; also written as JSON beside the evaluation of the first.

    Raises ConfigError where the episodes were not the same.
    """
    if a.result.task != b.result.task or a.result.draws != b.result.draws:
        raise ConfigError(
            f"'{path_a}' ({a.result.task}) and '{path_b}' ({b.result.task}) "
            "did not get the same episodes, because their "
            "tasks or task configs differ. Compare policies with the same task and config."
        )
    found = paired(np.array(a.result.succeeded), np.array(b.result.succeeded))
    file = a.target / f"{a.prefix}against-{path_b.stem}.json"
    about = {"a": str(path_a), "b": str(path_b), "seed": a.result.seed, "draws_sha256": a.result.draws}
    replace_file(file, json.dumps({**about, **found.to_json()}, indent=2) + "\n")
    text = (
        f"{path_a} against {path_b}: {found.difference:+.2%} success (95 % interval {found.low:+.2%} to "
        f"{found.high:+.2%}), McNemar exact p = {found.p:.3g}; only the first succeeded in {found.only_a}, only the "
        f"second in {found.only_b} of {found.episodes:,} episodes."
    )
    return Compared(found, text, file)


def disparity_text(result: Evaluation) -> str:
    """Which strata are worse than the rest beyond chance, and what would have been found."""
    found = disparity(
        result.success.successes,
        result.success.episodes,
        [{"name": s.name, "episodes": s.episodes, "successes": s.successes} for s in result.strata],
    )
    if not found.strata:
        return "Disparity: no stratum has enough episodes to be compared."
    gaps = [s.detectable for s in found.strata if s.detectable is not None]
    least = f"{min(gaps):.1%} to {max(gaps):.1%}" if gaps else "none"
    worse = "; ".join(
        f"{s.name}: {s.rate:.1%}, {s.gap:.1%} below the rest (p {s.p:.2g})" for s in found.flagged
    )
    return (
        f"Disparity: {worse or 'no stratum'} of {len(found.strata)} is significantly worse than the rest (Fisher "
        f"exact, one-sided, Holm). Detectable gaps with 80 % power: {least}."
    )
