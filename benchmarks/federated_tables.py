"""Tables of benchmarks/federated.py: from docs/results/federated.json into docs/howto/federated.md."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from scipy.special import log_ndtr

from robolearn.learn.evaluation import wilson

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results" / "federated.json"
PAGE = ROOT / "docs" / "howto" / "federated.md"
MARKS = "<!-- federated: written by `python benchmarks/federated.py --table` -->", "<!-- /federated -->"
NOISE_MARKS = MARKS[0].replace("federated:", "noise:", 1), "<!-- /noise -->"
DELTA = 1e-3  # of the epsilon


def epsilon(noise: float, rounds: int, delta: float = DELTA) -> float:
    """Of the Gaussian mechanism over so many rounds (Balle and Wang 2018, theorem 8), also in the thousands."""
    if not noise:
        return math.inf
    shift = math.sqrt(rounds) / noise

    def too_much(value: float) -> bool:
        near, far = shift / 2 - value / shift, -shift / 2 - value / shift
        return math.exp(log_ndtr(near)) - math.exp(value + log_ndtr(far)) > delta

    low, high = 0.0, shift**2 / 2 + 40 * shift
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if too_much(middle) else (low, middle)
    return high


def noise_table() -> str:
    """Success against epsilon as Markdown; sites: how many would give the same noise on the mean with noise 1."""
    lines = [
        f"| task | noise | on each number of the mean | epsilon at delta {DELTA:g} | success | sites for noise 1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    results = read_results()
    episodes = results["episodes_per_site"] * len(results["sites"])
    for key, found in results["runs"].items():
        recipe, iterations = found["recipe"], int(key.split()[1].partition("x")[0])
        if not key.split()[2].startswith("noise-"):
            continue
        std = recipe["noise"] * recipe["clip"] / len(results["sites"])
        spent = epsilon(recipe["noise"], math.ceil(iterations / recipe["local"]))
        sites = f"{recipe['clip'] / std:,.0f}" if std else "any"
        told = f"{spent:,.0f}" if math.isfinite(spent) else "none"
        what = f"`{key.split()[0]}`, seed {key.split()[-1]} | {recipe['noise']:g} | {std:.4f} | {told}"
        lines.append(f"| {what} | {found['mean']:.1%} {interval(found['mean'], episodes)} | {sites} |")
    return "\n".join(lines) if len(lines) > 2 else "Nothing is measured yet."


def interval(mean: float, episodes: int) -> str:
    """95 % (Wilson) over the episodes of all sites together."""
    rate = wilson("all sites", round(mean * episodes), episodes)
    return f"({rate.low:.1%} to {rate.high:.1%})"


def table() -> str:
    """The results as Markdown, one row a run."""
    results = read_results()
    sites = list(results["sites"])
    episodes = results["episodes_per_site"] * len(sites)
    lines = [
        f"| task, iterations x environments | recipe | {' | '.join(sites)} | mean |",
        f"| --- | --- |{' --- |' * len(sites)} --- |",
    ]
    for key, found in results["runs"].items():
        task, size, name, _, seed = key.split()
        if name.startswith("noise-"):
            continue
        rates = " | ".join(f"{found['success'][site]:.1%}" for site in sites)
        mean = f"{found['mean']:.1%} {interval(found['mean'], episodes)}"
        lines.append(f"| `{task}`, {size} | {name}, seed {seed} | {rates} | {mean} |")
    return "\n".join(lines)


def write_page() -> None:
    """Put the tables between their marks."""
    text = PAGE.read_text()
    for marks, made in ((MARKS, table()), (NOISE_MARKS, noise_table())):
        before, _, rest = text.partition(marks[0])
        _, found, after = rest.partition(marks[1])
        if not found:
            raise SystemExit(f"{PAGE} has no marks '{marks[0]}' and '{marks[1]}'.")
        text = f"{before}{marks[0]}\n{made}\n{marks[1]}{after}"
    PAGE.write_text(text)


def read_results() -> dict[str, Any]:
    """What is measured already."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": {}}


def with_run(key: str, result: dict[str, Any], sites: dict[str, Any], episodes: int) -> None:
    """Add one run to the results. episodes: at each site."""
    results = {"sites": sites, "episodes_per_site": episodes, "runs": read_results()["runs"] | {key: result}}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
