"""Safety profiles as files: what a slip or somebody else could write into one, and that none of it passes."""

from __future__ import annotations

import re

import pytest

from robolearn.config import config_dir
from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety.plausible import RANGES, numbers
from robolearn.safety.profile import SafetyProfile

SOURCE = (config_dir() / "safety" / "fr3.yaml").read_text()
ORIGIN = "source: a, trust: integrator, risk_assessment_ref: b"


def put(key: str, value: str) -> str:
    """The profile with another value of one number; `group.key` and `mode:key` where it stands more than once."""
    mode, _, name = key.rpartition(":")
    start = SOURCE.index(f"\n  {mode}:") if mode else 0
    begin = re.compile(rf"\n +{name}:\n +value: ").search(SOURCE, start)
    assert begin, key
    end = SOURCE.index("\n", begin.end())
    return SOURCE[: begin.end()] + value + SOURCE[end:]


def refused(tmp_path, text: str | bytes) -> str:
    path = tmp_path / "cell.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ProfileError) as error:
        SafetyProfile.load(path).check_against(load_robot("fr3"))
    assert len(str(error.value)) < 4000
    return str(error.value)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_the_profile_itself_passes(tmp_path):
    (tmp_path / "cell.yaml").write_text(SOURCE)
    SafetyProfile.load(tmp_path / "cell.yaml").check_against(load_robot("fr3"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.6\n    value: 5.0", "key 'value' is given twice"),
        ("false", "is False: Input should be a valid number"),
        ("true", "is True: Input should be a valid number"),
        ('"0.6"', "is '0.6': Input should be a valid number"),
        ("1:30", "base 60"),
        ("1_0.0", "leave out the underscores"),
        ("010", "leave out the leading zero"),
        ("yes", "true or false to some readers"),
        ("on", "true or false to some readers"),
        ("0x1", "write it in decimal"),
        ("", "is None: Input should be a valid number"),
        ("[0.6]", "Input should be a valid number"),
        (".nan", "not finite"),
        (".inf", "not finite"),
        ("1.0e+400", "beyond what a number can hold"),
        ("1" + "0" * 400, "401 digits"),
        ("1" + "0" * 5000, "5001 digits"),
        ("!!float 0.6", "the tag"),
        ("0", "greater than 0"),
        ("-0.6", "greater than 0"),
    ],
)
def test_a_number_that_is_none_or_means_two_things(tmp_path, value, message):
    text = put("stopping_time_max_s", value)
    said = refused(tmp_path, text)
    assert message in said
    at = line_of(text, "stopping_time_max_s:")
    assert any(f"line {at + k}" in said for k in (0, 1, 2))


LOOSE = {
    "stopping_time_max_s": "1e9",
    "stopping_distance_max_m": "1e9",
    "command_age_max_s": "1e9",
    "command_lag_max_rad": "1e9",
    "first_command_wait_max_s": "1e9",
    "state_age_max_s": "1e9",
    "clock_ahead_max_s": "1e9",
    "cycle_gap_max_s": "1e9",
    "tracking_error_max_rad": "1e9",
    "tracking_delay_max_s": "1e6",
    "standstill_velocity_max_rad_s": "1e9",
    "standstill_drift_max_rad": "1e9",
    "self_distance_min_m": "0.0",
    "human_speed_m_s": "1e-9",
    "reaction_time_s": "1e-12",
    "person_age_max_s": "1e9",
    "sensor_uncertainty_m": "0.0",
    "robot_uncertainty_m": "0.0",
    "intrusion_distance_m": "1e3",
    "stopping_time_extra_s": "1e3",
    "contact_area_cm2": "1e9",
    "payload_kg": "1e9",
    "automatic:link_speed_max_m_s": "1e9",
    "automatic:tcp_speed_max_m_s": "1e-9",
    "automatic:elbow_speed_max_m_s": "1e-9",
    "position_max_rad": "[99, 2, 2, -0.2, 2, 4, 3]",
    "velocity_max_rad_s": "[1e9, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26]",
    "acceleration_max_rad_s2": "[1e-9, 10, 10, 10, 10, 10, 10]",
    "jerk_max_rad_s3": "[1e9, 5000, 5000, 5000, 5000, 5000, 5000]",
    "torque_max_nm": "[1e9, 87, 87, 87, 12, 12, 12]",
}


@pytest.mark.parametrize(("key", "value"), LOOSE.items())
def test_a_number_that_limits_nothing_is_refused_with_the_reason(tmp_path, key, value):
    text = put(key, value)
    said = refused(tmp_path, text)
    name = key.rpartition(":")[2]
    assert re.search(rf"{name}[0-9.]* is [^;]*; plausible is .* to .* \(.*\)\. Check the unit\.", said)
    assert re.search(r"line \d+", said)


def test_a_jump_within_the_lag_is_still_bounded(tmp_path):
    lag = 'value: 0.2\n    source: "chosen here: how far a limited'
    text = put("command_jump_max_rad", "1.5").replace(lag, lag.replace("0.2", "1.9"))
    assert "command_jump_max_rad is 1.5; plausible is" in refused(tmp_path, text)


def test_a_workspace_without_walls_is_refused(tmp_path):
    for corner in ("1e300", "1e3"):
        text = SOURCE.replace("[0.95, 0.95, 1.40]", f"[{corner}, 0.95, 1.40]")
        assert "workspace.stay_in.max_m.0 is" in refused(tmp_path, text)
    plane = f"planes:\n      - {{name: wall, normal: [1, 0, 0], offset_m: -1e6, {ORIGIN}}}"
    assert "workspace.planes.0.offset_m is -1e+06" in refused(tmp_path, SOURCE.replace("planes: []", plane))


