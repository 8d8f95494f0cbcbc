"""What a training run writes into its audit trail: the one place where `learn` knows of it.

Before the first step of each start: the resolved config, the thresholds, and digests of robot, task, calibration,
data, code and environment. Then checkpoints, evaluations, exports, interruptions and the end, as they come.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

import robolearn
from robolearn.config import build
from robolearn.errors import ConfigError, RobolearnError
from robolearn.files.digests import file_sha256, folder_sha256, path_sha256
from robolearn.keys import load_or_create_key
from robolearn.learn import folder
from robolearn.learn.acceptance import Acceptance, Judgement, judge, load_acceptance
from robolearn.learn.gates import export_subject, newest_evaluation, require_gate, stated_gates, train_subject
from robolearn.learn.train_config import TrainConfig
from robolearn.recorder.audit_trail import AUDIT_FILE, AuditTrail, chain_fault, read_trail
from robolearn.recorder.hash_chain import canonical, plain

COMPLETE = ("finished", "time budget")


class RunAudit:
    """The trail of one start of a training, from before its first step to its end.

    A context: where an error or an interrupt leaves it, that is what the trail says.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        env: Any,
        resumed_from: int = 0,
        settle: Callable[[], None] = lambda: None,
    ):
        """Write what goes in, and that it starts.

        resumed_from: the iteration of the checkpoint; 0 for a new run. settle: returns when no save is under way.
        Raises ConfigError for thresholds that cannot be read, LogError, KeyFileError.
        """
        self.run_dir, self._settle = run_dir, settle
        self._waiting: tuple[int, str] | None = None
        self._trail = AuditTrail(run_dir, load_or_create_key())
        self._iteration = resumed_from
        found = inputs(config, env, run_dir)
        self._trail.record("inputs", found, iteration=resumed_from)
        record = folder.read_record(run_dir)
        started = {"start": len(record["starts"]), "resumed_from": resumed_from, **record["starts"][-1]}
        if resumed_from:  # a killed process may have saved it without a record
            started["checkpoint_sha256"] = checkpoint_sha256(run_dir, resumed_from)
        self._trail.record("start", started, iteration=resumed_from)
        try:
            require_gate(run_dir, "train", train_subject(found))
        except RobolearnError as error:
            self._interrupted(error)
            raise

    def checkpoint(self, iteration: int, arrays: Any) -> None:
        """A checkpoint's save begins. arrays: the policy's. It is recorded by `saved`, once it is on disk."""
        self.saved()
        self._waiting = iteration, arrays_sha256(arrays)

    def saved(self) -> None:
        """Record the checkpoint that `checkpoint` announced, once it is on disk."""
        if self._waiting is None:
            return
        self._settle()
        (iteration, policy), self._waiting = self._waiting, None
        self._iteration = iteration
        metrics = self.run_dir / folder.METRICS
        fields: dict[str, Any] = {"iteration": iteration, "policy_sha256": policy}
        fields["checkpoint_sha256"] = checkpoint_sha256(self.run_dir, iteration)
        if metrics.is_file():
            size = metrics.stat().st_size
            fields["metrics"] = {"bytes": size, "sha256": file_sha256(metrics, size)}
        self._trail.record("checkpoint", fields, iteration=iteration)

    def end(self, outcome: str, iteration: int) -> None:
        """The start ended in order."""
        self.saved()
        kind = "end" if outcome in COMPLETE else "interruption"
        self._trail.record(kind, {"outcome": outcome, "iteration": iteration}, iteration=iteration)

    def __enter__(self) -> RunAudit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            if jax.process_count() == 1:  # others may have ended, and no longer wait with this one
                with suppress(RobolearnError):
                    self.saved()
            self._interrupted(error)

    def _interrupted(self, error: BaseException) -> None:
        why = {"outcome": "error", "error": type(error).__name__, "text": str(error)[:500]}
        self._trail.record("interruption", {**why, "iteration": self._iteration}, iteration=self._iteration)


