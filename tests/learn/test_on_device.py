"""With an engine that runs on the device, nothing in a training iteration waits for the host."""

import re
from functools import cache

import jax
import jax.numpy as jnp
import pytest

import robolearn
from robolearn.learn.groups import AXIS
from robolearn.learn.iteration import make_iteration
from robolearn.learn.learner import TrainState, init_learner
from robolearn.learn.train_config import train_config


@pytest.fixture(scope="module")
def lowered():
    """The program of an iteration of an engine, resets and randomisation included, as text."""

    @cache
    def text(engine):
        overrides = [f"engine={engine}", "num_envs=8", "groups=2", "total_steps=1024", "ppo.rollout_steps=8"]
        config = train_config("fr3/pick_cube", None, overrides)
        assert config.imitation_fraction
        env = robolearn.make(config.task, config.num_envs, engine)
        mesh = jax.sharding.Mesh(jax.devices()[:1], (AXIS,))
        state = jax.eval_shape(
            lambda key: TrainState(
                init_learner(config, env, key), env.reset(key), jnp.zeros(config.num_envs)
            ),
            jax.random.key(0),
        )
        return make_iteration(config, env, mesh).lower(state, jax.ShapeDtypeStruct((1,), bool)).as_text()

    return text


def calls(text):
    """What a program calls outside XLA."""
    return set(re.findall(r'custom_call @(\w+)|call_target_name = "(\w+)"', text))


def waits(text):
    """Branches and loops of a program whose way depends on data: XLA reads their condition on the host of a GPU.

    A loop of known length compares its counter, which it carries, with a constant.
    """
    found = re.findall(r"stablehlo\.(?:if|case)\b", text)
    loops = re.findall(r"stablehlo\.while.*?\n(.*?)\bcond \{\n(.*?)\n\s*\} do \{", text, re.DOTALL)
    assert len(loops) == text.count("stablehlo.while") > 0
    counted = re.compile(
        r"\s*(%\S+) = stablehlo\.constant dense<\d+> : tensor<i32>\n"
        r"\s*(%\S+) = stablehlo\.compare +LT, %iterArg\S*, \1.*\n\s*stablehlo\.return \2 : tensor<i1>"
    )
    return found + [cond for _, cond in loops if not counted.fullmatch(cond)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["jax", "warp"])
def test_no_call_to_the_host_is_in_an_iteration(lowered, engine):
    assert not {name for pair in calls(lowered(engine)) for name in pair if "callback" in name}


@pytest.mark.slow
def test_the_native_engine_is_such_a_call(lowered):
    assert {name for pair in calls(lowered("native")) for name in pair if "callback" in name}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["native", "warp"])
def test_no_loop_or_branch_of_an_iteration_depends_on_data(lowered, engine):
    assert not waits(lowered(engine))


@pytest.mark.slow
def test_a_step_alone_draws_restarts_in_such_a_loop():
    env = robolearn.make("fr3/reach", 8, "native")
    state = jax.eval_shape(env.reset, jax.random.key(0))
    action = jax.ShapeDtypeStruct((8, env.action_size), jnp.float32)
    assert waits(jax.jit(env.step).lower(state, action).as_text())
