"""Safety profiles: every number the monitor checks against, with its unit, source, trust and risk assessment.

A profile is one YAML file for one robot. `common` holds what all modes share, `modes` what each mode adds or
replaces; every mode must come out complete. A number is written

    tcp_speed_max_m_s: {value: 1.0, source: ..., trust: integrator, risk_assessment_ref: RA-...}

and a check that cannot be made says so: `{not_checked: why, risk_assessment_ref: ...}`. Nothing defaults to
"unlimited". Validation refuses what is missing, contradictory, or looser than the robot's maker publishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, Tag, field_validator, model_validator

from robolearn.config import Config, build, config_path, read_document
from robolearn.errors import ConfigError, ProfileError, unknown
from robolearn.files.strict_yaml import Document
from robolearn.robots import Robot
from robolearn.robots.sourced import Text
from robolearn.safety.assessed import (
    REGIONS_MAX,
    Assessed,
    ByKey,
    EnablingDevice,
    Finite,
    Not,
    NotChecked,
    NotNegative,
    Number,
    Numbers,
    Positive,
)
from robolearn.safety.home_check import forbidden_at_home
from robolearn.safety.people import Contact, Separation
from robolearn.safety.plausible import BRAKING_MAX_S, implausible, slowest_braking_s

__all__ = [
    "MAKER", "MODES", "Assessed", "Box", "Contact", "EnablingDevice", "ModeLimits", "NotChecked", "Number", "Numbers",
    "Plane", "SafetyProfile", "Separation", "Workspace",
]  # fmt: skip
MODES = ("manual_reduced", "automatic", "collaborative")
REDUCED_SPEED_M_S = 0.25
REDUCED_SOURCE = "ISO 10218-1, 2011 and 2025 editions, quoted by Mitsubishi and Universal Robots"
HOLD_SOURCE = "Regulation (EU) 2023/1230 Annex III 1.2.5, Directive 2006/42/EC Annex I 1.2.5"


class Plane(Assessed):
    """A wall: every link stays where normal . x >= offset_m, in the base frame."""

    name: Text
    normal: tuple[float, float, float]
    offset_m: float = Finite

    @field_validator("normal")
    @classmethod
    def _unit(cls, normal: tuple[float, float, float]) -> tuple[float, float, float]:
        if not abs(float(np.linalg.norm(normal)) - 1.0) < 1e-6:
            raise ValueError("the normal must have length 1")
        return normal


class Box(Assessed):
    """An axis-aligned box in the base frame, from corner min_m to corner max_m."""

    name: Text
    min_m: tuple[float, float, float]
    max_m: tuple[float, float, float]

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        if not np.less(self.min_m, self.max_m).all():
            raise ValueError("min_m must be below max_m on every axis")
        return self


class Workspace(Config):
    """Where the arm may be: inside `stay_in`, on the right side of every plane, outside every `keep_out` box."""

    stay_in: Box
    planes: tuple[Plane, ...] = Field((), max_length=REGIONS_MAX)
    keep_out: tuple[Box, ...] = Field((), max_length=REGIONS_MAX)

    @model_validator(mode="after")
    def _distinct(self) -> Workspace:
        names = [region.name for region in (self.stay_in, *self.planes, *self.keep_out)]
        if len(set(names)) != len(names):
            raise ValueError("every region needs a name of its own")
        return self


class ModeLimits(Config):
    """Every number of one mode. Arrays in joint order; names carry their unit."""

    position_min_rad: Numbers
    position_max_rad: Numbers
    velocity_max_rad_s: Numbers
    acceleration_max_rad_s2: Numbers
    jerk_max_rad_s3: Numbers
    torque_max_nm: Annotated[Annotated[Numbers, Tag("limit")] | Not, ByKey]
    torque_rate_max_nm_s: Annotated[Annotated[Numbers, Tag("limit")] | Not, ByKey]
    tcp_speed_max_m_s: Positive
    elbow_speed_max_m_s: Positive
    link_speed_max_m_s: Positive
    self_distance_min_m: NotNegative
    stopping_time_max_s: Positive
    stopping_distance_max_m: Positive
    command_age_max_s: Positive
    command_jump_max_rad: Positive
    command_lag_max_rad: Positive
    first_command_wait_max_s: Positive
    commands_per_cycle_max: Positive
    state_age_max_s: Positive
    state_jump_max_rad: Positive
    clock_ahead_max_s: NotNegative
    cycle_gap_max_s: Positive
    tracking_error_max_rad: Positive
    tracking_delay_max_s: NotNegative
    standstill_velocity_max_rad_s: Positive
    standstill_drift_max_rad: Positive
    rest_readings_min: Positive
    rest_spread_max_rad: Positive
    enabling_device: EnablingDevice
    enabling_age_max_s: Positive
    workspace: Workspace
    separation: Annotated[Annotated[Separation, Tag("limit")] | Not, ByKey]
    contact: Annotated[Annotated[Contact, Tag("limit")] | Not, ByKey]

    @property
    def tightest_speed_m_s(self) -> float:
        """The lowest of the Cartesian speed limits."""
        return min(
            self.tcp_speed_max_m_s.value, self.elbow_speed_max_m_s.value, self.link_speed_max_m_s.value
        )


class SafetyProfile(Config):
    """One robot's profile: limits per mode, and the digest of the file they came from."""

    name: str
    robot: Text
    title: Text
    risk_assessment_ref: Text
    modes: dict[str, ModeLimits]
    digest: str

    @classmethod
    def load(cls, path_or_name: str | Path) -> SafetyProfile:
        """A profile from a YAML file, or by the name of one that came with robolearn (`fr3`).

        Raises ProfileError naming every missing, unknown or impossible value.
        """
        name = str(path_or_name)
        try:
            plain = not name.endswith((".yaml", ".yml"))
            path = config_path(f"safety/{name}.yaml" if plain else path_or_name)
            document = read_document(path)
        except ConfigError as error:
            raise ProfileError(str(error)) from None
        return cls.from_data(document.data, Path(path).stem, document.digest, document)

    @classmethod
    def from_data(
        cls, data: dict[str, Any], name: str, digest: str, document: Document | None = None
    ) -> SafetyProfile:
        """A profile from the content of its file; document: where each key stands in it. Raises ProfileError."""
        line = None if document is None else document.line
        common, modes = _groups(data, name)
        try:
            resolved = {
                mode: build(
                    ModeLimits,
                    {**common, **extra},
                    f"profile '{name}', mode {mode}",
                    _in_mode(line, mode, extra),
                )
                for mode, extra in modes.items()
            }
            facts = {key: data.get(key) for key in ("robot", "title", "risk_assessment_ref")}
            profile = build(
                cls, {"name": name, **facts, "modes": resolved, "digest": digest}, f"profile '{name}'", line
            )
        except ConfigError as error:
            raise ProfileError(str(error)) from None
        for mode, limits in profile.modes.items():
            where = f"Profile '{name}', mode {mode}"
            _plausible(limits, where, _in_mode(line, mode, modes[mode]))
            if mode == "manual_reduced":
                _reduced(limits, where)
            _consistent(limits, where)
        return profile

    def mode(self, mode: str) -> ModeLimits:
        """The limits of one mode. Raises ProfileError for a mode that does not exist."""
        if mode not in self.modes:
            raise ProfileError(unknown("mode", mode, self.modes))
        return self.modes[mode]

    def check_against(self, robot: Robot) -> None:
        """Raise ProfileError where a limit is looser than the robot's maker publishes, or does not fit the robot.

        The latter includes a cell in which the arm may not even rest at its home position.
        """
        if self.robot != robot.arm:
            raise ProfileError(
                f"Profile '{self.name}' is for robot '{self.robot}', not for '{robot.arm}'. Use its own profile."
            )
        for mode, limits in self.modes.items():
            where = f"Profile '{self.name}', mode {mode}"
            _not_looser(limits, robot, where)
            if isinstance(limits.contact, Contact):
                _has_mass(limits.contact, robot, where)
        for mode, limits in self.modes.items():
            broken = forbidden_at_home(limits, robot)
            if broken:
                raise ProfileError(
                    f"Profile '{self.name}', mode {mode}: the arm may not rest at its home position: {broken}. "
                    "Correct the profile, or home_rad in a robot file of your own."
                )


