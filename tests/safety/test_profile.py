import copy
import hashlib

import numpy as np
import pytest
import yaml

from robolearn.config import config_path
from robolearn.errors import ProfileError
from robolearn.robots import load_robot
from robolearn.safety.limits import CurveTable, compile_limits
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import MODES, ModeLimits, NotChecked, Number, Numbers, SafetyProfile

NAMES = ["fr3", "ur5e", "iiwa14"]


def data(name="fr3"):
    return yaml.safe_load(config_path(f"safety/{name}.yaml").read_text())


def load(changed, name="fr3"):
    return SafetyProfile.from_data(changed, name, "0" * 64)


@pytest.mark.parametrize("name", NAMES)
def test_every_packaged_profile_fits_its_robot(name):
    profile, robot = SafetyProfile.load(name), load_robot(name)
    profile.check_against(robot)
    assert set(profile.modes) == set(MODES)
    for mode in MODES:
        assert SafetyMonitor(robot, profile, mode).mode == mode


@pytest.mark.parametrize("name", NAMES)
def test_the_digest_is_that_of_the_file(name):
    path = config_path(f"safety/{name}.yaml")
    assert SafetyProfile.load(name).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert SafetyProfile.load(path).digest == SafetyProfile.load(str(path)).digest


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source_a_trust_level_and_a_risk_assessment(name):
    for limits in SafetyProfile.load(name).modes.values():
        for field in ModeLimits.model_fields:
            value = getattr(limits, field)
            if isinstance(value, (Number, Numbers)):
                assert value.source
                assert value.trust
                assert value.risk_assessment_ref
            elif isinstance(value, NotChecked):
                assert value.not_checked
                assert value.risk_assessment_ref


def test_arrays_are_read_only():
    array = SafetyProfile.load("fr3").mode("automatic").velocity_max_rad_s.array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 9.0


@pytest.mark.parametrize("field", list(ModeLimits.model_fields))
def test_a_missing_limit_is_refused_by_name(field):
    changed = data()
    changed["common"].pop(field, None)
    for mode in changed["modes"].values():
        mode.pop(field, None)
    with pytest.raises(ProfileError, match=f"key '{field}' is missing"):
        load(changed)


@pytest.mark.parametrize("part", ["value", "source", "trust", "risk_assessment_ref"])
def test_a_number_without_its_origin_is_refused(part):
    changed = data()
    del changed["common"]["command_age_max_s"][part]
    with pytest.raises(ProfileError, match=f"command_age_max_s.{part}"):
        load(changed)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("common", "command_age_max_s", "value"), -1.0, "greater than 0"),
        (("common", "command_age_max_s", "value"), float("nan"), "finite"),
        (("common", "command_age_max_s", "value"), float("inf"), "finite"),
        (("common", "command_age_max_s", "trust"), "certain", "trust"),
        (("common", "command_age_max_s", "source"), "", "at least 1"),
        (("common", "velocity_max_rad_s", "value"), [float("inf")] * 7, "finite"),
        (("common", "velocity_max_rad_s", "value"), [0.0] * 7, "above zero"),
        (("common", "jerk_max_rad_s3", "value"), [-1.0] * 7, "above zero"),
        (("common", "position_max_rad", "value"), [-2.8] * 7, "must be below position_max_rad"),
        (("common", "velocity_max_rad_s", "value"), [1.0] * 6, "6 numbers, fr3 has 7 joints"),
        (
            ("common", "velocity_max_rad_s", "value"),
            [2.62, 2.62, 2.63, 2.62, 5.26, 4.18, 5.26],
            "fr3_joint3 is 2.63",
        ),
        (("common", "position_min_rad", "value"), [-2.75, -1.7, -2.9, -3.0, -2.8, 0.6, -3.0], "looser than"),
        (
            ("common", "acceleration_max_rad_s2", "value"),
            [10, 10, 10, 10, 10, 10, 10.1],
            "looser than the maker",
        ),
        (("common", "command_lag_max_rad", "value"), 0.01, "command_lag_max_rad must not be below"),
        (("modes", "automatic", "tcp_speed_max_m_s", "value"), 5.0, "above link_speed_max_m_s"),
        (("common", "enabling_device"), "maybe", "enabling_device"),
        (("common", "workspace", "stay_in", "min_m"), [2.0, 0.0, 0.0], "must be below max_m"),
        (("common", "workspace", "stay_in", "max_m"), [float("inf"), 1.0, 1.0], "finite"),
        (("common", "self_distance_min_m", "value"), -0.01, "greater than or equal to 0"),
        (("modes", "collaborative", "contact", "regions"), ["face"], "never allowed"),
        (("modes", "collaborative", "contact", "regions"), ["skull_forehead"], "never allowed"),
        (("modes", "collaborative", "contact", "regions"), ["chest", "chesst"], "Did you mean 'chest'"),
        (("modes", "collaborative", "contact", "kind"), "brief", "contact"),
        (("robot",), "ur5e", "is for robot 'ur5e', not for 'fr3'"),
        (("schema",), "robolearn.safety_profile/0", "expected robolearn.safety_profile/1"),
    ],
)
def test_impossible_contradictory_and_looser_values_are_refused(path, value, message):
    changed = data()
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ProfileError, match=message):
        load(changed).check_against(load_robot("fr3"))


