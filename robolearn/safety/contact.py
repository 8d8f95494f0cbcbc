"""Power and force limiting: how fast a part of the arm may be where it may touch a person.

    v = min(F, p A) / sqrt(mu K)      mu = 1 / (1 / mH + 1 / mR)

F, p: force and pressure allowed for the body region; A: contact area; K, mH: stiffness and mass of the region;
mR: mass of the arm felt at the point of contact, by one of two models:

    iso_ts_15066     mR = M / 2 + mL      M: mass of the moving parts, mL: payload; the same in every posture
    kinetic_energy   mR = 2 E / v^2 + mL  E: kinetic energy of the motion, v: speed of the fastest point

A stretched arm that turns about its base is felt as more than M / 2, a folded one or a wrist as less: neither model
is stricter everywhere, so that by default both hold. Figures as quoted by open copies of ISO/TS 15066:2016 that agree
(see `SOURCE`); check them against a licensed copy, and measure on the cell: a formula is only a beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from robolearn.errors import ProfileError, unknown
from robolearn.safety.types import Vector

SOURCE = (
    "ISO/TS 15066:2016 tables A.2 and A.3, from the documentation of a public ROS 2 separation controller and from "
    "research notes on a licensed copy, which agree (trust: secondary)"
)

MODELS = {
    "stricter": "both models hold",
    "kinetic_energy": "mR = 2 E / v^2 + mL",
    "iso_ts_15066": "mR = M / 2 + mL",
}
KINDS = ("quasi_static", "transient")


@dataclass(frozen=True, slots=True)
class Region:
    """A body region. Quasi-static limits; `transient` is the factor for short contact, None where there is none.

    pressure_n_cm2 is the lowest of the region's measured places.
    """

    name: str
    force_n: float
    pressure_n_cm2: float
    stiffness_n_m: float
    mass_kg: float
    transient: float | None

    @property
    def contact_allowed(self) -> bool:
        """Head and face never: their figures describe how bad an accident would be, they allow nothing."""
        return self.transient is not None


REGIONS = {
    region.name: region
    for region in (
        Region("skull_forehead", 130.0, 110.0, 150e3, 4.4, None),
        Region("face", 65.0, 110.0, 75e3, 4.4, None),
        Region("neck", 150.0, 140.0, 50e3, 1.2, 2.0),
        Region("back_shoulders", 210.0, 160.0, 35e3, 40.0, 2.0),
        Region("chest", 140.0, 120.0, 25e3, 40.0, 2.0),
        Region("abdomen", 110.0, 140.0, 10e3, 40.0, 2.0),
        Region("pelvis", 180.0, 210.0, 25e3, 40.0, 2.0),
        Region("upper_arms_elbow", 150.0, 190.0, 30e3, 3.0, 2.0),
        Region("lower_arms_wrist", 160.0, 180.0, 40e3, 2.0, 2.0),
        Region("hands_fingers", 140.0, 190.0, 75e3, 0.6, 2.0),
        Region("thighs_knees", 220.0, 220.0, 50e3, 75.0, 2.0),
        Region("lower_legs", 130.0, 210.0, 60e3, 75.0, 2.0),
    )
}


@dataclass(frozen=True, slots=True)
class ContactSpeed:
    """The speed allowed against one region, and what it follows from. force_n: the lower of F and p A."""

    region: str
    force_n: float
    limited_by: str
    reduced_mass_kg: float
    speed_m_s: float


def region(name: str) -> Region:
    """A body region that may be touched. Raises ProfileError for head and face, and for names that do not exist."""
    if name not in REGIONS:
        raise ProfileError(unknown("body region", name, REGIONS))
    found = REGIONS[name]
    if not found.contact_allowed:
        raise ProfileError(
            f"Contact with the region '{name}' is never allowed. Keep the head out of reach "
            "by other means, and remove it from the list of regions."
        )
    return found


def contact_speed(body: Region, robot_mass_kg: float, kind: str, area_cm2: float | None) -> ContactSpeed:
    """The highest relative speed for a contact with `body`.

    kind: `quasi_static` (clamping) or `transient` (the person can recoil).  area_cm2: of the contact; None leaves
    the pressure out.
    """
    factor = body.transient if kind == "transient" and body.transient else 1.0
    force, by = factor * body.force_n, "force"
    if area_cm2 is not None and factor * body.pressure_n_cm2 * area_cm2 < force:
        force, by = factor * body.pressure_n_cm2 * area_cm2, "pressure"
    mu = 1.0 / (1.0 / body.mass_kg + 1.0 / robot_mass_kg)
    return ContactSpeed(body.name, force, by, mu, force / sqrt(mu * body.stiffness_n_m))


def two_mass_kg(moving_mass_kg: float, payload_kg: float) -> float:
    """mR = M / 2 + mL, kg: the mass that is felt by the two-mass model of ISO/TS 15066."""
    return moving_mass_kg / 2.0 + payload_kg


class Touched:
    """Body regions that may be touched, for many masses at once. contacts: (region, kind) of each."""

    def __init__(self, contacts: Iterable[tuple[str, str]], area_cm2: float | None):
        self._contacts = tuple(contacts)
        bodies = [region(name) for name, _ in self._contacts]
        self._force_n = np.array(
            [
                contact_speed(body, inf, kind, area_cm2).force_n
                for body, (_, kind) in zip(bodies, self._contacts, strict=True)
            ]
        )
        self._mass_kg = np.array([body.mass_kg for body in bodies])
        self._stiffness_n_m = np.array([body.stiffness_n_m for body in bodies])

    def speeds(self, robot_mass_kg: Vector) -> Vector:
        """[...] m/s, the lowest of the speeds allowed against the regions, for each mass felt [...]."""
        mass = np.asarray(robot_mass_kg)[..., None]
        each = self._force_n * np.sqrt((1.0 / self._mass_kg + 1.0 / mass) / self._stiffness_n_m)
        return each.min(axis=-1)

    def tightest(self, speed_m_s: float) -> tuple[str, str]:
        """The (region, kind) because of which no more than speed_m_s, which is one of `speeds`, is allowed.

        The one that allows this speed to the smallest mass: 1 / mR = v^2 K / F^2 - 1 / mH.
        """
        least = (speed_m_s / self._force_n) ** 2 * self._stiffness_n_m - 1.0 / self._mass_kg
        return self._contacts[int(np.argmax(least))]


class ContactLimit:
    """How fast the arm may touch a person by a model, or by the stricter of both.

    floor_m_s: allowed to any motion.  energy_floor_m_s: the same by kinetic_energy, whose mass has no bound.
    two_mass_m_s: by iso_ts_15066; None where the robot states no mass.
    """

    def __init__(self, touched: Touched, model: str, two_mass_kg: float | None):
        self.model, self._touched = model, touched
        self.two_mass_m_s = None if two_mass_kg is None else float(touched.speeds(np.array(two_mass_kg)))
        self._most_m_s = self.two_mass_m_s if model == "stricter" else None
        self.constant = model == "iso_ts_15066"  # whatever the motion
        self.energy_floor_m_s = float(touched.speeds(np.array(inf)))
        two_mass = self.two_mass_m_s if self.constant else None
        self.floor_m_s = self.energy_floor_m_s if two_mass is None else two_mass

    def by_energy(self, mass_kg: Vector) -> Vector:
        """[...] m/s allowed by kinetic_energy to each mass felt [...], the payload in it."""
        return self._touched.speeds(mass_kg)

    def speeds(self, mass_kg: Vector) -> Vector:
        """[...] m/s allowed, for each mass [...] that is felt by kinetic_energy."""
        if self.constant:
            return np.full(np.shape(mass_kg), self.floor_m_s)
        allowed = self.by_energy(mass_kg)
        return allowed if self._most_m_s is None else np.minimum(allowed, self._most_m_s)

    def reason(self, allowed_m_s: float) -> str:
        """Which region, kind of contact and model allow no more than this, which is one of `speeds`."""
        name, kind = self._touched.tightest(allowed_m_s)
        two_mass = self.model != "kinetic_energy" and allowed_m_s == self.two_mass_m_s
        model = "iso_ts_15066" if two_mass else "kinetic_energy"
        return f"{name}, {kind.replace('_', '-')}, by {model}: {MODELS[model]}"
