"""The rounds of a federation, whatever carries the messages: ask the sites, check what they answer, average, record.

A coordinator's folder has

    layout.json        what the vector holds
    rounds/000000.npz  the vector that the training begins with; 000001.npz the one after the first round, and so on
    rounds.jsonl       of each round: who answered, who was refused and why, bytes, seconds, epsilon
    privacy.json       the ledger, where there is one

A server that is killed continues after the last round in the folder: a round counts once its vector is on disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from robolearn import __version__
from robolearn.errors import ConfigError, RobolearnError
from robolearn.files.utc import utc_now
from robolearn.files.writing import append_line, replace_file
from robolearn.fleet.aggregate import ServerStep, combine
from robolearn.fleet.privacy import Ledger, read_ledger
from robolearn.fleet.settings import Federation
from robolearn.fleet.vector import Layout, Part, UpdateRefused, Vector, check_update, clipped, vector_sha256

PROTOCOL = "robolearn.federation/1"
ROUNDS_FILE, LAYOUT_FILE = "rounds.jsonl", "layout.json"


class RoundFailed(RobolearnError):
    """Too few sites gave an update that can be averaged. The rounds before are kept."""


@dataclass(frozen=True)
class Request:
    """What a site is asked to do. iteration: of the schedule that is over; count: how many it trains now."""

    round: int
    iteration: int
    count: int
    layout: str
    federation: str
    robolearn: str = __version__
    protocol: str = PROTOCOL

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """What came back from one site, by its pseudonym. update: None where it gave an error instead."""

    site: str
    update: np.ndarray | None
    error: str = ""
    received_bytes: int = 0


@dataclass(frozen=True)
class Summed:
    """With secure aggregation: the sum of the updates of these sites, and nothing of any one."""

    total: np.ndarray
    sites: tuple[str, ...]


@dataclass
class Exchange:
    """One round's traffic. sent_bytes: to all sites together. summed: instead of updates in the answers.

    fault: why the sum could not be opened, where it is known.
    """

    answers: list[Answer]
    sent_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    summed: Summed | None = None
    fault: str = ""


Ask = Callable[[Vector, Request], Exchange]


class Rounds:
    """The record of the rounds in a coordinator's folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def begin(self, layout: Layout, vector: Vector) -> None:
        """Write what the training begins with. Raises ConfigError where it has begun already."""
        if self._path(0).exists():
            raise ConfigError(f"'{self.folder}' has begun already, and has {self.last()[0]} rounds.")
        parts = [[part.name, list(part.shape)] for part in layout.parts]
        replace_file(self.folder / LAYOUT_FILE, json.dumps({"parts": parts, "digest": layout.digest}) + "\n")
        self._save(0, vector, None)

    @property
    def begun(self) -> bool:
        """Whether there is a vector to begin with."""
        return self._path(0).exists()

    def layout(self) -> Layout:
        """The layout of the vector."""
        kept = json.loads((self.folder / LAYOUT_FILE).read_text(encoding="utf-8"))
        return Layout(tuple(Part(name, tuple(shape)) for name, shape in kept["parts"]))

    def last(self) -> tuple[int, Vector, np.ndarray | None]:
        """The number of rounds that are done, the vector after them, and the server's momentum."""
        numbers = [int(path.stem) for path in (self.folder / "rounds").glob("[0-9]*.npz")]
        if not numbers:
            raise ConfigError(f"'{self.folder}' has no rounds yet. `robolearn federate run` begins them.")
        with np.load(self._path(max(numbers))) as kept:
            velocity = kept.get("velocity")
            return max(numbers), kept["vector"], velocity

    def records(self) -> list[dict[str, Any]]:
        """One dict per round and per failed round, oldest first."""
        path = self.folder / ROUNDS_FILE
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def complete(
        self, number: int, vector: Vector, velocity: np.ndarray | None, record: dict[str, Any]
    ) -> None:
        """Keep a round: first the vector, which makes it count, then its record."""
        self._save(number, vector, velocity)
        self.note({"round": number, "outcome": "done", "vector_sha256": vector_sha256(vector), **record})

    def note(self, record: dict[str, Any]) -> None:
        """Add a line to the record."""
        line = {"utc": utc_now(), **record}
        append_line(self.folder / ROUNDS_FILE, json.dumps(line).encode())

    def _path(self, number: int) -> Path:
        return self.folder / "rounds" / f"{number:06d}.npz"

    def _save(self, number: int, vector: Vector, velocity: np.ndarray | None) -> None:
        self._path(number).parent.mkdir(parents=True, exist_ok=True)
        data = BytesIO()
        kept: dict[str, Any] = {"vector": vector} | ({} if velocity is None else {"velocity": velocity})
        np.savez(data, **kept)
        replace_file(self._path(number), data.getvalue())