def test_a_tcp_speed_above_the_makers_is_refused():
    changed = data()
    for key in ("tcp_speed_max_m_s", "link_speed_max_m_s"):
        changed["modes"]["automatic"][key]["value"] = 3.5
    with pytest.raises(ProfileError, match="looser than the maker's 3"):
        load(changed).check_against(load_robot("fr3"))


def test_where_the_maker_is_silent_the_number_must_be_called_a_choice():
    changed = data("ur5e")
    changed["common"]["jerk_max_rad_s3"]["trust"] = "primary"
    with pytest.raises(ProfileError, match="publishes no jerk_rad_s3"):
        load(changed, "ur5e").check_against(load_robot("ur5e"))


def test_unknown_keys_and_modes_are_refused_with_the_nearest():
    changed = data()
    changed["common"]["tcp_sped_max_m_s"] = changed["modes"]["automatic"]["tcp_speed_max_m_s"]
    with pytest.raises(ProfileError, match="Did you mean 'tcp_speed_max_m_s'"):
        load(changed)
    changed = data()
    changed["mode"] = {}
    with pytest.raises(ProfileError, match="Did you mean 'modes'"):
        load(changed)
    changed = data()
    del changed["modes"]["collaborative"]
    with pytest.raises(ProfileError, match="modes must be exactly"):
        load(changed)
    with pytest.raises(ProfileError, match="Did you mean 'automatic'"):
        load(data()).mode("automatc")


def test_planes_need_unit_normals_and_regions_names_of_their_own():
    origin = {"source": "s", "trust": "integrator", "risk_assessment_ref": "r"}
    changed = data()
    changed["common"]["workspace"]["planes"] = [{"name": "w", "normal": [0, 0, 2], "offset_m": 0.0, **origin}]
    with pytest.raises(ProfileError, match="length 1"):
        load(changed)
    changed["common"]["workspace"]["planes"] = [
        {"name": "cell", "normal": [0, 0, 1], "offset_m": 0.0, **origin}
    ]
    with pytest.raises(ProfileError, match="name of its own"):
        load(changed)


def test_a_mode_replaces_what_is_common():
    changed = data()
    changed["modes"]["automatic"]["command_age_max_s"] = {
        **changed["common"]["command_age_max_s"],
        "value": 0.02,
    }
    profile = load(changed)
    assert profile.mode("automatic").command_age_max_s.value == 0.02
    assert profile.mode("collaborative").command_age_max_s.value == 0.05


def test_missing_files_and_bad_yaml_are_profile_errors(tmp_path):
    with pytest.raises(ProfileError, match="Did you mean 'safety/fr3.yaml'"):
        SafetyProfile.load("fr33")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    with pytest.raises(ProfileError, match="not valid YAML"):
        SafetyProfile.load(bad)


def test_overriding_nothing_leaves_the_file_as_it_was():
    before = data()
    load(copy.deepcopy(before))
    assert data() == before


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_table_never_allows_what_the_curve_does_not(name):
    robot = load_robot(name)
    limits = compile_limits(SafetyProfile.load(name).mode("automatic"), robot)
    rng = np.random.default_rng(0)
    quick = 0
    for _ in range(2000):
        q = rng.uniform(limits.position_min_rad, limits.position_max_rad)
        low, high = limits.velocity_bounds(q)
        v = rng.uniform(0, 1.05) * np.where(rng.random(robot.dof) < 0.5, low, high)
        if limits.curve.allows(q, q, v, v):
            quick += 1
            assert (v >= low).all()
            assert (v <= high).all()
        assert limits.curve.allows_each(q[None], v[None])[0] == limits.curve.allows(q, q, v, v)
    assert quick > 500