def inputs(config: TrainConfig, env: Any, run_dir: Path) -> dict[str, Any]:
    """Everything that a training depends on, each with its digest; plain JSON values."""
    task = getattr(env, "task", None)
    robot = getattr(task, "robot", None)
    installed = folder.installed()
    package = Path(robolearn.__file__).parent
    acceptance = None
    if config.acceptance:
        thresholds, digest = load_acceptance(config.acceptance)
        values = thresholds.model_dump(mode="json", by_alias=True)
        acceptance = {"file": config.acceptance, "sha256": digest, "thresholds": values}
    return plain(
        {
            "config": config.model_dump(mode="json"),
            "config_sha256": file_sha256(run_dir / folder.CONFIG),
            "acceptance": acceptance,
            "robot": None if robot is None else {"name": robot.name, "sha256": robot.digest},
            "task": {"name": config.task, **_code(type(task if task is not None else env))},
            "calibration": _calibration(config, robot),
            "data": [{"path": str(path), "sha256": path_sha256(path)} for path in data_sets(config)],
            "code": {
                "robolearn": robolearn.__version__,
                "sha256": folder_sha256(package, package.rglob("*.py")),
            },
            "environment": {
                "python": sys.version.split()[0],
                "installed": installed,
                "sha256": hashlib.sha256(canonical(installed)).hexdigest(),
            },
        }
    )


def _code(kind: type) -> dict[str, str | None]:
    """The file that a class is written in and its digest; of one from a notebook's cell the digest of its functions."""
    try:
        source = inspect.getsourcefile(kind)
    except (OSError, TypeError):  # a class of __main__, as in a notebook, has no file
        source = None
    if source is not None:
        return {"file": Path(source).name, "sha256": file_sha256(source)}
    try:
        text = "\n".join(inspect.getsource(part) for part in vars(kind).values() if inspect.isfunction(part))
    except OSError:
        return {"file": None, "sha256": None}
    return {"file": None, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def data_sets(config: TrainConfig) -> list[Path]:
    """Files and folders of recorded data that a training reads, from the key `data` of its config."""
    named = getattr(config, "data", None) or []
    return [Path(named)] if isinstance(named, str) else [Path(name) for name in named]


def _calibration(config: TrainConfig, robot: Any) -> dict[str, Any] | None:
    calibration = getattr(robot, "calibration", None)
    if calibration is None:
        return None
    logs = [{"source": log.source, "sha256": log.digest} for log in calibration.logs]
    return {"path": config.calibration, "sha256": calibration.digest, "logs": logs}


def checkpoint_folder(run_dir: Path, iteration: int) -> Path | None:
    """Where a checkpoint lies; None where it is no longer kept."""
    path = run_dir / "checkpoints" / f"{iteration:012d}"
    return path if path.is_dir() else None


def checkpoint_sha256(run_dir: Path, iteration: int) -> str | None:
    """Of a checkpoint's files; None where it is no longer kept."""
    path = checkpoint_folder(run_dir, iteration)
    return None if path is None else folder_sha256(path)


def arrays_sha256(arrays: Any) -> str:
    """Of a pytree of arrays: place, type, shape and bits of each."""
    running = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(arrays)):
        value = np.ascontiguousarray(leaf)
        running.update(f"{jax.tree_util.keystr(path)} {value.dtype}{list(value.shape)} ".encode())
        running.update(value.tobytes())
    return running.hexdigest()


def stated_thresholds(run_dir: Path) -> tuple[Acceptance | None, str, str]:
    """The thresholds that stood in the trail before the first step, their digest and time; None where there are none.

    Thresholds that only a later start named do not count. Raises ConfigError where they cannot be read.
    """
    first = next((record for record in read_trail(run_dir) if record["kind"] == "inputs"), None)
    stated = None if first is None else first["fields"].get("acceptance")
    if first is None or stated is None:
        return None, "", ""
    return build(Acceptance, stated["thresholds"], f"{run_dir}: thresholds"), stated["sha256"], first["utc"]


def judge_run(run_dir: Path) -> Judgement:
    """The newest evaluation of a run against the thresholds stated before it was trained.

    Raises ConfigError where the trail, or an evaluation that counts, is not as it was written.
    """
    fault = chain_fault(run_dir)
    if fault:
        raise ConfigError(
            f"The audit trail of '{run_dir}' was altered: {fault}. Nothing can be judged by it."
        )
    acceptance, digest, utc = stated_thresholds(run_dir)
    evaluation, plants = folder.read_evaluation(run_dir), {}
    records = read_trail(run_dir)
    if evaluation:
        require_recorded(run_dir / folder.EVALUATION, records)
    for file in run_dir.glob(f"*-{folder.EVALUATION}"):
        found = json.loads(file.read_text(encoding="utf-8"))
        if found.get("plant") and found.get("iteration") == evaluation.get("iteration"):
            require_recorded(file, records)
            plants[found["plant"]] = found
    tried = [
        record["fields"] for record in records
        if record["kind"] == "evaluation" and record["fields"]["file"] == folder.EVALUATION
    ]  # fmt: skip
    times = sum(one.get("iteration") == evaluation.get("iteration") for one in tried)
    return replace(judge(acceptance, evaluation, plants, digest=digest, stated_utc=utc), evaluations=times)


