"""Where the manufacturers' meshes of two links touch, the monitor refuses the arm; which pairs it watches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from safety_rig import DT, profile_with

from robolearn.errors import ProfileError, RobotError
from robolearn.robots import load_robot, robot_names
from robolearn.robots.schema import SelfDistance
from robolearn.safety.arm_model import ArmModel
from robolearn.safety.monitor import SafetyMonitor
from robolearn.safety.profile import Box
from robolearn.safety.types import Measured, Surroundings

EXTENTS = yaml.safe_load((Path(__file__).parents[1] / "robots" / "arm_extents.yaml").read_text())
TOUCHING = [(arm, posture) for arm in robot_names() for posture in EXTENTS[arm]["touching"]]
CELL = Box(
    name="hall",
    min_m=(-9, -9, -9),
    max_m=(9, 9, 9),
    source="test",
    trust="integrator",
    risk_assessment_ref="RA",
)


@pytest.mark.parametrize(("arm", "posture"), TOUCHING)
def test_two_links_whose_meshes_touch_are_nearer_than_the_profile_allows(arm, posture):
    model = ArmModel(load_robot(arm), {}, "parallel")
    q = np.array(posture["posture_rad"])
    model.posture(q)
    gaps = model.gaps(0.01)
    first, second = posture["links"]
    watched = [k for k, name in enumerate(gaps.names) if first in name and second in name]
    assert watched
    assert gaps.distances()[watched].min() < 0.0
    assert gaps.least(q, np.zeros(model.dof)) is not None


@pytest.mark.parametrize(
    ("arm", "links"),
    [("fr3", ["fr3_link2", "fr3_link5"]), ("ur5e", ["forearm_link", "wrist_3_link"]),
     ("ur5e", ["upper_arm_link", "wrist_1_link"])],
)  # fmt: skip
def test_the_monitor_refuses_to_start_where_two_links_touch(arm, links):
    robot = load_robot(arm)
    workspace = profile_with(arm).mode("automatic").workspace.model_copy(update={"stay_in": CELL})
    monitor = SafetyMonitor(robot, profile_with(arm, workspace=workspace), "automatic", DT)
    postures = [given["posture_rad"] for given in EXTENTS[arm]["touching"] if given["links"] == links]
    assert postures
    for posture in postures:
        monitor = SafetyMonitor(robot, profile_with(arm, workspace=workspace), "automatic", DT)
        for k in range(12):
            now = 100.0 + k * DT
            measured = Measured(robot.joint_names, np.array(posture), np.zeros(robot.dof), now)
            monitor.check((), measured, Surroundings(6.0, now, enabling_device=True), now)
        answer = monitor.start(now, measured, "test")
        assert not answer.accepted
        assert "self_distance" in answer.text


def pairs(robot, gripper: str | None = "parallel"):
    return {tuple(name.split(" - ")) for name in ArmModel(robot, {}, gripper).gaps(0.01).names}


def test_named_pairs_of_near_links_are_watched_and_other_near_ones_are_not():
    robot = load_robot("ur5e")
    watched = pairs(robot)
    assert ("base_0", "upper_arm_link_1") in watched
    assert ("upper_arm_link_0", "wrist_1_link_0") in watched
    assert ("wrist_1_link_0", "gripper_palm") in watched
    assert not watched & {("base_0", "upper_arm_link_0"), ("shoulder_link_0", "upper_arm_link_0"),
                          ("wrist_2_link_0", "gripper_palm")}  # fmt: skip
    assert not any("gripper" in name for pair in pairs(robot, None) for name in pair)


def test_a_hull_of_the_gripper_is_watched_instead_of_its_parts():
    robot = load_robot("fr3")
    held = {name for pair in pairs(robot) for name in pair if name.startswith("gripper_")}
    assert held == {"gripper_hull_0", "gripper_hull_1"}
    bare = replace(robot, gripper=replace(robot.gripper, hull=()))
    held = {name for pair in pairs(bare) for name in pair if name.startswith("gripper_")}
    assert {"gripper_palm", "gripper_left_finger", "gripper_right_pad"} <= held


def test_a_pair_that_the_model_does_not_have_is_refused():
    robot = load_robot("ur5e")
    named = SelfDistance(source="test", trust="model", pairs=[["forearm_link", "hand"]])
    wrong = replace(robot, file=robot.file.model_copy(update={"self_distance": named}))
    with pytest.raises(RobotError, match="names 'hand', which is not a link.*Links: base, shoulder_link"):
        ArmModel(wrong, {}, None).gaps(0.01)


def test_an_arm_with_a_link_that_has_no_shape_to_watch_is_refused(tmp_path):
    data = yaml.safe_load(load_robot("ur5e").path.read_text())
    forearm = next(link for link in data["links"]["bodies"] if link["name"] == "forearm_link")
    forearm["hull"], forearm["geometry"] = None, []
    data["self_distance"] = None
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(
        ProfileError,
        match="Link 'forearm_link' has a mass and no geometry, which .* cannot check.*hulls bare.yaml",
    ):
        ArmModel(load_robot(tmp_path / "bare.yaml"), {}, "parallel")
