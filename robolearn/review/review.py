"""The whole review of one safety log: verify it, replay it, write the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.text import Text

from robolearn.errors import RobolearnError
from robolearn.review.ood_scores import ood_text
from robolearn.review.recorded_log import RecordedLog, TimeBudget
from robolearn.review.replay import Replay, Replaying
from robolearn.review.report import Measuring, report_data, write_events_csv, write_page
from robolearn.review.verify import Verdict, verify
from robolearn.safety.profile import SafetyProfile

T = TypeVar("T")
UNEXPECTED = "the log holds what this robolearn cannot review; please report it"
_LIMIT_LEAST_S, _LIMIT_TIMES, _CYCLES_MAX = 120.0, 20.0, 10**9


@dataclass(frozen=True)
class Review:
    """What was found and where it was written. `other`: the replay through another profile, if one was asked for.

    sources: who gave commands, as the page lists them.  ood: `ood_summary`, where the policy gave scores.
    simulated_time: the times are a simulator's, by /clock: nothing was measured on a real arm.
    not_done: what this log does not allow, and why; such parts are None.
    """

    verdict: Verdict
    replayed: Replay | None
    other: Replay | None
    report: Path | None
    events_csv: Path | None
    sources: list[dict[str, Any]] = field(default_factory=list)
    ood: dict[str, Any] | None = None
    not_done: dict[str, str] = field(default_factory=dict)
    simulated_time: bool = False

    @property
    def passed(self) -> bool:
        """The log is intact, every recorded decision is reproduced, and nothing was left undone."""
        return (
            self.verdict.intact and self.replayed is not None and self.replayed.agrees and not self.not_done
        )

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
            "simulated_time": self.simulated_time,
            "policies": self.policies,
            "ood": None if self.ood is None else {k: v for k, v in self.ood.items() if k != "course"},
            "replay_agrees": self.replayed is not None and self.replayed.agrees,
            "replay_text": "" if self.replayed is None else self.replayed.summary,
            "other_profile": None if self.other is None else self.other.summary,
            "not_done": self.not_done,
            "report": None if self.report is None else str(self.report),
            "events_csv": None if self.events_csv is None else str(self.events_csv),
        }

    def __rich__(self) -> Text:
        return Text("\n").join([verdict_text(self.verdict), self.rest_text()])

    def rest_text(self) -> Text:
        """What follows after the verdict."""
        lines = []
        if self.simulated_time:
            lines.append(
                _line("Clock", "simulated: the arm was a simulator. No evidence about a real arm.", "red")
            )
        if self.replayed is not None:
            lines.append(_line("Replay", self.replayed.summary, _style(self.replayed.agrees)))
        lines += [_line("Policy", _ran(policy)) for policy in self.policies]
        if not self.policies and "report" not in self.not_done:
            lines.append(_line("Policy", "none: no command was followed"))
        if self.ood is not None:
            lines.append(_line("Unfamiliar", ood_text(self.ood), "yellow" if self.ood["above"] else ""))
        if self.other is not None:
            lines.append(_line("What if", self.other.summary))
        lines += [_line(what.capitalize(), f"not made: {why}", "red") for what, why in self.not_done.items()]
        if self.report is not None:
            lines.append(_line("Report", str(self.report)))
        if self.events_csv is not None:
            lines.append(_line("Events", str(self.events_csv)))
        return Text("\n").join(lines)

    def _repr_mimebundle_(self, include: Any = (), exclude: Any = (), **_: Any) -> dict[str, str]:
        return self.__rich__()._repr_mimebundle_(include, exclude)


def verdict_text(verdict: Verdict) -> Text:
    """The verdict of the verification, its findings, and what the log was compared with."""
    lines = [_line("Integrity", verdict.summary, _style(verdict.intact))]
    lines += [_line("", f"{f.weight}: {f.where}: {f.text}") for f in verdict.findings[:20]]
    lines += [_line("Key", _key_text(verdict)), _line("Head", _head_text(verdict))]
    return Text("\n").join(lines)


def review_log(
    directory: str | Path,
    report: str | Path | None = None,
    profile: str | Path | None = None,
    *,
    public_key: Path | None = None,
    expected_head: str | Path | None = None,
    robot: str | Path | None = None,
    time_limit_s: float | None = None,
    on_verdict: Callable[[Verdict], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Verify, replay and report on the log in a folder. Raises LogError where there is none.

    profile: also replay through this one.  public_key, expected_head: see `verify`; a wrong one is a finding.
    robot: the reviewer's own copy of the robot file that was recorded, where it draws on files outside the log.
    time_limit_s: of replay and report; by default 20 times the recorded time and two minutes.
    on_verdict: called with the verdict as soon as it is known, before the replay.
    Steps that the log's content prevents are listed in `not_done`; the verdict is always present.
    """
    log = RecordedLog(directory, robot)
    other = None if profile is None else SafetyProfile.load(profile)
    verdict = verify(log, public_key, expected_head)
    if on_verdict is not None:
        on_verdict(verdict)
    run = _Stages(log, other, time_limit_s)
    run.read(progress)
    replayed, again = run.result("replay"), run.result("what if")
    others = () if again is None else (again,)
    data = run.stage("report", lambda: report_data(log, verdict, replayed, others, measuring=run.measuring))
    page = None if data is None else write_page(data, report or log.directory / "report.html")
    out_csv = Path(report or log.directory / "report.html").with_suffix(".csv")
    table = run.stage("events", lambda: write_events_csv(log, out_csv))
    sources, ood = ([], None) if data is None else (data["sources"]["listed"], data["ood"])
    simulated = data is not None and data["simulated_time"]
    return Review(verdict, replayed, again, page, table, sources, ood, run.not_done, simulated)


