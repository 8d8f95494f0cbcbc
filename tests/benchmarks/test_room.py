"""What each task keeps for contacts and constraints is what its episodes need, with a margin."""

import jax
import numpy as np
import pytest

from benchmarks.room import LEAST, Near, enough, needed
from robolearn.env.task import load_task, task_classes, task_names
from robolearn.env.vec_env import make
from robolearn.sim.physics import Room

MEASURED = [name for name in task_names() if load_task(name).robot.name in load_task(name).rooms]


def test_every_task_was_measured_with_an_arm():
    assert {name.split("/")[1] for name in MEASURED} == set(task_classes())


def test_a_robot_that_was_not_measured_has_plenty(monkeypatch):
    monkeypatch.setattr(task_classes()["push"], "rooms", {"other": Room(1, 1)})
    assert load_task("fr3/push").room == Room(48, 200)


def test_the_margin():
    assert enough(Room(12, 65)) == Room(20, 104)
    assert enough(Room(1, 1)) == LEAST


@pytest.mark.slow
def test_warp_counts_what_touches_and_what_is_near():
    env = make("fr3/push", 2, "native")
    state = jax.jit(env.reset)(jax.random.key(0))
    state = jax.jit(env.step)(state, jax.numpy.zeros((2, env.action_size)))  # at first it may only just touch
    near = Near(env)
    on_the_table = near.look(state)
    height = env.model.joint("box").qposadr[0] + 2
    raised = state.physics.replace(qpos=state.physics.qpos.at[:, height].set(1.0))
    in_the_air = near.look(state.replace(physics=raised))
    assert on_the_table.contacts >= 4, "a box touches the table at its corners"
    assert on_the_table.rows >= in_the_air.rows + 4


@pytest.mark.proof
@pytest.mark.parametrize("name", MEASURED)
def test_whole_episodes_need_no_more_than_was_measured(name):
    """The rooms are `enough` of what `benchmarks/room.py` found; other numbers of environments find no more."""
    most = needed(name, num_envs=48, every=10)
    assert np.all(np.array(enough(most)) <= np.array(load_task(name).room))
