from contextlib import nullcontext

import mujoco
import numpy as np
import pytest
from robolearn_envs.rotations import quat_of, rotation_of

from robolearn.robots.kinematics import few_operations


def turns(count=50):
    quats = np.random.default_rng(0).normal(size=(count, 4))
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


@pytest.mark.parametrize("few", [False, True])
def test_rotations_are_mujocos(few):
    for quat in turns():
        expected = np.zeros(9)
        mujoco.mju_quat2Mat(expected, quat)
        with few_operations() if few else nullcontext():
            found = rotation_of(quat.astype(np.float32))
        np.testing.assert_allclose(found, expected.reshape(3, 3), atol=1e-6)


def test_quaternions_come_back_up_to_their_sign():
    for quat in turns():
        back = np.asarray(quat_of(rotation_of(quat.astype(np.float32))))
        np.testing.assert_allclose(back * np.sign(back @ quat), quat, atol=1e-6)
