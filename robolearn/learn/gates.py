"""Gates of a training: steps that wait until the people whom its config names have decided, signed, in the trail.

    gates:
      train: {people: 1, keys: [3f2a...], roles: [data steward]}
      promote: {keys: [3f2a...]}
      export: {people: 2, keys: [3f2a..., 81bc...]}

Which gates there are is read from the trail's first record of inputs, not from a file that can be edited. `train` is
about the config without what touches no number, and the digests of thresholds, robot, task, calibration and data;
`promote` about a checkpoint's policy; `export` about that policy and the evaluation of it.
"""

from __future__ import annotations

import hashlib
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from robolearn.config import build
from robolearn.errors import ConfigError, unknown
from robolearn.keys import load_or_create_key
from robolearn.policy.approval import REVIEWER, Approval, Gate, GateName, decide
from robolearn.recorder.audit_trail import AuditTrail, chain_fault, read_trail
from robolearn.recorder.hash_chain import canonical

RUN_GATES: tuple[GateName, ...] = ("train", "promote", "export")
# What may differ between a run and its continuation: none of it touches a number.
FREE = {"time_budget_s", "checkpoint_every", "checkpoints_kept", "wandb", "distributed"}


def subject_of(run_dir: Path, gate: str) -> str:
    """The digest that a decision at this gate is about, from the trail. Raises ConfigError where there is none yet."""
    gate = _run_gate(gate)
    records = read_trail(run_dir)
    if not records:
        raise ConfigError(
            f"'{run_dir}' has no audit trail: not a run folder, or no training was started in it."
        )
    if gate == "train":
        return train_subject(_newest(records, run_dir, "inputs", "record of a training"))
    policy = _newest(records, run_dir, "checkpoint", "checkpoint")["policy_sha256"]
    return policy if gate == "promote" else export_subject(records, run_dir, policy)


def _run_gate(gate: str) -> GateName:
    """The gate of a run by its name. Raises ConfigError for another one."""
    for known in RUN_GATES:
        if gate == known:
            return known
    raise ConfigError(unknown("gate", gate, RUN_GATES) + " A bundle is approved with `robolearn approve`.")


def train_subject(inputs: dict[str, Any]) -> str:
    """Of what a training depends on, as its trail has it."""
    about = {name: inputs[name] for name in ("acceptance", "robot", "task", "calibration", "data")}
    config = {key: value for key, value in inputs["config"].items() if key not in FREE}
    return hashlib.sha256(canonical({"config": config, **about})).hexdigest()


def export_subject(records: list[dict[str, Any]], run_dir: Path, policy_sha256: str) -> str:
    """Of a policy and its newest evaluation in the run folder."""
    found = newest_evaluation(records, run_dir)
    return hashlib.sha256(canonical({"policy": policy_sha256, "evaluation": found["sha256"]})).hexdigest()


def newest_evaluation(records: list[dict[str, Any]], run_dir: Path) -> dict[str, Any]:
    """The record of the evaluation.json of a run folder. Raises ConfigError where there is none."""
    evaluations = [
        r for r in records if r["kind"] == "evaluation" and r["fields"]["file"] == "evaluation.json"
    ]
    return _newest(evaluations, run_dir, "evaluation", "evaluation")


def _newest(records: list[dict[str, Any]], run_dir: Path, kind: str, what: str) -> dict[str, Any]:
    for record in reversed(records):
        if record["kind"] == kind:
            return record["fields"]
    raise ConfigError(f"The audit trail of '{run_dir}' has no {what} yet: there is nothing to decide on.")


def stated_gates(records: list[dict[str, Any]]) -> dict[str, Gate]:
    """The gates that the first inputs in a trail name."""
    first = next((record for record in records if record["kind"] == "inputs"), None)
    named = {} if first is None else first["fields"]["config"].get("gates") or {}
    return {name: build(Gate, values, f"gate {name}") for name, values in named.items()}


def decisions_of(records: list[dict[str, Any]]) -> list[Approval]:
    """The decisions in a trail, those with a signature that does not fit left out."""
    found = []
    for record in records:
        if record["kind"] == "decision":
            try:
                decision = Approval.model_validate(record["fields"])
            except ValidationError:
                continue
            found += [decision] if decision.valid else []
    return found


def require_gate(run_dir: Path, gate: GateName, digest: str) -> None:
    """Raise ConfigError where a gate of this run is not met for a digest, or its trail is not as it was written."""
    records = read_trail(run_dir)
    stated = stated_gates(records).get(gate)
    if stated is None:
        return
    fault = chain_fault(run_dir)
    if fault:
        raise ConfigError(
            f"The audit trail of '{run_dir}' was altered: {fault}. Gate '{gate}' cannot be passed on it."
        )
    _, lacking = stated.met_by(decisions_of(records), gate, digest, datetime.now(UTC))
    if lacking:
        command = f"robolearn gate {gate} {shlex.quote(str(run_dir))} --who NAME"
        raise ConfigError(f"Gate '{gate}' of '{run_dir}' is not passed: it {lacking}. Decide with: {command}")


def decide_gate(
    run_dir: Path,
    gate: str,
    key: Ed25519PrivateKey,
    who: str,
    *,
    role: str = REVIEWER,
    reason: str,
    decision: Literal["approve", "revoke"] = "approve",
    days: float | None = None,
) -> Approval:
    """Sign a decision at a gate of a run, and add it to the trail. Raises ConfigError, BundleError or LogError."""
    digest = subject_of(run_dir, gate)
    given = decide(
        key, _run_gate(gate), run_dir.absolute().name, digest, who,
        role=role, reason=reason, decision=decision, days=days
    )  # fmt: skip
    fields = given.model_dump(mode="json", by_alias=True)
    AuditTrail(run_dir, load_or_create_key()).record("decision", fields)
    return given