def test_braking_that_never_ends_is_refused(tmp_path):
    text = put("acceleration_max_rad_s2", "[0.1, 10, 10, 10, 10, 10, 10]").replace(
        "[5000, 5000, 5000, 5000, 5000, 5000, 5000]", "[1, 5000, 5000, 5000, 5000, 5000, 5000]"
    )
    assert "within acceleration_max_rad_s2 and jerk_max_rad_s3, more than 30 s" in refused(
        tmp_path, text.replace("[2.62, 2.62, 2.62", "[3.62, 2.62, 2.62")
    )


def test_a_whole_key_or_mode_given_twice_is_refused(tmp_path):
    again = f"  command_age_max_s: {{value: 5.0, {ORIGIN}}}\n"
    text = SOURCE.replace("  state_age_max_s:", again + "  state_age_max_s:", 1)
    assert "key 'command_age_max_s' is given twice" in refused(tmp_path, text)
    mode = SOURCE[SOURCE.index("  automatic:") : SOURCE.index("  collaborative:")]
    assert "key 'automatic' is given twice" in refused(tmp_path, SOURCE + mode)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trust: primary", "trust: model", "a limit never comes from the simulation"),
        ("trust: primary", "trust: gossip", "'primary', 'secondary'"),
        ("    source: \"chosen here: one centimetre", "    source: ' ' #", "should match pattern"),
        ("    not_checked: \"the manufacturer's 1000 Nm/s", "    not_checked: ' ' #", "should match pattern"),
        ("title: Franka Research 3, demonstration cell", 'title: "\\e[2J\\e]0;x\\a evil"', "U+001B"),
        ("title: Franka Research 3, demonstration cell", "title: &t [*t]", "anchor"),
        ("title: Franka Research 3, demonstration cell", "title:", "Input should be a valid string"),
        ("name: cell", 'name: "ce\u202ell"', "U+202E"),
        ("tcp_speed_max_m_s", "tcp_s\u0440eed_max_m_s", "Did you mean"),
        ("schema: robolearn.safety_profile/1", "schema: [a]", "expected robolearn.safety_profile/1"),
        ("schema: robolearn.safety_profile/1", "schema: {a: b}", "expected robolearn.safety_profile/1"),
        ("transient_regions: [chest,", "transient_regions: [" + "chest, " * 200 + "chest,", "at most 100 items"),
        ("planes: []", "planes: [" + f"{{name: x, normal: [1, 0, 0], offset_m: 0, {ORIGIN}}}, " * 200 + "]",
         "at most 100 items"),
    ],
)  # fmt: skip
def test_words_that_are_none(tmp_path, old, new, message):
    assert message in refused(tmp_path, SOURCE.replace(old, new))


EMPTY_MODES = """
schema: robolearn.safety_profile/1
robot: fr3
title: x
risk_assessment_ref: x
common:
modes: {manual_reduced: , automatic: , collaborative: }
"""
NAMES = """alias bomb/recursion/merge/deep list/deep map/tag/number as key/long key/two documents/not utf-8/nul/5 MB/
empty/list/scalar/tabs/no modes/list of modes/no limits"""
BOMB = "".join(f"x{i}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x]\n" + BOMB + SOURCE,
        "x: &x {y: *x}\n" + SOURCE,
        "base: &b {value: 1}\n" + SOURCE.replace("    value: 0.6", "    <<: *b"),
        SOURCE + "\nx: " + "[" * 20_000 + "]" * 20_000 + "\n",
        SOURCE + "\nx: " + "{a: " * 5000 + "1" + "}" * 5000 + "\n",
        SOURCE + "\nx: !!python/object/apply:os.system ['touch PWNED']\n",
        SOURCE + "\n1: 2\n",
        SOURCE + "\n? " + "9" * 5000 + "\n: 1\n",
        SOURCE + "\n---\n" + SOURCE,
        SOURCE.encode() + b"\n# \xff\xfe\n",
        SOURCE.encode() + b"\n\x00\n",
        SOURCE + "\n#" + "x" * 5_000_000,
        "",
        "- 1\n",
        "1\n",
        SOURCE.replace("  ", "\t"),
        SOURCE.split("modes:")[0] + "modes:\n",
        SOURCE.split("modes:")[0] + "modes: [1]\n",
        EMPTY_MODES,
    ],
    ids=NAMES.replace("\n", "").split("/"),
)
def test_a_text_that_is_no_profile(tmp_path, text):
    refused(tmp_path, text)


def test_device_files_and_fifos_are_refused(tmp_path):
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(ProfileError, match="device"):
        SafetyProfile.load(tmp_path / "zero.yaml")


def test_every_number_of_a_profile_has_a_plausible_range_with_its_reason():
    seen = set()
    for name in ("fr3", "ur5e", "iiwa14"):
        for limits in SafetyProfile.load(name).modes.values():
            seen |= {key for key, _, _ in numbers(limits)}
    assert seen - set(RANGES) == set(), "write a line in robolearn/safety/plausible.py"
    for low, high, why in RANGES.values():
        assert low < high
        assert len(why) > 10


@pytest.mark.parametrize("key", RANGES)
def test_no_range_of_a_number_is_so_narrow_that_a_packaged_profile_stands_at_its_edge(key):
    low, high, _ = RANGES[key]
    values = [
        value
        for name in ("fr3", "ur5e", "iiwa14")
        for limits in SafetyProfile.load(name).modes.values()
        for found, _, value in numbers(limits)
        if found == key
    ]
    assert all(low <= value <= high for value in values)
    assert all(low < value < high for value in values if value != 0.0)
