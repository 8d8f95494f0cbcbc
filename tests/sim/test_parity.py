"""Engines over motions that reach contact: single motions part by rounding, their averages do not.

The step-wise comparison of a tenth of a second is in `test_engines.py`; what is compared here, and how far it may be
apart, in `benchmarks/parity.py`.
"""

import numpy as np
import pytest

from benchmarks.parity import Played, parted, play
from robolearn.env.task import task_classes

IN_CONTACT = sorted(set(task_classes()) - {"reach", "reach_pose"})


def played(achieved=0.5, force=4.0, moved=0.1, failed=0, overflow=0, num_envs=80):
    ones = np.ones(num_envs)
    flags = [np.arange(num_envs) < n for n in (num_envs * achieved, failed, overflow)]
    return Played(flags[0], force * ones, moved * ones, flags[1], flags[2])


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"force": 4.3, "moved": 0.108}, None),
        ({"achieved": 0.75}, "achieved"),
        ({"force": 4.5}, "force"),
        ({"force": np.nan}, "force"),
        ({"moved": 0.12}, "moved"),
        ({"failed": 1}, "failed in 1 env"),
        ({"overflow": 2}, "overflow in 2 env"),
    ],
)
def test_what_is_too_far_apart_is_named(changes, wrong):
    found = parted(played(), played(**changes)).wrong
    if wrong is None:
        assert found == ()
    else:
        assert len(found) == 1
        assert found[0].startswith(wrong)


def test_a_difference_is_wrong_only_where_its_interval_lies_outside_of_what_is_allowed():
    def with_one_object_in_eight_knocked_away(num_envs):
        native = played(num_envs=num_envs)
        force = np.where(np.arange(num_envs) % 8 == 0, 10.0, 4.0)
        return parted(native, native._replace(force=force))

    found = [*map(with_one_object_in_eight_knocked_away, (8, 800)), parted(played(), played())]
    assert [(bool(one.wrong), one.open) for one in found] == [(False, ("force",)), (True, ()), (False, ())]
    assert found[0].difference["force"] == pytest.approx((0.75 - 2.365 * 0.75, 0.75 + 2.365 * 0.75), abs=1e-3)
    assert [one.verdict()[:11] for one in found] == ["not decided", "force: +0.6", "agrees"]


@pytest.mark.slow
def test_warp_pushes_a_box_as_native_does_for_a_fifth_of_a_second():
    native, warp = (play("fr3/push", engine, num_envs=4, periods=10) for engine in ("native", "warp"))
    assert native.force.min() > 0.5, "the box stands on the table"
    assert parted(native, warp).wrong == ()


@pytest.mark.proof
@pytest.mark.parametrize("engine", ["warp", "jax"])
@pytest.mark.parametrize("name", IN_CONTACT)
def test_engines_agree_over_two_seconds_of_contact(name, engine):
    native = play(f"fr3/{name}", "native", num_envs=32, periods=100)
    assert native.force.mean() > 0.1
    assert native.moved.mean() > 0.005
    assert parted(native, play(f"fr3/{name}", engine, num_envs=32, periods=100)).wrong == ()