def _groups(data: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What all modes share, and what each mode adds, from a file whose outline is as it must be."""
    schema = data.get("schema")
    if schema != "robolearn.safety_profile/1":
        raise ProfileError(
            f"Profile '{name}': schema is {str(schema)[:80]!r}, expected robolearn.safety_profile/1."
        )
    allowed = {"schema", "robot", "title", "risk_assessment_ref", "common", "modes"}
    for key in data.keys() - allowed:
        raise ProfileError(f"Profile '{name}': " + unknown("key", str(key), allowed))
    common, modes = data.get("common"), data.get("modes")
    if not isinstance(modes, dict) or set(modes) != set(MODES):
        raise ProfileError(f"Profile '{name}': modes must be exactly {', '.join(MODES)}.")
    for key, group in (("common", common), *((f"modes.{mode}", extra) for mode, extra in modes.items())):
        if not isinstance(group, dict | None):
            raise ProfileError(
                f"Profile '{name}': {key} must hold `limit: ...` lines, not a {type(group).__name__}."
            )
    return common or {}, {mode: extra or {} for mode, extra in modes.items()}


def _in_mode(
    line: Callable[..., int | None] | None, mode: str, extra: dict[str, Any]
) -> Callable[..., int | None] | None:
    """Lines of a mode's keys: its own, or those of what all modes share."""
    if line is None:
        return None
    return lambda *path: line(*(("modes", mode) if path and path[0] in extra else ("common",)), *path)


SPEEDS = ("tcp_speed_max_m_s", "elbow_speed_max_m_s", "link_speed_max_m_s")


def _plausible(limits: ModeLimits, where: str, line: Callable[..., int | None] | None) -> None:
    """Refuse a number that no arm has."""
    found = implausible(limits)
    if found is not None:
        text, path = found
        at = line(*path) if line is not None else None
        raise ProfileError(f"{where}{f', line {at}' if at else ''}: {text}. Check the unit.")


def _consistent(limits: ModeLimits, where: str) -> None:
    """Refuse numbers that contradict each other."""
    arrays = {field: value.array for field, value in limits if isinstance(value, Numbers)}
    joints = Counter(len(array) for array in arrays.values()).most_common(1)[0][0]
    for field, array in arrays.items():
        if len(array) != joints:
            raise ProfileError(
                f"{where}: {field} has {len(array)} numbers, the others {joints}: one for each joint."
            )
    motion = (arrays[key] for key in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3"))
    if (braking_s := slowest_braking_s(*motion)) > BRAKING_MAX_S:
        raise ProfileError(
            f"{where}: from velocity_max_rad_s a joint takes {braking_s:.3g} s to rest within "
            f"acceleration_max_rad_s2 and jerk_max_rad_s3, more than {BRAKING_MAX_S:g} s. Lower the velocity."
        )
    if not np.less(arrays["position_min_rad"], arrays["position_max_rad"]).all():
        raise ProfileError(f"{where}: position_min_rad must be below position_max_rad for every joint.")
    if limits.command_lag_max_rad.value < limits.command_jump_max_rad.value:
        raise ProfileError(f"{where}: command_lag_max_rad must not be below command_jump_max_rad.")
    for field, what in (("tcp_speed_max_m_s", "the tool"), ("elbow_speed_max_m_s", "the elbow")):
        if getattr(limits, field).value > limits.link_speed_max_m_s.value:
            raise ProfileError(
                f"{where}: {field} is above link_speed_max_m_s, which holds for {what} as well."
            )


def _has_mass(contact: Contact, robot: Robot, where: str) -> None:
    """Refuse a model of contact that needs a mass that the robot does not state."""
    try:
        contact.speed(robot)
    except ProfileError as error:
        raise ProfileError(f"{where}: {error}") from None


def _reduced(limits: ModeLimits, where: str) -> None:
    """Refuse a manual mode without what makes it one: reduced speed, and an enabling device that is held."""
    for field in SPEEDS:
        speed = getattr(limits, field).value
        if speed > REDUCED_SPEED_M_S:
            raise ProfileError(
                f"{where}: {field} is {speed:g}, above the reduced speed of {REDUCED_SPEED_M_S:g} m/s that this mode "
                f"stands for ({REDUCED_SOURCE}). Lower it, or use mode automatic."
            )
    if limits.enabling_device.value != "required":
        raise ProfileError(
            f"{where}: enabling_device is '{limits.enabling_device.value}', but with guards disabled an arm "
            f"moves only while a control is held ({HOLD_SOURCE}). Set it to required."
        )


# profile field, the robot's limit that it must not be looser than, and the looser direction
MAKER = (
    ("position_max_rad", "position_max_rad", 1.0),
    ("position_min_rad", "position_min_rad", -1.0),
    ("velocity_max_rad_s", "velocity_rad_s", 1.0),
    ("acceleration_max_rad_s2", "acceleration_rad_s2", 1.0),
    ("jerk_max_rad_s3", "jerk_rad_s3", 1.0),
    ("torque_max_nm", "torque_nm", 1.0),
    ("torque_rate_max_nm_s", "torque_rate_nm_s", 1.0),
)


_ROUNDING = 5e-6  # of a limit: six digits of one and the same number are no looser


def _not_looser(limits: ModeLimits, robot: Robot, where: str) -> None:
    fastest = robot.cartesian.get("tcp_speed_m_s", np.inf)
    if limits.tcp_speed_max_m_s.value > fastest:
        raise ProfileError(
            f"{where}: tcp_speed_max_m_s is {limits.tcp_speed_max_m_s.value:g}, looser than the maker's {fastest:g}."
        )
    for field, published, direction in MAKER:
        ours, makers = getattr(limits, field), getattr(robot.limits, published)
        if isinstance(ours, NotChecked):
            continue
        if len(ours.value) != robot.dof:
            raise ProfileError(
                f"{where}: {field} has {len(ours.value)} numbers, {robot.name} has {robot.dof} joints."
            )
        if makers is None:
            if ours.trust != "integrator":
                raise ProfileError(
                    f"{where}: the maker of {robot.name} publishes no {published}; "
                    f"{field} must have trust 'integrator', not '{ours.trust}'."
                )
            continue
        looser = direction * (ours.array - makers) > _ROUNDING * np.maximum(1.0, np.abs(makers))
        if looser.any():
            joint = int(np.argmax(looser))
            raise ProfileError(
                f"{where}: {field} of {robot.joint_names[joint]} is {ours.array[joint]:.8g}, looser than the "
                f"maker's {makers[joint]:.8g} ({robot.limits.source(published)}). "
                "Use the maker's number or a tighter one."
            )
