"""What a mode of a safety profile must state: its numbers, its regions, and how persons are kept apart."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, Tag, field_validator, model_validator

from robolearn.config import Config
from robolearn.robots.sourced import Text
from robolearn.safety.assessed import (
    REGIONS_MAX,
    Assessed,
    ByKey,
    EnablingDevice,
    Finite,
    Not,
    NotNegative,
    Numbers,
    Positive,
)
from robolearn.safety.people import Contact, Separation


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