@pytest.mark.parametrize("name", NAMES)
def test_the_curve_table_answers_for_each_of_many(name):
    robot = load_robot(name)
    limits = compile_limits(SafetyProfile.load(name).mode("automatic"), robot)
    rng = np.random.default_rng(1)
    q = rng.uniform(limits.position_min_rad, limits.position_max_rad, (400, robot.dof))
    q[0], q[1] = limits.position_min_rad, limits.position_max_rad  # the first cell, and just past the last
    bounds = np.array([limits.velocity_bounds(at) for at in q])
    v = rng.uniform(0.6, 1.02, (400, 1)) * np.where(rng.random(q.shape) < 0.5, bounds[:, 0], bounds[:, 1])
    v[2:100] *= 0.5
    found = limits.curve.allows_each(q, v)
    alone = [limits.curve.allows(at, at, speed, speed) for at, speed in zip(q, v, strict=True)]
    np.testing.assert_array_equal(found[2:], alone[2:])
    assert (~found | ((v >= bounds[:, 0]) & (v <= bounds[:, 1])).all(axis=1)).all()
    assert 90 < found.sum() < 390


def test_a_cell_of_the_curve_table_by_hand():
    # the upper limit falls from 2 to 1 and the lower from -1 to -2: 512 cells, each as strict as its worst end
    table = CurveTable(np.zeros(1), np.ones(1), lambda q: (-1.0 - q, 2.0 - q))
    cells = len(table._upper)
    below, slow, fast = np.full((1, 1), -0.5), np.full((1, 1), -1.0), np.full((1, 1), -1.5)
    assert table.allows_each(below, slow)[
        0
    ]  # off the table it is the nearest cell that answers, not the other end
    assert not table.allows_each(below, fast)[0]
    for cell in (0, 1, cells // 2, cells - 1):
        q = np.full((1, 1), (cell + 0.5) / cells)
        lower, upper = -1.0 - cell / cells, 2.0 - (cell + 1) / cells
        for v, allowed in ((upper, True), (lower, True), (upper + 1e-9, False), (lower - 1e-9, False)):
            assert table.allows_each(q, np.full((1, 1), v))[0] == allowed
            assert table.allows(q[0], q[0], np.full(1, v), np.full(1, v)) == allowed


def test_limits_are_those_of_the_profile():
    mode = SafetyProfile.load("fr3").mode("automatic")
    limits = compile_limits(mode, load_robot("fr3"))
    np.testing.assert_array_equal(limits.acceleration_max_rad_s2, mode.acceleration_max_rad_s2.array)
    np.testing.assert_array_equal(limits.jerk_max_rad_s3, mode.jerk_max_rad_s3.array)
    assert limits.source("jerk_max_rad_s3") == mode.jerk_max_rad_s3.source


def test_positions_off_the_table_are_never_allowed():
    limits = compile_limits(SafetyProfile.load("fr3").mode("automatic"), load_robot("fr3"))
    q, still = load_robot("fr3").home_rad, np.zeros(7)
    assert limits.curve.allows(q, q, still, still)
    lowest = limits.position_min_rad
    assert (
        limits.curve.allows(lowest, lowest, still, still) == (limits.velocity_bounds(lowest)[1] >= 0.0).all()
    )
    assert not limits.curve.allows(q - 9.0, q, still, still)
    assert not limits.curve.allows(q, q + 9.0, still, still)
    assert not limits.curve.allows(q * np.nan, q * np.nan, still, still)


def test_a_curve_that_does_not_fall_is_never_read_from_the_table():
    half, end = np.full(1, 0.5), np.full(1, 0.999)
    for limits_at in (lambda q: (-1.0 - q, 1.0 + q), lambda q: (q - 2.0, 2.0 - q)):
        table = CurveTable(np.zeros(1), np.ones(1), limits_at)
        for at in (half, end):
            assert not table.allows(at, at, half, half)
            assert not table.allows(at, at, -half, -half)
            assert not table.allows_each(at[None], -half[None])[0]
