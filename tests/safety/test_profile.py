import copy
import hashlib

import numpy as np
import pytest
import yaml

from robolearn.config import config_path
from robolearn.errors import ProfileError
from robolearn.robots import load_robot, robot_names
from robolearn.safety import plausible
from robolearn.safety.mode_limits import CurveTable, compile_limits
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import MODES, Assessed, ModeLimits, NotChecked, SafetyProfile

NAMES = robot_names()


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
            if isinstance(value, Assessed):
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
        (
            ("common", "velocity_max_rad_s", "value"),
            [0.0] * 7,
            "velocity_max_rad_s.0 is 0; plausible is 0.01 to 30",
        ),
        (("common", "jerk_max_rad_s3", "value"), [-1.0] * 7, "jerk_max_rad_s3.0 is -1; plausible is 1"),
        (("common", "position_max_rad", "value"), [-2.8] * 7, "must be below position_max_rad"),
        (("common", "velocity_max_rad_s", "value"), [1.0] * 6, "6 numbers, the others 7"),
        (("common", "position_min_rad", "value"), [-2.0] * 6, "position_min_rad has 6 numbers, the others 7"),
        (("common", "torque_max_nm", "value"), [0.0] * 7, "torque_max_nm.0 is .*; plausible is"),
        (("common", "torque_max_nm", "value"), [-1.0] * 7, "torque_max_nm.0 is .*; plausible is"),
        (
            ("common", "velocity_max_rad_s", "value"),
            [2.62, 2.62, 2.63, 2.62, 5.26, 4.18, 5.26],
            "fr3_joint3 is 2.63",
        ),
        (("common", "position_min_rad", "value"), [-2.75, -1.7, -2.9, -3.0, -2.8, 0.6, -3.0], "looser than"),
        (
            ("common", "acceleration_max_rad_s2", "value"),
            [10, 10, 10, 10, 10, 10, 10.1],
            "looser than the manufacturer",
        ),
        (("common", "command_lag_max_rad", "value"), 0.01, "command_lag_max_rad must not be below"),
        (("modes", "automatic", "tcp_speed_max_m_s", "value"), 5.0, "above link_speed_max_m_s"),
        (
            ("modes", "automatic", "elbow_speed_max_m_s", "value"),
            2.1,
            "elbow_speed_max_m_s is above link_speed",
        ),
        (
            ("modes", "manual_reduced", "tcp_speed_max_m_s", "value"),
            1.7,
            "above the reduced speed.*ISO 10218-1",
        ),
        (
            ("modes", "manual_reduced", "enabling_device", "value"),
            "not_used",
            "2006/42/EC.*Set it to required",
        ),
        (("common", "enabling_device", "value"), "maybe", "enabling_device"),
        (("common", "enabling_device"), "required", "write {value: required, source"),
        (("common",), ["tcp_speed_max_m_s"], "common must hold `limit: ...` lines, not a list"),
        (("common",), "none", "common must hold `limit: ...` lines, not a str"),
        (("modes", "automatic"), [1.0], "modes.automatic must hold `limit: ...` lines, not a list"),
        (("modes",), ["automatic"], "modes must be exactly"),
        (("common", "workspace", "stay_in", "min_m"), [2.0, 0.0, 0.0], "must be below max_m"),
        (("common", "workspace", "stay_in", "max_m"), [float("inf"), 1.0, 1.0], "finite"),
        (("common", "self_distance_min_m", "value"), -0.01, "greater than or equal to 0"),
        (("modes", "collaborative", "contact", "transient_regions"), ["face"], "never allowed"),
        (("modes", "collaborative", "contact", "quasi_static_regions"), ["skull_forehead"], "never allowed"),
        (
            ("modes", "collaborative", "contact", "transient_regions"),
            ["chest", "chesst"],
            "Did you mean 'chest'",
        ),
        (("modes", "collaborative", "contact", "kind"), "brief", "Unknown key 'contact.kind'"),
        (
            ("modes", "collaborative", "contact", "model"),
            "energy",
            "'stricter', 'kinetic_energy' or 'iso_ts_15066'",
        ),
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


ORIGIN = {"source": "s", "trust": "integrator", "risk_assessment_ref": "r"}


