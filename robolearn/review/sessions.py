"""The sessions in a log folder, one after another: is each of them there, and what does its review say?

Each session names the one before it (`recorder.session_chain`). A session that is missing without a tombstone, one
that was put there, and one that was rewritten after the next had begun are findings. Each log is reviewed by itself,
so that the memory does not grow with their number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from robolearn import keys
from robolearn.errors import LogError, RobolearnError
from robolearn.files.printable import printable
from robolearn.files.reading import MIB, open_regular
from robolearn.recorder.hash_chain import EVENTS_FILE
from robolearn.recorder.session_chain import SessionEntry, entries, entry_of, session_folders
from robolearn.review.review import Review, review_log
from robolearn.review.tombstones import read_tombstones
from robolearn.review.verdict import Finding

Given = Path | None


@dataclass(frozen=True)
class ReviewedSession:
    """One session. review: None where it was purged, or cannot be reviewed at all; text says which."""

    number: int
    deployment_id: str
    directory: Path
    began_utc: str
    passed: bool
    text: str
    review: dict[str, Any] | None


@dataclass
class ReviewedSessions:
    """Every session of a log folder, and what is wrong with their order."""

    folder: Path
    sessions: list[ReviewedSession] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """No session is missing, and the review of each passed."""
        return all(session.passed for session in self.sessions) and not any(
            finding.weight == "altered" for finding in self.findings
        )

    @property
    def summary(self) -> str:
        """One sentence."""
        wrong = sum(not session.passed for session in self.sessions)
        chain = sum(finding.weight == "altered" for finding in self.findings)
        count = len(self.sessions)
        return f"{count} session{'' if count == 1 else 's'}: {count - wrong} passed, {wrong} failed; " + (
            f"{chain} findings about their order" if chain else "none missing between them"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "passed": self.passed,
            "summary": self.summary,
            "findings": [vars(finding) for finding in self.findings],
            "sessions": [{**vars(session), "directory": str(session.directory)} for session in self.sessions],
        }

    def __rich__(self) -> Text:
        lines = [
            Text.assemble((f"{finding.weight}: ", "bold"), f"{finding.where}: {finding.text}")
            for finding in self.findings
        ]
        lines.append(
            Text.assemble((f"{'Sessions':<11}", "bold"), (self.summary, "green" if self.passed else "red"))
        )
        return Text("\n").join(lines)


def session_line(session: ReviewedSession) -> Text:
    """One session in one line."""
    folder = session.directory.parent if session.directory.name == "safety" else session.directory
    head = f"{session.number:>4}  {session.began_utc[:19]}  {printable(folder.name)}  "
    return Text.assemble(head, (session.text, "green" if session.passed else "red"))


def is_log_folder(folder: Path) -> bool:
    """Whether a folder is not a session itself, but holds some."""
    return not (folder / EVENTS_FILE).exists() and bool(session_folders(folder))


def review_sessions(
    folder: str | Path,
    *,
    public_key: Path | None = None,
    expected_head: str | Path | None = None,
    robot: str | Path | None = None,
    time_limit_s: float | None = None,
    on_session: Callable[[ReviewedSession], None] | None = None,
) -> ReviewedSessions:
    """Checks the order of the sessions in a log folder and reviews each; a report page goes into each log's folder.

    public_key, robot, time_limit_s: of each, see `review_log`.  expected_head: of the last session, or, from a file,
    of the one that it names.  on_session: called with each as soon as it is reviewed. Raises LogError where there is
    none.
    """
    folder = Path(folder)
    found = ReviewedSessions(folder)
    known = entries(folder)
    if not session_folders(folder):
        raise LogError(f"There is no safety log in {folder}, nor in a folder inside it.")
    for path in session_folders(folder):
        if entry_of(path) is None:
            text = "its first event cannot be read, or does not say which session it is"
            found.findings.append(
                Finding("altered", "unreadable_session", path.relative_to(folder).as_posix(), text)
            )
    found.findings += chain_findings(folder, known)
    heads = _heads(found, known, expected_head)
    for entry in known:
        session = _reviewed(entry, public_key, heads.get(entry.session_id), robot, time_limit_s)
        found.sessions.append(session)
        if on_session is not None:
            on_session(session)
    return found


def chain_findings(folder: Path, known: list[SessionEntry]) -> list[Finding]:
    """What is wrong with the order of sessions. known: in the order of deployment and number."""
    found: list[Finding] = []
    before: SessionEntry | None = None
    for entry in known:
        if before is not None and before.deployment_id != entry.deployment_id:
            before = None
        where = entry.directory.relative_to(folder).as_posix()
        problem = _link_problem(folder, before, entry)
        if problem:
            found.append(Finding("altered", problem[0], where, printable(problem[1])[:500]))
        elif before is not None and entry.previous is not None and before.seq > entry.previous["seq"]:
            text = (
                f"began while session {before.number} was still being written: two nodes ran at the same time"
            )
            found.append(Finding("note", "overlap", where, text))
        before = entry
    return found


def _link_problem(folder: Path, before: SessionEntry | None, entry: SessionEntry) -> tuple[str, str] | None:
    """Why a session does not follow from the one before it in the folder; None if it does."""
    number, named = entry.number, entry.previous
    last = 0 if before is None else before.number
    if number <= last:
        assert before is not None
        other = before.directory.relative_to(folder).as_posix()
        return (
            "session_number",
            f"is session {number}, as is {other}: one of them was copied here, or two ran at the same time",
        )
    if number > last + 1:
        missing = (
            f"session {number - 1} is" if number == last + 2 else f"sessions {last + 1} to {number - 1} are"
        )
        who = "" if named is None else f"; it was {named.get('session_id')} in {named.get('directory')}"
        return "missing_session", f"{missing} missing before this one{who}"
    if (number == 1) != (named is None):
        return (
            "session_number",
            f"is session {number}, but {'names one' if number == 1 else 'names none'} before it",
        )
    if before is None or named is None:
        return None
    if named.get("session_id") != before.session_id:
        return "another_session", (
            f"follows session {named.get('session_id')}, but session {before.number} here is {before.session_id}: "
            "it was replaced by another"
        )
    seq, digest = named.get("seq"), named.get("hash")
    if not isinstance(seq, int) or before.seq < seq or _hash_at(before, seq) != digest:
        return "rewritten_session", (
            f"names record {seq} of session {before.number} as its last one, which does "
            "not exist: that session was truncated or rewritten"
        )
    return None


def _hash_at(entry: SessionEntry, seq: int) -> str | None:
    """The hash of one record of a session, unchecked: the review of that session checks it."""
    if entry.purged:
        return entry.hash if seq == entry.seq else None
    try:
        with open_regular(entry.directory / EVENTS_FILE, follow=False) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(16 * MIB), b"")):
                if number == seq:
                    return str(json.loads(line)["hash"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _heads(
    found: ReviewedSessions, known: list[SessionEntry], expected: str | Path | None
) -> dict[str, str | Path]:
    """The expected head by the id of the session that it is of."""
    if expected is None:
        return {}
    path = Path(expected)
    session_id = known[-1].session_id if known else ""
    if path.is_file():
        try:
            with open_regular(path) as stream:
                session_id = str(json.loads(stream.read(MIB))["session_id"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LogError(f"The expected head {expected} cannot be read: {error}.") from error
    if session_id not in {entry.session_id for entry in known}:
        text = f"is of session {printable(session_id)[:100]}, which is not in this folder"
        found.findings.append(Finding("altered", "missing_session", "the expected head", text))
    return {session_id: expected}


def _reviewed(
    entry: SessionEntry,
    public_key: Path | None,
    head: str | Path | None,
    robot: str | Path | None,
    time_limit_s: float | None,
) -> ReviewedSession:
    about = (
        entry.number,
        printable(entry.deployment_id)[:200],
        entry.directory,
        printable(entry.began_utc)[:40],
    )
    if entry.purged:
        key = None if public_key is None else keys.load_public(public_key)
        stones = read_tombstones(entry.directory, key)
        wrong = next((stone for stone in stones if stone.problem), None)
        text = f"Altered: {wrong.where} {wrong.problem}" if wrong else f"Purged: {stones[-1].text}"
        return ReviewedSession(*about, wrong is None, text, None)
    try:
        review = review_log(
            entry.directory, public_key=public_key, expected_head=head, robot=robot, time_limit_s=time_limit_s
        )
    except RobolearnError as error:
        return ReviewedSession(*about, False, f"Not reviewed: {error}", None)
    return ReviewedSession(*about, review.passed, _brief(review), review.to_json())


def _brief(review: Review) -> str:
    replayed = "" if review.replayed is None else f" {review.replayed.summary}"
    return (
        review.verdict.summary
        + replayed
        + "".join(f" No {what}: {why}" for what, why in review.not_done.items())
    )
