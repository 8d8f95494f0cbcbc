"""What a profile says of persons near the arm: how near they may be, and how fast the arm may touch them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator, model_validator

from robolearn.config import Config
from robolearn.errors import ProfileError
from robolearn.robots import Robot
from robolearn.robots.sourced import Text
from robolearn.safety.assessed import REGIONS_MAX, Assessed, ByKey, Not, NotChecked, NotNegative, Positive
from robolearn.safety.contact import ContactLimit, Touched, region, two_mass_kg
from robolearn.safety.iso_13855 import FORMULAS, intrusion_distance_m
from robolearn.safety.iso_13855 import SOURCE as ISO_13855


class Sensor(Assessed):
    """The protective device that sees persons.

    approach: of a person to its plane of detection, at right angles or in parallel.  resolution_m: the smallest thing
    that it sees.  height_m: of that plane above the floor, for `parallel` alone.  source, trust, risk_assessment_ref:
    of the device and its mounting.
    """

    approach: Literal["orthogonal", "parallel"]
    resolution_m: Positive
    height_m: NotNegative | None = None

    @property
    def intrusion_distance_m(self) -> float:
        """C that follows from it, m. Raises ProfileError where it is mounted too low for its resolution."""
        height = None if self.height_m is None else self.height_m.value
        return intrusion_distance_m(self.approach, self.resolution_m.value, height)


class Reason(Assessed):
    """Why a number is not the one that follows from others, and where that is said."""

    reason: Text


class Separation(Config):
    """Speed and separation monitoring: S >= Sh + Sr + Ss + C + Zd + Zr, from a sensor at the robot's base.

    sensor: from which C follows, or why the formulas do not hold for it.  intrusion_below_sensor: why
    intrusion_distance_m, C, is less than what follows; only where it is.
    """

    edition: Text
    human_speed_m_s: Positive
    reaction_time_s: Positive
    stopping_time_extra_s: NotNegative
    sensor: Annotated[Annotated[Sensor, Tag("limit")] | Not, ByKey]
    intrusion_distance_m: NotNegative
    intrusion_below_sensor: Reason | None = None
    sensor_uncertainty_m: NotNegative
    robot_uncertainty_m: NotNegative
    person_age_max_s: Positive

    @model_validator(mode="after")
    def _intrusion_fits(self) -> Separation:
        given, reason = self.intrusion_distance_m.value, self.intrusion_below_sensor
        if isinstance(self.sensor, NotChecked):
            needed, which = 0.0, "sensor is not checked"
        else:
            try:
                needed = self.sensor.intrusion_distance_m
            except ProfileError as error:
                raise ValueError(f"sensor: {error}") from None
            which = (
                f"{FORMULAS[self.sensor.approach]} ({ISO_13855}) gives {needed:.4g} m for the stated sensor"
            )
        if given < needed - 1e-9 and reason is None:
            raise ValueError(
                f"intrusion_distance_m is {given:g}, but {which}. Raise it, correct the sensor, or say under "
                "intrusion_below_sensor "
                "{reason: ..., source: ..., trust: ..., risk_assessment_ref: ...} why less is sufficient"
            )
        if reason is not None and not given < needed - 1e-9:
            raise ValueError(
                "intrusion_below_sensor has a reason, but intrusion_distance_m "
                f"{given:g} is not below: {which}. Remove the reason"
            )
        return self


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
                "Add it to the robot file."
            )
        return ContactLimit(Touched(self.contacts, self.contact_area_cm2.value), self.model, felt)
