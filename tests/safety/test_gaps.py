"""Distances that are measured only when that matters, beside distances measured every time."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from robolearn.safety import distances as gaps
from robolearn.safety.distances import Gaps

_MODEL = mujoco.MjModel.from_xml_string(
    """
    <mujoco>
      <worldbody>
        <geom name="post" size="0.1"/>
        <body name="cart" pos="0.6 0 0"><joint type="slide" axis="1 0 0"/><geom name="cart" size="0.1"/></body>
        <body name="lift" pos="0.6 0.6 0"><joint type="slide" axis="0 1 0"/><geom name="lift" size="0.1"/></body>
      </worldbody>
    </mujoco>
    """
)
_PAIRS = [("post", "cart"), ("cart", "lift")]
_REACH = np.array([[1.0, 0.0], [1.0, 1.0]])  # no distance changes faster than its joints move
_SLACK, _NEEDED = np.array([0.01, 0.02]), np.array([0.05, 0.1])


def make():
    data = mujoco.MjData(_MODEL)
    geoms = [tuple(_MODEL.geom(name).id for name in pair) for pair in _PAIRS]
    return data, Gaps(_MODEL, data, ["a", "b"], geoms, _REACH, _SLACK, _NEEDED)


def by_hand(joints, swing):
    """What `least` has to answer, from the positions of three spheres."""
    places = {
        "post": np.zeros(2),
        "cart": np.array([0.6 + joints[0], 0.0]),
        "lift": np.array([0.6, 0.6 + joints[1]]),
    }
    left = [np.linalg.norm(places[a] - places[b]) - 0.2 for a, b in _PAIRS] - _SLACK - _REACH @ swing
    worst = int(np.argmin(left - _NEEDED))
    return (worst, left[worst]) if left[worst] < _NEEDED[worst] else None


def ask(data, pairs, joints, swing):
    data.qpos[:] = joints
    mujoco.mj_kinematics(_MODEL, data)
    return pairs.least(joints, swing)


def test_distances_are_those_by_hand_less_the_slack():
    data, pairs = make()
    data.qpos[:] = [0.1, -0.2]
    mujoco.mj_kinematics(_MODEL, data)
    assert pairs.distances() == pytest.approx([0.7 - 0.2 - 0.01, np.hypot(0.1, 0.4) - 0.2 - 0.02])


def test_the_nearest_pair_is_that_of_all_distances_though_few_are_measured(monkeypatch):
    measured, distance = [], mujoco.mj_geomDistance
    monkeypatch.setattr(
        gaps.mujoco, "mj_geomDistance", lambda *arguments: measured.append(1) or distance(*arguments)
    )
    rng, (data, pairs), (_, apart) = np.random.default_rng(1), make(), make()
    joints, seen, count = np.zeros(2), set(), 0
    for cycle in range(2000):
        goal = [-0.35, 0.0] if cycle % 1000 < 500 else [0.0, -0.35]
        joints = joints + 0.01 * (np.array(goal) - joints) + rng.normal(0.0, 0.002, 2)
        data.qpos[:] = apart._data.qpos[:] = joints
        for one in (data, apart._data):
            mujoco.mj_kinematics(_MODEL, one)
        measured.clear()
        pair, least = pairs.nearest(np.arange(2), joints)
        count += len(measured)
        every = apart.distances()
        assert (pair, least) == (int(np.argmin(every)), every.min())
        assert pairs.nearest(np.array([1]), joints) == (1, every[1])
        seen.add(pair)
        assert pairs.nearest(np.arange(2), joints, every.min()) is None
        assert pairs.nearest(np.arange(2), joints, every.min() + 1e-9) == (pair, least)
    assert seen == {0, 1}
    assert count < 1.5 * 2000


class Placed:
    """What `clear_along` asks of an arm."""

    def __init__(self, data):
        self.data = data

    def posture(self, joints):
        self.data.qpos[:] = joints
        mujoco.mj_kinematics(_MODEL, self.data)


def test_a_path_is_clear_where_each_of_its_samples_is(monkeypatch):
    measured, distance = [], mujoco.mj_geomDistance
    monkeypatch.setattr(
        gaps.mujoco, "mj_geomDistance", lambda *arguments: measured.append(1) or distance(*arguments)
    )
    rng, (data, pairs) = np.random.default_rng(2), make()
    path = np.clip(np.cumsum(rng.normal(0.0, 0.008, (3000, 2)), axis=0), -0.42, 0.1)
    swing = rng.uniform(0.0, 0.03, (3000, 2))
    clear = pairs.clear_along(Placed(data), path, swing)
    assert len(measured) < 3000
    expected = np.array([by_hand(*each) is None for each in zip(path, swing, strict=True)])
    assert not clear[~expected].any()
    assert 500 < expected.sum() < 2500
    assert clear[expected].mean() > 0.99


def test_answers_do_not_depend_on_what_was_measured_when(monkeypatch):
    measured, distance = [], mujoco.mj_geomDistance
    monkeypatch.setattr(
        gaps.mujoco, "mj_geomDistance", lambda *arguments: measured.append(1) or distance(*arguments)
    )
    rng, (data, pairs) = np.random.default_rng(0), make()
    joints, nearest = np.zeros(2), []
    for cycle in range(3000):
        # in the second half the other pair comes near
        low, high = ((-0.42, 0.0), (0.0, 0.1)) if cycle < 1500 else ((-0.1, -0.42), (0.1, -0.2))
        joints = np.clip(joints + rng.normal(0.0, 0.008, 2), low, high)
        swing = rng.uniform(0.0, 0.03, 2)
        found, expected = ask(data, pairs, joints, swing), by_hand(joints, swing)
        if expected is None:
            assert found is None
        else:
            nearest.append(expected[0])
            assert found == (expected[0], pytest.approx(expected[1], abs=1e-9))
    assert min(nearest.count(0), nearest.count(1), 3000 - len(nearest)) > 100
    assert len(measured) < 3000  # of 6,000 distances


def test_a_way_through_zero_is_as_long_as_any_other():
    data, pairs = make()
    assert ask(data, pairs, np.array([0.4, 0.0]), np.zeros(2)) is None
    assert ask(data, pairs, np.array([-0.4, 0.0]), np.zeros(2)) == (0, pytest.approx(-0.01))


def test_a_clear_pair_is_not_measured_again_until_the_joints_have_moved_its_room(monkeypatch):
    data, pairs = make()
    assert ask(data, pairs, np.zeros(2), np.zeros(2)) is None
    monkeypatch.setattr(gaps.mujoco, "mj_geomDistance", lambda *_: pytest.fail("measured"))
    # room: 0.4 - 0.06 of the first pair, 0.4 - 0.12 of the second, which both joints can use up
    assert ask(data, pairs, np.array([0.1, -0.17]), np.zeros(2)) is None
    assert ask(data, pairs, np.array([0.1, 0.1]), np.array([0.03, 0.03])) is None
    with pytest.raises(pytest.fail.Exception):
        ask(data, pairs, np.array([0.15, -0.15]), np.zeros(2))
