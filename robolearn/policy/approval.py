"""Decisions of people: signed, for one gate and one digest, with a role, a reason and, where given, an end.

Those about a bundle lie beside it, in `NAME.robolearn.approvals`, one JSON object per line, so that the bundle's own
bytes and digest never change. A decision names the digest, so it is worth nothing for any other file; each line names
the one before it by digest, so that none can be taken out. Those about a run stand in its audit trail.

A revocation is final: what is revoked is made anew under another digest. It is also kept in this account's own list,
`revocations_path`, so that removing a file beside the bundle does not undo it here. Anybody may revoke.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robolearn import keys
from robolearn.config import Config
from robolearn.errors import BundleError
from robolearn.files.printable import UNPRINTABLE
from robolearn.files.reading import MIB, read_regular
from robolearn.files.writing import append_line
from robolearn.policy.bundle import PolicyBundle

SCHEMA = "robolearn.approval/2"
APPROVALS_MAX = 4 * MIB
GATES = ("train", "promote", "export", "activate")
GateName = Literal["train", "promote", "export", "activate"]
REVIEWER = "reviewer"
CLOCKS_DIFFER = timedelta(minutes=5)  # of the computers on which people approve and arms are served
_FIRST = "0" * 64
_TEXT = "%Y-%m-%dT%H:%M:%SZ"
_OTHER = "of another bundle, digest {}: it does not count here"
STATEMENT = "I have reviewed the evaluation in this bundle and approve it for use on the arm it names."


class Approval(BaseModel):
    """One signed decision. who: the pseudonym under which the key is known. statement: the reason.

    seq, prev: its line in the file beside a bundle, and the SHA-256 of the line before; 0 and zeros in a trail.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["robolearn.approval/2"] = Field(alias="schema")
    gate: GateName
    decision: Literal["approve", "revoke"]
    subject: str
    digest: str
    who: str = Field(min_length=1)
    role: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    utc: str
    expires_utc: str | None
    seq: int = Field(ge=0)
    prev: str
    key_id: str
    public_key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers: everything else, as RFC 8785 JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True, exclude={"signature"}))

    def to_line(self) -> bytes:
        """The decision as it is kept: RFC 8785 JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True))

    @property
    def valid(self) -> bool:
        """Whether the signature is the named key's."""
        try:
            named = keys.key_id(keys.load_public(self.public_key)) == self.key_id
            return named and keys.verify(self.public_key, self.signed_bytes(), self.signature)
        except keys.KeyFileError:
            return False

    def expired(self, now: datetime) -> bool:
        """Whether its time is over, or is no time at all."""
        try:
            return self.expires_utc is not None and now >= _time(self.expires_utc)
        except ValueError:
            return True

    def ahead(self, now: datetime) -> bool:
        """Whether it was given later than now, by more than clocks differ, or at no time at all."""
        try:
            return _time(self.utc) > now + CLOCKS_DIFFER
        except ValueError:
            return True

    @property
    def text(self) -> str:
        """Who, as what, when, until when."""
        until = "" if self.expires_utc is None else f", until {self.expires_utc}"
        return f"{self.who} ({self.role}), key {self.key_id}, {self.utc}{until}"


class Gate(Config):
    """Who must have decided before a step of the workflow.

    people: different people, each with a key of their own. keys: key ids or public keys that count. roles: those that
    count; empty for any.
    """

    people: int = Field(default=1, ge=1, le=2)
    keys: tuple[str, ...] = Field(min_length=1)
    roles: tuple[str, ...] = ()

    def met_by(
        self, decisions: Iterable[Approval], gate: GateName, digest: str, now: datetime
    ) -> tuple[list[Approval], str]:
        """The decisions that count, newest last, and why they are not enough; empty text where the gate is met."""
        of_it = [d for d in decisions if d.digest == digest and d.valid]
        for found in of_it:
            if found.decision == "revoke":
                return [], f"revoked by {found.text}: {found.statement}"
        of_it = [d for d in of_it if d.gate == gate]
        trusted = [d for d in of_it if {d.key_id, d.public_key} & set(self.keys)]
        current = [d for d in trusted if not d.expired(now) and not d.ahead(now)]
        counting = [d for d in current if not self.roles or d.role in self.roles]
        if min(len({d.key_id for d in counting}), len({d.who for d in counting})) >= self.people:
            return counting, ""
        given = "; ".join(d.text + _why_not(d, now) for d in of_it) or "nobody"
        whose = f"{self.people} of {', '.join(sorted(self.keys))}"
        role = f" as {' or '.join(self.roles)}" if self.roles else ""
        return counting, f"needs {whose}{role}; this digest {digest[:12]} is approved by {given}"


