"""What the fields of each record of an audit trail must hold for anything to rely on them; more is allowed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from robolearn.config import first_fault


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Named(_Open):
    name: str
    sha256: str


class _Log(_Open):
    source: str
    sha256: str


class _Data(_Open):
    path: str
    sha256: str


class _Acceptance(_Open):
    file: str
    sha256: str
    thresholds: dict[str, Any]


class _Calibration(_Open):
    path: str
    sha256: str
    logs: list[_Log]


class _Task(_Open):
    name: str
    file: str | None
    sha256: str | None


class _Code(_Open):
    robolearn: str
    sha256: str


class _Environment(_Open):
    python: str
    sha256: str
    installed: dict[str, str]


class _Inputs(_Open):
    config: dict[str, Any]
    config_sha256: str
    acceptance: _Acceptance | None
    robot: _Named | None
    task: _Task
    calibration: _Calibration | None
    data: list[_Data]
    code: _Code
    environment: _Environment


class _Start(_Open):
    start: int
    resumed_from: int
    checkpoint_sha256: str | None = None


class _Metrics(_Open):
    bytes: int
    sha256: str


class _Checkpoint(_Open):
    iteration: int
    policy_sha256: str
    checkpoint_sha256: str | None
    metrics: _Metrics | None = None


class _Ended(_Open):
    outcome: str
    iteration: int


class _File(_Open):
    file: str
    sha256: str


class _Judged(_Open):
    status: str


class _Export(_Open):
    bundle: _Named
    policy_sha256: str
    acceptance: _Judged


class _Decision(_Open):
    gate: str
    decision: str
    who: str
    role: str
    statement: str
    utc: str
    key_id: str
    signature: str


class _TrailStart(_Open):
    # `schema` is a name that pydantic keeps for itself: it is looked at by who reads the first record.
    run_id: str


class _Torn(_Open):
    bytes: int
    sha256: str


class _Segment(_Open):
    run_id: str
    segment: int
    first_seq: int
    last_seq: int
    key_id: str
    public_key: str
    signature: str


_FIELDS: dict[str, type[_Open]] = {
    "trail_start": _TrailStart,
    "inputs": _Inputs,
    "start": _Start,
    "checkpoint": _Checkpoint,
    "interruption": _Ended,
    "end": _Ended,
    "evaluation": _File,
    "explanation": _File,
    "ood": _File,
    "robustness": _File,
    "sweep": _File,
    "export": _Export,
    "decision": _Decision,
    "torn": _Torn,
    "segment": _Segment,
}


def fields_fault(kind: Any, fields: Any) -> str:
    """What is wrong with a record's fields, in words; empty where nothing is. A kind that is unknown has no rules."""
    if not isinstance(kind, str) or not isinstance(fields, dict):
        return "kind is not text, or fields are no object"
    model = _FIELDS.get(kind)
    if model is None:
        return ""
    try:
        model.model_validate(fields)
    except ValidationError as error:
        place, fault = first_fault(error)
        return f"{place}: {fault[:200]}"
    return ""
