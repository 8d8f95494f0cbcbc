"""The evidence for each point of Annex IV, by the names in `annex_iv.yaml`.

Each answer is a list of (what, value); an empty list means that there is no evidence, and the point stays open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robolearn.dossier.evidence import Evidence
from robolearn.dossier.failures_page import failure_items
from robolearn.dossier.sweep_chart import sweep_items

Item = tuple[str, str]


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
    commits = {str((r["fields"].get("git") or {}).get("commit") or "unknown") for r in starts}
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
    asked = (
        f"{e.config.get('total_steps'):,} control steps asked for, {e.config.get('num_envs')} environments"
    )
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
        items.append(("randomised", "; ".join(f"{k} {_plain(v)}" for k, v in drawn.items())))
    ppo = e.config.get("ppo") or {}
    return [*items, ("learner", ", ".join(f"{k} {_plain(v)}" for k, v in ppo.items()))] if ppo else items


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
        ("machine", ", ".join(f"{key} {_plain(value)}" for key, value in machine.items())),
    ]


def _plain(value: Any) -> str:
    """A value of a config as people write it: ranges as low to high, no quotes."""
    if isinstance(value, dict):
        return ", ".join(f"{'all' if key == '*' else key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(isinstance(v, float) for v in value):
            return f"{value[0]:g} to {value[1]:g}"
        return ", ".join(_plain(v) for v in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


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
        found = "" if row["found"] is None else f": {row['found']:.4g}"
        items.append((row["name"], f"{row['status']}{found}, asked {row['threshold']:g}"))
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
        ("strata significantly worse than the rest", tested),
        ("smallest detectable gap (80 % power)", least),
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
        ("limitations", found["not_shown"]),
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
