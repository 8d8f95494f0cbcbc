"""When an expert takes a cube as held: by the fingers' width and the command together, whatever the fingers' lag."""

import jax.numpy as jnp
import numpy as np
import pytest
from robolearn_envs.table import GRASP_UP_M, GRASPED_M, GRIP_M

from robolearn.env.task import load_task

AT_IT, LINED_UP = jnp.array([0.0, 0.0, -GRASP_UP_M]), jnp.array([0.0, 1.0])


@pytest.fixture(scope="module")
def task():
    return load_task("fr3/pick_cube")


@pytest.mark.parametrize("width", [0.080, 0.060, 0.050, 0.047])
def test_fingers_that_trail_the_command_hold_nothing_and_close_on(task, width):
    action, held = task.grasp_advice(AT_IT, LINED_UP, width, 0.016)
    assert held == 0.0
    assert action[-1] == -1.0  # closing
    np.testing.assert_allclose(action[:3], 0.0, atol=1e-6)  # and waiting for them


def test_fingers_at_the_cube_with_the_command_well_inside_it_hold_it(task):
    action, held = task.grasp_advice(AT_IT, LINED_UP, GRASPED_M, GRIP_M)
    assert held == 1.0
    assert action[-1] == 0.0  # firm enough


def test_fingers_at_the_width_of_the_cube_without_a_command_inside_it_do_not(task):
    assert task.grasp_advice(AT_IT, LINED_UP, GRASPED_M, 0.005)[1] == 0.0


def test_a_cube_that_is_not_between_the_fingers_is_not_held(task):
    away = AT_IT + jnp.array([0.0, 0.0, -0.04])
    assert task.grasp_advice(away, LINED_UP, GRASPED_M, GRIP_M)[1] == 0.0
