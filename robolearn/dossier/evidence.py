"""What can be shown of a run or a bundle: collected once, then asked by name for one point of Annex IV after the other.

Each answer is a list of (what, value); an empty list means that there is no evidence, and the point stays open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from robolearn.dossier.failures_page import failure_items
from robolearn.dossier.sweep_chart import sweep_items
from robolearn.dossier.verify_run import TrailVerdict, verify_run
from robolearn.errors import BundleError, ConfigError, LogError, RobolearnError
from robolearn.files.strict_json import parse_json
from robolearn.learn.disparity import Disparity, disparity
from robolearn.policy.approval import Approval, read_approvals
from robolearn.policy.bundle import SUFFIX, PolicyBundle
from robolearn.recorder.audit_trail import AUDIT_FILE, run_id

Item = tuple[str, str]
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
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])[:200]
            self.problems.append(
                f"the evaluation is not as robolearn writes it: {where}: {first['msg'][:200]}"
            )
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
        if found and found.get("iteration") != evaluated:
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
            from robolearn.learn.audit import judge_run

            try:
                found = judge_run(self.run_dir).to_json() if self.evaluation else None
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

    def items(self, name: str) -> list[Item]:
        """The evidence of one name in `annex_iv.yaml`."""
        return PROVIDERS[name](self)


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
        raise ConfigError(f"'{path}' is no run folder and no bundle. Give one of them.")
    found = Evidence(path)
    for file in sorted(path.glob(f"*{SUFFIX}"), key=lambda f: f.stat().st_mtime):
        try:
            found.bundle, found.bundle_path = PolicyBundle.load(file), file
        except BundleError as error:
            found.problems.append(str(error))
    return found


def _identity(e: Evidence) -> list[Item]:
    items = []
    if e.bundle is not None:
        m = e.bundle.manifest
        items += [
            ("policy", f"{m.name}: {m.task} for {m.robot}"),
            ("bundle", f"sha256 {e.bundle.digest}, made {m.created_utc}, signed with key {e.bundle.key_id}"),
        ]
    if e.verdict is not None:
        items.append(("run", f"{e.verdict.run_id}, task {e.config.get('task')}, seed {e.config.get('seed')}"))
    return items


def _interfaces(e: Evidence) -> list[Item]:
    if e.bundle is None:
        return []
    m = e.bundle.manifest
    named = (("reads", m.slots), ("goal", m.goal_slots), ("keeps", m.memory_slots), ("returns", m.outputs))
    items = [
        (what, ", ".join(f"{s.name} {list(s.shape)} {s.unit} from {s.source}" for s in slots))
        for what, slots in named
        if slots
    ]
    return [*items, ("rate", f"{m.control_hz:g} Hz on joints {', '.join(m.joint_names)}")]


def _versions(e: Evidence) -> list[Item]:
    if not e.inputs:
        return []
    code, environment = e.inputs["code"], e.inputs["environment"]
    starts = e.verdict.of("start") if e.verdict else []
    commits = {json.dumps((r["fields"].get("git") or {}).get("commit")) for r in starts}
    parts = f"Python {environment['python']}, {len(environment['installed'])} packages"
    return [
        (
            "robolearn",
            f"{code['robolearn']}, sources sha256 {code['sha256']}, commit {', '.join(sorted(commits))}",
        ),
        ("environment", f"{parts}, sha256 {environment['sha256']}"),
    ]


def _bundle_file(e: Evidence) -> list[Item]:
    if e.bundle is None or e.bundle_path is None:
        return []
    size = e.bundle_path.stat().st_size / 1e6
    return [
        ("form", f"one signed file, {e.bundle_path.name}, {size:.2f} MB: ONNX graph, manifest, model card")
    ]


def _arm(e: Evidence) -> list[Item]:
    if e.bundle is None:
        return []
    m = e.bundle.manifest
    items = [("arm", f"{m.robot}, robot file sha256 {m.robot_digest}")]
    if m.calibration:
        items.append(("calibration", ", ".join(f"{key} {value}" for key, value in m.calibration.items())))
    return items


def _training(e: Evidence) -> list[Item]:
    if e.verdict is None or not e.config:
        return []
    ends = e.verdict.of("end", "interruption")
    how = "imitation of the task's expert, then PPO" if e.config.get("imitation_fraction") else "PPO"
    asked = f"{e.config.get('total_steps'):,} control steps asked, {e.config.get('num_envs')} environments"
    return [
        ("method", f"{how}; {asked}"),
        ("starts", f"{len(e.verdict.of('start'))}, of which {len(ends)} have an end"),
        ("checkpoints", f"{len(e.verdict.of('checkpoint'))} recorded with their digests"),
    ]


def _software_parts(e: Evidence) -> list[Item]:
    installed = (e.inputs.get("environment") or {}).get("installed") or {}
    named = [
        f"{n} {installed[n]}"
        for n in ("jax", "mujoco", "numpy", "optax", "flax", "onnxruntime")
        if n in installed
    ]
    return (
        [("main parts", ", ".join(named) + "; all of them in the bill of materials beside this page")]
        if named
        else []
    )


def _design(e: Evidence) -> list[Item]:
    if not e.config:
        return []
    env, items = e.config.get("env") or {}, []
    if env.get("reward"):
        items.append(("optimises", ", ".join(f"{k} x {v:g}" for k, v in env["reward"].items())))
    drawn = {
        k: v for k, v in (env.get("randomization") or {}).items() if v not in (None, {}, [0.0, 0.0], 0.0)
    }
    if drawn:
        items.append(("randomised", "; ".join(f"{k} {json.dumps(v)}" for k, v in drawn.items())))
    ppo = e.config.get("ppo") or {}
    return [*items, ("learner", ", ".join(f"{k} {json.dumps(v)}" for k, v in ppo.items()))] if ppo else items


def _architecture(e: Evidence) -> list[Item]:
    starts, ppo = (e.verdict.of("start") if e.verdict else []), e.config.get("ppo") or {}
    if not starts or not ppo:
        return []
    machine = starts[-1]["fields"].get("machine") or {}
    return [
        (
            "network",
            f"perceptron, hidden layers {ppo.get('actor_hidden')}, activation {ppo.get('activation')}",
        ),
        ("machine", ", ".join(f"{key} {value}" for key, value in machine.items())),
    ]


def _data_sheet(e: Evidence) -> list[Item]:
    if not e.inputs:
        return []
    items = [
        ("simulation", "episodes are drawn by the task's code and config; nothing was labelled by people")
    ]
    task, calibration = e.inputs["task"], e.inputs["calibration"]
    items.append(("task code", f"{task['file']}, sha256 {task['sha256']}"))
    if calibration:
        logs = ", ".join(log["sha256"][:16] for log in calibration["logs"])
        items.append(("calibration", f"sha256 {calibration['sha256']}, fitted to logs {logs}"))
    recorded = [f"{data['path']} sha256 {data['sha256']}" for data in e.inputs["data"]]
    return [*items, ("recorded data", "; ".join(recorded) or "none")]


def _decisions(e: Evidence) -> list[Item]:
    return [(f"{d.gate}: {d.decision}", f"{d.text}: {d.statement}") for d in e.decisions]


def _no_learning(e: Evidence) -> list[Item]:
    if e.bundle is None:
        return []
    return [
        (
            "in service",
            "the bundle is a fixed graph: it does not learn in service, and another one needs another approval",
        )
    ]


def _tests(e: Evidence) -> list[Item]:
    success = e.evaluation.get("success")
    if not isinstance(success, dict):
        return []
    rate = f"{success['rate']:.2%} of {success['episodes']:,} fresh episodes"
    rate += f" (95 % interval {success['low']:.2%} to {success['high']:.2%})"
    recorded = e.verdict.of("evaluation") if e.verdict else []
    when = recorded[-1]["utc"] if recorded else "at no recorded time"
    items = [("success in simulation", rate), ("evaluated", f"{when}, seed {e.evaluation.get('seed')}")]
    peaks = e.evaluation.get("peaks") or {}
    items += [(name, ", ".join(f"{k} {v:.4g}" for k, v in values.items())) for name, values in peaks.items()]
    return items


def _thresholds(e: Evidence) -> list[Item]:
    rows = e.acceptance.get("rows") or []
    if not rows:
        return []
    head = f"{e.acceptance['status']}; stated {e.acceptance.get('stated_utc')}, before the training"
    head += f", sha256 {e.acceptance.get('digest')}"
    count = e.acceptance.get("evaluations")
    if isinstance(count, int) and count > 1:
        head += f"; the newest of {count} evaluations of this policy"
    items = [("thresholds", head)]
    for row in rows:
        found = "not evaluated" if row["found"] is None else f"{row['found']:.4g}"
        items.append((row["name"], f"{row['status']}: {found}, asked {row['threshold']:g}"))
    source = ((e.inputs.get("acceptance") or {}).get("thresholds") or {}).get("source")
    return [*items, ("set by", source)] if source else items


def _disparity(e: Evidence) -> list[Item]:
    found = e.disparity
    if found is None:
        return []
    flagged = (
        ", ".join(f"{s.name} ({s.gap:.1%} below the rest, p {s.p:.2g})" for s in found.flagged) or "none"
    )
    gaps = [s.detectable for s in found.strata if s.detectable is not None]
    least = f"{min(gaps):.1%} to {max(gaps):.1%}" if gaps else "none"
    tested = f"{flagged} of {len(found.strata)}; Fisher exact, one-sided, Holm at {found.alpha:g}"
    return [
        ("strata worse than the rest beyond chance", tested),
        ("smallest gap that would have been found (80 % power)", least),
    ]  # fmt: skip


def _signed(e: Evidence) -> list[Item]:
    if e.verdict is None:
        return []
    signers = ", ".join(f"key {name} ({count} segments)" for name, count in e.verdict.signers.items())
    return [("records signed by", signers)]


def _integrity(e: Evidence) -> list[Item]:
    items = []
    if e.verdict is not None:
        items.append(("audit trail", f"{e.verdict.status}: {len(e.verdict.records)} chained records, signed"))
    if e.bundle is not None:
        items.append(("bundle", "digests and Ed25519 signature checked on every load; no pickle in it"))
    return items


def _failures(e: Evidence) -> list[Item]:
    found = e.evaluation
    if not isinstance(found.get("success"), dict):
        return []
    failed = found["success"]["episodes"] - found["success"]["successes"]
    worst = found.get("worst") or "none: every episode succeeded"
    return [
        (
            "failures in the evaluation",
            f"{failed} of {found['success']['episodes']}, {found.get('terminated')} ended early",
        ),
        ("lowest stratum", str(worst)),
    ]


def _explanations(e: Evidence) -> list[Item]:
    found = e.explanation
    if not found:
        return []
    gap, decisions = found["completeness_gap"], found["decisions"]
    entries = {len(values) for decision in decisions for values in decision.values()}
    if len(entries) > 1 or not all(
        isinstance(v, float | int) for d in decisions for values in d.values() for v in values
    ):
        raise ValueError("decisions must have one number for each action entry")
    ranked = ", ".join(f"{row['slot']} {row['share']:.0%}" for row in found["slots"])
    return [
        ("attribution by slot", ranked),
        (
            "completeness gap",
            f"median {gap['median']:.1e}, 99th percentile {gap['p99']:.1e}, {found['steps']} steps",
        ),
        ("rank correlation with an untrained network's", f"{found['sanity_rank_correlation']:.2f}"),
        ("what it does not show", found["not_shown"]),
    ]


def _unfamiliar(e: Evidence) -> list[Item]:
    ood = None if e.bundle is None else e.bundle.manifest.ood
    if ood is None:
        return []
    alarms = (
        f"{ood.output}: {ood.method}; above 1 in at most {ood.false_alarm_rate:.3g} of episodes of {ood.episode_s:g} s "
        f"like those of the evaluation, from {ood.held_out_episodes} held-out ones. It changes no limit"
    )
    return [("observations unlike those of the evaluation", alarms)]


def _history(e: Evidence) -> list[Item]:
    if e.verdict is None:
        return []
    kinds = ("start", "interruption", "end", "evaluation", "export", "decision")
    return [(r["kind"], f"{r['utc']}, {_brief(r)}") for r in e.verdict.of(*kinds)]


def _brief(record: dict[str, Any]) -> str:
    fields = record["fields"]
    if record["kind"] == "start":
        return f"from iteration {fields['resumed_from']}"
    if record["kind"] == "export":
        return f"bundle sha256 {fields['bundle']['sha256'][:12]}, thresholds {fields['acceptance']['status']}"
    if record["kind"] == "decision":
        return f"{fields['gate']}: {fields['decision']} by {fields['who']} ({fields['role']})"
    if record["kind"] == "evaluation":
        return f"{fields['file']}, sha256 {fields['sha256'][:12]}"
    return f"{fields.get('outcome')} at iteration {fields.get('iteration')}"


def _logging(e: Evidence) -> list[Item]:
    if e.bundle is None:
        return []
    return [
        (
            "records in service",
            "the safety log has every cycle and names this bundle by its digest; `robolearn review`",
        )
    ]


PROVIDERS: dict[str, Callable[[Evidence], list[Item]]] = {
    "identity": _identity,
    "interfaces": _interfaces,
    "versions": _versions,
    "bundle_file": _bundle_file,
    "arm": _arm,
    "training": _training,
    "software_parts": _software_parts,
    "design": _design,
    "architecture": _architecture,
    "data_sheet": _data_sheet,
    "decisions": _decisions,
    "no_learning": _no_learning,
    "tests": _tests,
    "thresholds": _thresholds,
    "disparity": _disparity,
    "signed": _signed,
    "integrity": _integrity,
    "failures": _failures,
    "explanations": lambda e: [*_explanations(e), *failure_items(e.failures)],
    "robustness": lambda e: sweep_items(e.sweep),
    "unfamiliar": _unfamiliar,
    "history": _history,
    "logging": _logging,
}
