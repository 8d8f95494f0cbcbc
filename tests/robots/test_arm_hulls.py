"""The hulls contain what the manufacturers publish, by their margin: bounds, outermost points, at every posture."""

from itertools import product
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from robolearn.errors import RobotError
from robolearn.robots import check_robot, load_robot, robot_names

EXTENTS = yaml.safe_load((Path(__file__).parent / "arm_extents.yaml").read_text())
DIRECTIONS = np.array([way for way in product((-1, 0, 1), repeat=3) if any(way)], float)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1)[:, None]
ROUNDED_M = 1e-4  # of the published numbers
LINKS = [(arm, link) for arm in robot_names() for link in EXTENTS[arm]["links"]]


def bodies_of(arm):
    links = load_robot(arm).file.links
    assert links is not None
    return links.bodies


def hull_of(arm, link):
    hull = next(body.hull for body in bodies_of(arm) if body.name == link)
    assert hull is not None
    return hull


def support(shape):
    """[26] m: how far a shape reaches along each direction."""
    if shape.type == "capsule":
        return (np.array([shape.from_m, shape.to_m]) @ DIRECTIONS.T).max(axis=0) + shape.radius_m
    return DIRECTIONS @ np.array(shape.center_m) + np.abs(DIRECTIONS) @ np.array(shape.half_size_m)


def depth(shape, points):
    """[k] m: how deep each point [k, 3] lies inside a shape; negative outside."""
    if shape.type == "box":
        return (np.array(shape.half_size_m) - np.abs(points - np.array(shape.center_m))).min(axis=1)
    first, way = np.array(shape.from_m), np.array(shape.to_m) - np.array(shape.from_m)
    along = np.clip((points - first) @ way / (way @ way), 0.0, 1.0)
    return shape.radius_m - np.linalg.norm(points - first - along[:, None] * way, axis=1)


def assert_contains(hull, extents):
    reach = np.max([support(shape) for shape in hull.shapes], axis=0)
    assert (reach >= np.array(extents["reach_m"]) + hull.margin_m - ROUNDED_M).all()
    deep = np.max([depth(shape, np.array(extents["points_m"])) for shape in hull.shapes], axis=0)
    assert (deep >= hull.margin_m - ROUNDED_M).all()


@pytest.mark.parametrize(("arm", "link"), LINKS)
def test_a_hull_contains_the_published_geometry_of_its_link_with_its_margin(arm, link):
    hull = hull_of(arm, link)
    assert hull.margin_m >= 0.002
    assert hull.trust in ("computed", "secondary")
    assert_contains(hull, EXTENTS[arm]["links"][link])


@pytest.mark.parametrize("arm", robot_names())
def test_every_link_of_an_arm_has_a_hull_and_published_extents(arm):
    bodies = bodies_of(arm)
    assert (
        [body.name for body in bodies if body.hull] == list(EXTENTS[arm]["links"]) == [b.name for b in bodies]
    )


@pytest.mark.parametrize("arm", robot_names())
def test_at_every_posture_the_published_points_are_inside_what_touches(arm):
    """In the compiled model, with the points placed by the steps of the robot file."""
    robot, rng = load_robot(arm), np.random.default_rng(0)
    model = robot.spec(None).compile()
    data = mujoco.MjData(model)
    low, high = robot.limits.position_min_rad, robot.limits.position_max_rad
    for q in rng.uniform(low, high, (20, robot.dof)):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        for (name, extents), (place, turn) in zip(
            EXTENTS[arm]["links"].items(), placed(robot, q), strict=True
        ):
            points = np.array(extents["points_m"]) @ turn.T + place
            own = [g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body(name).id]
            touching = [g for g in own if model.geom_conaffinity[g]]
            deep = np.max([_depth(model, data, g, points) for g in touching], axis=0)
            assert (deep >= hull_of(arm, name).margin_m - ROUNDED_M).all()


