"""Decisions about a bundle, in the trail of the run that it came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from robolearn.errors import LogError
from robolearn.keys import KeyFileError, load_or_create_key
from robolearn.policy.approval import Approval
from robolearn.policy.bundle import PolicyBundle
from robolearn.recorder.audit_trail import AuditTrail, run_id


def note_decision(bundle: str | Path, decision: Approval) -> Iterator[str]:
    """Add a decision to the trail of the bundle's run, where that lies in the bundle's folder; what to say of it.

    The decision is signed and kept beside the bundle whatever happens here.
    """
    folder = Path(bundle).absolute().parent
    wanted = PolicyBundle.load(bundle).manifest.run_id
    if wanted is None or run_id(folder) != wanted:
        yield (
            "This bundle does not lie in the folder of its run: the decision is stored beside the bundle, and not in "
            "the run's audit trail."
        )
        return
    try:
        AuditTrail(folder, load_or_create_key()).record(
            "decision", decision.model_dump(mode="json", by_alias=True)
        )
    except (LogError, KeyFileError) as error:
        yield f"Not in the audit trail of the run: {error}"
