"""What a profile says of persons near the arm: how near they may be, and how fast the arm may touch them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from robolearn.config import Config
from robolearn.errors import ProfileError
from robolearn.robots import Robot
from robolearn.robots.sourced import Text
from robolearn.safety.assessed import REGIONS_MAX, Assessed, NotNegative, Positive
from robolearn.safety.contact import ContactLimit, Touched, region, two_mass_kg


class Separation(Config):
    """Speed and separation monitoring: S >= Sh + Sr + Ss + C + Zd + Zr, from a sensor at the robot's base."""

    edition: Text
    human_speed_m_s: Positive
    reaction_time_s: Positive
    stopping_time_extra_s: NotNegative
    intrusion_distance_m: NotNegative
    sensor_uncertainty_m: NotNegative
    robot_uncertainty_m: NotNegative
    person_age_max_s: Positive


class Contact(Assessed):
    """Power and force limiting: the body regions that may be touched, and how. Head and face are never allowed.

    edition: where the figures of the regions come from.  transient_regions: touched shortly, by a person who can
    recoil.  quasi_static_regions: may be clamped as well; a region may be in both. The lowest of all speeds holds.
    model: which mass is felt (`contact.MODELS`).  source, trust, risk_assessment_ref: of the choice of these.
    """

    edition: Text
    model: Literal["stricter", "kinetic_energy", "iso_ts_15066"] = "stricter"
    transient_regions: tuple[str, ...] = Field((), max_length=REGIONS_MAX)
    quasi_static_regions: tuple[str, ...] = Field((), max_length=REGIONS_MAX)
    contact_area_cm2: Positive
    payload_kg: NotNegative

    @field_validator("transient_regions", "quasi_static_regions")
    @classmethod
    def _touchable(cls, regions: tuple[str, ...]) -> tuple[str, ...]:
        for name in regions:
            try:
                region(name)
            except ProfileError as error:
                raise ValueError(str(error)) from None
        return regions

    @model_validator(mode="after")
    def _some(self) -> Contact:
        if not self.contacts:
            raise ValueError("name at least one body region under transient_regions or quasi_static_regions")
        return self

    @property
    def contacts(self) -> tuple[tuple[str, str], ...]:
        """Every (region, kind) that may happen."""
        return (
            *((name, "transient") for name in self.transient_regions),
            *((name, "quasi_static") for name in self.quasi_static_regions),
        )

    def speed(self, robot: Robot) -> ContactLimit:
        """How fast the robot may touch a person. Raises ProfileError where the robot lacks what the model needs."""
        mass = robot.moving_mass_kg
        felt = None if mass is None else two_mass_kg(mass, self.payload_kg.value)
        if felt is None and self.model != "kinetic_energy":
            raise ProfileError(
                f"contact.model '{self.model}' needs moving_mass_kg, which robot '{robot.name}' does not state. "
                "State it in the robot file."
            )
        return ContactLimit(Touched(self.contacts, self.contact_area_cm2.value), self.model, felt)