@pytest.mark.parametrize("field", ["tcp_speed_max_m_s", "elbow_speed_max_m_s", "link_speed_max_m_s"])
def test_manual_mode_is_reduced_in_every_speed(field):
    changed = data()
    changed["modes"]["manual_reduced"]["link_speed_max_m_s"] = {"value": 0.25, **ORIGIN}
    changed["modes"]["manual_reduced"][field] = {"value": 0.25, **ORIGIN}
    assert load(changed).mode("manual_reduced").tightest_speed_m_s == 0.25
    changed["modes"]["manual_reduced"]["link_speed_max_m_s"] = {"value": 0.2501, **ORIGIN}
    changed["modes"]["manual_reduced"][field] = {"value": 0.2501, **ORIGIN}
    with pytest.raises(
        ProfileError, match=f"manual_reduced: {field} is 0.2501, above the reduced speed of 0.25"
    ):
        load(changed)


def keep_out(low, high):
    return [{"name": "box", "min_m": list(low), "max_m": list(high), **ORIGIN}]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "keep_out",
            keep_out((-0.2, -0.2, 0.0), (0.2, 0.2, 0.5)),
            "fr3_link1_0 is 0.* m inside the keep_out box 'box'",
        ),
        ("keep_out", keep_out((-1, -1, 0), (1, 1, 1.4)), "inside the keep_out box 'box'"),
        (
            "planes",
            [{"name": "wall", "normal": [1, 0, 0], "offset_m": 0.0, **ORIGIN}],
            "beyond the plane 'wall'",
        ),
        (
            "stay_in",
            {"name": "cell", "min_m": [-1, -1, 0], "max_m": [1, 1, 0.5], **ORIGIN},
            "beyond the workspace box 'cell' .z_max.",
        ),
        (
            "stay_in",
            {"name": "cell", "min_m": [0.1, -1, 0], "max_m": [1, 1, 1.4], **ORIGIN},
            "beyond the workspace box 'cell' .x_min.",
        ),
    ],
)
def test_a_cell_in_which_the_arm_may_not_rest_at_home_is_refused(key, value, message):
    changed = data()
    changed["common"]["workspace"][key] = value
    with pytest.raises(
        ProfileError, match=f"mode manual_reduced: the arm may not rest at its home.*{message}"
    ):
        load(changed).check_against(load_robot("fr3"))


def test_a_box_that_the_arm_stands_on_is_no_contradiction():
    changed = data()
    changed["common"]["workspace"]["keep_out"] = keep_out((-0.2, -0.2, -0.5), (0.2, 0.2, 0.1))
    load(changed).check_against(load_robot("fr3"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("position_max_rad", [2.7, -0.9, 2.9, -0.2, 2.8, 4.5, 3.0], "fr3_joint2 at -0.785398 rad is outside"),
        ("self_distance_min_m", 0.5, "m apart, less than self_distance_min_m 0.5"),
    ],
)
def test_limits_that_the_arm_breaks_at_home_are_refused(key, value, message):
    changed = data()
    changed["common"][key]["value"] = value
    with pytest.raises(ProfileError, match=message):
        load(changed).check_against(load_robot("fr3"))


def test_arrays_for_another_number_of_joints_are_refused():
    changed = data("ur5e")
    changed["robot"] = "fr3"
    with pytest.raises(ProfileError, match="6 numbers, fr3 has 7 joints"):
        load(changed).check_against(load_robot("fr3"))


def test_a_tcp_speed_above_the_manufacturers_is_refused():
    changed = data()
    for key in ("tcp_speed_max_m_s", "link_speed_max_m_s"):
        changed["modes"]["automatic"][key]["value"] = 3.5
    with pytest.raises(ProfileError, match="looser than the manufacturer's 3"):
        load(changed).check_against(load_robot("fr3"))


