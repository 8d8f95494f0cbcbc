"""The parts that a safety profile is made of: numbers and choices, each with source, trust and risk assessment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from robolearn.config import Config
from robolearn.robots.schema import JOINTS_MAX
from robolearn.robots.sourced import Sourced, Text, Trust
from robolearn.safety.types import Vector

REGIONS_MAX = 100
Finite = Field(allow_inf_nan=False)


class Assessed(Sourced):
    """A number or a choice of a profile: where it comes from, and which part of the risk assessment covers it."""

    risk_assessment_ref: Text

    @field_validator("trust")
    @classmethod
    def _not_of_a_model(cls, trust: Trust) -> Trust:
        if trust == "model":
            raise ValueError("a limit never comes from the simulation; 'integrator' is a choice for the cell")
        return trust


class Number(Assessed):
    """One number; its unit is in the key."""

    value: float = Finite


class Positive(Number):
    """One number above zero."""

    value: float = Field(gt=0.0, allow_inf_nan=False)


class NotNegative(Number):
    """One number, zero or above."""

    value: float = Field(ge=0.0, allow_inf_nan=False)


class Numbers(Assessed):
    """One number per joint, in the robot's joint order."""

    value: tuple[float, ...] = Field(min_length=1, max_length=JOINTS_MAX)

    @property
    def array(self) -> Vector:
        """The numbers as a read-only float64 array [n]."""
        array = np.array(self.value, dtype=np.float64)
        array.setflags(write=False)
        return array


class EnablingDevice(Assessed):
    """Whether motion needs the enabling device to be held, and who decided so."""

    value: Literal["required", "not_used"]

    @model_validator(mode="before")
    @classmethod
    def _with_origin(cls, data: Any) -> Any:
        if isinstance(data, str):
            raise ValueError(
                f"write {{value: {data}, source: ..., trust: ..., risk_assessment_ref: ...}}, as for every limit"
            )
        return data


class NotChecked(Config):
    """A check that is not made, and why; the risk assessment must cover it by other means."""

    not_checked: Text
    risk_assessment_ref: Text


def _limit_or_not(data: Any) -> str:
    given = data if isinstance(data, dict) else vars(data) if isinstance(data, Config) else {}
    return "not_checked" if "not_checked" in given else "limit"


# A check, or why it is not made: the key says which of the two, so that an error names the right one's faults.
Not = Annotated[NotChecked, Tag("not_checked")]
ByKey = Discriminator(_limit_or_not)
