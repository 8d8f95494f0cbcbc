"""Limits: the published numbers, their sources, and the position-dependent speed limits of the FR3."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from robolearn.errors import RobotError
from robolearn.robots import load_robot, robot_names
from robolearn.robots.limits import FIELDS

SPEED = yaml.safe_load((Path(__file__).parent / "robot_vectors.yaml").read_text())["fr3_speed"]
SETS = ("set_A_docs_2025", "set_B_legacy")


@pytest.mark.parametrize("case", SPEED)
@pytest.mark.parametrize("name", SETS)
def test_fr3_speed_curves_of_each_set(case, name):
    lower, upper = load_robot("fr3").limits.sets[name].velocity_bounds(case["q_rad"])
    np.testing.assert_allclose(upper, case[name]["upper"], atol=6e-6)  # given to five or six places
    np.testing.assert_allclose(lower, case[name]["lower"], atol=6e-6)


@pytest.mark.parametrize("case", SPEED)
def test_fr3_velocity_bounds_are_the_tightest_of_both_sets(case):
    lower, upper = load_robot("fr3").limits.velocity_bounds(case["q_rad"])
    np.testing.assert_allclose(upper, np.min([case[name]["upper"] for name in SETS], axis=0), atol=6e-6)
    np.testing.assert_allclose(lower, np.max([case[name]["lower"] for name in SETS], axis=0), atol=6e-6)


def test_fr3_velocity_bounds_never_exceed_either_set_nor_the_flat_limit():
    limits = load_robot("fr3").limits
    for q in np.random.default_rng(0).uniform(limits.position_min_rad, limits.position_max_rad, (200, 7)):
        lower, upper = limits.velocity_bounds(q)
        both = [limits.sets[name].velocity_bounds(q) for name in SETS]
        np.testing.assert_array_equal(upper, np.minimum(both[0][1], both[1][1]))
        np.testing.assert_array_equal(lower, np.maximum(both[0][0], both[1][0]))
        assert (lower <= 0).all()
        assert (upper >= 0).all()
        assert (upper <= limits.velocity_rad_s).all()


def test_fr3_may_not_move_outward_beyond_its_range():
    limits = load_robot("fr3").limits
    assert not limits.velocity_bounds(limits.position_max_rad + 0.1)[1].any()
    assert not limits.velocity_bounds(limits.position_min_rad - 0.1)[0].any()


def test_fr3_positions_are_the_intersection_of_both_sets():
    limits = load_robot("fr3").limits
    a, b = (limits.sets[name] for name in SETS)
    np.testing.assert_array_equal(limits.position_min_rad, np.maximum(a.position_min_rad, b.position_min_rad))
    np.testing.assert_array_equal(limits.position_max_rad, np.minimum(a.position_max_rad, b.position_max_rad))
    assert "set_C_rectangular" in limits.sets


def test_flat_limits_where_no_curve_is_published():
    limits = load_robot("ur5e").limits
    lower, upper = limits.velocity_bounds(np.zeros(6))
    np.testing.assert_array_equal(upper, limits.velocity_rad_s)
    np.testing.assert_array_equal(lower, -limits.velocity_rad_s)


def test_what_the_manufacturers_do_not_publish_is_none_with_a_reason():
    ur5e, iiwa = load_robot("ur5e").limits, load_robot("iiwa14").limits
    assert ur5e.acceleration_rad_s2 is None
    assert ur5e.jerk_rad_s3 is None
    assert iiwa.jerk_rad_s3 is None
    assert "UR publishes none" in ur5e.source("acceleration_rad_s2")
    assert ur5e.trust("acceleration_rad_s2") == "none"


@pytest.mark.parametrize("arm", robot_names())
def test_limits_are_read_only_and_of_the_right_length(arm):
    robot = load_robot(arm)
    for name in FIELDS:
        values = getattr(robot.limits, name)
        assert robot.limits.source(name)
        if values is not None:
            assert values.shape == (robot.dof,)
            assert values.dtype == np.float64
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 1.0


def test_an_unknown_limit_is_refused_with_the_nearest_name():
    with pytest.raises(RobotError, match="Did you mean 'torque_nm'"):
        load_robot("fr3").limits.source("torque_n")


def numbers_without_source(node, path=""):
    """Paths of mappings that hold a `value` but no source and trust, or a null value but no note."""
    if isinstance(node, dict):
        if "value" in node:
            bare = not (node.get("source") and node.get("trust"))
            if bare or (node["value"] is None and not node.get("note")):
                yield path
        for key, child in node.items():
            yield from numbers_without_source(child, f"{path}.{key}")
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from numbers_without_source(child, f"{path}.{index}")


@pytest.mark.parametrize("arm", robot_names())
def test_every_number_has_a_source_and_every_null_a_note(arm):
    data = yaml.safe_load(load_robot(arm).path.read_text())
    assert list(numbers_without_source(data)) == []
    blocks = [data["kinematics"], data["servo"], data["gripper_mount"], data["ros"]]
    blocks += [data["links"]["inertia_source"], data["links"]["geometry_source"]]
    blocks += list(data["limits"].get("sets", {}).values())
    assert all(block["source"] and block["trust"] for block in blocks)
