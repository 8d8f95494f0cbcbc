"""A calibration: what logs of a real arm said of its drives, as an overlay on a robot file.

Every number has its interval, unit and the logs it came from; what the logs did not tell stays as the robot file has
it, and is named with the reason. A calibration holds for one robot file only, identified by its digest. Its path goes
wherever the path of a robot file goes: `load_robot("fr3.calibration.yaml")` is the calibrated arm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from robolearn.config import Config, build, read_yaml
from robolearn.errors import CalibrationError, ConfigError
from robolearn.files.strict_yaml import dump_yaml
from robolearn.files.writing import replace_file
from robolearn.robots.schema import Servo

SCHEMA = "robolearn.calibration/2"
SUFFIX = ".calibration.yaml"
Number = Annotated[float, Field(allow_inf_nan=False)]
Status = Literal["identified", "wide", "not identified", "not explained"]


class Base(Config):
    """The robot file that is overlaid: a packaged name, or a path relative to the calibration; and its digest."""

    robot: str
    file: str
    digest: str


class LogUsed(Config):
    """One recording: what it is, its SHA-256, when it was made, how long, and whether its integrity was verified."""

    source: str
    digest: str
    start_utc: str | None = None
    duration_s: Number
    verified: bool | None = None


class Quantity(Config):
    """One fitted number. nominal: the robot file's. estimate and interval (95 %) are null unless identified or wide.

    identified: within 2 % with a probability of 99 %, which is an interval of 1.5 % on each side (in files of schema
    /1: 10 %). wide: the interval is wider, up to 10 %; the model uses the estimate and a training draws from the
    interval, but the number is not claimed.
    why: what keeps it from being identified. best_fit: what the fit ended with where the model does not explain the
    log; no interval goes with it, and nothing uses it.
    """

    name: str
    kind: str
    joint: str | None = None
    unit: str
    nominal: Number | None
    status: Status
    estimate: Number | None = None
    interval: tuple[Number, Number] | None = None
    best_fit: Number | None = None
    why: str = ""


class Delay(Config):
    """A latency of the arm's wiring, s."""

    estimate_s: Number
    interval_s: tuple[Number, Number]


class Payload(Config):
    """What hangs on the flange beyond the robot file's gripper; centre of mass in the flange's frame."""

    mass_kg: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    com_m: Annotated[list[Number], Field(min_length=3, max_length=3)]


class Calibration(Config):
    """A calibration file. servo: the drives as the model now has them, from what was identified, else nominal."""

    schema_: Annotated[
        Literal["robolearn.calibration/1", "robolearn.calibration/2"], Field(alias="schema")
    ] = SCHEMA
    base: Base
    made_utc: str
    robolearn: str
    logs: list[LogUsed]
    timestep_s: Number
    effort: bool = Field(description="whether motor effort was fitted too")
    explained: bool = Field(description="whether the model explains the logs, on every joint")
    quantities: list[Quantity]
    servo: Servo
    command_delay: Delay | None = None
    measurement_delay: Delay | None = None
    payload: Payload | None = None
    ranges: dict[str, dict[str, tuple[Number, Number]] | tuple[Number, Number]] = Field(
        default={}, description="randomisation from the fit's uncertainty, over the calibrated values"
    )
    ranges_from: dict[str, str] = Field(default={}, description="where each of the ranges comes from")
    digest: str = Field(default="", exclude=True)
    path: str = Field(default="", exclude=True)

    def quantity(self, kind: str, joint: str | None = None) -> Quantity:
        """One of the quantities. Raises CalibrationError where there is none of that kind and joint."""
        for quantity in self.quantities:
            if quantity.kind == kind and quantity.joint == joint:
                return quantity
        of = f" of {joint}" if joint else ""
        raise CalibrationError(f"The calibration {self.path} has no {kind}{of}.")

    def summary(self) -> dict[str, str]:
        """What a bundle's manifest says of it."""
        return {
            "file": Path(self.path).name,
            "digest": self.digest,
            "base_digest": self.base.digest,
            "logs": ", ".join(log.digest[:16] for log in self.logs),
            "made_utc": self.made_utc,
        }

    def inspect(self) -> str:
        """For people: where it comes from, and every number."""
        lines = [
            f"Calibration of {self.base.robot} (robot file sha256 {self.base.digest[:12]}), made {self.made_utc}",
            *(
                f"  log {log.source}: {log.duration_s:.1f} s, sha256 {log.digest[:12]}, {_verified(log)}"
                for log in self.logs
            ),
            f"  sha256 {self.digest}",
            "  the model explains the logs" if self.explained else "  the model does NOT explain the logs",
        ]
        lines += [f"  {line(quantity)}" for quantity in self.quantities]
        return "\n".join(lines)


def line(quantity: Quantity) -> str:
    """One quantity in one line."""
    if quantity.interval is not None:
        low, high = quantity.interval
        nominal = "" if quantity.nominal is None else f", nominal {quantity.nominal:.4g}"
        wide = "" if quantity.status == "identified" else f", {quantity.status}: {quantity.why}"
        return f"{quantity.name}: {quantity.estimate:.5g} {quantity.unit} ({low:.5g} to {high:.5g}{nominal}){wide}"
    return f"{quantity.name}: {quantity.status}, stays nominal ({quantity.why})"


def is_calibration(data: Mapping[str, Any]) -> bool:
    """Whether the content of a YAML file is a calibration's."""
    return str(data.get("schema", "")).startswith("robolearn.calibration/")


def read_calibration(path: str | Path) -> Calibration:
    """A calibration file, its keys and types checked. Raises CalibrationError."""
    path = Path(path).expanduser()
    try:
        data = read_yaml(path)
        if not is_calibration(data):
            raise CalibrationError(
                f"'{path}' is not a calibration: its schema is {data.get('schema')!r}, expected {SCHEMA}. "
                "Make one with `robolearn sysid fit`."
            )
        found = build(Calibration, data, str(path))
    except ConfigError as error:
        raise CalibrationError(str(error)) from None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return found.model_copy(update={"digest": digest, "path": str(path.absolute())})


def write_calibration(calibration: Calibration, path: str | Path) -> Calibration:
    """Write a calibration and read it back. Raises CalibrationError where it cannot be written."""
    path = Path(path).expanduser()
    text = dump_yaml(calibration.model_dump(mode="json", by_alias=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    except OSError as error:
        raise CalibrationError(f"Cannot write the calibration '{path}': {error.strerror}.") from None
    return read_calibration(path)


def _verified(log: LogUsed) -> str:
    return {True: "verified", False: "NOT verified", None: "nothing to verify it by"}[log.verified]
