"""Where metrics go: an append-only JSONL of our own always, TensorBoard events, and W&B where it is installed.

Nothing here opens a connection that leaves the machine, except W&B in the mode `online`.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from robolearn.errors import CheckpointError, ConfigError, MissingDependency, RobolearnError
from robolearn.learn.folder import METRICS, write_whole
from robolearn.learn.train_config import TrainConfig, WandbConfig

Row = Mapping[str, float | int]
_WANDB_ID = re.compile(r"[0-9a-f]{8}")


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
    """Weights & Biases, in the mode the config names. Once it fails it is left out: the JSONL has every number.

    A run that goes on is the same run there: its id lies in the run folder. fresh: whether it begins.
    """

    def __init__(self, run_dir: Path, config: TrainConfig, warn: Callable[[str], None], fresh: bool = True):
        settings: WandbConfig = config.wandb
        self._warn = warn
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
        try:
            self._run: Any = wandb.init(
                project=settings.project,
                name=run_dir.name,
                id=_wandb_id(run_dir / "wandb" / "run_id", fresh),
                resume="allow",
                dir=str(run_dir),
                mode=settings.mode,
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(
                    console="off", silent=True, x_disable_stats=True, disable_git=True, disable_code=True
                ),
            )
        except (
            Exception
        ) as error:  # a log-in that is missing, no way to the server, a process that did not start
            raise ConfigError(
                f"W&B failed to start ({_one_line(error)}). Set wandb.mode=offline or wandb.mode=disabled."
            ) from error

    def log(self, row: Row) -> None:
        """Send or store one iteration."""
        self._try(lambda run: run.log(dict(row), step=int(row["iteration"])))

    def close(self) -> None:
        """Finish the W&B run."""
        self._try(lambda run: run.finish())

    def _try(self, action: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # its own process may be gone, as where a scheduler signals all of them
            self._run = None
            self._warn(f"W&B logging is off from here on: {_one_line(error)}")


def _wandb_id(path: Path, fresh: bool) -> str:
    """The id of this run at W&B: a new one where it begins, or where none was kept; else the one in the file."""
    if not fresh and path.is_file():
        kept = path.read_text(encoding="utf-8").strip()
        if _WANDB_ID.fullmatch(kept):
            return kept
    made = secrets.token_hex(4)
    write_whole(path, made + "\n")
    return made


def open_trackers(
    run_dir: Path, config: TrainConfig, first_iteration: int, warn: Callable[[str], None] = warnings.warn
) -> tuple[list[Tracker], list[str]]:
    """The run's trackers, and a line for each that cannot be had. JSONL drops what a resumed run repeats.

    W&B is used where it is installed, unless config.wandb.mode or the variable WANDB_MODE is `disabled`. warn hears
    of a tracker that fails later. Raises MissingDependency or ConfigError where W&B is to be online and cannot be.
    """
    drop_after(run_dir / METRICS, first_iteration)
    trackers: list[Tracker] = [JsonLines(run_dir)]
    missing = []
    try:
        trackers.append(TensorBoard(run_dir, first_iteration))
    except MissingDependency as error:
        missing.append(str(error))
    if config.wandb.mode != "disabled" and os.environ.get("WANDB_MODE") != "disabled":
        try:
            trackers.append(Wandb(run_dir, config, warn, fresh=first_iteration == 0))
        except RobolearnError as error:
            if config.wandb.mode == "online":  # somebody watches for it
                for tracker in trackers:
                    tracker.close()
                raise
            if not isinstance(error, MissingDependency):
                missing.append(str(error))
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _json(value: float | int) -> float | int | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None
