"""What can be shown of a run or a bundle, collected once; `points` asks it for one point of Annex IV after another."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from robolearn.config import first_fault
from robolearn.dossier.verify_run import TrailVerdict, verify_run
from robolearn.errors import BundleError, ConfigError, LogError, RobolearnError
from robolearn.files.strict_json import parse_json
from robolearn.learn.disparity import Disparity, disparity
from robolearn.policy.approval import Approval, read_approvals
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.recorder.audit_trail import AUDIT_FILE, run_id

EXPLANATION, FAILURES = "explanation.json", "failures.json"


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Rate(_Open):
    """Of a success or a stratum."""

    name: str = ""
    episodes: int = Field(gt=0)
    successes: int = Field(ge=0)
    rate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> _Rate:
        if self.successes > self.episodes:
            raise ValueError("more successes than episodes")
        return self


class _Row(_Open):
    name: str
    status: str
    threshold: float
    found: float | None


class _Acceptance(_Open):
    status: str
    rows: list[_Row] = []


class _Evaluation(_Open):
    """What is relied on of an evaluation; one of another kind, of an imported policy, has none of it."""

    success: _Rate | None = None
    strata: list[_Rate] = []
    peaks: dict[str, dict[str, float]] = {}
    acceptance: _Acceptance | None = None


@dataclass
class Evidence:
    """A run, a bundle, or both. problems: what could not be read, in words."""

    run_dir: Path | None = None
    bundle: PolicyBundle | None = None
    bundle_path: Path | None = None
    problems: list[str] = field(default_factory=list)

    @cached_property
    def verdict(self) -> TrailVerdict | None:
        """The check of the run's trail; None without a run or a trail."""
        if self.run_dir is None:
            return None
        try:
            return verify_run(self.run_dir)
        except LogError as error:
            self.problems.append(str(error))
            return None

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The first record of inputs in the trail."""
        found = self.verdict.of("inputs") if self.verdict else []
        return found[0]["fields"] if found else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config of the training."""
        found = self.inputs.get("config") or (
            self.bundle.manifest.training.get("config") if self.bundle else None
        )
        return found if isinstance(found, dict) else {}

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """The bundle's evaluation, else the run's newest; empty, and a problem, where it is malformed."""
        found = self._json("evaluation.json") if self.bundle is None else self.bundle.manifest.evaluation
        try:
            _Evaluation.model_validate(found)
        except ValidationError as error:
            where, fault = first_fault(error)
            self.problems.append(f"the evaluation is not as robolearn writes it: {where}: {fault[:200]}")
            return {}
        return found

    @cached_property
    def explanation(self) -> dict[str, Any]:
        """What `robolearn explain` found, where it was run."""
        return self._json(EXPLANATION)

    @cached_property
    def failures(self) -> dict[str, Any]:
        """What `robolearn explain --failures` found, where it was run."""
        return self._json(FAILURES)

    @cached_property
    def sweep(self) -> dict[str, Any]:
        """What `robolearn sweep` found of the run's newest policy; empty where it was not run."""
        found = self._json("sweep.json")
        evaluated = self._json("evaluation.json").get("iteration")
        if found and evaluated is not None and found.get("iteration") != evaluated:
            self.problems.append("sweep.json is of another policy than the newest evaluation: sweep it again")
            return {}
        return found

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = parse_json((self.run_dir / name).read_bytes()) if self.run_dir else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.problems.append(f"{name} cannot be read: {error}")
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def acceptance(self) -> dict[str, Any]:
        """The judgement of the thresholds that were stated before the training."""
        found = self.evaluation.get("acceptance")
        if found is None and self.run_dir is not None and self.inputs:
            from robolearn.learn.acceptance import NOT_EVALUATED
            from robolearn.learn.audit import judge_run

            try:
                found = judge_run(self.run_dir).to_json()
                if found["rows"] and not self.evaluation:
                    found["status"] = NOT_EVALUATED
            except (RobolearnError, LookupError, TypeError, ValueError, AttributeError) as error:
                self.problems.append(f"the thresholds cannot be judged: {error}")
        return found if isinstance(found, dict) else {}

    @cached_property
    def disparity(self) -> Disparity | None:
        """Success by stratum against the rest."""
        success, strata = self.evaluation.get("success"), self.evaluation.get("strata")
        if not isinstance(success, dict) or not strata:
            return None
        return disparity(success["successes"], success["episodes"], strata)

    @cached_property
    def decisions(self) -> list[Approval]:
        """Signed decisions in the trail, and those beside the bundle."""
        from robolearn.learn.gates import decisions_of

        found = {d.signature: d for d in decisions_of(self.verdict.records if self.verdict else [])}
        if self.bundle is not None and self.bundle_path is not None:
            try:
                found |= {
                    d.signature: d for d in read_approvals(self.bundle_path) if d.digest == self.bundle.digest
                }
            except BundleError as error:
                self.problems.append(str(error))
        return sorted(found.values(), key=lambda d: d.utc)


def collect(path: str | Path) -> Evidence:
    """Evidence of a run folder, with the newest bundle in it, or of a bundle, with the run whose folder it lies in.

    Raises ConfigError where path is neither, BundleError for a bundle that is not intact.
    """
    path = Path(path)
    if path.is_file():
        bundle = PolicyBundle.load(path)
        wanted = bundle.manifest.run_id
        here = path.absolute().parent
        return Evidence(here if wanted and run_id(here) == wanted else None, bundle, path)
    if not (path / AUDIT_FILE).is_file() and not (path / "config.yaml").is_file():
        raise ConfigError(f"'{path}' is neither a run folder nor a bundle. Give one of them.")
    found = Evidence(path)
    for file in sorted(path.glob(f"*{SUFFIX}"), key=lambda f: f.stat().st_mtime):
        try:
            found.bundle, found.bundle_path = PolicyBundle.load(file), file
        except BundleError as error:
            found.problems.append(str(error))
    return found
