"""Training with a calibration: the fitted model in place of the robot file's, drawn from the fit's uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robolearn.config import merged
from robolearn.env.naming import split_task
from robolearn.errors import ConfigError
from robolearn.robots import load_robot

if TYPE_CHECKING:
    from robolearn.learn.train_config import TrainConfig


def calibrated_config(config: TrainConfig) -> TrainConfig:
    """The config with the calibrated arm in the task, and its ranges in `env.randomization`.

    A range that the config gives already stays, and `ranges_from` says so. A config without a calibration, or of a
    run that is continued, is returned as it is.
    Raises CalibrationError where the calibration is for another robot file, ConfigError where for another arm.
    """
    if not config.calibration:
        return config
    robot, kind = split_task(config.task)
    path = Path(config.calibration).expanduser().absolute()
    if str(path) == robot:
        return config
    calibrated = load_robot(path)
    if calibrated.calibration is None:
        raise ConfigError(f"'{config.calibration}' is a robot file, not a calibration.")
    if load_robot(robot).digest != calibrated.digest:
        raise ConfigError(
            f"Calibration '{config.calibration}' is for '{calibrated.name}', not for '{robot}'."
        )
    given = dict(config.env.get("randomization") or {})
    drawn = calibrated.calibration.model_dump(mode="json")["ranges"]
    origins = {
        term: "the run's config" if term in given else origin
        for term, origin in calibrated.calibration.ranges_from.items()
    }
    return config.model_copy(
        update={
            "task": f"{path}/{kind}",
            "calibration": str(path),
            "env": merged(config.env, {"randomization": {**drawn, **given}}),
            "ranges_from": origins,
        }
    )
