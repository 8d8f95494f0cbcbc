"""A run folder: enough to repeat the run and to know what it ran on.

config.yaml     the resolved config, every key of the task included: `robolearn train` of it repeats the run
run.json        versions, git commit, machine, sizes, one entry per start
audit.jsonl     the audit trail, chained and signed; audit_head.json where it stands, see `recorder.audit_trail`
metrics.jsonl   one line per iteration, the record of truth; keys under `time/` differ between runs
evaluation.json what the newest evaluation found, and after which iteration
ood.json        the out-of-distribution score that was fitted to the episodes of that evaluation
checkpoints/    see `checkpoint.py`
tensorboard/    the same metrics as event files
wandb/          the same metrics for W&B, where it is installed
NAME.robolearn  the bundle: the signed policy, made when the run is complete or by `robolearn export`
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import jax

from robolearn import __version__
from robolearn.config import load_config
from robolearn.errors import ConfigError, unknown
from robolearn.files.utc import utc_now
from robolearn.files.writing import replace_file
from robolearn.learn.gates import FREE
from robolearn.learn.train_config import TrainConfig

CONFIG = "config.yaml"
RECORD = "run.json"
METRICS = "metrics.jsonl"
LOCK = ".lock"  # held by the process that trains
EVALUATION = "evaluation.json"
OOD = "ood.json"
_PACKAGES = (
    "jax",
    "jaxlib",
    "mujoco",
    "mujoco-mjx",
    "numpy",
    "optax",
    "flax",
    "orbax-checkpoint",
    "robolearn-envs",
    "warp-lang",
)
# Accelerator plugins are named after the version of CUDA or ROCm.
_PLUGINS = re.compile(r"jax-(cuda|rocm)\d+-(plugin|pjrt)$")


def is_run(run_dir: Path) -> bool:
    """Whether a training run has begun in this folder. Raises ConfigError where it can be no folder."""
    try:
        return (run_dir / CONFIG).is_file()
    except OSError as error:
        raise _unusable(run_dir, error) from None


def _unusable(run_dir: Path, error: OSError) -> ConfigError:
    shown = str(run_dir) if len(str(run_dir)) < 120 else f"{str(run_dir)[:117]}..."
    return ConfigError(
        f"The run folder '{shown}' cannot be used: {error.strerror}. Choose another with --run (run_dir in Python)."
    )


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make the folder, and keep other trainings out of it. Raises ConfigError where it cannot be used, or is in use."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(run_dir, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(handle, 200).decode(errors="replace").strip()
            raise ConfigError(
                f"A training is running in '{run_dir}' ({who}). Wait for its end, or choose another run folder."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def read_run_config(run_dir: Path) -> TrainConfig:
    """The config of a run. Raises ConfigError where there is no run, naming its neighbours."""
    if is_run(run_dir):
        return load_config(TrainConfig, run_dir / CONFIG)
    inside = sorted(str(p.parent) for p in run_dir.glob(f"*/{CONFIG}"))
    if inside:
        raise ConfigError(
            f"'{run_dir}' is not a run folder, but holds some: {', '.join(inside)}. Give one of them."
        )
    near = [str(p.parent) for p in run_dir.parent.glob(f"*/{CONFIG}")] if run_dir.parent.is_dir() else []
    raise ConfigError(unknown("run folder", str(run_dir), near) + " `robolearn train` makes one.")


def check_same_run(run_dir: Path, config: TrainConfig) -> None:
    """Raise ConfigError where config would continue the run in this folder as another one.

    A run may be extended: total_steps may be more than it was.
    """
    old = read_run_config(run_dir).model_dump()
    new = config.model_dump()
    differ = [key for key in new if key not in FREE and new[key] != old[key]]
    if new["total_steps"] > old["total_steps"]:
        differ.remove("total_steps")
    if differ:
        raise ConfigError(
            f"'{run_dir}' holds a run with a different {_first_difference(differ[0], old[differ[0]], new[differ[0]])}. "
            "Continue it with its own config.yaml, or choose another run folder."
        )


def begin(run_dir: Path, config: TrainConfig, sizes: dict[str, int]) -> None:
    """Write config.yaml and add this start to run.json."""
    run_dir.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = read_record(run_dir) if (run_dir / RECORD).is_file() else {"starts": []}
    record |= {"outcome": "running", "sizes": sizes}
    record["starts"].append(provenance())
    write_whole(run_dir / RECORD, json.dumps(record, indent=2) + "\n")
    write_whole(run_dir / CONFIG, config.to_yaml())


def end(run_dir: Path, outcome: str) -> None:
    """Add how this start ended to run.json."""
    record = read_record(run_dir)
    record["starts"][-1] |= {"ended_utc": utc_now()}
    write_whole(run_dir / RECORD, json.dumps(record | {"outcome": outcome}, indent=2) + "\n")


def read_record(run_dir: Path) -> dict[str, Any]:
    """The contents of run.json."""
    try:
        return json.loads((run_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read '{run_dir / RECORD}': {error}. Is this a run folder?") from error


def read_evaluation(run_dir: Path) -> dict[str, Any]:
    """The contents of evaluation.json; empty if there is none."""
    path = run_dir / EVALUATION
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_whole(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader or a crash never sees half of it."""
    replace_file(path, text)


def provenance() -> dict[str, Any]:
    """When, with what and on what: plain JSON values."""
    return {
        "started_utc": utc_now(),
        "robolearn": __version__,
        "git": _git(),
        "python": platform.python_version(),
        "packages": _packages(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "devices": [device.device_kind for device in jax.devices()],
            "processes": jax.process_count(),
        },
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _git() -> dict[str, Any] | None:
    """Commit of the checkout that robolearn runs from, and whether it has changes; None if it is no checkout."""
    here = Path(__file__).parent
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(status)}


def _packages() -> dict[str, str]:
    """Versions of what a run's numbers may depend on, as far as it is installed."""
    found = {_spelled(name): (name, version) for name, version in installed().items()}
    plugins = sorted(name for spelled, (name, _) in found.items() if _PLUGINS.match(spelled))
    return {name: found[_spelled(name)][1] for name in (*_PACKAGES, *plugins) if _spelled(name) in found}


def _spelled(name: str) -> str:
    return name.lower().replace("_", "-")


def installed() -> dict[str, str]:
    """The version of every package that is installed, by name; of two with a name the one that is imported.

    Only the head of their metadata is read: Python's own parser takes longer over the descriptions than all else that
    a start writes down.
    """
    found: dict[str, str] = {}
    for package in distributions():
        text = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
        head = text.partition("\n\n")[0].splitlines()
        about = dict(line.split(": ", 1) for line in head if ": " in line)
        if "Name" in about and "Version" in about:
            found.setdefault(about["Name"], about["Version"])
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _first_difference(key: str, old: Any, new: Any) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in sorted(old.keys() | new.keys()):
            if old.get(inner) != new.get(inner):
                return _first_difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return f"{key} ({_text(old)}, now {_text(new)})"


def _text(value: Any) -> str:
    return "not recorded" if value is None else repr(value)
