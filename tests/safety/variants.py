"""Other profiles than those that ship, made in memory, so that in a fuzz run every rule comes to act.

Each is as legal as a profile in a file: it goes through the same validation.
"""

from __future__ import annotations

import numpy as np
import yaml
from slow_checker import LOADER

from robolearn.config import config_path
from robolearn.robots import load_robot
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import SafetyProfile

ORIGIN = {"source": "chosen to be met by the fuzzer", "trust": "integrator", "risk_assessment_ref": "RA-FUZZ"}
NOT_CHECKED = {"not_checked": "left out for the fuzzer", "risk_assessment_ref": "RA-FUZZ"}
JERK_RAD_S3 = 400.0  # with the jerk of the shipped profiles no torque rate that is worth a limit can be kept
TORQUE_RATE_NM_S = {"fr3": 1000.0, "ur5e": 2000.0, "iiwa14": 2000.0}


def chosen(value):
    return {"value": value, **ORIGIN}


def cell(data):
    """Walls and boxes near the arm, little time and way to stop in, a slow elbow, links that keep apart."""
    slant = {"name": "slant", "normal": [-0.8, 0.0, -0.6], "offset_m": -0.95, **ORIGIN}
    side = {"name": "side", "normal": [0.0, 1.0, 0.0], "offset_m": -0.45, **ORIGIN}
    table = {"name": "table", "min_m": [0.25, -0.6, 0.02], "max_m": [0.9, 0.6, 0.2], **ORIGIN}
    post = {"name": "post", "min_m": [0.2, 0.35, 0.0], "max_m": [0.5, 0.5, 1.2], **ORIGIN}
    workspace = {**data["common"]["workspace"], "planes": [slant, side], "keep_out": [table, post]}
    change(
        data,
        workspace=workspace,
        stopping_time_max_s=chosen(0.12),
        stopping_distance_max_m=chosen(0.03),
        elbow_speed_max_m_s=chosen(0.2),
        self_distance_min_m=chosen(0.045),
    )


def torque_rate(data):
    """A torque rate and no largest torque, in a narrow joint range."""
    home, common = load_robot(data["robot"]).home_rad, data["common"]
    low, high = (np.array(common[key]["value"]) for key in ("position_min_rad", "position_max_rad"))
    n = len(home)
    change(
        data,
        position_min_rad=chosen(np.maximum(low, home - 0.5).tolist()),
        position_max_rad=chosen(np.minimum(high, home + 0.5).tolist()),
        jerk_max_rad_s3=chosen([JERK_RAD_S3] * n),
        torque_max_nm=NOT_CHECKED,
        torque_rate_max_nm_s=chosen([TORQUE_RATE_NM_S[data["robot"]]] * n),
    )


def torque(data):
    """A torque rate and a largest torque, both near what the arm takes when it moves."""
    largest = data["common"]["torque_max_nm"]["value"]
    bounds = {key: data["common"][key] for key in ("position_min_rad", "position_max_rad")}
    torque_rate(data)
    change(data, **bounds)
    change(data, torque_max_nm=chosen([0.5 * value for value in largest]))


def contact(data, model="stricter"):
    """A person may be touched and squeezed in every mode, and must keep away as well."""
    separation = data["common"]["separation"]
    rule = {
        **data["modes"]["collaborative"]["contact"], "model": model, "transient_regions": ["chest", "hands_fingers"],
        "quasi_static_regions": ["chest", "upper_arms_elbow", "lower_legs"], "payload_kg": chosen(1.0),
    }  # fmt: skip
    change(data, contact=rule, separation=separation)


def contact_energy(data):
    """As `contact`, by the energy of the motion alone."""
    contact(data, "kinetic_energy")


def contact_iso(data):
    """As `contact`, by half of the moving mass alone."""
    contact(data, "iso_ts_15066")


def change(data, **limits):
    """Set limits in every mode."""
    for mode in data["modes"].values():
        mode.update(limits)


VARIANTS = {
    "shipped": lambda data: None,
    "cell": cell,
    "torque_rate": torque_rate,
    "torque": torque,
    "contact": contact,
    "contact_energy": contact_energy,
    "contact_iso": contact_iso,
}


def profile_data(robot, variant="shipped"):
    """What the profile's file would hold."""
    with open(config_path(f"safety/{robot}.yaml"), encoding="utf-8") as file:
        data = yaml.load(file, LOADER)
    VARIANTS[variant](data)
    return data


def monitor_of(robot, mode, variant, period_s):
    data = profile_data(robot, variant)
    return SafetyMonitor(
        load_robot(robot), SafetyProfile.from_data(data, f"{robot}-{variant}", "0" * 64), mode, period_s
    )