def require_recorded(file: Path, records: list[dict[str, Any]]) -> None:
    """Raise ConfigError where a result is not the newest of its name in the trail; a run without one has no say."""
    if not records:
        return
    named = [r["fields"]["sha256"] for r in records if r["fields"].get("file") == file.name]
    if not named or named[-1] != file_sha256(file):
        raise ConfigError(
            f"'{file}' is not the file that the run's audit trail has the digest of: it was changed, or put there. "
            "Evaluate again."
        )


def record_evaluation(report: Path, run_dir: Path | None = None) -> None:
    """An evaluation was written to a file of a run; nothing where the folder has no trail."""
    run_dir = run_dir or report.parent
    trail = trail_of(run_dir)
    if trail is None:
        return
    found = json.loads(report.read_text(encoding="utf-8"))
    kept = {
        k: found.get(k)
        for k in ("iteration", "bundle", "digest", "policy", "plant", "seed", "success", "worst")
    }
    name = report.name if report.parent == run_dir else str(report)
    fields = {"file": name, "sha256": file_sha256(report), **kept}
    trail.record("evaluation", plain(fields), iteration=found.get("iteration") or 0)


def record_result(kind: str, file: Path, run_dir: Path, **fields: Any) -> None:
    """A result was written to a file of a run (`ood`, `robustness`, `sweep`); nothing where the folder has no trail."""
    trail = trail_of(run_dir)
    if trail is None:
        return
    found = json.loads(file.read_text(encoding="utf-8"))
    kept = {name: found[name] for name in ("iteration", "bundle", "digest", "seed") if name in found}
    name = file.name if file.parent == run_dir else str(file)
    about = {"file": name, "sha256": file_sha256(file), **kept, **fields}
    trail.record(kind, plain(about), iteration=found.get("iteration") or 0)


def require_export(run_dir: Path, policy_sha256: str) -> None:
    """Raise ConfigError where a gate of the run keeps this policy from being exported, or its trail is gone."""
    _require_whole_trail(run_dir)
    require_gate(run_dir, "promote", policy_sha256)
    records = read_trail(run_dir)
    if "export" not in stated_gates(records):
        return
    require_gate(run_dir, "export", export_subject(records, run_dir, policy_sha256))
    if file_sha256(run_dir / folder.EVALUATION) != newest_evaluation(records, run_dir)["sha256"]:
        raise ConfigError(
            f"'{run_dir / folder.EVALUATION}' is not the evaluation that was approved. Evaluate again."
        )


def _require_whole_trail(run_dir: Path) -> None:
    """Raise ConfigError where the trail does not begin with the run: without it no gate would be stated."""
    records = read_trail(run_dir)
    first = next((record["fields"] for record in records if record["kind"] == "start"), None)
    if first is None or first["resumed_from"]:
        what = "is missing" if first is None else f"begins at iteration {first['resumed_from']}"
        raise ConfigError(
            f"The audit trail of '{run_dir}' {what}: which gates and thresholds the run had is unknown. Put its "
            f"{AUDIT_FILE} back, or train again."
        )


def record_export(
    run_dir: Path, bundle: Any, policy_sha256: str, acceptance: Judgement, iteration: int
) -> None:
    """A bundle of a run was written; nothing where the folder has no trail."""
    trail = trail_of(run_dir)
    if trail is not None:
        about = {"name": bundle.manifest.name, "sha256": bundle.digest, "key_id": bundle.key_id}
        fields = {"bundle": about, "policy_sha256": policy_sha256, "acceptance": acceptance.to_json()}
        trail.record("export", {**fields, "file": str(bundle.path)}, iteration=iteration)


def anchor(run_dir: Path) -> dict[str, Any] | None:
    """Run id, seq and hash of the last record: what a bundle's manifest says of the trail that it comes from."""
    records = read_trail(run_dir)
    if not records:
        return None
    last = records[-1]
    return {"run_id": records[0]["fields"]["run_id"], "seq": last["seq"], "hash": last["hash"]}


def trail_of(run_dir: Path) -> AuditTrail | None:
    """The trail of a run that has one. A run of an earlier robolearn has none, and gets none afterwards."""
    if not read_trail(run_dir):
        return None
    return AuditTrail(run_dir, load_or_create_key())
