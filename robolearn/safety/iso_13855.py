"""C, how far a person may reach past a protective device before it sees them, after ISO 13855:2010.

    at right angles, d to 40 mm     C = 8 (d - 14) mm, at least 0
    at right angles, d above 40 mm  C = 850 mm
    parallel to the ground          C = 1200 - 0.4 H mm, at least 850 mm, with H at least 15 (d - 50) mm

d: resolution, the smallest thing that is seen wherever it is; H: height of the plane of detection above the floor.
Figures from manuals of SICK, Keyence and Datalogic that quote them (trust: secondary). The edition of 2024 replaces C
by D_DS and Z, whose figures are not in robolearn.
"""

from __future__ import annotations

from robolearn.errors import ProfileError, unknown

SOURCE = "ISO 13855:2010, quoted by manuals of SICK, Keyence and Datalogic"
APPROACHES = ("orthogonal", "parallel")
WHOLE_BODY_M = 0.85
FORMULAS = {
    "orthogonal": "C = max(0, 8 (d - 14)) mm for d to 40 mm, else 850 mm",
    "parallel": "C = max(850, 1200 - 0.4 H) mm, H >= 15 (d - 50) mm",
}


def lowest_height_m(resolution_m: float) -> float:
    """Lowest height of a plane of detection for its resolution, m: so that it cannot be stepped over."""
    return max(0.0, 15.0 * (resolution_m - 0.05))


def intrusion_distance_m(approach: str, resolution_m: float, height_m: float | None = None) -> float:
    """C, m.

    approach: of a person to the plane of detection, `orthogonal` or `parallel` (a scanner above the floor).
    height_m: of that plane above the floor, for `parallel` alone. Raises ProfileError where the plane is too low for
    the resolution, and for what does not fit the approach.
    """
    if approach not in APPROACHES:
        raise ProfileError(unknown("approach", approach, APPROACHES))
    if (approach == "parallel") != (height_m is not None):
        needed = "needs" if approach == "parallel" else "has no use for"
        raise ProfileError(f"approach '{approach}' {needed} height_m, the height of the plane of detection.")
    if height_m is None:
        return max(0.0, 8.0 * (resolution_m - 0.014)) if resolution_m <= 0.04 else WHOLE_BODY_M
    lowest = lowest_height_m(resolution_m)
    if height_m < lowest - 1e-9:
        raise ProfileError(
            f"height_m is {height_m:g}, but a resolution of {resolution_m:g} m needs at least {lowest:g} m: "
            "15 (d - 50) mm. Mount the sensor higher, or take a finer one."
        )
    return max(WHOLE_BODY_M, 1.2 - 0.4 * height_m)
