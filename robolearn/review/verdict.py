"""What a verification found: the findings, the counts, one word for it, and what such a check cannot show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robolearn.files.printable import printable

FINDINGS_MAX = 10_000
_TEXT_MAX = 500
Weight = Literal["altered", "incomplete", "note"]


@dataclass(frozen=True)
class Finding:
    """One departure: what kind, how grave, where (file, line, bytes, cycles), and in words."""

    weight: Weight
    kind: str
    where: str
    text: str


def gravest(weights: Collection[str]) -> Literal["intact", "incomplete", "altered"]:
    """One word for the weights of all findings."""
    return "altered" if "altered" in weights else "incomplete" if "incomplete" in weights else "intact"


def place_fault(last_seq: int, last_hash: str, seq: int, prev: str) -> tuple[str, str] | None:
    """What is wrong with a record's place behind the last one: kind of finding, and in words; None where nothing is.

    last_hash: empty where the last record could not be read. seq, prev: what the record says.
    """
    if seq > last_seq + 1:
        missing = f"{last_seq + 1}" if seq == last_seq + 2 else f"{last_seq + 1} to {seq - 1}"
        return "missing", f"records with seq {missing} are missing before this one"
    if seq <= last_seq:
        return "out_of_order", f"follows seq {last_seq}: inserted, repeated or moved"
    if last_hash and prev != last_hash:
        return "chain", "does not follow from the record before it: one of them was replaced"
    return None


@dataclass
class Verdict:
    """What was found, what was counted, and what the check does not show."""

    directory: Path
    findings: list[Finding] = field(default_factory=list)
    session_id: str = ""
    key_id: str = ""
    key_expected: bool = False  # a key was given from outside
    key_trusted: bool = False  # ... and it is the log's
    head_expected: bool = False
    events: int = 0
    segments: int = 0
    signed_through: int = -1
    cycles: int = 0
    trace_bytes: int = 0
    losses: int = 0
    purged: int = 0  # cycles that were removed under their retention class, by a signed tombstone
    ended: bool = False
    head: dict[str, Any] = field(default_factory=dict)
    not_shown: list[str] = field(default_factory=list)
    events_s: float = 0.0
    trace_s: float = 0.0
    counted: Counter[str] = field(default_factory=Counter)  # findings by weight, also those that are not kept

    @property
    def status(self) -> Literal["intact", "incomplete", "altered"]:
        """The gravest of the findings, in one word."""
        return gravest(self.counted.keys())

    @property
    def intact(self) -> bool:
        """Nothing changed, nothing missing, ended in order."""
        return self.status == "intact"

    @property
    def summary(self) -> str:
        """One sentence."""
        counted = f"{self.events} events in {self.segments} signed segments, {self.cycles} cycles"
        counted += f" and {self.purged} purged" if self.purged else ""
        if self.status == "intact":
            return f"Intact: {counted}; unmodified, complete, closed properly."
        first = next(f for f in self.findings if f.weight == self.status)
        more = self.counted[self.status] - 1
        tail = f" ({more} more)" if more else ""
        return f"{self.status.capitalize()}: {first.where}: {first.text}{tail} [{counted}]"

    def add(self, weight: Weight, kind: str, where: str, text: str) -> None:
        """Notes one finding. Text of the log is cut and made printable; of very many findings the first are kept."""
        self.counted[weight] += 1
        if len(self.findings) < FINDINGS_MAX or self.counted[weight] == 1:
            self.findings.append(Finding(weight, kind, _brief(where), _brief(text)))


def _brief(text: str) -> str:
    text = printable(text)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}..."


def not_shown(verdict: Verdict) -> Iterator[str]:
    """What stays open after this check, in words for a reader who was not there."""
    if not verdict.key_expected:
        yield (
            "Who wrote it: no public key was given, so the log is only consistent with "
            "the key inside it. Anyone could have made such a log."
        )
    if not verdict.head_expected:
        yield (
            "That it is the latest: no head kept elsewhere was compared. An older log of the same key in its place, "
            "or one truncated together with its head.json, looks the same."
        )
    yield "That the records are true: wrong sensor readings and clocks are recorded as they are."
    yield (
        "That the key was not misused: anyone who could read the key file could have signed other records. The key "
        "lives outside the control process, on the same computer."
    )
    yield "When it happened: the wall clock is the computer's own; no time stamp of a third party is included."
    yield (
        "What was never recorded: motion with the log stopped, or in the last tenth of a second before a kill, "
        "leaves no trace here."
    )