def decide(
    key: Ed25519PrivateKey,
    gate: GateName,
    subject: str,
    digest: str,
    who: str,
    *,
    role: str = REVIEWER,
    reason: str = STATEMENT,
    decision: Literal["approve", "revoke"] = "approve",
    days: float | None = None,
    before: Sequence[bytes] = (),
) -> Approval:
    """A signed decision. days: how long it holds. before: the lines that it follows.

    Raises BundleError where a name, role or reason is empty, too long or not printable.
    """
    for what, text, most in (("name or pseudonym", who, 200), ("role", role, 200), ("reason", reason, 2000)):
        if not text.strip() or len(text) > most or UNPRINTABLE.search(text):
            raise BundleError(
                f"An approval names who gives it, a role and a reason: a {what} of at most {most} letters."
            )
    if days is not None and not 0 < days <= 36_500:
        raise BundleError(f"An approval holds for a number of days above 0, not {days:g}.")
    now = datetime.now(UTC)
    draft = Approval(
        schema=SCHEMA,
        gate=gate,
        decision=decision,
        subject=subject,
        digest=digest,
        who=who.strip(),
        role=role.strip(),
        statement=reason.strip(),
        utc=now.strftime(_TEXT),
        expires_utc=None if days is None else (now + timedelta(days=days)).strftime(_TEXT),
        seq=len(before),
        prev=hashlib.sha256(before[-1]).hexdigest() if before else _FIRST,
        key_id=keys.key_id(key),
        public_key=keys.public_text(key),
    )
    return draft.model_copy(update={"signature": keys.sign(key, draft.signed_bytes())})


def approvals_path(bundle: str | Path) -> Path:
    """Where the decisions about a bundle lie."""
    path = Path(bundle)
    return path.with_name(path.name + ".approvals")


def revocations_path() -> Path:
    """This account's own list of revocations: `revocations.jsonl` beside its folder of keys."""
    return keys.key_directory().parent / "revocations.jsonl"


def approve(
    path: str | Path,
    key: Ed25519PrivateKey,
    who: str,
    statement: str = STATEMENT,
    *,
    role: str = REVIEWER,
    days: float | None = None,
) -> Approval:
    """Verify the bundle and add an approval of it. Raises BundleError where it is not intact, or was revoked."""
    bundle = PolicyBundle.load(path)
    require_not_revoked(bundle, path)
    return _add(bundle, path, key, who, statement, role=role, days=days)


def revoke(
    path: str | Path, key: Ed25519PrivateKey, who: str, reason: str, *, role: str = REVIEWER
) -> Approval:
    """Revoke a bundle for good, beside it and in this account's list. Raises BundleError where it is not intact."""
    bundle = PolicyBundle.load(path)
    decision = _add(bundle, path, key, who, reason, role=role, decision="revoke")
    _append(revocations_path(), decision)
    return decision


def _add(
    bundle: PolicyBundle, path: str | Path, key: Ed25519PrivateKey, who: str, reason: str, **more: Any
) -> Approval:
    before = _lines(approvals_path(path))
    _decisions(before, approvals_path(path))
    given = decide(
        key, "activate", bundle.manifest.name, bundle.digest, who, reason=reason, before=before, **more
    )
    _append(approvals_path(path), given)
    return given


def _append(file: Path, decision: Approval) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_line(file, decision.to_line())
    except OSError as error:
        raise BundleError(f"Cannot write {file}: {error.strerror}.") from None


def approve_command(path: str | Path) -> str:
    """What a person types to approve a bundle; NAME is to be replaced."""
    return f"robolearn approve {shlex.quote(str(path))} --who NAME"


def approvals_text(bundle: PolicyBundle, path: str | Path) -> str:
    """Who approved or revoked a bundle, one line each, to read. Raises BundleError like `read_approvals`."""
    given = read_approvals(path)
    revoked = revocations(bundle, path)
    lines = [
        d.text + ("" if d.digest == bundle.digest else f", {_OTHER.format(d.digest[:12])}")
        for d in given
        if d.decision == "approve"
    ]
    lines += [f"REVOKED by {d.text}: {d.statement}" for d in revoked]
    if not revoked and not any(d.digest == bundle.digest for d in given):
        lines.append(f"not yet; to approve it: {approve_command(path)}")
    return "\n".join(f"  {'' if i else 'approved':<8} {line}" for i, line in enumerate(lines))