def run_rounds(
    rounds: Rounds,
    federation: Federation,
    sites: Sequence[str],
    ask: Ask,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Run the rounds that are missing, each recorded as it ends.

    sites: pseudonyms of all that are registered. ask: carries a round's messages. Raises RoundFailed where fewer than
    sites_min answer with something that can be averaged, BudgetSpent before a round that would spend too much.
    """
    layout = rounds.layout()
    done, vector, velocity = rounds.last()
    server = ServerStep(momentum=federation.momentum, velocity=velocity)
    ledger = None
    if federation.privacy is not None and federation.clip_norm is not None:
        ledger = read_ledger(rounds.folder, federation.privacy, federation.clip_norm, len(sites))
    for number in range(done + 1, federation.rounds + 1):
        if ledger is not None:
            ledger.require_next()
        begun_s = time.monotonic()
        count = federation.local_iterations
        request = Request(number, (number - 1) * count, count, layout.digest, federation.digest)
        exchange = ask(vector, request)
        summed, why = exchange.summed, ""
        if federation.secure_aggregation:
            accepted, refused = {}, {one.site: one.error for one in exchange.answers if one.error}
            reason = exchange.fault or "too few sites lasted to the end"
            why = f"The sum was not opened: {reason}. " if summed is None else ""
            if summed is not None and (why := fault_of(summed, federation)):
                summed = None
        else:
            accepted, refused = checked(exchange.answers, layout.size, federation.norm_max)
        answered = sorted(summed.sites if summed is not None else accepted)
        record: dict[str, Any] = {
            "answered": answered,
            "refused": refused,
            "missing": sorted(exchange.missing),
            "sent_bytes": exchange.sent_bytes,
            "received_bytes": sum(answer.received_bytes for answer in exchange.answers),
            "seconds": round(time.monotonic() - begun_s, 2),
        }
        if len(answered) < federation.sites_min:
            rounds.note({"round": number, "outcome": "failed", **record})
            raise RoundFailed(
                f"Round {number}: {len(answered)} sites gave an update that can be averaged, sites_min is "
                f"{federation.sites_min}. {why}{_reasons(refused, exchange.missing)}"
            )
        update = averaged(federation, accepted, ledger) if summed is None else of_sum(summed, ledger)
        vector = server.apply(vector, update)
        if ledger is not None:
            ledger.spend()
            ledger.write(rounds.folder)
            record["epsilon"] = ledger.spent
        rounds.complete(number, vector, server.velocity if federation.momentum else None, record)
        if progress is not None:
            progress({"round": number, **record})


def checked(
    answers: Sequence[Answer], size: int, norm_max: float
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The updates that may be averaged, by site, and why the others may not."""
    accepted, refused = {}, {}
    for answer in answers:
        if answer.update is None:
            refused[answer.site] = answer.error
            continue
        try:
            check_update(answer.update, size, norm_max, answer.site)
        except UpdateRefused as error:
            refused[answer.site] = str(error)
        else:
            accepted[answer.site] = answer.update
    return accepted, refused


def averaged(federation: Federation, accepted: dict[str, np.ndarray], ledger: Ledger | None) -> np.ndarray:
    """The update of a round, [D].

    With privacy: the sum of the clipped updates, over the number of registered sites, plus noise: what one site can
    change does not depend on who else answered.
    """
    updates = np.stack(list(accepted.values()))
    bound = federation.clip_norm or federation.norm_max
    if ledger is None:
        return combine(federation.rule, updates, norm_max=bound, trim=federation.trim)
    total = np.stack([clipped(row, bound) for row in updates]).astype(np.float64).sum(0)
    return of_sum(Summed(total, tuple(accepted)), ledger)


def of_sum(summed: Summed, ledger: Ledger | None) -> np.ndarray:
    """The update of a round from the sum of the sites' clipped updates, [D]; with noise where there is a ledger."""
    if ledger is None:
        return summed.total / len(summed.sites)
    return summed.total / ledger.sites + ledger.noise(len(summed.total), np.random.default_rng())


def fault_of(summed: Summed, federation: Federation) -> str:
    """Why a sum cannot be used, or an empty text. Which site's fault it is cannot be told."""
    assert federation.clip_norm is not None
    norm, most = float(np.linalg.norm(summed.total)), federation.clip_norm * len(summed.sites)
    if norm <= most:
        return ""
    return (
        f"The sum of {len(summed.sites)} updates has norm {norm:.3g}, at most {most:.3g} if every site clips its own. "
        "At least one did not, and masked updates do not tell which. "
    )


def _reasons(refused: dict[str, str], missing: Sequence[str]) -> str:
    texts = [f"{site}: {why}" for site, why in sorted(refused.items())]
    if missing:
        texts.append(f"no answer from {', '.join(sorted(missing))}")
    return " ".join(texts)
