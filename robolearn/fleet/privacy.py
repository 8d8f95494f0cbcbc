"""The privacy ledger: what the published global vectors say about one site at most, by `dp-accounting` (PLD).

Every round publishes the sum of the sites' updates, each clipped to norm C, plus Gaussian noise of standard deviation
z C in each coordinate (on the mean of n sites: z C / n). Neighbours differ by one whole site (add or remove one); all
sites take part in all rounds, so there is no amplification by sampling.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robolearn.errors import MissingDependency, RobolearnError
from robolearn.files.writing import replace_file
from robolearn.fleet.settings import Privacy

LEDGER_FILE = "privacy.json"
UNIT = "one site, with all its data and all its rounds"
NOT_COVERED = (
    "what a site sends to the server before the noise is added: the server sees it",
    "that a site takes part at all, when it answers and how long it trains: the network shows it",
    "settings that people chose after they had seen data: rounds, clip_norm, learning rate, networks",
    "evaluations and bundles that sites publish by themselves",
    "floating-point attacks on the noise: it is drawn by numpy in double precision (Mironov 2012)",
)


class BudgetSpent(RobolearnError):
    """The next round would spend more epsilon than was agreed."""


def epsilon(noise_multiplier: float, rounds: int, delta: float) -> float:
    """Epsilon at delta after so many rounds of the Gaussian mechanism; 0 after none."""
    if rounds == 0:
        return 0.0
    try:
        import dp_accounting  # pyright: ignore[reportMissingImports]
        from dp_accounting.pld import PLDAccountant  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Privacy is accounted by dp-accounting, which is not installed: pip install 'robolearn[fleet]', in an "
            "environment of its own (`robolearn doctor` says why)."
        ) from error
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(dp_accounting.GaussianDpEvent(noise_multiplier), rounds)
    return float(accountant.get_epsilon(delta))


@dataclass
class Ledger:
    """How much is spent. rounds: that were published. clip_norm: C, noise_multiplier: z."""

    privacy: Privacy
    clip_norm: float
    sites: int
    rounds: int = 0
    spent: float = field(default=0.0)

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on each coordinate of the mean."""
        return self.privacy.noise_multiplier * self.clip_norm / self.sites

    def require_next(self) -> float:
        """Epsilon after one more round. Raises BudgetSpent where it is above the budget; nothing is then trained."""
        after = epsilon(self.privacy.noise_multiplier, self.rounds + 1, self.privacy.delta)
        if not after <= self.privacy.epsilon_max:
            raise BudgetSpent(
                f"Round {self.rounds + 1} would bring epsilon to {after:.3f} at delta {self.privacy.delta:g}; the "
                f"budget is {self.privacy.epsilon_max:g}, and {self.spent:.3f} are spent. Train no further "
                "with this data, or let the sites agree on another budget."
            )
        return after

    def spend(self) -> None:
        """One round is about to be published."""
        self.spent = self.require_next()
        self.rounds += 1

    def noise(self, size: int, random: np.random.Generator) -> NDArray[np.float64]:
        """The noise of one round, on the mean, [size]."""
        return random.normal(0.0, self.noise_std, size)

    def summary(self) -> dict[str, Any]:
        """Plain JSON values: for the manifest and for people."""
        return {
            "unit": UNIT,
            "clip_norm": self.clip_norm,
            "noise_multiplier": self.privacy.noise_multiplier,
            "noise_std_of_mean": self.noise_std,
            "sites": self.sites,
            "rounds": self.rounds,
            "delta": self.privacy.delta,
            "epsilon": self.spent,
            "epsilon_max": self.privacy.epsilon_max,
            "accountant": "dp-accounting, privacy loss distribution, add or remove one",
            "not_covered": list(NOT_COVERED),
        }

    def write(self, folder: Path) -> None:
        """Keep it beside the rounds."""
        replace_file(folder / LEDGER_FILE, json.dumps(self.summary(), indent=2) + "\n")


def read_ledger(folder: Path, privacy: Privacy, clip_norm: float, sites: int) -> Ledger:
    """The ledger of a folder, or a new one. Raises BudgetSpent where it was kept for other settings.

    Rounds with other noise or another clip would add up otherwise than counted here.
    """
    ledger = Ledger(privacy, clip_norm, sites)
    path = folder / LEDGER_FILE
    if not path.is_file():
        return ledger
    kept = json.loads(path.read_text(encoding="utf-8"))
    ledger.rounds, ledger.spent = int(kept["rounds"]), float(kept["epsilon"])
    now = ledger.summary()
    differ = [
        key for key in ("noise_multiplier", "delta", "clip_norm") if not math.isclose(kept[key], now[key])
    ]
    if differ and ledger.rounds:
        raise BudgetSpent(
            f"{path} counts {ledger.rounds} rounds with {differ[0]} {kept[differ[0]]:g}, now {now[differ[0]]:g}. "
            "Keep the setting, or begin another federation."
        )
    return ledger