def test_where_the_manufacturer_is_silent_the_number_must_be_called_a_choice():
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
    changed = data()
    changed["common"]["workspace"]["planes"] = [{"name": "w", "normal": [0, 0, 2], "offset_m": 0.0, **ORIGIN}]
    with pytest.raises(ProfileError, match="length 1"):
        load(changed)
    changed["common"]["workspace"]["planes"] = [
        {"name": "cell", "normal": [0, 0, 1], "offset_m": 0.0, **ORIGIN}
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
    low, high = np.minimum(v, 0.0), np.maximum(v, 0.0)
    wide = np.stack((q - 0.01, q + 0.01, low, high))
    wide[:, 3] = np.nan
    together = limits.curve.allows_all(wide)
    np.testing.assert_array_equal(together, [limits.curve.allows(*wide[:, k]) for k in range(len(q))])
    assert 0 < together.sum() < 390
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


@pytest.mark.parametrize("name", NAMES)
def test_quick_answers_along_a_way_are_those_of_the_table_or_of_the_curve(name, monkeypatch):
    robot = load_robot(name)
    limits = compile_limits(SafetyProfile.load(name).mode("automatic"), robot)
    rng, asked, allows = np.random.default_rng(2), [], limits.curve.allows
    monkeypatch.setattr(limits.curve, "allows", lambda *bounds: asked.append(1) or allows(*bounds))
    middle = 0.5 * (limits.position_min_rad + limits.position_max_rad)
    reach = 0.5 * (limits.position_max_rad - limits.position_min_rad)
    allowed, refused = 0, 0
    for k in range(4000):  # from one end to the other and beyond, at speeds around the limit
        q = middle + 1.01 * reach * np.sin(k / 400.0 + np.arange(robot.dof))
        low, high = limits.velocity_bounds(np.clip(q, limits.position_min_rad, limits.position_max_rad))
        v = rng.uniform(0.0, 1.1 if k % 5 else 0.3) * np.where(rng.random(robot.dof) < 0.5, low, high)
        bounds = np.stack((q - 1e-3, q + 1e-3, np.minimum(v, 0.0), np.maximum(v, 0.0)))
        if limits.curve.allows_quickly(bounds):
            allowed += 1
            for at in bounds[:2]:
                low, high = limits.velocity_bounds(at)
                assert (at >= limits.position_min_rad).all()
                assert (at <= limits.position_max_rad).all()
                assert (bounds[2] >= low).all()
                assert (bounds[3] <= high).all()
        else:
            refused += 1
            assert not allows(*bounds)
    assert allowed > 100
    assert refused > 100
    assert len(asked) - refused < 0.8 * allowed  # the others were answered without the table


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
    for joint in range(7):
        above, below = q.copy(), q.copy()
        above[joint] = limits.position_max_rad[joint]  # this end is left to the curve, whatever rounding says
        below[joint] = np.nextafter(limits.position_min_rad[joint], -np.inf)
        assert not limits.curve.allows(q, above, still, still)
        assert not limits.curve.allows(below, q, still, still)
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


@pytest.mark.parametrize(("given", "refused"), [(6.28319, False), (6.2833, True)])
def test_a_limit_of_six_digits_is_no_looser_than_the_same_of_ten(given, refused):
    changed, robot = data("ur5e"), load_robot("ur5e")
    limit = changed["common"]["position_max_rad"]
    limit["value"] = [given, *limit["value"][1:]]
    profile = load(changed, "ur5e")
    if refused:
        with pytest.raises(ProfileError, match=r"is 6.2833, looser than the manufacturer's 6.2831853"):
            profile.check_against(robot)
    else:
        profile.check_against(robot)


def test_a_number_without_a_range_is_not_judged(monkeypatch):
    limits = SafetyProfile.load("fr3").modes["automatic"]
    before = plausible.implausible(limits)
    monkeypatch.setitem(plausible.RANGES, "tcp_speed_max_m_s", (90.0, 99.0, "a test"))
    assert "tcp_speed_max_m_s" in plausible.implausible(limits)[0]
    monkeypatch.delitem(plausible.RANGES, "tcp_speed_max_m_s")
    assert plausible.implausible(limits) == before is None


def test_what_a_joint_can_do_is_the_larger_of_the_manufacturers_limit_and_the_profiles():
    robot = load_robot("fr3")
    published = robot.limits.velocity_rad_s
    mode = SafetyProfile.load("fr3").mode("automatic")
    np.testing.assert_array_equal(compile_limits(mode, robot).velocity_possible_rad_s, published)
    faster = mode.velocity_max_rad_s.model_copy(update={"value": tuple((2.0 * published).tolist())})
    limits = compile_limits(mode.model_copy(update={"velocity_max_rad_s": faster}), robot)
    np.testing.assert_array_equal(limits.velocity_possible_rad_s, 2.0 * published)
