"""The whole review of one safety log: verify it, replay it, write the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from robolearn.review.replay import Replay, replay
from robolearn.review.report import report_data, write_events_csv, write_page
from robolearn.review.verify import Verdict, verify


@dataclass(frozen=True)
class Review:
    """What was found and where it was written. `other`: the replay through another profile, if one was asked for.

    sources: who gave commands, as the page lists them.
    """

    verdict: Verdict
    replayed: Replay
    other: Replay | None
    report: Path
    events_csv: Path
    sources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """The log is intact and every recorded decision comes out again."""
        return self.verdict.intact and self.replayed.agrees

    @property
    def policies(self) -> list[dict[str, Any]]:
        """Every source whose commands were followed; digest None where it names no policy."""
        return [
            {
                "policy_digest": source["policy_digest"],
                "source": source["source"],
                "commands": source["commands"],
                "cycles": source["followed"],
                "from_utc": source["turns"][0]["from_utc"],
                "to_utc": source["turns"][-1]["to_utc"],
            }
            for source in self.sources
            if source["followed"]
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "integrity": self.verdict.status,
            "integrity_text": self.verdict.summary,
            "key": self.verdict.key_id,
            "key_checked": self.verdict.key_expected,
            "key_as_expected": self.verdict.key_trusted,
            "head": self.verdict.head,
            "head_checked": self.verdict.head_expected,
            "findings": [vars(finding) for finding in self.verdict.findings],
            "not_shown": self.verdict.not_shown,
            "policies": self.policies,
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
        text.append("Key        ", style="bold").append(_key_text(self.verdict) + "\n")
        text.append("Head       ", style="bold").append(_head_text(self.verdict) + "\n")
        text.append("Replay     ", style="bold").append(
            self.replayed.summary + "\n", _style(self.replayed.agrees)
        )
        for policy in self.policies:
            text.append("Policy     ", style="bold").append(_ran(policy) + "\n")
        if not self.policies:
            text.append("Policy     ", style="bold").append("none: no command was followed\n")
        if self.other is not None:
            text.append("What if    ", style="bold").append(self.other.summary + "\n")
        text.append("Report     ", style="bold").append(f"{self.report}\n")
        text.append("Events     ", style="bold").append(str(self.events_csv))
        return text

    def _repr_mimebundle_(self, include: Any = (), exclude: Any = (), **_: Any) -> dict[str, str]:
        return self.__rich__()._repr_mimebundle_(include, exclude)


def review_log(
    directory: str | Path,
    report: str | Path | None = None,
    profile: str | Path | None = None,
    *,
    public_key: Path | None = None,
    expected_head: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Verify, replay and report on the log in a folder. Raises LogError where there is none.

    profile: also replay through this one. public_key, expected_head: see `verify`; a wrong one is a finding.
    """
    directory = Path(directory)
    verdict = verify(directory, public_key, expected_head)
    replayed = replay(directory, progress=progress)
    other = replay(directory, profile, progress=progress) if profile is not None else None
    data = report_data(directory, verdict, replayed, () if other is None else (other,))
    page = write_page(data, report or directory / "report.html")
    table = write_events_csv(directory, page.with_suffix(".csv"))
    return Review(verdict, replayed, other, page, table, data["sources"]["listed"])


def _key_text(verdict: Verdict) -> str:
    """Which key signed, and whether anything but the log says so."""
    if not verdict.key_expected:
        return f"{verdict.key_id}, not checked: the log itself names it. Check it with --key"
    return f"{verdict.key_id}, {'checked: as given' if verdict.key_trusted else 'checked: NOT the one given'}"


def _head_text(verdict: Verdict) -> str:
    """Where the chain ends, to be noted elsewhere, and whether it was compared with an earlier note."""
    compared = (
        "compared with the one given"
        if verdict.head_expected
        else "not compared with one kept elsewhere. Compare it with --head"
    )
    return f"seq {verdict.head['seq']}, hash {verdict.head['hash']}, {compared}"


def _ran(policy: dict[str, Any]) -> str:
    """One line about a source that was followed; times of day, UTC."""
    digest, source = policy["policy_digest"], policy["source"]
    name = digest[:16] if digest else f"{source[:40]!r} (names no policy)"
    return (
        f"{name}: {policy['cycles']:,} cycles, {policy['from_utc'][11:19]} to {policy['to_utc'][11:19]} UTC"
    )


def _style(good: bool) -> str:
    return "green" if good else "red"
