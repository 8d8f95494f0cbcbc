"""What a number of a profile can plausibly be, and why. A slip of the unit or a limit that limits nothing is refused.

The ranges are wide on purpose: they are for arms a person can stand beside, of any manufacturer. Within them the risk
assessment decides. Units are those of the key. A number that has no range here fails a test of the profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydantic import BaseModel

# key: (lowest, highest, why). Keys of groups are written `group.key`.
RANGES: dict[str, tuple[float, float, str]] = {
    "position_min_rad": (-12.6, 12.6, "robot joints turn at most two revolutions in each direction"),
    "position_max_rad": (-12.6, 12.6, "robot joints turn at most two revolutions in each direction"),
    "velocity_max_rad_s": (0.01, 30.0, "the fastest joints of small arms reach about 20 rad/s"),
    "acceleration_max_rad_s2": (0.1, 1000.0, "below, braking takes too long; above, no drive can follow"),
    "jerk_max_rad_s3": (1.0, 1e5, "below, braking takes many seconds; above, no drive can follow"),
    "torque_max_nm": (0.01, 5000.0, "from the wrist of a small arm to the shoulder of a 500 kg one"),
    "torque_rate_max_nm_s": (0.1, 1e6, "no drive reaches its maximum torque within a few milliseconds"),
    "tcp_speed_max_m_s": (0.001, 10.0, "tools of the fastest arms reach about 10 m/s"),
    "elbow_speed_max_m_s": (0.001, 10.0, "elbows are slower than tools"),
    "link_speed_max_m_s": (0.001, 15.0, "no point of an arm is much faster than its tool"),
    "self_distance_min_m": (0.001, 0.5, "zero lets links touch; above half a metre no arm can fold"),
    "stopping_time_max_s": (0.01, 5.0, "arms stop within about a second"),
    "stopping_distance_max_m": (0.001, 5.0, "the reach of an arm is two to three metres"),
    "command_age_max_s": (0.001, 1.0, "a command one second old is obsolete"),
    "command_jump_max_rad": (1e-5, 1.0, "a smooth stream moves a joint by hundredths of a radian per period"),
    "command_lag_max_rad": (1e-5, 2.0, "an arm further behind its policy is not following it"),
    "first_command_wait_max_s": (0.01, 60.0, "after a minute, the operator may no longer be attending"),
    "commands_per_cycle_max": (1.0, 1000.0, "a stream sends one or a few commands per cycle"),
    "state_age_max_s": (0.001, 1.0, "a measurement one second old is obsolete"),
    "state_jump_max_rad": (1e-4, 0.2, "above sensor noise; stamp jitter explains less than a fifth of a radian"),
    "clock_ahead_max_s": (0.0, 0.5, "one computer, or two that are synchronised, differ by milliseconds"),
    "enabling_age_max_s": (0.001, 1.0, "a device released one second ago must not enable motion"),
    "cycle_gap_max_s": (0.001, 0.2, "an arm whose controller holds the last sample rests after a tenth of a second"),
    "tracking_error_max_rad": (1e-4, 1.0, "a joint one radian from its command is not following it"),
    "tracking_delay_max_s": (0.0, 1.0, "drives follow within tenths of a second"),
    "standstill_velocity_max_rad_s": (1e-5, 0.2, "0.2 rad/s is motion: a tenth of a metre a second at half a metre"),
    "standstill_drift_max_rad": (1e-5, 0.5, "a joint that moved further is not at rest"),
    "rest_readings_min": (3.0, 1000.0, "one reading is not sufficient; a thousand take seconds"),
    "rest_spread_max_rad": (1e-5, 0.05, "above sensor noise; with a larger spread the arm is not at rest"),
    "separation.human_speed_m_s": (0.5, 3.0, "ISO 13855 takes 1.6 m/s for walking and 2.0 m/s for a reaching hand"),
    "separation.reaction_time_s": (0.001, 2.0, "sensor, transport and one cycle take milliseconds at least"),
    "separation.stopping_time_extra_s": (0.0, 2.0, "additional time of the drive beyond the commanded braking motion"),
    "separation.intrusion_distance_m": (0.0, 2.0, "ISO 13855: 0 with finger detection, 0.85 m for a whole body"),
    "separation.sensor.resolution_m": (0.005, 0.2, "ISO 13855: from a finger to a leg; coarser sensors miss people"),
    "separation.sensor.height_m": (0.0, 1.0, "people can walk under a detection plane above the waist"),
    "separation.sensor_uncertainty_m": (0.001, 2.0, "no sensor locates a person to the millimetre"),
    "separation.robot_uncertainty_m": (0.0001, 1.0, "no arm knows its position to a tenth of a millimetre"),
    "separation.person_age_max_s": (0.001, 2.0, "within two seconds a person crosses the cell"),
    "contact.contact_area_cm2": (0.01, 200.0, "from an edge to more than the palm of a hand"),
    "contact.payload_kg": (0.0, 500.0, "the payload of the largest collaborative arms is tens of kilograms"),
    "workspace.corner_m": (-20.0, 20.0, "no arm reaches further from its base"),
    "workspace.offset_m": (-20.0, 20.0, "no arm reaches further from its base"),
}  # fmt: skip
BRAKING_MAX_S = 30.0


def numbers(limits: BaseModel, prefix: str = "") -> Iterator[tuple[str, tuple[str | int, ...], float]]:
    """Every number of a mode's limits: the key of its range, where it stands, and the number."""
    for name, item in limits:
        yield from _numbers(f"{prefix}{name}", (name,), item)


def implausible(limits: BaseModel) -> tuple[str, tuple[str | int, ...]] | None:
    """The first number outside its range, in words, and where it stands; None where all are plausible."""
    for key, path, value in numbers(limits):
        if key in RANGES:
            low, high, why = RANGES[key]
            if not low <= value <= high:
                what = ".".join(str(part) for part in path if part != "value")
                return f"{what} is {value:g}; plausible is {low:g} to {high:g} ({why})", path
    return None


def _numbers(
    key: str, path: tuple[str | int, ...], item: Any
) -> Iterator[tuple[str, tuple[str | int, ...], float]]:
    if isinstance(item, bool | str | None):
        return
    if isinstance(item, int | float):
        yield key, path, float(item)
    elif isinstance(item, tuple):
        for index, part in enumerate(item):
            yield from _numbers(key, (*path, index), part)
    else:
        for name, part in item:
            if name == "value":
                yield from _numbers(key, (*path, name), part)
            elif name in ("min_m", "max_m", "offset_m"):  # of a box or a plane
                yield from _numbers(f"workspace.{_PLACES[name]}", (*path, name), part)
            elif name != "normal":  # a direction: of length 1
                yield from _numbers(f"{key}.{name}", (*path, name), part)


_PLACES = {"min_m": "corner_m", "max_m": "corner_m", "offset_m": "offset_m"}


def slowest_braking_s(velocity: Any, acceleration: Any, jerk: Any) -> float:
    """How long a joint takes from its largest velocity to rest within its limits, at most; arrays [n]."""
    return float(np.max(velocity / acceleration + acceleration / jerk))
