"""Recordings from which nothing can be fitted are refused in one sentence that says why."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import plant_in_class, record

from robolearn.data.motion import Stream
from robolearn.errors import DataError
from robolearn.robots import load_robot
from robolearn.sysid.checks import check, usable_effort

ROBOT = load_robot("ur5e")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def motion():
    return record(plant_in_class(ROBOT), effort=True, duration_s=9.0)


def _with_command(motion, values):
    return replace(motion, command=Stream(motion.command.time_s, {"position_rad": values}))


def test_a_good_recording_passes_with_its_joints_in_the_arms_order(motion):
    turned = motion.for_joints(motion.joint_names[::-1])
    back = check(turned, ROBOT)
    assert back.joint_names == ROBOT.joint_names
    assert (back.measured.values["position_rad"] == motion.measured.values["position_rad"]).all()


def test_another_arm_is_refused(motion):
    with pytest.raises(DataError, match="is of the arm 'fr3', not of 'ur5e'"):
        check(replace(motion, robot="fr3"), ROBOT)
    renamed = replace(motion, joint_names=tuple(f"fr3_joint{i}" for i in range(6)))
    with pytest.raises(
        DataError, match="does not record every joint of the arm. Unknown joint 'shoulder_pan_joint'"
    ):
        check(renamed, ROBOT)


def test_three_seconds_are_too_few():
    with pytest.raises(DataError, match=r"has 3\.0 s of commands and measurements together, at least 8 s"):
        check(record(plant_in_class(ROBOT), duration_s=3.0), ROBOT)


def test_a_recording_without_motion_is_refused(motion):
    still = np.tile(motion.command.values["position_rad"][:1], (len(motion.command.time_s), 1))
    with pytest.raises(DataError, match="contains no motion"):
        check(_with_command(motion, still), ROBOT)


def test_a_joint_that_never_moves_is_named(motion):
    values = motion.command.values["position_rad"].copy()
    values[:, 4] = values[0, 4]
    with pytest.raises(DataError, match=r"a plant: wrist_2_joint never moves"):
        check(_with_command(motion, values), ROBOT)


def test_a_joint_that_does_not_follow_is_named(motion):
    values = dict(motion.measured.values)
    values["position_rad"] = values["position_rad"].copy()
    values["position_rad"][:, 2] = 0.3
    with pytest.raises(DataError, match="elbow_joint does not follow its commands"):
        check(replace(motion, measured=Stream(motion.measured.time_s, values)), ROBOT)


def test_effort_needs_a_unit(motion):
    assert usable_effort([motion])
    with pytest.raises(DataError, match="effort without a unit"):
        usable_effort([replace(motion, effort_unit=None)])
    assert not usable_effort([replace(motion, effort_unit="A")])


def test_identification_reads_no_plant():
    """What is fitted to comes from the log alone."""
    for path in (ROOT / "robolearn/sysid").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        assert not {name for name in names if name and ("plant" in name or name.startswith("robolearn.sim"))}
        assert "plants/" not in path.read_text("utf-8")