def placed(robot, q):
    """Position and rotation of every link's frame, base first, from the steps of the robot file."""
    place, turn, turns = np.zeros(3), np.eye(3), iter(q)
    yield place, turn
    for step in robot.file.kinematics.steps:
        place = place + turn @ np.array(step.xyz_m)
        turn = turn @ Rotation.from_euler("xyz", step.rpy_rad).as_matrix()
        if step.type == "revolute":
            turn = turn @ Rotation.from_rotvec(next(turns) * np.array(step.axis)).as_matrix()
            yield place, turn


def _depth(model, data, geom, points):
    local, size = (points - data.geom_xpos[geom]) @ data.geom_xmat[geom].reshape(3, 3), model.geom_size[geom]
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:
        return (size - np.abs(local)).min(axis=1)
    beyond = np.maximum(np.abs(local[:, 2]) - size[1], 0.0)
    return size[0] - np.sqrt(local[:, 0] ** 2 + local[:, 1] ** 2 + beyond**2)


def test_the_hull_of_the_fr3s_hand_contains_the_franka_hand_and_our_gripper_at_every_opening():
    robot = load_robot("fr3")
    mount, gripper = robot.file.gripper_mount, robot.gripper.file
    assert mount is not None
    hull = mount.hull
    assert hull is not None
    assert_contains(hull, EXTENTS["fr3"]["hand"])
    parts = [(gripper.palm_center_m, gripper.palm_half_size_m)]
    for opened in (0.0, gripper.width_max_m / 2.0):
        for center, half in (
            (gripper.finger_center_m, gripper.finger_half_size_m),
            (gripper.pad_center_m, gripper.pad_half_size_m),
        ):
            moved = np.add(center, (0.0, opened, 0.0))
            parts += [(moved, half), (moved * (1.0, -1.0, 1.0), half)]
    corners = np.array(list(product((-1.0, 1.0), repeat=3)))
    for center, half in parts:
        inside = [depth(shape, np.array(center) + corners * np.array(half)).min() for shape in hull.shapes]
        assert max(inside) >= hull.margin_m - 1e-9


def test_a_hull_touches_and_is_not_seen_and_the_geometry_is_seen_and_touches_nothing():
    model = load_robot("fr3").spec().compile()
    for g in range(model.ngeom):
        name, touches = model.geom(g).name, bool(model.geom_contype[g] or model.geom_conaffinity[g])
        if not name.startswith("gripper_"):
            assert touches == ("_seen_" not in name) == (model.geom_group[g] == 3)
    hull = [g for g in range(model.ngeom) if model.geom(g).name.startswith("gripper_hull_")]
    assert [(model.geom_group[g], model.geom_conaffinity[g]) for g in hull] == [(3, 0), (3, 0)]


def changed(tmp_path, change):
    data = yaml.safe_load(load_robot("ur5e").path.read_text())
    change(data)
    path = tmp_path / "arm.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_without_hulls_the_geometry_is_what_touches_and_check_says_so(tmp_path):
    def change(data):
        for body in data["links"]["bodies"]:
            del body["hull"]
        data["self_distance"]["pairs"] = [["forearm_link_1", "wrist_1_link"]]

    path = changed(tmp_path, change)
    model = load_robot(path).spec().compile()
    assert bool(model.geom("forearm_link_1").conaffinity[0])
    assert "Link 'forearm_link' has no hull" in " ".join(check_robot(path))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            ["forearm_lnk", "gripper"],
            "self_distance.pairs: Unknown link 'forearm_lnk'.*Did you mean 'forearm_link'",
        ),
        (["forearm_link", "wrist_1_link_1"], "Unknown link 'wrist_1_link_1'"),
        (["forearm_link"], "self_distance.pairs.0"),
    ],
)
def test_a_pair_names_two_links_or_shapes(tmp_path, pair, message):
    path = changed(tmp_path, lambda data: data["self_distance"].update(pairs=[pair]))
    with pytest.raises(RobotError, match=message):
        load_robot(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("margin_m", -0.001, "greater than or equal to 0"),
        ("shapes", [], "at least 1 item"),
        ("colour", 1, "Unknown key"),
    ],
)
def test_a_hull_states_its_margin_and_has_shapes(tmp_path, key, value, message):
    path = changed(tmp_path, lambda data: data["links"]["bodies"][1]["hull"].update({key: value}))
    with pytest.raises(RobotError, match=message):
        load_robot(path)
