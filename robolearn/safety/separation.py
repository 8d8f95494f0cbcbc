"""Protective separation distance between a person and the arm (speed and separation monitoring).

    Sp = Sh + Sr + Ss + C + Zd + Zr

Formula as quoted in open literature (pmc.ncbi.nlm.nih.gov/articles/PMC5117641); the profile names the edition its
numbers follow. The person may come from any side, so the speed of the arm's fastest point counts, not its component
toward the person: this is the larger, and needs no direction from the sensor.
"""

from __future__ import annotations

from typing import NamedTuple

from robolearn.safety.people import Separation

PROTECTIVE_FORMULA = "Sp = Sh + Sr + Ss + C + Zd + Zr"


class ProtectiveDistance(NamedTuple):
    """Every term of the protective separation distance, m."""

    human_m: float  # Sh: distance the person moves while the arm reacts and stops
    reaction_m: float  # Sr: distance the arm moves while it reacts
    stopping_m: float  # Ss: distance the arm moves while it stops
    intrusion_m: float  # C
    sensor_m: float  # Zd
    robot_m: float  # Zr

    @property
    def total_m(self) -> float:
        """Sp, the sum."""
        return (
            self.human_m + self.reaction_m + self.stopping_m + self.intrusion_m + self.sensor_m + self.robot_m
        )


def protective_distance(
    numbers: Separation, robot_speed_m_s: float, stopping_time_s: float, stopping_distance_m: float
) -> ProtectiveDistance:
    """The terms for an arm whose fastest point moves at robot_speed_m_s and stops in the given time and distance."""
    reaction = numbers.reaction_time_s.value
    stopping = stopping_time_s + numbers.stopping_time_extra_s.value
    return ProtectiveDistance(
        human_m=numbers.human_speed_m_s.value * (reaction + stopping),
        reaction_m=robot_speed_m_s * reaction,
        stopping_m=stopping_distance_m + robot_speed_m_s * numbers.stopping_time_extra_s.value,
        intrusion_m=numbers.intrusion_distance_m.value,
        sensor_m=numbers.sensor_uncertainty_m.value,
        robot_m=numbers.robot_uncertainty_m.value,
    )
