"""Approvals: a person signs that they reviewed the evaluation of exactly this bundle.

They lie beside the bundle, in `NAME.robolearn.approvals`, one JSON object per line, so that the bundle's own bytes
and digest never change. An approval names the digest, so it is worth nothing for any other file.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robolearn import keys
from robolearn.errors import BundleError
from robolearn.files.printable import UNPRINTABLE
from robolearn.files.reading import MIB, read_regular
from robolearn.files.writing import append_line
from robolearn.policy.bundle import PolicyBundle

SCHEMA = "robolearn.approval/1"
APPROVALS_MAX = 4 * MIB
_OTHER = "of another bundle, digest {}: it does not count here"
STATEMENT = "I have reviewed the evaluation in this bundle and approve it for use on the arm it names."


class Approval(BaseModel):
    """One signed line. who: the pseudonym under which the key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal["robolearn.approval/1"] = Field(alias="schema")
    bundle: str
    digest: str
    who: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    utc: str
    key_id: str
    public_key: str
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers: everything else, as RFC 8785 JSON."""
        return rfc8785.dumps(self.model_dump(mode="json", by_alias=True, exclude={"signature"}))

    @property
    def valid(self) -> bool:
        """Whether the signature is the named key's."""
        try:
            named = keys.key_id(keys.load_public(self.public_key)) == self.key_id
            return named and keys.verify(self.public_key, self.signed_bytes(), self.signature)
        except keys.KeyFileError:
            return False


def approvals_path(bundle: str | Path) -> Path:
    """Where the approvals of a bundle lie."""
    path = Path(bundle)
    return path.with_name(path.name + ".approvals")


def approve(path: str | Path, key: Ed25519PrivateKey, who: str, statement: str = STATEMENT) -> Approval:
    """Verify the bundle and add an approval of it. Raises BundleError where it is not intact, or who is empty."""
    bundle = PolicyBundle.load(path)
    if not who.strip() or len(who) > 200 or UNPRINTABLE.search(who):
        raise BundleError(
            "An approval names who gives it: a name or pseudonym of at most 200 letters that belongs to the key."
        )
    draft = Approval(
        schema=SCHEMA,
        bundle=bundle.manifest.name,
        digest=bundle.digest,
        who=who.strip(),
        statement=statement,
        utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        key_id=keys.key_id(key),
        public_key=keys.public_text(key),
    )
    approval = draft.model_copy(update={"signature": keys.sign(key, draft.signed_bytes())})
    try:
        append_line(approvals_path(path), rfc8785.dumps(approval.model_dump(mode="json", by_alias=True)))
    except OSError as error:
        raise BundleError(f"Cannot write {approvals_path(path)}: {error.strerror}.") from None
    return approval


def approve_command(path: str | Path) -> str:
    """What a person types to approve a bundle; NAME is to be replaced."""
    return f"robolearn approve {shlex.quote(str(path))} --who NAME"


def approvals_text(bundle: PolicyBundle, path: str | Path) -> str:
    """Who approved a bundle, one line each, to read. Raises BundleError like `read_approvals`."""
    given = read_approvals(path)
    lines = [
        f"{a.who}, key {a.key_id}, {a.utc}"
        + ("" if a.digest == bundle.digest else f", {_OTHER.format(a.digest[:12])}")
        for a in given
    ]
    if not any(a.digest == bundle.digest for a in given):
        lines.append(f"nobody; to approve it: {approve_command(path)}")
    return "\n".join(f"  {'' if i else 'approved':<8} {line}" for i, line in enumerate(lines))


def approvals_json(bundle: PolicyBundle, path: str | Path) -> list[dict[str, Any]]:
    """Every approval beside a bundle as plain JSON values; `counts`: whether it is of this very digest."""
    return [
        {**a.model_dump(mode="json", by_alias=True), "counts": a.digest == bundle.digest}
        for a in read_approvals(path)
    ]


def read_approvals(path: str | Path) -> list[Approval]:
    """Every approval beside a bundle, for whatever digest. Raises BundleError for a line that was altered."""
    file = approvals_path(path)
    try:
        data = read_regular(file, APPROVALS_MAX, follow=False)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BundleError(f"Cannot read {file}: {error.strerror}.") from None
    approvals = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            approval = Approval.model_validate_json(line)
        except ValidationError:
            raise BundleError(
                f"{file.name}: line {number} is no approval. Remove it and approve again."
            ) from None
        if not approval.valid:
            raise BundleError(f"{file.name}: line {number} was altered: its signature does not fit.")
        approvals.append(approval)
    return approvals


def require_approval(bundle: PolicyBundle, path: str | Path, approver_keys: Iterable[str]) -> Approval:
    """The newest approval of exactly this bundle by one of approver_keys (key ids or public keys).

    Raises BundleError where there is none, naming what there is.
    """
    trusted = set(approver_keys)
    if not trusted:
        raise BundleError(
            f"{bundle.manifest.name}: approval is required, but approver_keys is empty. Name the keys of those who "
            "may approve, or set require_approval to false for a simulated arm."
        )
    given = [a for a in read_approvals(path) if a.digest == bundle.digest]
    found = [a for a in given if {a.key_id, a.public_key} & trusted]
    if not found:
        others = ", ".join(f"{a.who} (key {a.key_id})" for a in given) or "nobody"
        raise BundleError(
            f"{bundle.manifest.name}: not approved by any of {', '.join(sorted(trusted))}. This digest "
            f"{bundle.digest[:12]} is approved by {others}. The owner of such a key runs: "
            f"{approve_command(path)} --key FILE"
        )
    return found[-1]
