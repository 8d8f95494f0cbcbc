"""The whole review of one safety log: verify it, replay it, write the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from robolearn.notebook import html
from robolearn.review.replay import Replay, replay
from robolearn.review.report import write_events_csv, write_report
from robolearn.review.verify import Verdict, verify


@dataclass(frozen=True)
class Review:
    """What was found and where it was written. `other`: the replay through another profile, if one was asked for."""

    verdict: Verdict
    replayed: Replay
    other: Replay | None
    report: Path
    events_csv: Path

    @property
    def passed(self) -> bool:
        """The log is intact and every recorded decision comes out again."""
        return self.verdict.intact and self.replayed.agrees

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "integrity": self.verdict.status,
            "integrity_text": self.verdict.summary,
            "findings": [vars(finding) for finding in self.verdict.findings],
            "not_shown": self.verdict.not_shown,
            "replay_agrees": self.replayed.agrees,
            "replay_text": self.replayed.summary,
            "other_profile": None if self.other is None else self.other.summary,
            "report": str(self.report),
            "events_csv": str(self.events_csv),
        }

    def __rich__(self) -> Text:
        text = Text()
        text.append("Integrity  ", style="bold").append(
            self.verdict.summary + "\n", _style(self.verdict.intact)
        )
        for finding in self.verdict.findings[:20]:
            text.append(f"           {finding.weight}: {finding.where}: {finding.text}\n")
        text.append("Replay     ", style="bold").append(
            self.replayed.summary + "\n", _style(self.replayed.agrees)
        )
        if self.other is not None:
            text.append("What if    ", style="bold").append(self.other.summary + "\n")
        text.append("Report     ", style="bold").append(f"{self.report}\n")
        text.append("Events     ", style="bold").append(str(self.events_csv))
        return text

    def _repr_html_(self) -> str:
        return html(self)


def review_log(
    directory: str | Path,
    report: str | Path | None = None,
    profile: str | Path | None = None,
    *,
    public_key: Path | None = None,
    expected_head: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Verify, replay and report on the log in a folder. Raises LogError where there is none.

    profile: also replay through this one. public_key, expected_head: see `verify`.
    """
    directory = Path(directory)
    verdict = verify(directory, public_key, expected_head)
    replayed = replay(directory, progress=progress)
    other = replay(directory, profile, progress=progress) if profile is not None else None
    page = write_report(
        directory,
        report or directory / "report.html",
        verdict=verdict,
        replayed=replayed,
        others=() if other is None else (other,),
    )
    return Review(verdict, replayed, other, page, write_events_csv(directory, page.with_suffix(".csv")))


def _style(good: bool) -> str:
    return "green" if good else "red"
