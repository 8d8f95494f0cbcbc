"""A site's veto, and its log of every message that left: which app may run, how many rounds, what was sent.

messages.jsonl has one JSON object a line: seq, utc, run, round, bytes, sha256, holds (each record by name, with shapes
and sizes), personal (the parts that the site keeps for itself, where there are any), prev (the SHA-256 of the line
before). `check_messages` finds a line that was changed or taken out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rfc8785

from robolearn.errors import RobolearnError
from robolearn.files.utc import utc_now
from robolearn.files.writing import append_line

MESSAGES_FILE = "messages.jsonl"
_FIRST = "0" * 64


class SiteRefuses(RobolearnError):
    """The site does not do what the coordinator asks of it."""


class SitePolicy:
    """Decides for one site, and writes its log.

    allowed_apps: SHA-256 digests in hex; empty: none may run. rounds_max: of all runs together.
    """

    def __init__(self, folder: str | Path, allowed_apps: Sequence[str], rounds_max: int):
        self._path = Path(folder) / MESSAGES_FILE
        self._allowed, self._rounds_max = tuple(allowed_apps), rounds_max

    def require_app(self, content: bytes) -> str:
        """The digest of an app's bytes. Raises SiteRefuses where it is not on the list."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._allowed:
            raise SiteRefuses(
                f"The coordinator sent an app with digest {digest}, which allowed_apps in site.yaml does not name. "
                "It was not unpacked. Ask the coordinator what changed before you add it."
            )
        return digest

    def require_round(self, run: str, number: str) -> None:
        """Raises SiteRefuses where this round would be one more than the site answers."""
        rounds = {(line["run"], line["round"]) for line in self.messages() if line["answers"]}
        if (run, number) not in rounds and len(rounds) >= self._rounds_max:
            raise SiteRefuses(
                f"The site has answered {len(rounds)} rounds; rounds_max in site.yaml allows {self._rounds_max}."
            )

    def messages(self) -> list[dict[str, Any]]:
        """Every message that left, oldest first."""
        if not self._path.is_file():
            return []
        return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]

    def sending(
        self,
        run: str,
        number: str,
        data: bytes,
        holds: Mapping[str, Any],
        *,
        answers: bool = True,
        personal: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Record a message before it leaves. data: its content as sent. answers: False for a refusal or an error."""
        lines = self._path.read_bytes().splitlines() if self._path.is_file() else []
        entry = {
            "seq": len(lines),
            "utc": utc_now(),
            "run": run,
            "round": number,
            "answers": answers,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "holds": dict(holds),
            **({"personal": list(personal)} if personal else {}),
            "prev": hashlib.sha256(lines[-1]).hexdigest() if lines else _FIRST,
        }
        append_line(self._path, rfc8785.dumps(entry), mode=0o600)
        return entry


def check_messages(folder: str | Path) -> str:
    """What is wrong with a site's log, or an empty text: each line names the digest of the one before.

    The end can be cut off unseen; the coordinator's own record of the rounds shows that.
    """
    path = Path(folder) / MESSAGES_FILE
    prev = _FIRST
    for index, line in enumerate(path.read_bytes().splitlines() if path.is_file() else []):
        try:
            entry = json.loads(line)
            fits = entry["seq"] == index and entry["prev"] == prev and rfc8785.dumps(entry) == line
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            return f"{path}: line {index + 1} does not follow from the one before."
        prev = hashlib.sha256(line).hexdigest()
    return ""
