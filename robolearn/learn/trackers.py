"""Where metrics go: an append-only JSONL of our own always, TensorBoard events, and W&B when asked for.

Nothing here opens a connection that leaves the machine, except W&B in the mode `online`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from robolearn.errors import CheckpointError, MissingDependency
from robolearn.learn.config import TrainConfig, WandbConfig
from robolearn.learn.folder import METRICS, write_whole

Row = Mapping[str, float | int]


class Tracker(Protocol):
    """Something that keeps metrics."""

    def log(self, row: Row) -> None:
        """Keep one iteration's metrics."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


class JsonLines:
    """metrics.jsonl: one JSON object per iteration, flushed at once."""

    def __init__(self, run_dir: Path):
        self._path = run_dir / METRICS
        self._file = self._path.open("a", encoding="utf-8")

    def log(self, row: Row) -> None:
        """Append one line. Raises CheckpointError where the disk is full."""
        try:
            self._file.write(json.dumps({key: _json(value) for key, value in row.items()}) + "\n")
            self._file.flush()
        except OSError as error:
            raise CheckpointError(
                f"Cannot write '{self._path}': {error.strerror}. Checkpoints so far are intact. Free some space, "
                "then resume."
            ) from error

    def close(self) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError:
            return  # what could not be written was reported by `log`


class TensorBoard:
    """Event files for TensorBoard."""

    def __init__(self, run_dir: Path, first_iteration: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise MissingDependency(
                "TensorBoard events need tensorboardX: pip install 'robolearn[train]'."
            ) from None
        purge = first_iteration if first_iteration > 0 else None  # a resumed run overwrites what it repeats
        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=purge, flush_secs=10)

    def log(self, row: Row) -> None:
        """Every number against control steps."""
        for name, value in row.items():
            if name not in ("iteration", "steps"):
                self._writer.add_scalar(name, value, int(row["iteration"]))

    def close(self) -> None:
        """Write out and close."""
        self._writer.close()


class Wandb:
    """Weights & Biases, in the mode the config names."""

    def __init__(self, run_dir: Path, config: TrainConfig):
        settings: WandbConfig = config.wandb
        # Caches and crash reports stay in the run folder and on the machine, unless the user set them.
        for name, value in {
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_CACHE_DIR": str(run_dir / "wandb" / "cache"),
            "WANDB_DATA_DIR": str(run_dir / "wandb" / "data"),
            "WANDB_CONFIG_DIR": str(run_dir / "wandb" / "config"),
        }.items():
            os.environ.setdefault(name, value)
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingDependency("wandb is not installed: pip install 'robolearn[wandb]'.") from None
        (run_dir / "wandb").mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=settings.project,
            name=run_dir.name,
            dir=str(run_dir),
            mode=settings.mode,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True),
        )

    def log(self, row: Row) -> None:
        """Send or store one iteration."""
        self._run.log(dict(row), step=int(row["iteration"]))

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


def open_trackers(
    run_dir: Path, config: TrainConfig, first_iteration: int
) -> tuple[list[Tracker], list[str]]:
    """The run's trackers, and a line for each that is not installed. JSONL drops what a resumed run repeats."""
    drop_after(run_dir / METRICS, first_iteration)
    trackers: list[Tracker] = [JsonLines(run_dir)]
    missing = []
    try:
        trackers.append(TensorBoard(run_dir, first_iteration))
    except MissingDependency as error:
        missing.append(str(error))
    if config.wandb.mode != "disabled":
        trackers.append(Wandb(run_dir, config))
    return trackers, missing


def drop_after(path: Path, iteration: int) -> None:
    """Keep the lines up to an iteration, and drop a last line that was cut off."""
    if path.is_file():
        kept = [json.dumps(row) + "\n" for row in read_metrics(path) if row["iteration"] <= iteration]
        write_whole(path, "".join(kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _json(value: float | int) -> float | int | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