class _Stages:
    """Replays and statistics from one pass over the log; what one of them cannot do does not keep the others."""

    def __init__(self, log: RecordedLog, other: SafetyProfile | None, time_limit_s: float | None) -> None:
        self.not_done: dict[str, str] = {}
        self._log, self._time_limit_s = log, time_limit_s
        self._readers: dict[str, Replaying | Measuring] = {}
        self._add("replay", lambda: Replaying(log))
        if other is not None:
            self._add("what if", lambda: Replaying(log, other))
        self._add("report", lambda: Measuring(log))

    @property
    def measuring(self) -> Measuring | None:
        """The statistics, where they could be made."""
        found = self._readers.get("report")
        return found if isinstance(found, Measuring) else None

    def result(self, what: str) -> Replay | None:
        """Of a replay that was made to its end."""
        found = self._readers.get(what)
        return found.result if isinstance(found, Replaying) else None

    def read(self, progress: Callable[[int, int], None] | None) -> None:
        """Gives every block of the log to every reader."""
        if not self._readers:
            return
        self._log.budget = TimeBudget(self._limit_s())
        blocks, done = self._log.blocks(), 0
        while (block := self.stage("", lambda: next(blocks, None))) is not None:
            for what, reader in list(self._readers.items()):
                if self.stage(what, lambda reader=reader, block=block: (reader.take(block), True)) is None:
                    del self._readers[what]
            done += len(block.messages)
            if progress is not None:
                progress(done, max(done, self._log.cycles_stated))
        if "" in self.not_done:  # reading itself ended early
            why = self.not_done.pop("")
            self.not_done |= dict.fromkeys(self._readers, why)
            self._readers.clear()

    def stage(self, what: str, do: Callable[[], T]) -> T | None:
        """The result of a stage; None, and the reason noted, where the log does not allow it."""
        if what in self.not_done:
            return None
        try:
            with np.errstate(all="ignore"):  # a recorded input may be any number
                return do()
        except RobolearnError as error:
            self.not_done[what] = str(error)
        except Exception as error:  # whatever the content did to us: the verdict is given all the same
            self.not_done[what] = f"{UNEXPECTED} ({type(error).__name__}: {error})"
        return None

    def _add(self, what: str, make: Callable[[], Replaying | Measuring]) -> None:
        reader = self.stage(what, make)
        if reader is not None:
            self._readers[what] = reader

    def _limit_s(self) -> float:
        if self._time_limit_s is not None:
            return self._time_limit_s
        recorded_s = self._log.period_s * min(self._log.cycles_stated, _CYCLES_MAX)
        return _LIMIT_LEAST_S + _LIMIT_TIMES * recorded_s


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<11}", "bold"), (text, style))


def _key_text(verdict: Verdict) -> str:
    """Which key signed, and whether anything but the log says so."""
    if not verdict.key_expected:
        return f"{verdict.key_id}, not checked: it is from the log itself. Check it with --key"
    return (
        f"{verdict.key_id}, "
        f"{'checked: matches the given key' if verdict.key_trusted else 'checked: NOT the given key'}"
    )


def _head_text(verdict: Verdict) -> str:
    """Where the chain ends, to be noted elsewhere, and whether it was compared with an earlier note."""
    compared = (
        "compared with the one given"
        if verdict.head_expected
        else "not compared with a copy kept elsewhere. Compare it with --head"
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
