"""An engine whose buffers are too small for a world's contacts says so, and only that world's episode fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import robolearn
from robolearn.env.task import task_classes
from robolearn.sim.physics import Room


@pytest.mark.slow
def test_a_world_without_room_for_its_contacts_is_counted_and_ends_as_failed(monkeypatch):
    """Room for fewer constraint rows than a box on the table has; in world 0 the box is in the air and has none."""
    monkeypatch.setattr(task_classes()["push"], "rooms", {"fr3": Room(contacts=48, rows=8)})
    env = robolearn.make("fr3/push", 2, "warp", {"randomization": {"action_delay_ms": [0.0, 0.0]}})
    state = jax.jit(env.reset)(jax.random.key(0))
    height = env.model.joint("box").qposadr[0] + 2
    state = state.replace(physics=state.physics.replace(qpos=state.physics.qpos.at[0, height].set(1.0)))
    after = jax.jit(env.step)(state, jnp.zeros((2, env.action_size)))
    overflow = np.asarray(after.metrics["overflow"])
    assert overflow[0] == 0
    assert overflow[1] > 0
    np.testing.assert_array_equal(np.asarray(after.metrics["physics_failed"]), [0, 1])
    np.testing.assert_array_equal(np.asarray(after.terminated), [False, True])
    assert not np.asarray(after.success).any()
    assert not np.asarray(after.physics.overflow).any(), "the new episode starts with none"
