"""With an engine that runs on the device, nothing in a training iteration waits for the host."""

import re

import jax
import jax.numpy as jnp
import pytest

import robolearn
from robolearn.learn.groups import AXIS
from robolearn.learn.iteration import make_iteration
from robolearn.learn.learner import TrainState, init_learner
from robolearn.learn.train_config import train_config


def calls(engine):
    """What the program of an iteration calls outside XLA, resets and randomisation included."""
    overrides = [f"engine={engine}", "num_envs=8", "groups=2", "total_steps=1024", "ppo.rollout_steps=8"]
    config = train_config("fr3/pick_cube", None, overrides)
    env = robolearn.make(config.task, config.num_envs, engine)
    mesh = jax.sharding.Mesh(jax.devices()[:1], (AXIS,))
    state = jax.eval_shape(
        lambda key: TrainState(init_learner(config, env, key), env.reset(key), jnp.zeros(config.num_envs)),
        jax.random.key(0),
    )
    lowered = make_iteration(config, env, mesh).lower(state, jax.ShapeDtypeStruct((1,), bool))
    return set(re.findall(r'custom_call @(\w+)|call_target_name = "(\w+)"', lowered.as_text()))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["jax", "warp"])
def test_no_call_to_the_host_is_in_an_iteration(engine):
    assert not {name for pair in calls(engine) for name in pair if "callback" in name}


@pytest.mark.slow
def test_the_native_engine_is_such_a_call():
    assert {name for pair in calls("native") for name in pair if "callback" in name}