def approvals_json(bundle: PolicyBundle, path: str | Path) -> list[dict[str, Any]]:
    """Every decision beside a bundle as plain JSON values; `counts`: whether it is of this very digest."""
    return [
        {**d.model_dump(mode="json", by_alias=True), "counts": d.digest == bundle.digest}
        for d in read_approvals(path)
    ]


def read_approvals(path: str | Path) -> list[Approval]:
    """Every decision beside a bundle, for whatever digest.

    Raises BundleError for a line that was altered, and where one was taken out.
    """
    file = approvals_path(path)
    return _decisions(_lines(file), file)


def _lines(file: Path) -> list[bytes]:
    try:
        return read_regular(file, APPROVALS_MAX, follow=False).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BundleError(f"Cannot read {file}: {error.strerror}.") from None


def _decisions(lines: list[bytes], file: Path, *, chained: bool = True) -> list[Approval]:
    decisions, prev = [], _FIRST
    for number, line in enumerate(lines, start=1):
        try:
            decision = Approval.model_validate_json(line)
        except ValidationError:
            raise BundleError(
                f"{file.name}: line {number} is not a valid approval ({SCHEMA}). Remove the file "
                "and approve again."
            ) from None
        if not decision.valid:
            raise BundleError(f"{file.name}: line {number} was altered: its signature does not fit.")
        if chained and (decision.seq, decision.prev) != (number - 1, prev):
            raise BundleError(
                f"{file.name}: line {number} does not follow from the one before: a line was removed, added or moved. "
                "Get the file again, or remove it and approve again."
            )
        prev = hashlib.sha256(line).hexdigest()
        decisions.append(decision)
    return decisions


def revocations(bundle: PolicyBundle, path: str | Path) -> list[Approval]:
    """Revocations of exactly this bundle, beside it or in this account's list.

    Raises BundleError where either file was altered: what cannot be read is not taken for a no.
    """
    file = revocations_path()
    found = {d.signature: d for d in (*read_approvals(path), *_decisions(_lines(file), file, chained=False))}
    return [d for d in found.values() if d.decision == "revoke" and d.digest == bundle.digest]


def require_not_revoked(bundle: PolicyBundle, path: str | Path) -> None:
    """Raises BundleError where anybody has revoked exactly this bundle, or that cannot be read."""
    for found in revocations(bundle, path):
        raise BundleError(
            f"{bundle.manifest.name}: this digest {bundle.digest[:12]} was revoked by {found.text}: {found.statement} "
            "A revocation is final: train or export again."
        )


def require_approval(
    bundle: PolicyBundle, path: str | Path, approver_keys: Iterable[str], people: int = 1
) -> Approval:
    """The newest approval of exactly this bundle by one of approver_keys (key ids or public keys).

    people: number of people who must approve it. Raises BundleError where they are too few, naming what there
    is, and where the bundle is revoked.
    """
    trusted = tuple(approver_keys)
    if not trusted:
        raise BundleError(
            f"{bundle.manifest.name}: approval is required, but approver_keys is empty. For a simulated "
            "arm, add --sim; for a real one, list the approvers' keys in the deployment file."
        )
    require_not_revoked(bundle, path)
    gate, given, now = Gate(people=people, keys=trusted), read_approvals(path), datetime.now(UTC)
    _require_clock(bundle, given, now)
    found, lacking = gate.met_by(given, "activate", bundle.digest, now)
    if lacking:
        raise BundleError(
            f"{bundle.manifest.name}: not approved: it {lacking}. The owner of such a key runs: "
            f"{approve_command(path)} --key FILE"
        )
    return found[-1]


def _require_clock(bundle: PolicyBundle, given: Iterable[Approval], now: datetime) -> None:
    """Raises BundleError where anything here is later than this computer's clock: what expired would count again."""
    for what, text in (("bundle", bundle.manifest.created_utc), *(("approval", d.utc) for d in given)):
        try:
            later = _time(text) > now + CLOCKS_DIFFER
        except ValueError:
            continue  # of an approval: it does not count
        if later:
            raise BundleError(
                f"{bundle.manifest.name}: its {what} is of {text}, but this computer's clock says "
                f"{now.strftime(_TEXT)}. Which approvals have expired is unknown: set the clock."
            )


def _why_not(decision: Approval, now: datetime) -> str:
    return (
        " (expired)" if decision.expired(now) else " (later than this clock)" if decision.ahead(now) else ""
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TEXT).replace(tzinfo=UTC)
