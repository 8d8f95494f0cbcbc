"""The table of sources: what a robot can provide, checked when a slot is made."""

import json

import policy_standin
import pytest
import rfc8785

from robolearn.env.task import load_task, task_names
from robolearn.errors import BundleError
from robolearn.policy.bundle import Manifest
from robolearn.policy.slots import Slot
from robolearn.policy.sources import SOURCES, SlotError, find_source


@pytest.mark.parametrize(("shape", "unit", "source", "message"), [
    ((1,), "m", "goal.height.above", "Unknown source 'goal.height.above'"),
    ((3,), "m", "pose.cube.height", "Unknown source 'pose.cube.height'. Available: goal.<name>"),
    ((7,), "deg", "joint_state.position", "is in 'deg', but joint_state.position comes in 'rad'"),
    ((3,), "mm", "goal.position", "is in 'mm', but goal.position comes in 'm'"),
    ((2,), "m", "goal.position", r"has shape \[2\], but goal.position has \[3\]"),
    ((3,), "1", "pose.cube.orientation", r"has shape \[3\], but pose.cube.orientation has \[4\]"),
    ((7, 1), "rad", "joint_state.position", "has one value per joint"),
])  # fmt: skip
def test_a_slot_that_no_robot_can_provide_is_refused_when_it_is_made(shape, unit, source, message):
    with pytest.raises(SlotError, match=message):
        Slot("slot", shape, unit, source)


def test_a_goal_of_any_kind_has_a_source():
    slot = Slot("height", (1,), "m", "goal.height")
    assert find_source(slot.source).message == "std_msgs/Float64MultiArray"


@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("fr3/")])
def test_every_slot_of_every_task_is_in_the_table(name):
    task = load_task(name)
    for slot in (*task.slots, *task.goal_slots):
        assert find_source(slot.source).message, slot


def test_every_row_that_a_robot_provides_names_message_and_topic():
    for row in SOURCES:
        assert row.description
        assert bool(row.message) == bool(row.topic) == (row.name not in ("zeros", "policy"))


def test_a_bundle_whose_manifest_claims_another_unit_is_refused(tmp_path):
    data = json.loads(policy_standin.export(tmp_path).manifest.to_bytes())
    data["slots"][0]["unit"] = "deg"
    with pytest.raises(BundleError, match="is in 'deg', but joint_state.position comes in 'rad'"):
        Manifest.from_bytes(rfc8785.dumps(data), "x.robolearn")
